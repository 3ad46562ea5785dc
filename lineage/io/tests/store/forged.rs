//! Stores that somebody edited by hand: `check` names what is wrong, and no question panics or runs for ever.

use std::time::Instant;

use countermark_io::store::{Postgres, Sqlite};
use countermark_lineage::graph::check::check;
use countermark_lineage::graph::query::{self, Walk};
use countermark_lineage::graph::select::{select, select_artifact};
use countermark_lineage::graph::store::{Find, Page, Store};
use countermark_lineage::graph::{Kind, Relation};

use super::lab::{Place, family, honest, import};

/// Asks everything. Errors are answers, too.
fn ask_everything(store: &mut dyn Store) {
    let since = Instant::now();
    let all = store.find(&Find::All, &Page::first(1000)).unwrap_or_default();
    for (_, node) in &all {
        for word in [node.id.to_string(), node.root.to_string(), node.name.clone()] {
            let Ok(selection) = select(store, &word) else { continue };
            for walk in [Walk::ANCESTORS, Walk::DESCENDANTS, Walk::TOUCHED] {
                let _ = query::affected(store, &selection.nodes, &walk);
                if let Ok((graph, _)) = query::graph(store, &selection.nodes, &[walk]) {
                    let _ = (graph.to_svg(), graph.to_html(), graph.to_dot(), graph.to_mermaid());
                }
            }
            let _ = select_artifact(store, &word);
        }
    }
    for a in &all {
        for b in &all {
            let _ = query::path(store, a, b);
            let _ = store.statement(a.0);
        }
    }
    assert!(since.elapsed().as_secs() < 60, "a forged row made questions slow");
}

/// Bytes as both databases write them here.
fn bytes(byte: &str, count: usize) -> String {
    format!("X'{}'", byte.repeat(count))
}

const OF_BASE: &str = "(SELECT key FROM node WHERE name = 'base')";

#[test]
fn every_edit_by_hand_is_found() {
    let node = |set: String| format!("UPDATE node SET {set} WHERE name = 'base'");
    let envelope = |set: String| format!("UPDATE envelope SET {set} WHERE key = {OF_BASE}");
    let key_of = |name: &str| format!("(SELECT key FROM node WHERE name = '{name}')");
    let edits = [
        ("another name", node("name = 'evil'".to_owned())),
        ("a name that steers terminals", node("name = 'e\u{1b}[2J<script>'".to_owned())),
        ("another root", node(format!("root = {}", bytes("11", 32)))),
        ("a root of no length", node(format!("root = {}", bytes("11", 5)))),
        ("another id", node(format!("id = {}", bytes("22", 32)))),
        ("an id of no length", node(format!("id = {}", bytes("22", 3)))),
        ("another kind", node("kind = 2".to_owned())),
        ("a kind that is none", node("kind = 99".to_owned())),
        ("a negative kind", node("kind = -1".to_owned())),
        ("a mark that is not there", node("marked = 1".to_owned())),
        ("another time", node("created = 0".to_owned())),
        ("another signer", node(format!("signer = {}", bytes("33", 32)))),
        ("tensors that are not there", node(format!("tensors = {}", bytes("44", 32)))),
        ("marked as missing", node("kind = NULL, signer = NULL, created = NULL".to_owned())),
        ("no signer", node("signer = NULL".to_owned())),
        (
            "another payload",
            envelope(format!("payload = (SELECT payload FROM envelope WHERE key = {})", key_of("data"))),
        ),
        ("another signature", envelope(format!("signature = {}", bytes("00", 64)))),
        ("no signature", envelope(format!("signature = {}", bytes("00", 0)))),
        ("no statement", format!("DELETE FROM envelope WHERE key = {OF_BASE}")),
        ("a statement of nobody", format!("INSERT INTO envelope VALUES (9999, {0}, {0})", bytes("00", 4))),
        (
            "a row that nobody names",
            format!("INSERT INTO node (id, name, root, marked) VALUES ({0}, 'x', {0}, 0)", bytes("55", 32)),
        ),
        ("an edge gone", format!("DELETE FROM edge WHERE child = {OF_BASE}")),
        ("another relation", format!("UPDATE edge SET relation = 1 WHERE child = {OF_BASE}")),
        ("a relation that is none", format!("UPDATE edge SET relation = 42 WHERE child = {OF_BASE}")),
        ("another parent", format!("UPDATE edge SET parent = {} WHERE child = {OF_BASE}", key_of("more"))),
        ("a cycle", format!("INSERT INTO edge VALUES ({}, {}, 0)", key_of("data"), key_of("merged"))),
        ("an edge to itself", format!("INSERT INTO edge VALUES ({OF_BASE}, {OF_BASE}, 0)")),
        ("an edge from nowhere", format!("INSERT INTO edge VALUES (9998, {OF_BASE}, 0)")),
        ("an edge to nowhere", format!("INSERT INTO edge VALUES ({OF_BASE}, 9997, 0)")),
    ];
    for (number, (what, sql)) in edits.iter().enumerate() {
        for place in Place::all(&format!("forged{number}")).into_iter().filter(Place::lasts) {
            import(&mut *place.open(), &family().all()).unwrap();
            place.edit(sql);
            let mut store = place.open();
            let checked = check(&mut *store, &|_| ()).unwrap();
            assert!(checked.wrong > 0, "{what} was not found");
            assert!(!checked.problems.is_empty());
            ask_everything(&mut *store);
        }
    }
}

