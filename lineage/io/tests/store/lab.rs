//! Signed statements by the handful, and stores to put them in.

use countermark_io::store::{Postgres, Sqlite};
use countermark_lineage::bundle::{Bundle, Record};
use countermark_lineage::credential::dsse::Envelope;
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::artifact::Measured;
use countermark_lineage::digest::listing::{File, Listing};
use countermark_lineage::graph::memory::Memory;
use countermark_lineage::graph::statement::{Parent, Predicate, Release, Statement, rfc3339};
use countermark_lineage::graph::store::{Batch, Imported, Key, Store};
use countermark_lineage::graph::{Kind, Node, Relation, select};
use ed25519_dalek::SigningKey;

/// A signed statement, and what it says.
#[derive(Clone)]
pub struct Made {
    pub id: Hash,
    pub root: Hash,
    pub name: String,
    pub envelope: Envelope,
}

pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// What may differ from an honest statement.
pub struct Draft<'a> {
    pub name: &'a str,
    pub kind: Kind,
    /// Decides the root.
    pub bytes: &'a str,
    pub signer: u8,
    pub parents: Vec<Parent>,
}

pub fn edge(relation: Relation, parent: &Made) -> Parent {
    Parent { relation, name: parent.name.clone(), statement: parent.id, root: parent.root }
}

pub fn make(draft: Draft<'_>) -> Made {
    let file = File {
        path: draft.name.to_owned(),
        size: draft.bytes.len() as u64,
        blake3: Hash::blake3(draft.bytes.as_bytes()),
    };
    let listing = Listing::new(vec![file]).unwrap();
    let key = key(draft.signer);
    let predicate = Predicate {
        kind: draft.kind,
        created: rfc3339(1_700_000_000),
        folder: false,
        listing: listing.clone(),
        card: None,
        tensors: None,
        records: None,
        parents: draft.parents,
        process: None,
        evidence: vec![],
        release: Release { manifest: false, log: None },
        signer: key.verifying_key().into(),
    };
    let root = Hash::blake3(draft.bytes.as_bytes());
    let measured = Measured { root, listing, card: None, manifest_asset: Hash::sha256(draft.bytes.as_bytes()) };
    let statement = Statement::new(draft.name, &measured, predicate);
    let payload = statement.to_payload();
    Made {
        id: Hash::sha256(&payload),
        root,
        name: draft.name.to_owned(),
        envelope: Envelope::sign(&payload, &key).unwrap(),
    }
}

/// An honest statement of signer 1 about bytes that are its name.
pub fn honest(name: &str, kind: Kind, parents: &[(Relation, &Made)]) -> Made {
    let parents = parents.iter().map(|(relation, parent)| edge(*relation, parent)).collect();
    make(Draft { name, kind, bytes: name, signer: 1, parents })
}

pub fn bundle(made: &[&Made]) -> Bundle {
    let record =
        |made: &&Made| Record { statement: made.envelope.clone(), manifest: None, receipt: None, marks: vec![] };
    Bundle::new(made.iter().map(record).collect())
}

/// Imports one bundle.
pub fn import(store: &mut dyn Store, made: &[&Made]) -> Result<Imported, countermark_lineage::Error> {
    store.import(&mut std::iter::once(Batch::of("test.provenance.json", &bundle(made))))
}

/// Data, a base trained on it, a quantised base, two fine-tunes of the base of which one is trained on more data, and a
/// merge of these two.
pub struct Family {
    pub data: Made,
    pub more: Made,
    pub base: Made,
    pub quantised: Made,
    pub left: Made,
    pub right: Made,
    pub merged: Made,
}

pub fn family() -> Family {
    use Relation::{FineTunedFrom, MergedFrom, QuantisedFrom, TrainedOn};
    let data = honest("data", Kind::Dataset, &[]);
    let more = honest("more", Kind::Dataset, &[]);
    let base = honest("base", Kind::Model, &[(TrainedOn, &data)]);
    let quantised = honest("quantised", Kind::Model, &[(QuantisedFrom, &base)]);
    let left = honest("left", Kind::Adapter, &[(FineTunedFrom, &base)]);
    let right = honest("right", Kind::Model, &[(FineTunedFrom, &base), (TrainedOn, &more)]);
    let merged = honest("merged", Kind::Model, &[(MergedFrom, &left), (MergedFrom, &right)]);
    Family { data, more, base, quantised, left, right, merged }
}

impl Family {
    pub fn all(&self) -> Vec<&Made> {
        vec![&self.merged, &self.left, &self.right, &self.base, &self.data, &self.more]
    }
}

/// A store for one test: SQLite in a folder, or PostgreSQL in a schema that is removed again.
pub enum Place {
    Memory,
    Sqlite(tempfile::TempDir),
    Postgres { address: String, schema: String },
}

impl Place {
    /// Memory and SQLite; PostgreSQL as well when `COUNTERMARK_POSTGRES` says where one is.
    pub fn all(test: &str) -> Vec<Place> {
        let mut places = vec![Place::Memory, Place::Sqlite(tempfile::tempdir().unwrap())];
        match std::env::var("COUNTERMARK_POSTGRES") {
            Ok(address) => {
                let schema = format!("test_{test}_{}", std::process::id());
                places.push(Place::Postgres { address, schema });
            }
            Err(_) => eprintln!(
                "skipped: {test} on PostgreSQL: run fixtures/services/postgres.sh and set COUNTERMARK_POSTGRES"
            ),
        }
        places
    }

    pub fn path(&self) -> std::path::PathBuf {
        match self {
            Place::Sqlite(folder) => folder.path().join("lineage.db"),
            _ => unreachable!("only SQLite has a path"),
        }
    }

    /// Opens it, or makes it.
    pub fn open(&self) -> Box<dyn Store> {
        match self {
            Place::Memory => Box::new(Memory::default()),
            Place::Sqlite(_) => Box::new(Sqlite::open(&self.path(), true).unwrap()),
            Place::Postgres { address, schema } => Box::new(Postgres::open_schema(address, schema, true).unwrap()),
        }
    }

    /// False for what forgets everything when it is closed.
    pub fn lasts(&self) -> bool {
        !matches!(self, Place::Memory)
    }

    /// Changes rows behind the store's back.
    pub fn edit(&self, sql: &str) {
        match self {
            Place::Memory => unreachable!("memory has no SQL"),
            Place::Sqlite(_) => rusqlite::Connection::open(self.path()).unwrap().execute_batch(sql).unwrap(),
            Place::Postgres { address, schema } => {
                let mut client = postgres::Client::connect(address, postgres::NoTls).unwrap();
                // SQLite writes bytes as X'00', PostgreSQL as '\x00'.
                let sql = sql.replace("X'", "'\\x");
                client.batch_execute(&format!("SET search_path TO {schema}; {sql}")).unwrap();
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Place::Postgres { address, schema } = self
            && let Ok(mut client) = postgres::Client::connect(address, postgres::NoTls)
        {
            let _ = client.batch_execute(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE"));
        }
    }
}

/// The one node that a word means.
pub fn find(store: &mut dyn Store, word: &str) -> (Key, Node) {
    let mut nodes = select::select_artifact(store, word).unwrap().nodes;
    assert_eq!(nodes.len(), 1, "{word}");
    nodes.remove(0)
}

pub fn names<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Vec<&'a str> {
    nodes.into_iter().map(|node| &*node.name).collect()
}
