//! Names are foreign text: whatever name a statement may hold comes out of each format's own parser as it went in.

use std::collections::BTreeMap;

use countermark_lineage::bundle::{Bundle, Record};
use countermark_lineage::credential::dsse::Envelope;
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::artifact::Measured;
use countermark_lineage::digest::listing::{File, Listing};
use countermark_lineage::export::{Answers, Facts, answers, croissant, cyclonedx, eu_summary, openlineage, slsa, spdx};
use countermark_lineage::graph::statement::{Parent, Predicate, Process, Release, Statement, check_name, rfc3339};
use countermark_lineage::graph::{Kind, Relation};
use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use serde_json::Value;

/// A folder of these files.
fn artifact(
    name: &str,
    kind: Kind,
    files: &[&str],
    parents: Vec<Parent>,
    process: Option<Process>,
) -> (Record, Parent) {
    let key = SigningKey::from_bytes(&[7; 32]);
    let file = |path: &&str| File { path: (*path).to_owned(), size: 1, blake3: Hash::blake3(path.as_bytes()) };
    let listing = Listing::new(files.iter().map(file).collect()).unwrap();
    let measured = Measured {
        root: listing.root(),
        listing: listing.clone(),
        card: None,
        manifest_asset: Hash::sha256(listing.to_text().as_bytes()),
    };
    let predicate = Predicate {
        kind,
        created: rfc3339(1_800_000_000),
        folder: true,
        listing,
        card: None,
        tensors: None,
        records: None,
        parents,
        process,
        evidence: vec![],
        release: Release { manifest: false, log: None },
        signer: key.verifying_key().into(),
    };
    let payload = Statement::new(name, &measured, predicate).to_payload();
    let parent = Parent {
        relation: Relation::TrainedOn,
        name: name.to_owned(),
        statement: Hash::sha256(&payload),
        root: measured.root,
    };
    let statement = Envelope::sign(&payload, &key).unwrap();
    (Record { statement, manifest: None, receipt: None, marks: vec![] }, parent)
}

/// Names of a model, of its dataset, of a file of each, and of a process parameter.
struct Names {
    model: String,
    data: String,
    file: String,
    parameter: String,
}

