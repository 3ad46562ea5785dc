//! OpenTimestamps calendars: they take a digest at once and have it in a block of Bitcoin hours later.
//!
//! What is sent is not the digest of the checkpoint but the hash of it and 16 random bytes, which are written down before:
//! a calendar learns nothing, and asking again is asking for the same. Several are asked, and each is free to lie, stall or
//! vanish: what it says is kept only as far as it can be read and no block contradicts it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::thread;
use std::time::Duration;

use countermark_lineage::anchor::ots::attestation::Attestation;
use countermark_lineage::anchor::ots::bitcoin::{CONFIRMATIONS, Header};
use countermark_lineage::anchor::ots::file::File;
use countermark_lineage::anchor::ots::operation::Operation;
use countermark_lineage::anchor::ots::tree::Node;
use countermark_lineage::anchor::ots::{self, TimestampProof};
use countermark_lineage::anchor::{Commitment, Evidence, Standing, Trust};
use countermark_lineage::bundle::Bytes;
use countermark_lineage::credential::policy::{Bitcoin, Policy};
use countermark_lineage::digest::Hash;
use countermark_lineage::graph::statement::rfc3339;
use countermark_lineage::verdict::printable;
use serde::{Deserialize, Serialize};

use super::bitcoin::{Chain, Headers};
use super::{State, Step};
use crate::{Error, http};

/// The public calendars that everybody may use. Each of them answers for itself.
pub const PUBLIC: [&str; 4] = [
    "https://a.pool.opentimestamps.org",
    "https://b.pool.opentimestamps.org",
    "https://a.pool.eternitywall.com",
    "https://ots.btc.catallaxy.com",
];
/// The public addresses above stand for calendars with names of their own below these domains.
const PUBLIC_DOMAINS: [&str; 3] =
    [".calendar.opentimestamps.org", ".calendar.eternitywall.com", ".calendar.catallaxy.com"];

/// So many calendars are asked at most.
pub const MAX_CALENDARS: usize = 8;

const MEDIA: &str = "application/vnd.opentimestamps.v1";
/// A longer answer of a calendar is refused.
const MAX_ANSWER: usize = 10_000;
/// An honest calendar promises once, and later names one block.
const MAX_ATTESTATIONS: usize = 8;
/// How long one answer of a calendar may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of the random number.
const NONCE: usize = 16;

/// Whom to ask, and what they said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendars {
    /// Where they answer.
    pub urls: BTreeSet<String>,
    /// Those of them that have the digest.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub answered: BTreeSet<String>,
    /// Where headers of Bitcoin are taken from. Without it nothing becomes more than pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitcoin: Option<Headers>,
    /// The random bytes that are hashed together with the digest. Secret only until the file is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<Bytes>,
    /// The proof as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Bytes>,
}

impl Calendars {
    /// At these addresses, or the public ones where there is none.
    ///
    /// # Errors
    /// [`Error::Refused`] when there are too many, or one is no URL that a proof could hold.
    pub fn new(urls: &[String], bitcoin: Option<Headers>) -> Result<Self, Error> {
        let urls: BTreeSet<String> = match urls {
            [] => PUBLIC.map(str::to_owned).into(),
            urls => urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect(),
        };
        for url in &urls {
            let is_web = url.starts_with("http://") || url.starts_with("https://");
            if !is_web || url.contains(['@', '?', '#']) {
                let help = "name a calendar, such as https://a.pool.opentimestamps.org";
                return Err(Error::refused(Path::new(url), "is not the plain URL of a calendar", help));
            }
        }
        if urls.len() > MAX_CALENDARS {
            let problem = format!("{} calendars are more than {MAX_CALENDARS}", urls.len());
            return Err(Error::refused(Path::new("--opentimestamps"), problem, "name fewer"));
        }
        Ok(Calendars { urls, bitcoin, ..Calendars::default() })
    }

    /// Asks those as well that a later order names.
    pub(super) fn take_settings(&mut self, later: &Calendars) {
        self.urls.extend(later.urls.iter().cloned());
        self.bitcoin = later.bitcoin.clone().or(self.bitcoin.take());
        while self.urls.len() > MAX_CALENDARS {
            self.urls.pop_last();
        }
    }

