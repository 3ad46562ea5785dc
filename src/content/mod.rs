//! Manifests without a release: of what a model produced, of media, and of models and datasets that have no statement.
//!
//! A medium is copied, with the manifest in the copy; anything else gets a sidecar. What a model produced names the model
//! as its input, and the model's own manifest travels along with everything behind it.

mod inputs;
mod read;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use countermark_io::c2pa::{C2paError, Signer};
use countermark_io::content::{Content, Prompt, embed, format, sidecar};
use countermark_io::{files, keys};
use countermark_lineage::credential::alone::{self, Asset, Clock, Judged, Signed};
use countermark_lineage::credential::declared::{AssetType, Declared, Disclosure, Oversight};
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::artifact::{Artifact, Sha256, Wants};
use countermark_lineage::graph::{Kind, Relation};
use countermark_lineage::verdict::State;
use countermark_lineage::verify::manifest::Carried;
use serde::Serialize;

use crate::progress::begin_hashing;
use crate::sign::kind_of;
use crate::{Error, Progress, keyset};

pub use inputs::InputRequest;
pub use read::{Chained, Reading, read};

/// A prompt longer than this is told by its digest only.
const MAX_PROMPT: u64 = 256 << 10;

/// What to make a manifest of, and what it says.
#[derive(Clone, Debug)]
pub struct Request {
    /// A file, or a folder.
    pub path: PathBuf,
    /// The key that signs.
    pub key: PathBuf,
    /// Its certificates; `owner.crt` beside the key when left out.
    pub certificate: Option<PathBuf>,
    /// The models that produced it, and whatever else it was made from.
    pub inputs: Vec<InputRequest>,
    /// Where the copy or the sidecar goes; beside the path when left out.
    pub out: Option<PathBuf>,
    /// What it is; told from its files and inputs when left out.
    pub kind: Option<Kind>,
    /// The prompt, and how to tell it.
    pub prompt: Option<(PathBuf, PromptAs)>,
    /// What made it; the name of the model when left out.
    pub software: Option<String>,
    /// What the model is, for the disclosure.
    pub model_type: Option<AssetType>,
    /// How far a person watched.
    pub oversight: Option<Oversight>,
    /// What else the signer declares.
    pub declared: Declared,
}

impl Request {
    /// A manifest of `path` by `key`, without inputs.
    pub fn new(path: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Request {
            path: path.into(),
            key: key.into(),
            certificate: None,
            inputs: vec![],
            out: None,
            kind: None,
            prompt: None,
            software: None,
            model_type: None,
            oversight: None,
            declared: Declared::default(),
        }
    }
}

/// How a prompt is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptAs {
    /// Its SHA-256 and length. Whoever guesses the prompt can confirm the guess.
    Hash,
    /// The prompt itself.
    Text,
}

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct Created {
    /// The copy of the medium with the manifest in it, or the sidecar.
    pub out: PathBuf,
    /// True for a copy, false for a sidecar.
    pub embedded: bool,
    /// SHA-256 of the manifest store.
    pub store: Hash,
    /// Manifests in it, those of all inputs among them.
    pub manifests: usize,
    /// What the inputs came to whose signer nobody here vouches for, or which are named and not bound; for people.
    pub notes: Vec<String>,
}

