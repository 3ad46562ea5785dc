//! A log whose checkpoints witnesses must have seen, and every way around them.

use countermark::anchor;
use countermark::detect::{self, DetectRequest};
use countermark::io::log::Log;
use countermark::lineage::anchor::cosignature::{self, WitnessKey};
use countermark::lineage::anchor::proof::Proof;
use countermark::lineage::bundle::Receipt;
use ed25519_dalek::SigningKey;

use super::*;

/// Witness `number`: key, and name in policies.
fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn name(number: u8) -> String {
    format!("witness.example/w{number}")
}

/// Two of three.
fn quorum(log: &str) -> String {
    let line = |number: u8| {
        let vkey = WitnessKey::new(&name(number), key(number).verifying_key().into()).unwrap();
        format!("witness w{number} {vkey}\n")
    };
    format!("log {log}\n{}{}{}group g 2 w1 w2 w3\nquorum g\n", line(1), line(2), line(3))
}

/// The text that a checkpoint's signatures cover.
fn text(note: &str) -> String {
    note[..note.rfind("\n\n").unwrap() + 1].to_owned()
}

fn line(note: &str, number: u8, time: i64) -> String {
    cosignature::sign(&text(note), &name(number), &key(number), time as u64).unwrap()
}

impl Lab {
    fn log(&self) -> Log {
        Log::open(&self.at("log")).unwrap()
    }

    /// A policy with this tlog_policy beside what [`Lab::policy`] writes, `[[log]]` included.
    fn witnessed(&self, signers: &[&str], tlog: &str, more: &str) -> PathBuf {
        let path = self.policy(signers, more);
        let policy = fs::read_to_string(&path).unwrap();
        let (first, rest) = policy.split_once('\n').unwrap();
        fs::write(&path, format!("{first}\ntlog_policy = '''\n{tlog}'''\n{rest}")).unwrap();
        path
    }

    /// Has the newest checkpoint cosigned, and a file proved anew under it.
    fn see(&self, witnesses: &[u8], file: &str) {
        let (_, note) = self.log().checkpoint().unwrap();
        let lines: String = witnesses.iter().map(|number| line(&note, *number, keyset::now())).collect();
        assert!(self.log().add_cosignatures(&(note + &lines)).unwrap());
        let attached = anchor::attach(&self.at("log"), &self.at(file)).unwrap();
        assert_eq!(attached.len(), 1);
    }

    /// The bundle with another note in the receipt of its release.
    fn with_note(&self, name: &str, change: impl Fn(&str) -> String) -> Bundle {
        let mut bundle = self.bundle(name);
        let receipt: &mut Receipt = bundle.records[0].receipt.as_mut().unwrap();
        let mut proof = Proof::parse(&receipt.proof).unwrap();
        proof.checkpoint = change(&proof.checkpoint);
        receipt.proof = proof.to_text();
        bundle
    }
}

