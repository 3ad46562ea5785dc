//! OpenSSF Model Signing: bundles that `model_signing` and its kin accept, and a verdict on theirs.
//!
//! A bundle covers every file of a model. What speaks for a release lies beside it and changes without it, so [`sign`]
//! leaves that out and records it: bundles of provenance, manifests, badges, and a model's card, which carries the
//! badge. The card of a dataset stays in, because loaders take their configuration from it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use countermark_io::{certificate, files, inventory, keys};
use countermark_lineage::credential::keys::{Algorithm, PublicKey};
use countermark_lineage::credential::oms::sigstore::{Identity, TrustedRoot};
use countermark_lineage::credential::oms::{
    self, Bundle, DEFAULT_IGNORED, MAX_BUNDLE, Method, Statement, Trust, check_ignored, check_name,
};
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::artifact::{Artifact, CARD};
use countermark_lineage::digest::listing::is_provenance;
use countermark_lineage::digest::pieces::Function;
use countermark_lineage::graph::Kind;
use countermark_lineage::verdict::Verdict;
use countermark_lineage::verify::oms::{self as judge, Selection};
use serde::Serialize;

use crate::progress::begin_hashing;
use crate::{Error, Progress, keyset, sign::kind_of};

/// What to sign, with what.
#[derive(Clone, Debug)]
pub struct SignRequest {
    /// A file, or the folder of a model or dataset.
    pub path: PathBuf,
    /// A key of P-256, P-384 or P-521.
    pub key: PathBuf,
    /// Certificates of the key in PEM, the leaf first: the method is then `certificate`.
    pub certificates: Vec<PathBuf>,
    /// Where the bundle goes; `model.sig` in a folder or `NAME.sig` beside a file when left out.
    pub out: Option<PathBuf>,
    /// With what to hash.
    pub function: Function,
    /// Cut files into shards of so many bytes.
    pub shard_size: Option<u64>,
    /// Left out: paths in the model.
    pub ignored: Vec<PathBuf>,
    /// Cover what speaks for a release and the card too, and state no root of ours: as other tools sign.
    pub plain: bool,
}

impl SignRequest {
    /// Sign `path` with `key`, whole files by SHA-256.
    pub fn new(path: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        SignRequest {
            path: path.into(),
            key: key.into(),
            certificates: vec![],
            out: None,
            function: Function::Sha256,
            shard_size: None,
            ignored: vec![],
            plain: false,
        }
    }
}

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct Signed {
    /// The bundle.
    pub bundle: PathBuf,
    /// `key` or `certificate`.
    pub method: &'static str,
    /// The key that signed.
    pub key: PublicKey,
    /// Files or shards in the list.
    pub resources: usize,
    /// SHA-256 over their digests.
    pub root: Hash,
    /// Countermark's root, when the bundle states it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blake3: Option<Hash>,
    /// Paths that exist and are not covered.
    pub left_out: Vec<String>,
    /// Files without bytes, of which there are no shards.
    pub unprotected: Vec<String>,
    /// Whether the model is one file, which `model_signing` 1.1.1 expects under another name.
    pub single: bool,
}