/// Signs a manifest and writes it, into a copy of a medium or as a sidecar.
///
/// # Errors
/// When the artifact, a key or an input cannot be used, or the result does not verify; nothing is written then.
pub fn create(request: &Request, progress: &impl Progress) -> Result<Created, Error> {
    if files::is_url(&request.path) {
        let help = "download it, and sign the copy";
        return Err(refuse(&request.path, "is a URL, and what a manifest is about must be at hand", help));
    }
    let key = keys::load(&request.key)?;
    let chain = keyset::read_chain(&keyset::certificate_path(&request.key, request.certificate.as_deref()))?;
    let signer = Signer::new(key, &chain)?;
    let path = files::local(&request.path)?;
    let artifact = files::open(&path)?;
    let medium = if artifact.is_folder { None } else { format::of(&head(&path)?) };
    let embedded = medium.filter(|_| request.out.as_ref().is_none_or(|out| out.extension() != Some("c2pa".as_ref())));
    let out = out_path(request, &path, &artifact, embedded.is_some())?;

    let opened = request.inputs.iter().map(|input| inputs::open(input, progress)).collect::<Result<Vec<_>, _>>()?;
    if embedded.is_some() && carried(&artifact).is_ok_and(|carried| carried.is_some()) && !names(request, &path) {
        let help = format!(
            "keep it as the origin of the new one with --parent derived-from={0}, or sign a sidecar with --out {0}.c2pa",
            path.display()
        );
        return Err(refuse(&path, "carries a manifest already, which the copy would lose", &help));
    }
    let is_generated = request.inputs.iter().any(|input| input.relation == Relation::GeneratedBy);
    let kind = match request.kind {
        Some(kind) => kind,
        None if is_generated => Kind::GeneratedContent,
        None if medium.is_some() => {
            if request.declared.source_type.is_none() {
                let help = "name the model with --model BUNDLE, or say --source-type digitalCapture or another term";
                return Err(refuse(&path, "does not tell how it came about", help));
            }
            Kind::GeneratedContent
        }
        None => kind_of(&artifact),
    };
    let models = opened.iter().filter(|input| input.relation() == Relation::GeneratedBy).collect::<Vec<_>>();
    let declared = Declared { disclosure: disclosure(request, &models), ..request.declared.clone() };
    let software = request.software.clone().or_else(|| models.first().map(|model| model.name().to_owned()));
    let prompt = request.prompt.as_ref().map(|(path, how)| read_prompt(path, *how)).transpose()?;

    let measured = match embedded {
        Some(_) => None,
        None => {
            begin_hashing(progress, "hash", &artifact);
            let wants = Wants { sha256: Sha256::Manifest, ..Wants::default() };
            Some(artifact.read_once(&wants, &|bytes| progress.advance(bytes))?.measured)
        }
    };
    let listing = measured.as_ref().filter(|_| artifact.is_folder).map(|measured| measured.listing.to_text());
    let mut assets = opened.iter().map(inputs::OpenInput::asset).collect::<Result<Vec<_>, _>>()?;
    let content = Content {
        name: &artifact.name,
        kind,
        inputs: opened.iter().zip(&mut assets).map(|(input, asset)| input.as_input(asset)).collect(),
        prompt: prompt.as_ref().map(OpenPrompt::as_prompt),
        software: software.as_deref(),
        declared: &declared,
        listing: listing.as_deref(),
    };
    let notes_of = |judged: &Judged| -> Vec<String> {
        let noted = judged.links.iter().filter(|link| link.state != State::Verified);
        noted.map(|link| format!("{}: {}", link.row(), link.detail)).collect()
    };
    let root = chain.to_der()?[1].clone();
    let (store, judged) = match (embedded, &measured) {
        (Some(format), _) => {
            let mut source = open(&path)?;
            let mut copy = files::Replacement::new(&out)?;
            progress.begin("sign", 0);
            let store = embed(content, format, &mut source, copy.file(), &signer)?;
            let judged = judge_copy(copy.file(), &artifact.name, &root)?;
            copy.commit(files::PUBLIC)?;
            (store, judged)
        }
        (None, Some(measured)) => {
            let store = sidecar(content, measured.manifest_asset.0, &signer)?;
            let judged = judge(&store, &Asset::beside(artifact.is_folder, measured.manifest_asset.0), &root)?;
            files::write(&out, &store, files::PUBLIC)?;
            (store, judged)
        }
        (None, None) => return Err(refuse(&path, "was not read", "try again")),
    };
    let manifests = 1 + judged
        .links
        .iter()
        .filter_map(|link| link.manifest.as_ref())
        .collect::<std::collections::BTreeSet<_>>()
        .len();
    Ok(Created { out, embedded: embedded.is_some(), store: Hash::sha256(&store), manifests, notes: notes_of(&judged) })
}

/// Reads what a medium carries; the error is for people.
///
/// # Errors
/// When the medium is malformed where its manifest should be.
pub fn carried(artifact: &Artifact) -> Result<Option<Carried>, String> {
    match (&*artifact.files, artifact.is_folder) {
        ([(_, source)], false) => countermark_io::content::carried(&**source)
            .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned()),
        _ => Ok(None),
    }
}

fn refuse(path: &Path, problem: &str, help: &str) -> Error {
    countermark_io::Error::refused(path, problem, help).into()
}

fn open(path: &Path) -> Result<File, Error> {
    Ok(File::open(path).map_err(countermark_io::Error::io(path, "check that the file is still there"))?)
}

fn head(path: &Path) -> Result<Vec<u8>, Error> {
    let mut head = Vec::new();
    let read = open(path)?.take(format::HEAD as u64).read_to_end(&mut head);
    read.map_err(countermark_io::Error::io(path, "check that it is a file"))?;
    Ok(head)
}

