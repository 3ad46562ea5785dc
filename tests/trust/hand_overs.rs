//! Hand-overs, and what a thief makes of them.

use super::*;

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
