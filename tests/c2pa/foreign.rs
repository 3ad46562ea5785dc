//! Our files through c2pa-python, and its files through ours.

use std::fs;
use std::path::Path;
use std::process::Command;

use countermark::content::{self, Request};
use countermark::io::{certificate, keys};
use countermark::lineage::credential::keys::{Algorithm, PrivateKey as _};
use countermark::lineage::verdict::State;
use countermark::{keyset, silent};

use crate::{World, flip, rows, samples};

const TOOL: &str = "c2pa-python 0.38.1";

struct Foreign {
    python: std::ffi::OsString,
}

impl Foreign {
    fn find(test: &str) -> Option<Self> {
        let python = std::env::var_os("COUNTERMARK_CREDENTIALS");
        if python.is_none() {
            eprintln!("skipped: {test}: COUNTERMARK_CREDENTIALS names no Python with c2pa-python");
        }
        python.map(|python| Foreign { python })
    }

    fn run(&self, folder: &Path, arguments: &[&str]) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/foreign/content_credentials.py");
        let output = Command::new(&self.python).current_dir(folder).arg(script).args(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// What it says of a file, which is printed as a cell of the README's table.
    fn reads(&self, world: &World, what: &str, kind: &str, file: &str, sidecar: Option<&str>) -> String {
        let mut arguments = vec!["read", "root.pem", kind, file];
        arguments.extend(sidecar);
        let said = self.run(world.folder.path(), &arguments);
        println!("cell | our {what} | {TOOL} | {said}");
        said
    }
}

/// The root certificate of the world's owner, which the foreign tool shall trust.
fn write_root(world: &World) {
    let chain = fs::read_to_string(world.at("keys/owner.crt")).unwrap();
    let chain = certificate::Chain::from_pem(&chain).unwrap();
    fs::write(world.at("root.pem"), chain.root_pem).unwrap();
}

#[test]
fn it_trusts_our_files_and_refuses_what_was_changed() {
    let Some(foreign) = Foreign::find("it_trusts_our_files_and_refuses_what_was_changed") else { return };
    let world = World::make();
    write_root(&world);
    for (name, bytes) in samples::all() {
        let out = format!("out-{name}");
        world.paint(name, &out);
        let kind = countermark::io::content::format::of(&bytes).unwrap();
        assert_eq!(foreign.reads(&world, name, kind, &out, None), "Trusted", "{name}");
    }
    let opaque = "application/octet-stream";
    world.paint("answer.txt", "answer.txt.c2pa");
    let said = foreign.reads(&world, "answer.txt and sidecar", "text/plain", "answer.txt", Some("answer.txt.c2pa"));
    assert_eq!(said, "Trusted");
    let said = foreign.reads(&world, "data.csv and sidecar", "text/csv", "data.csv", Some("data.csv.c2pa"));
    assert_eq!(said, "Trusted");
    // A folder's manifest is about its listing.
    let artifact = countermark::io::files::open(&world.at("painter")).unwrap();
    let listing = artifact.measure(&|_| ()).unwrap().listing.to_text();
    fs::write(world.at("painter.listing"), listing).unwrap();
    let said = foreign.reads(&world, "folder, its data behind it", opaque, "painter.listing", Some("painter.c2pa"));
    assert_eq!(said, "Trusted");

    // What was changed.
    let png = fs::read(world.at("out-cat.png")).unwrap();
    let pixels = png.windows(4).rposition(|window| window == b"IDAT").unwrap() + 12;
    flip(&world.at("out-cat.png"), pixels);
    let said = foreign.reads(&world, "cat.png, a pixel changed", "image/png", "out-cat.png", None);
    assert!(said.starts_with("Invalid") && said.contains("assertion.dataHash.mismatch"), "{said}");
    let said = foreign.reads(&world, "data.csv, another sidecar", "text/csv", "data.csv", Some("answer.txt.c2pa"));
    assert!(said.starts_with("Invalid") && said.contains("assertion.dataHash.mismatch"), "{said}");
    let store = fs::read(world.at("answer.txt.c2pa")).unwrap();
    let place = |needle: &[u8]| store.windows(needle.len()).rposition(|window| window == needle).unwrap();
    for (what, at, code) in [
        ("assertion flipped", place(b"trainedAlgorithmicMedia"), "assertion.hashedURI.mismatch"),
        ("claim flipped", place(b"claim_generator_info"), ""),
        ("parent flipped", 2000, ""),
    ] {
        let mut changed = store.clone();
        changed[at] ^= 1;
        fs::write(world.at("changed.c2pa"), changed).unwrap();
        let what = format!("answer.txt, {what}");
        let said = foreign.reads(&world, &what, "text/plain", "answer.txt", Some("changed.c2pa"));
        assert!((said.starts_with("Invalid") || said.starts_with("error")) && said.contains(code), "{what}: {said}");
    }
}

/// Another owner, with an ES256 key and certificates, and a policy that trusts the root.
fn stranger(world: &World) {
    let (private, key) = keys::pkcs8::generate(Algorithm::P256, None).unwrap();
    let public = key.public();
    let root = keys::generate();
    let chain = certificate::issue(&root, &public, "Foreign Studio", keyset::now() - 60).unwrap();
    fs::write(world.at("foreign.key"), &*private).unwrap();
    fs::write(world.at("foreign.pem"), chain.to_pem()).unwrap();
    fs::write(world.at("root.pem"), &chain.root_pem).unwrap();
    let policy = format!(
        "schema = \"countermark.dev/policy/v1\"\n[[certificate_root]]\nname = \"Foreign\"\ncertificate = \"\"\"\n{}\"\"\"\n",
        chain.root_pem
    );
    fs::write(world.at("foreign.toml"), policy).unwrap();
    assert_ne!(root.public(), public);
}

#[test]
fn its_files_are_read_here() {
    let Some(foreign) = Foreign::find("its_files_are_read_here") else { return };
    let world = World::make();
    stranger(&world);
    let run = |arguments: &[&str]| foreign.run(world.folder.path(), arguments);
    let cell = |what: &str, state: State| println!("cell | {TOOL}'s {what} | countermark verify | {state}");
    let signer = ["foreign.pem", "foreign.key", "es256"];
    for (name, bytes) in samples::all() {
        let kind = countermark::io::content::format::of(&bytes).unwrap();
        let out = format!("theirs-{name}");
        run(&[&["sign"], &signer[..], &[kind, name, &out]].concat());
        let verdict = world.verify_with(&out, None, "foreign.toml");
        cell(name, verdict.state);
        assert_eq!(verdict.state, State::Unanchored, "{name}: {verdict:#?}");
        // Nobody here knows that studio.
        assert_eq!(world.verify(&out, None).state, State::UnknownSigner, "{name}");
        // A picture in XML shall stay well-formed.
        let bytes = fs::read(world.at(&out)).unwrap();
        let element = bytes.windows(5).position(|window| window == b"<rect").map(|place| place + 1);
        flip(&world.at(&out), element.filter(|_| name == "cat.svg").unwrap_or(bytes.len() - 3));
        let verdict = world.verify_with(&out, None, "foreign.toml");
        cell(&format!("{name}, a byte changed"), verdict.state);
        assert_eq!(verdict.state, State::Invalid, "{name}: {verdict:#?}");
    }
    run(&[&["beside"], &signer[..], &["image/png", "cat.png", "cat.png.c2pa"]].concat());
    let verdict = world.verify_with("cat.png", None, "foreign.toml");
    cell("sidecar of cat.png", verdict.state);
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    flip(&world.at("cat.png"), 60);
    let verdict = world.verify_with("cat.png", None, "foreign.toml");
    cell("sidecar of cat.png, a byte changed", verdict.state);
    assert_eq!(verdict.state, State::Invalid, "{verdict:#?}");
    flip(&world.at("cat.png"), 60);

    // A picture made of another one, and of one that carries nothing.
    run(&[&["sign"], &signer[..], &["image/png", "cat.png", "first.png"]].concat());
    run(&[&["sign"], &signer[..], &["image/png", "cat.png", "second.png", "first.png", "image/png"]].concat());
    let verdict = world.verify_with("second.png", None, "foreign.toml");
    cell("picture made of another", verdict.state);
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    assert!(rows(&verdict, State::Verified).contains("componentOf: signed by"), "{verdict:#?}");
    run(&[&["sign"], &signer[..], &["image/png", "cat.png", "third.png", "cat.gif", "image/gif"]].concat());
    let verdict = world.verify_with("third.png", None, "foreign.toml");
    cell("picture made of one without a manifest", verdict.state);
    assert!(rows(&verdict, State::Unknown).contains("named, not bound"), "{verdict:#?}");

    // What it signed is an input of ours.
    let mut request = Request::new(world.at("first.png"), world.at("keys/owner.key"));
    request.out = Some(world.at("edited.png"));
    request.declared.source_type = Some("humanEdits".parse().unwrap());
    let relation = countermark::lineage::graph::Relation::DerivedFrom;
    request.inputs = vec![content::InputRequest { relation, source: world.at("first.png"), path: None }];
    content::create(&request, &silent()).unwrap();
    let verdict = world.verify("edited.png", None);
    assert_eq!(verdict.state, State::UnknownSigner, "{verdict:#?}");
    assert!(rows(&verdict, State::UnknownSigner).starts_with("input foreign: parentOf"), "{verdict:#?}");
}
