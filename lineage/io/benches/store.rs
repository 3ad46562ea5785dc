//! How fast stores answer at the size of a hub, as a Markdown table.
//!
//! Run: `cargo bench -p countermark -p countermark-io --bench store`; with `COUNTERMARK_POSTGRES` set
//! (`fixtures/services/postgres.sh`) PostgreSQL stands beside SQLite. `COUNTERMARK_BENCH_MODELS` changes the number of
//! models.
//!
//! The rows of the large store are made up and loaded below the import that verifies: nobody holds three million keys'
//! signatures. They have no statements, so `check` would refuse them. The rate of verified imports is measured apart, with
//! real statements and signatures.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use countermark_io::store::{Postgres, Sqlite};
use countermark_lineage::bundle::{Bundle, Record};
use countermark_lineage::credential::dsse::Envelope;
use countermark_lineage::credential::keys::PublicKey;
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::artifact::Measured;
use countermark_lineage::digest::listing::{File, Listing};
use countermark_lineage::graph::query::{self, Walk};
use countermark_lineage::graph::statement::{Parent, Predicate, Release, Statement, rfc3339};
use countermark_lineage::graph::store::{Batch, Find, Key, Page, Store};
use countermark_lineage::graph::{Kind, Node, Relation};
use ed25519_dalek::SigningKey;

const SCHEMA: &str = "countermark_bench";

fn main() {
    let count =
        std::env::var("COUNTERMARK_BENCH_MODELS").ok().and_then(|count| count.parse().ok()).unwrap_or(3_000_000);
    let hub = Hub::new(count);
    let mut table =
        format!("{} models, {} edges\n\n| store | what | time |\n|---|---|---|\n", hub.models, hub.edges.len());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hub.db");
    let load = timed(|| load_sqlite(&hub, &path));
    let size = std::fs::metadata(&path).unwrap().len() >> 20;
    row(&mut table, "SQLite", &format!("load, indices included; {size} MiB"), load);
    ask(&mut table, "SQLite", &hub, &mut Sqlite::open(&path, false).unwrap());
    recursive(&mut table, &hub, &path);
    let mut store = Sqlite::open(&folder.path().join("import.db"), true).unwrap();
    import_rate(&mut table, "SQLite", &mut store);

    match std::env::var("COUNTERMARK_POSTGRES") {
        Ok(address) => {
            let mut client = postgres::Client::connect(&address, postgres::NoTls).unwrap();
            let mut clean = || client.batch_execute(&format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")).unwrap();
            clean();
            let load = timed(|| load_postgres(&hub, &address));
            row(&mut table, "PostgreSQL", "load by COPY, indices included", load);
            let mut store = Postgres::open_schema(&address, SCHEMA, false).unwrap();
            ask(&mut table, "PostgreSQL", &hub, &mut store);
            drop(store);
            clean();
            let mut store = Postgres::open_schema(&address, SCHEMA, true).unwrap();
            import_rate(&mut table, "PostgreSQL", &mut store);
            drop(store);
            clean();
        }
        Err(_) => eprintln!("skipped: PostgreSQL: run fixtures/services/postgres.sh and set COUNTERMARK_POSTGRES"),
    }
    println!("{table}");
}

fn timed(work: impl FnOnce()) -> Duration {
    let since = Instant::now();
    work();
    since.elapsed()
}

fn row(table: &mut String, store: &str, what: &str, time: Duration) {
    let _ = writeln!(table, "| {store} | {what} | {time:.1?} |");
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// From 0 to 1.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Models of which 55 % have a parent among the older ones, popular ones more often, and 2 % a second.
struct Hub {
    models: usize,
    /// Child, parent, relation; children in order.
    edges: Vec<(usize, usize, i64)>,
    /// A model with about 17,000 descendants.
    popular: usize,
}

impl Hub {
    fn new(models: usize) -> Self {
        let mut random = Random(4);
        // Older models are more popular.
        let older = |random: &mut Random, child: usize| (random.part().powf(1.3) * child as f64) as usize;
        let mut edges = Vec::new();
        for child in 1..models {
            if random.part() < 0.55 {
                let parent = older(&mut random, child);
                edges.push((child, parent, 1 + (random.next() % 5) as i64));
                let second = older(&mut random, child);
                if random.part() < 0.02 / 0.55 && second != parent {
                    edges.push((child, second, 3));
                }
            }
        }
        // Exact on trees, too many where somebody has two parents: candidates, which are then counted.
        let (mut below, mut children) = (vec![1_usize; models], vec![Vec::new(); models]);
        for &(child, parent, _) in edges.iter().rev() {
            below[parent] += below[child];
            children[parent].push(child);
        }
        let wanted = (17_000 * models / 3_000_000).max(10);
        let candidates = (0..models).filter(|&model| (wanted..wanted * 4).contains(&below[model])).take(500);
        let count = |model: usize| {
            let (mut seen, mut waiting) = (std::collections::HashSet::new(), vec![model]);
            while let Some(next) = waiting.pop() {
                waiting.extend(children[next].iter().filter(|&&child| seen.insert(child)));
            }
            seen.len()
        };
        let popular = candidates.min_by_key(|&model| count(model).abs_diff(wanted)).unwrap();
        Hub { models, edges, popular }
    }

    fn node(number: usize) -> Node {
        let mut random = Random(number as u64 * 7 + 1);
        let mut bytes = || {
            let mut hash = [0; 32];
            hash.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&random.next().to_le_bytes()));
            Hash(hash)
        };
        let (id, root) = (bytes(), bytes());
        let mut signer = Random(number as u64 % 5000);
        let mut key = [0; 32];
        key.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&signer.next().to_le_bytes()));
        Node {
            kind: Some(Kind::Model),
            signer: PublicKey::from_stored(&key),
            created: Some(1_700_000_000 + number as i64),
            ..Node::missing(id, &format!("org-{}/model-{number}", number % 40_000), root)
        }
    }
}