#[test]
fn a_log_with_witnesses_needs_the_quorum_and_nothing_makes_up_for_it() {
    let lab = Lab::new(&["alice"]);
    lab.sign("alice", "data", &[]);
    let policy = || lab.witnessed(&["alice"], &quorum(&lab.vkey()), "");
    // The log is in [[log]] as well.
    expect(&lab.judge("data", policy()), State::Unknown, "witnesses", "0 of 3; asked for: 2 of w1, w2, w3");
    let bare = lab.bundle("data");
    lab.see(&[1], "data.provenance.json");
    expect(&lab.judge("data", policy()), State::Unknown, "witnesses", "1 of 3: w1 at 20");
    lab.see(&[1, 3], "data.provenance.json");
    expect_good(&lab.judge("data", policy()), "witnesses", "2 of 3: w1 at 20");
    let good = lab.bundle("data");
    assert!(lab.log().checkpoint().unwrap().1.lines().count() == 7);

    let now = keyset::now();
    let judge = |bundle: &Bundle| {
        lab.write_bundle("data", bundle);
        lab.judge("data", policy())
    };
    // From here on the note of the receipt is changed by somebody who has no witness' key.
    let stripped = lab.with_note("data", |note| note.rsplit_once("\u{2014}").unwrap().0.to_owned());
    expect(&judge(&stripped), State::Unknown, "witnesses", "1 of 3");
    lab.write_bundle("data", &good);
    let doubled = lab.with_note("data", |note| {
        let (kept, _) = note.rsplit_once('\u{2014}').unwrap();
        format!("{kept}{}", line(note, 1, now))
    });
    expect(&judge(&doubled), State::Unknown, "witnesses", "1 of 3");
    lab.write_bundle("data", &good);
    let renamed = lab.with_note("data", |note| {
        let (kept, _) = note.rsplit_once('\u{2014}').unwrap();
        let forged = cosignature::sign(&text(note), &name(2), &key(9), now as u64).unwrap();
        format!("{kept}{forged}")
    });
    expect(&judge(&renamed), State::Unknown, "witnesses", "1 of 3");
    lab.write_bundle("data", &good);
    let replayed = lab.with_note("data", |note| format!("{note}{}", line("log\n1\nroot\n\nx", 2, now)));
    expect(&judge(&replayed), State::Invalid, "witnesses", "w2: cosignature of witness.example/w2: does not fit");
    lab.write_bundle("data", &good);
    let cut = lab.with_note("data", |note| {
        let (kept, last) = note.trim_end().rsplit_once(' ').unwrap();
        format!("{kept} {}\n", &last[..last.len() - 8])
    });
    expect(&judge(&cut), State::Invalid, "witnesses", "w3: cosignature");
    // Honest witnesses with odd clocks: a little ahead is nothing, and far ahead does not count.
    let ahead = |seconds: i64| {
        lab.write_bundle("data", &bare);
        lab.with_note("data", |note| format!("{note}{}{}", line(note, 1, now), line(note, 2, now + seconds)))
    };
    expect_good(&judge(&ahead(120)), "witnesses", "2 of 3");
    expect(&judge(&ahead(4000)), State::Unknown, "witnesses", "does not count: w2: of the future");
    // As of a time before anybody saw it, nobody had.
    lab.write_bundle("data", &good);
    let early = lab.judge_with("data", policy(), &[], &[], Some(now - 3600));
    expect(&early, State::Unknown, "witnesses", "0 of 3");

    // Who is asked: nobody, another log's witnesses, a log that stands there alone.
    lab.write_bundle("data", &bare);
    let tlog = quorum(&lab.vkey());
    let nobody = tlog.replace("quorum g", "quorum none");
    assert_eq!(lab.judge("data", lab.witnessed(&["alice"], &nobody, "")).state, State::Unanchored);
    let other = {
        let key = SigningKey::from_bytes(&[77; 32]).verifying_key().into();
        let vkey = countermark::lineage::anchor::note::VerifierKey::new("other.example", key).unwrap();
        tlog.lines().skip(1).fold(format!("log {vkey}\n"), |text, line| text + line + "\n")
    };
    assert_eq!(lab.judge("data", lab.witnessed(&["alice"], &other, "")).state, State::Unanchored);
    let without_log = |tlog: &str| {
        let path = lab.witnessed(&["alice"], tlog, "");
        let policy = fs::read_to_string(&path).unwrap();
        let (before, _) = policy.split_once("[[log]]").unwrap();
        fs::write(&path, before).unwrap();
        path
    };
    expect(&lab.judge("data", without_log(&other)), State::UnknownSigner, "log", "does not know this log");
    lab.write_bundle("data", &good);
    expect_good(&lab.judge("data", without_log(&tlog)), "witnesses", "2 of 3");

    // A policy that is wrong says where.
    let broken = lab.witnessed(&["alice"], &tlog.replace("quorum g", "quorum h"), "");
    let error = Policy::parse(&fs::read_to_string(broken).unwrap()).unwrap_err().to_string();
    assert!(error.contains("tlog policy line 6") && error.contains("no line above defines it"), "{error}");
}

