//! Logs that need witnesses: too few, forged, replayed, of another tree, of the future; tlog policies of all shapes.

use std::fs;

use countermark::anchor;
use countermark::io::log::Log;
use countermark::lineage::anchor::checkpoint::Checkpoint;
use countermark::lineage::anchor::cosignature::{self, WitnessKey};
use countermark::lineage::anchor::proof::Proof;
use countermark::lineage::bundle::Bundle;
use countermark::sign::{self, Request};
use countermark::{keyset, silent};
use ed25519_dalek::SigningKey;

use crate::{Case, Result, World};

/// What is signed: `witnessed.csv`, in several bundles.
const ARTIFACT: &str = "witnessed.csv";

/// Witness `number` of four; w4 is in no quorum.
struct Witness {
    number: usize,
    key: SigningKey,
}

impl Witness {
    fn new(number: usize) -> Self {
        Witness { number, key: countermark::io::keys::generate() }
    }

    fn name(&self) -> String {
        format!("witness.example/w{}", self.number)
    }

    fn policy_line(&self) -> Result<String> {
        let vkey = WitnessKey::new(&self.name(), self.key.verifying_key().into())?;
        Ok(format!("witness w{} {vkey}\n", self.number))
    }

    fn line(&self, note: &str, time: i64) -> Result<String> {
        Ok(cosignature::sign(&text(note), &self.name(), &self.key, u64::try_from(time)?)?)
    }
}

/// What the signatures of a note cover.
fn text(note: &str) -> String {
    note.rfind("\n\n").map_or(String::new(), |at| note[..=at].to_owned())
}

struct Maker<'a> {
    world: &'a World,
    cases: Vec<Case>,
}

impl Maker<'_> {
    /// A policy that trusts the owner, the log as `[[log]]`, and this text.
    fn policy(&self, name: &str, tlog: &str, with_log: bool) -> Result<()> {
        let key = countermark::io::keys::load(&self.world.at("keys/owner.key"))?.public();
        let vkey = Log::open(&self.world.at("witnessed-log"))?.verifier().to_string();
        let log = if with_log { format!("\n[[log]]\nvkey = \"{vkey}\"\n") } else { String::new() };
        let text = format!(
            "schema = \"countermark.dev/policy/v1\"\ntlog_policy = '''\n{tlog}'''\n\n\
             [[signer]]\nname = \"owner\"\nkey = \"{key}\"\n{log}"
        );
        Ok(fs::write(self.world.out.join(format!("witnessed-{name}.toml")), text)?)
    }

    /// The bundle, its receipt under this checkpoint.
    fn bundle(&self, name: &str, good: &Bundle, note: &str) -> Result<()> {
        let mut bundle = good.clone();
        let receipt = bundle.records[0].receipt.as_mut().ok_or("no receipt")?;
        let mut proof = Proof::parse(&receipt.proof)?;
        proof.checkpoint = note.to_owned();
        receipt.proof = proof.to_text();
        Ok(fs::write(self.world.out.join(format!("witnessed-{name}.bundle.json")), bundle.to_json())?)
    }

    fn case(&mut self, name: &str, story: &str, files: [&str; 2], state: &str, reason: &str) {
        let [bundle, policy] = [format!("witnessed-{}.bundle.json", files[0]), format!("witnessed-{}.toml", files[1])];
        let options = [("bundle", &*bundle), ("policy", &*policy)];
        self.cases.push(Case::new(&format!("witnessed-{name}"), story, "verify", ARTIFACT, &options, state, reason));
    }
}