fn load_sqlite(hub: &Hub, path: &std::path::Path) {
    drop(Sqlite::open(path, true).unwrap());
    let mut connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000").unwrap();
    let indices: Vec<(String, String)> = connection
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let transaction = connection.transaction().unwrap();
    indices.iter().for_each(|(name, _)| transaction.execute_batch(&format!("DROP INDEX {name}")).unwrap());
    {
        let sql = "INSERT INTO node VALUES (?1, ?2, ?3, ?4, 0, 0, ?5, NULL, ?6)";
        let mut insert = transaction.prepare(sql).unwrap();
        for number in 0..hub.models {
            let node = Hub::node(number);
            insert
                .execute((
                    number as i64 + 1,
                    node.id.0,
                    node.name,
                    node.root.0,
                    node.signer.unwrap().as_bytes(),
                    node.created,
                ))
                .unwrap();
        }
        let mut insert = transaction.prepare("INSERT INTO edge VALUES (?1, ?2, ?3)").unwrap();
        for (child, parent, relation) in &hub.edges {
            insert.execute((*child as i64 + 1, *parent as i64 + 1, relation)).unwrap();
        }
    }
    indices.iter().for_each(|(_, sql)| transaction.execute_batch(sql).unwrap());
    transaction.commit().unwrap();
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}

fn load_postgres(hub: &Hub, address: &str) {
    drop(Postgres::open_schema(address, SCHEMA, true).unwrap());
    let mut client = postgres::Client::connect(address, postgres::NoTls).unwrap();
    client.batch_execute(&format!("SET search_path TO {SCHEMA}")).unwrap();
    let mut writer =
        client.copy_in("COPY node (key, id, name, root, kind, marked, signer, created) FROM STDIN").unwrap();
    for number in 0..hub.models {
        let node = Hub::node(number);
        let signer: String = node.signer.unwrap().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let created = node.created.unwrap();
        writeln!(
            writer,
            "{}\t\\\\x{}\t{}\t\\\\x{}\t0\t0\t\\\\x{signer}\t{created}",
            number + 1,
            node.id,
            node.name,
            node.root
        )
        .unwrap();
    }
    writer.finish().unwrap();
    let mut writer = client.copy_in("COPY edge FROM STDIN").unwrap();
    for (child, parent, relation) in &hub.edges {
        writeln!(writer, "{}\t{}\t{relation}", child + 1, parent + 1).unwrap();
    }
    writer.finish().unwrap();
    client.batch_execute("ANALYZE node; ANALYZE edge").unwrap();
}

