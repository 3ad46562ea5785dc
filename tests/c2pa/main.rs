//! Content, its models and their data, against another implementation of C2PA in both directions, and through `verify`.
//!
//! The foreign tool is a Python program: `eval "$(bash fixtures/services/credentials.sh)"` sets `COUNTERMARK_CREDENTIALS`.
//! Without it, what it would check is skipped and said so. Lines `cell | what | tool | result` make the README's table.

mod foreign;
mod samples;
mod verdicts;

use std::fs;
use std::path::{Path, PathBuf};

use countermark::content::{self, InputRequest, Request};
use countermark::lineage::graph::Relation;
use countermark::lineage::verdict::{State, Verdict};
use countermark::sign::{self, ParentRequest};
use countermark::{keyset, silent, verify};

/// `data.csv`, `painter` trained on it, and a folder for content.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn make() -> Self {
        let world = World { folder: tempfile::tempdir().unwrap() };
        keyset::generate(&world.at("keys"), "Example Lab").unwrap();
        fs::write(world.at("data.csv"), "question,answer\n1,2\n").unwrap();
        fs::create_dir(world.at("painter")).unwrap();
        let header = r#"{"w":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]}}"#;
        let model = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 8]].concat();
        fs::write(world.at("painter/model.safetensors"), model).unwrap();
        world.sign("data.csv", &[]);
        world.sign("painter", &[(Relation::TrainedOn, "data.csv")]);
        for (name, bytes) in samples::all() {
            fs::write(world.at(name), bytes).unwrap();
        }
        fs::write(world.at("answer.txt"), "forty-two\n").unwrap();
        fs::write(world.at("report.pdf"), "%PDF-1.4\n%%EOF\n").unwrap();
        world
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sign(&self, name: &str, parents: &[(Relation, &str)]) {
        let mut request = sign::Request::new(self.at(name), self.at("keys/owner.key"));
        let parent = |(relation, parent): &(Relation, &str)| ParentRequest {
            relation: *relation,
            bundle: self.at(&format!("{parent}.provenance.json")),
            path: Some(self.at(parent)),
        };
        request.parents = parents.iter().map(parent).collect();
        sign::sign(&request, &silent()).unwrap();
    }

    /// What `painter` produced.
    fn painted(&self, name: &str, out: &str) -> Request {
        let mut request = Request::new(self.at(name), self.at("keys/owner.key"));
        let bundle = self.at("painter.provenance.json");
        request.inputs = vec![InputRequest::model(bundle.to_str().unwrap())];
        request.out = Some(self.at(out));
        request
    }

    fn paint(&self, name: &str, out: &str) -> content::Created {
        content::create(&self.painted(name, out), &silent()).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn verify(&self, name: &str, bundle: Option<&str>) -> Verdict {
        self.verify_with(name, bundle, "keys/policy.toml")
    }

    fn verify_with(&self, name: &str, bundle: Option<&str>, policy: &str) -> Verdict {
        let mut request = verify::Request::new(self.at(name));
        request.bundle = bundle.map(|bundle| self.at(bundle));
        request.policy = Some(self.at(policy));
        verify::verify(&request, &silent()).unwrap()
    }
}

/// The rows in this state, as text.
fn rows(verdict: &Verdict, state: State) -> String {
    let found = verdict.checks.iter().filter(|check| check.state == state);
    found.map(|check| format!("{}: {}\n", check.name, check.detail)).collect()
}

fn flip(path: &Path, place: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[place] ^= 1;
    fs::write(path, bytes).unwrap();
}
