//! Who may speak: thresholds, revocation lists and hand-overs, and everything by which somebody could get around them.

mod hand_overs;
mod lists;
mod witnesses;

use std::fs;
use std::path::PathBuf;

use countermark::io::keys as key_files;
use countermark::lineage::bundle::Bundle;
use countermark::lineage::credential::dsse::{Content, Envelope};
use countermark::lineage::credential::hand_over::HandOver;
use countermark::lineage::credential::keys::{PrivateKey, PublicKey};
use countermark::lineage::credential::logged::Logged;
use countermark::lineage::credential::policy::Policy;
use countermark::lineage::credential::revocation::{Entry, Keeps, Kind, List, Revocations, Target};
use countermark::lineage::digest::Hash;
use countermark::lineage::graph::Relation;
use countermark::lineage::graph::statement::rfc3339;
use countermark::lineage::graph::store::{Batch, VerifiedStatement};
use countermark::lineage::verdict::{State, Verdict};
use countermark::mark::{self, EmbedRequest};
use countermark::sign::{self, ParentRequest, Request, Signed};
use countermark::verify;
use countermark::watermark::Strength;
use countermark::{cosign, hand_over, keyset, revoke, silent};

const DAY: i64 = 86_400;

/// Folders of keys, a log, and a policy that each test writes for itself.
struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    fn new(owners: &[&str]) -> Self {
        let lab = Lab { folder: tempfile::tempdir().unwrap() };
        for owner in owners {
            keyset::generate(&lab.at(owner), owner).unwrap();
        }
        lab
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn key(&self, owner: &str) -> PathBuf {
        self.at(owner).join("owner.key")
    }

    fn private(&self, owner: &str) -> std::sync::Arc<dyn PrivateKey> {
        key_files::load(&self.key(owner)).unwrap()
    }

    fn public(&self, owner: &str) -> PublicKey {
        self.private(owner).public()
    }

    /// Signs and logs a small file, made when it is not there.
    fn sign(&self, owner: &str, name: &str, parents: &[&str]) -> Signed {
        if !self.at(name).exists() {
            fs::write(self.at(name), name).unwrap();
        }
        let mut request = Request::new(self.at(name), self.key(owner));
        request.log = Some(self.at("log"));
        let parent = |parent: &&str| ParentRequest {
            relation: Relation::TrainedOn,
            bundle: self.at(&format!("{parent}.provenance.json")),
            path: None,
        };
        request.parents = parents.iter().map(parent).collect();
        sign::sign(&request, &silent()).unwrap()
    }

    fn bundle(&self, name: &str) -> Bundle {
        Bundle::parse(&fs::read(self.at(&format!("{name}.provenance.json"))).unwrap()).unwrap()
    }

    fn write_bundle(&self, name: &str, bundle: &Bundle) {
        fs::write(self.at(&format!("{name}.provenance.json")), bundle.to_json()).unwrap();
    }

    fn vkey(&self) -> String {
        countermark::io::log::Log::open(&self.at("log")).unwrap().verifier().to_string()
    }

    /// A policy that knows these signers, the log, and whatever else is written.
    fn policy(&self, signers: &[&str], more: &str) -> PathBuf {
        let signer = |owner: &&str| format!("[[signer]]\nname = \"{owner}\"\nkey = \"{}\"\n", self.public(owner));
        let signers: String = signers.iter().map(signer).collect();
        let log =
            if self.at("log").exists() { format!("[[log]]\nvkey = \"{}\"\n", self.vkey()) } else { String::new() };
        let text = format!("schema = \"countermark.dev/policy/v1\"\n{signers}{log}{more}");
        let path = self.at("policy.toml");
        fs::write(&path, text).unwrap();
        path
    }

    fn judge(&self, name: &str, policy: PathBuf) -> Verdict {
        self.judge_with(name, policy, &[], &[], None)
    }

    fn judge_with(
        &self,
        name: &str,
        policy: PathBuf,
        revocations: &[&str],
        hand_overs: &[&str],
        at: Option<i64>,
    ) -> Verdict {
        let mut request = verify::Request::new(self.at(name));
        request.policy = Some(policy);
        request.revocations = revocations.iter().map(|name| self.at(name)).collect();
        request.hand_overs = hand_overs.iter().map(|name| self.at(name)).collect();
        request.at = at;
        verify::verify(&request, &silent()).unwrap()
    }

    /// The next list of `owner` in `name`.
    fn revoke(&self, owner: &str, name: &str, entry: Option<Entry>, is_logged: bool) -> revoke::Revoked {
        let log = is_logged.then(|| self.at("log"));
        let request = revoke::Request { key: self.key(owner), list: self.at(name), entry, log, days: 30 };
        revoke::revoke(&request).unwrap()
    }

    fn hand_over(&self, from: &str, to: &str, log: Option<PathBuf>) -> hand_over::HandedOver {
        let request = hand_over::Request { key: self.key(from), to: self.key(to), out: None, log };
        hand_over::hand_over(&request).unwrap()
    }

    fn cosign(&self, owner: &str, name: &str) -> Result<cosign::Cosigned, String> {
        let request = cosign::Request {
            bundle: self.at(&format!("{name}.provenance.json")),
            key: self.key(owner),
            artifact: Some(self.at(name)),
            policy: None,
            out: None,
        };
        cosign::cosign(&request, &silent()).map_err(|error| error.to_string())
    }
}

