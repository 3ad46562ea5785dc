//! `manifest create`, `manifest read` and `verify` on the whole path, without any other tool.

use std::fs;

use countermark::content::{self, InputRequest, PromptAs, Request};
use countermark::lineage::graph::{Kind, Relation};
use countermark::lineage::verdict::State;
use countermark::{keyset, silent};

use crate::{World, flip, rows};

#[test]
fn from_content_to_the_data_behind_its_model() {
    let world = World::make();
    for (name, out, embedded) in [
        ("cat.png", "out/cat.png", true),
        ("song.wav", "out/song.wav", true),
        ("answer.txt", "answer.txt.c2pa", false),
        ("report.pdf", "report.pdf.c2pa", false),
    ] {
        let created = world.paint(name, out);
        assert_eq!((created.embedded, created.manifests), (embedded, 3), "{name}");
        assert!(created.notes.is_empty(), "{:?}", created.notes);
        let about = if embedded { out } else { name };
        let verdict = world.verify(about, None);
        assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
        assert_eq!((&*verdict.name, &*verdict.signer), (name, "Example Lab"));
        let green = rows(&verdict, State::Verified);
        assert!(green.contains("input painter: inputTo: signed by Example Lab"), "{green}");
        assert!(green.contains("input data.csv of painter: inputTo: signed by Example Lab"), "{green}");

        // With the model's bundle its statement and its ancestry are checked too.
        let verdict = world.verify(about, Some("painter.provenance.json"));
        assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
        let green = rows(&verdict, State::Verified);
        assert!(green.contains("input painter: statement") && green.contains("parent data.csv: signer"), "{green}");
        world.sign("other.csv".tap(|name| fs::write(world.at(name), "1\n").unwrap()), &[]);
        let verdict = world.verify(about, Some("other.csv.provenance.json"));
        assert!(rows(&verdict, State::Invalid).contains("no input is other.csv"), "{verdict:#?}");

        // Without a policy nobody is known.
        let mut request = countermark::verify::Request::new(world.at(about));
        let verdict = countermark::verify::verify(&request, &silent()).unwrap();
        assert_eq!(verdict.state, State::UnknownSigner, "{verdict:#?}");
        request.require_anchor = true;
        request.policy = Some(world.at("keys/policy.toml"));
        let verdict = countermark::verify::verify(&request, &silent()).unwrap();
        assert!(rows(&verdict, State::Unknown).contains("anchor is required"), "{verdict:#?}");
    }
    let reading = content::read(&world.at("out/cat.png"), Some(&world.at("keys/policy.toml")), keyset::now()).unwrap();
    assert_eq!((reading.state, reading.bound), (State::Verified, true));
    let chain: Vec<_> = reading.chain.iter().map(|link| (link.depth, &*link.title)).collect();
    assert_eq!(chain, [(1, "painter"), (2, "data.csv")]);
    let reading = content::read(&world.at("answer.txt.c2pa"), None, keyset::now()).unwrap();
    assert_eq!((reading.state, reading.bound), (State::UnknownSigner, false));
    assert!(content::read(&world.at("data.csv"), None, keyset::now()).unwrap().state == State::Invalid);
}

/// Lets a value be used while something is done with it.
trait Tap: Sized + Copy {
    fn tap(self, with: impl FnOnce(Self)) -> Self {
        with(self);
        self
    }
}

impl Tap for &str {}

