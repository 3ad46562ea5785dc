//! RFC 3161: an authority of `openssl ts`, and what other verifiers say of what is kept.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use countermark::io::anchor::{Authority as Clock, Order, State as Progress};
use countermark::lineage::anchor::{Anchor, Evidence};
use countermark::lineage::credential::{rfc3161, x509};
use countermark::lineage::verdict::State;

use crate::authority::{Authority, ECDSA, Kind, RSA};
use crate::{World, detail, run};

/// A world whose checkpoint this authority holds.
fn held(authority: &Arc<Authority>) -> World {
    let world = World::new();
    let report = world.submit(Order::Rfc3161(Clock { url: authority.serve() }));
    assert_eq!(report.state, Progress::Final, "{report:?}");
    world
}

fn trusts(authority: &Authority) -> String {
    let root = authority.root_pem();
    format!("[[timestamp_root]]\nname = \"Clock\"\ncertificate = \"\"\"\n{root}\"\"\"\n")
}

fn token(world: &World) -> Vec<u8> {
    let name = fs::read_dir(world.held("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let name = name.filter(|name| name.starts_with("rfc3161-") && name.ends_with(".json")).next().unwrap();
    let anchor: Anchor = serde_json::from_slice(&fs::read(world.held(&name)).unwrap()).unwrap();
    let Evidence::Rfc3161(token) = anchor.evidence else { panic!() };
    token.token.0
}

#[test]
fn other_verifiers_accept_what_is_kept_as_it_lies() {
    for kind in [ECDSA, RSA] {
        let Some(authority) = Authority::new("Clock", kind) else { return };
        let world = held(&authority);
        fs::write(world.at("root.pem"), authority.root_pem()).unwrap();
        let openssl = |data: &Path| {
            let mut command = Command::new("openssl");
            command.args(["ts", "-verify", "-data"]).arg(data).arg("-in").arg(world.held("checkpoint.tsr"));
            run(command.arg("-CAfile").arg(world.at("root.pem")))
        };
        let (good, said) = openssl(&world.held("checkpoint"));
        assert!(good && said.contains("Verification: OK"), "{said}");
        fs::write(world.at("other"), "another checkpoint\n").unwrap();
        let (good, said) = openssl(&world.at("other"));
        assert!(!good && said.contains("imprint"), "{said}");

        let Some(programs) = std::env::var_os("COUNTERMARK_STAMPS") else {
            eprintln!("skipped: rfc3161-client: run fixtures/services/stamps.sh");
            continue;
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/foreign/verify_timestamp.py");
        let client = |data: &Path| {
            let mut command = Command::new(Path::new(&programs).join("python"));
            run(command.arg(&script).arg(data).arg(world.held("checkpoint.tsr")).arg(world.at("root.pem")))
        };
        let (good, said) = client(&world.held("checkpoint"));
        assert!(good && said.contains("good"), "{said}");
        let (good, said) = client(&world.at("other"));
        assert!(!good, "{said}");
    }
}

#[test]
fn only_known_authorities_that_still_count() {
    let Some(authority) = Authority::new("Clock", ECDSA) else { return };
    let world = held(&authority);
    let good = trusts(&authority);
    let required = "[require]\nanchor = [\"rfc3161\"]\n";
    for verdict in [world.verify(&format!("{good}{required}")), world.receipt(&format!("{good}{required}"))] {
        assert_eq!(verdict.state, State::Verified, "{verdict:#?}");
    }
    let other = Authority::new("Other", ECDSA).unwrap();
    let verdict = world.verify(&format!("{}{required}", trusts(&other)));
    assert_eq!(verdict.state, State::Unknown, "{verdict:#?}");

    // Every certificate on the way, and the root that the policy itself names.
    let token = token(&world);
    let mut certificates = rfc3161::certificates(&token);
    assert_eq!(certificates.len(), 2, "signer and intermediate");
    certificates.push(authority.root());
    for certificate in certificates {
        for fingerprint in x509::fingerprints(&certificate) {
            let revoked = format!("[[revoked]]\ncertificate = \"{fingerprint}\"\nreason = \"its key was lost\"\n");
            let verdict = world.verify(&format!("{good}{revoked}{required}"));
            assert_eq!(verdict.state, State::Unknown, "{verdict:#?}");
            let verdict = world.receipt(&format!("{good}{revoked}"));
            assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
        }
    }
    assert!(detail(&world.receipt(&good), "anchor rfc3161").contains("by its own clock"));
}

#[test]
fn authorities_that_may_not_stamp_are_refused_at_once() {
    for (purpose, days) in
        [("timeStamping", 300), ("critical,timeStamping,codeSigning", 300), ("critical,codeSigning", 300)]
    {
        let Some(authority) = Authority::new("Clock", Kind { purpose, days, ..ECDSA }) else { return };
        let world = World::new();
        let checkpoint = countermark::io::log::Log::open(&world.at("log")).unwrap().anchorable().unwrap().1;
        let Some(proper) = Authority::new("Proper", ECDSA) else { return };
        let query =
            rfc3161::Query { imprint: countermark::lineage::digest::Hash::sha256(checkpoint.as_bytes()).0, nonce: 7 };
        let statement = proper.statement(&proper.answer(&query.to_der()));
        let signed = authority.sign(&statement, &["-cades"]);
        assert!(rfc3161::verify_without_root(&signed, checkpoint.as_bytes()).is_err(), "{purpose}");
    }
    // Expired when it stamped: the token is kept, and nobody's policy counts it.
    let Some(expired) = Authority::new("Late", Kind { days: -1, ..ECDSA }) else { return };
    let Some(proper) = Authority::new("Proper", ECDSA) else { return };
    let query = rfc3161::Query { imprint: [1; 32], nonce: 7 };
    let statement = proper.statement(&proper.answer(&query.to_der()));
    let signed = expired.sign(&statement, &["-cades"]);
    assert!(rfc3161::verify(&signed, b"anything", &[], &[expired.root()]).is_err());
}