fn stolen(key: PublicKey) -> Entry {
    Entry::new(Target::Key(key), Kind::Stolen, "laptop", keyset::now())
}

#[track_caller]
fn expect(verdict: &Verdict, state: State, row: &str, reason: &str) {
    assert_eq!(verdict.state, state, "{verdict:#?}");
    let fits = |check: &&countermark::lineage::verdict::Check| {
        check.state == state && check.name == row && check.detail.contains(reason)
    };
    assert!(verdict.checks.iter().any(|check| fits(&check)), "{row}: {reason}: {verdict:#?}");
}

#[track_caller]
fn expect_good(verdict: &Verdict, row: &str, reason: &str) {
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    let fits = |check: &countermark::lineage::verdict::Check| check.name == row && check.detail.contains(reason);
    assert!(verdict.checks.iter().any(fits), "{row}: {reason}: {verdict:#?}");
}

#[test]
fn as_many_signers_as_the_policy_asks_for() {
    let lab = Lab::new(&["alice", "bob", "carol", "stranger"]);
    lab.sign("alice", "team-a", &[]);
    let two = "[[threshold]]\nnames = [\"team-*\"]\nsigners = [\"alice\", \"bob\"]\nrequired = 2\n";
    let policy = || lab.policy(&["alice", "bob", "carol"], two);
    expect(&lab.judge("team-a", policy()), State::UnknownSigner, "threshold", "1 of 2 signers: alice");

    // Carol and a stranger sign too; neither is asked for.
    lab.cosign("carol", "team-a").unwrap();
    lab.cosign("stranger", "team-a").unwrap();
    let verdict = lab.judge("team-a", policy());
    expect(&verdict, State::UnknownSigner, "threshold", "not asked for");
    expect(&verdict, State::UnknownSigner, "threshold", "nobody in the policy vouches");

    lab.cosign("bob", "team-a").unwrap();
    let good = lab.bundle("team-a");
    expect_good(&lab.judge("team-a", policy()), "threshold", "2 of 2 signers: alice, bob");
    assert!(lab.cosign("bob", "team-a").unwrap_err().contains("has signed this already"));

    // Stripped, doubled, forged, put first.
    let judge = |change: &dyn Fn(&mut Bundle)| {
        let mut bundle = good.clone();
        change(&mut bundle);
        lab.write_bundle("team-a", &bundle);
        lab.judge("team-a", policy())
    };
    let stripped = judge(&|bundle| bundle.records[0].statement.signatures.truncate(3));
    expect(&stripped, State::UnknownSigner, "threshold", "1 of 2");
    let doubled = judge(&|bundle| {
        let signatures = &mut bundle.records[0].statement.signatures;
        signatures[3] = signatures[0].clone();
    });
    expect(&doubled, State::Invalid, "statement", "signs twice");
    let of_another = judge(&|bundle| {
        let other = Envelope::sign(b"{}", &*lab.private("bob")).unwrap();
        bundle.records[0].statement.signatures[3] = other.signatures[0].clone();
    });
    expect(&of_another, State::Invalid, "statement", "does not fit");
    let first = judge(&|bundle| bundle.records[0].statement.signatures.swap(0, 3));
    expect(&first, State::Invalid, "statement", "another signer");

    // A name of several keys is one signer, and so is a key with two names.
    lab.write_bundle("team-a", &good);
    let same = lab.policy(&["alice", "bob"], two).parent().unwrap().join("same.toml");
    let text = fs::read_to_string(lab.at("policy.toml")).unwrap().replace("name = \"bob\"", "name = \"alice\"");
    fs::write(&same, &text).unwrap();
    expect(&lab.judge("team-a", same), State::UnknownSigner, "threshold", "1 of 2");

    // A signer who was revoked does not count, nor one who may not vouch for the name or the relation.
    let revoked = format!("{two}[[revoked]]\nkey = \"{}\"\nreason = \"left\"\n", lab.public("bob"));
    expect(
        &lab.judge("team-a", lab.policy(&["alice", "bob"], &revoked)),
        State::UnknownSigner,
        "threshold",
        "(revoked)",
    );
    let narrow = lab.policy(&["alice", "bob"], two);
    let text = fs::read_to_string(&narrow).unwrap().replace("name = \"bob\"", "name = \"bob\"\nnames = [\"x\"]");
    fs::write(&narrow, text).unwrap();
    expect(&lab.judge("team-a", narrow), State::UnknownSigner, "threshold", "may not vouch");

    // Other names are asked for nothing, and ancestors are asked as well.
    lab.sign("alice", "solo", &["team-a"]);
    expect_good(&lab.judge("solo", policy()), "parent team-a: threshold", "2 of 2");
    let mut bundle = lab.bundle("solo");
    bundle.records[1].statement.signatures.truncate(1);
    lab.write_bundle("solo", &bundle);
    expect(&lab.judge("solo", policy()), State::UnknownSigner, "parent team-a: threshold", "1 of 2");
}