#[test]
fn models_and_data_without_a_statement() {
    let world = World::make();
    fs::create_dir(world.at("plain")).unwrap();
    fs::write(world.at("plain/a.csv"), "a\n1\n").unwrap();
    fs::write(world.at("plain/b.csv"), "b\n2\n").unwrap();
    let create = |name: &str, inputs: &[InputRequest]| {
        let mut request = Request::new(world.at(name), world.at("keys/owner.key"));
        request.inputs = inputs.to_vec();
        content::create(&request, &silent()).unwrap()
    };
    assert_eq!(create("plain", &[]).out, world.at("plain.c2pa"));
    assert_eq!(world.verify("plain", None).state, State::Unanchored);
    fs::write(world.at("weights.gguf"), "GGUF").unwrap();
    let data =
        InputRequest { relation: Relation::TrainedOn, source: world.at("plain.c2pa"), path: Some(world.at("plain")) };
    assert_eq!(create("weights.gguf", std::slice::from_ref(&data)).manifests, 2);
    let verdict = world.verify("weights.gguf", None);
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    let reading = content::read(&world.at("weights.gguf.c2pa"), None, keyset::now()).unwrap();
    let said = reading.manifest.unwrap().declared;
    assert_eq!(said.asset_types, ["c2pa.types.model"]);
    assert!(said.source_type.unwrap().ends_with("trainedAlgorithmicData"));

    // A folder's manifest knows every file in it.
    for (change, undo) in [("added", true), ("changed", false)] {
        match change {
            "added" => fs::write(world.at("plain/c.csv"), "c\n").unwrap(),
            _ => flip(&world.at("plain/a.csv"), 0),
        }
        let verdict = world.verify("plain", None);
        assert!(rows(&verdict, State::Invalid).contains("manifest binding"), "{change}: {verdict:#?}");
        if undo {
            fs::remove_file(world.at("plain/c.csv")).unwrap();
        }
    }
    // What no longer is what its manifest says is no input.
    let mut request = Request::new(world.at("weights.gguf"), world.at("keys/owner.key"));
    request.inputs = vec![data];
    let error = content::create(&request, &silent()).unwrap_err().to_string();
    assert!(error.contains("not one to build on"), "{error}");
}

#[test]
fn a_manifest_that_quotes_a_statement_asks_for_it() {
    let world = World::make();
    fs::rename(world.at("data.csv.provenance.json"), world.at("away.json")).unwrap();
    let verdict = world.verify("data.csv", None);
    assert_eq!(verdict.state, State::Unknown, "{verdict:#?}");
    assert!(rows(&verdict, State::Unknown).contains("which is not at hand"), "{verdict:#?}");
    // Its bundle is about itself, and not about an input of it.
    let verdict = world.verify("data.csv", Some("away.json"));
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    // A medium's manifest does not make another artifact's bundle speak for it.
    world.paint("cat.png", "data2.csv");
    let verdict = world.verify("data2.csv", Some("away.json"));
    assert!(rows(&verdict, State::Verified).contains("judged as content that data.csv is an input of"), "{verdict:#?}");
}

#[test]
fn what_is_asked_for_is_refused_with_a_reason() {
    let world = World::make();
    let refused = |request: &Request, reason: &str| {
        let error = content::create(request, &silent()).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("help:"), "{error}");
    };
    let plain = |name: &str| Request::new(world.at(name), world.at("keys/owner.key"));
    refused(&plain("cat.jpg"), "does not tell how it came about");
    refused(&world.painted("cat.png", "cat.png"), "replaces nothing");
    world.paint("cat.png", "painted.png");
    refused(&world.painted("painted.png", "again.png"), "carries a manifest already");
    let mut derived = plain("painted.png");
    derived.out = Some(world.at("again.png"));
    derived.declared.source_type = Some("digitalCreation".parse().unwrap());
    let relation = Relation::DerivedFrom;
    derived.inputs = vec![InputRequest { relation, source: world.at("painted.png"), path: None }];
    content::create(&derived, &silent()).unwrap();
    let verdict = world.verify("again.png", None);
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    assert!(rows(&verdict, State::Verified).contains("input painter of cat.png"), "{verdict:#?}");

    let mut request = world.painted("answer.txt", "x.c2pa");
    request.inputs = vec![InputRequest::model(world.at("data.csv.provenance.json").to_str().unwrap())];
    refused(&request, "single file data.csv");
    request.inputs = vec![InputRequest::model(world.at("data.csv.c2pa").to_str().unwrap())];
    refused(&request, "without the bytes");
    let both = format!("{}@{}", world.at("data.csv.c2pa").display(), world.at("answer.txt").display());
    request.inputs = vec![InputRequest::model(&both)];
    refused(&request, "not one to build on");
    request.inputs = vec![InputRequest::model(world.at("cat.gif").to_str().unwrap())];
    refused(&request, "carries no manifest");
    assert!(!world.at("x.c2pa").exists());
}

