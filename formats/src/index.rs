//! `NAME.safetensors.index.json`: which shard holds which tensor. A loader believes it, so it must say what the shards
//! say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use crate::{Checkpoint, Error, Result, Source, read_at};

const ENDING: &str = ".safetensors.index.json";

/// Longer ones are refused: as long as the longest header of a shard.
const MAX_INDEX: u64 = 100_000_000;

/// The part of the file that a loader acts on. Everything else is metadata.
#[derive(Deserialize)]
struct Index {
    weight_map: WeightMap,
}

/// Shard of each tensor; a name that appears twice is refused.
struct WeightMap(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = WeightMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors and their shards")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<WeightMap, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((tensor, shard)) = map.next_entry::<String, String>()? {
                    if members.contains_key(&tensor) {
                        return Err(de::Error::custom(format_args!("the tensor {tensor:?} appears twice")));
                    }
                    members.insert(tensor, shard);
                }
                Ok(WeightMap(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Compares every index among `files` with the shards of `model`: each shard that an index names must be there, and hold
/// exactly the tensors that the index gives to it.
///
/// # Errors
/// [`Error::Index`] with the first tensor or shard that does not fit.
pub(crate) fn check(files: &[(String, Source)], model: &Checkpoint) -> Result<()> {
    for (path, source) in files.iter().filter(|(path, _)| path.ends_with(ENDING)) {
        let refuse = |reason: String| Error::Index { path: path.clone(), reason };
        if source.len() > MAX_INDEX {
            return Err(refuse(format!("{} bytes, more than {MAX_INDEX}", source.len())));
        }
        let mut text = vec![0; source.len() as usize];
        read_at::read(&**source, &mut text, 0)?;
        let index: Index = serde_json::from_slice(&text).map_err(|error| refuse(error.to_string()))?;
        let folder = &path[..path.rfind('/').map_or(0, |slash| slash + 1)];
        compare(folder, &index.weight_map.0, model).map_err(refuse)?;
    }
    Ok(())
}

fn compare(folder: &str, map: &BTreeMap<String, String>, model: &Checkpoint) -> std::result::Result<(), String> {
    let shards = |number| model.shard_path(number).unwrap_or_default();
    let present: BTreeSet<&str> = (0..model.shard_count()).map(shards).collect();
    let mut named = BTreeSet::new();
    for (tensor, shard) in map {
        let path = format!("{folder}{shard}");
        if !present.contains(path.as_str()) {
            return Err(format!("gives tensor {tensor:?} to {shard:?}, which is not here"));
        }
        match model.find(tensor) {
            None => return Err(format!("gives tensor {tensor:?} to {shard:?}, and no shard holds it")),
            Some((_, found)) if shards(found.shard) != path => {
                return Err(format!("gives tensor {tensor:?} to {shard:?}, and {:?} holds it", shards(found.shard)));
            }
            Some(_) => named.insert(path),
        };
    }
    let unlisted = model
        .tensors()
        .iter()
        .find(|tensor| named.contains(shards(tensor.shard)) && !map.contains_key(&tensor.info.name));
    match unlisted {
        Some(tensor) => {
            Err(format!("does not list tensor {:?}, which {:?} holds", tensor.info.name, shards(tensor.shard)))
        }
        None => Ok(()),
    }
}
