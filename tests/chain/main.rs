//! Anchors on a real chain: a node of its own for every test, and the contract that is committed.
//!
//! `eval "$(fixtures/services/chain.sh)"` sets `COUNTERMARK_ANVIL`, `COUNTERMARK_CAST` and `COUNTERMARK_SOLC`. Without them
//! these tests are skipped and say so.

mod anvil;
mod contract;
mod endpoints;
mod states;

use std::path::PathBuf;
use std::time::Duration;

use anvil::{Anvil, key_file};
use countermark::io::anchor::evm::{Backend, Deployment, Fees, Plan, Work};
use countermark::io::anchor::{Job, Jobs, Order};
use countermark::io::log::Log;
use countermark::lineage::anchor::evm::hex::Address;
use countermark::lineage::anchor::{self, Anchor, Bound, Standing, Trust};
use countermark::lineage::credential::policy::Policy;

/// Addresses of the accounts of [`anvil::KEYS`].
const ACCOUNTS: [&str; 3] = [
    "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266",
    "0x70997970c51812dc3a010c7d01b50e0d17dc79c8",
    "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc",
];

/// A log, keys, and a chain with a contract.
struct World {
    folder: tempfile::TempDir,
    anvil: Anvil,
    contract: Address,
    /// Seconds that have passed by the clock of the jobs.
    clock: std::cell::Cell<i64>,
}

impl World {
    fn new() -> Option<Self> {
        let anvil = Anvil::start()?;
        let folder = tempfile::tempdir().unwrap();
        let log = Log::create(&folder.path().join("log"), Some("log.example/provenance")).unwrap();
        log.append(&(0..4).map(|i| format!("entry {i}").into_bytes()).collect::<Vec<_>>()).unwrap();
        // Another account deploys than the one that anchors, so that nonces are easy to read.
        let key = key_file(folder.path(), 1);
        key_file(folder.path(), 0);
        let deployed = Deployment::sign(&[anvil.url()], None, Some(31337), &key, Fees::default())
            .unwrap()
            .send(Duration::from_secs(20))
            .unwrap();
        let clock = std::cell::Cell::new(1_800_000_000);
        Some(World { folder, anvil, contract: deployed.contract, clock })
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn plan(&self, backend: Backend) -> Plan {
        Plan {
            endpoints: vec![self.anvil.url()],
            agree: None,
            chain_id: Some(31337),
            key: self.folder.path().join("chain0.key"),
            backend,
            fees: Fees::default(),
        }
    }

    fn erc7053(&self) -> Plan {
        self.plan(Backend::Erc7053 { contract: self.contract })
    }

    /// Orders an anchor of the newest checkpoint and takes the first step.
    fn submit(&self, plan: Plan) -> Result<Job, countermark::io::Error> {
        let (size, checkpoint) = Log::open(&self.log()).unwrap().anchorable().unwrap();
        Jobs::of(&self.log()).submit(size, &checkpoint, Order::Evm(Work::plan(plan)?), self.clock.get())
    }

    fn advance(&self, job: &Job) -> Result<Job, countermark::io::Error> {
        self.clock.set(self.clock.get() + 1);
        let jobs = Jobs::of(&self.log());
        let (size, ..) = jobs
            .all()
            .unwrap()
            .into_iter()
            .find(|(.., known)| known.checkpoint == job.checkpoint && known.order.name() == job.order.name())
            .unwrap();
        jobs.advance(size, job.clone(), self.clock.get())
    }

    /// Hashes of all transactions that were signed for a job.
    fn signed(&self, job: &Job) -> Vec<String> {
        let Order::Evm(work) = &job.order else { panic!() };
        work.transactions().map(|hash| hash.to_string()).collect()
    }
}

/// What the evidence of a job comes to for somebody who pins what it names.
fn judged(job: &Job) -> Bound {
    let Order::Evm(work) = &job.order else { panic!() };
    let policy = Policy { chains: vec![work.policy()], ..Policy::default() };
    let anchor = Anchor { checkpoint: job.checkpoint.clone(), evidence: job.evidence.clone().expect("evidence") };
    match anchor::check(&anchor, &Trust { policy: &policy, blocks: None }).unwrap() {
        Standing::Bound(bound) => bound,
        other => panic!("{other:?}"),
    }
}
