//! Signs a release: statement, C2PA manifest, log entry, and the bundle that holds them with all ancestors.
//!
//! The order matters. The statement names the log and says that a manifest exists, so neither can be stripped; the
//! manifest quotes the statement; the entry binds manifest, statement, root and signer; the bundle carries the proof.
//! Commitments of marks enter the log before the release.
//!
//! With [`Request::embed`] the manifest goes into a copy of the file. The statement is about the file before that, since it
//! must exist before the manifest that quotes it; `verify` takes the manifest out again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countermark_io::c2pa::embed::Prepared;
use countermark_io::c2pa::{self, ParentManifest, ReadSeek, Signer};
use countermark_io::log::Log;
use countermark_io::{files, keys, timestamp};
use countermark_lineage::anchor::entry::{Entry, EntryType};
use countermark_lineage::anchor::proof::Proof;
use countermark_lineage::bundle::{Bundle, Bytes, MAX_BUNDLE, Mark, Receipt, Record};
use countermark_lineage::credential::declared::Declared;
use countermark_lineage::credential::dsse::Envelope;
use countermark_lineage::credential::embedded::embedding;
use countermark_lineage::credential::hand_over::Signed as HandOver;
use countermark_lineage::credential::keys::{PrivateKey, PublicKey};
use countermark_lineage::credential::policy::{CertificateRoot, Policy};
use countermark_lineage::digest::artifact::{Artifact, Cache, Measured, Sha256, Wants};
use countermark_lineage::digest::checkpoint::Tensor;
use countermark_lineage::digest::{Hash, checkpoint};
use countermark_lineage::graph::statement::{self, Evidence, Predicate, Process, Release, Statement, Tensors};
use countermark_lineage::graph::{Kind, Relation};
use serde::Serialize;

use crate::cache::Remembered;
use crate::progress::begin_hashing;
use crate::{Error, Progress, embed, hand_over, keyset, marks, records};

mod reuse;

use reuse::Old;

/// What to sign, with what.
#[derive(Clone, Debug)]
pub struct Request {
    /// A file, or the folder of a model or dataset.
    pub path: PathBuf,
    /// `owner.key`, or whatever else [`keys::load`] finds; `owner.crt` is expected beside it.
    pub key: PathBuf,
    /// What it was made from.
    pub parents: Vec<ParentRequest>,
    /// The folder of the log, made when it is not there.
    pub log: Option<PathBuf>,
    /// Where the bundle goes; `NAME.provenance.json` beside the artifact when left out.
    pub out: Option<PathBuf>,
    /// A copy of the file with the manifest inside is written there, and no sidecar. The bundle then goes beside the copy.
    /// For a single safetensors, ONNX or Parquet file.
    pub embed: Option<PathBuf>,
    /// What the artifact is; told from its files when left out.
    pub kind: Option<Kind>,
    /// Commitment records of marks in it, beside those that `embed` left for this very root.
    pub marks: Vec<PathBuf>,
    /// How it was made.
    pub process: Option<Process>,
    /// Take digests of untouched files from the user's cache, and keep new ones there.
    pub cache: bool,
    /// Another cache file than the user's; used whatever [`Request::cache`] says.
    pub cache_at: Option<PathBuf>,
    /// An older bundle of this artifact, signed by the same key. Its parents stay, and so do kind and process unless they
    /// are given. A cached digest then counts only when it also stands in that bundle's listing.
    pub reuse: Option<PathBuf>,
    /// The record tree to sign, when it is a dataset.
    pub tree: Option<records::Tree>,
    /// The file with the secret that salts the records, made when it is not there.
    pub salt: Option<PathBuf>,
    /// The certificates of the key, the leaf first, when they are not beside it.
    pub certificate: Option<PathBuf>,
    /// URL of an authority that stamps the manifest with the time (RFC 3161).
    pub timestamp: Option<String>,
    /// What the manifest declares: what others may do with it, how it came about, what it is.
    pub declared: Declared,
}

impl Request {
    /// Sign `path` with `key`, without parents and without a log.
    pub fn new(path: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Request {
            path: path.into(),
            key: key.into(),
            parents: vec![],
            log: None,
            out: None,
            embed: None,
            kind: None,
            marks: vec![],
            process: None,
            cache: false,
            cache_at: None,
            reuse: None,
            tree: None,
            salt: None,
            certificate: None,
            timestamp: None,
            declared: Declared::default(),
        }
    }
}