#[test]
fn a_prompt_is_told_only_when_asked() {
    let world = World::make();
    fs::write(world.at("prompt.txt"), "draw my secret cat").unwrap();
    let said = |how: Option<PromptAs>| {
        let mut request = world.painted("answer.txt", "answer.txt.c2pa");
        request.prompt = how.map(|how| (world.at("prompt.txt"), how));
        request.oversight = Some("prompt_guided".parse().unwrap());
        content::create(&request, &silent()).unwrap();
        let verdict = world.verify("answer.txt", None);
        assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
        let store = String::from_utf8_lossy(&fs::read(world.at("answer.txt.c2pa")).unwrap()).into_owned();
        (rows(&verdict, State::Verified).contains("input prompt"), store.contains("secret cat"))
    };
    assert_eq!(said(None), (false, false));
    assert_eq!(said(Some(PromptAs::Hash)), (true, false));
    assert_eq!(said(Some(PromptAs::Text)), (true, true));
}

#[test]
fn the_policy_says_who_may_vouch_for_content() {
    let world = World::make();
    world.paint("cat.png", "painted.png");
    let policy = fs::read_to_string(world.at("keys/policy.toml")).unwrap();
    let key = policy.lines().find(|line| line.starts_with("key = ")).unwrap().to_owned();
    let verdict = |change: &dyn Fn(&str) -> String| {
        fs::write(world.at("policy.toml"), change(&policy)).unwrap();
        world.verify_with("painted.png", None, "policy.toml")
    };
    let with = |line: &str| verdict(&|policy| policy.replacen(&key, &format!("{key}\n{line}"), 1));
    let found = with("names = [\"cat*\", \"painter\", \"data*\"]");
    assert_eq!(found.state, State::Unanchored, "{found:#?}");
    let found = with("names = [\"painter\", \"data*\"]");
    assert!(rows(&found, State::UnknownSigner).contains("may not vouch for \"cat.png\""), "{found:#?}");
    let found = with("names = [\"cat*\", \"data*\"]");
    assert!(rows(&found, State::UnknownSigner).contains("input painter"), "{found:#?}");
    let found = with("relations = [\"trained-on\"]");
    assert!(rows(&found, State::UnknownSigner).contains("may not state the relation generated-by"), "{found:#?}");
    let revoked = format!("[[revoked]]\n{key}\nreason = \"stolen\"\n");
    let found = verdict(&|policy| format!("{policy}\n{revoked}"));
    assert_eq!(found.state, State::Revoked, "{found:#?}");
    let found = verdict(&|policy| format!("{policy}\n[require]\nlog = true\nmax_age_days = 1\n"));
    assert!(rows(&found, State::Unknown).starts_with("log:"), "{found:#?}");
    assert!(rows(&found, State::Verified).contains("age: signed after"), "{found:#?}");
}

#[test]
fn every_manifest_at_hand_must_hold() {
    let world = World::make();
    world.paint("cat.png", "painted.png");
    // A sidecar beside a medium that carries its own: both count.
    let mut request = Request::new(world.at("painted.png"), world.at("keys/owner.key"));
    request.out = Some(world.at("painted.png.c2pa"));
    request.kind = Some(Kind::GeneratedContent);
    content::create(&request, &silent()).unwrap();
    let verdict = world.verify("painted.png", None);
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    assert!(rows(&verdict, State::Verified).contains("painted.png.c2pa: manifest binding"), "{verdict:#?}");
    fs::copy(world.at("data.csv.c2pa"), world.at("painted.c2pa")).unwrap();
    let verdict = world.verify("painted.png", None);
    assert!(rows(&verdict, State::Invalid).contains("painted.c2pa: manifest binding"), "{verdict:#?}");
}

/// A medium that carries a manifest may be released like any file; then its bundle decides, and what it carries must hold.
#[test]
fn a_medium_with_a_bundle_of_its_own() {
    let world = World::make();
    world.paint("cat.png", "painted.png");
    world.sign("painted.png", &[(Relation::GeneratedBy, "painter")]);
    let verdict = world.verify("painted.png", None);
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    assert!(rows(&verdict, State::Verified).contains("carried manifest: nothing in it is wrong"), "{verdict:#?}");
    assert!(!verdict.statement.is_empty());
    // Signed anew after a pixel was changed: the bundle holds, and what it carries does not.
    let png = fs::read(world.at("painted.png")).unwrap();
    flip(&world.at("painted.png"), png.windows(4).rposition(|window| window == b"IDAT").unwrap() + 20);
    world.sign("painted.png", &[]);
    let verdict = world.verify("painted.png", None);
    assert!(rows(&verdict, State::Invalid).starts_with("carried: manifest binding"), "{verdict:#?}");
}