/// Signs a model and writes the bundle. The same model and key give the same bundle, but for keys that draw random
/// numbers.
///
/// # Errors
/// When the model cannot be signed as the specification demands (no file, a link, a name that is not UTF-8), the key is
/// of another kind or does not fit its certificate; nothing is written then.
pub fn sign(request: &SignRequest, progress: &impl Progress) -> Result<Signed, Error> {
    let key = keys::load(&request.key)?;
    let public = key.public();
    if public.algorithm() == Algorithm::Ed25519 {
        let help = "OpenSSF Model Signing knows only ECDSA: name owner.p256.key, which keygen writes beside owner.key";
        return Err(refuse(&request.key, "is an Ed25519 key", help));
    }
    let chain = read_certificates(&request.certificates)?;
    if let (Some(path), false) = (request.certificates.first(), chain.is_empty()) {
        let leaf =
            oms::check_chain(&chain).map_err(|error| refuse(path, error.problem(), "name another certificate"))?;
        if leaf != public {
            let help = "the first certificate must be that of the key";
            return Err(refuse(path, "is the certificate of another key", help));
        }
    }
    let out = match &request.out {
        Some(out) => out.clone(),
        None => default_out(&request.path)?,
    };
    keep_others(&out)?;

    let mut left_out: BTreeSet<String> = DEFAULT_IGNORED.map(str::to_owned).into();
    let place = place(&request.path, &out);
    if let Some(place) = &place {
        check_ignored(place).map_err(|problem| refuse(&out, problem, "write the bundle to another place"))?;
    }
    left_out.extend(place);
    for path in &request.ignored {
        let inside = inside(&request.path, path)?.ok_or_else(|| {
            refuse(path, "is outside the model, so there is nothing to leave out", "name a path in the model")
        })?;
        left_out.insert(inside);
    }
    let mut model = inventory::open(&request.path, &Selection { left_out: left_out.clone(), follow_links: false })?;
    if !request.plain && model.is_folder {
        let ours = ours(&model);
        let (out, files) = model.files.drain(..).partition(|(name, _)| ours.contains(name));
        model.files = files;
        model.ignored.extend(out.into_iter().map(|(name, _): (String, _)| name));
        model.ignored.sort_unstable();
        left_out.extend(ours);
    }
    if model.files.is_empty() {
        let help = "name the folder that holds the model, and leave less out";
        return Err(refuse(&request.path, "holds no file to sign", help));
    }
    for (name, _) in &model.files {
        check_name(name).map_err(|problem| refuse(&request.path, problem, "rename the file"))?;
    }
    begin_hashing(progress, "hash", &model);
    let method = request.shard_size.map_or(Method::Files, Method::Shards);
    let hash = |bytes| progress.advance(bytes);
    let measured = oms::measure(&model, request.function, method, !request.plain, &hash)?;
    let statement = Statement {
        name: model.name.clone(),
        blake3: measured.root,
        resources: measured.resources,
        method,
        function: request.function,
        allow_symlinks: false,
        ignored: left_out.into_iter().collect(),
    };
    let payload = statement.to_payload()?;
    let bundle = Bundle::sign(&payload, &*key, &chain)?;
    files::write(&out, bundle.as_bytes(), files::PUBLIC)?;
    // The payload has them sorted.
    let signed = Statement::parse(&payload)?;
    Ok(Signed {
        bundle: out,
        method: if chain.is_empty() { "key" } else { "certificate" },
        key: public,
        resources: signed.resources.len(),
        root: signed.root(),
        blake3: signed.blake3,
        left_out: model.ignored,
        unprotected: measured.unprotected,
        single: !model.is_folder,
    })
}

/// By which method, and whom to believe.
#[derive(Clone, Debug)]
pub enum By {
    /// The public key in this file.
    Key(PathBuf),
    /// A chain to one of the certificates in these files.
    Certificates(Vec<PathBuf>),
    /// A keyless signature.
    Sigstore {
        /// `trusted_root.json`.
        root: PathBuf,
        /// The name in the certificate.
        identity: String,
        /// Who vouched for that name.
        issuer: String,
    },
    /// Whoever this policy vouches for.
    Policy(PathBuf),
}

/// What to verify, and against what.
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    /// A file, or the folder of a model or dataset.
    pub path: PathBuf,
    /// The bundle.
    pub bundle: PathBuf,
    /// Whom to believe.
    pub by: By,
    /// Left out beside what the signer left out: paths in the model; those elsewhere do not matter.
    pub ignored: Vec<PathBuf>,
    /// Files that are not listed are named, and are no failure.
    pub ignore_unsigned: bool,
    /// Judge as of this time, in Unix seconds, and not as of now.
    pub at: Option<i64>,
}