/// One parent: how the artifact comes from it, the parent's bundle, and the parent's bytes when they are at hand.
#[derive(Clone, Debug)]
pub struct ParentRequest {
    /// How the artifact comes from the parent.
    pub relation: Relation,
    /// The parent's bundle.
    pub bundle: PathBuf,
    /// The parent itself. Its root is then checked, and its manifest travels inside the new one.
    pub path: Option<PathBuf>,
}

impl std::str::FromStr for ParentRequest {
    type Err = countermark_lineage::Error;

    /// `RELATION=BUNDLE[@PATH]`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((relation, rest)) = text.split_once('=') else {
            let help =
                "write RELATION=BUNDLE or RELATION=BUNDLE@PATH, such as fine-tuned-from=base.provenance.json@base";
            return Err(countermark_lineage::Error::usage(format!("{text:?} names no relation"), help));
        };
        let (bundle, path) = match rest.rsplit_once('@') {
            Some((bundle, path)) => (bundle, Some(PathBuf::from(path))),
            None => (rest, None),
        };
        Ok(ParentRequest { relation: relation.parse()?, bundle: bundle.into(), path })
    }
}

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct Signed {
    /// The bundle.
    pub bundle: PathBuf,
    /// The C2PA sidecar, or the copy that the manifest is inside of.
    pub manifest: PathBuf,
    /// Id of the statement.
    pub statement: Hash,
    /// Root of the artifact.
    pub root: Hash,
    /// Place in the log, when there is one.
    pub log: Option<LogPlace>,
    /// Bytes of the artifact that were read; less than its size when digests came from the cache.
    pub bytes_read: u64,
    /// Files whose digests came from the cache.
    pub recalled: usize,
    /// What is wrong with the cache, and what will be with the certificate, for people.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// Where a release stands in a log.
#[derive(Clone, Debug, Serialize)]
pub struct LogPlace {
    /// Index of the entry.
    pub index: u64,
    /// The key that verifies the log.
    pub vkey: String,
}

/// Signs a release and writes its bundle and its C2PA sidecar.
///
/// # Errors
/// When the artifact, a key, a parent or the log cannot be used; nothing is written then, except that commitments of
/// marks may already be in the log.
pub fn sign(request: &Request, progress: &impl Progress) -> Result<Signed, Error> {
    if request.out.is_none() && request.embed.is_none() && files::is_url(&request.path) {
        let help = "say with --out where on this machine the bundle shall go";
        return Err(refuse(&request.path, "is a URL, and nothing can be written beside it".to_owned(), help));
    }
    let key = keys::load(&request.key)?;
    let certificate = keyset::certificate_path(&request.key, request.certificate.as_deref());
    let chain = keyset::read_chain(&certificate)?;
    let signer = Signer::new(key.clone(), &chain)?;
    let hand_overs = hand_over::known(&request.key, &key.public())?;
    let owners: Vec<PublicKey> =
        std::iter::once(key.public()).chain(hand_overs.iter().map(|signed| signed.content.from)).collect();
    let old = request.reuse.as_deref().map(|path| Old::open(path, &owners)).transpose()?;
    let mut parents =
        request.parents.iter().map(|parent| OpenParent::open(parent, progress)).collect::<Result<Vec<_>, _>>()?;
    if let Some(old) = &old {
        old.add_parents(&mut parents)?;
    }
    let artifact = files::open(&request.path)?;
    if let Some(out) = &request.embed {
        embed::check(&artifact, &request.path, out)?;
    }
    begin_hashing(progress, "hash", &artifact);
    let cache = Remembered::open(request.cache || request.reuse.is_some(), request.cache_at.as_deref());
    let recorded = old.as_ref().map(|old| old.recorded(cache.as_cache()));
    let wants = Wants {
        sha256: Sha256::Manifest,
        tensors: true,
        cache: recorded.as_ref().map(|recorded| recorded as &dyn Cache).or(cache.as_cache()),
    };
    let reading = artifact.once().read_once(&wants, &|bytes| progress.advance(bytes))?;
    let mut warnings = cache.close();
    warnings.extend(keyset::expiry_warning(&chain, &certificate, keyset::now())?);
    let (measured, tensors) = (reading.measured, reading.tensors?);
    let log = request.log.as_deref().map(|folder| keyset::open_log(folder, &request.key)).transpose()?;
    let records = mark_records(request, &measured, &owners)?;
    let draft = Draft { request, old, key, parents, artifact, measured, tensors, log, records, hand_overs };

    let statement = draft.statement(progress)?;
    let payload = statement.to_payload();
    let id = Hash::sha256(&payload);
    let (mut store, copy) = draft.manifest(&statement, id, &signer, progress)?;
    if let Some(url) = &request.timestamp {
        store = draft.stamp(&store, url, &mut warnings)?;
    }
    let logged = draft.log.as_ref().map(|log| draft.enter(log, id, &store)).transpose()?;

    let beside = request.embed.as_deref().unwrap_or(&request.path);
    let name = request.embed.as_ref().and_then(|out| out.file_name()?.to_str()).unwrap_or(&draft.artifact.name);
    let out = request.out.clone().unwrap_or_else(|| default_out(beside, name));
    let sidecar = || files::parent(&out).join(format!("{}.c2pa", draft.artifact.name));
    let manifest = request.embed.clone().unwrap_or_else(sidecar);
    let place = logged.as_ref().map(|logged| logged.place.clone());
    let root = draft.measured.root;
    match copy {
        Some(copy) => copy.commit()?,
        None => files::write(&manifest, &store, files::PUBLIC)?,
    }
    let record = draft.record(Envelope::sign(&payload, &*draft.key)?, store, logged);
    let mut bundle = collect(record, draft.parents)?;
    hand_over::add(&mut bundle.hand_overs, draft.hand_overs.into_iter().map(|signed| signed.file));
    hand_over::keep_needed(&mut bundle)?;
    files::write(&out, bundle.to_json().as_bytes(), files::PUBLIC)?;
    let (bytes_read, recalled) = (reading.bytes_read, reading.recalled);
    Ok(Signed { bundle: out, manifest, statement: id, root, log: place, bytes_read, recalled, warnings })
}

/// `NAME.provenance.json` beside the artifact.
fn default_out(path: &Path, name: &str) -> PathBuf {
    files::parent(path).join(format!("{name}.provenance.json"))
}

/// A parent whose bundle was read and whose own statement verified.
pub(crate) struct OpenParent {
    pub relation: Relation,
    pub id: Hash,
    pub statement: Statement,
    pub bundle: Bundle,
    /// What its manifest is about, when that is at hand.
    pub path: Option<PathBuf>,
}

impl OpenParent {
    pub fn open(request: &ParentRequest, progress: &impl Progress) -> Result<Self, Error> {
        let bundle = Bundle::parse(&files::read(&request.bundle, MAX_BUNDLE)?)
            .map_err(|error| refuse(&request.bundle, error.problem(), "name the parent's bundle"))?;
        let verified = bundle.records[0]
            .statement
            .verify()
            .and_then(|verified| Ok((Hash::sha256(&verified.payload), Statement::parse(&verified.payload)?)));
        let (id, statement) =
            verified.map_err(|error| refuse(&request.bundle, error.problem(), "ask for the parent's bundle again"))?;
        let mut is_inside = false;
        if let Some(path) = &request.path {
            let opened = files::open(path)?;
            let store = bundle.records[0].manifest.as_ref().map(|store| &*store.0);
            let before = embed::before(&opened, store)?;
            is_inside = before.is_some();
            let artifact = before.unwrap_or(opened);
            begin_hashing(progress, "hash parent", &artifact);
            let measured = artifact.measure_with(&|bytes| progress.advance(bytes), false)?;
            if measured.root != statement.root() {
                let problem = format!("is not the parent that {} is about", request.bundle.display());
                return Err(refuse(path, problem, "name the parent's own files after the @"));
            }
        }
        // A manifest that belongs inside a file cannot be checked against the file without it.
        let store = bundle.records[0].manifest.as_ref();
        let bound = is_inside || !store.is_some_and(|store| matches!(embedding(&store.0), Ok(Some(_))));
        let path = request.path.clone().filter(|_| bound);
        Ok(OpenParent { relation: request.relation, id, statement, bundle, path })
    }

    /// What its manifest binds, when that is at hand: a folder's listing always is.
    pub fn asset(&self) -> Result<Option<Box<dyn ReadSeek>>, Error> {
        if self.statement.predicate.folder {
            return Ok(Some(Box::new(Cursor::new(self.statement.predicate.listing.to_text()))));
        }
        let open = |path: &PathBuf| reopen(path).map(|file| Box::new(file) as Box<dyn ReadSeek>);
        self.path.as_ref().map(open).transpose()
    }
}

pub(crate) fn refuse(path: &Path, problem: String, help: &str) -> Error {
    countermark_io::Error::refused(path, problem, help).into()
}

/// Commitment records of the marks in this artifact, each once.
fn mark_records(request: &Request, measured: &Measured, owners: &[PublicKey]) -> Result<Vec<Vec<u8>>, Error> {
    let mut records = marks::records_of(&marks::folder(&request.key), measured.root)?;
    for path in &request.marks {
        let record = marks::read_record(path)?;
        let owner = marks::owner_of(&record)?;
        if !owners.iter().any(|known| known.id() == owner) {
            return Err(refuse(
                path,
                "is the commitment of another owner".to_owned(),
                "name the record of your own mark",
            ));
        }
        if !records.contains(&record) {
            records.push(record);
        }
    }
    Ok(records)
}

/// Everything that is known of a release before it is signed.
struct Draft<'a> {
    request: &'a Request,
    old: Option<Old>,
    key: Arc<dyn PrivateKey>,
    parents: Vec<OpenParent>,
    artifact: Artifact,
    measured: Measured,
    tensors: Option<Vec<Tensor>>,
    log: Option<Log>,
    /// Commitment records of the marks in it.
    records: Vec<Vec<u8>>,
    /// By which the key came to its rights.
    hand_overs: Vec<HandOver>,
}

