//! The public RFC 6962 vectors of transparency-dev/merkle, when they lie in `../shared/vectors` beside the repository, or in
//! the folder that COUNTERMARK_VECTORS names.

use std::fs;
use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countermark_lineage::digest::{Hash, tree};
use serde_json::Value;

/// How many there are of each kind.
const ALL: usize = 98;

/// Wants success for equal roots of 12 bytes, which a type of 32 bytes cannot express.
const INEXPRESSIBLE: &str = "consistency/additional/sizes-are-equal-one-and-proof-is-empty.json";

fn vectors(kind: &str) -> Option<Vec<(PathBuf, Value)>> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { collect(&path, found) } else { found.push(path) }
        }
    }
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let folder = std::env::var_os("COUNTERMARK_VECTORS").map_or(beside, PathBuf::from).join("merkle").join(kind);
    if !folder.is_dir() {
        eprintln!("skipped: no public Merkle vectors at {}", folder.display());
        return None;
    }
    let mut paths = vec![];
    collect(&folder, &mut paths);
    assert_eq!(paths.len(), ALL);
    paths.retain(|path| !path.ends_with(INEXPRESSIBLE));
    let read = |path: PathBuf| {
        let value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        (path, value)
    };
    Some(paths.into_iter().map(read).collect())
}

fn hash(value: &Value) -> Option<Hash> {
    Some(Hash(STANDARD.decode(value.as_str()?).ok()?.try_into().ok()?))
}

fn path(value: &Value) -> Option<Vec<Hash>> {
    value.as_array().map_or(Some(vec![]), |hashes| hashes.iter().map(hash).collect())
}

#[test]
fn inclusion() {
    let Some(vectors) = vectors("inclusion") else { return };
    assert_eq!(vectors.len(), ALL);
    for (file, case) in vectors {
        let answer = (|| {
            let (leaf, root, path) = (hash(&case["leafHash"])?, hash(&case["root"])?, path(&case["proof"])?);
            Some(tree::includes(case["leafIdx"].as_u64()?, case["treeSize"].as_u64()?, leaf, &path, &root))
        })();
        assert_eq!(answer.unwrap_or(false), case["wantErr"] == false, "{}", file.display());
    }
}

#[test]
fn consistency() {
    let Some(vectors) = vectors("consistency") else { return };
    assert_eq!(vectors.len(), ALL - 1, "only {INEXPRESSIBLE} is left out");
    for (file, case) in vectors {
        let answer = (|| {
            let (old, new, path) = (hash(&case["root1"])?, hash(&case["root2"])?, path(&case["proof"])?);
            Some(tree::is_consistent(case["size1"].as_u64()?, &old, case["size2"].as_u64()?, &new, &path))
        })();
        assert_eq!(answer.unwrap_or(false), case["wantErr"] == false, "{}", file.display());
    }
}
