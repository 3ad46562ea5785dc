//! The demo's log on a chain: one contract, one transaction, and a policy that needs no node any more.

use std::env;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use countermark::anchor;
use countermark::io::anchor::evm::{Backend, Deployment, Endpoints, Fees, Plan, Work};
use countermark::io::anchor::{Order, State};
use countermark::io::files;
use countermark::io::log::Log;
use countermark::lineage::anchor::evm::hex::Address;
use countermark::lineage::bundle::MAX_BUNDLE;

use super::{Stage, say, step, write};
use crate::print::Result;

/// The number that test nodes give their chain.
const TEST_CHAIN: u64 = 31337;
/// The key of a test node's first account. Everybody knows it, and it pays on no other chain.
const TEST_KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80\n";
/// How long a transaction may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Who pays, on which chain.
pub struct Payer {
    url: String,
    chain_id: u64,
    /// None: the test node's first account.
    key: Option<PathBuf>,
}

impl Payer {
    /// Asks the node for its chain before anything else is done.
    pub fn find(url: &str) -> Result<Self> {
        let (_, chain_id) = Endpoints::new(&[url.to_owned()], None)?.on_chain(None)?;
        let key = env::var_os("COUNTERMARK_CHAIN_KEY").map(PathBuf::from);
        if key.is_none() && chain_id != TEST_CHAIN {
            let help =
                "set COUNTERMARK_CHAIN_KEY to the file of a key; `countermark keygen --chain-key FILE` makes one";
            return Err(format!("nobody pays on chain {chain_id}\nhelp: {help}").into());
        }
        Ok(Payer { url: url.to_owned(), chain_id, key })
    }
}

impl Stage {
    /// Has the chain hold the log's checkpoint, and pins what the policy needs to believe it.
    pub fn anchored(&self, payer: &Payer) -> Result<()> {
        let key = match &payer.key {
            Some(key) => key.clone(),
            None => {
                let key = self.path("keys/chain.key");
                files::write(&key, TEST_KEY.as_bytes(), files::SECRET)?;
                key
            }
        };
        let contract = self.deployed(payer, &key)?;
        self.submitted(payer, key, contract)?;
        self.attached()?;
        self.pinned()
    }

    fn deployed(&self, payer: &Payer, key: &std::path::Path) -> Result<Address> {
        let (url, chain_id) = (&payer.url, payer.chain_id);
        step(
            "A contract that holds nothing and belongs to nobody: ERC-7053",
            &format!("countermark anchor deploy --evm {url} --chain-id {chain_id} --chain-key keys/chain.key"),
        )?;
        let urls = std::slice::from_ref(url);
        let deployment = Deployment::sign(urls, None, Some(chain_id), key, Fees::default())?;
        let deployed = deployment.send(PATIENCE)?;
        say(format_args!("contract {} in block {} of chain {chain_id}", deployed.contract, deployed.block))?;
        Ok(deployed.contract)
    }

    fn submitted(&self, payer: &Payer, key: PathBuf, contract: Address) -> Result<()> {
        let (url, chain_id) = (&payer.url, payer.chain_id);
        let size = Log::open(&self.path("log"))?.head()?.size;
        step(
            &format!("One transaction for all {size} entries of the log; a million would take no other"),
            &format!("countermark anchor submit log --evm {url} --chain-key keys/chain.key --contract {contract}"),
        )?;
        let plan = Plan {
            endpoints: vec![url.clone()],
            agree: None,
            chain_id: Some(chain_id),
            key,
            backend: Backend::Erc7053 { contract },
            fees: Fees::default(),
        };
        let mut reports = anchor::submit(&self.path("log"), vec![Order::Evm(Work::plan(plan)?)])?;
        let since = Instant::now();
        loop {
            let Some(report) = reports.first() else { return Err("the anchor was not ordered".into()) };
            match report.state {
                State::Included | State::Final => {
                    return say(format_args!("{}: {}", report.state.as_str(), report.detail));
                }
                State::Pending | State::Dropped if since.elapsed() < PATIENCE => {
                    eprintln!("{}: {}", report.state.as_str(), report.detail);
                }
                _ => return Err(format!("the anchor is {}: {}", report.state.as_str(), report.detail).into()),
            }
            std::thread::sleep(Duration::from_secs(1));
            reports = anchor::upgrade(&self.path("log"))?;
        }
    }

    fn attached(&self) -> Result<()> {
        step(
            "The proof goes into every bundle: from the release to the block, nothing left to ask for",
            "countermark anchor upgrade log *.provenance.json keys/marks",
        )?;
        for name in ["data", "tune", "base", "model", "child"] {
            let path = self.bundle(name);
            let before = files::read(&path, MAX_BUNDLE)?.len();
            anchor::attach(&self.path("log"), &path)?;
            let bundle = self.read_bundle(name)?;
            let anchors: usize =
                bundle.anchors.iter().map(|anchor| serde_json::to_vec(anchor).map_or(0, |json| json.len())).sum();
            let after = files::read(&path, MAX_BUNDLE)?.len();
            say(format_args!("{name:5} {before:>6} → {after:>6} bytes; its receipt from the chain has {anchors}"))?;
        }
        anchor::attach(&self.path("log"), &self.path("keys/marks"))?;
        Ok(())
    }

    /// From here on the node may be gone.
    fn pinned(&self) -> Result<()> {
        step(
            "Whom to believe about the chain: one contract, one account, one block",
            "countermark anchor policy log >> policy.toml",
        )?;
        let entries = anchor::chain_entries(&anchor::chains(&self.path("log"))?);
        for line in entries.trim_end().lines() {
            say(line)?;
        }
        // The owner's own as well, by which detection judges.
        for policy in ["policy.toml", "keys/policy.toml"] {
            let policy = self.path(policy);
            let text = files::read_text(&policy, 1 << 20)?;
            write(&policy, format!("{}\n\n{entries}", text.trim_end()).as_bytes())?;
        }
        say("the node is not needed any more: stop it, and what follows stays green")
    }
}
