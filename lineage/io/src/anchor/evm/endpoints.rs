//! Several nodes of one chain, of which so many must agree.
//!
//! A node that lies, stalls, floods, redirects or speaks for another chain has its one voice and no more. All are asked at
//! once, and nobody waits for the rest when enough have answered alike. What proves itself by its hash is taken from whoever
//! has it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use countermark_lineage::anchor::evm::hex::Word;
use countermark_lineage::anchor::evm::{BlockStanding, Blocks};
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::rpc::{self, Fault, Quantity, SHORT};
use crate::Error;
use crate::http::shown;

/// More nodes are asked by nobody.
const MOST: usize = 32;

/// After so long, no answer is one that is not waited for again.
const SLOW: Duration = Duration::from_secs(5);

/// How long the rest is waited for when enough have answered.
const PATIENCE: Duration = Duration::from_secs(2);

/// Nodes of one chain. Checked only in form; nobody was asked yet.
#[derive(Clone, Debug)]
pub struct Endpoints {
    chain_id: Option<u64>,
    urls: Vec<String>,
    agree: usize,
    /// What was learned of each node, by whoever has a copy of this.
    known: Arc<Vec<AtomicU8>>,
}

/// Nothing is known of a node yet.
const NEW: u8 = 0;
/// It has said that it is of the chain.
const OF_CHAIN: u8 = 1;
/// It let us wait and then said nothing of use: it is not waited for a second time.
const SILENT: u8 = 2;

/// What one node said.
pub(super) struct Voice<T> {
    /// Its place among the URLs.
    pub at: usize,
    pub said: Result<T, Fault>,
}

/// The part of a block that tells where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct BlockName {
    pub hash: Word,
    pub number: Quantity,
    pub timestamp: Quantity,
}

/// Of one node, on one block.
enum Vote {
    Yes { is_final: bool },
    No,
}

impl Endpoints {
    /// Nodes at these URLs; a URL that is named twice counts once. `agree` of them must say the same: all when left out.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is none, a URL is none, or more shall agree than there are.
    pub fn new(urls: &[String], agree: Option<NonZeroU32>) -> Result<Self, Error> {
        let mut known: Vec<Url> = vec![];
        for url in urls {
            let refuse = |problem: &str| {
                Err(Error::refused(std::path::Path::new(&shown(url)), problem, "name the http(s):// URL of a node"))
            };
            match Url::parse(url) {
                Ok(parsed) if !matches!(parsed.scheme(), "http" | "https") => return refuse("is not http(s)://"),
                Ok(parsed) if !known.contains(&parsed) => known.push(parsed),
                Ok(_) => {}
                Err(_) => return refuse("is not a URL"),
            }
        }
        let refuse = |problem: String, help: &str| Err(Error::refused("endpoints".as_ref(), problem, help));
        if known.is_empty() || known.len() > MOST {
            return refuse(format!("{} nodes are named", known.len()), "name one to 32 of them");
        }
        let agree = agree.map_or(known.len(), |agree| agree.get() as usize);
        if agree > known.len() {
            let problem = format!("{agree} shall agree, and only {} different ones are named", known.len());
            return refuse(problem, "name more nodes, or ask for the agreement of fewer");
        }
        let urls: Vec<String> = known.into_iter().map(String::from).collect();
        Ok(Endpoints { chain_id: None, known: fresh(urls.len()), urls, agree })
    }

    /// As they are, for a job's file.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Asks for the chain's number (EIP-155), and from then on hears no node of another chain.
    ///
    /// # Errors
    /// When not enough of them name the same one, or it is not `expected`.
    pub fn on_chain(mut self, expected: Option<u64>) -> Result<(Self, u64), Error> {
        let Quantity(chain_id) = self.agreed("the chain's number", "eth_chainId", json!([]))?;
        if let Some(expected) = expected.filter(|expected| *expected != chain_id) {
            let help = "name nodes of the chain that is meant; nothing was signed";
            return Err(self.refuse(format!("speak for chain {chain_id}, not for {expected}"), help));
        }
        self.chain_id = Some(chain_id);
        Ok((self, chain_id))
    }

    pub(super) fn refuse(&self, problem: impl Into<String>, help: &str) -> Error {
        let names: Vec<String> = self.urls.iter().map(|url| shown(url)).collect();
        Error::refused(names.join(", ").as_ref(), problem, help)
    }

