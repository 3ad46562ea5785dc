//! Time-stamps in manifests: of a real authority, by every way that we know to cheat with one.

use countermark_io::c2pa::create;
use countermark_io::timestamp;
use countermark_lineage::cbor::{Value, bytes, text};
use countermark_lineage::credential::c2pa::{self as checker, CERTIFICATE, SIGNATURE, TIMESTAMP, Trust};
use countermark_lineage::credential::countersign;
use countermark_lineage::credential::rfc3161::{self, Query};
use countermark_lineage::digest::Hash;
use countermark_lineage::verdict::{Check, State};

use crate::authority::{self, Authority, ECDSA, Kind, RSA};
use crate::forge::{Forge, map};
use crate::{BASE, WORLD, certificates, expected_base, now, release, worst};

/// What our checker says of a stamped store, with the authority's root given.
fn check(store: &[u8], authority: &Authority, now: i64) -> Vec<Check> {
    let (roots, timestamp_roots) = ([WORLD.chain[1].clone()], [authority.root()]);
    checker::check(store, &expected_base(), Trust { roots: &roots, timestamp_roots: &timestamp_roots }, now)
}

fn row<'a>(rows: &'a [Check], name: &str) -> &'a Check {
    rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("{name}: {rows:#?}"))
}

/// What the authority says over this store's signature, in the form that is stored.
fn token(authority: &Authority, message: &[u8]) -> Vec<u8> {
    let query = Query { imprint: Hash::sha256(message).0, nonce: 7 };
    rfc3161::tidy(&query.token(&authority.answer(&query.to_der())).unwrap()).unwrap()
}

/// A store whose unprotected header holds this.
fn with_header(value: Value) -> Vec<u8> {
    Forge { unprotected: vec![(text("sigTst2"), value)], ..Forge::base() }.seal()
}

fn container(tokens: &[&[u8]]) -> Value {
    map([("tstTokens", Value::Array(tokens.iter().map(|token| map([("val", bytes(*token))])).collect()))])
}

#[test]
fn a_stamped_manifest_verifies_here_and_in_the_crate() {
    for kind in [ECDSA, RSA] {
        let Some(authority) = Authority::new("Clock", kind) else { return };
        let (stamped, stamp) = timestamp::stamp(&WORLD.base, &authority.serve(), &[authority.root()]).unwrap();
        let stamp = stamp.unwrap();
        assert!((now() - stamp.time).abs() < 60 && stamp.root.contains("Clock root"), "{stamp:?}");
        let rows = check(&stamped, &authority, now());
        assert_eq!(worst(&rows), State::Verified, "{rows:#?}");
        assert!(row(&rows, TIMESTAMP).detail.contains("Clock signer"), "{rows:#?}");

        // The certificate has expired long ago, and was valid at the time of the stamp.
        let later = now() + 900 * 86_400;
        assert_eq!(worst(&check(&stamped, &authority, later)), State::Verified);
        assert_eq!(row(&crate::check(&WORLD.base, &expected_base()), CERTIFICATE).state, State::Verified);
        let unstamped = checker::check(&WORLD.base, &expected_base(), &[WORLD.chain[1].clone()], later);
        assert_eq!(row(&unstamped, CERTIFICATE).state, State::Unknown);
        // A clock before the stamp: it cannot be from the future.
        let rows = check(&stamped, &authority, now() - 1000);
        assert_eq!(row(&rows, TIMESTAMP).state, State::Unknown, "{rows:#?}");

        let anchors = WORLD.root_pem.clone() + &authority.root_pem();
        let settings = serde_json::json!({
            "trust": {"trust_anchors": anchors}, "verify": {"verify_trust": true, "verify_timestamp_trust": true},
            "core": {"allowed_network_hosts": []},
        });
        let context = c2pa::Context::new().with_settings(settings.to_string()).unwrap();
        let reader = c2pa::Reader::from_context(context)
            .with_manifest_data_and_stream(&stamped, "application/octet-stream", std::io::Cursor::new(BASE))
            .unwrap();
        assert_eq!(reader.validation_state(), c2pa::ValidationState::Trusted);
        let codes = format!("{:?}", reader.validation_results().unwrap());
        for code in ["timeStamp.validated", "timeStamp.trusted"] {
            assert!(codes.contains(code), "{codes}");
        }
        assert!(countersign::message(&stamped).is_err(), "one stamp only");
        assert!(timestamp::stamp(&stamped, &authority.serve(), &[]).is_err());
    }
}

