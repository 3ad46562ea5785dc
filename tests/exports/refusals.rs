//! Bundles and signers of which nothing is exported.

use std::fs;
use std::path::Path;

use countermark::export::Format;
use countermark::lineage::bundle::Bundle;

use super::Release;

#[test]
fn what_must_not_be_exported() {
    let release = Release::make();
    let good = fs::read(release.bundle("child")).unwrap();
    let data = Bundle::parse(&fs::read(release.bundle("data")).unwrap()).unwrap();
    let refused = |what: &str, reason: &str, change: &dyn Fn(&mut Bundle)| {
        let mut bundle = Bundle::parse(&good).unwrap();
        change(&mut bundle);
        fs::write(release.bundle("child"), bundle.to_json()).unwrap();
        for (_, format) in Format::ALL {
            let error = release.export("child", *format, |_| ()).expect_err(what).to_string();
            assert!(error.contains(reason) || *format == Format::Croissant, "{what}: {error}");
        }
    };
    refused("another signature", "signature", &|bundle| {
        bundle.records[0].statement.signatures[0].sig = data.records[0].statement.signatures[0].sig.clone();
    });
    refused("a record twice", "twice", &|bundle| bundle.records.push(bundle.records[1].clone()));
    release.model("stranger", 9);
    release.sign("stranger", &[], &[]);
    let stranger = Bundle::parse(&fs::read(release.bundle("stranger")).unwrap()).unwrap();
    refused("a stranger", "no ancestor", &|bundle| bundle.records.push(stranger.records[0].clone()));
    fs::write(release.bundle("child"), &good).unwrap();

    // A policy lets through only what its signers may say.
    let policy = release.path("keys/policy.toml");
    let with =
        |policy: &Path| release.export("child", Format::Slsa, |request| request.policy = Some(policy.to_owned()));
    assert!(with(&policy).is_ok());
    let text = fs::read_to_string(&policy).unwrap();
    let signer = release.statement("data").predicate.signer;
    for (what, changed, reason) in [
        ("a stranger's policy", "schema = \"countermark.dev/policy/v1\"\n".to_owned(), "nobody in the policy vouches"),
        ("another name", text.replacen("[[signer]]", "[[signer]]\nnames = [\"child\"]", 1), "may not vouch for"),
        (
            "another relation",
            text.replacen("[[signer]]", "[[signer]]\nrelations = [\"trained-on\"]", 1),
            "may not state the relation fine-tuned-from",
        ),
        ("a revoked key", format!("{text}\n[[revoked]]\nkey = \"{signer}\"\nreason = \"lost\"\n"), "signer: lost"),
    ] {
        let path = release.path("changed.toml");
        fs::write(&path, changed).unwrap();
        let error = with(&path).expect_err(what).to_string();
        assert!(error.contains(reason), "{what}: {error}");
    }
    // A stripped ancestor is still named, and nobody vouches for it.
    let mut bundle = Bundle::parse(&good).unwrap();
    bundle.records.truncate(2);
    fs::write(release.bundle("child"), bundle.to_json()).unwrap();
    let (text, _) = release.export("child", Format::EuSummary, |_| ()).unwrap();
    assert!(text.contains("| not stated | not stated |"), "{text}");
    assert!(with(&policy).unwrap_err().to_string().contains("is not in the bundle"));
}
