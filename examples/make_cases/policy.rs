//! Signers, revocation lists and hand-overs: too few, too old, of somebody else, after a theft.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use countermark::io::keys as key_files;
use countermark::io::log::Log;
use countermark::lineage::bundle::Bundle;
use countermark::lineage::credential::dsse::{Content, Envelope};
use countermark::lineage::credential::hand_over::HandOver;
use countermark::lineage::credential::keys::PrivateKey;
use countermark::lineage::credential::logged::Logged;
use countermark::lineage::credential::revocation::{Entry, Keeps, Kind, List, Revocations, Target};
use countermark::sign::{self, Request};
use countermark::{hand_over, keyset, revoke, silent};

use crate::{Case, Result, World};

/// What is signed: `trust.csv`, in several bundles.
const ARTIFACT: &str = "trust.csv";

/// Owners with keys of their own: alice and bob sign, alice-2 takes over from alice, issuer revokes.
const OWNERS: [&str; 5] = ["alice", "alice-2", "bob", "stranger", "issuer"];

struct Makers<'a> {
    world: &'a World,
    cases: Vec<Case>,
}

impl Makers<'_> {
    fn key(&self, owner: &str) -> PathBuf {
        self.world.at(&format!("{owner}/owner.key"))
    }

    fn private(&self, owner: &str) -> Result<Arc<dyn PrivateKey>> {
        Ok(key_files::load(&self.key(owner))?)
    }

    fn target(&self, owner: &str) -> Result<Target> {
        Ok(Target::Key(self.private(owner)?.public()))
    }

    /// Signs and logs the artifact. Answers the bundle and its place in the log.
    fn sign(&self, owner: &str) -> Result<(Bundle, u64)> {
        let mut request = Request::new(self.world.at(ARTIFACT), self.key(owner));
        request.log = Some(self.world.at("trust-log"));
        let signed = sign::sign(&request, &silent())?;
        let index = signed.log.map_or(0, |log| log.index);
        Ok((Bundle::parse(&fs::read(signed.bundle)?)?, index))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.world.out.join(format!("trust-{name}")), text)?)
    }

    fn bundle(&self, name: &str, bundle: &Bundle) -> Result<()> {
        self.write(&format!("{name}.bundle.json"), &bundle.to_json())
    }

    /// A policy of these signers, the log, the issuer of lists, and whatever else it says.
    fn policy(&self, name: &str, signers: &[&str], more: &str) -> Result<()> {
        let mut text = "schema = \"countermark.dev/policy/v1\"\n".to_owned();
        for owner in signers {
            let public = self.private(owner)?.public();
            text += &format!("\n[[signer]]\nname = \"{owner}\"\nkey = \"{public}\"\n");
        }
        let vkey = Log::open(&self.world.at("trust-log"))?.verifier().to_string();
        self.write(&format!("{name}.toml"), &format!("{text}\n[[log]]\nvkey = \"{vkey}\"\n{more}"))
    }

    /// A list of the issuer's with one entry, logged.
    fn list(&self, name: &str, entry: Option<Entry>) -> Result<List> {
        let list = self.world.at(&format!("{name}.list"));
        let log = Some(self.world.at("trust-log"));
        revoke::revoke(&revoke::Request { key: self.key("issuer"), list: list.clone(), entry, log, days: 36_500 })?;
        let bytes = fs::read(list)?;
        self.write(&format!("{name}.list.json"), std::str::from_utf8(&bytes)?)?;
        Ok(List::parse(&bytes)?)
    }

    /// `trust-NAME`, judged by these files of ours: bundle, policy, and a list or hand-over.
    fn case(&mut self, name: &str, story: &str, files: [&str; 2], more: &[(&str, &str)], state: &str, reason: &str) {
        let path = |kind: &str, name: &str| format!("trust-{name}.{kind}");
        let mut options = vec![("bundle", path("bundle.json", files[0])), ("policy", path("toml", files[1]))];
        options.extend(more.iter().map(|(option, name)| match *option {
            "revocations" => (*option, path("list.json", name)),
            "hand-over" => (*option, path("hand-over.json", name)),
            _ => (*option, (*name).to_owned()),
        }));
        let options: Vec<(&str, &str)> = options.iter().map(|(option, value)| (*option, &**value)).collect();
        let name = format!("trust-{name}");
        self.cases.push(Case::new(&name, story, "verify", ARTIFACT, &options, state, reason));
    }
}

