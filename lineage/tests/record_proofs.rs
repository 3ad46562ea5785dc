//! Proofs about records, and the ways to cheat with them.

use countermark_formats::records::Format;
use countermark_lineage::digest::listing::{File, Listing};
use countermark_lineage::digest::records::{
    Evidence, FileRecords, Neighbour, RecordProof, Records, Salt, Shown, TreeBuilder, leaf,
};
use countermark_lineage::digest::{Hash, tree};
use proptest::prelude::*;

const STATEMENT: Hash = Hash([9; 32]);

fn rows(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| format!("row {}", i % 50).into_bytes()).collect()
}

/// The tree over leaves that are in their final order.
fn signed(leaves: &[Hash], sorted: bool, salted: bool) -> Records {
    let mut builder = TreeBuilder::new();
    builder.extend(leaves);
    let built = builder.finish();
    let files = vec![FileRecords { path: "a.jsonl".into(), count: built.count }];
    Records { format: Format::Jsonl, count: built.count, root: built.root, sorted, salted, schema: None, files }
}

fn path(leaves: &[Hash], index: usize) -> Vec<Hash> {
    let mut builder = TreeBuilder::proving(index as u64);
    builder.extend(leaves);
    builder.finish().wanted.expect("the leaf is there").1
}

fn inclusion(leaves: &[Hash], index: usize, record: &[u8], salt: Option<[u8; 32]>) -> RecordProof {
    let evidence = Evidence::Inclusion { index: index as u64, salt: salt.map(Hash), path: path(leaves, index) };
    RecordProof::new(STATEMENT, None, record.to_vec(), evidence)
}

fn plain(records: &[Vec<u8>]) -> Vec<Hash> {
    records.iter().map(|record| leaf(None, record)).collect()
}

fn changed(proof: &RecordProof, change: impl FnOnce(&mut u64, &mut Option<Hash>, &mut Vec<Hash>)) -> RecordProof {
    let mut proof = proof.clone();
    if let Evidence::Inclusion { index, salt, path } = &mut proof.proof {
        change(index, salt, path);
    }
    proof
}

#[test]
fn an_inclusion_holds_for_its_record_index_and_tree_only() {
    let records = rows(77);
    let leaves = plain(&records);
    let tree = signed(&leaves, false, false);
    let proof = inclusion(&leaves, 33, &records[33], None);
    assert_eq!(proof.check(&tree).unwrap(), Shown::Included(33));
    assert_eq!(RecordProof::parse(proof.to_json().as_bytes()).unwrap(), proof);

    let refused = |proof: RecordProof, tree: &Records| proof.check(tree).unwrap_err().problem();
    assert!(refused(changed(&proof, |index, _, _| *index = 34), &tree).contains("does not lead"), "index shift");
    assert!(refused(changed(&proof, |index, _, _| *index = 77), &tree).contains("record 77 of 77"));
    assert!(
        refused(changed(&proof, |_, _, path| path.truncate(path.len() - 1)), &tree).contains("does not lead"),
        "truncated"
    );
    assert!(refused(changed(&proof, |_, _, path| path.push(STATEMENT)), &tree).contains("does not lead"), "longer");
    assert!(refused(changed(&proof, |_, _, path| path.swap(0, 1)), &tree).contains("does not lead"), "swapped");
    assert!(refused(changed(&proof, |_, salt, _| *salt = Some(STATEMENT)), &tree).contains("a salt"));
    let other = signed(&plain(&rows(78)), false, false);
    assert!(refused(proof.clone(), &other).contains("does not lead"), "another dataset");
    let cut = signed(&leaves[..64], false, false);
    assert!(refused(proof.clone(), &cut).contains("does not lead"), "a cut tree");
    let mut lying = tree.clone();
    lying.count = 64;
    assert!(refused(proof.clone(), &lying).contains("does not lead"), "a count that was not signed");
    let mut foreign = proof;
    foreign.columns = Some(countermark_lineage::bundle::Bytes(b"a,b".to_vec()));
    assert!(refused(foreign, &tree).contains("the columns are not those"), "columns that were not signed");
}

#[test]
fn an_inner_node_is_no_record() {
    let records = rows(4);
    let leaves = plain(&records);
    let tree = signed(&leaves, false, false);
    // The preimage of the left inner node, offered as the record of a tree of two.
    let node = [&leaves[0].0[..], &leaves[1].0].concat();
    let right = tree::node(&leaves[2], &leaves[3]);
    let evidence = Evidence::Inclusion { index: 0, salt: None, path: vec![right] };
    let proof = RecordProof::new(STATEMENT, None, node.clone(), evidence);
    assert!(proof.check(&tree).is_err());
    let mut two = tree;
    two.count = 2;
    assert!(proof.check(&two).is_err(), "even with a count that was not signed");
    let with_prefix = RecordProof { record: countermark_lineage::bundle::Bytes([&[1], &node[..]].concat()), ..proof };
    assert!(with_prefix.check(&two).is_err());
}