fn facts(names: &Names) -> (Facts, Facts) {
    let (data, edge) = artifact(&names.data, Kind::Dataset, &[&names.file], vec![], None);
    let process = Process { parameters: [(names.parameter.clone(), names.model.clone())].into(), revision: None };
    let (model, _) = artifact(&names.model, Kind::Model, &[&names.file], vec![edge], Some(process));
    let of = |records: Vec<Record>| Facts::of(&Bundle::new(records)).unwrap();
    (of(vec![model, data.clone()]), of(vec![data]))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn strings(value: &Value, key: &str) -> Vec<String> {
    let mut found = vec![];
    let mut queue = vec![value];
    while let Some(value) = queue.pop() {
        match value {
            Value::Array(items) => queue.extend(items),
            Value::Object(fields) => {
                found.extend(fields.get(key).and_then(Value::as_str).map(str::to_owned));
                queue.extend(fields.values());
            }
            _ => {}
        }
    }
    found
}

/// What a reader of the Markdown sees: the cells of tables and the paragraphs, and whether anything else is in it.
fn rendered(markdown: &str) -> (Vec<String>, bool) {
    let (mut texts, mut text, mut clean) = (vec![], String::new(), true);
    for event in
        Parser::new_ext(markdown, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_FOOTNOTES)
    {
        match event {
            Event::Text(part) => text.push_str(&part),
            Event::Start(
                Tag::Link { .. } | Tag::Image { .. } | Tag::HtmlBlock | Tag::CodeBlock(_) | Tag::FootnoteDefinition(_),
            )
            | Event::Html(_)
            | Event::InlineHtml(_)
            | Event::Code(_)
            | Event::FootnoteReference(_)
            | Event::Rule => clean = false,
            Event::End(TagEnd::TableCell | TagEnd::Paragraph | TagEnd::Strong | TagEnd::Heading(_) | TagEnd::Item) => {
                texts.push(std::mem::take(&mut text));
            }
            _ => {}
        }
    }
    (texts, clean)
}

fn check(names: &Names) {
    let (model, data) = facts(names);
    let none = Answers::default();
    let has = |found: &[String], name: &str| assert!(found.iter().any(|found| found == name), "{name:?} in {found:?}");

    for document in [cyclonedx::export(&model, &none, None), spdx::export(&model, &none, None)] {
        let found = strings(&json(&document), "name");
        [&names.model, &names.data, &names.file].iter().for_each(|name| has(&found, name));
    }
    let found = strings(&json(&cyclonedx::export(&model, &none, None)), "name");
    has(&found, &format!("countermark:process:{}", names.parameter));
    let document = json(&slsa::export(&model, None));
    has(&strings(&document, "name"), &names.file);
    has(&strings(&document, "name"), &names.data);
    assert_eq!(document["predicate"]["buildDefinition"]["externalParameters"]["artifact"], *names.model);
    let parameters = &document["predicate"]["buildDefinition"]["externalParameters"]["parameters"];
    assert_eq!(parameters[&names.parameter], *names.model);

    let events = openlineage::export(&model);
    let events: Vec<Value> = events.lines().map(json).collect();
    assert_eq!(events.len(), 2, "a name must not begin a line");
    assert_eq!(events[1]["inputs"][0]["name"], *names.data);
    assert_eq!(events[1]["outputs"][0]["name"], *names.model);

    let mut text = format!("schema = {:?}\n", answers::SCHEMA);
    let key = Value::from(names.data.clone());
    let sha256 = Hash::sha256(b"x");
    let file = Value::from(names.file.clone());
    text += &format!(
        "[artifact.{key}]\ndescription = {key}\nlicense = {key}\nurl = \"https://example.org/\"\nreleased = \"2026-01-01\"\n\
         creator = {key}\nsha256 = {{ {file} = \"{sha256}\" }}\n"
    );
    let answered = Answers::parse(&text, &data).unwrap();
    if names.data.trim().is_empty() {
        // An answer of white space says nothing.
        assert!(croissant::export(&data, &answered, None).is_err());
    } else {
        let document = json(&croissant::export(&data, &answered, None).unwrap());
        assert_eq!(document["name"], *names.data);
        assert_eq!(document["distribution"][0]["name"], *names.file);
        let id = document["distribution"][0]["@id"].as_str().unwrap();
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%/".contains(&byte)), "{id}");
        spdx::export(&data, &answered, None);
        cyclonedx::export(&data, &answered, None);
    }
    // The template names every artifact by a key that reads back.
    Answers::parse(&answers::template(&model), &model).unwrap();

    let (texts, clean) = rendered(&eu_summary::to_markdown(&model, &none).unwrap());
    assert!(clean, "{names}", names = names.model);
    has(&texts, &names.model);
    has(&texts, &names.data);
    assert_eq!(texts[0], format!("Public summary of training content: {}", names.model));
    let summary = json(&eu_summary::to_json(&model, &none).unwrap());
    has(&strings(&summary, "name"), &names.data);
    has(&strings(&summary, "value"), &names.model);
}

fn name() -> impl Strategy<Value = String> {
    let sign = prop::sample::select(
        "|<>&\"'`*_[](){}#+-.!\\~:/@$%^=;,? \u{a0}\u{2003}wwwhttps1aé".chars().collect::<Vec<_>>(),
    );
    let part = prop_oneof![6 => sign, 1 => any::<char>()];
    prop::collection::vec(part, 1..30)
        .prop_map(String::from_iter)
        .prop_filter("a legal name", |name| check_name(name).is_ok())
}

fn path() -> impl Strategy<Value = String> {
    let legal = |path: &String| countermark_lineage::digest::listing::check_path(path).is_ok();
    name().prop_map(|name| name.replace(['\\', '/'], "_")).prop_filter("a legal path", legal)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_name_comes_out_as_it_went_in((model, data, file, parameter) in (name(), name(), path(), name())) {
        check(&Names { model, data, file, parameter });
    }
}

#[test]
fn names_that_attack_a_format() {
    for name in [
        "\",\"bomFormat\":\"x",
        "<script>alert(1)</script>",
        "](https://evil.example) [x",
        "| a | b |",
        "| not stated |",
        "`code`",
        "![x](https://evil.example/x.png)",
        "<!-- hidden -->",
        "&lt;b&gt;",
        "&#60;",
        "# heading",
        "1. item",
        "- item",
        "[x]: https://evil.example",
        "[^1]",
        "www.evil.example",
        "https://evil.example",
        "a@evil.example",
        "*not stated*",
        "~~gone~~",
        " leading and trailing ",
        "a  b",
        "...",
        "---",
        "\\",
        "\\|",
        "{{ template }}",
        "${x}",
        "$x$",
        "\u{a0}",
    ] {
        let file = name.replace(['\\', '/'], "_").replace("...", "dots");
        check(&Names { model: name.into(), data: name.into(), file, parameter: name.into() });
    }
}

/// Two artifacts of one name stay two, and an answer must say which is meant.
#[test]
fn a_name_that_two_artifacts_have_cannot_be_answered_by_name() {
    let names = Names { model: "same".into(), data: "same".into(), file: "f".into(), parameter: "p".into() };
    let (model, _) = facts(&names);
    let text = |key: &str| format!("schema = {:?}\n[artifact.{key:?}]\nlicense = \"MIT\"\n", answers::SCHEMA);
    let error = Answers::parse(&text("same"), &model).unwrap_err().to_string();
    assert!(error.contains("several artifacts"), "{error}");
    let id = model.nodes()[1].id.to_string();
    let answered = Answers::parse(&text(&id), &model).unwrap();
    assert_eq!(answered.text(&model.nodes()[1], |about| &about.license), Some("MIT"));
    assert_eq!(answered.text(model.artifact(), |about| &about.license), None);
    let document = json(&spdx::export(&model, &answered, None));
    let ids: BTreeMap<String, usize> = strings(&document, "spdxId").into_iter().fold(BTreeMap::new(), |mut ids, id| {
        *ids.entry(id).or_default() += 1;
        ids
    });
    assert!(ids.values().all(|count| *count == 1), "{ids:?}");
}

#[test]
fn answers_that_say_nothing_or_too_much() {
    let names = Names { model: "m".into(), data: "d".into(), file: "f".into(), parameter: "p".into() };
    let (model, data) = facts(&names);
    let parse = |text: &str| Answers::parse(&format!("schema = {:?}\n{text}", answers::SCHEMA), &model);
    assert!(parse("").is_ok());
    for (text, reason) in [
        ("unknown = 1", "unknown"),
        ("[artifact.stranger]\nlicense = \"MIT\"", "no artifact of this bundle"),
        ("[artifact.m]\nurl = \"javascript:alert(1)\"", "web address"),
        ("[artifact.m]\nurl = \"https://x/\\\" onload=\"", "web address"),
        ("[artifact.m]\nreleased = \"soon\"", "YYYY-MM-DD"),
        ("[hub]\nm = \"../x\"", "organisation/repository"),
        ("[hub]\nm = true", "says nothing"),
        ("[card]\ntags = [\"a\\nb\"]", "no tag"),
        ("[artifact.m]\nsha256 = { f = \"12\" }", "hexadecimal"),
    ] {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
    let error = Answers::parse("", &model).unwrap_err().to_string();
    assert!(error.contains("schema"), "{error}");
    // A whole template of empty answers leaves every document as it is without one.
    let empty = Answers::parse(&answers::template(&model), &model).unwrap();
    assert_eq!(spdx::export(&model, &empty, None), spdx::export(&model, &Answers::default(), None));
    assert_eq!(cyclonedx::export(&model, &empty, None), cyclonedx::export(&model, &Answers::default(), None));
    let error = croissant::export(&data, &empty_for(&data), None).unwrap_err().to_string();
    for key in ["description", "license", "url", "released", "creator"] {
        assert!(error.contains(&format!("[artifact.\"d\"] {key}")), "{error}");
    }
}

fn empty_for(facts: &Facts) -> Answers {
    Answers::parse(&answers::template(facts), facts).unwrap()
}

/// A long and wide ancestry takes time in proportion to its edges, not to their square.
#[test]
fn thousands_of_ancestors() {
    const COUNT: usize = 4001;
    let mut parents: Vec<Parent> = vec![];
    let mut records = vec![];
    for index in 0..COUNT {
        let kind = if index % 3 == 0 { Kind::Dataset } else { Kind::Model };
        let edges = parents.iter().rev().take(8).cloned().collect();
        let (record, mut edge) = artifact(&format!("artifact {index}"), kind, &["f"], edges, None);
        edge.relation = if index % 3 == 0 { Relation::TrainedOn } else { Relation::FineTunedFrom };
        records.push(record);
        parents.push(edge);
    }
    records.reverse();
    let start = std::time::Instant::now();
    let facts = Facts::of(&Bundle::new(records)).unwrap();
    let none = Answers::default();
    let lengths = [
        spdx::export(&facts, &none, None).len(),
        cyclonedx::export(&facts, &none, None).len(),
        openlineage::export(&facts).len(),
        slsa::export(&facts, None).len(),
    ];
    assert!(lengths.iter().all(|length| *length > 1000));
    let claims: String = (0..20_000).map(|claim| format!("- lab/m{claim}\n")).collect();
    let card = format!("---\nbase_model:\n{claims}---\n");
    let comparison = countermark_lineage::export::hub_card::check(&facts, &none, &card).unwrap();
    assert!(comparison.checks.len() > 20_000);
    assert!(eu_summary::to_markdown(&facts, &none).unwrap().contains("artifact 3"));
    let elapsed = start.elapsed();
    assert!(elapsed.as_secs() < 30, "{elapsed:?}");
    eprintln!("{COUNT} statements in five formats and a card: {elapsed:?}");
}