/// Checks a bundle and compares it with the model, by itself and strictly.
///
/// # Errors
/// When a path, a key or a policy cannot be read. A bundle that is wrong is a verdict, not an error.
pub fn verify(request: &VerifyRequest, progress: &impl Progress) -> Result<Verdict, Error> {
    if !files::exists(&request.path) {
        return Err(refuse(&request.path, "is not there", "check the path of the model"));
    }
    let bytes = files::read(&request.bundle, MAX_BUNDLE)?;
    let believed = Believed::load(&request.by)?;
    let revocations = match &request.by {
        By::Policy(path) => crate::trust::Trust::load(Some(path), &[], &[])?.revocations,
        _ => vec![],
    };
    let ignored = request.ignored.iter().map(|path| inside(&request.path, path)).collect::<Result<Vec<_>, _>>()?;
    let ignored: Vec<String> = ignored.into_iter().flatten().collect();
    let place = place(&request.path, &request.bundle);
    let bundle = judge::Bundle {
        bytes: &bytes,
        trust: believed.trust(&request.by),
        place: place.as_deref(),
        ignored: &ignored,
        revocations: &revocations,
        ignore_unsigned: request.ignore_unsigned,
        now: request.at.unwrap_or_else(keyset::now),
        at: request.at.is_some(),
    };
    let open = |selection: &Selection| {
        let model = inventory::open(&request.path, selection).map_err(in_lineage)?;
        begin_hashing(progress, "re-hash", &model);
        Ok::<Artifact, countermark_lineage::Error>(model)
    };
    Ok(judge::verify(&bundle, &open, &|bytes| progress.advance(bytes)))
}

/// What the files of [`By`] hold.
enum Believed {
    Key(PublicKey),
    Certificates(Vec<Vec<u8>>),
    Sigstore(TrustedRoot),
    Policy(Box<countermark_lineage::credential::policy::Policy>),
}

impl Believed {
    fn load(by: &By) -> Result<Self, Error> {
        Ok(match by {
            By::Key(path) => {
                let text = files::read_text(path, MAX_KEY)?;
                let key = keys::public_from_pem(&text).or_else(|| PublicKey::parse(text.trim()));
                let help = "name a PEM file with a PUBLIC KEY of P-256, P-384 or P-521, such as owner.p256.pub";
                let key = key.ok_or_else(|| refuse(path, "holds no public key", help))?;
                if key.algorithm() == Algorithm::Ed25519 {
                    return Err(refuse(path, "is an Ed25519 key, which OpenSSF Model Signing does not know", help));
                }
                Believed::Key(key)
            }
            By::Certificates(paths) => {
                let anchors = read_certificates(paths)?;
                if anchors.is_empty() {
                    let problem = "no certificate root was given, and none is believed by itself".to_owned();
                    let help = "name the roots that you trust";
                    return Err(countermark_lineage::Error::usage(problem, help).into());
                }
                Believed::Certificates(anchors)
            }
            By::Sigstore { root, .. } => {
                let parsed = TrustedRoot::parse(&files::read(root, MAX_ROOT)?);
                Believed::Sigstore(parsed.map_err(|error| refuse(root, error.problem(), "name a trusted_root.json"))?)
            }
            By::Policy(path) => Believed::Policy(Box::new(keyset::load_policy(path)?)),
        })
    }

    fn trust<'a>(&'a self, by: &'a By) -> Trust<'a> {
        match (self, by) {
            (Believed::Key(key), _) => Trust::Key(*key),
            (Believed::Certificates(anchors), _) => Trust::Anchors(anchors),
            (Believed::Sigstore(root), By::Sigstore { identity, issuer, .. }) => {
                Trust::Sigstore(Identity { root, identity, issuer })
            }
            (Believed::Sigstore(root), _) => Trust::Sigstore(Identity { root, identity: "", issuer: "" }),
            (Believed::Policy(policy), _) => Trust::Policy(policy),
        }
    }
}

const MAX_KEY: u64 = 64 << 10;
const MAX_CERTIFICATES: u64 = 1 << 20;
const MAX_ROOT: u64 = 4 << 20;

fn refuse(path: &Path, problem: impl Into<String>, help: &str) -> Error {
    countermark_io::Error::refused(path, problem, help).into()
}

