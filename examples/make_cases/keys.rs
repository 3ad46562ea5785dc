//! Time-stamps in manifests, and every way to cheat with one; releases of every kind of key. Needs OpenSSL, which plays the
//! authority.

#[allow(dead_code, reason = "shared with tests that need all of it")]
#[path = "../../lineage/io/tests/authority/mod.rs"]
pub mod authority;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use countermark::io::{certificate, keys};
use countermark::keyset::{self, NewKeys};
use countermark::lineage::bundle::{Bundle, Bytes};
use countermark::lineage::cbor::{self, Rules, Value, bytes, text};
use countermark::lineage::credential::countersign;
use countermark::lineage::credential::keys::Algorithm;
use countermark::lineage::credential::rfc3161::{self, Query};
use countermark::lineage::digest::Hash;
use countermark::sign::{self, Request};
use countermark::silent;

use crate::{Case, Result, World};
use authority::{Authority, ECDSA, Kind, RSA};

const DATA: &str = "stamped.csv";

/// The cases, with their bundles and policies written.
pub fn cases(world: &World) -> Result<Vec<Case>> {
    fs::write(world.at(DATA), "question,answer\n5,6\n")?;
    fs::copy(world.at(DATA), world.out.join(DATA))?;
    let mut cases = stamps(world)?;
    cases.extend(kinds(world)?);
    Ok(cases)
}

fn authority(name: &str, kind: Kind) -> Result<Arc<Authority>> {
    Authority::new(name, kind).ok_or_else(|| "these cases need openssl".into())
}

/// A policy that also knows this authority, or whatever text stands for its certificate.
fn write_policy(world: &World, name: &str, root: &str) -> Result<()> {
    let policy = fs::read_to_string(world.at("keys/policy.toml"))?;
    let root = format!("\n[[timestamp_root]]\nname = \"Clock\"\ncertificate = \"\"\"\n{root}\"\"\"\n");
    Ok(fs::write(world.out.join(name), policy + &root)?)
}

/// Signs the data without a log, under these certificates.
fn release(world: &World, certificate: Option<PathBuf>) -> Result<(Bundle, Vec<u8>)> {
    let mut request = Request::new(world.at(DATA), world.at("keys/owner.key"));
    request.certificate = certificate;
    sign::sign(&request, &silent())?;
    let bundle = world.bundle(DATA)?;
    let store = bundle.records[0].manifest.as_ref().map(|store| store.0.clone());
    Ok((bundle, store.ok_or("no manifest")?))
}

