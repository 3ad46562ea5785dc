//! Tries: any nodes are answered, and of the values at hand each is proved with its own index.
#![no_main]

use countermark_lineage::anchor::evm::{hex::Word, keccak256, trie};
use countermark_lineage::bundle::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((index, rest)) = data.split_first() else { return };
    let index = u64::from(*index);
    let nodes: Vec<Bytes> = rest.split(|byte| *byte == 0xfe).take(20).map(|node| Bytes(node.to_vec())).collect();
    // The root is that of the first node, so that it is read.
    let root = nodes.first().map_or_else(Word::default, |node| keccak256(&node.0));
    let _ = trie::verify(&root, index, &nodes);
    let values: Vec<Vec<u8>> = nodes.into_iter().map(|node| node.0).filter(|value| !value.is_empty()).collect();
    if let Some(proof) = trie::prove(&values, index) {
        assert_eq!(trie::verify(&proof.root, index, &proof.nodes).unwrap(), values[index as usize]);
    }
});