#[test]
fn salted_leaves_are_not_those_of_unsalted_records() {
    let salt = Salt::new(&[7; 32], &Hash([1; 32]));
    let records = rows(9);
    let leaves: Vec<Hash> = (0..).zip(&records).map(|(index, record)| leaf(Some(&salt.of(index)), record)).collect();
    let tree = signed(&leaves, false, true);
    let proof = inclusion(&leaves, 5, &records[5], Some(salt.of(5)));
    assert_eq!(proof.check(&tree).unwrap(), Shown::Included(5));
    assert!(
        changed(&proof, |_, salt, _| *salt = None).check(&tree).unwrap_err().problem().contains("the salt is missing")
    );
    assert!(changed(&proof, |_, salt, _| *salt = Some(STATEMENT)).check(&tree).is_err());

    // The same leaf has a record that begins with the salt as its unsalted preimage: what was signed decides.
    let joined = [&salt.of(5)[..], &records[5]].concat();
    assert_eq!(leaf(None, &joined), leaves[5]);
    let mut confused = inclusion(&leaves, 5, &joined, None);
    assert!(confused.check(&tree).is_err());
    let unsalted = Records { salted: false, ..tree };
    confused.proof = proof.proof;
    assert!(confused.check(&unsalted).is_err());
}

/// Salts and leaves, computed independently by Python's `blake3` 1.0 and `hashlib` from the documented formulas.
#[test]
fn known_answers_of_salts() {
    let salt = Salt::new(&[7; 32], &Hash([1; 32]));
    assert_eq!(Hash(salt.of(0)).to_string(), "bac4cfd53ec2011ea1b0c5b283bf196f01c8afde3a9a4fd56ba4f3f6d7609c2b");
    assert_eq!(Hash(salt.of(300)).to_string(), "8ef3a417079123787f6038e2f7e02b5263459892ffd2c388e32480fd5db60c6d");
    assert_eq!(
        leaf(Some(&salt.of(300)), b"row").to_string(),
        "e89f716fee3d37931dc02c6545f203ab196a3159711933252b96d63f595b28b4"
    );
}

fn neighbour(leaves: &[Hash], index: usize) -> Neighbour {
    Neighbour { index: index as u64, leaf: leaves[index], path: path(leaves, index) }
}

#[test]
fn absence_needs_two_neighbours_in_a_sorted_tree() {
    let mut leaves = plain(&rows(60));
    leaves.sort();
    // Room for records before the first leaf.
    leaves.retain(|leaf| leaf.0[0] >= 8);
    let tree = signed(&leaves, true, false);
    let absent = |record: &[u8], before: Option<usize>, after: Option<usize>| {
        let at = |index: usize| neighbour(&leaves, index);
        let evidence = Evidence::Absence { before: before.map(at), after: after.map(at) };
        RecordProof::new(STATEMENT, None, record.to_vec(), evidence)
    };
    let mut seen = [false; 3];
    for i in 0..300 {
        let record = format!("absent {i}").into_bytes();
        let rank = leaves.partition_point(|leaf| *leaf < self::leaf(None, &record));
        let (before, after) = (rank.checked_sub(1), (rank < leaves.len()).then_some(rank));
        seen[usize::from(before.is_none()) + 2 * usize::from(after.is_none())] = true;
        let proof = absent(&record, before, after);
        assert_eq!(proof.check(&tree).unwrap(), Shown::Absent);
        assert!(proof.check(&Records { sorted: false, ..tree.clone() }).unwrap_err().problem().contains("not sorted"));
        // One neighbour withheld, as at the ends.
        if before.is_some() && after.is_some() {
            assert!(absent(&record, before, None).check(&tree).is_err());
            assert!(absent(&record, None, after).check(&tree).is_err());
        }
        assert!(absent(&record, None, None).check(&tree).is_err());
    }
    assert_eq!(seen, [true; 3], "records before all, between, and behind all were tried");

    // A record that is there lies between neighbours that are not next to each other, and is its own neighbour.
    let present = b"row 7";
    let rank = leaves.iter().position(|other| *other == leaf(None, present)).unwrap();
    let found = absent(present, Some(rank - 1), Some(rank + 2)).check(&tree).unwrap_err().problem();
    assert!(found.contains("next to each other"), "{found}");
    for (before, after) in [(rank - 1, rank), (rank, rank + 1), (rank + 1, rank + 2)] {
        let found = absent(present, Some(before), Some(after)).check(&tree).unwrap_err().problem();
        assert!(found.contains("does not belong between"), "{found}");
    }
    // Neighbours of another tree.
    let others: Vec<Hash> = leaves.iter().copied().step_by(2).collect();
    let evidence = Evidence::Absence { before: Some(neighbour(&others, 0)), after: Some(neighbour(&others, 1)) };
    assert!(RecordProof::new(STATEMENT, None, b"x".to_vec(), evidence).check(&tree).is_err());
}