    /// Hands the digest over, asks what became of it, and looks for the blocks that are said to hold it.
    pub(super) fn step(
        &mut self,
        checkpoint: &str,
        state: State,
        save: &mut dyn FnMut(&Self) -> Result<(), Error>,
    ) -> Result<Step, Error> {
        if self.nonce.is_none() {
            self.nonce = Some(Bytes(crate::keys::random()[..NONCE].to_vec()));
            // From here on every attempt sends the same.
            save(self)?;
        }
        let mut proof = Proof::of(checkpoint, self)?;
        let mut warnings = vec![];
        self.hand_over(&mut proof, &mut warnings);
        if proof.tree.is_empty() {
            let problem = format!("no calendar took the digest: {}", warnings.join("; "));
            return Err(Error::refused(Path::new("opentimestamps"), problem, "check the network and try again later"));
        }
        self.keep(&proof, save)?;
        let chain = self.bitcoin.as_ref().map(Headers::ask).transpose()?;
        let mut found = proof.search(chain.as_ref(), &mut warnings)?;
        if found.is_none() {
            self.ask_for_more(&mut proof, &mut warnings);
            self.keep(&proof, save)?;
            found = proof.search(chain.as_ref(), &mut warnings)?;
        }
        if proof.tree.is_empty() {
            self.keep(&proof, save)?;
            let state = if state == State::Included { State::Dropped } else { State::Pending };
            let detail = format!("what calendars said did not hold; they are asked again ({})", warnings.join("; "));
            return Ok(Step { state, detail, evidence: None });
        }
        let mut step = match (chain, found) {
            (Some(chain), Some((height, block))) => proof.held(&chain, height, block, checkpoint, &mut warnings)?,
            (None, _) => proof.waiting("name a node or explorer with --bitcoin to have it checked and kept"),
            (Some(_), None) => proof.waiting("the node does not know that block yet"),
        };
        if state == State::Included && step.state == State::Pending {
            step.state = State::Dropped;
            step.detail = format!("the block that held it is gone; {}", step.detail);
        }
        self.file = Some(Bytes(proof.to_bytes()));
        if !warnings.is_empty() {
            step.detail += &format!(" ({})", warnings.join("; "));
        }
        Ok(step)
    }

    /// Writes down what is known, whatever comes next.
    fn keep(&mut self, proof: &Proof, save: &mut dyn FnMut(&Self) -> Result<(), Error>) -> Result<(), Error> {
        if proof.tree.is_empty() {
            // A tree that says nothing cannot be written. Nobody has taken the digest, whatever they said.
            self.file = None;
            self.answered.clear();
        } else {
            self.file = Some(Bytes(proof.to_bytes()));
        }
        save(self)
    }

