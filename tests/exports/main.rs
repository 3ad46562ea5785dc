//! A real release in every format: read back by each format's official validator, which also refuses a broken document.
//!
//! The validators are Python programs: `eval "$(fixtures/services/validators.sh)"` sets `COUNTERMARK_VALIDATORS`. Without
//! it, what they would check is skipped and said so; what the documents say is compared with the bundle in any case.

mod cards;
mod documents;
mod refusals;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use countermark::export::{self, Format, Request};
use countermark::lineage::bundle::Bundle;
use countermark::lineage::graph::Relation;
use countermark::lineage::graph::statement::{Process, Statement};
use countermark::sign::{self, ParentRequest};
use countermark::{keyset, silent};
use serde_json::Value;

/// A dataset, a base model trained on it, and a fine-tuned child, each with a bundle, in a folder with keys.
struct Release {
    folder: tempfile::TempDir,
}

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
/// A legal file name that is hard on every format.
const HARD: &str = "a \"b\" <c> & |d| `e` #é?.txt";

impl Release {
    fn make() -> Self {
        let release = Release { folder: tempfile::tempdir().unwrap() };
        keyset::generate(&release.path("keys"), "Example Lab").unwrap();
        fs::create_dir(release.path("data")).unwrap();
        fs::write(release.path("data/train.csv"), "id,question\n1,what?\n2,\"who, then?\"\n").unwrap();
        fs::write(release.path("data/extra.jsonl"), "{\"a\":1.5,\"ok\":true}\n{\"a\":2,\"ok\":false}\n").unwrap();
        fs::write(release.path("data").join(HARD), "x").unwrap();
        release.model("base", 1);
        release.model("child", 2);
        release.sign("data", &[], &[]);
        release.sign("base", &[(Relation::TrainedOn, "data")], &[("hub", "lab/base")]);
        let parents = [(Relation::FineTunedFrom, "base"), (Relation::TrainedOn, "data")];
        release.sign("child", &parents, &[("epochs", "3"), ("note", "</script>\"'&")]);
        release
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bundle(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.provenance.json"))
    }

    fn model(&self, name: &str, seed: u8) {
        let folder = self.path(name);
        fs::create_dir_all(&folder).unwrap();
        let header = r#"{"w":{"dtype":"F32","shape":[4,4],"data_offsets":[0,64]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend([seed; 64]);
        fs::write(folder.join("model.safetensors"), bytes).unwrap();
        fs::write(folder.join("config.json"), "{}").unwrap();
        fs::write(folder.join("README.md"), "# A model\n").unwrap();
    }

    fn sign(&self, name: &str, parents: &[(Relation, &str)], parameters: &[(&str, &str)]) {
        let mut request = sign::Request::new(self.path(name), self.path("keys/owner.key"));
        request.parents = parents
            .iter()
            .map(|(relation, parent)| ParentRequest {
                relation: *relation,
                bundle: self.bundle(parent),
                path: Some(self.path(parent)),
            })
            .collect();
        if !parameters.is_empty() {
            let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            request.process = Some(Process { parameters, revision: Some(REVISION.to_owned()) });
        }
        sign::sign(&request, &silent()).unwrap();
    }

    fn answers(&self, text: &str) -> PathBuf {
        let path = self.path("answers.toml");
        fs::write(&path, format!("schema = \"countermark.dev/answers/v1\"\n{text}")).unwrap();
        path
    }

    fn statement(&self, name: &str) -> Statement {
        let bundle = Bundle::parse(&fs::read(self.bundle(name)).unwrap()).unwrap();
        Statement::parse(&bundle.records[0].statement.verify().unwrap().payload).unwrap()
    }

    /// The document, also written to a file that a validator can be given.
    fn export(
        &self,
        name: &str,
        format: Format,
        change: impl FnOnce(&mut Request),
    ) -> Result<(String, PathBuf), String> {
        let mut request = Request::new(self.bundle(name), format);
        change(&mut request);
        let text = export::export(&request, &silent()).map_err(|error| error.to_string())?;
        // Croissant's relative addresses start at the document.
        let path = self.path(if format == Format::Croissant { "data/document.json" } else { "document.json" });
        fs::write(&path, &text).unwrap();
        Ok((text, path))
    }
}

const ABOUT_DATA: &str = "[artifact.data]\ndescription = \"Two <b>questions</b>\"\nlicense = \"CC0-1.0\"\n\
                          url = \"https://example.org/data\"\nreleased = \"2026-11-01\"\ncreator = \"Example Lab\"\n\
                          modalities = [\"text\", \"tabular\"]\n";

/// Runs the official validator; `None`, said so, without one.
fn validate(arguments: &[&str]) -> Option<Result<Value, String>> {
    let Ok(python) = std::env::var("COUNTERMARK_VALIDATORS") else {
        let format = arguments[usize::from(arguments[0] == "which")];
        eprintln!(
            "skipped: official validator of {format}: COUNTERMARK_VALIDATORS is not set (fixtures/services/validators.sh)"
        );
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/services/validate.py");
    let output =
        Command::new(&python).arg(script).args(arguments).output().expect("COUNTERMARK_VALIDATORS is a Python");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    eprint!("{stderr}");
    if output.status.success() {
        return Some(Ok(serde_json::from_slice(&output.stdout).expect("the validator prints JSON")));
    }
    // A program that cannot run refuses everything, and would make every negative test pass.
    assert!(!stderr.contains("ModuleNotFoundError") && !stderr.contains("ImportError"), "{stderr}");
    Some(Err(stderr))
}

fn valid(format: &str, path: &Path, arguments: &[&str]) -> Option<Value> {
    let path = path.to_str().unwrap();
    let arguments: Vec<&str> = [format, path].into_iter().chain(arguments.iter().copied()).collect();
    validate(&arguments).map(|answer| answer.unwrap_or_else(|error| panic!("{format}: {error}")))
}

/// What is done to a document, and how that is called.
type Changes<'a> = &'a [(&'a str, fn(&mut Value))];

/// The same validator, in one run, refuses each change and takes the document as it was.
fn refuses(format: &str, path: &Path, text: &str, arguments: &[&str], changes: Changes<'_>) {
    let at = |name: usize| path.with_extension(format!("{name}.json"));
    for (name, (_, change)) in changes.iter().enumerate() {
        let broken: String = text
            .split_inclusive(if format == "openlineage" { "\n" } else { "\u{0}" })
            .map(|part| {
                let mut document: Value = serde_json::from_str(part).unwrap();
                change(&mut document);
                document.to_string() + "\n"
            })
            .collect();
        fs::write(at(name), &broken).unwrap();
    }
    fs::write(path, text).unwrap();
    let paths: Vec<PathBuf> = (0..changes.len()).map(at).chain([path.to_owned()]).collect();
    let mut command = vec!["which", format, arguments.first().copied().unwrap_or("")];
    command.extend(paths.iter().map(|path| path.to_str().unwrap()));
    if let Some(answer) = validate(&command) {
        let good = answer.unwrap();
        for (path, (what, _)) in paths.iter().zip(changes) {
            let is_good = good.as_array().unwrap().contains(&Value::from(path.to_str().unwrap()));
            assert!(!is_good, "{format}: {what} was not refused");
        }
        assert_eq!(good.as_array().unwrap().len(), 1, "{format}: the document itself was refused");
    }
    (0..changes.len()).for_each(|name| fs::remove_file(at(name)).unwrap());
}

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    list.as_array().unwrap().iter().find(|item| item["name"] == name).unwrap_or_else(|| panic!("{name} in {list:#}"))
}

fn sha256_of(path: &Path) -> String {
    countermark::lineage::digest::Hash::sha256(&fs::read(path).unwrap()).to_string()
}