/// `NAME.signed.EXT` for a copy, `NAME.EXT.c2pa` for a sidecar. A copy takes nothing's place.
fn out_path(request: &Request, path: &Path, artifact: &Artifact, embedded: bool) -> Result<PathBuf, Error> {
    let beside = |name: String| match std::fs::canonicalize(path) {
        // Beside the folder itself, also when that is called `.`.
        Ok(whole) if path.file_name().is_none() => whole.with_file_name(name),
        _ => files::parent(path).join(name),
    };
    let out = match (&request.out, embedded) {
        (Some(out), _) => out.clone(),
        (None, false) => beside(format!("{}.c2pa", artifact.name)),
        (None, true) => {
            let (stem, ending) = artifact.name.rsplit_once('.').unwrap_or((&artifact.name, "bin"));
            beside(format!("{stem}.signed.{ending}"))
        }
    };
    if embedded && out.exists() {
        let help = "name another file with --out, or move this one away first";
        return Err(refuse(&out, "is there already, and a copy replaces nothing", help));
    }
    Ok(out)
}

/// Is the artifact itself among the inputs?
fn names(request: &Request, path: &Path) -> bool {
    let same = |input: &InputRequest| std::fs::canonicalize(&input.source).ok() == std::fs::canonicalize(path).ok();
    request.inputs.iter().any(same)
}

/// What the first model is, as an answer to the question of who made this.
fn disclosure(request: &Request, models: &[&inputs::OpenInput]) -> Option<Disclosure> {
    let model = models.first();
    if model.is_none() && request.model_type.is_none() && request.oversight.is_none() {
        return request.declared.disclosure.clone();
    }
    Some(Disclosure {
        model_type: request.model_type.clone().unwrap_or_default(),
        model_name: model.map(|model| model.name().to_owned()),
        model_identifier: model.and_then(|model| model.statement()).map(|id| format!("sha256:{id}")),
        oversight: request.oversight,
    })
}

enum OpenPrompt {
    Text(String),
    Hash([u8; 32], u64),
}

impl OpenPrompt {
    fn as_prompt(&self) -> Prompt<'_> {
        match self {
            OpenPrompt::Text(text) => Prompt::Text(text),
            OpenPrompt::Hash(sha256, size) => Prompt::Hash { sha256: *sha256, size: *size },
        }
    }
}

fn read_prompt(path: &Path, how: PromptAs) -> Result<OpenPrompt, Error> {
    Ok(match how {
        PromptAs::Text => OpenPrompt::Text(files::read_text(path, MAX_PROMPT)?),
        PromptAs::Hash => {
            let bytes = files::read(path, 1 << 30)?;
            OpenPrompt::Hash(Hash::sha256(&bytes).0, bytes.len() as u64)
        }
    })
}

/// Judges what was just signed, by the strict checker and nobody else. Signers of inputs need not be known here.
fn judge(store: &[u8], asset: &Asset<'_>, root: &[u8]) -> Result<Judged, Error> {
    let anchors = [root.to_vec()];
    let vouch = |signed: &Signed<'_>| match alone::certificate(signed.chain, &anchors, keyset::now()) {
        Ok(root) => (State::Verified, format!("{}; {root} vouches for it", signed.key.short())),
        Err(refused) => refused,
    };
    let clock = Clock { now: keyset::now(), timestamp_roots: &[] };
    let judged = alone::judge(store, asset, clock, &vouch);
    let own = judged.rows.iter().find(|row| row.state != State::Verified);
    if let Some(row) = own {
        return Err(C2paError::Verify(format!("{}: {}", row.name, row.detail)).into());
    }
    match judged.links.iter().find(|link| link.state >= State::Invalid) {
        Some(link) => Err(C2paError::Verify(format!("{}: {}", link.row(), link.detail)).into()),
        None => Ok(judged),
    }
}

/// Judges the copy of a medium before it gets its name.
fn judge_copy(copy: &File, name: &str, root: &[u8]) -> Result<Judged, Error> {
    let io = |error: std::io::Error| C2paError::Io { what: name.to_owned(), source: error };
    let source = countermark_io::content::Reread::of(copy).map_err(io)?;
    let Some(carried) = countermark_io::content::carried(&source)? else {
        return Err(C2paError::Verify("the copy carries no manifest".to_owned()).into());
    };
    judge(&carried.store, &carried.asset(&source), root)
}