#[test]
fn a_child_of_a_stamped_manifest_verifies() {
    let Some(authority) = Authority::new("Clock", ECDSA) else { return };
    let (stamped, _) = timestamp::stamp(&WORLD.base, &authority.serve(), &[]).unwrap();
    let child = crate::sign_child(&stamped, BASE, &WORLD.signer).unwrap();
    let rows = crate::check(&child, &crate::expected_child());
    assert_eq!(worst(&rows), State::Verified, "{rows:#?}");
}

#[test]
fn every_single_byte_of_a_stamped_store_counts() {
    let Some(authority) = Authority::new("Clock", ECDSA) else { return };
    let (stamped, _) = timestamp::stamp(&WORLD.base, &authority.serve(), &[]).unwrap();
    let now = now();
    let mut flipped = stamped.clone();
    for place in WORLD.base.len() - 100..stamped.len() {
        for mask in [1, 0x80] {
            flipped[place] ^= mask;
            assert_ne!(worst(&check(&flipped, &authority, now)), State::Verified, "byte {place} ^ {mask:#x}");
            flipped[place] ^= mask;
        }
    }
    for length in WORLD.base.len() - 100..stamped.len() {
        assert_eq!(worst(&check(&stamped[..length], &authority, now)), State::Invalid, "length {length}");
    }
}