#[test]
fn an_empty_sorted_tree_holds_nothing() {
    let tree = signed(&[], true, false);
    let proof = RecordProof::new(STATEMENT, None, vec![], Evidence::Absence { before: None, after: None });
    assert_eq!(proof.check(&tree).unwrap(), Shown::Absent);
}

#[test]
fn records_that_contradict_themselves_or_the_listing_are_refused() {
    let file = |path: &str| File { path: path.into(), size: 1, blake3: Hash::default() };
    let listing = Listing::new(vec![file("a.jsonl"), file("b.jsonl")]).unwrap();
    let good = signed(&plain(&rows(3)), false, false);
    assert_eq!(good.contradiction(&listing), None);
    let part = |path: &str, count| FileRecords { path: path.into(), count };
    type Change = fn(&mut Records);
    let wrong: [(&str, Change); 6] = [
        ("count", |records| records.count = 4),
        ("sorted and salted", |records| (records.sorted, records.salted) = (true, true)),
        ("schema", |records| records.format = Format::Csv),
        ("schema", |records| records.schema = Some(Hash::default())),
        ("not in the listing", |records| records.files[0].path = "c.jsonl".into()),
        ("empty tree", |records| (records.count, records.files[0].count) = (0, 0)),
    ];
    for (words, change) in wrong {
        let mut records = good.clone();
        change(&mut records);
        let found = records.contradiction(&listing).expect("it is found");
        assert!(found.contains(words), "{words}: {found}");
    }
    let mut records = good.clone();
    records.files = vec![part("b.jsonl", 1), part("a.jsonl", 2)];
    assert!(records.contradiction(&listing).unwrap().contains("sorted by path"));
    records.files = vec![part("a.jsonl", u64::MAX), part("b.jsonl", 4)];
    assert!(records.contradiction(&listing).unwrap().contains("count"), "no overflow");
    // What is not said takes no bytes.
    let json = serde_json::to_string(&good).unwrap();
    assert!(!json.contains("sorted") && !json.contains("salted") && !json.contains("schema"), "{json}");
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = RecordProof::parse(&bytes);
    }

    #[test]
    fn no_changed_byte_passes(at in 0_usize..10_000, flip in 1_u8..) {
        let records = rows(20);
        let leaves = plain(&records);
        let tree = signed(&leaves, false, false);
        let good = inclusion(&leaves, 11, &records[11], None);
        let mut bytes = good.to_json().into_bytes();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        // White space may change, and nothing else; the statement's id is compared elsewhere.
        if let Ok(proof) = RecordProof::parse(&bytes)
            && proof.check(&tree).is_ok()
        {
            prop_assert_eq!(RecordProof { statement: good.statement, ..proof }, good);
        }
    }
}

/// No record of lines or rows ends with a line feed, so its absence is true, and a reader takes it for that of the line.
#[test]
fn the_absence_of_what_can_be_no_record_is_refused() {
    let mut leaves = plain(&rows(40));
    leaves.sort_unstable();
    let mut tree = signed(&leaves, true, false);
    let absence = |record: &[u8]| {
        let at = leaves.partition_point(|other| *other < leaf(None, record));
        let neighbour = |index: usize| {
            leaves.get(index).map(|leaf| Neighbour { index: index as u64, leaf: *leaf, path: path(&leaves, index) })
        };
        let evidence = Evidence::Absence { before: at.checked_sub(1).and_then(neighbour), after: neighbour(at) };
        RecordProof::new(STATEMENT, None, record.to_vec(), evidence)
    };
    assert_eq!(absence(b"no row").check(&tree).unwrap(), Shown::Absent);
    for format in [Format::Jsonl, Format::Text, Format::Csv] {
        tree.format = format;
        for record in [&b"row 1\n"[..], b"\n"] {
            assert!(absence(record).check(&tree).unwrap_err().problem().contains("line feed"), "{format} {record:?}");
        }
    }
    tree.format = Format::Csv;
    assert_eq!(absence(b"1,\"two\nlines\"").check(&tree).unwrap(), Shown::Absent, "a line feed in quotes");
    assert!(absence(b"row 1\r\n").check(&tree).is_err());
    for format in [Format::Jsonl, Format::Text] {
        tree.format = format;
        assert!(absence(b"row 1\nrow 2").check(&tree).is_err(), "two lines are no record");
    }
}