#[test]
fn a_forged_row_stops_the_import_that_meets_it() {
    for place in Place::all("meets").into_iter().filter(Place::lasts) {
        import(&mut *place.open(), &family().all()).unwrap();
        place.edit("UPDATE node SET name = 'evil' WHERE name = 'base'");
        let mut store = place.open();
        let before = store.counts().unwrap();
        let error = import(&mut *store, &family().all()).unwrap_err().to_string();
        assert!(error.contains("lineage check") && error.contains(&family().base.id.to_string()), "{error}");
        assert_eq!(store.counts().unwrap(), before);
    }
}

#[test]
fn a_ring_of_forged_edges_ends() {
    for place in Place::all("ring").into_iter().filter(Place::lasts) {
        import(&mut *place.open(), &family().all()).unwrap();
        place.edit("INSERT INTO edge SELECT a.key, b.key, 3 FROM node a, node b WHERE a.key <> b.key AND NOT EXISTS (SELECT 1 FROM edge e WHERE e.child = a.key AND e.parent = b.key AND e.relation = 3)");
        let mut store = place.open();
        ask_everything(&mut *store);
        let all = store.find(&Find::All, &Page::first(10)).unwrap();
        let walked = query::walk(&mut *store, &all[..1], &Walk::ANCESTORS).unwrap();
        assert_eq!((walked.reached.len(), walked.truncated), (all.len() - 1, false));
        assert!(check(&mut *store, &|_| ()).unwrap().wrong > 0);
    }
}