/// The model could not be listed: for a verdict that is an answer.
fn in_lineage(error: countermark_io::Error) -> countermark_lineage::Error {
    match error {
        countermark_io::Error::Io { path, source, .. } => countermark_lineage::Error::Io { place: path, source },
        countermark_io::Error::Refused { path, problem, help } => {
            countermark_lineage::Error::Input { place: path, problem, help }
        }
        countermark_io::Error::Lineage(error) => error,
    }
}

fn read_certificates(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Error> {
    let mut all = Vec::new();
    for path in paths {
        let found = certificate::all(&files::read_text(path, MAX_CERTIFICATES)?);
        let found = found.map_err(|error| refuse(path, error.to_string(), "name a PEM file of certificates"))?;
        if found.is_empty() {
            return Err(refuse(path, "holds no certificate", "name a PEM file of certificates"));
        }
        all.extend(found);
    }
    Ok(all)
}

/// `model.sig` in a folder, `NAME.sig` beside a file.
fn default_out(path: &Path) -> Result<PathBuf, Error> {
    if files::is_url(path) {
        return Err(refuse(
            path,
            "is a URL, and nothing can be written beside it",
            "say with --out where the bundle goes",
        ));
    }
    let path = files::local(path)?;
    Ok(if path.is_dir() { path.join(judge::NAME) } else { PathBuf::from(format!("{}.sig", path.display())) })
}

/// Refuses to write over anything but a bundle.
fn keep_others(out: &Path) -> Result<(), Error> {
    let is_bundle = || Bundle::parse(&files::read(out, MAX_BUNDLE)?).map_err(Error::from);
    if fs::symlink_metadata(out).is_ok() && is_bundle().is_err() {
        return Err(refuse(out, "is there already and no OMS bundle", "choose another name, or move it away first"));
    }
    Ok(())
}

/// Where `file` lies in the model, when it does, by the paths without links.
fn place(model: &Path, file: &Path) -> Option<String> {
    let model = fs::canonicalize(model).ok().filter(|model| model.is_dir())?;
    let folder = fs::canonicalize(files::parent(file)).ok()?;
    text(folder.join(file.file_name()?).strip_prefix(&model).ok()?)
}

/// A path with `/` between its parts.
fn text(relative: &Path) -> Option<String> {
    let part = |part: Component<'_>| match part {
        Component::Normal(part) => Some(part.to_str()?.to_owned()),
        _ => None,
    };
    Some(relative.components().map(part).collect::<Option<Vec<_>>>()?.join("/")).filter(|text| !text.is_empty())
}

/// The path in the model that somebody wants left out; `None` when it is elsewhere. A relative one is in the model.
fn inside(model: &Path, path: &Path) -> Result<Option<String>, Error> {
    let help = "name one file or folder of the model, relative to it and without *";
    let relative = if path.is_absolute() {
        // Both as they are written, or else both without links.
        let written = path.strip_prefix(model).ok().and_then(text);
        match written.or_else(|| place(model, path)) {
            Some(relative) => relative,
            None => return Ok(None),
        }
    } else {
        text(path).ok_or_else(|| refuse(path, "is not a path below the model", help))?
    };
    check_ignored(&relative).map_err(|problem| refuse(path, problem, help))?;
    Ok(Some(relative))
}

/// What speaks for a release: what is there, and what is usually put there later.
fn ours(model: &Artifact) -> BTreeSet<String> {
    let name = &model.name;
    let later = [judge::NAME, "badge.svg", "model.provenance.json"].map(str::to_owned);
    let named = [format!("{name}.provenance.json"), format!("{name}.c2pa")];
    let here = model.files.iter().map(|(name, _)| name.clone()).filter(|name| is_provenance(name));
    let is_card = |name: &str| name == CARD && !matches!(kind_of(model), Kind::Dataset);
    let card = model.files.iter().map(|(name, _)| name.clone()).filter(|name| is_card(name));
    let all = here.chain(card).chain(later).chain(named);
    all.filter(|name| check_ignored(name).is_ok()).collect()
}
