//! Stores of statements in a database: SQLite in one file, PostgreSQL for a hub. One schema, one set of questions.
//!
//! Nodes have small numbers inside a store, so that an edge costs tens of bytes and not a hundred; statements lie in a table
//! of their own, so that walking the graph never reads them. SQL is written once, with `$1` for parameters and `{is}` where
//! SQLite asks for one number at a time and PostgreSQL for a list. A limit is cast, since SQLite plans a query anew for each
//! value of a bare `LIMIT ?`, which costs several times what a step does.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use countermark_lineage::Error;
use countermark_lineage::credential::keys::PublicKey;
use countermark_lineage::digest::Hash;
use countermark_lineage::graph::store::{Find, Step, Store};
use countermark_lineage::graph::{Kind, Node, Relation};

#[cfg(feature = "postgres")]
pub use postgres::Postgres;
#[cfg(feature = "sqlite")]
pub use sqlite::Sqlite;

/// Version of the tables. A store of another version is refused, never changed in passing.
pub const VERSION: i64 = 1;

/// Opens a store: `postgres://…`, or else the path of a SQLite file. With `create` it is made when it is not there.
///
/// # Errors
/// When it is not there, is no store, or is a store of another version.
pub fn open(place: &str, create: bool) -> Result<Box<dyn Store>, Error> {
    if place.starts_with("postgres://") || place.starts_with("postgresql://") {
        #[cfg(feature = "postgres")]
        return Ok(Box::new(Postgres::open(place, create)?));
        #[cfg(not(feature = "postgres"))]
        return Err(Error::usage("this build has no PostgreSQL", "build with the feature postgres"));
    }
    if place.contains("://") {
        return Err(Error::usage(
            format!("{place} is no place for a store"),
            "name a file, or postgres://HOST/DATABASE",
        ));
    }
    #[cfg(feature = "sqlite")]
    return Ok(Box::new(Sqlite::open(std::path::Path::new(place), create)?));
    #[cfg(not(feature = "sqlite"))]
    Err(Error::usage("this build has no SQLite", "build with the feature sqlite"))
}

/// The tables and indices, one statement each; the words in braces are a database's own.
const SCHEMA: &[&str] = &[
    "CREATE TABLE store (version {int} NOT NULL){strict}",
    "CREATE TABLE node (key {key}, id {bytes} NOT NULL UNIQUE, name {text} NOT NULL, root {bytes} NOT NULL, \
     kind {int}, marked {int} NOT NULL, signer {bytes}, tensors {bytes}, created {int}){strict}",
    "CREATE INDEX node_by_name ON node (name, id)",
    "CREATE INDEX node_by_root ON node (root)",
    "CREATE INDEX node_by_signer ON node (signer) WHERE signer IS NOT NULL",
    "CREATE INDEX node_by_tensors ON node (tensors) WHERE tensors IS NOT NULL",
    "CREATE TABLE edge (child {int} NOT NULL, parent {int} NOT NULL, relation {int} NOT NULL, \
     PRIMARY KEY (child, parent, relation)){rows}",
    "CREATE INDEX edge_by_parent ON edge (parent, child, relation)",
    "CREATE TABLE envelope (key {int} NOT NULL PRIMARY KEY, payload {bytes} NOT NULL, signature {bytes} NOT NULL){strict}",
];

/// What a database calls the types of [`SCHEMA`].
struct Dialect {
    int: &'static str,
    key: &'static str,
    bytes: &'static str,
    text: &'static str,
    strict: &'static str,
    rows: &'static str,
}

impl Dialect {
    fn schema(&self) -> impl Iterator<Item = String> + '_ {
        SCHEMA.iter().map(|sql| {
            sql.replace("{int}", self.int)
                .replace("{key}", self.key)
                .replace("{bytes}", self.bytes)
                .replace("{text}", self.text)
                .replace("{strict}", self.strict)
                .replace("{rows}", self.rows)
        })
    }
}