#[test]
fn a_store_keeps_the_first_signature_and_checks_all() {
    let lab = Lab::new(&["alice", "bob"]);
    lab.sign("alice", "a", &[]);
    lab.cosign("bob", "a").unwrap();
    let mut bundle = lab.bundle("a");
    let envelope = bundle.records[0].statement.clone();
    assert_eq!(Batch::of("a", &bundle).unwrap().len(), 1);
    let stored = VerifiedStatement::verify(&envelope).unwrap();
    assert_eq!(stored.envelope().signatures, envelope.signatures[..1]);
    let again = VerifiedStatement::from_parts(stored.payload(), stored.signature()).unwrap();
    assert_eq!(again.envelope(), stored.envelope());
    bundle.records[0].statement.signatures[1].sig = bundle.records[0].statement.signatures[0].sig.clone();
    assert!(Batch::of("a", &bundle).is_err());
}

#[test]
fn nobody_cosigns_what_is_wrong() {
    let lab = Lab::new(&["alice", "bob"]);
    lab.sign("alice", "a", &[]);
    let before = fs::read(lab.at("a.provenance.json")).unwrap();
    fs::write(lab.at("a"), "changed").unwrap();
    assert!(lab.cosign("bob", "a").unwrap_err().contains("is invalid"));
    let mut bundle = lab.bundle("a");
    bundle.records[0].manifest = None;
    lab.write_bundle("stripped", &bundle);
    let request = cosign::Request {
        bundle: lab.at("stripped.provenance.json"),
        key: lab.key("bob"),
        artifact: None,
        policy: None,
        out: None,
    };
    assert!(cosign::cosign(&request, &silent()).is_err());
    assert_eq!(fs::read(lab.at("a.provenance.json")).unwrap(), before, "nothing was written");
}