    /// Has every node do something, all at once. The answers come as they come.
    fn each<T: Send + 'static>(
        &self,
        ask: impl Fn(&str) -> Result<T, Fault> + Send + Sync + 'static,
    ) -> mpsc::Receiver<Voice<T>> {
        let (sender, receiver) = mpsc::channel();
        let ask = Arc::new(ask);
        for (at, url) in self.urls.iter().enumerate() {
            let (ask, url, sender) = (Arc::clone(&ask), url.clone(), sender.clone());
            let nodes = self.clone();
            // Nobody waits for these threads: each ends with its node's answer, or when that may no longer come.
            std::thread::spawn(move || drop(sender.send(Voice { at, said: nodes.one(at, || ask(&url)) })));
        }
        receiver
    }

    /// Has one node answer, when it is of the chain.
    fn one<T>(&self, at: usize, ask: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        let known = &self.known[at];
        if known.load(Ordering::Relaxed) == SILENT {
            return Err(Fault::Unusable("did not answer in time".to_owned()));
        }
        let since = Instant::now();
        let answer = match self.chain_id.filter(|_| known.load(Ordering::Relaxed) == NEW) {
            Some(expected) => of_chain(&self.urls[at], expected).and_then(|()| {
                known.store(OF_CHAIN, Ordering::Relaxed);
                ask()
            }),
            None => ask(),
        };
        if matches!(answer, Err(Fault::Unusable(_))) && since.elapsed() >= SLOW {
            known.store(SILENT, Ordering::Relaxed);
        }
        answer
    }

    fn question<T: DeserializeOwned + Send + 'static>(
        &self,
        method: &'static str,
        params: Value,
    ) -> mpsc::Receiver<Voice<T>> {
        self.each(move |url| rpc::call(url, method, &params, SHORT))
    }

    /// What enough nodes answer alike. `what` is asked for, for people.
    pub(super) fn agreed<T>(&self, what: &str, method: &'static str, params: Value) -> Result<T, Error>
    where
        T: DeserializeOwned + PartialEq + Send + 'static,
    {
        let mut told: Vec<(T, usize)> = vec![];
        let mut faults = vec![];
        for voice in self.question::<T>(method, params) {
            match voice.said {
                Ok(said) => {
                    let at = told.iter().position(|(known, _)| *known == said).unwrap_or_else(|| {
                        told.push((said, 0));
                        told.len() - 1
                    });
                    told[at].1 += 1;
                    if told[at].1 >= self.agree {
                        return Ok(told.swap_remove(at).0);
                    }
                }
                Err(fault) => faults.push(self.told(voice.at, &fault)),
            }
        }
        let mut problem = format!("{} of {} must agree on {what}, and do not", self.agree, self.urls.len());
        if self.urls.len() == 1 {
            problem = format!("cannot be asked for {what}");
        } else if told.len() > 1 {
            problem += &format!("; there are {} different answers", told.len());
        }
        for fault in faults {
            problem += &format!("; {fault}");
        }
        Err(self.refuse(problem, "try again later, or name other nodes"))
    }

    /// What enough nodes answer alike; `None` when so many have nothing that enough cannot have the same.
    ///
    /// # Errors
    /// When too few answer to tell.
    pub(super) fn weighed<T>(&self, what: &str, method: &'static str, params: Value) -> Result<Option<T>, Error>
    where
        T: DeserializeOwned + PartialEq + Send + 'static,
    {
        let mut told: Vec<(T, usize)> = vec![];
        let mut nothing = 0;
        let mut problem = format!("{} of {} must agree on {what}, and do not", self.agree, self.urls.len());
        for voice in self.question::<Option<T>>(method, params) {
            match voice.said {
                Ok(None) => nothing += 1,
                Ok(Some(said)) => {
                    let at = told.iter().position(|(known, _)| *known == said).unwrap_or_else(|| {
                        told.push((said, 0));
                        told.len() - 1
                    });
                    told[at].1 += 1;
                    if told[at].1 >= self.agree {
                        return Ok(Some(told.swap_remove(at).0));
                    }
                }
                Err(fault) => problem += &format!("; {}", self.told(voice.at, &fault)),
            }
            if nothing > self.urls.len() - self.agree {
                return Ok(None);
            }
        }
        Err(self.refuse(problem, "try again later, or name other nodes"))
    }

    /// The largest number that is reached by the words of enough nodes: a few that exaggerate do not raise it.
    pub(super) fn reached(&self, what: &str, method: &'static str, params: Value) -> Result<u64, Error> {
        self.kth(what, self.question::<Quantity>(method, params), |Quantity(number)| number)
    }

    /// As [`Endpoints::reached`], of a number in an answer.
    pub(super) fn reached_in<T>(
        &self,
        what: &str,
        method: &'static str,
        params: Value,
        number: impl Fn(T) -> u64,
    ) -> Result<u64, Error>
    where
        T: DeserializeOwned + Send + 'static,
    {
        self.kth(what, self.question::<T>(method, params), number)
    }

    fn kth<T>(&self, what: &str, voices: mpsc::Receiver<Voice<T>>, number: impl Fn(T) -> u64) -> Result<u64, Error> {
        let mut numbers = vec![];
        let mut problem = format!("cannot be asked for {what}");
        while let Some(voice) = next(&voices, numbers.len() >= self.agree) {
            match voice.said {
                Ok(said) => numbers.push(number(said)),
                Err(fault) => problem += &format!("; {}", self.told(voice.at, &fault)),
            }
        }
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        let found = numbers.get(self.agree - 1).copied();
        found.ok_or_else(|| self.refuse(problem, "try again later, or name other nodes"))
    }

    /// What the first node answers that `accept` takes. For answers that prove themselves.
    pub(super) fn first<T>(&self, what: &str, accept: impl Fn(&str) -> Result<T, Fault>) -> Result<T, Error> {
        let mut problem = format!("give no {what}");
        for (at, url) in self.urls.iter().enumerate() {
            match self.one(at, || accept(url)) {
                Ok(found) => return Ok(found),
                Err(fault) => problem += &format!("; {}", self.told(at, &fault)),
            }
        }
        Err(self.refuse(problem, "try again later, or name other nodes"))
    }

    /// Whether enough nodes say yes; false when so many say no that enough cannot. `ask` puts several questions to one node,
    /// so that no answer is made up of what different nodes say.
    ///
    /// # Errors
    /// When too few answer to tell.
    pub(super) fn agree_that(
        &self,
        what: &str,
        ask: impl Fn(&str) -> Result<bool, Fault> + Send + Sync + 'static,
    ) -> Result<bool, Error> {
        let (mut yes, mut no) = (0, 0);
        let mut problem = format!("{} of {} must agree on {what}, and do not", self.agree, self.urls.len());
        for voice in self.each(ask) {
            match voice.said {
                Ok(true) => yes += 1,
                Ok(false) => no += 1,
                Err(fault) => problem += &format!("; {}", self.told(voice.at, &fault)),
            }
            if yes >= self.agree {
                return Ok(true);
            }
            if self.urls.len() - no < self.agree {
                return Ok(false);
            }
        }
        Err(self.refuse(problem, "try again later, or name other nodes"))
    }

    /// What every node says, when all have answered.
    pub(super) fn all<T: DeserializeOwned + Send + 'static>(
        &self,
        method: &'static str,
        params: Value,
    ) -> Vec<Voice<T>> {
        self.question(method, params).into_iter().collect()
    }

    /// A node's name with what it did.
    pub(super) fn told(&self, at: usize, fault: &Fault) -> String {
        format!("{} {fault}", shown(&self.urls[at]))
    }

    /// What enough nodes say of a block: whether it is the chain's block of its number, and final. `None`: so many say no
    /// that enough cannot say yes.
    ///
    /// # Errors
    /// When too few answer to tell.
    pub(super) fn vouch(&self, number: u64, hash: &Word) -> Result<Option<BlockStanding>, Error> {
        let hash = *hash;
        // By its number and not by its hash: nodes also know blocks by hash that the chain has dropped.
        let votes = self.each(move |url| {
            let by_number = json!([rpc::quantity(number), false]);
            let block: Option<BlockName> = rpc::call(url, "eth_getBlockByNumber", &by_number, SHORT)?;
            if block.is_none_or(|block| block.hash != hash || block.number.0 != number) {
                return Ok(Vote::No);
            }
            // Not every node knows what is final; its word on the block counts all the same.
            let end: Result<Option<BlockName>, Fault> =
                rpc::call(url, "eth_getBlockByNumber", &json!(["finalized", false]), SHORT);
            Ok(Vote::Yes { is_final: end.is_ok_and(|end| end.is_some_and(|end| end.number.0 >= number)) })
        });
        let (mut yes, mut finals, mut no) = (0, 0, 0);
        let mut problem = String::new();
        while let Some(voice) = next(&votes, yes >= self.agree) {
            match voice.said {
                Ok(Vote::Yes { is_final }) => {
                    yes += 1;
                    finals += usize::from(is_final);
                }
                Ok(Vote::No) => no += 1,
                Err(fault) => problem += &format!("; {}", self.told(voice.at, &fault)),
            }
            if finals >= self.agree {
                break;
            }
        }
        let all = self.urls.len();
        if yes >= self.agree {
            let source =
                if all == 1 { format!("{} alone", shown(&self.urls[0])) } else { format!("{yes} of {all} endpoints") };
            return Ok(Some(BlockStanding { source, is_final: finals >= self.agree }));
        }
        if all - no < self.agree {
            return Ok(None);
        }
        let problem = format!("{yes} of {all} vouch for block {number}, and {} must{problem}", self.agree);
        Err(self.refuse(problem, "try again later, or name other nodes"))
    }
}

