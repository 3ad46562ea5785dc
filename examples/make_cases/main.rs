//! Makes `fixtures/cases/` and `fixtures/index.json`: small good releases, and copies of them that must not pass, each
//! with one thing wrong.
//!
//! Run: `cargo run --release -p countermark --example make_cases [-- FOLDER]`. Keys and manifest labels are random, so
//! every run gives other bytes; the committed cases are kept as they are, and `index.json` says what each must come to.
//! The secret keys are not kept. Certificates of C2PA live for a year, so every case is judged as of the day it was made.

mod bundle;
mod certificates;
mod content;
mod embedded;
mod evm;
mod keys;
mod log;
mod oms;
mod policy;
mod stamps;
mod witness;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use countermark::lineage::bundle::Bundle;
use countermark::lineage::graph::Relation;
use countermark::lineage::graph::statement::rfc3339;
use countermark::mark::{self, EmbedRequest};
use countermark::sign::{self, ParentRequest};
use countermark::{keyset, silent};
use serde::Serialize;

/// What every step comes to.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// One case. `verb`, `path` and `options` are what the command line takes, in the folder of the cases.
#[derive(Clone, Serialize)]
pub struct Case {
    name: String,
    /// What is wrong, in a few words.
    story: String,
    /// `verify`, `oms verify`, …
    verb: String,
    path: String,
    /// Long options without their dashes, and their values.
    options: std::collections::BTreeMap<String, String>,
    /// What it must come to.
    state: String,
    /// Words of the row that says why.
    reason: String,
}

impl Case {
    /// A case that is judged as of now. What it names lies in [`World::out`].
    pub fn new(
        name: &str,
        story: &str,
        verb: &str,
        path: &str,
        options: &[(&str, &str)],
        state: &str,
        reason: &str,
    ) -> Self {
        let mut options: std::collections::BTreeMap<String, String> =
            options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        options.entry("at".into()).or_insert_with(|| rfc3339(keyset::now()));
        let (name, story, verb, path) = (name.into(), story.into(), verb.into(), path.into());
        Case { name, story, verb, path, options, state: state.into(), reason: reason.into() }
    }
}

/// A folder with keys and a small signed family: `data.csv`, `other.csv`, `base` made from the data, `model` marked.
pub struct World {
    work: tempfile::TempDir,
    /// Where the cases go.
    pub out: PathBuf,
}

impl World {
    fn new(out: PathBuf) -> Result<Self> {
        let world = World { work: tempfile::tempdir()?, out };
        keyset::generate(&world.at("keys"), "Fixture owner")?;
        fs::write(world.at("data.csv"), "question,answer\n1,2\n")?;
        fs::create_dir(world.at("base"))?;
        fs::write(world.at("base/model.safetensors"), model())?;
        fs::write(world.at("other.csv"), "question,answer\n3,4\n")?;
        world.sign("data.csv", &[])?;
        world.sign("other.csv", &[])?;
        world.sign("base", &[(Relation::TrainedOn, "data.csv")])?;
        let mut request = EmbedRequest::new(world.at("base"), world.at("keys/owner.mark.key"), world.at("model"));
        request.log = Some(world.at("log"));
        request.strength = countermark::watermark::Strength::Decibel(-22.0);
        mark::embed(&request, &silent())?;
        world.sign("model", &[(Relation::DerivedFrom, "base")])?;
        fs::create_dir_all(&world.out)?;
        fs::copy(world.at("keys/policy.toml"), world.out.join("policy.toml"))?;
        Ok(world)
    }

    /// A path in the folder where everything is made.
    pub fn at(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// The bundle of something that was signed.
    pub fn bundle(&self, name: &str) -> Result<Bundle> {
        Ok(Bundle::parse(&fs::read(self.at(&format!("{name}.provenance.json")))?)?)
    }

    /// Signs and logs a release, with its bundle and manifest beside it.
    pub fn sign(&self, name: &str, parents: &[(Relation, &str)]) -> Result<()> {
        let mut request = sign::Request::new(self.at(name), self.at("keys/owner.key"));
        request.log = Some(self.at("log"));
        let parent = |(relation, parent): &(Relation, &str)| ParentRequest {
            relation: *relation,
            bundle: self.at(&format!("{parent}.provenance.json")),
            path: Some(self.at(parent)),
        };
        request.parents = parents.iter().map(parent).collect();
        sign::sign(&request, &silent())?;
        Ok(())
    }
}

fn main() -> Result<()> {
    let fixtures = std::env::args().nth(1).map(PathBuf::from);
    let fixtures = fixtures.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures"));
    let world = World::new(fixtures.join("cases"))?;
    let areas = [
        bundle::cases,
        content::cases,
        embedded::cases,
        evm::cases,
        keys::cases,
        log::cases,
        oms::cases,
        policy::cases,
        stamps::cases,
        witness::cases,
    ];
    let cases = areas.into_iter().map(|area| area(&world)).collect::<Result<Vec<_>>>()?.concat();
    fs::write(fixtures.join("index.json"), serde_json::to_string_pretty(&cases)? + "\n")?;
    Ok(())
}

/// One F16 matrix of 256 × 256 seeded weights: just enough to carry a mark.
fn model() -> Vec<u8> {
    const SIDE: usize = 256;
    let header = format!(r#"{{"w":{{"dtype":"F16","shape":[{SIDE},{SIDE}],"data_offsets":[0,{}]}}}}"#, SIDE * SIDE * 2);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    let mut state = 1_u64;
    for _ in 0..SIDE * SIDE {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A random mantissa and sign in the binade of 0.25 and 0.5: F16 bits without a conversion.
        bytes.extend((0x3400 | (state >> 48) as u16 & 0x87ff).to_le_bytes());
    }
    bytes
}