/// The log's owner, who has its key, shows somebody a tree that nobody else has seen.
#[test]
fn a_second_tree_is_signed_by_the_log_and_seen_by_nobody() {
    let lab = Lab::new(&["alice"]);
    lab.sign("alice", "data", &[]);
    let status = std::process::Command::new("cp").arg("-r").arg(lab.at("log")).arg(lab.at("second")).status();
    assert!(status.unwrap().success());
    lab.see(&[1, 2], "data.provenance.json");
    let policy = || lab.witnessed(&["alice"], &quorum(&lab.vkey()), "");
    expect_good(&lab.judge("data", policy()), "witnesses", "2 of 3");
    let seen = lab.bundle("data").records[0].receipt.clone().unwrap();

    // What the second tree holds has a proof that holds, and cosignatures of the first cannot be moved there.
    fs::write(lab.at("secret"), "shown to one reader").unwrap();
    let mut request = Request::new(lab.at("secret"), lab.key("alice"));
    request.log = Some(lab.at("second"));
    sign::sign(&request, &silent()).unwrap();
    expect(&lab.judge("secret", policy()), State::Unknown, "witnesses", "may show others another tree");
    let lines = Proof::parse(&seen.proof).unwrap().checkpoint;
    let lines = lines.lines().filter(|line| line.contains("witness.example")).collect::<Vec<_>>().join("\n") + "\n";
    let forged = lab.with_note("secret", |note| format!("{note}{lines}"));
    lab.write_bundle("secret", &forged);
    expect(&lab.judge("secret", policy()), State::Invalid, "witnesses", "does not fit the checkpoint");
}

#[test]
fn an_ancestor_needs_them_too() {
    let lab = Lab::new(&["alice"]);
    lab.sign("alice", "data", &[]);
    let before = lab.bundle("data").records[0].receipt.clone();
    lab.sign("alice", "model", &["data"]);
    lab.see(&[1, 2], "model.provenance.json");
    let policy = || lab.witnessed(&["alice"], &quorum(&lab.vkey()), "");
    expect_good(&lab.judge("model", policy()), "parent data: witnesses", "2 of 3");
    let mut bundle = lab.bundle("model");
    bundle.records[1].receipt = before;
    lab.write_bundle("model", &bundle);
    expect(&lab.judge("model", policy()), State::Unknown, "parent data: witnesses", "0 of 3");
}

/// What a list keeps is kept for what was logged before, and the order is the log's word.
#[test]
fn an_order_that_nobody_saw_keeps_nothing_of_a_stolen_key() {
    let lab = Lab::new(&["alice", "issuer"]);
    lab.sign("alice", "data", &[]);
    let bare = lab.bundle("data");
    let issuer = format!("[[revocation_list]]\nkey = \"{}\"\nrequired = true\n", lab.public("issuer"));
    let mut entry = stolen(lab.public("alice"));
    entry.keeps = Some(Keeps { log: lab.vkey(), before: 100 });
    lab.revoke("issuer", "list.json", Some(entry), false);
    let judge =
        |tlog: &str| lab.judge_with("data", lab.witnessed(&["alice"], tlog, &issuer), &["list.json"], &[], None);
    let tlog = quorum(&lab.vkey());
    expect(&judge(&tlog), State::Revoked, "signer", "laptop");
    expect_good(&judge(&tlog.replace("quorum g", "quorum none")), "signer", "and stays");
    lab.see(&[2, 3], "data.provenance.json");
    expect_good(&judge(&tlog), "signer", "and stays");
    lab.write_bundle("data", &bare);
    expect(&judge(&tlog), State::Revoked, "signer", "laptop");
}