/// The columns of a node, as [`Columns`] takes them.
macro_rules! columns {
    () => {
        "n.key, n.id, n.name, n.root, n.kind, n.marked, n.signer, n.tensors, n.created"
    };
}

/// A node by id and, while its statement is missing, a child that names it.
const KNOWN: &str = concat!(
    "SELECT ",
    columns!(),
    ", CASE WHEN n.kind IS NULL THEN (SELECT c.id FROM edge e JOIN node c ON c.key = e.child \
     WHERE e.parent = n.key ORDER BY c.id LIMIT 1) END FROM node n WHERE n.id {is}"
);

/// Every node with its statement.
const ROWS: &str = concat!(
    "SELECT ",
    columns!(),
    ", s.payload, s.signature, EXISTS (SELECT 1 FROM edge e WHERE e.parent = n.key) \
     FROM node n LEFT JOIN envelope s ON s.key = n.key WHERE n.key > $1 ORDER BY n.key LIMIT CAST($2 AS BIGINT)"
);

const PARENTS: &str = concat!(
    "SELECT e.child, e.relation, ",
    columns!(),
    " FROM edge e JOIN node n ON n.key = e.parent WHERE e.child {is} ORDER BY e.child, e.parent, e.relation LIMIT CAST($2 AS BIGINT)"
);
const CHILDREN: &str = concat!(
    "SELECT e.parent, e.relation, ",
    columns!(),
    " FROM edge e JOIN node n ON n.key = e.child WHERE e.parent {is} ORDER BY e.parent, e.child, e.relation LIMIT CAST($2 AS BIGINT)"
);
const SAME_ROOT: &str = concat!(
    "SELECT m.key, NULL, ",
    columns!(),
    " FROM node m JOIN node n ON n.root = m.root AND n.key <> m.key WHERE m.key {is} ORDER BY m.key, n.key LIMIT CAST($2 AS BIGINT)"
);

fn links(step: Step) -> &'static str {
    match step {
        Step::Parents => PARENTS,
        Step::Children => CHILDREN,
        Step::SameRoot => SAME_ROOT,
    }
}

const STATEMENT: &str = "SELECT payload, signature FROM envelope WHERE key = $1";
const COUNTS: &str = "SELECT (SELECT count(*) FROM envelope), (SELECT count(*) FROM node WHERE kind IS NULL), \
                      (SELECT count(*) FROM edge)";

/// A page of nodes. `$1`, `$2`: the name and id before it; `$3`: how many; `$4`, `$5`: what to look for.
fn find(find: &Find) -> &'static str {
    macro_rules! page {
        ($where:literal) => {
            concat!(
                "SELECT ",
                columns!(),
                " FROM node n WHERE (n.name, n.id) > ($1, $2) AND ",
                $where,
                " ORDER BY n.name, n.id LIMIT CAST($3 AS BIGINT)"
            )
        };
    }
    match find {
        Find::All => page!("1 = 1"),
        Find::Ids(..) => page!("n.id >= $4 AND n.id <= $5"),
        Find::Roots(..) => page!("n.root >= $4 AND n.root <= $5"),
        Find::Tensors(_) => page!("n.tensors = $4"),
        Find::Signer(_) => page!("n.signer = $4"),
        Find::Name(_) => page!("n.name = $4"),
        // Both databases compare UTF-8 byte by byte.
        Find::NamePrefix(_) => page!("n.name >= $4 AND n.name < $5"),
    }
}

/// `$4` and `$5` of [`find`]: bytes or text.
enum Sought {
    Nothing,
    Bytes(Vec<Vec<u8>>),
    Text(Vec<String>),
}

fn sought(find: &Find) -> Sought {
    match find {
        Find::All => Sought::Nothing,
        Find::Ids(first, last) | Find::Roots(first, last) => Sought::Bytes(vec![first.0.to_vec(), last.0.to_vec()]),
        Find::Tensors(hash) => Sought::Bytes(vec![hash.0.to_vec()]),
        Find::Signer(key) => Sought::Bytes(vec![key.as_bytes().to_vec()]),
        Find::Name(name) => Sought::Text(vec![name.clone()]),
        Find::NamePrefix(prefix) => {
            // No character comes after this one, and a name of 255 bytes has no room for 64 of it.
            let last = "\u{10ffff}".repeat(64);
            Sought::Text(vec![prefix.clone(), format!("{prefix}{last}")])
        }
    }
}