/// The cases, with everything that they name written.
pub fn cases(world: &World) -> Result<Vec<Case>> {
    for owner in OWNERS {
        keyset::generate(&world.at(owner), owner)?;
    }
    fs::write(world.at(ARTIFACT), "who,what\nalice,signs\n")?;
    fs::copy(world.at(ARTIFACT), world.out.join(ARTIFACT))?;
    let mut makers = Makers { world, cases: vec![] };
    thresholds(&mut makers)?;
    lists(&mut makers)?;
    hand_overs(&mut makers)?;
    Ok(makers.cases)
}

fn thresholds(makers: &mut Makers<'_>) -> Result<()> {
    let (alone, _) = makers.sign("alice")?;
    let two = "\n[[threshold]]\nnames = [\"trust*\"]\nrequired = 2\n";
    makers.policy("two", &["alice", "bob"], two)?;
    makers.policy("one-and-a-half", &["alice", "alice-2"], two)?;
    let mut both = alone.clone();
    both.records[0].statement.cosign(&*makers.private("bob")?)?;
    makers.bundle("both", &both)?;
    makers.bundle("alone", &alone)?;
    makers.case("cosigned", "nothing is wrong", ["both", "two"], &[], "unanchored", "");
    makers.case(
        "cosignature-stripped",
        "one of two signers",
        ["alone", "two"],
        &[],
        "unknown-signer",
        "1 of 2 signers",
    );

    let mut doubled = both.clone();
    doubled.records[0].statement.signatures[1] = doubled.records[0].statement.signatures[0].clone();
    makers.bundle("doubled", &doubled)?;
    makers.case("cosignature-doubled", "the same signature twice", ["doubled", "two"], &[], "invalid", "signs twice");
    let mut stranger = alone.clone();
    stranger.records[0].statement.cosign(&*makers.private("stranger")?)?;
    makers.bundle("stranger", &stranger)?;
    let story = "the second signer is nobody the policy knows";
    makers.case("cosignature-of-stranger", story, ["stranger", "two"], &[], "unknown-signer", "1 of 2 signers");
    let mut other = both.clone();
    let elsewhere = Envelope::sign(b"{}", &*makers.private("bob")?)?;
    other.records[0].statement.signatures[1] = elsewhere.signatures[0].clone();
    makers.bundle("elsewhere", &other)?;
    let story = "the second signature is over something else";
    makers.case("cosignature-of-another", story, ["elsewhere", "two"], &[], "invalid", "does not fit");
    let mut swapped = both;
    swapped.records[0].statement.signatures.swap(0, 1);
    makers.bundle("swapped", &swapped)?;
    makers.case(
        "cosignature-first",
        "the co-signer stands first",
        ["swapped", "two"],
        &[],
        "invalid",
        "another signer",
    );
    Ok(())
}

