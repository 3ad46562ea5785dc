//! No byte of a file is read twice by `verify`, wherever the manifest stands.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use countermark::formats::ReadAt;
use countermark::io::files;
use countermark::lineage::credential::policy::Policy;
use countermark::lineage::digest::artifact::Artifact;
use countermark::lineage::verdict::State;
use countermark::lineage::verify as judge;

use crate::{World, model};

/// Counts how often each byte is read.
struct Counting {
    bytes: Vec<u8>,
    counts: Vec<AtomicU32>,
}

impl ReadAt for Counting {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.bytes.read_exact_at(buffer, offset)?;
        for count in &self.counts[offset as usize..offset as usize + buffer.len()] {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Verifies `path`, every check but an anchor passing, and answers how often each byte of each file was read.
fn counted(world: &World, path: &str, bundle: &str) -> Vec<(String, Vec<u32>)> {
    let opened = files::open(&world.at(path)).unwrap();
    let counting = |(name, source): &(String, Arc<dyn ReadAt>)| {
        let mut bytes = vec![0; source.len() as usize];
        source.read_exact_at(&mut bytes, 0).unwrap();
        let counts = bytes.iter().map(|_| AtomicU32::new(0)).collect();
        (name.clone(), Arc::new(Counting { bytes, counts }))
    };
    let sources: Vec<_> = opened.files.iter().map(counting).collect();
    let shared = sources.iter().map(|(name, source)| (name.clone(), source.clone() as Arc<dyn ReadAt>)).collect();
    let artifact: Artifact = opened.with_files(shared);
    let bundle = fs::read(world.at(bundle)).unwrap();
    let policy = fs::read_to_string(world.at("keys/policy.toml")).unwrap();
    let policy = Policy::parse(&policy).unwrap();
    let request = judge::Request {
        artifact: &artifact,
        bundle: Some(&bundle),
        sidecars: &[],
        policy: Some(&policy),
        require_anchor: false,
        name: None,
        records: None,
        now: std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64,
        at: false,
        revocations: &[],
        hand_overs: &[],
        blocks: None,
        media: None,
    };
    let verdict = judge::verify(&request, &|_| ());
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    assert!(verdict.checks.iter().any(|row| row.name == "tensors"));
    let counts = |source: &Counting| source.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    sources.iter().map(|(name, source)| (name.clone(), counts(source))).collect()
}

#[test]
fn every_byte_is_read_exactly_once() {
    let world = World::new();
    // Smaller and larger than what is read at once, and of several windows.
    for length in [300, 3 << 20, 11 << 20] {
        let name = &*format!("m{length}.safetensors");
        world.write(name, &model(length));
        let copy = &*format!("dist/{name}");
        world.sign(name, None);
        world.sign(name, Some(copy));
        for path in [name, copy] {
            for (file, counts) in counted(&world, path, &format!("{path}.provenance.json")) {
                let other = counts.iter().position(|count| *count != 1);
                assert_eq!(other, None, "{path}: a byte of {file} was read {:?} times", other.map(|at| counts[at]));
            }
        }
    }
}

#[test]
fn every_byte_of_a_folder_is_read_exactly_once() {
    let world = World::new();
    let renamed =
        |name: &str| String::from_utf8_lossy(&model(300)[8..]).replace("\"w\"", &format!("\"{name}\"")).into_bytes();
    let header = (model(300).len() - 300 - 8) as u64;
    // Weights of bytes below 128 are text, so the whole file is.
    for (index, name) in ["a", "b"].into_iter().enumerate() {
        let mut file = header.to_le_bytes().to_vec();
        file.extend(renamed(name).into_iter().take(header as usize));
        file.extend(vec![index as u8; 300]);
        world.write(&format!("folder/model-{index}.safetensors"), &file);
    }
    world.write("folder/config.json", b"{}");
    world.sign("folder", None);
    let counts = counted(&world, "folder", "folder.provenance.json");
    assert_eq!(counts.len(), 3);
    for (file, counts) in counts {
        assert!(counts.iter().all(|count| *count == 1), "{file}: {counts:?}");
    }
}