/// A node's row as a database holds it.
struct Columns<'a> {
    id: &'a [u8],
    name: &'a str,
    root: &'a [u8],
    kind: Option<i64>,
    marked: i64,
    signer: Option<&'a [u8]>,
    tensors: Option<&'a [u8]>,
    created: Option<i64>,
}

impl Columns<'_> {
    /// The node, when every column is one that import writes.
    fn node(&self) -> Option<Node> {
        let optional = |bytes: Option<&[u8]>| bytes.map_or(Some(None), |bytes| Some(Some(hash(bytes)?)));
        let kind = match self.kind {
            None => None,
            Some(number) => Some(*Kind::ALL.get(usize::try_from(number).ok()?)?),
        };
        let node = Node {
            id: hash(self.id)?,
            name: self.name.to_owned(),
            kind,
            root: hash(self.root)?,
            marked: self.marked != 0,
            signer: match self.signer {
                None => None,
                Some(bytes) => Some(PublicKey::from_stored(bytes)?),
            },
            tensors: optional(self.tensors)?,
            created: self.created,
        };
        // What is known of a statement is known as a whole.
        (node.signer.is_some() != node.is_missing()).then_some(node)
    }
}

fn hash(bytes: &[u8]) -> Option<Hash> {
    Some(Hash(bytes.try_into().ok()?))
}

/// Kinds and relations are numbers in a store: their places in the list of words, which only grows at its end.
fn kind_number(kind: Kind) -> i64 {
    Kind::ALL.iter().position(|other| *other == kind).unwrap_or_default() as i64
}

fn relation_number(relation: Relation) -> i64 {
    Relation::ALL.iter().position(|other| *other == relation).unwrap_or_default() as i64
}

fn relation(number: i64) -> Option<Relation> {
    Relation::ALL.get(usize::try_from(number).ok()?).copied()
}

/// A row that import never wrote.
fn forged(place: &str, what: &str) -> Error {
    Error::input(
        place,
        format!("holds {what} that no import wrote"),
        "somebody edited it by hand: run `countermark lineage check`, or import the bundles into a new store",
    )
}

/// Why a version other than ours is refused.
fn check_version(place: &str, found: Option<i64>) -> Result<(), Error> {
    match found {
        Some(VERSION) => Ok(()),
        Some(newer) if newer > VERSION => Err(Error::input(
            place,
            format!("is a store of version {newer}, and this program knows version {VERSION}"),
            "use the newer countermark that made it; nothing was changed",
        )),
        Some(other) => Err(Error::input(
            place,
            format!("is a store of version {other}, and this program writes version {VERSION}"),
            "import the bundles into a new store; nothing was changed",
        )),
        None => Err(Error::input(place, "says no version", "name a store that `countermark lineage import` made")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_store_never_change() {
        let kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(
            kinds,
            ["model", "adapter", "dataset", "shard", "training-run", "evaluation", "generated-content"],
            "add kinds at the end, or raise VERSION"
        );
        let relations: Vec<_> = Relation::ALL.iter().map(|relation| relation.as_str()).collect();
        let expected = [
            "trained-on",
            "fine-tuned-from",
            "adapter-of",
            "merged-from",
            "quantised-from",
            "pruned-from",
            "distilled-from",
            "converted-from",
            "derived-from",
            "generated-by",
        ];
        assert_eq!(relations, expected, "add relations at the end, or raise VERSION");
        for (number, one) in Relation::ALL.iter().enumerate() {
            assert_eq!((relation_number(*one), relation(number as i64)), (number as i64, Some(*one)));
        }
        assert_eq!((relation(-1), relation(99)), (None, None));
    }
}
