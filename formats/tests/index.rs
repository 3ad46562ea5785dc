//! Sharded safetensors and their index, as one list of tensors.

mod common;
#[path = "common/foreign.rs"]
mod foreign;

use common::{f32s, safetensors};
use foreign::open;

fn check(index: &str) -> Result<usize, String> {
    let a = safetensors(&[("a", "F32", &[1], f32s([1.0]))]);
    let b = safetensors(&[("b", "F32", &[1], f32s([2.0])), ("c", "F32", &[1], f32s([3.0]))]);
    let files: [(&str, &[u8]); 3] =
        [("t/m-1.safetensors", &a), ("t/m-2.safetensors", &b), ("t/m.safetensors.index.json", index.as_bytes())];
    open(&files).map(|tensors| tensors.list().len()).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(index: &str, words: &str) {
    let error = check(index).unwrap_err();
    assert!(error.contains(words) && error.contains("m.safetensors.index.json"), "{error} does not say {words:?}");
}

#[test]
fn an_index_must_fit_its_shards() {
    let map = |members: &str| format!(r#"{{"metadata":{{"total_size":12}},"weight_map":{{{members}}}}}"#);
    let good = r#""a":"m-1.safetensors","b":"m-2.safetensors","c":"m-2.safetensors""#;
    assert_eq!(check(&map(good)), Ok(3));
    assert_eq!(
        check(&map(r#""a":"m-1.safetensors""#)),
        Ok(3),
        "a shard that the index does not name is no matter of it"
    );
    refused(&map(r#""a":"m-1.safetensors","b":"m-3.safetensors""#), "which is not here");
    refused(&map(r#""a":"m-2.safetensors""#), "\"t/m-1.safetensors\" holds it");
    refused(&map(r#""b":"m-2.safetensors""#), "does not list tensor \"c\"");
    refused(&map(r#""a":"m-1.safetensors","d":"m-2.safetensors""#), "no shard holds it");
    refused(&map(r#""a":"../t/m-1.safetensors""#), "which is not here");
    refused(&map(&format!(r#"{good},"a":"m-1.safetensors""#)), "appears twice");
    refused("{}", "missing field");
    refused("[", "EOF");
}