#[test]
fn a_signer_speaks_in_its_time_only() {
    let lab = Lab::new(&["alice"]);
    lab.sign("alice", "a", &[]);
    let now = keyset::now();
    let judge = |from: i64, until: i64, at: i64| {
        let path = lab.policy(&["alice"], "");
        let time =
            format!("key = \"{}\"\nfrom = {}\nuntil = \"{}\"", lab.public("alice"), rfc3339(from), rfc3339(until));
        let key = format!("key = \"{}\"", lab.public("alice"));
        let text = fs::read_to_string(&path).unwrap().replacen(&key, &time, 1);
        fs::write(&path, text).unwrap();
        lab.judge_with("a", path, &[], &[], Some(at))
    };
    expect_good(&judge(now - DAY, now + DAY, now), "signer", "alice");
    expect(&judge(now + DAY, now + 2 * DAY, now), State::UnknownSigner, "signer", "from");
    expect(&judge(now - 2 * DAY, now - DAY, now), State::UnknownSigner, "signer", "until");
    // Made in time by its own word, which is worth nothing once the time is over.
    expect(&judge(now - DAY, now + DAY, now + 2 * DAY), State::Unknown, "signer", "nothing proves");
}

#[test]
fn what_a_policy_asks_for_and_nobody_shows() {
    let lab = Lab::new(&["alice"]);
    lab.sign("alice", "a", &[]);
    for (rule, row) in [
        ("timestamp = true", "manifest timestamp"),
        ("oms = true", "oms"),
        ("anchor = [\"evm\", \"opentimestamps\"]", "anchor"),
        ("anchor = []", "anchor"),
    ] {
        let verdict = lab.judge("a", lab.policy(&["alice"], &format!("[require]\n{rule}\n")));
        expect(&verdict, State::Unknown, row, "");
    }
}

#[test]
fn a_policy_is_refused_with_line_and_column_and_reviewed_in_plain_words() {
    let schema = "schema = \"countermark.dev/policy/v1\"\n";
    let key = "ed25519:3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    for (text, words) in [
        ("[[threshold]]\nnames = [\"a\"]\nrequired = 0\n", &["line 4", "nonzero"][..]),
        ("[[signer]]\nname = \"a\"\nkey = \"x\"\n", &["line 4", "public key"]),
        (&*format!("[[signer]]\nname = \"a\"\nkey = \"{key}\"\nuntil = \"soon\"\n"), &["line 5", "time"]),
        ("[require]\nanchor = [\"moon\"]\n", &["line 3", "anchor kinds"]),
        ("[require]\nanchors = true\n", &["line 3", "anchors"]),
        (&*format!("[[revocation_list]]\nkey = \"{key}\"\nfile = \"../x\"\n"), &["beside the policy"]),
        ("[[revoked]]\nreason = \"x\"\n", &["neither key"]),
    ] {
        let error = Policy::parse(&format!("{schema}{text}")).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
    }
    let text = format!(
        "{schema}[[signer]]\nname = \"a\"\nkey = \"{key}\"\nnames = [\"*-team\"]\nuntil = 2020-01-01T00:00:00Z\n\
         [[signer]]\nname = \"b\"\nkey = \"{key}\"\n\
         [[threshold]]\nnames = [\"x\"]\nsigners = [\"a\", \"nobody\"]\nrequired = 3\n\
         [[revocation_list]]\nkey = \"{key}\"\n[require]\nlog = true\n"
    );
    let policy = Policy::parse(&text).unwrap();
    let remarks = policy.review(keyset::now());
    let warns = |words: &str| remarks.iter().any(|remark| remark.warning && remark.text.contains(words));
    for words in [
        "only a * at the end",
        "its time is over",
        "one key is one signer",
        "\"nobody\" is no signer",
        "can never be met",
        "issue lists that forget",
        "names none",
    ] {
        assert!(warns(words), "{words}: {remarks:#?}");
    }
    // A policy of old says what it said.
    let good = format!("{schema}[[signer]]\nname = \"a\"\nkey = \"{key}\"\n[require]\nanchor = true\n");
    let good = Policy::parse(&good).unwrap();
    assert!(good.require.anchor.is_required());
    // An anchor that nobody named here could vouch for is worth a warning, and it is the only one.
    let warnings: Vec<_> = good.review(keyset::now()).into_iter().filter(|remark| remark.warning).collect();
    assert!(matches!(&*warnings, [one] if one.text.contains("anchor")), "{warnings:#?}");
}