fn find(store: &mut dyn Store, number: usize) -> (Key, Node) {
    let id = Hub::node(number).id;
    store.find(&Find::Ids(id, id), &Page::first(1)).unwrap().remove(0)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ask(table: &mut String, name: &str, hub: &Hub, store: &mut dyn Store) {
    let mut random = Random(9);
    let children: Vec<usize> =
        (0..2000).map(|_| hub.edges[(random.next() % hub.edges.len() as u64) as usize].0).collect();
    let starts: Vec<_> = children.iter().map(|&child| find(store, child)).collect();
    let (mut times, mut reached) = (Vec::new(), 0);
    for start in &starts {
        let since = Instant::now();
        reached += query::walk(store, std::slice::from_ref(start), &Walk::ANCESTORS).unwrap().reached.len();
        times.push(since.elapsed());
    }
    let mean = times.iter().sum::<Duration>() / times.len() as u32;
    let each = reached as f64 / starts.len() as f64;
    row(table, name, &format!("ancestors of {} models, {each:.1} each: mean", starts.len()), mean);
    times.sort();
    row(table, name, "the same: slowest of 100", times[times.len() * 99 / 100]);

    let popular = find(store, hub.popular);
    for (what, walk) in [("descendants", Walk::DESCENDANTS), ("touched, same bytes followed", Walk::TOUCHED)] {
        let (mut times, mut reached) = (Vec::new(), 0);
        for _ in 0..9 {
            let since = Instant::now();
            reached = query::walk(store, std::slice::from_ref(&popular), &walk).unwrap().reached.len();
            times.push(since.elapsed());
        }
        row(table, name, &format!("{what}, {reached} rows: median of 9"), median(times));
    }
    let mut times = Vec::new();
    for &child in &children {
        let since = Instant::now();
        find(store, child);
        times.push(since.elapsed());
    }
    row(table, name, "one statement by its id: median", median(times));
}

/// The walk that SQL can do by itself, for comparison: keys only know no distance and no way.
fn recursive(table: &mut String, hub: &Hub, path: &std::path::Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch("PRAGMA cache_size = -65536").unwrap();
    let sql = "WITH RECURSIVE d(key) AS (SELECT child FROM edge WHERE parent = ?1 UNION SELECT e.child FROM d JOIN edge e ON e.parent = d.key) \
               SELECT n.id, n.name, n.root, n.kind FROM d JOIN node n ON n.key = d.key";
    let mut statement = connection.prepare(sql).unwrap();
    let (mut times, mut reached) = (Vec::new(), 0);
    for _ in 0..9 {
        let since = Instant::now();
        let rows = statement.query_map([hub.popular as i64 + 1], |row| {
            Ok((
                row.get::<_, [u8; 32]>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, [u8; 32]>(2)?,
                row.get::<_, i64>(3)?,
            ))
        });
        reached = rows.unwrap().map(Result::unwrap).count();
        times.push(since.elapsed());
    }
    row(table, "SQLite", &format!("recursive SQL without distances, {reached} rows: median of 9"), median(times));
}

/// Chains of statements, signed here, checked and stored by the import that everybody uses.
fn import_rate(table: &mut String, name: &str, store: &mut dyn Store) {
    const BUNDLES: usize = 20;
    const EACH: usize = 500;
    let key = SigningKey::from_bytes(&[1; 32]);
    let bundles: Vec<Bundle> = (0..BUNDLES).map(|bundle| chain(&key, bundle, EACH)).collect();
    let bytes: usize = bundles.iter().map(|bundle| bundle.to_json().len()).sum::<usize>() / (BUNDLES * EACH);
    let time = timed(|| {
        for bundle in &bundles {
            store.import(&mut std::iter::once(Batch::of("bench", bundle))).unwrap();
        }
    });
    assert_eq!(store.counts().unwrap().statements, (BUNDLES * EACH) as u64);
    let rate = (BUNDLES * EACH) as f64 / time.as_secs_f64();
    let what = format!(
        "verified import of {} statements of {bytes} bytes, {BUNDLES} transactions: {rate:.0} a second",
        BUNDLES * EACH
    );
    row(table, name, &what, time);
    let check = timed(|| {
        let checked = countermark_lineage::graph::check::check(store, &|_| ()).unwrap();
        assert_eq!((checked.wrong, checked.statements), (0, (BUNDLES * EACH) as u64));
    });
    let rate = (BUNDLES * EACH) as f64 / check.as_secs_f64();
    row(table, name, &format!("check of all of them: {rate:.0} a second"), check);
}

fn chain(key: &SigningKey, bundle: usize, length: usize) -> Bundle {
    let mut records: Vec<Record> = Vec::new();
    let mut parent: Option<Parent> = None;
    for number in 0..length {
        let name = format!("model-{bundle}-{number}");
        let blake3 = Hash::blake3(name.as_bytes());
        let listing = Listing::new(vec![File { path: "model.safetensors".to_owned(), size: 1, blake3 }]).unwrap();
        let predicate = Predicate {
            kind: Kind::Model,
            created: rfc3339(1_700_000_000),
            folder: true,
            listing: listing.clone(),
            card: None,
            tensors: None,
            records: None,
            parents: parent.into_iter().collect(),
            process: None,
            evidence: vec![],
            release: Release { manifest: false, log: None },
            signer: key.verifying_key().into(),
        };
        let manifest_asset = Hash::sha256(listing.to_text().as_bytes());
        let measured = Measured { root: listing.root(), listing, card: None, manifest_asset };
        let payload = Statement::new(&name, &measured, predicate).to_payload();
        parent = Some(Parent {
            relation: Relation::FineTunedFrom,
            name,
            statement: Hash::sha256(&payload),
            root: measured.root,
        });
        records.push(Record {
            statement: Envelope::sign(&payload, key).unwrap(),
            manifest: None,
            receipt: None,
            marks: vec![],
        });
    }
    records.reverse();
    Bundle::new(records)
}
