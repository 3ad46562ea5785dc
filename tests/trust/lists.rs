//! Revocation lists.

use super::*;

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