fn stamps(world: &World) -> Result<Vec<Case>> {
    let (clock, old_clock) = (authority("Clock", ECDSA)?, authority("Old clock", RSA)?);
    let (other, expired) = (authority("Other", ECDSA)?, authority("Expired", Kind { days: -1, ..ECDSA })?);
    let wide = authority("Wide", Kind { purpose: "critical,timeStamping,codeSigning", ..ECDSA })?;
    for (name, authority) in [
        ("policy-clock.toml", &clock),
        ("policy-old-clock.toml", &old_clock),
        ("policy-other-clock.toml", &other),
        ("policy-expired-clock.toml", &expired),
        ("policy-wide-clock.toml", &wide),
    ] {
        write_policy(world, name, &authority.root_pem())?;
    }
    write_policy(world, "policy-bad-clock.toml", "no certificate\n")?;

    let (bundle, store) = release(world, None)?;
    let message = countersign::message(&store)?;
    let query = Query { imprint: Hash::sha256(&message).0, nonce: 7 };
    let answer = |authority: &Authority| query.token(&authority.answer(&query.to_der()));
    let raw = answer(&clock)?;
    let good = rfc3161::tidy(&raw)?;
    let statement = clock.statement(&clock.answer(&query.to_der()));
    let signed = |authority: &Authority, options: &[&str]| rfc3161::tidy(&authority.sign(&statement, options));
    let sha1 = clock.answer(&clock.query_of(&message, "-sha1"));
    let sha1 = rfc3161::tidy(&rfc3161::token_of(&sha1)?)?;
    let (_, second) = release(world, None)?;
    let second = countersign::message(&second)?;
    let of_second = Query { imprint: Hash::sha256(&second).0, nonce: 7 };
    let of_second = rfc3161::tidy(&of_second.token(&clock.answer(&of_second.to_der()))?)?;
    let mut flipped = good.clone();
    let place = good.windows(32).position(|window| window == query.imprint).ok_or("no imprint")?;
    flipped[place] ^= 1;

    let stamp = |tokens: &[&[u8]]| with_header(&store, "sigTst2", container(tokens));
    let policy = "policy-clock.toml";
    let mut cases = Vec::new();
    let mut add =
        |name: &str, story: &str, bundle: &Bundle, store: Vec<u8>, policy: &str, state: &str, reason: &str| {
            let mut bundle = bundle.clone();
            bundle.records[0].manifest = Some(Bytes(store));
            fs::write(world.out.join(format!("{name}.json")), bundle.to_json())?;
            let options = &[("bundle", &*format!("{name}.json")), ("policy", policy)];
            cases.push(Case::new(name, story, "verify", DATA, options, state, reason));
            Ok::<_, Box<dyn std::error::Error>>(())
        };
    let row = "manifest timestamp";
    let stamped = countersign::add(&store, &good)?;
    add("tst-good", "nothing is wrong", &bundle, stamped.clone(), policy, "unanchored", "")?;
    let by_rsa = countersign::add(&store, &answer(&old_clock)?)?;
    let old = "policy-old-clock.toml";
    add("tst-good-rsa", "an RSA key, and its certificate named by SHA-1", &bundle, by_rsa, old, "unanchored", "")?;
    let unknown = "no given root vouches";
    let none = "policy.toml";
    add("tst-unknown-tsa", "no authority is known", &bundle, stamped.clone(), none, "unknown-signer", unknown)?;
    let other = "policy-other-clock.toml";
    add("tst-other-tsa", "another authority is known", &bundle, stamped.clone(), other, "unknown-signer", unknown)?;
    let bad = "policy-bad-clock.toml";
    add("tst-bad-root", "the policy's root is none", &bundle, stamped.clone(), bad, "unknown", "one PEM certificate")?;
    let wide_policy = "policy-wide-clock.toml";
    let expired_policy = "policy-expired-clock.toml";
    for (name, story, store, policy, state, reason) in [
        (
            "tst-of-other-signature",
            "the stamp of another manifest",
            stamp(&[&of_second])?,
            policy,
            "invalid",
            "other bytes",
        ),
        ("tst-flipped", "one bit of the stamp", stamp(&[&flipped])?, policy, "invalid", row),
        ("tst-two-tokens", "two tokens in one stamp", stamp(&[&good, &good])?, policy, "invalid", "one token"),
        ("tst-no-token", "no token in the stamp", stamp(&[])?, policy, "invalid", "one token"),
        ("tst-sha1", "a stamp over a SHA-1", stamp(&[&sha1])?, policy, "unknown", "only SHA-2"),
        (
            "tst-untidy",
            "a stamp with certificates that nothing needs",
            stamp(&[&raw])?,
            policy,
            "invalid",
            "no signature covers",
        ),
        (
            "tst-trailing-byte",
            "a byte after the token",
            stamp(&[&[&good[..], b"\0"].concat()])?,
            policy,
            "invalid",
            row,
        ),
        (
            "tst-certificate-unnamed",
            "no signed attribute names the authority's certificate",
            stamp(&[&signed(&clock, &[])?])?,
            policy,
            "invalid",
            "names the signer",
        ),
        (
            "tst-no-attributes",
            "no signed attributes",
            stamp(&[&signed(&clock, &["-noattr"])?])?,
            policy,
            "invalid",
            "content type",
        ),
        (
            "tst-wide-purpose",
            "the authority's certificate is for code, too",
            stamp(&[&signed(&wide, &["-cades"])?])?,
            wide_policy,
            "invalid",
            "time-stamping alone",
        ),
        (
            "tst-expired-tsa",
            "the authority's certificate had expired",
            stamp(&[&signed(&expired, &["-cades"])?])?,
            expired_policy,
            "unknown",
            "expired",
        ),
        (
            "tst-first-version",
            "in the older header, where a stamp covers the claim alone",
            with_header(&store, "sigTst", container(&[&good]))?,
            policy,
            "invalid",
            "unprotected header",
        ),
    ] {
        add(name, story, &bundle, store, policy, state, reason)?;
    }

    // A leaf that lives for a few seconds more.
    let chain = keyset::read_chain(&world.at("keys/owner.crt"))?;
    let (root, owner) = (keys::load(&world.at("keys/owner.root.key"))?, keys::load(&world.at("keys/owner.key"))?);
    let begin = keyset::now() - certificate::LEAF_DAYS * 86_400 + 5;
    let short = certificate::renew(&chain, &*root, &owner.public(), certificate::Profile::Claims, begin)?;
    fs::write(world.at("short.crt"), short.to_pem())?;
    let (bundle, store) = release(world, Some(world.at("short.crt")))?;
    std::thread::sleep(Duration::from_secs(7));
    let query = Query { imprint: Hash::sha256(&countersign::message(&store)?).0, nonce: 7 };
    let late = countersign::add(&store, &query.token(&clock.answer(&query.to_der()))?)?;
    let story = "stamped after the signer's certificate had expired";
    add("tst-after-expiry", story, &bundle, late, policy, "unknown", "does not count")?;

    // The log binds the store with its stamp.
    let mut request = Request::new(world.at(DATA), world.at("keys/owner.key"));
    request.log = Some(world.at("log"));
    request.timestamp = Some(clock.serve());
    sign::sign(&request, &silent())?;
    let bundle = world.bundle(DATA)?;
    let logged = bundle.records[0].manifest.as_ref().map(|store| store.0.clone()).ok_or("no manifest")?;
    add("tst-logged", "stamped, then logged; nothing is wrong", &bundle, logged.clone(), policy, "unanchored", "")?;
    let stripped = without_header(&logged)?;
    add("tst-stripped", "the stamp was taken out", &bundle, stripped, policy, "invalid", "the logged manifest")?;
    Ok(cases)
}