fn lists(makers: &mut Makers<'_>) -> Result<()> {
    let issuer = makers.private("issuer")?.public();
    let wanted = format!("\n[[revocation_list]]\nkey = \"{issuer}\"\nrequired = true\n");
    makers.policy("lists", &["alice"], &wanted)?;
    makers.policy("seen-two", &["alice"], &format!("{wanted}sequence = 2\n"))?;
    makers.policy("no-issuer", &["alice"], "")?;
    let (later, index) = makers.sign("alice")?;
    makers.bundle("later", &later)?;
    let now = keyset::now();
    let vkey = Log::open(&makers.world.at("trust-log"))?.verifier().to_string();
    let stolen = |makers: &Makers<'_>, before: Option<u64>| -> Result<Entry> {
        let mut entry = Entry::new(makers.target("alice")?, Kind::Stolen, "laptop", now);
        entry.keeps = before.map(|before| Keeps { log: vkey.clone(), before });
        Ok(entry)
    };
    let first = makers.list("empty", None)?;
    let all = makers.list("stolen", Some(stolen(makers, None)?))?;
    makers.list("kept", Some(stolen(makers, Some(index))?))?;
    let list = |name: &'static str| [("revocations", name)];
    let alone = ["alone", "lists"];
    makers.case("list-empty", "nothing is revoked", alone, &list("empty"), "unanchored", "");
    makers.case("list-missing", "the policy asks for a list", alone, &[], "unknown", "none is here");
    makers.case("list-stolen-key", "the key was stolen", alone, &list("stolen"), "revoked", "laptop");
    makers.case("list-kept", "stolen after this was logged", alone, &list("kept"), "unanchored", "");
    let story = "signed after the theft";
    makers.case("list-after-theft", story, ["later", "lists"], &list("kept"), "revoked", "laptop");
    let mut moved = later.clone();
    moved.records[0].receipt =
        Bundle::parse(&fs::read(makers.world.out.join("trust-alone.bundle.json"))?)?.records[0].receipt.clone();
    makers.bundle("moved", &moved)?;
    let story = "signed after the theft, with the receipt of an older release";
    makers.case("list-older-receipt", story, ["moved", "lists"], &list("kept"), "revoked", "laptop");
    let story = "an older list than the policy has seen";
    makers.case("list-replayed", story, ["alone", "seen-two"], &list("empty"), "stale", "older than list 2");
    let story = "a newer list was due long ago";
    let at = "2199-01-01T00:00:00Z";
    makers.case("list-stale", story, alone, &[("revocations", "empty"), ("at", at)], "stale", "was due by");
    let story = "the policy names no issuer";
    makers.case("list-of-stranger", story, ["alone", "no-issuer"], &list("empty"), "unknown-signer", "names no such");

    let stranger = makers.private("stranger")?;
    let payload = serde_json::to_vec(&first.content)?;
    let forged = Logged::sign(Content::Revocations, &payload, &[&*stranger])?;
    makers.write("forged.list.json", &forged.to_json())?;
    makers.case(
        "list-forged",
        "signed by a stranger in the issuer's name",
        alone,
        &list("forged"),
        "invalid",
        "issuer",
    );
    let mut statement = first.file.clone();
    statement.envelope = Envelope::sign(&payload, &*makers.private("issuer")?)?;
    makers.write("as-statement.list.json", &statement.to_json())?;
    let story = "the issuer's signature, but on a statement";
    makers.case("list-as-statement", story, alone, &list("as-statement"), "invalid", "payloadType");
    let mut stripped = first.file.clone();
    stripped.receipt = None;
    makers.write("unreceipted.list.json", &stripped.to_json())?;
    let story = "the receipt of the list is gone";
    makers.case(
        "list-receipt-stripped",
        story,
        alone,
        &list("unreceipted"),
        "unknown",
        "receipt of its log is missing",
    );
    let mut swapped = first.file.clone();
    swapped.receipt = all.file.receipt.clone();
    makers.write("swapped.list.json", &swapped.to_json())?;
    makers.case(
        "list-receipt-of-another",
        "the receipt of another list",
        alone,
        &list("swapped"),
        "invalid",
        "another entry",
    );
    let mut truncated = first.file.to_json();
    truncated.truncate(truncated.len() / 2);
    makers.write("truncated.list.json", &truncated)?;
    makers.case("list-truncated", "half of a list", alone, &list("truncated"), "invalid", "signed file");
    let issuer = makers.private("issuer")?;
    let of_bob = Entry::new(makers.target("bob")?, Kind::Lost, "no backup", now);
    let of_bob = makers.list("bob", Some(of_bob))?;
    let mut forgot = Revocations::after(Some(&of_bob), issuer.public(), now, 36_500);
    forgot.entries.clear();
    makers.write("forgot.list.json", &forgot.sign(&*issuer)?.file.to_json())?;
    let both = format!("{wanted}file = \"trust-bob.list.json\"\n");
    makers.policy("remembers", &["alice"], &both)?;
    let story = "the next list forgets, and the one before is still known";
    makers.case("list-forgets", story, ["alone", "remembers"], &list("forgot"), "invalid", "lacks entries");

    let certificate = fs::read_to_string(makers.world.at("alice/owner.crt"))?;
    let certificate = Target::of_pem(&certificate).ok_or("alice has no certificate")?;
    for (name, target) in
        [("statement", Target::Statement(later.records[0].statement.id()?)), ("certificate", certificate)]
    {
        makers.list(name, Some(Entry::new(target, Kind::Mistake, "withdrawn", now)))?;
        let story = format!("its {name} was revoked");
        let (case, files) = (format!("list-{name}"), ["later", "lists"]);
        makers.case(&case, &story, files, &[("revocations", name)], "revoked", "withdrawn");
    }
    Ok(())
}

