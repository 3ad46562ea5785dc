//! `demo`: the whole path on a small real model that is compiled into the program.
//!
//! It calls the same functions as the other verbs, and prints the command that would do each step by hand.

mod chain;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use countermark::badge;
use countermark::detect::{self, DetectRequest, Detection};
use countermark::io::files;
use countermark::keyset;
use countermark::lineage::bundle::{Bundle, MAX_BUNDLE};
use countermark::lineage::graph::Relation;
use countermark::lineage::graph::render::Graph;
use countermark::lineage::verdict::{State, Verdict};
use countermark::mark::{self, EmbedRequest};
use countermark::sign::{self, ParentRequest};
use countermark::verify;
use countermark_fixtures::{CARD, CONFIG, HELDOUT_TEXT, MODEL, TRAIN_TEXT, TUNE_TEXT, attack, lm, train};

use crate::bar::Bar;
use crate::print::{self, BOLD, DIM, RESET, Result};

const TUNE_STEPS: usize = 40;
const TUNE_RATE: f64 = 7e-4;
const SEED: u64 = 7;

/// The whole path on a small real model: mark, sign, log, verify, and what tampering comes to
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark demo --out demo && xdg-open demo/lineage.svg
  anvil & countermark demo --chain http://127.0.0.1:8545

On chain 31337, the number of test nodes, the first test account pays. On any other, COUNTERMARK_CHAIN_KEY names the
file of the key that does: two transactions, about 180,000 gas.")]
pub struct Demo {
    /// Folder for what the demo makes; must not be there yet
    #[arg(long, default_value = "countermark-demo")]
    pub out: PathBuf,
    /// Anchor the demo's log on the chain of this node, by one transaction
    #[arg(long, value_name = "URL")]
    pub chain: Option<String>,
}

pub fn run(args: &Demo) -> Result<u8> {
    let since = Instant::now();
    if fs::symlink_metadata(&args.out).is_ok() {
        let help = "name another folder with --out DIR, or remove this one";
        return Err(format!("{} is there already\nhelp: {help}", args.out.display()).into());
    }
    let chain = args.chain.as_deref().map(chain::Payer::find).transpose()?;
    let demo = Stage { out: args.out.clone(), is_anchored: chain.is_some() };
    demo.keys()?;
    demo.data()?;
    let base = demo.base()?;
    demo.marked(base)?;
    demo.child(base)?;
    if let Some(chain) = &chain {
        demo.anchored(chain)?;
    }
    demo.verified()?;
    demo.refused()?;
    demo.recognised()?;
    demo.pictures()?;
    print::line(format_args!("\n{DIM}{:.0} s{RESET}", since.elapsed().as_secs_f64()))?;
    Ok(0)
}

struct Stage {
    out: PathBuf,
    is_anchored: bool,
}

impl Stage {
    fn path(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }

    fn bundle(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.provenance.json"))
    }

    fn key(&self) -> PathBuf {
        self.path("keys/owner.key")
    }

    fn keys(&self) -> Result<()> {
        step("Keys", &format!("countermark keygen --out {} --name 'Demo owner'", self.path("keys").display()))?;
        let key = keyset::generate(&self.path("keys"), "Demo owner")?;
        say(format_args!("owner {key}"))
    }

    fn data(&self) -> Result<()> {
        step("The training data, hashed and signed", "countermark sign data --key keys/owner.key --log log")?;
        write(&self.path("data/train.txt"), TRAIN_TEXT.as_bytes())?;
        write(&self.path("tune/tune.txt"), TUNE_TEXT.as_bytes())?;
        for name in ["data", "tune"] {
            let signed = self.sign(name, &[])?;
            say(format_args!("{name:5} root {}", signed.root))?;
        }
        Ok(())
    }

    /// Writes and signs the base model, and answers its perplexity.
    fn base(&self) -> Result<f64> {
        step(
            "The base model, trained on it",
            "countermark sign base --key keys/owner.key --log log --parent trained-on=…",
        )?;
        self.write_model("base", MODEL)?;
        let signed = self.sign("base", &[(Relation::TrainedOn, "data")])?;
        let perplexity = perplexity(MODEL)?;
        say(format_args!("base  root {}", signed.root))?;
        say(format_args!("{} weights, perplexity {perplexity:.4} per byte on held-out text", base_weights()?))?;
        Ok(perplexity)
    }

