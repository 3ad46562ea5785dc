//! Who may speak: thresholds, revocation lists and hand-overs, and everything by which somebody could get around them.

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
fn a_list_revokes_keys_statements_marks_and_certificates_and_ancestors_with_them() {
    let lab = Lab::new(&["alice", "bob", "issuer"]);
    let data = lab.sign("bob", "data", &[]);
    lab.sign("alice", "model", &["data"]);
    let issuer = format!("[[revocation_list]]\nkey = \"{}\"\nrequired = true\n", lab.public("issuer"));
    let policy = || lab.policy(&["alice", "bob"], &issuer);
    expect(&lab.judge("model", policy()), State::Unknown, "revocations", "none is here");

    let first = lab.revoke("issuer", "empty.json", None, false);
    assert_eq!((first.sequence, first.entries), (1, 0));
    expect_good(&lab.judge_with("model", policy(), &["empty.json"], &[], None), "revocations", "list 1 of");

    let certificate = fs::read_to_string(lab.at("bob/owner.crt")).unwrap();
    let certificate = Target::of_pem(&certificate).unwrap();
    assert!(matches!(certificate, Target::Certificate(_)));
    let cases = [
        (Target::Key(lab.public("alice")), "signer"),
        (Target::Key(lab.public("bob")), "parent data: signer"),
        (Target::Statement(data.statement), "parent data: statement"),
        (certificate, "parent data: manifest certificate"),
    ];
    for (index, (target, row)) in cases.into_iter().enumerate() {
        let name = format!("list-{index}.json");
        let made = lab.revoke("issuer", &name, Some(Entry::new(target, Kind::Mistake, "told so", keyset::now())), true);
        assert!(made.log.is_some());
        let verdict = lab.judge_with("model", policy(), &[&name], &[], None);
        expect(&verdict, State::Revoked, row, "(mistake) by list 1 of");
        assert_eq!(verdict.state.exit_code(), 1);
    }
    // The same list, but nobody in the policy asks for its issuer.
    let verdict = lab.judge_with("model", lab.policy(&["alice", "bob"], ""), &["list-0.json"], &[], None);
    expect(&verdict, State::UnknownSigner, "revocations", "names no such");
    // Beside the policy it is found without being named; there or by name, stripping a statement hides nothing.
    fs::copy(lab.at("list-2.json"), lab.at("revocations.json")).unwrap();
    let mut bundle = lab.bundle("model");
    bundle.records.truncate(1);
    lab.write_bundle("model", &bundle);
    expect(&lab.judge("model", policy()), State::Revoked, "parent data: statement", "told so");
    fs::rename(lab.at("revocations.json"), lab.at("named.json")).unwrap();
    let named = lab.policy(&["alice", "bob"], &format!("{issuer}file = \"named.json\"\n"));
    expect(&lab.judge("model", named), State::Revoked, "parent data: statement", "told so");
}