    /// Sends the digest to every calendar that has not taken it yet, to all at once.
    fn hand_over(&mut self, proof: &mut Proof, warnings: &mut Vec<String>) {
        let commitment = &proof.commitment;
        let missing: Vec<&String> = self.urls.difference(&self.answered).collect();
        let answers: Vec<(String, Result<Node, String>)> = thread::scope(|scope| {
            let ask = |url: &String| {
                let (url, commitment) = (url.clone(), commitment.clone());
                scope.spawn(move || {
                    let node = post(&url, &commitment);
                    (url, node)
                })
            };
            let asked: Vec<_> = missing.into_iter().map(ask).collect();
            asked.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        for (url, answer) in answers {
            let known = answer.and_then(|node| self.without_strangers(&proof.commitment, node));
            match known.and_then(|node| proof.graft(&proof.commitment.clone(), &node)) {
                Ok(()) => _ = self.answered.insert(url),
                Err(problem) => warnings.push(format!("{}: {problem}", printable(&url, 100))),
            }
        }
    }

    /// Asks the calendars of pending attestations what became of them.
    fn ask_for_more(&self, proof: &mut Proof, warnings: &mut Vec<String>) {
        for (message, uri) in proof.pending() {
            let told = printable(&uri, 100);
            let known = fetch(&uri, &message).and_then(|node| match node {
                Some(node) => proof.graft(&message, &self.without_strangers(&message, node)?),
                None => Ok(()),
            });
            if let Err(problem) = known {
                warnings.push(format!("{told}: {problem}"));
            }
        }
    }

    /// What a calendar knows, without promises in the name of others: nobody would keep them, and some programs look no
    /// further than the first promise.
    fn without_strangers(&self, message: &[u8], mut node: Node) -> Result<Node, String> {
        let mut stranger = None;
        node.prune(message, &mut |_, attestation| match attestation {
            Attestation::Pending(uri) if !self.may_ask(uri) => {
                stranger = Some(uri.clone());
                false
            }
            _ => true,
        });
        match stranger.filter(|_| node.is_empty()) {
            Some(uri) => Err(format!("promises in the name of {}, which was not asked", printable(&uri, 100))),
            None => Ok(node),
        }
    }

    /// A calendar may not send us anywhere: only where we were told to ask, and to the public calendars when those are used.
    fn may_ask(&self, uri: &str) -> bool {
        let uri = uri.trim_end_matches('/');
        let is_public = || {
            let host = uri.strip_prefix("https://").unwrap_or_default();
            PUBLIC.iter().any(|public| self.urls.contains(*public))
                && PUBLIC_DOMAINS.iter().any(|domain| host.ends_with(domain))
                && !host.contains(['/', ':'])
        };
        self.urls.contains(uri) || is_public()
    }
}

/// What is kept must convince a policy that pins the block.
fn verify(kept: &TimestampProof, checkpoint: &str, block: &Header) -> Result<(), Error> {
    let bitcoin = Bitcoin { blocks: vec![block.hash()], ..Bitcoin::default() };
    let policy = Policy { bitcoin: Some(bitcoin), ..Policy::default() };
    let trust = Trust { policy: &policy, blocks: None };
    match ots::check(kept, &Commitment::of(checkpoint), &trust)? {
        Standing::Bound(_) => Ok(()),
        other => {
            let help = "please report this";
            Err(Error::refused(Path::new("opentimestamps"), format!("the proof does not hold: {other:?}"), help))
        }
    }
}

/// The proof of a checkpoint while it grows.
struct Proof {
    digest: Hash,
    /// Digest and random bytes, hashed: what calendars see.
    commitment: Vec<u8>,
    nonce: Vec<u8>,
    tree: Node,
}

impl Proof {
    fn of(checkpoint: &str, order: &Calendars) -> Result<Self, Error> {
        let digest = Commitment::of(checkpoint).digest;
        let nonce = order.nonce.as_ref().map(|nonce| nonce.0.clone()).unwrap_or_default();
        let commitment = Hash::sha256(&[&digest.0[..], &nonce].concat()).0.to_vec();
        let tree = match &order.file {
            Some(file) => File::parse(&file.0)?.tree,
            None => Node::default(),
        };
        Ok(Proof { digest, commitment, nonce, tree })
    }

    fn to_bytes(&self) -> Vec<u8> {
        File::new(&self.digest, self.tree.clone()).to_bytes()
    }

    /// Adds what somebody knows of a message, unless the proof would no longer be one that can be read.
    fn graft(&mut self, message: &[u8], node: &Node) -> Result<(), String> {
        let mut tree = self.tree.clone();
        if message == self.commitment {
            // The tree need not lead there yet.
            let known = node.clone().under(Operation::Sha256).under(Operation::Append(self.nonce.clone()));
            tree.merge(known);
        } else {
            tree.graft(&self.digest.0, message, node);
        }
        let bytes = File::new(&self.digest, tree).to_bytes();
        let file = File::parse(&bytes).map_err(|error| error.problem())?;
        self.tree = file.tree;
        Ok(())
    }

    /// Calendars that promised something, and the messages for which they did.
    fn pending(&self) -> BTreeSet<(Vec<u8>, String)> {
        let mut pending = BTreeSet::new();
        self.tree.visit(&self.digest.0, &mut |message, attestation| {
            if let Attestation::Pending(uri) = attestation {
                pending.insert((message.to_vec(), uri.clone()));
            }
        });
        while pending.len() > MAX_CALENDARS * MAX_ATTESTATIONS {
            pending.pop_last();
        }
        pending
    }

    /// Heights of Bitcoin blocks, and the Merkle roots that they are said to have. Of hostile many only the lowest.
    fn heights(&self) -> BTreeMap<u64, BTreeSet<Vec<u8>>> {
        let mut heights: BTreeMap<u64, BTreeSet<Vec<u8>>> = BTreeMap::new();
        self.tree.visit(&self.digest.0, &mut |message, attestation| {
            if let Attestation::Bitcoin(height) = attestation {
                heights.entry(*height).or_default().insert(message.to_vec());
            }
        });
        while heights.len() > MAX_CALENDARS * 2 {
            heights.pop_last();
        }
        heights
    }

    /// The lowest block that holds the digest as a calendar says. What a block contradicts is dropped; the calendar can be
    /// asked again.
    fn search(&mut self, chain: Option<&Chain>, warnings: &mut Vec<String>) -> Result<Option<(u64, Header)>, Error> {
        let Some(chain) = chain else { return Ok(None) };
        let mut found = None;
        let mut wrong = BTreeSet::new();
        for (height, roots) in self.heights() {
            if height > chain.tip {
                continue;
            }
            let header = chain.header(height)?;
            for root in roots {
                if root != header.merkle_root() {
                    warnings.push(format!("block {height} does not hold what a calendar says; its word was dropped"));
                    wrong.insert((height, root));
                } else if found.is_none() {
                    found = Some((height, header));
                }
            }
        }
        self.tree.prune(&self.digest.0, &mut |message, attestation| match attestation {
            Attestation::Bitcoin(height) => !wrong.contains(&(*height, message.to_vec())),
            _ => true,
        });
        Ok(found)
    }

    /// What shows that this block holds the digest: its header, and those upon it.
    fn held(
        &self,
        chain: &Chain,
        height: u64,
        block: Header,
        checkpoint: &str,
        warnings: &mut Vec<String>,
    ) -> Result<Step, Error> {
        let mut headers = vec![block];
        let newest = chain.tip.min(height.saturating_add(u64::from(CONFIRMATIONS) - 1));
        for above in height + 1..=newest {
            let header = chain.header(above)?;
            if !headers.last().is_some_and(|below| header.is_upon(below)) {
                warnings.push(format!("block {above} is not built upon the one before; the chain is just changing"));
                break;
            }
            headers.push(header);
        }
        let blocks = headers.len();
        let kept = TimestampProof {
            file: Bytes(self.to_bytes()),
            headers: headers.iter().map(|header| Bytes(header.as_bytes().to_vec())).collect(),
        };
        verify(&kept, checkpoint, &block)?;
        let detail = format!(
            "Bitcoin block {height} of {}, {}, {blocks} of {CONFIRMATIONS} confirmations",
            rfc3339(block.time()),
            block.hash()
        );
        let state = if blocks >= CONFIRMATIONS as usize { State::Final } else { State::Included };
        Ok(Step { state, detail, evidence: Some(Evidence::OpenTimestamps(kept)) })
    }

    /// Where it stands while no block is known to hold it.
    fn waiting(&self, what_to_do: &str) -> Step {
        let calendars: BTreeSet<String> = self.pending().into_iter().map(|(_, uri)| printable(&uri, 100)).collect();
        let calendars = calendars.into_iter().collect::<Vec<_>>().join(", ");
        let detail = match self.heights().keys().next() {
            Some(height) => format!("Bitcoin block {height} is said to hold it; {what_to_do}"),
            None => format!("promised by {calendars}; Bitcoin has it after some hours"),
        };
        Step { state: State::Pending, detail, evidence: None }
    }
}

/// Hands a digest over. What comes is read at once, so that nothing is kept that cannot be.
fn post(url: &str, commitment: &[u8]) -> Result<Node, String> {
    let url = format!("{url}/digest");
    let body = Some(("application/octet-stream", commitment.to_vec()));
    let request = http::Request { url: &url, body, accept: Some(MEDIA), at_most: MAX_ANSWER, timeout: TIMEOUT };
    let body = http::send(&request)?.success()?;
    read(&body, commitment)
}

/// What a calendar knows of a message by now; nothing when it knows no more than before.
fn fetch(url: &str, message: &[u8]) -> Result<Option<Node>, String> {
    let hex: String = message.iter().map(|byte| format!("{byte:02x}")).collect();
    let url = format!("{}/timestamp/{hex}", url.trim_end_matches('/'));
    let request = http::Request { url: &url, body: None, accept: Some(MEDIA), at_most: MAX_ANSWER, timeout: TIMEOUT };
    let answer = http::send(&request)?;
    if answer.status == 404 {
        return Ok(None);
    }
    let body = answer.success()?;
    read(&body, message).map(Some)
}

fn read(body: &[u8], message: &[u8]) -> Result<Node, String> {
    let node = Node::parse(body, message).map_err(|error| error.problem())?;
    let mut attestations = 0;
    node.visit(message, &mut |_, _| attestations += 1);
    if attestations > MAX_ATTESTATIONS {
        return Err(format!("answers with {attestations} attestations, more than {MAX_ATTESTATIONS}"));
    }
    Ok(node)
}