#[test]
fn lists_and_hand_overs_in_the_log_need_them_and_are_proved_anew() {
    let lab = Lab::new(&["alice", "alice-2", "issuer"]);
    lab.sign("alice", "data", &[]);
    lab.revoke("issuer", "list.json", None, true);
    let handed = lab.hand_over("alice", "alice-2", Some(lab.at("log")));
    assert!(handed.log.is_some());
    lab.sign("alice-2", "model", &[]);
    lab.see(&[1, 2], "model.provenance.json");
    let issuer = format!("[[revocation_list]]\nkey = \"{}\"\nrequired = true\n", lab.public("issuer"));
    let tlog = quorum(&lab.vkey());
    let mut bundle = lab.bundle("model");
    bundle.hand_overs.clear();
    lab.write_bundle("model", &bundle);
    let judge = || {
        let policy = lab.witnessed(&["alice"], &tlog, &issuer);
        lab.judge_with("model", policy, &["list.json"], &["alice-2/hand-over.json"], None)
    };
    let verdict = judge();
    expect(&verdict, State::Unknown, "revocations", "witnesses: 0 of 3");
    expect(&verdict, State::Unknown, "signer", "witnesses: 0 of 3");
    anchor::attach(&lab.at("log"), &lab.at("list.json")).unwrap();
    expect(&judge(), State::Unknown, "signer", "witnesses: 0 of 3");
    let attached = anchor::attach(&lab.at("log"), &lab.at("alice-2/hand-over.json")).unwrap();
    assert_eq!(attached.len(), 1);
    let verdict = judge();
    expect_good(&verdict, "signer", "by hand-over");
    expect_good(&verdict, "revocations", "witnesses: 2 of 3");
    // A file of another log stays as it is.
    fs::rename(lab.at("log"), lab.at("first")).unwrap();
    Log::create(&lab.at("log"), None).unwrap();
    assert!(anchor::attach(&lab.at("log"), &lab.at("list.json")).unwrap().is_empty());
}

#[test]
fn a_mark_counts_as_logged_once_they_saw_it() {
    let lab = Lab::new(&["alice"]);
    fs::create_dir(lab.at("base")).unwrap();
    fs::write(lab.at("base/model.safetensors"), weights()).unwrap();
    let secret = lab.at("alice/owner.mark.key");
    let mut request = EmbedRequest::new(lab.at("base"), secret.clone(), lab.at("model"));
    request.log = Some(lab.at("log"));
    request.strength = Strength::Decibel(-22.0);
    mark::embed(&request, &silent()).unwrap();
    lab.sign("alice", "model", &[]);
    let detected = || detect::detect(&DetectRequest::new(lab.at("model"), &secret), &silent()).unwrap().commitment;
    assert_eq!(detected(), "logged");
    // The owner's policy is the one beside the key.
    let own = |tlog: &str| {
        let path = lab.witnessed(&["alice"], tlog, "");
        fs::rename(path, lab.at("alice/policy.toml")).unwrap();
    };
    own(&quorum(&lab.vkey()));
    assert_eq!(detected(), "unlogged");
    let policy = || lab.witnessed(&["alice"], &quorum(&lab.vkey()), "");
    expect(&lab.judge("model", policy()), State::Unknown, "witnesses", "0 of 3");
    lab.see(&[1, 2], "model.provenance.json");
    expect_good(&lab.judge("model", policy()), "witnesses", "2 of 3");
    anchor::attach(&lab.at("log"), &lab.at("alice/marks")).unwrap();
    assert_eq!(detected(), "logged");
    // The commitment's own proof leads to the same head, with a line that is wrong.
    let mut bundle = lab.bundle("model");
    let receipt = bundle.records[0].marks[0].receipt.as_mut().unwrap();
    let mut proof = Proof::parse(&receipt.proof).unwrap();
    proof.checkpoint += &line("log\n1\nroot\n\nx", 3, keyset::now());
    receipt.proof = proof.to_text();
    lab.write_bundle("model", &bundle);
    let verdict = lab.judge("model", policy());
    assert_eq!(verdict.state, State::Invalid);
    let row = verdict.checks.iter().find(|row| row.name.starts_with("mark ")).unwrap();
    assert!(row.detail.contains("does not fit the checkpoint"), "{row:?}");
}

/// One F16 matrix of 256 × 256 seeded weights.
fn weights() -> Vec<u8> {
    const SIDE: usize = 256;
    let header = format!(r#"{{"w":{{"dtype":"F16","shape":[{SIDE},{SIDE}],"data_offsets":[0,{}]}}}}"#, SIDE * SIDE * 2);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    let mut state = 1_u64;
    for _ in 0..SIDE * SIDE {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend((0x3400 | (state >> 48) as u16 & 0x87ff).to_le_bytes());
    }
    bytes
}