#[test]
fn a_list_that_is_old_rolled_back_or_of_somebody_else() {
    let lab = Lab::new(&["alice", "issuer", "stranger"]);
    lab.sign("alice", "model", &[]);
    let issuer = format!("[[revocation_list]]\nkey = \"{}\"\nrequired = true\n", lab.public("issuer"));
    let judge = |lists: &[&str], more: &str, at: Option<i64>| {
        lab.judge_with("model", lab.policy(&["alice"], &format!("{issuer}{more}")), lists, &[], at)
    };
    lab.revoke("issuer", "list.json", None, true);
    fs::copy(lab.at("list.json"), lab.at("first.json")).unwrap();
    lab.revoke("issuer", "list.json", Some(stolen(lab.public("alice"))), true);

    expect_good(&judge(&["first.json"], "", None), "revocations", "list 1");
    expect(&judge(&["list.json"], "", None), State::Revoked, "signer", "laptop");
    // Shown both, in either order, the older one takes nothing back.
    expect(&judge(&["list.json", "first.json"], "", None), State::Revoked, "signer", "laptop");
    expect(&judge(&["first.json", "list.json"], "", None), State::Revoked, "signer", "laptop");
    // A verifier that has seen the newer one says so in its policy.
    expect(&judge(&["first.json"], "sequence = 2\n", None), State::Stale, "revocations", "older than list 2");
    let now = keyset::now();
    expect(&judge(&["first.json"], "", Some(now + 31 * DAY)), State::Stale, "revocations", "was due by");
    expect(
        &judge(&["first.json"], "max_age_days = 5\n", Some(now + 6 * DAY)),
        State::Stale,
        "revocations",
        "6 days old",
    );
    expect(&judge(&["first.json"], "", Some(now - DAY)), State::Unknown, "revocations", "after the time judged by");
    // What is stale still revokes.
    expect(&judge(&["list.json"], "", Some(now + 31 * DAY)), State::Revoked, "signer", "laptop");

    // The issuer signs a second list with number 2, which forgets.
    let read = |name: &str| List::parse(&fs::read(lab.at(name)).unwrap()).unwrap();
    let key = lab.private("issuer");
    let forked = Revocations::after(Some(&read("first.json")), key.public(), now, 30).sign(&*key).unwrap();
    fs::write(lab.at("forked.json"), forked.file.to_json()).unwrap();
    let both = judge(&["list.json", "forked.json"], "", None);
    assert_eq!(both.state, State::Revoked);
    assert!(both.checks.iter().any(|check| check.detail.contains("two different lists")), "{both:#?}");
    let mut third = Revocations::after(Some(&read("list.json")), key.public(), now, 30);
    third.entries.clear();
    fs::write(lab.at("forgot.json"), third.sign(&*key).unwrap().file.to_json()).unwrap();
    let both = judge(&["first.json", "list.json", "forgot.json"], "", None);
    assert!(both.checks.iter().any(|check| check.detail.contains("lacks entries")), "{both:#?}");
    assert_eq!(both.state, State::Revoked, "an entry that was signed once counts");

    // Not the issuer's, though it says so; without its receipt; with that of another list; as a statement.
    let by_stranger = Logged::sign(
        Content::Revocations,
        &serde_json::to_vec(&read("first.json").content).unwrap(),
        &[&*lab.private("stranger")],
    );
    fs::write(lab.at("stranger.json"), by_stranger.unwrap().to_json()).unwrap();
    expect(&judge(&["stranger.json"], "", None), State::Invalid, "revocations", "issuer");
    lab.revoke("stranger", "own.json", None, false);
    expect(&judge(&["first.json", "own.json"], "", None), State::UnknownSigner, "revocations", "names no such");
    let mut stripped = read("first.json").file;
    let receipt = stripped.receipt.take();
    fs::write(lab.at("stripped.json"), stripped.to_json()).unwrap();
    expect(&judge(&["stripped.json"], "", None), State::Unknown, "revocations", "receipt of its log is missing");
    let mut swapped = read("list.json").file;
    swapped.receipt = receipt;
    fs::write(lab.at("swapped.json"), swapped.to_json()).unwrap();
    let verdict = judge(&["swapped.json"], "", None);
    assert!(verdict.checks.iter().any(|check| check.name == "revocations" && check.state == State::Invalid));
    fs::copy(lab.at("model.provenance.json"), lab.at("bundle.json")).unwrap();
    expect(&judge(&["bundle.json"], "", None), State::Invalid, "revocations", "");
    let request =
        revoke::Request { key: lab.key("stranger"), list: lab.at("list.json"), entry: None, log: None, days: 1 };
    assert!(revoke::revoke(&request).unwrap_err().to_string().contains("not by this key"));
}

#[test]
fn what_was_logged_before_a_theft_stays_good() {
    let lab = Lab::new(&["alice", "issuer"]);
    lab.sign("alice", "before", &[]);
    let stolen_from = lab.sign("alice", "after", &[]).log.unwrap().index;
    let unlogged = sign::Request { out: None, ..Request::new(lab.at("unlogged"), lab.key("alice")) };
    fs::write(lab.at("unlogged"), "x").unwrap();
    sign::sign(&unlogged, &silent()).unwrap();
    let mut entry = stolen(lab.public("alice"));
    entry.keeps = Some(Keeps { log: lab.vkey(), before: stolen_from });
    lab.revoke("issuer", "list.json", Some(entry), true);
    let issuer = format!("[[revocation_list]]\nkey = \"{}\"\nrequired = true\n", lab.public("issuer"));
    let judge = |name: &str| lab.judge_with(name, lab.policy(&["alice"], &issuer), &["list.json"], &[], None);
    expect_good(&judge("before"), "signer", "stays");
    expect(&judge("after"), State::Revoked, "signer", "laptop");
    expect(&judge("unlogged"), State::Revoked, "signer", "laptop");

    // The thief has no older place: not by taking the receipt of another release, nor by a log of his own.
    let mut bundle = lab.bundle("after");
    bundle.records[0].receipt = lab.bundle("before").records[0].receipt.clone();
    lab.write_bundle("after", &bundle);
    assert_eq!(judge("after").state, State::Revoked);
    let mut request = Request::new(lab.at("after"), lab.key("alice"));
    request.log = Some(lab.at("thief-log"));
    sign::sign(&request, &silent()).unwrap();
    assert_eq!(judge("after").state, State::Revoked);
    // A policy that does not know the log keeps nothing: the log could be the thief's.
    let without_log = lab.policy(&["alice"], &issuer);
    let text = fs::read_to_string(&without_log).unwrap();
    fs::write(&without_log, text.replace(&format!("[[log]]\nvkey = \"{}\"\n", lab.vkey()), "")).unwrap();
    expect(&lab.judge_with("before", without_log, &["list.json"], &[], None), State::Revoked, "signer", "laptop");
}