/// The receipts of the release and of each mark, all under one checkpoint.
struct Logged {
    place: LogPlace,
    release: Receipt,
    marks: Vec<Receipt>,
}

impl Draft<'_> {
    fn statement(&self, progress: &impl Progress) -> Result<Statement, Error> {
        let old = self.old.as_ref().map(|old| &old.statement.predicate);
        let tree =
            |tree| records::measure(&self.artifact, &self.measured, tree, self.request.salt.as_deref(), progress);
        let records = match self.request.tree.map(tree).transpose()? {
            Some(records) => Some(records),
            // The same bytes hold the same records, and only their owner has the salt.
            None => old.filter(|old| old.listing == self.measured.listing).and_then(|old| old.records.clone()),
        };
        let edge = |parent: &OpenParent| statement::Parent {
            relation: parent.relation,
            name: parent.statement.name().to_owned(),
            statement: parent.id,
            root: parent.statement.root(),
        };
        let commitment = |record: &Vec<u8>| Evidence::WatermarkCommitment { record: Hash::sha256(record) };
        let predicate = Predicate {
            kind: self.request.kind.or(old.map(|old| old.kind)).unwrap_or_else(|| kind_of(&self.artifact)),
            created: statement::rfc3339(keyset::now()),
            folder: self.artifact.is_folder,
            listing: self.measured.listing.clone(),
            card: self.measured.card,
            tensors: self.tensors.clone().map(|list| Tensors { root: checkpoint::root(&list), list }),
            records,
            parents: self.parents.iter().map(edge).collect(),
            process: self.request.process.clone().or_else(|| old.and_then(|old| old.process.clone())),
            evidence: self.records.iter().map(commitment).collect(),
            release: Release { manifest: true, log: self.log.as_ref().map(|log| log.verifier().to_string()) },
            signer: self.key.public(),
        };
        Ok(Statement::new(&self.artifact.name, &self.measured, predicate))
    }

    /// The C2PA manifest store that quotes the statement, and the copy that it is inside of, if that is asked for.
    fn manifest(
        &self,
        statement: &Statement,
        id: Hash,
        signer: &Signer,
        progress: &impl Progress,
    ) -> Result<(Vec<u8>, Option<Prepared>), Error> {
        let listing = self.artifact.is_folder.then(|| self.measured.listing.to_text());
        let mut assets = self.parents.iter().map(OpenParent::asset).collect::<Result<Vec<_>, _>>()?;
        let inputs = self.parents.iter().zip(&mut assets).map(|(parent, asset)| c2pa::Parent {
            relation: parent.relation,
            name: parent.statement.name(),
            statement: parent.id.0,
            root: parent.statement.root().0,
            kind: parent.statement.predicate.kind,
            manifest: match (&parent.bundle.records[0].manifest, asset) {
                (Some(store), Some(asset)) => Some(ParentManifest { store: &store.0, asset: &mut **asset }),
                _ => None,
            },
        });
        let marks: Vec<[u8; 32]> = statement.marks().map(|mark| mark.0).collect();
        let release = c2pa::Release {
            name: &self.artifact.name,
            kind: statement.predicate.kind,
            generated: false,
            asset_sha256: self.measured.manifest_asset.0,
            statement: id.0,
            root: self.measured.root.0,
            marks: &marks,
            listing: listing.as_deref(),
            parents: inputs.collect(),
            declared: &self.request.declared,
        };
        let (Some(out), Some((_, source))) = (&self.request.embed, self.artifact.files.first()) else {
            return Ok((c2pa::create(release, signer)?, None));
        };
        progress.begin("write", source.len());
        let copy = c2pa::embed::prepare(release, source, out, signer, &|bytes| progress.advance(bytes))?;
        Ok((copy.store().to_vec(), Some(copy)))
    }

    /// The store with an authority's word when it was there.
    fn stamp(&self, store: &[u8], url: &str, warnings: &mut Vec<String>) -> Result<Vec<u8>, Error> {
        let policy = keyset::beside(&self.request.key, "policy.toml");
        let policy = if policy.is_file() { keyset::load_policy(&policy)? } else { Policy::default() };
        let roots = policy.timestamp_roots.iter().map(CertificateRoot::to_der).collect::<Result<Vec<_>, _>>()?;
        let (stamped, stamp) = timestamp::stamp(store, url, &roots)?;
        if let Err(problem) = stamp {
            warnings.push(format!(
                "{problem}; a verifier whose policy has no [[timestamp_root]] for {url} does not come to a green verdict"
            ));
        }
        Ok(stamped)
    }

    /// Enters the commitments, then the release, and proves all of them.
    fn enter(&self, log: &Log, id: Hash, store: &[u8]) -> Result<Logged, Error> {
        let commitment = |record: &Vec<u8>| marks::entry(record, &*self.key);
        let mut entries = self.records.iter().map(commitment).collect::<Result<Vec<_>, _>>()?;
        let release = Entry {
            entry_type: EntryType::Release,
            object: Hash::sha256(store),
            root: self.measured.root,
            statement: id,
            signer: self.key.public(),
        };
        entries.push(release.sign(&*self.key)?);
        let indices = log.append_once(&entries)?;
        let proofs = log.prove(&indices)?;
        let receipt = |(entry, proof): (Vec<u8>, Proof)| Receipt { entry: Bytes(entry), proof: proof.to_text() };
        let mut receipts: Vec<Receipt> = entries.into_iter().zip(proofs).map(receipt).collect();
        let (Some(release), Some(index)) = (receipts.pop(), indices.last()) else {
            return Err(countermark_lineage::Error::usage("nothing was logged", "try again").into());
        };
        let place = LogPlace { index: *index, vkey: log.verifier().to_string() };
        Ok(Logged { place, release, marks: receipts })
    }

    fn record(&self, statement: Envelope, store: Vec<u8>, logged: Option<Logged>) -> Record {
        let (release, receipts) = match logged {
            Some(Logged { release, marks, .. }) => (Some(release), marks.into_iter().map(Some).collect()),
            None => (None, vec![None; self.records.len()]),
        };
        let mark = |(record, receipt): (&Vec<u8>, _)| Mark { record: Bytes(record.clone()), receipt };
        let marks = self.records.iter().zip(receipts).map(mark).collect();
        Record { statement, manifest: Some(Bytes(store)), receipt: release, marks }
    }
}