/// The cases, with everything that they name written.
pub fn cases(world: &World) -> Result<Vec<Case>> {
    fs::write(world.at(ARTIFACT), "who,what\nwitness,saw\n")?;
    fs::copy(world.at(ARTIFACT), world.out.join(ARTIFACT))?;
    let log_at = world.at("witnessed-log");
    let mut request = Request::new(world.at(ARTIFACT), world.at("keys/owner.key"));
    request.log = Some(log_at.clone());
    let signed = sign::sign(&request, &silent())?;
    let log = Log::open(&log_at)?;
    let (head, bare) = log.checkpoint()?;
    let good = Bundle::parse(&fs::read(&signed.bundle)?)?;
    let witnesses: Vec<Witness> = (1..=4).map(Witness::new).collect();
    let now = keyset::now();
    let mut maker = Maker { world, cases: vec![] };

    let vkey = log.verifier().to_string();
    let lines = witnesses.iter().map(Witness::policy_line).collect::<Result<String>>()?;
    let known = format!("log {vkey}\n{lines}");
    let two = format!("{known}group g 2 w1 w2 w3\nquorum g\n");
    maker.policy("two", &two, true)?;
    maker.policy("two-alone", &two, false)?;
    maker.policy("none", &format!("{known}quorum none\n"), true)?;
    maker.policy("all", &format!("{known}group g all w1 w2 w3\nquorum g\n"), true)?;
    let nested = format!("{known}group a any w1 w2\ngroup b 1 w3\ngroup g all a b\nquorum g\n");
    maker.policy("nested", &nested, true)?;
    maker.policy("one", &format!("{known}quorum w2\n"), true)?;

    let with = |numbers: &[usize]| -> Result<String> {
        let lines = numbers.iter().map(|number| witnesses[number - 1].line(&bare, now)).collect::<Result<String>>()?;
        Ok(format!("{bare}{lines}"))
    };
    let both = with(&[1, 2])?;
    maker.bundle("bare", &good, &bare)?;
    maker.bundle("both", &good, &both)?;
    maker.case("good", "two of three witnesses saw the checkpoint", ["both", "two"], "unanchored", "");
    let story = "the log is known by its witnesses alone";
    maker.case("good-alone", story, ["both", "two-alone"], "unanchored", "");
    maker.case("none-asked", "no witness is asked for", ["bare", "none"], "unanchored", "");
    let story = "a log in [[log]] as well, without a witness";
    maker.case("downgraded", story, ["bare", "two"], "unknown", "0 of 3; asked for");
    maker.bundle("first", &good, &with(&[1])?)?;
    maker.case("one-short", "one of two witnesses", ["first", "two"], "unknown", "1 of 3: w1");
    maker.case("all-asked", "two, and all three are asked for", ["both", "all"], "unknown", "all of w1, w2, w3");
    maker.case("nested-short", "one group of two is there", ["both", "nested"], "unknown", "(1 of w1, w2), (w3)");
    maker.bundle("across", &good, &with(&[2, 3])?)?;
    maker.case("nested-good", "one of each group", ["across", "nested"], "unanchored", "");
    maker.bundle("outside", &good, &with(&[1, 4])?)?;
    let story = "a witness whom the quorum does not ask";
    maker.case("not-a-voter", story, ["outside", "two"], "unknown", "1 of 3: w1");
    maker.case("another-one", "the one who is asked is another", ["first", "one"], "unknown", "0 of 1: w1");

    let once = with(&[1])?;
    maker.bundle("twice", &good, &format!("{once}{}", witnesses[0].line(&bare, now - 9)?))?;
    maker.case("one-twice", "the same witness twice", ["twice", "two"], "unknown", "1 of 3");
    let namesake = Witness { number: 2, key: countermark::io::keys::generate() };
    maker.bundle("namesake", &good, &format!("{once}{}", namesake.line(&bare, now)?))?;
    maker.case("namesake", "a witness' name with another key", ["namesake", "two"], "unknown", "1 of 3");
    let renamed = Witness { number: 2, key: witnesses[0].key.clone() };
    maker.bundle("renamed", &good, &format!("{once}{}", renamed.line(&bare, now)?))?;
    maker.case("one-as-two", "one witness under two names", ["renamed", "two"], "unknown", "1 of 3");

    // A line of a known witness that does not fit spoils all, also beside a good one.
    let key = countermark::io::keys::load_ed25519(&log_at.join(".state/log.key"))?;
    let other = Checkpoint { size: head.size, root: countermark::lineage::digest::Hash::sha256(b"another tree") };
    let other = other.sign(&log.verifier().name, &key)?;
    let replayed = witnesses[1].line(&other, now)?;
    maker.bundle("replayed", &good, &format!("{once}{replayed}"))?;
    let story = "a cosignature of another tree of the same log";
    maker.case("of-another-tree", story, ["replayed", "two"], "invalid", "does not fit the checkpoint");
    maker.bundle("spoiled", &good, &format!("{both}{replayed}"))?;
    let story = "a good line, and one of another tree, of one witness";
    maker.case("good-and-bad", story, ["spoiled", "two"], "invalid", "does not fit the checkpoint");
    // The time stands in front of the signature, and is signed.
    let mut redated = both.clone();
    let line = redated.split_off(both.rfind('\u{2014}').ok_or("no line")?);
    let later = witnesses[1].line(&bare, now + 100_000)?;
    let (head_of_later, _) = later.trim_end().split_at(later.rfind(' ').ok_or("no blob")? + 17);
    redated += &format!("{head_of_later}{}", &line[head_of_later.len()..]);
    maker.bundle("redated", &good, &redated)?;
    maker.case("redated", "a cosignature with another time", ["redated", "two"], "invalid", "does not fit");
    let late = witnesses[1].line(&bare, now + 100_000)?;
    maker.bundle("future", &good, &format!("{once}{late}"))?;
    maker.case("of-the-future", "a cosignature of tomorrow", ["future", "two"], "unknown", "of the future");
    let cut = &both.trim_end()[..both.trim_end().len() - 8];
    maker.bundle("cut", &good, &format!("{cut}\n"))?;
    maker.case("cut-short", "a cosignature that is cut short", ["cut", "two"], "invalid", "a time of 8 bytes");
    let unsigned = text(&bare) + "\n" + &witnesses[0].line(&bare, now)? + &witnesses[1].line(&bare, now)?;
    maker.bundle("unsigned", &good, &unsigned)?;
    let story = "witnesses alone, without the log's own signature";
    maker.case("no-log-signature", story, ["unsigned", "two"], "invalid", "log");
    // A signature of type 1 by a witness' key is no cosignature.
    let as_log = countermark::lineage::anchor::note::sign(&text(&bare), &witnesses[1].name(), &witnesses[1].key)?;
    let line = &as_log[as_log.rfind('\u{2014}').ok_or("no line")?..];
    maker.bundle("as-log", &good, &format!("{once}{line}"))?;
    let story = "a note signature in place of a cosignature";
    maker.case("note-signature", story, ["as-log", "two"], "unknown", "1 of 3");

    // What witnesses saw, proved anew as a user would.
    log.add_cosignatures(&both)?;
    anchor::attach(&log_at, &signed.bundle)?;
    fs::copy(&signed.bundle, world.out.join("witnessed-attached.bundle.json"))?;
    let story = "proved anew under the checkpoint that was cosigned";
    maker.case("attached", story, ["attached", "two"], "unanchored", "");
    Ok(maker.cases)
}