/// The next voice; when enough have spoken, the rest has little time left.
fn next<T>(voices: &mpsc::Receiver<Voice<T>>, is_enough: bool) -> Option<Voice<T>> {
    if is_enough { voices.recv_timeout(PATIENCE).ok() } else { voices.recv().ok() }
}

/// Refuses a node of another chain.
fn of_chain(url: &str, expected: u64) -> Result<(), Fault> {
    let Quantity(said) = rpc::call(url, "eth_chainId", &json!([]), SHORT)?;
    if said == expected {
        return Ok(());
    }
    Err(Fault::Unusable(format!("is of chain {said}, not {expected}")))
}

fn fresh(count: usize) -> Arc<Vec<AtomicU8>> {
    Arc::new((0..count).map(|_| AtomicU8::new(NEW)).collect())
}

/// The nodes that a policy names for its chains.
#[derive(Default)]
pub struct Nodes {
    chains: Vec<(u64, Endpoints)>,
    /// Blocks that were asked about, and what was said. Anybody can put blocks of his own into a bundle.
    asked: Mutex<BTreeMap<(u64, u64, Word), Said>>,
}

/// What the nodes say of a block, or why that is not known: asking again would take as long again.
type Said = Result<Option<BlockStanding>, (String, String)>;

/// Blocks that are asked about at most: nodes count questions, and whoever verifies waits.
const MOST_BLOCKS: usize = 100;

