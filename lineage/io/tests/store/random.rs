//! Random graphs, honest and lying ones: every store answers what the store in memory answers, and that answers what a
//! walk by definition finds.

use std::collections::BTreeSet;

use countermark_lineage::digest::Hash;
use countermark_lineage::graph::check::check;
use countermark_lineage::graph::query::{self, Walk};
use countermark_lineage::graph::store::{Find, Page, Step, Store};
use countermark_lineage::graph::{Kind, Relation};
use proptest::prelude::*;

use super::lab::{Draft, Made, Place, edge, import, make};

/// Kind, bytes, signer, parents by number and relation, and whether one edge lies about its parent's root.
type Plan = (usize, u8, u8, Vec<(prop::sample::Index, usize)>, bool);

fn plan() -> impl Strategy<Value = Plan> {
    let parents = prop::collection::vec((any::<prop::sample::Index>(), 0..Relation::ALL.len()), 0..4);
    (0..Kind::ALL.len(), 0..6_u8, 0..3_u8, parents, prop::bool::weighted(0.05))
}

fn build(plans: &[Plan]) -> Vec<Made> {
    let mut made: Vec<Made> = Vec::new();
    for (number, (kind, bytes, signer, parents, lies)) in plans.iter().enumerate() {
        let mut edges: Vec<_> = match made.is_empty() {
            true => vec![],
            false => parents.iter().map(|(at, relation)| edge(Relation::ALL[*relation], at.get(&made))).collect(),
        };
        edges.sort_by_key(|edge| (edge.statement, edge.relation));
        edges.dedup_by_key(|edge| (edge.statement, edge.relation));
        if let (true, Some(first)) = (lies, edges.first_mut()) {
            first.root = Hash([number as u8; 32]);
        }
        // Few different bytes, so that several statements are about one root.
        let (name, bytes) = (format!("n{number}"), format!("bytes {bytes}"));
        made.push(make(Draft { name: &name, kind: Kind::ALL[*kind], bytes: &bytes, signer: *signer, parents: edges }));
    }
    made
}

/// Everything that can be reached, by following every edge until nothing is new.
fn closure(store: &mut dyn Store, start: Hash, walk: &Walk) -> BTreeSet<Hash> {
    let all = store.find(&Find::All, &Page::first(1000)).unwrap();
    let keys: Vec<_> = all.iter().map(|(key, _)| *key).collect();
    let id = |key| all.iter().find(|(other, _)| *other == key).unwrap().1.id;
    let mut links = store.links(walk.step, &keys, usize::MAX).unwrap();
    if walk.same_root {
        links.extend(store.links(Step::SameRoot, &keys, usize::MAX).unwrap());
    }
    let mut reached = BTreeSet::from([start]);
    loop {
        let before = reached.len();
        for link in &links {
            if reached.contains(&id(link.from)) {
                reached.insert(link.node.id);
            }
        }
        if reached.len() == before {
            reached.remove(&start);
            return reached;
        }
    }
}

fn compare(place: &Place, plans: &[Plan], order: &[prop::sample::Index]) -> Result<(), TestCaseError> {
    let made = build(plans);
    let (mut memory, mut store) = (Place::Memory.open(), place.open());
    for at in order {
        // One statement at a time, in any order, some more than once.
        let one = at.get(&made);
        let (expected, answer) = (import(&mut *memory, &[one]), import(&mut *store, &[one]));
        prop_assert_eq!(format!("{expected:?}"), format!("{answer:?}"));
    }
    prop_assert_eq!(memory.counts().unwrap(), store.counts().unwrap());
    let without_keys = |store: &mut dyn Store| -> Vec<_> {
        store.find(&Find::All, &Page::first(1000)).unwrap().into_iter().map(|(_, node)| node).collect()
    };
    let nodes = without_keys(&mut *memory);
    prop_assert_eq!(&nodes, &without_keys(&mut *store));
    prop_assert_eq!(check(&mut *store, &|_| ()).unwrap().wrong, 0);
    for node in &nodes {
        let at = |store: &mut dyn Store| store.find(&Find::Ids(node.id, node.id), &Page::first(1)).unwrap();
        let (here, there) = (at(&mut *memory), at(&mut *store));
        for walk in [Walk::ANCESTORS, Walk::DESCENDANTS, Walk::TOUCHED] {
            let expected = query::walk(&mut *memory, &here, &walk).unwrap();
            let answer = query::walk(&mut *store, &there, &walk).unwrap();
            prop_assert_eq!(serde_json::to_string(&expected).unwrap(), serde_json::to_string(&answer).unwrap());
            let reached: BTreeSet<Hash> = expected.reached.iter().map(|one| one.node.id).collect();
            prop_assert_eq!(reached, closure(&mut *memory, node.id, &walk));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn sqlite_answers_as_memory_does(
        plans in prop::collection::vec(plan(), 1..12),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..24),
    ) {
        compare(&Place::Sqlite(tempfile::tempdir().unwrap()), &plans, &order)?;
    }

    #[test]
    fn postgres_answers_as_memory_does(
        plans in prop::collection::vec(plan(), 1..12),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..24),
    ) {
        match Place::all("random").pop() {
            Some(place @ Place::Postgres { .. }) => compare(&place, &plans, &order)?,
            _ => return Ok(()),
        }
    }
}
