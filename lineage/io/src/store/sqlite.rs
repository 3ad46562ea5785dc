//! A store in one SQLite file.
//!
//! Write-ahead log, so that readers never wait for a writer; one writer at a time. The file may come from anybody: its
//! schema must be ours to the letter, so it holds no view or trigger that could run or never end.

use std::path::Path;
use std::time::Duration;

use countermark_lineage::Error;
use countermark_lineage::credential::keys::PublicKey;
use countermark_lineage::digest::Hash;
use countermark_lineage::graph::node::Node;
use countermark_lineage::graph::store::{
    Batch, Changes, Counts, Find, Imported, Key, Known, Link, Page, ParentRow, Row, Step, Store, Stored, Totals,
};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql};

use super::{Columns, Dialect, Sought};

const DIALECT: Dialect = Dialect {
    int: "INTEGER",
    key: "INTEGER PRIMARY KEY",
    bytes: "BLOB",
    text: "TEXT",
    strict: " STRICT",
    rows: " WITHOUT ROWID, STRICT",
};

/// So long a writer waits for another.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store in one SQLite file.
pub struct Sqlite {
    connection: Connection,
    place: String,
}

impl Sqlite {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When it is not there and `create` is not set, and when it is anything but a store of this version.
    pub fn open(path: &Path, create: bool) -> Result<Self, Error> {
        let place = path.display().to_string();
        if !path.exists() && !create {
            let help = "make it with `countermark lineage import BUNDLE… --store FILE`, or name another with --store or COUNTERMARK_STORE";
            return Err(Error::input(place, "there is no store here", help));
        }
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags.set(OpenFlags::SQLITE_OPEN_CREATE, create);
        let connection = Connection::open_with_flags(path, flags).map_err(|error| refusal(&place, &error))?;
        let mut store = Sqlite { connection, place };
        store.prepare(create)?;
        Ok(store)
    }

    fn prepare(&mut self, create: bool) -> Result<(), Error> {
        self.connection.busy_timeout(PATIENCE).map_err(|error| refusal(&self.place, &error))?;
        self.connection.set_prepared_statement_cache_capacity(32);
        self.batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA cache_size = -262144;")?;
        if create && self.schema()?.is_empty() {
            self.batch("PRAGMA journal_mode = WAL;")?;
            self.within("BEGIN IMMEDIATE", |store| {
                // Another program may have made it since.
                if store.schema()?.is_empty() {
                    for sql in DIALECT.schema() {
                        store.batch(&sql)?;
                    }
                    store.batch(&format!("INSERT INTO store VALUES ({})", super::VERSION))?;
                }
                Ok(())
            })?;
        }
        let found = self.schema()?;
        if !found.iter().any(|sql| sql.starts_with("CREATE TABLE store ")) {
            let help = "name a store that `countermark lineage import` made, or a file that is not there yet";
            return Err(Error::input(&*self.place, "is a database, but not a store", help));
        }
        let version = self.connection.query_row("SELECT max(version) FROM store", [], |row| row.get(0));
        super::check_version(&self.place, version.map_err(|error| refusal(&self.place, &error))?)?;
        let mut expected: Vec<String> = DIALECT.schema().collect();
        expected.sort();
        if found != expected {
            return Err(super::forged(&self.place, "tables, views or triggers"));
        }
        Ok(())
    }