#[test]
fn a_new_key_speaks_with_the_rights_of_the_old_one_and_no_more() {
    let lab = Lab::new(&["alice", "alice-2", "alice-3", "mallory"]);
    lab.sign("alice", "data", &[]);
    let first = lab.hand_over("alice", "alice-2", Some(lab.at("log")));
    assert!(first.log.is_some());
    lab.sign("alice-2", "model", &["data"]);
    expect_good(&lab.judge("model", lab.policy(&["alice"], "")), "signer", "by hand-over from");
    // Chains, and what a child carries for its parents.
    let second = lab.hand_over("alice-2", "alice-3", Some(lab.at("log")));
    assert_eq!(second.earlier.len(), 1, "the first hand-over goes along");
    lab.sign("alice-3", "child", &["model"]);
    assert_eq!(lab.bundle("child").hand_overs.len(), 2);
    expect_good(&lab.judge("child", lab.policy(&["alice"], "")), "parent model: signer", "by hand-over from");
    // Names, relations and time are those of the old entry.
    let narrow = |line: &str| {
        let path = lab.policy(&["alice"], "");
        let text =
            fs::read_to_string(&path).unwrap().replacen("name = \"alice\"", &format!("name = \"alice\"\n{line}"), 1);
        fs::write(&path, text).unwrap();
        lab.judge("child", path)
    };
    expect(&narrow("names = [\"data\", \"model\"]"), State::UnknownSigner, "signer", "may not vouch");
    expect(&narrow("relations = []"), State::UnknownSigner, "signer", "may not state");
    expect(&narrow("until = 2020-01-01T00:00:00Z"), State::UnknownSigner, "signer", "until");
    // Without the hand-overs nobody knows the key, and with them given beside the bundle somebody does.
    let mut bundle = lab.bundle("child");
    bundle.hand_overs.clear();
    lab.write_bundle("child", &bundle);
    expect(&lab.judge("child", lab.policy(&["alice"], "")), State::UnknownSigner, "signer", "nobody in the policy");
    let beside = ["alice-2/hand-over.json", "alice-3/hand-over.json"];
    assert_eq!(lab.judge_with("child", lab.policy(&["alice"], ""), &[], &beside, None).state, State::Unanchored);
    // An old key and the key that follows it are one signer.
    lab.cosign("alice", "child").unwrap();
    let two = "[[threshold]]\nnames = [\"child\"]\nrequired = 2\n";
    expect(
        &lab.judge_with("child", lab.policy(&["alice", "alice-3"], two), &[], &beside, None),
        State::UnknownSigner,
        "threshold",
        "1 of 2",
    );
    // A circle, and a key that is given away twice.
    let request = hand_over::Request {
        key: lab.key("alice-3"),
        to: lab.key("alice"),
        out: Some(lab.at("circle.json")),
        log: None,
    };
    assert!(hand_over::hand_over(&request).unwrap_err().to_string().contains("gave its rights away"));
    let (a, c) = (lab.private("alice-3"), lab.private("alice"));
    let circle = HandOver::new(a.public(), c.public(), keyset::now(), None).sign(&*a, &*c).unwrap();
    fs::write(lab.at("circle.json"), circle.file.to_json()).unwrap();
    let verdict =
        lab.judge_with("child", lab.policy(&["alice"], ""), &[], &[beside[0], beside[1], "circle.json"], None);
    expect(&verdict, State::Invalid, "hand-over", "circle");
    let m = lab.private("mallory");
    let fork = HandOver::new(c.public(), m.public(), keyset::now(), None).sign(&*c, &*m).unwrap();
    fs::write(lab.at("fork.json"), fork.file.to_json()).unwrap();
    let verdict = lab.judge_with("child", lab.policy(&["alice"], ""), &[], &[beside[0], beside[1], "fork.json"], None);
    expect(&verdict, State::Invalid, "hand-over", "to one only");
    // Forged: the new key alone, and the old key's signature over something else.
    let mut forged = fork.file.clone();
    forged.envelope.signatures.remove(0);
    fs::write(lab.at("forged.json"), forged.to_json()).unwrap();
    let verdict = lab.judge_with("child", lab.policy(&["alice"], ""), &[], &["forged.json"], None);
    expect(&verdict, State::Invalid, "hand-over", "not those of the old key and of the new key");
    let mut stripped = circle.file;
    stripped.envelope.payload = fork.file.envelope.payload.clone();
    fs::write(lab.at("forged.json"), stripped.to_json()).unwrap();
    let verdict = lab.judge_with("child", lab.policy(&["alice"], ""), &[], &["forged.json"], None);
    expect(&verdict, State::Invalid, "hand-over", "does not fit");
}