fn hand_overs(makers: &mut Makers<'_>) -> Result<()> {
    let world = makers.world;
    let request = hand_over::Request {
        key: makers.key("alice"),
        to: makers.key("alice-2"),
        out: None,
        log: Some(world.at("trust-log")),
    };
    let place = hand_over::hand_over(&request)?.log.map_or(0, |log| log.index);
    let (new, _) = makers.sign("alice-2")?;
    makers.bundle("new", &new)?;
    makers.policy("alice", &["alice"], "")?;
    let files = ["new", "alice"];
    makers.case("handed-over", "nothing is wrong", files, &[], "unanchored", "");
    let mut stripped = new.clone();
    stripped.hand_overs.clear();
    makers.bundle("new-alone", &stripped)?;
    let story = "the hand-over is gone";
    makers.case("hand-over-stripped", story, ["new-alone", "alice"], &[], "unknown-signer", "nobody in the policy");
    fs::copy(world.at("alice-2/hand-over.json"), world.out.join("trust-given.hand-over.json"))?;
    let given = [("hand-over", "given")];
    makers.case("hand-over-given", "the hand-over beside the bundle", ["new-alone", "alice"], &given, "unanchored", "");

    let mut one_sided = new.hand_overs[0].clone();
    one_sided.envelope.signatures.remove(0);
    makers.write("one-sided.hand-over.json", &one_sided.to_json())?;
    let story = "only the new key signed";
    let reason = "old key and of the new key";
    makers.case("hand-over-one-sided", story, ["new-alone", "alice"], &[("hand-over", "one-sided")], "invalid", reason);
    let (old, to, stranger) = (makers.private("alice")?, makers.private("alice-2")?, makers.private("stranger")?);
    let content = HandOver::new(old.public(), stranger.public(), keyset::now(), None);
    let payload = serde_json::to_vec(&content)?;
    let forged = Logged::sign(Content::HandOver, &payload, &[&*to, &*stranger])?;
    makers.write("forged.hand-over.json", &forged.to_json())?;
    let story = "the old key did not sign";
    makers.case("hand-over-forged", story, ["new-alone", "alice"], &[("hand-over", "forged")], "invalid", reason);
    let fork = content.sign(&*old, &*stranger)?.file;
    makers.write("fork.hand-over.json", &fork.to_json())?;
    let story = "the old key is handed over to two";
    makers.case("hand-over-twice", story, files, &[("hand-over", "fork")], "invalid", "to one only");
    let back = HandOver::new(to.public(), old.public(), keyset::now(), None).sign(&*to, &*old)?.file;
    makers.write("back.hand-over.json", &back.to_json())?;
    makers.case("hand-over-circle", "the new key hands back", files, &[("hand-over", "back")], "invalid", "circle");
    let mut unlogged = new.clone();
    unlogged.hand_overs[0].receipt = None;
    makers.bundle("unreceipted", &unlogged)?;
    let story = "the receipt of the hand-over is gone";
    makers.case("hand-over-receipt-stripped", story, ["unreceipted", "alice"], &[], "unknown", "receipt");

    // The old key was stolen, before or after it was handed over.
    let vkey = Log::open(&world.at("trust-log"))?.verifier().to_string();
    for (name, before) in [("theft-before", place), ("theft-after", place + 1)] {
        let mut entry = Entry::new(makers.target("alice")?, Kind::Stolen, "laptop", keyset::now());
        entry.keeps = Some(Keeps { log: vkey.clone(), before });
        makers.list(name, Some(entry))?;
    }
    let files = ["new", "lists"];
    let story = "handed over by the thief";
    makers.case("hand-over-after-theft", story, files, &[("revocations", "theft-before")], "revoked", "does not count");
    let story = "stolen after it was handed over";
    makers.case("hand-over-before-theft", story, files, &[("revocations", "theft-after")], "unanchored", "");
    let mut both = new.clone();
    both.records[0].statement.cosign(&*old)?;
    makers.bundle("old-and-new", &both)?;
    let story = "the old key and the new one are one signer";
    let files = ["old-and-new", "one-and-a-half"];
    makers.case("hand-over-counts-once", story, files, &[], "unknown-signer", "1 of 2 signers");
    Ok(())
}