    /// Refuses to grow beyond so many pages of 4096 bytes.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub fn limit_pages(&mut self, pages: u32) -> Result<(), Error> {
        self.batch(&format!("PRAGMA max_page_count = {pages};"))
    }

    /// What was executed to make the tables, sorted. SQLite's own statistics are not among it.
    fn schema(&self) -> Result<Vec<String>, Error> {
        // By what they are and not by their names, which a view or trigger may have as well.
        let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND sql NOT IN \
                   ('CREATE TABLE sqlite_stat1(tbl,idx,stat)', 'CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)')";
        let read = || -> rusqlite::Result<Vec<String>> {
            self.connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
        };
        let mut found = read().map_err(|error| refusal(&self.place, &error))?;
        found.sort();
        Ok(found)
    }

    fn batch(&self, sql: &str) -> Result<(), Error> {
        self.connection.execute_batch(sql).map_err(|error| refusal(&self.place, &error))
    }

    /// A transaction, undone by the first error.
    fn within<T>(&mut self, begin: &str, work: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        self.batch(begin)?;
        let result = work(self).and_then(|value| self.batch("COMMIT").map(|()| value));
        if result.is_err() && !self.connection.is_autocommit() {
            // The first error says more than one of undoing could, and a closed file undoes it anyway.
            let _ = self.batch("ROLLBACK");
        }
        result
    }

    /// Calls `each` with every row of the answer.
    fn query(
        &self,
        sql: &str,
        parameters: &[&dyn ToSql],
        mut each: impl FnMut(&rusqlite::Row<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let refuse = |error| refusal(&self.place, &error);
        let mut statement = self.connection.prepare_cached(&one(sql)).map_err(refuse)?;
        let mut rows = statement.query(parameters).map_err(refuse)?;
        while let Some(row) = rows.next().map_err(refuse)? {
            each(row)?;
        }
        Ok(())
    }

    fn execute(&self, sql: &str, parameters: &[&dyn ToSql]) -> Result<(), Error> {
        let mut statement = self.connection.prepare_cached(&one(sql)).map_err(|error| refusal(&self.place, &error))?;
        statement.execute(parameters).map_err(|error| refusal(&self.place, &error)).map(drop)
    }

    /// The key and node whose columns begin at `first`.
    fn node(&self, row: &rusqlite::Row<'_>, first: usize) -> Result<(Key, Node), Error> {
        read(row, first).ok_or_else(|| super::forged(&self.place, "a row"))
    }

    fn known(&self, id: Hash) -> Result<Option<Known>, Error> {
        let mut known = None;
        self.query(super::KNOWN, &[&id.0], |row| {
            let (_, node) = self.node(row, 0)?;
            let named_by = row.get_ref(9).ok().and_then(|value| super::hash(value.as_blob().ok()?));
            known = Some(Known { node, named_by });
            Ok(())
        })?;
        Ok(known)
    }

    fn apply(&self, changes: &Changes<'_>) -> Result<(), Error> {
        let insert = "INSERT INTO node (id, name, root, kind, marked, signer, tensors, created) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let update = "UPDATE node SET name = $2, root = $3, kind = $4, marked = $5, signer = $6, tensors = $7, created = $8 WHERE id = $1";
        for (sql, nodes) in [(insert, &changes.fresh), (update, &changes.resolved)] {
            for node in nodes {
                let kind = node.kind.map(super::kind_number);
                let (signer, tensors) =
                    (node.signer.as_ref().map(PublicKey::as_bytes), node.tensors.map(|root| root.0));
                let row: [&dyn ToSql; 8] =
                    [&node.id.0, &node.name, &node.root.0, &kind, &node.marked, &signer, &tensors, &node.created];
                self.execute(sql, &row)?;
            }
        }
        for one in &changes.statements {
            let sql = "INSERT INTO envelope SELECT key, $2, $3 FROM node WHERE id = $1";
            self.execute(sql, &[&one.id().0, &one.payload(), &one.signature()])?;
        }
        for edge in &changes.edges {
            let sql = "INSERT INTO edge SELECT c.key, p.key, $3 FROM node c, node p WHERE c.id = $1 AND p.id = $2";
            self.execute(sql, &[&edge.child.0, &edge.parent.0, &super::relation_number(edge.relation)])?;
        }
        Ok(())
    }

    fn parents(&self, key: Key) -> Result<Vec<ParentRow>, Error> {
        let mut parents = Vec::new();
        self.query(super::PARENTS, &[&key, &i64::MAX], |row| {
            let relation = row.get(1).ok().and_then(super::relation);
            let relation = relation.ok_or_else(|| super::forged(&self.place, "an edge"));
            parents.push(relation.and_then(|relation| Ok((relation, self.node(row, 2)?.1))));
            Ok(())
        })?;
        Ok(parents)
    }

    /// What SQLite finds wrong with the file: indices that do not fit their tables, pages that lead nowhere.
    fn damage(&self) -> Result<Vec<String>, Error> {
        let mut damage = Vec::new();
        self.query("PRAGMA integrity_check(20)", &[], |row| {
            let said: String = row.get(0).map_err(|error| refusal(&self.place, &error))?;
            if said != "ok" {
                damage.push(format!("SQLite says: {said}"));
            }
            Ok(())
        })?;
        Ok(damage)
    }
}

/// SQLite asks for one number at a time, and takes `$1` for a name: its numbered parameters are written `?1`.
fn one(sql: &str) -> String {
    sql.replace("{is}", "= $1").replace('$', "?")
}

fn read(row: &rusqlite::Row<'_>, first: usize) -> Option<(Key, Node)> {
    let bytes = |at: usize| row.get_ref(first + at).ok()?.as_blob().ok();
    let optional = |at: usize| match row.get_ref(first + at).ok()? {
        ValueRef::Null => Some(None),
        value => value.as_blob().ok().map(Some),
    };
    let columns = Columns {
        id: bytes(1)?,
        name: row.get_ref(first + 2).ok()?.as_str().ok()?,
        root: bytes(3)?,
        kind: row.get(first + 4).ok()?,
        marked: row.get(first + 5).ok()?,
        signer: optional(6)?,
        tensors: optional(7)?,
        created: row.get(first + 8).ok()?,
    };
    Some((row.get(first).ok()?, columns.node()?))
}

