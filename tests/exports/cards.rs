//! Model cards beside the signed parents, and every relation in every format.

use std::fs;

use countermark::card;
use countermark::export::Format;
use countermark::lineage::export::hub_card::Comparison;
use countermark::lineage::graph::{Kind, Relation};
use countermark::lineage::verdict::State;
use countermark::sign::{self, ParentRequest};
use countermark::{keyset, silent};
use serde_json::{Value, json};

use super::{ABOUT_DATA, Release, sha256_of, valid};

fn check(release: &Release, card: &str, answers: &str) -> Comparison {
    fs::write(release.path("child/README.md"), card).unwrap();
    let mut request = card::Request::new(release.path("child"));
    request.answers = Some(release.answers(answers));
    request.policy = Some(release.path("keys/policy.toml"));
    card::check(&request, &silent()).unwrap()
}

#[test]
fn cards_that_agree_contradict_or_cannot_be_compared() {
    let release = Release::make();
    let hub = "[hub]\ndata = \"lab/data\"\n";
    let good = "base_model: lab/base\nbase_model_relation: finetune\ndatasets: [lab/data]\n";
    for (card, answers, state, words) in [
        (good, hub, State::Verified, "is signed: fine-tuned-from base"),
        ("base_model: [LAB/base]\ndatasets: lab/data\n", hub, State::Verified, "is signed"),
        (
            "base_model: lab/base\ndatasets: [lab/data]\ntags: [base_model:finetune:lab/base]\n",
            hub,
            State::Verified,
            "finetune",
        ),
        ("base_model: evil/llama\ndatasets: [lab/data]\n", hub, State::Invalid, "no such parent is signed"),
        ("base_model: [lab/base, evil/llama]\ndatasets: [lab/data]\n", hub, State::Invalid, "no such parent is signed"),
        ("base_model: lab/base\n", hub, State::Invalid, "lab/data (trained-on) is missing"),
        ("datasets: [lab/data]\n", hub, State::Invalid, "lab/base (fine-tuned-from) is missing"),
        ("license: mit\n", hub, State::Invalid, "is missing"),
        (&good.replace("finetune", "quantized"), hub, State::Invalid, "differs: fine-tuned-from is signed"),
        (
            "base_model: lab/base\ndatasets: [lab/data]\ntags: [\"base_model:evil/llama\"]\n",
            hub,
            State::Invalid,
            "no such parent",
        ),
        (
            "base_model: lab/base\ndatasets: [lab/data]\ntags: [\"dataset:evil/set\"]\n",
            hub,
            State::Invalid,
            "no such parent",
        ),
        (
            "base_model: lab/base\ndatasets: [lab/data]\ntags: [\"base_model:merge:lab/base\"]\n",
            hub,
            State::Invalid,
            "differs",
        ),
        // Names that look alike prove nothing.
        (good, "", State::Unknown, "names cannot be compared"),
        ("base_model: lab/base\ndatasets: [other/data]\n", "", State::Unknown, "answer [hub] \"data\""),
        ("base_model: {name: lab/base}\ndatasets: [lab/data]\n", hub, State::Invalid, "nested"),
        // What is published nowhere need not be named; what is claimed must still be signed.
        ("base_model: lab/base\n", "[hub]\ndata = false\n", State::Verified, "published nowhere"),
        ("base_model: lab/base\ndatasets: [lab/data]\n", "[hub]\ndata = false\n", State::Invalid, "no such parent"),
        // A dataset of the base only is an ancestor as well.
        (
            "base_model: lab/base\ndatasets: [lab/data]\n",
            "[hub]\ndata = \"lab/data\"\nbase = \"lab/base\"\n",
            State::Verified,
            "is signed",
        ),
    ] {
        let comparison = check(&release, &format!("---\n{card}---\n# Card\n"), answers);
        assert_eq!(comparison.state, state, "{card}{answers}{comparison:#?}");
        assert!(
            comparison.checks.iter().any(|row| format!("{} {}", row.name, row.detail).contains(words)),
            "{card}{comparison:#?}"
        );
    }
    let comparison = check(&release, "# No front matter\n", hub);
    assert_eq!(comparison.state, State::Invalid);

    // A card that two readers take differently is refused before anything is compared.
    for card in ["---\nbase_model: lab/base\nbase_model: evil/x\n---\n", "\n---\nbase_model: lab/base\n---\n"] {
        fs::write(release.path("child/README.md"), card).unwrap();
        let error = card::check(&card::Request::new(release.path("child")), &silent()).unwrap_err().to_string();
        assert!(error.contains("README.md") && error.contains("help:"), "{error}");
    }
    // The bundle of another model speaks for nothing here, whatever the card says.
    fs::write(release.path("child/README.md"), format!("---\n{good}---\n")).unwrap();
    let mut request = card::Request::new(release.path("child"));
    request.answers = Some(release.answers(hub));
    request.bundle = Some(release.bundle("base"));
    let comparison = card::check(&request, &silent()).unwrap();
    assert_eq!(comparison.state, State::Invalid, "{comparison:#?}");
    assert!(card::write(&request, &silent()).is_err());
    // A signer that the policy does not know: agreement is not enough.
    keyset::generate(&release.path("other"), "Other Lab").unwrap();
    let mut request = card::Request::new(release.path("child"));
    request.answers = Some(release.path("answers.toml"));
    request.policy = Some(release.path("other/policy.toml"));
    assert_eq!(card::check(&request, &silent()).unwrap().state, State::UnknownSigner);
    // The card of a dataset is signed with it.
    let error = card::write(&card::Request::new(release.path("data")), &silent()).unwrap_err().to_string();
    assert!(error.contains("is a dataset"), "{error}");
}