#[test]
fn a_store_of_another_version_is_refused() {
    for place in Place::all("version").into_iter().filter(Place::lasts) {
        drop(place.open());
        for (version, word) in [("2", "newer"), ("0", "import the bundles into a new store"), ("NULL", "")] {
            if version == "NULL" {
                place.edit("DELETE FROM store");
            } else {
                place.edit(&format!("UPDATE store SET version = {version}"));
            }
            let refused = match &place {
                Place::Postgres { address, schema } => Postgres::open_schema(address, schema, true).err(),
                _ => Sqlite::open(&place.path(), true).err(),
            };
            let error = refused.expect("another version was opened").to_string();
            assert!(error.contains("version") && error.contains(word), "{error}");
        }
    }
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("absent.db");
    let error = Sqlite::open(&path, false).err().unwrap().to_string();
    assert!(error.contains("lineage import") && !path.exists(), "{error}");

    let path = folder.path().join("text.db");
    std::fs::write(&path, "not a database, but long enough to look like one ".repeat(100)).unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(Sqlite::open(&path, true).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), before);

    let path = folder.path().join("foreign.db");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE precious (x); INSERT INTO precious VALUES (1)")
        .unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = Sqlite::open(&path, true).err().unwrap().to_string();
    assert!(error.contains("not a store"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn views_and_triggers_in_a_store_are_refused() {
    let endless = "DROP TABLE edge; CREATE VIEW edge AS WITH RECURSIVE r(child) AS (SELECT 1 UNION ALL SELECT child + 1 FROM r) \
                   SELECT child, child AS parent, 0 AS relation FROM r";
    let trigger = "CREATE TRIGGER t AFTER INSERT ON node BEGIN DELETE FROM envelope; END";
    let no_constraint = "DROP INDEX edge_by_parent";
    for sql in [endless, trigger, no_constraint] {
        let place = Place::Sqlite(tempfile::tempdir().unwrap());
        import(&mut *place.open(), &family().all()).unwrap();
        place.edit(sql);
        let error = Sqlite::open(&place.path(), true).err().expect("was opened").to_string();
        assert!(error.contains("no import wrote"), "{error}");
    }
}

#[test]
fn a_trigger_named_like_statistics_is_refused() {
    let place = Place::Sqlite(tempfile::tempdir().unwrap());
    import(&mut *place.open(), &family().all()).unwrap();
    // What ANALYZE writes is no reason to refuse.
    place.edit("ANALYZE");
    drop(place.open());
    place.edit(
        "CREATE TRIGGER t AFTER INSERT ON node BEGIN DELETE FROM envelope; END; PRAGMA writable_schema = ON; \
         UPDATE sqlite_schema SET name = 'sqlite_stat_t', sql = replace(sql, 'TRIGGER t ', 'TRIGGER sqlite_stat_t ') WHERE name = 't'",
    );
    let error = Sqlite::open(&place.path(), true).err().expect("was opened").to_string();
    assert!(error.contains("no import wrote"), "{error}");
}

#[test]
fn two_rows_with_one_id_make_no_path_endless() {
    let z = honest("z", Kind::Dataset, &[]);
    let y = honest("y", Kind::Model, &[(Relation::TrainedOn, &z)]);
    let x = honest("x", Kind::Model, &[(Relation::FineTunedFrom, &y)]);
    let w = honest("w", Kind::Model, &[(Relation::FineTunedFrom, &x)]);
    let place = Place::Sqlite(tempfile::tempdir().unwrap());
    import(&mut *place.open(), &[&w, &x, &y, &z]).unwrap();
    // The index that keeps ids apart is taken away for the time of an update.
    place.edit(
        "CREATE TABLE kept AS SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema WHERE tbl_name = 'node'; \
         PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'sqlite_autoindex_node_1'; \
         UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL UNIQUE', 'NOT NULL') WHERE name = 'node'",
    );
    place.edit("UPDATE node SET id = (SELECT id FROM node WHERE name = 'x') WHERE name = 'z'");
    place.edit(
        "PRAGMA writable_schema = ON; INSERT INTO sqlite_schema SELECT * FROM kept WHERE name LIKE 'sqlite_auto%'; \
         UPDATE sqlite_schema SET sql = (SELECT sql FROM kept WHERE name = 'node') WHERE name = 'node'",
    );
    place.edit("DROP TABLE kept");
    let mut store = place.open();
    let all = store.find(&Find::All, &Page::first(10)).unwrap();
    let ids: std::collections::BTreeSet<_> = all.iter().map(|(_, node)| node.id).collect();
    assert_eq!((all.len(), ids.len()), (4, 3), "the forged row is there");
    assert!(query::path(&mut *store, &all[0], &all[3]).is_ok());
    assert!(check(&mut *store, &|_| ()).unwrap().wrong > 0);
}

#[test]
fn every_byte_of_a_store_may_be_flipped_without_a_panic() {
    let place = Place::Sqlite(tempfile::tempdir().unwrap());
    import(&mut *place.open(), &family().all()).unwrap();
    // Without the write-ahead log, so that the file is all there is.
    place.edit("PRAGMA wal_checkpoint(TRUNCATE)");
    let bytes = std::fs::read(place.path()).unwrap();
    let other = tempfile::tempdir().unwrap();
    let path = other.path().join("lineage.db");
    let (mut opened, mut found) = (0, 0);
    for at in (0..bytes.len()).step_by(bytes.len() / 400) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x5a;
        std::fs::write(&path, flipped).unwrap();
        let _ = std::fs::remove_file(other.path().join("lineage.db-wal"));
        let Ok(mut store) = Sqlite::open(&path, false) else { continue };
        opened += 1;
        found += u32::from(!check(&mut store, &|_| ()).is_ok_and(|checked| checked.wrong == 0));
        let all = store.find(&Find::All, &Page::first(10)).unwrap_or_default();
        let _ = query::walk(&mut store, &all, &Walk::ANCESTORS);
        let _ = query::walk(&mut store, &all, &Walk::DESCENDANTS);
    }
    assert!(opened > 100 && found > 20, "{opened} opened, {found} found wrong");
}
