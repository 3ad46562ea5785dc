//! Proofs of events and transactions of a block: of a real chain's block, of blocks that anybody can make, of a live
//! node.

mod block;
mod captured;
mod hostile;
mod live;

use countermark_lineage::Error;
use countermark_lineage::anchor::evm::{BlockStanding, Blocks, hex::Word};
use countermark_lineage::anchor::{self, Anchor, Evidence, Standing, Trust};
use countermark_lineage::credential::policy::Policy;

/// A checkpoint of the log's worked example, with the log's signature alone.
const CHECKPOINT: &str = "log.example/countermark\n5\n1eWxVJKOTWfdnGSKzk2xfCUqdfj5TaSAW+oRJSRW7Bg=\n\n— log.example/countermark \
    XmgBN49D+dDU2S3TjW6WZiZ4EVBlyPERUrRt7ER1s3zql+LA4PXpTyUg7CCIz2FbDNijG7n7fv4GaSY9LLfebiY3HgA=\n";

/// A policy with this text behind its schema.
fn policy(text: &str) -> Policy {
    Policy::parse(&format!("schema = \"countermark.dev/policy/v1\"\n{text}")).unwrap()
}

/// What the checkpoint's anchor by this evidence comes to.
fn check(evidence: Evidence, policy: &Policy, blocks: Option<&dyn Blocks>) -> Result<Standing, String> {
    let anchor = Anchor { checkpoint: CHECKPOINT.to_owned(), evidence };
    anchor::check(&anchor, &Trust { policy, blocks }).map_err(|error| error.problem())
}

/// Nodes that say this of every block.
struct Say(Result<Option<BlockStanding>, &'static str>);

impl Blocks for Say {
    fn standing(&self, _: u64, _: u64, _: &Word) -> Result<Option<BlockStanding>, Error> {
        self.0.clone().map_err(|problem| Error::usage(problem, ""))
    }
}