#[test]
fn a_thief_hands_nothing_over() {
    let lab = Lab::new(&["alice", "alice-2", "thief", "issuer"]);
    lab.sign("alice", "data", &[]);
    lab.hand_over("alice", "alice-2", Some(lab.at("log")));
    let theft = lab.sign("alice-2", "model", &[]).log.unwrap().index;
    // The thief has alice's key, and logs a hand-over of his own; and one that names no log.
    lab.hand_over("alice", "thief", Some(lab.at("log")));
    lab.sign("thief", "loot", &[]);
    let issuer = format!("[[revocation_list]]\nkey = \"{}\"\nrequired = true\n", lab.public("issuer"));
    let judge = |name: &str, list: &str, more: &str| {
        lab.judge_with(name, lab.policy(&["alice"], &format!("{issuer}{more}")), &[list], &[], None)
    };
    lab.revoke("issuer", "empty.json", None, false);
    expect_good(&judge("loot", "empty.json", ""), "signer", "by hand-over");

    let revoke = |name: &str, change: &dyn Fn(&mut Entry)| {
        let mut entry = stolen(lab.public("alice"));
        change(&mut entry);
        lab.revoke("issuer", name, Some(entry), false);
    };
    revoke("all.json", &|_| ());
    expect(&judge("loot", "all.json", ""), State::Revoked, "signer", "does not count, as the old key was revoked");
    expect(&judge("model", "all.json", ""), State::Revoked, "signer", "does not count, as the old key was revoked");
    revoke("kept.json", &|entry| entry.keeps = Some(Keeps { log: lab.vkey(), before: theft }));
    expect(&judge("loot", "kept.json", ""), State::Revoked, "signer", "does not count");
    expect_good(&judge("model", "kept.json", ""), "signer", "by hand-over");
    revoke("successor.json", &|entry| entry.successor = Some(lab.public("alice-2")));
    expect(&judge("loot", "successor.json", ""), State::Revoked, "signer", "does not count");
    expect_good(&judge("model", "successor.json", ""), "signer", "by hand-over");
    // Once the list has settled which hand-over counts, the thief's spoils nothing, even in the same bundle.
    let spoilt = lab.bundle("loot").hand_overs;
    let mut both = lab.bundle("model");
    both.hand_overs.extend(spoilt);
    let good = lab.bundle("model");
    lab.write_bundle("model", &both);
    expect_good(&judge("model", "kept.json", ""), "signer", "by hand-over");
    expect_good(&judge("model", "successor.json", ""), "signer", "by hand-over");
    expect(&judge("model", "empty.json", ""), State::Invalid, "hand-over", "to one only");
    lab.write_bundle("model", &good);
    // The new key can be revoked like any other.
    let new = Entry::new(Target::Key(lab.public("alice-2")), Kind::Lost, "gone", keyset::now());
    lab.revoke("issuer", "new.json", Some(new), false);
    expect(&judge("model", "new.json", ""), State::Revoked, "signer", "(lost)");

    // A hand-over without its receipt is not proven to be as old as it must be.
    let mut bundle = lab.bundle("model");
    bundle.hand_overs[0].receipt = None;
    lab.write_bundle("model", &bundle);
    expect(&judge("model", "empty.json", ""), State::Unknown, "signer", "receipt");
    expect(&judge("model", "kept.json", ""), State::Revoked, "signer", "does not count");
    // Where the policy asks for a log, a hand-over is in one, too.
    let (old, new) = (lab.private("alice"), lab.private("alice-2"));
    let unlogged = HandOver::new(old.public(), new.public(), keyset::now(), None).sign(&*old, &*new).unwrap();
    bundle.hand_overs = vec![unlogged.file];
    lab.write_bundle("model", &bundle);
    expect(&judge("model", "empty.json", "[require]\nlog = true\n"), State::Unknown, "signer", "is in no log");
    assert_eq!(judge("model", "empty.json", "").state, State::Unanchored);
    let future = HandOver::new(old.public(), new.public(), keyset::now() + 9 * DAY, None).sign(&*old, &*new).unwrap();
    bundle.hand_overs = vec![future.file];
    lab.write_bundle("model", &bundle);
    expect(&judge("model", "empty.json", ""), State::Unknown, "signer", "of the future");
}