    fn marked(&self, base: f64) -> Result<()> {
        step(
            "A mark struck into the weights",
            "countermark watermark embed base --key keys/owner.mark.key --out model --log log",
        )?;
        let mut request = EmbedRequest::new(self.path("base"), self.path("keys/owner.mark.key"), self.path("model"));
        request.log = Some(self.path("log"));
        let embedded = mark::embed(&request, &Bar::new())?;
        let signed = self.sign("model", &[(Relation::DerivedFrom, "base")])?;
        let marked = perplexity(&self.weights("model")?)?;
        let change = 100.0 * (marked / base - 1.0);
        say(format_args!("model root {}", signed.root))?;
        say(format_args!(
            "mark {} at {:.1} dB; perplexity {marked:.4} ({change:+.2} %)",
            embedded.mark_id, embedded.report.distortion_db
        ))?;
        say("a model this small carries the mark's presence; from 8 million weights on it carries 128 bits as well")
    }

    fn child(&self, base: f64) -> Result<()> {
        step(
            "A fine-tuned child, signed with its parents",
            "countermark sign child --key keys/owner.key --log log --parent fine-tuned-from=… --parent trained-on=…",
        )?;
        let tuned = train::fine_tune(&self.weights("model")?, TUNE_TEXT, TUNE_STEPS, TUNE_RATE, SEED)?;
        self.write_model("child", &tuned)?;
        let signed = self.sign("child", &[(Relation::FineTunedFrom, "model"), (Relation::TrainedOn, "tune")])?;
        let perplexity = perplexity(&tuned)?;
        say(format_args!("child root {}", signed.root))?;
        say(format_args!(
            "{TUNE_STEPS} steps on other text; perplexity on the old held-out text {base:.4} → {perplexity:.4}"
        ))?;
        fs::copy(self.path("keys/policy.toml"), self.path("policy.toml"))?;
        Ok(())
    }

    fn verified(&self) -> Result<()> {
        step("Anybody with the policy verifies, offline", "countermark verify child --policy policy.toml")?;
        let verdict = self.verify("child", None, true)?;
        print::verdict(&verdict)?;
        expect(&verdict, if self.is_anchored { State::Verified } else { State::Unanchored })
    }

    /// Four things that must not pass, and what each verdict says.
    fn refused(&self) -> Result<()> {
        step("What does not pass", "countermark verify …")?;

        let mut bytes = self.weights("model")?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        self.write_model("tampered", &bytes)?;
        self.show("one flipped bit in the weights", &self.verify("tampered", Some("model"), true)?, State::Invalid)?;

        keyset::generate(&self.path("stranger"), "Stranger")?;
        self.write_model("claimed", &self.weights("model")?)?;
        let mut request = sign::Request::new(self.path("claimed"), self.path("stranger/owner.key"));
        request.out = Some(self.bundle("claimed"));
        sign::sign(&request, &Bar::new())?;
        self.show("signed by a stranger", &self.verify("claimed", None, true)?, State::UnknownSigner)?;

        let mut bundle = self.read_bundle("child")?;
        bundle.records.truncate(1);
        write(&self.bundle("orphan"), bundle.to_json().as_bytes())?;
        self.show("a parent missing from the bundle", &self.verify("child", Some("orphan"), true)?, State::Unknown)?;

        self.show("no policy: nobody is known", &self.verify("child", None, false)?, State::UnknownSigner)
    }

    /// A copy without any provenance, whose weights still name their owner.
    fn recognised(&self) -> Result<()> {
        step(
            "A renamed copy: fine-tuned, 20 % pruned, rounded to int8, provenance stripped",
            "countermark watermark detect copy --key keys/owner.mark.key",
        )?;
        let copy = attack::int8_round_trip(&attack::magnitude_prune(&self.weights("child")?, 0.2)?)?;
        self.write_model("copy", &copy)?;
        self.show("verify", &self.verify("copy", None, true)?, State::Absent)?;
        for (name, marked) in [("copy", true), ("base", false)] {
            let detection = self.detect(name)?;
            let word = if detection.detected { "detected" } else { "not detected" };
            let odds = odds(detection.report.log10_p);
            say(format_args!("{name:5} mark {BOLD}{word}{RESET}: {odds} (commitment {})", detection.commitment))?;
            if let (true, Some(bound)) = (marked, &detection.committed_before) {
                say(format_args!("      committed before {}: {}", bound.time, bound.source))?;
            }
            if detection.detected != marked {
                return Err(format!("the demo expected another answer for {name}; please report this").into());
            }
        }
        Ok(())
    }

