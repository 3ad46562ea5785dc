//! The README's walk-through runs as it stands, in an empty folder.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn the_walk_through_of_the_readme() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let block =
        readme.split("<!-- test:").nth(1).unwrap().split("```sh\n").nth(1).unwrap().split("```").next().unwrap();

    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/train.txt"), countermark_fixtures::TUNE_TEXT).unwrap();
    fs::create_dir(folder.path().join("base")).unwrap();
    fs::write(folder.path().join("base/model.safetensors"), countermark_fixtures::MODEL).unwrap();
    fs::write(folder.path().join("base/README.md"), "# base\n").unwrap();

    let binary = Path::new(env!("CARGO_BIN_EXE_countermark")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", block])
        .current_dir(folder.path())
        .env("PATH", path)
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("unanchored model: every check passed"), "{stdout}");
    assert!(stdout.contains("detected in model"), "{stdout}");
    for picture in ["lineage.svg", "badge.svg"] {
        assert!(fs::read_to_string(folder.path().join(picture)).unwrap().starts_with("<svg"), "{picture}");
    }
}