/// Releases of owners whose keys are of other kinds.
fn kinds(world: &World) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for algorithm in [Algorithm::P256, Algorithm::P384, Algorithm::P521] {
        let (name, folder) = (format!("key-{algorithm}"), format!("keys-{algorithm}"));
        keyset::generate_with(&world.at(&folder), &NewKeys { algorithm, ..NewKeys::new("Fixture owner") })?;
        sign::sign(&Request::new(world.at(DATA), world.at(&folder).join("owner.key")), &silent())?;
        let (bundle, policy) = (format!("{name}.json"), format!("policy-{algorithm}.toml"));
        fs::copy(world.at(&format!("{DATA}.provenance.json")), world.out.join(&bundle))?;
        fs::copy(world.at(&folder).join("policy.toml"), world.out.join(&policy))?;
        let options = &[("bundle", &*bundle), ("policy", &*policy)];
        cases.push(Case::new(&name, "an owner's key of another kind", "verify", DATA, options, "unanchored", ""));
        if algorithm == Algorithm::P256 {
            let options = &[("bundle", &*bundle), ("policy", "policy.toml")];
            let story = "the owner of that name has another key";
            cases.push(Case::new(
                "key-unknown",
                story,
                "verify",
                DATA,
                options,
                "unknown-signer",
                "nobody in the policy",
            ));
        }
    }
    Ok(cases)
}

fn container(tokens: &[&[u8]]) -> Value {
    let tokens = tokens.iter().map(|token| Value::Map(vec![(text("val"), bytes(*token))]));
    Value::Map(vec![(text("tstTokens"), Value::Array(tokens.collect()))])
}

fn with_header(store: &[u8], label: &str, value: Value) -> Result<Vec<u8>> {
    rewritten(store, vec![(text(label), value)])
}

fn without_header(store: &[u8]) -> Result<Vec<u8>> {
    rewritten(store, vec![])
}

/// The store with another unprotected header, which no signature covers.
fn rewritten(store: &[u8], header: Vec<(Value, Value)>) -> Result<Vec<u8>> {
    let length = |at: usize| u32::from_be_bytes([store[at], store[at + 1], store[at + 2], store[at + 3]]) as usize;
    let mut boxes = vec![0];
    for _ in 0..3 {
        let parent = boxes[boxes.len() - 1];
        let mut child = parent + 8;
        while child + length(child) < store.len() {
            child += length(child);
        }
        boxes.push(child);
    }
    let content = boxes[3] + 8;
    let Value::Tag(18, sign1) = cbor::decode(&store[content..], Rules::Lenient)? else { return Err("no COSE".into()) };
    let Value::Array(mut parts) = *sign1 else { return Err("no COSE".into()) };
    parts[1] = Value::Map(header);
    let sign1 = cbor::encode(&Value::Tag(18, Box::new(Value::Array(parts))));
    let mut store = [&store[..content], &sign1].concat();
    for start in boxes {
        let length = u32::try_from(store.len() - start)?;
        store[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
    Ok(store)
}
