//! What content was made from: a release by its bundle, an artifact by its sidecar, a medium by what it carries.

use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use countermark_io::c2pa::{ParentManifest, ReadSeek};
use countermark_io::content::{Input, InputManifest};
use countermark_io::files;
use countermark_lineage::credential::alone::{self, Asset, Clock, Judged};
use countermark_lineage::credential::c2pa as checker;
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::artifact::{Artifact, Sha256, Wants};
use countermark_lineage::graph::{Kind, Relation};
use countermark_lineage::verdict::{Check, State};

use super::refuse;
use crate::progress::begin_hashing;
use crate::sign::{OpenParent, ParentRequest};
use crate::{Error, Progress, keyset};

/// One input: how the content comes from it, and what speaks for it.
#[derive(Clone, Debug)]
pub struct InputRequest {
    /// How the content comes from it.
    pub relation: Relation,
    /// A bundle, a C2PA sidecar, or a medium that carries its manifest.
    pub source: PathBuf,
    /// The input itself, where that is not the source.
    pub path: Option<PathBuf>,
}

impl InputRequest {
    /// `BUNDLE[@PATH]`, as the model that produced the content.
    pub fn model(text: &str) -> Self {
        let (source, path) = match text.rsplit_once('@') {
            Some((source, path)) => (source, Some(PathBuf::from(path))),
            None => (text, None),
        };
        InputRequest { relation: Relation::GeneratedBy, source: source.into(), path }
    }
}

impl From<ParentRequest> for InputRequest {
    fn from(parent: ParentRequest) -> Self {
        InputRequest { relation: parent.relation, source: parent.bundle, path: parent.path }
    }
}

/// An input whose own evidence was checked.
pub(super) enum OpenInput {
    Release(Box<OpenParent>),
    Beside {
        relation: Relation,
        name: String,
        kind: Option<Kind>,
        root: Hash,
        statement: Option<Hash>,
        store: Vec<u8>,
        /// The file, or a folder's listing.
        asset: Bound,
    },
    Medium {
        relation: Relation,
        name: String,
        format: &'static str,
        path: PathBuf,
    },
}

/// Bytes that a sidecar binds.
pub(super) enum Bound {
    File(PathBuf),
    Listing(String),
}

/// Opens an input, and has the strict checker judge its manifest. Its signer need not be known here.
pub(super) fn open(request: &InputRequest, progress: &impl Progress) -> Result<OpenInput, Error> {
    let source = &request.source;
    if source.extension() == Some("c2pa".as_ref()) {
        return beside(request, progress);
    }
    let is_bundle = source.extension() == Some("json".as_ref());
    if !is_bundle && request.path.is_none() && !files::is_url(source) {
        return medium(request);
    }
    let parent = ParentRequest { relation: request.relation, bundle: source.clone(), path: request.path.clone() };
    let parent = OpenParent::open(&parent, progress)?;
    let record = &parent.bundle.records[0];
    let statement = &parent.statement;
    if let Some(store) = &record.manifest {
        if !statement.predicate.folder && parent.path.is_none() {
            let help = format!("name the file itself after an @: {}@FILE", source.display());
            let problem = format!("is about the single file {}, whose bytes its manifest binds", statement.name());
            return Err(refuse(source, &problem, &help));
        }
        let marks: Vec<[u8; 32]> = statement.marks().map(|mark| mark.0).collect();
        let edges = statement.predicate.parents.iter();
        let parents: Vec<_> =
            edges.map(|edge| checker::ExpectedParent { statement: edge.statement.0, root: edge.root.0 }).collect();
        let expected = checker::Expected {
            asset_sha256: statement.sha256().0,
            statement: parent.id.0,
            root: statement.root().0,
            marks: &marks,
            parents: &parents,
        };
        sound(source, &checker::check(&store.0, &expected, &[], crate::keyset::now()))?;
    }
    Ok(OpenInput::Release(Box::new(parent)))
}

/// An artifact with a sidecar.
fn beside(request: &InputRequest, progress: &impl Progress) -> Result<OpenInput, Error> {
    let source = &request.source;
    let Some(path) = &request.path else {
        let help = format!("name what it is about after an @: {}@PATH", source.display());
        return Err(refuse(source, "is a manifest without the bytes that it is about", &help));
    };
    let store = files::read(source, 64 << 20)?;
    let artifact = files::open(path)?;
    begin_hashing(progress, "hash input", &artifact);
    let wants = Wants { sha256: Sha256::Manifest, ..Wants::default() };
    let measured = artifact.read_once(&wants, &|bytes| progress.advance(bytes))?.measured;
    let judged = alone::judge(&store, &Asset::beside(artifact.is_folder, measured.manifest_asset.0), clock(), &anyone);
    judged_sound(source, &judged)?;
    let summary = checker::read(&store)?;
    let asset = match artifact.is_folder {
        true => Bound::Listing(measured.listing.to_text()),
        false => Bound::File(path.clone()),
    };
    let name = summary.title.unwrap_or(artifact.name);
    let (relation, statement) = (request.relation, summary.statement);
    Ok(OpenInput::Beside { relation, name, kind: None, root: measured.root, statement, store, asset })
}