/// What SQLite said, and what to do about it.
fn refusal(place: &str, error: &rusqlite::Error) -> Error {
    let help = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "free some space; nothing of this import was stored",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another program is writing to it; try again",
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "check that the file and its folder can be written, which reading needs as well"
        }
        Some(ErrorCode::NotADatabase) => "name a store that `countermark lineage import` made",
        Some(ErrorCode::DatabaseCorrupt) => "restore it from a copy, or import the bundles into a new store",
        _ => "run `countermark lineage check`, or import the bundles into a new store",
    };
    Error::input(place, error.to_string(), help)
}

impl Store for Sqlite {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn import(&mut self, batches: &mut dyn Iterator<Item = Result<Batch, Error>>) -> Result<Imported, Error> {
        self.within("BEGIN IMMEDIATE", |store| {
            let mut imported = Imported::default();
            for batch in batches {
                let batch = batch?;
                let mut known = std::collections::BTreeMap::new();
                for id in batch.ids() {
                    known.extend(store.known(id)?.map(|row| (id, row)));
                }
                let changes = batch.plan(&known)?;
                store.apply(&changes)?;
                imported.add(&changes);
            }
            Ok(imported)
        })
    }

    fn begin(&mut self) -> Result<(), Error> {
        self.batch("BEGIN")
    }

    fn end(&mut self) -> Result<(), Error> {
        self.batch("ROLLBACK")
    }

    fn find(&mut self, find: &Find, page: &Page) -> Result<Vec<(Key, Node)>, Error> {
        let (name, id) = page.after.as_ref().map_or(("", &[][..]), |(name, id)| (name, &id.0[..]));
        let limit = i64::from(page.limit);
        let mut parameters: Vec<&dyn ToSql> = vec![&name, &id, &limit];
        let sought = super::sought(find);
        match &sought {
            Sought::Nothing => {}
            Sought::Bytes(hashes) => parameters.extend(hashes.iter().map(|bytes| bytes as &dyn ToSql)),
            Sought::Text(texts) => parameters.extend(texts.iter().map(|text| text as &dyn ToSql)),
        }
        let mut nodes = Vec::new();
        self.query(super::find(find), &parameters, |row| {
            nodes.push(self.node(row, 0)?);
            Ok(())
        })?;
        Ok(nodes)
    }

    fn links(&mut self, step: Step, from: &[Key], most: usize) -> Result<Vec<Link>, Error> {
        let refuse = |error| refusal(&self.place, &error);
        let mut statement = self.connection.prepare_cached(&one(super::links(step))).map_err(refuse)?;
        let mut links = Vec::new();
        for key in from {
            let room = i64::try_from(most - links.len()).unwrap_or(i64::MAX);
            if room == 0 {
                break;
            }
            let mut rows = statement.query((key, room)).map_err(refuse)?;
            while let Some(row) = rows.next().map_err(refuse)? {
                let forged = || super::forged(&self.place, "an edge");
                let relation = match row.get(1).map_err(|_| forged())? {
                    Some(number) => Some(super::relation(number).ok_or_else(forged)?),
                    None => None,
                };
                let (to, node) = self.node(row, 2)?;
                links.push(Link { from: *key, relation, key: to, node });
            }
        }
        Ok(links)
    }

    fn statement(&mut self, key: Key) -> Result<Option<Stored>, Error> {
        let mut found = None;
        self.query(super::STATEMENT, &[&key], |row| {
            let part = |at| row.get::<_, Vec<u8>>(at).map_err(|_| super::forged(&self.place, "a statement"));
            found = Some((part(0)?, part(1)?));
            Ok(())
        })?;
        Ok(found)
    }

    fn counts(&mut self) -> Result<Counts, Error> {
        let mut counts = Counts::default();
        self.query(super::COUNTS, &[], |row| {
            let count = |at| row.get::<_, i64>(at).unwrap_or_default() as u64;
            counts = Counts { statements: count(0), missing: count(1), edges: count(2) };
            Ok(())
        })?;
        Ok(counts)
    }

    fn rows(&mut self, visit: &mut dyn FnMut(Row)) -> Result<Totals, Error> {
        self.query(super::ROWS, &[&i64::MIN, &i64::MAX], |row| {
            let key: Key = row.get(0).map_err(|_| super::forged(&self.place, "a row"))?;
            let statement = match (row.get::<_, Vec<u8>>(9), row.get::<_, Vec<u8>>(10)) {
                (Ok(payload), Ok(signature)) => Some((payload, signature)),
                _ => None,
            };
            visit(Row {
                key,
                node: self.node(row, 0).map(|(_, node)| node),
                statement,
                parents: self.parents(key)?,
                has_children: row.get(11).unwrap_or_default(),
            });
            Ok(())
        })?;
        let counts = self.counts()?;
        Ok(Totals { edges: counts.edges, statements: counts.statements, damage: self.damage()? })
    }
}