fn reopen(path: &Path) -> Result<File, Error> {
    Ok(File::open(path).map_err(countermark_io::Error::io(path, "check that the file is still there"))?)
}

/// Told from the names of the files: weights make a model, adapter weights an adapter, anything else is data.
pub(crate) fn kind_of(artifact: &Artifact) -> Kind {
    const WEIGHTS: [&str; 8] = [".safetensors", ".gguf", ".onnx", ".pt", ".pth", ".bin", ".npz", ".tflite"];
    let names = || artifact.files.iter().map(|(path, _)| &**path);
    if names().any(|name| name.ends_with("adapter_model.safetensors")) {
        Kind::Adapter
    } else if names().any(|name| WEIGHTS.iter().any(|ending| name.ends_with(ending))) {
        Kind::Model
    } else {
        Kind::Dataset
    }
}

/// The artifact's record, and each record of its ancestors once: whatever else a parent's bundle holds stays behind.
fn collect(record: Record, parents: Vec<OpenParent>) -> Result<Bundle, Error> {
    let mut known = BTreeMap::new();
    let mut hand_overs = Vec::new();
    parents.iter().for_each(|parent| hand_over::add(&mut hand_overs, parent.bundle.hand_overs.iter().cloned()));
    let mut edges: Vec<Hash> = parents.iter().map(|parent| parent.id).collect();
    for other in parents.into_iter().flat_map(|parent| parent.bundle.records) {
        known.insert(other.statement.id()?, other);
    }
    let mut records = vec![record];
    while let Some(id) = edges.pop() {
        // A parent whose own bundle lacks an ancestor leaves it missing, and `verify` says so.
        let Some(other) = known.remove(&id) else { continue };
        let statement = Statement::parse(&other.statement.verify()?.payload)?;
        edges.extend(statement.predicate.parents.iter().map(|parent| parent.statement));
        records.push(other);
    }
    Ok(Bundle { hand_overs, ..Bundle::new(records) })
}