#[test]
fn named_negative_cases_of_time_stamps() {
    let Some(authority) = Authority::new("Clock", ECDSA) else { return };
    let message = countersign::message(&Forge::base().seal()).unwrap();
    let good = token(&authority, &message);
    let other = create(release("x", BASE, 1), &WORLD.signer).unwrap();
    let of_other = token(&authority, &countersign::message(&other).unwrap());
    let answer = |query: Vec<u8>| rfc3161::token_of(&authority.answer(&query)).unwrap();
    let sha1 = answer(authority.query_of(&message, "-sha1"));
    let sha512 = answer(authority.query_of(&message, "-sha512"));
    let sha512 = rfc3161::tidy(&sha512).unwrap();
    let untidy = Query { imprint: Hash::sha256(&message).0, nonce: 7 };
    let untidy = untidy.token(&authority.answer(&untidy.to_der())).unwrap();
    assert!(untidy.len() > good.len() + 300, "the authority sends its root along");
    let query = Query { imprint: Hash::sha256(&message).0, nonce: 7 };
    let statement = authority.statement(&authority.answer(&query.to_der()));
    let signed = |options: &[&str]| rfc3161::tidy(&authority.sign(&statement, options)).unwrap();
    let (by_cms, anonymous, bare) = (signed(&["-cades"]), signed(&[]), signed(&["-noattr"]));
    let mut far = statement.clone();
    let year = far.windows(4).position(|window| window == b"2026" || window == b"2027").unwrap();
    far[year..year + 4].copy_from_slice(b"2100");
    let far = rfc3161::tidy(&authority.sign(&far, &["-cades"])).unwrap();
    let odd = |kind: Kind| {
        let odd = Authority::new("Odd", kind).unwrap();
        (rfc3161::tidy(&odd.sign(&statement, &["-cades"])).unwrap(), odd)
    };
    let (wide, wide_authority) = odd(Kind { purpose: "critical,timeStamping,codeSigning", ..ECDSA });
    let (lax, lax_authority) = odd(Kind { purpose: "timeStamping", ..ECDSA });
    let flip = |place: usize| {
        let mut token = good.clone();
        token[place] ^= 1;
        token
    };
    let imprint = good.windows(32).position(|window| window == Hash::sha256(&message).0).unwrap();

    // The forged store is the one that the token is about: nothing but the header differs.
    for token in [&good, &by_cms, &sha512] {
        let rows = check(&with_header(container(&[token])), &authority, now());
        assert_eq!(worst(&rows), State::Verified, "{rows:#?}");
    }
    let stamp = |tokens: &[&[u8]]| with_header(container(tokens));
    for (name, store, authority, wanted, state, reason) in [
        ("tst-of-other-signature", stamp(&[&of_other]), &authority, TIMESTAMP, State::Invalid, "other bytes"),
        ("tst-unknown-tsa", stamp(&[&good]), &wide_authority, TIMESTAMP, State::UnknownSigner, "no given root"),
        ("tst-sha1", stamp(&[&sha1]), &authority, TIMESTAMP, State::Unknown, "only SHA-2"),
        ("tst-two-tokens", stamp(&[&good, &good]), &authority, SIGNATURE, State::Invalid, "one token"),
        ("tst-no-token", stamp(&[]), &authority, SIGNATURE, State::Invalid, "one token"),
        ("tst-empty-token", stamp(&[b""]), &authority, TIMESTAMP, State::Invalid, "cannot be parsed"),
        ("tst-not-a-map", with_header(bytes(&*good)), &authority, SIGNATURE, State::Invalid, "one token"),
        ("tst-untidy", stamp(&[&untidy]), &authority, TIMESTAMP, State::Invalid, "no signature covers"),
        ("tst-trailing", stamp(&[&[&good[..], b"\0"].concat()]), &authority, TIMESTAMP, State::Invalid, "parsed"),
        ("tst-imprint-flip", stamp(&[&flip(imprint)]), &authority, TIMESTAMP, State::Invalid, "other bytes"),
        ("tst-signature-flip", stamp(&[&flip(good.len() - 1)]), &authority, TIMESTAMP, State::Invalid, ""),
        ("tst-certificate-unnamed", stamp(&[&anonymous]), &authority, TIMESTAMP, State::Invalid, "names the signer"),
        ("tst-no-attributes", stamp(&[&bare]), &authority, TIMESTAMP, State::Invalid, "content type"),
        ("tst-of-2100", stamp(&[&far]), &authority, TIMESTAMP, State::Unknown, "expired"),
        ("tst-wide-purpose", stamp(&[&wide]), &wide_authority, TIMESTAMP, State::Invalid, "time-stamping alone"),
        ("tst-lax-purpose", stamp(&[&lax]), &lax_authority, TIMESTAMP, State::Invalid, "critically"),
    ] {
        let rows = check(&store, authority, now());
        let found = row(&rows, wanted);
        assert_eq!(found.state, state, "{name}: {}", found.detail);
        assert!(found.detail.contains(reason), "{name}: {}", found.detail);
    }

    // The older header, whose token covers the claim and not the signature.
    let old = Forge { unprotected: vec![(text("sigTst"), container(&[&good]))], ..Forge::base() }.seal();
    assert_eq!(row(&check(&old, &authority, now()), SIGNATURE).state, State::Invalid);
    let two = vec![(text("sigTst2"), container(&[&good])), (text("rVals"), map([]))];
    let two = Forge { unprotected: two, ..Forge::base() }.seal();
    assert_eq!(row(&check(&two, &authority, now()), SIGNATURE).state, State::Invalid);
}

/// A stamp of today under a certificate that expired a month ago: it proves nothing about the time before.
#[test]
fn a_stamp_after_expiry_does_not_count() {
    let Some(authority) = Authority::new("Clock", ECDSA) else { return };
    let expired = certificates::expired();
    let message = countersign::message(&expired).unwrap();
    let stamped = countersign::add(&expired, &token(&authority, &message)).unwrap();
    let rows = check(&stamped, &authority, now());
    assert_eq!(row(&rows, TIMESTAMP).state, State::Unknown, "{rows:#?}");
    assert!(row(&rows, TIMESTAMP).detail.contains("outside the validity"), "{rows:#?}");
    assert_eq!(row(&rows, CERTIFICATE).state, State::Unknown);
    assert!(row(&rows, CERTIFICATE).detail.contains("expired"));
}

