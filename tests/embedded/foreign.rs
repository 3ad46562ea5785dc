//! Files with a manifest inside, in the loaders of others: the official Python packages, candle, and c2pa-python.
//!
//! `eval "$(bash fixtures/services/credentials.sh)"` sets `COUNTERMARK_CREDENTIALS`. Without it the Python part is skipped.

use std::fs;
use std::path::Path;
use std::process::Command;

use countermark::lineage::verdict::State;
use serde_json::Value;

use crate::{World, model};

/// What `fixtures/foreign/embedded.py` prints, or `None` without the environment.
fn python(arguments: &[&Path]) -> Option<Value> {
    let python = std::env::var_os("COUNTERMARK_CREDENTIALS")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/foreign/embedded.py");
    let output = Command::new(python).arg(script).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_str(&text).unwrap_or(Value::Null))
}

fn skipped() -> bool {
    let skipped = std::env::var_os("COUNTERMARK_CREDENTIALS").is_none();
    if skipped {
        eprintln!("skipped: foreign loaders: COUNTERMARK_CREDENTIALS is not set (fixtures/services/credentials.sh)");
    }
    skipped
}

#[test]
fn official_loaders_read_the_same_tensors_and_rows() {
    if skipped() {
        return;
    }
    let world = World::new();
    python(&[Path::new("make"), world.folder.path()]);
    for kind in ["safetensors", "onnx", "parquet"] {
        for name in ["plain", "metadata"] {
            let (file, copy) = (format!("{name}.{kind}"), format!("dist/{name}.{kind}"));
            world.sign(&file, Some(&copy));
            assert_eq!(world.verify(&copy, None).state, State::Unanchored, "{file}");
            let metadata = python(&[Path::new("same"), &world.at(&file), &world.at(&copy)]).unwrap();
            let store = world.bundle(&format!("{copy}.provenance.json")).records[0].manifest.clone().unwrap().0;
            let text = countermark::formats::manifest::encode(&store);
            assert_eq!(metadata["c2pa:manifest"], *text, "{file}");
            println!("cell | our {kind} with a manifest inside | official Python loader | equal");
        }
    }
}

/// SDK 0.91 has no handler for these formats, so it cannot find the manifest and refuses every exclusion, good or bad.
#[test]
fn what_c2pa_python_says() {
    if skipped() {
        return;
    }
    let world = World::new();
    let certificates = world.at("keys/owner.crt");
    world.write("m.safetensors", &model(300));
    let others = crate::others().map(|(name, bytes)| (name, world.write(name, &bytes)));
    for name in ["m.safetensors"].into_iter().chain(others.iter().map(|(name, _)| *name)) {
        let copy = format!("dist/{name}");
        world.sign(name, Some(&copy));
        let store = world.bundle(&format!("{copy}.provenance.json")).records[0].manifest.clone().unwrap().0;
        let store = world.write("store.c2pa", &store);
        let said = python(&[Path::new("c2pa"), &world.at(&copy), &store, &certificates]).unwrap();
        println!("cell | our {name} with a manifest inside | c2pa-python | {said}");
        assert_eq!(said["state"], "Invalid", "{name}: {said}");
        assert_eq!(said["codes"], serde_json::json!(["assertion.dataHash.mismatch"]), "{name}: {said}");
    }
}

#[test]
fn candle_loads_the_same_tensors() {
    let world = World::new();
    world.write("m.safetensors", &model(300));
    world.sign("m.safetensors", Some("dist/m.safetensors"));
    let load = |path: &str| {
        let tensors = candle_core::safetensors::load(world.at(path), &candle_core::Device::Cpu).unwrap();
        assert_eq!(tensors.len(), 1);
        tensors["w"].to_vec1::<u8>().unwrap()
    };
    assert_eq!(load("dist/m.safetensors"), load("m.safetensors"));
    assert_ne!(fs::read(world.at("dist/m.safetensors")).unwrap(), fs::read(world.at("m.safetensors")).unwrap());
    println!("cell | our safetensors with a manifest inside | candle | equal");
}