impl Nodes {
    /// Of `[[chain]] endpoints` and `agree`.
    ///
    /// # Errors
    /// As [`Endpoints::new`].
    pub fn of(policy: &countermark_lineage::credential::policy::Policy) -> Result<Self, Error> {
        let named = policy.chains.iter().filter(|chain| !chain.endpoints.is_empty());
        let chains = named.map(|chain| {
            let endpoints = Endpoints::new(&chain.endpoints, chain.agree)?;
            Ok((chain.chain_id, Endpoints { chain_id: Some(chain.chain_id), ..endpoints }))
        });
        Ok(Nodes { chains: chains.collect::<Result<_, Error>>()?, ..Nodes::default() })
    }
}

impl Blocks for Nodes {
    fn standing(
        &self,
        chain_id: u64,
        number: u64,
        hash: &Word,
    ) -> Result<Option<BlockStanding>, countermark_lineage::Error> {
        let Some((_, endpoints)) = self.chains.iter().find(|(known, _)| *known == chain_id) else { return Ok(None) };
        let unknown = |(problem, help): (String, String)| countermark_lineage::Error::input("endpoints", problem, help);
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let block = (chain_id, number, *hash);
        if let Some(said) = asked.get(&block) {
            return said.clone().map_err(unknown);
        }
        if asked.len() == MOST_BLOCKS {
            let problem = format!("were asked about {MOST_BLOCKS} blocks, and are asked about no more");
            let help = "verify what matters with a bundle of its own, or pin its block in the policy";
            return Err(unknown((problem, help.to_owned())));
        }
        let said = endpoints.vouch(number, hash).map_err(|error| match error {
            Error::Refused { path, problem, help } => (format!("{path}: {problem}"), help),
            other => (other.to_string(), "try again later".to_owned()),
        });
        asked.insert(block, said.clone());
        said.map_err(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_named_twice_has_one_voice() {
        let urls = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>();
        let same = urls(&["http://a.example", "http://a.example/", "http://A.example:80/", "https://a.example"]);
        let endpoints = Endpoints::new(&same, NonZeroU32::new(2)).unwrap();
        assert_eq!(endpoints.urls(), ["http://a.example/", "https://a.example/"]);
        assert!(Endpoints::new(&same, NonZeroU32::new(3)).is_err());
        for wrong in [&[][..], &["ws://a.example"], &["a.example"], &["file:///etc/passwd"]] {
            assert!(Endpoints::new(&urls(wrong), None).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_bundle_of_many_blocks_asks_about_few() {
        let chain = r#"
            schema = "countermark.dev/policy/v1"
            [[chain]]
            name = "local"
            chain_id = 7
            endpoints = ["http://127.0.0.1:1/"]
        "#;
        let policy = countermark_lineage::credential::policy::Policy::parse(chain).unwrap();
        let nodes = Nodes::of(&policy).unwrap();
        let ask = |number: u64| nodes.standing(7, number, &Word::default());
        for number in 0..MOST_BLOCKS as u64 {
            assert!(ask(number).unwrap_err().problem().contains("vouch for block"));
        }
        assert!(ask(1000).unwrap_err().problem().contains("asked about no more"));
        assert!(ask(5).unwrap_err().problem().contains("vouch for block"), "what was said once is known");
    }
}