/// The root vouches only if every certificate was valid when the stamp was made.
#[test]
fn an_authority_whose_certificate_has_expired_does_not_count() {
    let Some(authority) = Authority::new("Old clock", Kind { days: -1, ..ECDSA }) else { return };
    let message = countersign::message(&WORLD.base).unwrap();
    let stamped = countersign::add(&WORLD.base, &token(&authority, &message)).unwrap();
    let rows = check(&stamped, &authority, now());
    assert_eq!(row(&rows, TIMESTAMP).state, State::Unknown, "{rows:#?}");
    assert!(row(&rows, TIMESTAMP).detail.contains("expired"), "{rows:#?}");
}

/// A server need not be honest, or an authority at all.
#[test]
fn servers_that_answer_something_else() {
    let Some(authority) = Authority::new("Clock", ECDSA) else { return };
    let media = "application/timestamp-reply";
    let replay = {
        let query = Query { imprint: Hash::sha256(b"message").0, nonce: 1 };
        authority.answer(&query.to_der())
    };
    let other = authority.clone();
    let of_other = move |_: &[u8]| {
        let query = Query { imprint: Hash::sha256(b"other").0, nonce: 1 };
        (media, other.answer(&query.to_der()))
    };
    let rejection =
        b"\x30\x20\x30\x1e\x02\x01\x02\x30\x12\x0c\x10no such hash her\x03\x05\x00\x80\x00\x00\x00".to_vec();
    let cases: [(&str, String); 7] = [
        ("may be an old one", authority::serve(move |_| (media, replay.clone()))),
        ("other bytes", authority::serve(of_other)),
        ("is this a time-stamping authority", authority::serve(|_| ("text/html", b"<html>".to_vec()))),
        ("more than 64 KiB", authority::serve(move |_| (media, vec![0x30; 100_000]))),
        ("not one of RFC 3161", authority::serve(move |_| (media, b"\x30\x03\x02\x01".to_vec()))),
        ("no such hash", authority::serve(move |_| (media, rejection.clone()))),
        ("another scheme", authority::serve(|_| ("redirect:ftp://127.0.0.1/", vec![]))),
    ];
    for (problem, url) in cases {
        let error = timestamp::request(&url, b"message").unwrap_err().to_string();
        assert!(error.contains(problem), "{problem}: {error}");
    }
    for url in ["ftp://example.com", "not a url", "http://127.0.0.1:1/"] {
        assert!(timestamp::request(url, b"message").is_err(), "{url}");
    }
}

/// Splices, runs and lengths that lie, in a token as its authority sent it. A cheap generator, always the same.
#[test]
fn random_damage_to_a_token_never_panics_or_verifies() {
    let Some(authority) = Authority::new("Clock", ECDSA) else { return };
    let query = Query { imprint: Hash::sha256(b"message").0, nonce: 7 };
    let token = query.token(&authority.answer(&query.to_der())).unwrap();
    let roots = [authority.root()];
    let stamp = rfc3161::verify(&token, b"message", &[], &roots).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut survived = 0;
    for _ in 0..5000 {
        let mut damaged = token.clone();
        for _ in 0..1 + draw(3) {
            let (from, to) = (draw(damaged.len()), draw(damaged.len()));
            let length = 1 + draw(40.min(damaged.len() - from.max(to)));
            match draw(4) {
                0 => damaged.copy_within(from..from + length, to),
                1 => damaged[to] = draw(256) as u8,
                2 => drop(damaged.drain(to..to + length)),
                _ => damaged[to] = damaged[to].wrapping_add(1),
            }
        }
        if let Ok(tidy) = rfc3161::tidy(&damaged) {
            assert_eq!(rfc3161::tidy(&tidy).unwrap(), tidy);
        }
        // What no signature covers may differ, and then the token says the same.
        if let Ok(found) = rfc3161::verify(&damaged, b"message", &[], &roots) {
            survived += 1;
            assert_eq!(found, stamp);
        }
    }
    assert!(survived < 2500, "{survived}");
}
