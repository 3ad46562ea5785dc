//! The README's walk-through runs as it stands, in an empty folder.

use std::fs;
use std::path::Path;
use std::process::Command;

#[path = "../../tests/chain/anvil.rs"]
#[allow(dead_code)]
mod anvil;

/// The blocks of the README behind a mark, as one script.
fn blocks(marks: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let block = |text: &str| text.split("```sh\n").nth(1).unwrap().split("```").next().unwrap().to_owned();
    marks.iter().flat_map(|mark| readme.split(mark).skip(1).map(block)).collect()
}

#[test]
fn the_walk_through_of_the_readme() {
    let anvil = anvil::Anvil::start();
    let script = match &anvil {
        Some(_) => blocks(&["<!-- test:", "<!-- test with a node:"]),
        None => blocks(&["<!-- test:"]),
    };
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/train.txt"), countermark_fixtures::TUNE_TEXT).unwrap();
    fs::create_dir(folder.path().join("base")).unwrap();
    fs::write(folder.path().join("base/model.safetensors"), countermark_fixtures::MODEL).unwrap();
    fs::write(folder.path().join("base/README.md"), "# base\n").unwrap();
    if anvil.is_some() {
        fs::rename(anvil::key_file(folder.path(), 0), folder.path().join("chain.key")).unwrap();
    }

    let binary = Path::new(env!("CARGO_BIN_EXE_countermark")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(folder.path())
        .env("PATH", path)
        .env("NODE", anvil.as_ref().map_or_else(String::new, |anvil| anvil.url()))
        .env("COUNTERMARK_CACHE", folder.path().join("digests.sqlite"))
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("unanchored model: every check passed"), "{stdout}");
    assert!(stdout.contains("detected in model"), "{stdout}");
    assert!(stdout.contains("is record 7 of the"), "{stdout}");
    assert!(stdout.contains("model.norm.weight is the signed"), "{stdout}");
    assert!(fs::read_to_string(folder.path().join("data.html")).unwrap().starts_with("<!doctype html>"));
    for picture in ["lineage.svg", "badge.svg"] {
        assert!(fs::read_to_string(folder.path().join(picture)).unwrap().starts_with("<svg"), "{picture}");
    }
    if anvil.is_some() {
        assert!(stdout.contains("verified model: every check that the policy asks for passed"), "{stdout}");
        assert!(stdout.contains("committed   before 20"), "{stdout}");
    }
}

/// Every "yes" of the feature table, and every cell of what other people's tools say, rests on tests that are there.
#[test]
fn the_feature_table_names_tests_that_exist() {
    assert_eq!(rows_with_tests("features", "**yes**"), 13);
    assert!(rows_with_tests("tools", "::") >= 20);
    assert!(rows_with_tests("others", "::") >= 8);
}

/// How many rows of a marked table hold `word`; every test that they name exists.
fn rows_with_tests(table: &str, word: &str) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let table = readme.split(&format!("<!-- {table}:")).nth(1).unwrap().split("<!-- end ").next().unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with('|') && line.contains(word)).collect();
    for row in &rows {
        let named: Vec<(&str, &str)> = row.split('`').filter_map(|word| word.split_once("::")).collect();
        assert!(!named.is_empty(), "{row}");
        for (file, test) in named {
            let source = fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(source.contains(&format!("fn {test}()")), "{file} has no test {test}");
        }
    }
    rows.len()
}
