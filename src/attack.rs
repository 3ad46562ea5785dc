//! Does to a model on disk what happens to models in the wild, so that anybody can see what survives.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use countermark_io::files;
use countermark_lineage::digest::artifact::Artifact;
use countermark_watermark::attack::{self, Attack};
use serde_json::{Map, Value};

use crate::mark::open_model;
use crate::progress::Meter;
use crate::{Error, Progress};

const MAX_CONFIG: u64 = 1 << 20;
const WEIGHTS: &str = "model.safetensors";
const HELP: &str = "nothing was replaced; free some space, or choose another folder";

/// What to do, to what.
#[derive(Clone, Debug)]
pub struct Request {
    /// A safetensors or GGUF file, or a folder with such files.
    pub model: PathBuf,
    /// What happens to it.
    pub attack: Attack,
    /// The other model, for merges.
    pub with: Option<PathBuf>,
    /// The same seed does the same.
    pub seed: u64,
    /// A safetensors file for a file, a new folder for a folder.
    pub out: PathBuf,
}

/// Writes the attacked model. A folder keeps its other files, and its `config.json` is changed to fit.
///
/// # Errors
/// When a model cannot be read, the attack does not apply to it, or the outcome cannot be written.
pub fn attack(request: &Request, progress: &impl Progress) -> Result<(), Error> {
    let artifact = files::open(&request.model)?;
    let model = open_model(&request.model, &artifact)?;
    let other = match &request.with {
        Some(path) => Some(open_model(path, &files::open(path)?)?),
        None => None,
    };
    let meter = Meter::begin(progress, "attack", attack::work(&request.attack, &model)?);
    let parent = files::parent(&request.out);
    fs::create_dir_all(parent).map_err(countermark_io::Error::io(parent, HELP))?;
    let temporary = tempfile::Builder::new().prefix(".countermark-").tempdir_in(parent);
    let temporary = temporary.map_err(countermark_io::Error::io(parent, HELP))?;
    let weights = temporary.path().join(WEIGHTS);
    let mut file = BufWriter::new(File::create_new(&weights).map_err(failed(&weights))?);
    let told = |done| meter.reached(done);
    attack::write_safetensors(&request.attack, &model, other.as_ref(), request.seed, &mut file, &told)?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error).map_err(failed(&weights))?;
    file.sync_all().map_err(failed(&weights))?;
    if artifact.is_folder {
        copy_rest(&artifact, temporary.path(), &attack::config_changes(&request.attack, &model)?)?;
        if fs::symlink_metadata(&request.out).is_ok() {
            let help = "name a folder that is not there yet";
            return Err(countermark_io::Error::refused(&request.out, "is there already", help).into());
        }
    }
    let made = if artifact.is_folder { temporary.path() } else { &weights };
    fs::rename(made, &request.out).map_err(failed(&request.out))?;
    Ok(())
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> countermark_io::Error {
    countermark_io::Error::io(path, HELP)
}

/// Everything but weights and their index, with `config.json` changed to fit.
fn copy_rest(artifact: &Artifact, folder: &Path, changes: &Map<String, Value>) -> Result<(), Error> {
    let is_weights =
        |path: &str| [".safetensors", ".gguf", ".safetensors.index.json"].iter().any(|end| path.ends_with(end));
    for (path, source) in artifact.files.iter().filter(|(path, _)| !is_weights(path)) {
        let target = folder.join(path);
        let to_error = || countermark_io::Error::io(&target, HELP);
        fs::create_dir_all(files::parent(&target)).map_err(to_error())?;
        let mut file = File::create_new(&target).map_err(to_error())?;
        if path == "config.json" && source.len() <= MAX_CONFIG && !changes.is_empty() {
            let mut bytes = vec![0; source.len() as usize];
            source.read_exact_at(&mut bytes, 0).map_err(to_error())?;
            file.write_all(&changed(bytes, changes)).map_err(to_error())?;
            continue;
        }
        let mut buffer = vec![0; 1 << 20];
        let mut offset = 0;
        while offset < source.len() {
            let size = (source.len() - offset).min(buffer.len() as u64) as usize;
            source.read_exact_at(&mut buffer[..size], offset).map_err(to_error())?;
            file.write_all(&buffer[..size]).map_err(to_error())?;
            offset += size as u64;
        }
    }
    Ok(())
}

/// The configuration with the changes, or as it is when it is no JSON object.
fn changed(config: Vec<u8>, changes: &Map<String, Value>) -> Vec<u8> {
    match serde_json::from_slice::<Map<String, Value>>(&config) {
        Ok(mut fields) => {
            fields.extend(changes.clone());
            serde_json::to_vec_pretty(&fields).unwrap_or(config)
        }
        Err(_) => config,
    }
}