#[test]
fn a_rotated_owner_signs_anew_and_keeps_the_marks() {
    let lab = Lab::new(&["alice", "alice-2", "bob"]);
    fs::write(lab.at("base.safetensors"), weights()).unwrap();
    let mark_key = lab.at("alice/owner.mark.key");
    let mut request = EmbedRequest::new(lab.at("base.safetensors"), mark_key, lab.at("marked.safetensors"));
    request.log = Some(lab.at("log"));
    request.strength = Strength::Decibel(-22.0);
    let record = mark::embed(&request, &silent()).unwrap().record;
    lab.sign("alice", "marked.safetensors", &[]);
    lab.hand_over("alice", "alice-2", Some(lab.at("log")));
    // The mark was committed to by the old key, and the new one speaks for that.
    let sign = |owner: &str| {
        let mut request = Request::new(lab.at("marked.safetensors"), lab.key(owner));
        request.reuse = (owner == "alice-2").then(|| lab.at("marked.safetensors.provenance.json"));
        request.cache_at = Some(lab.at("cache.sqlite"));
        request.marks = vec![record.clone()];
        request.log = Some(lab.at("log"));
        sign::sign(&request, &silent()).map_err(|error| error.to_string())
    };
    assert!(sign("bob").unwrap_err().contains("another owner"));
    sign("alice-2").unwrap();
    let verdict = lab.judge("marked.safetensors", lab.policy(&["alice"], ""));
    expect_good(&verdict, "signer", "by hand-over");
    assert!(verdict.checks.iter().any(|check| check.name.starts_with("mark ")), "{verdict:#?}");
    // Without the hand-over the mark is another owner's, whoever the policy knows.
    let mut bundle = lab.bundle("marked.safetensors");
    let mark = bundle.records[0].marks[0].record.0.clone();
    let good = bundle.clone();
    bundle.hand_overs.clear();
    lab.write_bundle("marked.safetensors", &bundle);
    let verdict = lab.judge("marked.safetensors", lab.policy(&["alice", "alice-2"], ""));
    assert_eq!(verdict.state, State::Invalid, "{verdict:#?}");
    assert!(verdict.checks.iter().any(|check| check.detail.contains("by another owner")), "{verdict:#?}");
    // A mark that was revoked.
    lab.write_bundle("marked.safetensors", &good);
    let target = Target::Mark(Hash::sha256(&mark));
    lab.revoke("bob", "list.json", Some(Entry::new(target, Kind::Mistake, "weak", keyset::now())), false);
    let issuer = format!("[[revocation_list]]\nkey = \"{}\"\n", lab.public("bob"));
    let policy = lab.policy(&["alice"], &issuer);
    let verdict = lab.judge_with("marked.safetensors", policy, &["list.json"], &[], None);
    assert_eq!(verdict.state, State::Revoked, "{verdict:#?}");
    assert!(verdict.checks.iter().any(|check| check.name.starts_with("mark ") && check.detail.contains("weak")));
}

/// One F16 matrix of 256 × 256 seeded weights: just enough to carry a mark.
fn weights() -> Vec<u8> {
    let header = r#"{"w":{"dtype":"F16","shape":[256,256],"data_offsets":[0,131072]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    let mut state = 1_u64;
    for _ in 0..256 * 256 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A random mantissa and sign in the binade of 0.25 and 0.5: F16 bits without a conversion.
        bytes.extend((0x3400 | (state >> 48) as u16 & 0x87ff).to_le_bytes());
    }
    bytes
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
    assert!(good.review(keyset::now()).iter().all(|remark| !remark.warning));
}