    fn pictures(&self) -> Result<()> {
        step("Pictures", "countermark lineage graph child.provenance.json; countermark badge svg child")?;
        write(&self.path("lineage.svg"), Graph::of(&self.read_bundle("child")?)?.to_svg().as_bytes())?;
        write(&self.path("badge.svg"), badge::svg(&self.verify("child", None, true)?).as_bytes())?;
        for name in ["lineage.svg", "badge.svg"] {
            say(self.path(name).display())?;
        }
        say(format_args!(
            "try: countermark verify {} --policy {}",
            self.path("model").display(),
            self.path("policy.toml").display()
        ))
    }

    fn sign(&self, name: &str, parents: &[(Relation, &str)]) -> Result<sign::Signed> {
        let mut request = sign::Request::new(self.path(name), self.key());
        request.log = Some(self.path("log"));
        request.out = Some(self.bundle(name));
        let parent = |(relation, parent): &(Relation, &str)| ParentRequest {
            relation: *relation,
            bundle: self.bundle(parent),
            path: Some(self.path(parent)),
        };
        request.parents = parents.iter().map(parent).collect();
        Ok(sign::sign(&request, &Bar::new())?)
    }

    fn verify(&self, name: &str, bundle: Option<&str>, with_policy: bool) -> Result<Verdict> {
        let mut request = verify::Request::new(self.path(name));
        request.bundle = bundle.map(|bundle| self.bundle(bundle));
        request.policy = with_policy.then(|| self.path("policy.toml"));
        Ok(verify::verify(&request, &Bar::new())?)
    }

    fn detect(&self, name: &str) -> Result<Detection> {
        Ok(detect::detect(&DetectRequest::new(self.path(name), self.path("keys/owner.mark.key")), &Bar::new())?)
    }

    fn show(&self, what: &str, verdict: &Verdict, expected: State) -> Result<()> {
        let (sign, colour) = print::sign(verdict.state);
        let state = verdict.state;
        let worst = verdict.checks.iter().find(|check| check.state == state);
        let reason = worst.map_or_else(String::new, |check| format!("{}: {}", check.name, check.detail));
        say(format_args!("{colour}{sign}{RESET} {what}: {BOLD}{state}{RESET}, exit {}", state.exit_code()))?;
        print::line(format_args!("    {DIM}{reason}{RESET}"))?;
        expect(verdict, expected)
    }

    fn weights(&self, name: &str) -> Result<Vec<u8>> {
        Ok(fs::read(self.path(name).join("model.safetensors"))?)
    }

    fn write_model(&self, name: &str, weights: &[u8]) -> Result<()> {
        let folder = self.path(name);
        write(&folder.join("model.safetensors"), weights)?;
        write(&folder.join("config.json"), CONFIG.as_bytes())?;
        write(&folder.join("README.md"), CARD.as_bytes())
    }

    fn read_bundle(&self, name: &str) -> Result<Bundle> {
        Ok(Bundle::parse(&files::read(&self.bundle(name), MAX_BUNDLE)?)?)
    }
}

/// The demo shows real verdicts: if one is not what it says, that is a fault worth a report.
fn expect(verdict: &Verdict, expected: State) -> Result<()> {
    if verdict.state == expected {
        return Ok(());
    }
    print::verdict(verdict)?;
    Err(format!("the demo expected {expected} for {}; please report this", verdict.name).into())
}

fn perplexity(weights: &[u8]) -> Result<f64> {
    const BYTES: usize = 12_000;
    const CONTEXT: usize = 192;
    let tokens = lm::byte_tokens(HELDOUT_TEXT);
    Ok(lm::Lm::load(CONFIG, weights)?.perplexity(&tokens[..tokens.len().min(BYTES)], CONTEXT)?)
}

fn base_weights() -> Result<usize> {
    Ok(lm::Lm::load(CONFIG, MODEL)?.weights().values().map(|tensor| tensor.elem_count()).sum())
}

/// Odds that a person can read, from a bound on the false-positive probability.
fn odds(log10_p: f64) -> String {
    if log10_p > -1.0 {
        return format!("log10 p = {log10_p:.2}, as any model might show");
    }
    format!("log10 p = {log10_p:.2}, at most one in 10^{:.0} by chance", (-log10_p).floor())
}

fn step(title: &str, command: &str) -> Result<()> {
    print::line(format_args!("\n{BOLD}{title}{RESET}\n{DIM}$ {command}{RESET}"))
}

fn say(text: impl std::fmt::Display) -> Result<()> {
    print::line(format_args!("  {text}"))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    Ok(files::write(path, bytes, files::PUBLIC)?)
}
