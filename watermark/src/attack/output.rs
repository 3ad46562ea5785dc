//! An attacked model as a safetensors file, streamed.

use std::collections::BTreeMap;
use std::io::{self, Write};

use countermark_formats::{Checkpoint, Dtype};
use serde_json::{Map, Value, json};

use super::plan::{self, Plan};
use super::{Attack, Outline, apply, outline};
use crate::{Error, Result};

/// Attacks `model` and writes the outcome as one safetensors file. Metadata are those of the model's first shard.
///
/// # Errors
/// As for [`apply`].
pub fn write_safetensors(
    attack: &Attack,
    model: &Checkpoint,
    other: Option<&Checkpoint>,
    seed: u64,
    out: &mut dyn Write,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    let header = header(&outline(attack, model)?, model.shard_metadata(0));
    out.write_all(&header).map_err(|source| Error::Write { name: "(header)".into(), source })?;
    let mut write = |_: &Outline, bytes: &[u8]| -> io::Result<()> { out.write_all(bytes) };
    apply(attack, model, other, seed, &mut write, progress)
}

/// What has to change in the model's `config.json` so that it fits the attacked model.
///
/// # Errors
/// As for [`apply`].
pub fn config_changes(attack: &Attack, model: &Checkpoint) -> Result<Map<String, Value>> {
    let (vocabulary, units, untied) = plan::extents(&Plan::new(attack, model, 0)?);
    let mut changes = Map::new();
    if let Some(rows) = vocabulary {
        changes.insert("vocab_size".into(), rows.into());
    }
    if let Some(units) = units {
        changes.insert("intermediate_size".into(), units.into());
    }
    if untied {
        changes.insert("tie_word_embeddings".into(), false.into());
    }
    let name = match plan::cast(attack) {
        Some(Dtype::F64) => "float64",
        Some(Dtype::F32) => "float32",
        Some(Dtype::F16) => "float16",
        Some(_) => "bfloat16",
        None => return Ok(changes),
    };
    changes.insert("torch_dtype".into(), name.into());
    Ok(changes)
}

/// Length field and header of a safetensors file with these tensors in this order, padded to a multiple of 8.
fn header(tensors: &[Outline], metadata: Option<&BTreeMap<String, String>>) -> Vec<u8> {
    let mut entries = Vec::new();
    if let Some(metadata) = metadata.filter(|metadata| !metadata.is_empty()) {
        entries.push(format!("\"__metadata__\":{}", json!(metadata)));
    }
    let mut begin = 0;
    for tensor in tensors {
        let end = begin + tensor.bytes();
        let (name, shape) = (json!(tensor.name), json!(tensor.shape));
        entries.push(format!(
            "{name}:{{\"dtype\":\"{}\",\"shape\":{shape},\"data_offsets\":[{begin},{end}]}}",
            tensor.dtype
        ));
        begin = end;
    }
    let mut text = format!("{{{}}}", entries.join(",")).into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    [&(text.len() as u64).to_le_bytes()[..], &text].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_back() {
        let outline = |name: &str, dtype, shape: &[u64]| Outline { name: name.into(), dtype, shape: shape.to_vec() };
        let tensors = [outline("a \"quoted\" name", Dtype::F32, &[2, 3]), outline("b", Dtype::Bf16, &[])];
        let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
        let mut file = header(&tensors, Some(&metadata));
        assert_eq!(file.len() % 8, 0);
        file.extend([0; 26]);
        let model = Checkpoint::open(vec![("x".into(), Box::new(file))]).unwrap();
        assert_eq!(model.shard_metadata(0), Some(&metadata));
        for tensor in &tensors {
            let info = &model.find(&tensor.name).unwrap().1.info;
            assert_eq!((info.dtype, &info.shape), (tensor.dtype, &tensor.shape));
        }
    }
}