#[test]
fn a_card_is_written_with_the_signed_parents_and_nothing_else_changed() {
    let release = Release::make();
    let card = "---\n# ours\nlicense: mit # as the code\nbase_model: evil/llama\ndatasets:\n- evil/set\n- LAB/data # kept\n\
                tags: [\"base_model:evil/llama\", en]\nmodel-index:\n- name: m\n  results: []\n---\n# A model\n\n--- \n<b>body</b>\r\n";
    fs::write(release.path("child/README.md"), card).unwrap();
    let mut request = card::Request::new(release.path("child"));
    let error = card::write(&request, &silent()).unwrap_err().to_string();
    assert!(error.contains("published: \"data\"") && error.contains("[hub]"), "{error}");
    assert_eq!(fs::read_to_string(release.path("child/README.md")).unwrap(), card, "nothing is written on an error");

    request.answers = Some(release.answers("[hub]\ndata = \"lab/data\"\n[card]\ntags = [\"1.0\", \"no: way\"]\n"));
    assert!(card::write(&request, &silent()).unwrap());
    let written = fs::read_to_string(release.path("child/README.md")).unwrap();
    assert_eq!(
        written,
        "---\n# ours\nlicense: mit # as the code\nbase_model: lab/base\ndatasets:\n- LAB/data # kept\n\
         tags:\n- en\n- \"1.0\"\n- \"no: way\"\nmodel-index:\n- name: m\n  results: []\nbase_model_relation: finetune\n---\n\
         # A model\n\n--- \n<b>body</b>\r\n"
    );
    assert!(!card::write(&request, &silent()).unwrap(), "a second time nothing changes");
    assert_eq!(fs::read_to_string(release.path("child/README.md")).unwrap(), written);
    request.policy = Some(release.path("keys/policy.toml"));
    assert_eq!(card::check(&request, &silent()).unwrap().state, State::Verified);
    if let Some(read) = valid("card", &release.path("child/README.md"), &[]) {
        assert_eq!(read["base_model"], "lab/base");
        assert_eq!(read["base_model_relation"], "finetune");
        assert_eq!((&read["datasets"], &read["tags"]), (&json!(["LAB/data"]), &json!(["en", "1.0", "no: way"])));
        assert_eq!(read["license"], "mit");
    }
    // Tags that are hard on YAML are read as the same text by the hub's own library.
    let hard =
        ["~", "yes", "1:30", "2026-01-01", "a #b", "- x", "é😀\u{a0}", "'\"\\", "&a *b", "{x}", "0x1f", "!!str", "<<"];
    let tags: Vec<String> = hard.iter().map(|tag| Value::from(*tag).to_string()).collect();
    request.answers =
        Some(release.answers(&format!("[hub]\ndata = \"lab/data\"\n[card]\ntags = [{}]\n", tags.join(", "))));
    fs::write(release.path("child/README.md"), "# New\n").unwrap();
    assert!(card::write(&request, &silent()).unwrap());
    assert!(fs::read_to_string(release.path("child/README.md")).unwrap().ends_with("---\n\n# New\n"));
    if let Some(read) = valid("card", &release.path("child/README.md"), &[]) {
        assert_eq!(read["tags"], json!(hard));
    }
}