/// A medium that carries its manifest.
fn medium(request: &InputRequest) -> Result<OpenInput, Error> {
    let path = &request.source;
    let artifact = files::open(path)?;
    let help = "name a bundle, a sidecar with @PATH, or a medium that carries a manifest";
    let carried = super::carried(&artifact).map_err(|problem| refuse(path, &problem, help))?;
    let Some(carried) = carried else {
        return Err(refuse(path, "is no bundle, and carries no manifest", help));
    };
    let judged = alone::judge(&carried.store, &carried.asset(source_of(&artifact)), clock(), &anyone);
    judged_sound(path, &judged)?;
    let title = judged.subject.map(|subject| subject.title).filter(|title| !title.is_empty());
    let name = title.unwrap_or_else(|| artifact.name.clone());
    Ok(OpenInput::Medium { relation: request.relation, name, format: carried.format, path: path.clone() })
}

/// Whose time-stamps count does not matter to an input: whoever verifies asks again.
fn clock() -> Clock<'static> {
    Clock { now: keyset::now(), timestamp_roots: &[] }
}

fn source_of(artifact: &Artifact) -> &dyn countermark_formats::ReadAt {
    &*artifact.files[0].1
}

/// Who signed an input is for whoever verifies the content to ask.
fn anyone(_: &alone::Signed<'_>) -> (State, String) {
    (State::UnknownSigner, "nobody was asked".to_owned())
}

fn judged_sound(path: &Path, judged: &Judged) -> Result<(), Error> {
    sound(path, &judged.rows)?;
    match judged.links.iter().find(|link| link.state >= State::Invalid) {
        Some(link) => Err(unsound(path, &format!("{}: {}", link.row(), link.detail))),
        None => Ok(()),
    }
}

/// Nothing is wrong, and nothing was left unchecked but who vouches for the signers.
fn sound(path: &Path, rows: &[Check]) -> Result<(), Error> {
    match rows.iter().find(|row| row.state > State::UnknownSigner) {
        Some(row) => Err(unsound(path, &format!("{}: {}", row.name, row.detail))),
        None => Ok(()),
    }
}

fn unsound(path: &Path, problem: &str) -> Error {
    let problem = format!("its manifest is not one to build on: {problem}");
    refuse(path, &problem, "ask its maker for a good one, or name another input")
}

impl OpenInput {
    pub fn relation(&self) -> Relation {
        match self {
            OpenInput::Release(parent) => parent.relation,
            OpenInput::Beside { relation, .. } | OpenInput::Medium { relation, .. } => *relation,
        }
    }

    pub fn name(&self) -> &str {
        match self {
            OpenInput::Release(parent) => parent.statement.name(),
            OpenInput::Beside { name, .. } | OpenInput::Medium { name, .. } => name,
        }
    }

    pub fn statement(&self) -> Option<Hash> {
        match self {
            OpenInput::Release(parent) => Some(parent.id),
            OpenInput::Beside { statement, .. } => *statement,
            OpenInput::Medium { .. } => None,
        }
    }

    /// The bytes that its manifest binds.
    pub fn asset(&self) -> Result<Option<Box<dyn ReadSeek>>, Error> {
        let open = |path: &Path| -> Result<Option<Box<dyn ReadSeek>>, Error> {
            let file = File::open(path);
            let help = "check that the file is still there";
            Ok(Some(Box::new(file.map_err(countermark_io::Error::io(path, help))?)))
        };
        match self {
            OpenInput::Release(parent) => parent.asset(),
            OpenInput::Beside { asset: Bound::Listing(text), .. } => Ok(Some(Box::new(Cursor::new(text.clone())))),
            OpenInput::Beside { asset: Bound::File(path), .. } | OpenInput::Medium { path, .. } => open(path),
        }
    }

    /// As the writer wants it, with the bytes from [`OpenInput::asset`].
    pub fn as_input<'a>(&'a self, asset: &'a mut Option<Box<dyn ReadSeek>>) -> Input<'a> {
        let (relation, name, statement) = (self.relation(), self.name(), self.statement().map(|id| id.0));
        let (kind, root, manifest) = match (self, asset) {
            (OpenInput::Release(parent), asset) => {
                let manifest = match (&parent.bundle.records[0].manifest, asset) {
                    (Some(store), Some(asset)) => {
                        Some(InputManifest::Beside(ParentManifest { store: &store.0, asset: &mut **asset }))
                    }
                    _ => None,
                };
                (Some(parent.statement.predicate.kind), Some(parent.statement.root().0), manifest)
            }
            (OpenInput::Beside { kind, root, store, .. }, Some(asset)) => {
                let manifest = InputManifest::Beside(ParentManifest { store, asset: &mut **asset });
                (*kind, Some(root.0), Some(manifest))
            }
            (OpenInput::Medium { format, .. }, Some(asset)) => {
                (None, None, Some(InputManifest::Carried { format, asset: &mut **asset }))
            }
            (_, None) => (None, None, None),
        };
        Input { relation, name, kind, statement, root, manifest }
    }
}