#[test]
fn single_files_content_and_every_relation() {
    let release = Release::make();
    // A dataset of one file: its SHA-256 is signed, so no format needs the bytes.
    fs::write(release.path("data.csv"), "a,b\n1,2\n").unwrap();
    release.sign("data.csv", &[(Relation::DerivedFrom, "data")], &[]);
    let root = release.statement("data.csv").root().to_string();
    let sha256 = sha256_of(&release.path("data.csv"));
    let answers = release.answers(&ABOUT_DATA.replace("artifact.data", "artifact.\"data.csv\""));
    let (text, path) =
        release.export("data.csv", Format::Croissant, |request| request.answers = Some(answers)).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&document["distribution"][0]["sha256"], document["recordSet"].is_null()), (&json!(sha256), true));
    assert_eq!(document["prov:wasDerivedFrom"][0]["cm:relation"], "derived-from");
    valid("croissant", &path, &[]);
    fs::remove_file(path).unwrap();
    let (_, path) = release.export("data.csv", Format::Spdx, |_| ()).unwrap();
    if let Some(read) = valid("spdx", &path, &[]) {
        assert_eq!(read["hashes"]["data.csv"], json!({ "blake3": root, "sha256": sha256 }));
    }
    let (text, path) = release.export("data.csv", Format::Cyclonedx, |_| ()).unwrap();
    valid("cyclonedx", &path, &[]);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["metadata"]["component"]["hashes"][0]["content"], root);
    let (_, path) = release.export("data.csv", Format::Slsa, |_| ()).unwrap();
    if let Some(read) = valid("slsa", &path, &[]) {
        assert_eq!(read["subject"], json!({ "data.csv": { "blake3": root, "sha256": sha256 } }));
    }
    let (_, path) = release.export("data.csv", Format::Openlineage, |_| ()).unwrap();
    valid("openlineage", &path, &[]);

    // What a model generated: the edge runs the other way in SPDX.
    fs::write(release.path("answer.txt"), "42\n").unwrap();
    let mut request = sign::Request::new(release.path("answer.txt"), release.path("keys/owner.key"));
    request.kind = Some(Kind::GeneratedContent);
    let bundle = release.bundle("child");
    request.parents = vec![ParentRequest { relation: Relation::GeneratedBy, bundle, path: None }];
    sign::sign(&request, &silent()).unwrap();
    let (_, path) = release.export("answer.txt", Format::Spdx, |_| ()).unwrap();
    if let Some(read) = valid("spdx", &path, &[]) {
        assert!(read["relationships"].as_array().unwrap().contains(&json!(["child", "generates", ["answer.txt"]])));
    }
    let (_, path) = release.export("answer.txt", Format::Cyclonedx, |_| ()).unwrap();
    valid("cyclonedx", &path, &[]);

    // Every relation in every format, and the hub's word for it, if it has one.
    for relation in Relation::ALL {
        release.model("made", 3);
        release.sign("made", &[(*relation, "base")], &[]);
        for (name, format) in [
            ("spdx", Format::Spdx),
            ("cyclonedx", Format::Cyclonedx),
            ("slsa", Format::Slsa),
            ("openlineage", Format::Openlineage),
        ] {
            let (text, path) = release.export("made", format, |_| ()).unwrap();
            assert!(text.contains(relation.as_str()), "{relation} in {name}");
            if *relation == Relation::QuantisedFrom {
                valid(name, &path, &[]);
            }
        }
        let word = match relation {
            Relation::FineTunedFrom => "finetune",
            Relation::AdapterOf => "adapter",
            Relation::QuantisedFrom => "quantized",
            Relation::MergedFrom => "merge",
            // A base that is stated as data stands in another field of the card.
            Relation::TrainedOn => continue,
            _ => "",
        };
        let mut request = card::Request::new(release.path("made"));
        assert!(card::write(&request, &silent()).unwrap());
        let written = fs::read_to_string(release.path("made/README.md")).unwrap();
        assert!(written.contains("base_model: lab/base\n"), "{written}");
        assert_eq!(written.contains("base_model_relation"), !word.is_empty(), "{written}");
        request.policy = Some(release.path("keys/policy.toml"));
        let agreed = card::check(&request, &silent()).unwrap();
        assert_eq!(agreed.state, State::Verified, "{relation}: {agreed:#?}");
        for claimed in ["finetune", "adapter", "quantized", "merge"] {
            let text = format!("---\nbase_model: lab/base\nbase_model_relation: {claimed}\n---\n");
            fs::write(release.path("made/README.md"), text).unwrap();
            let expected = if claimed == word {
                State::Verified
            } else if word.is_empty() {
                State::Unknown
            } else {
                State::Invalid
            };
            assert_eq!(card::check(&request, &silent()).unwrap().state, expected, "{relation} {claimed}");
        }
    }
}

/// base → step, published nowhere known → final: a card may name the base in place of the step.
#[test]
fn a_parent_that_nobody_published_is_covered_by_its_own_ancestor() {
    let release = Release::make();
    release.model("step", 4);
    release.sign("step", &[(Relation::FineTunedFrom, "base")], &[]);
    release.model("child", 5);
    release.sign("child", &[(Relation::QuantisedFrom, "step")], &[]);
    let comparison = check(&release, "---\nbase_model: lab/base\n---\n", "");
    assert_eq!(comparison.state, State::Verified, "{comparison:#?}");
    assert!(comparison.checks.iter().any(|row| row.detail.contains("as an ancestor, not as a parent")));
    let comparison = check(&release, "---\nbase_model: lab/base\n---\n", "[hub]\nstep = \"lab/step\"\n");
    assert_eq!(comparison.state, State::Invalid, "a published parent must be named: {comparison:#?}");
    // The relation is that to the step, which the card does not name.
    let card = "---\nbase_model: lab/base\nbase_model_relation: quantized\n---\n";
    assert_eq!(check(&release, card, "").state, State::Unknown);
}
