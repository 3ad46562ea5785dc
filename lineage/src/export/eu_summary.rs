//! The public summary of training content under Article 53(1)(d) of the EU AI Act (Regulation (EU) 2024/1689), by the
//! Commission's template C(2025) 8311, as Markdown or JSON.
//!
//! Sections 1 and 2 come from the graph: the model's dependencies are its parents, the sources are the datasets of the
//! whole ancestry, under the category that a person answers. Section 3 says what a person answers and nothing else.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::answers::{Answers, Category, stated};
use super::facts::{Facts, Node};
use super::text::markdown;
use super::{NOT_STATED, to_text};
use crate::Error;
use crate::graph::{Kind, Relation};

/// One numbered section: labelled fields.
struct Section {
    number: &'static str,
    title: &'static str,
    fields: Vec<(String, Field)>,
}

/// What stands in a field. Nothing stated is not the same as none.
enum Field {
    Missing,
    Text(String),
    List(Vec<String>),
}

impl Field {
    fn text(answer: &str) -> Field {
        stated(answer).map_or(Field::Missing, |text| Field::Text(text.to_owned()))
    }

    fn list(items: Vec<String>) -> Field {
        if items.is_empty() { Field::Missing } else { Field::List(items) }
    }
}

/// The summary for people.
///
/// # Errors
/// [`Error::Usage`] when the artifact is not a model.
pub fn to_markdown(facts: &Facts, answers: &Answers) -> Result<String, Error> {
    let mut out = format!("# Public summary of training content: {}\n\n", markdown(&facts.artifact().name));
    let _ = writeln!(out, "{}\n", markdown(&preamble(facts)));
    for section in sections(facts, answers)? {
        let level = if section.number.contains('.') { "###" } else { "##" };
        let _ = writeln!(out, "{level} {}\\. {}\n", section.number.replace('.', "\\."), section.title);
        for (label, field) in &section.fields {
            let _ = match field {
                Field::Missing => writeln!(out, "- **{}:** *{NOT_STATED}*", markdown(label)),
                Field::Text(text) => writeln!(out, "- **{}:** {}", markdown(label), markdown(text)),
                Field::List(items) => {
                    let items: String = items.iter().map(|item| format!("  - {}\n", markdown(item))).collect();
                    write!(out, "- **{}:**\n{items}", markdown(label))
                }
            };
        }
        if !section.fields.is_empty() {
            out.push('\n');
        }
    }
    out.push_str("## Signed statements\n\nWhat this was made from:\n\n| artifact | kind | signer | statement |\n|---|---|---|---|\n");
    for node in facts.nodes() {
        let (kind, signer) = match &node.statement {
            Some(statement) => (statement.predicate.kind.as_str(), statement.predicate.signer.to_string()),
            None => (NOT_STATED, NOT_STATED.to_owned()),
        };
        let _ = writeln!(out, "| {} | {kind} | {} | {} |", markdown(&node.name), markdown(&signer), node.id);
    }
    Ok(out)
}

/// The summary for programs; a field that nobody stated is null.
///
/// # Errors
/// As [`to_markdown`].
pub fn to_json(facts: &Facts, answers: &Answers) -> Result<String, Error> {
    let section = |section: Section| {
        let field = |(label, field): (String, Field)| {
            let value = match field {
                Field::Missing => Value::Null,
                Field::Text(text) => json!(text),
                Field::List(items) => json!(items),
            };
            json!({ "label": label, "value": value })
        };
        let fields: Vec<Value> = section.fields.into_iter().map(field).collect();
        json!({ "number": section.number, "title": section.title, "fields": fields })
    };
    let statements: Vec<Value> = facts
        .nodes()
        .iter()
        .map(|node| {
            json!({
                "name": node.name,
                "kind": node.kind().map(Kind::as_str),
                "root": node.root.to_string(),
                "statement": node.id.to_string(),
                "signer": node.statement.as_ref().map(|statement| statement.predicate.signer.to_string()),
            })
        })
        .collect();
    Ok(to_text(&json!({
        "schema": "countermark.dev/eu-summary/v1",
        "template": "C(2025) 8311",
        "note": preamble(facts),
        "sections": sections(facts, answers)?.into_iter().map(section).collect::<Vec<_>>(),
        "statements": statements,
    })))
}

fn preamble(facts: &Facts) -> String {
    format!(
        "Generated from {} signed statements, beginning with {}, and from what a person answered. It follows the template \
         of Article 53(1)(d) of Regulation (EU) 2024/1689, says \"{NOT_STATED}\" where nobody stated anything, and is not \
         legal advice.",
        facts.nodes().iter().filter(|node| node.statement.is_some()).count(),
        facts.artifact().id,
    )
}

fn sections(facts: &Facts, answers: &Answers) -> Result<Vec<Section>, Error> {
    let (model, eu) = (facts.artifact(), &answers.eu);
    let kind = facts.statement().predicate.kind;
    if !matches!(kind, Kind::Model | Kind::Adapter) {
        let problem = format!("{:?} is a {kind}, and the summary is about a model", model.name);
        return Err(Error::usage(problem, "name the bundle of the model"));
    }
    let about = |field: fn(&super::answers::About) -> &String| Field::text(answers.text(model, field).unwrap_or(""));
    let provider = &answers.provider;
    let contact = [stated(&provider.contact), stated(&provider.url)].into_iter().flatten().collect::<Vec<_>>();
    let sizes = eu.sizes.iter().map(|(modality, size)| format!("{modality}: {size}")).collect();
    let mut out = vec![
        Section {
            number: "1",
            title: "General information",
            fields: vec![
                ("Version of the summary".to_owned(), Field::text(&eu.summary_version)),
                ("Date of the statement".to_owned(), Field::Text(super::utc(facts.statement()))),
            ],
        },
        Section {
            number: "1.1",
            title: "Provider identification",
            fields: vec![
                ("Provider name".to_owned(), Field::text(&provider.name)),
                ("Contact details".to_owned(), Field::text(&contact.join(", "))),
                ("Authorised representative".to_owned(), Field::text(&provider.representative)),
            ],
        },
        Section {
            number: "1.2",
            title: "Model identification",
            fields: vec![
                ("Model name".to_owned(), Field::Text(model.name.clone())),
                ("Version".to_owned(), about(|about| &about.version)),
                ("Model dependencies".to_owned(), dependencies(facts, answers)),
                ("Date of placement on the Union market".to_owned(), Field::text(&eu.placed_on_market)),
            ],
        },
        Section {
            number: "1.3",
            title: "Modalities, overall size and other characteristics",
            fields: vec![
                ("Modalities".to_owned(), Field::list(answers.list(model, |about| &about.modalities).to_vec())),
                ("Training data size by modality".to_owned(), Field::list(sizes)),
                ("Latest date of data acquisition".to_owned(), Field::text(&eu.latest_data)),
                ("Training goes on with new data".to_owned(), Field::text(&eu.continuous)),
                ("Linguistic characteristics".to_owned(), Field::text(&eu.linguistic)),
            ],
        },
        Section { number: "2", title: "List of data sources", fields: vec![] },
    ];
    let datasets = facts.datasets();
    let category = |node: &Node| answers.about(node).and_then(|about| about.category);
    for (number, title, wanted) in SOURCES {
        let of_category = datasets.iter().filter(|node| category(node) == Some(*wanted));
        let fields: Vec<_> = of_category.map(|node| (node.name.clone(), source(facts, answers, node))).collect();
        // No dataset of a category among the signed ones does not mean that there was none.
        let fields = if fields.is_empty() { vec![("Datasets".to_owned(), Field::Missing)] } else { fields };
        out.push(Section { number, title, fields });
    }
    let unsorted: Vec<_> = datasets
        .iter()
        .filter(|node| category(node).is_none())
        .map(|node| (node.name.clone(), source(facts, answers, node)))
        .collect();
    if !unsorted.is_empty() {
        out.push(Section { number: "2.7", title: "Signed datasets whose category nobody stated", fields: unsorted });
    }
    out.push(Section { number: "3", title: "Data processing aspects", fields: vec![] });
    for (number, title, answer) in [
        ("3.1", "Respect of reservation of rights from text and data mining", &eu.opt_outs),
        ("3.2", "Removal of illegal content", &eu.illegal_content),
        ("3.3", "Other information", &eu.other),
    ] {
        out.push(Section { number, title, fields: vec![("Measures".to_owned(), Field::text(answer))] });
    }
    Ok(out)
}

const SOURCES: &[(&str, &str, Category)] = &[
    ("2.1", "Publicly available datasets", Category::Public),
    ("2.2.1", "Datasets commercially licensed by rightsholders", Category::Licensed),
    ("2.2.2", "Private datasets obtained from other third parties", Category::Private),
    ("2.3", "Data crawled and scraped from online sources", Category::Crawled),
    ("2.4", "User data", Category::User),
    ("2.5", "Synthetic data", Category::Synthetic),
    ("2.6", "Other sources of data", Category::Other),
];

/// The models it comes from: its own parents that are no datasets.
fn dependencies(facts: &Facts, answers: &Answers) -> Field {
    let parents = facts.parents(facts.artifact()).filter(|(relation, _)| *relation != Relation::TrainedOn);
    let line = |(relation, parent): (Relation, &Node)| {
        let url = answers.text(parent, |about| &about.url).unwrap_or("address not stated");
        format!("{} ({relation}; {url}; statement {})", parent.name, parent.id)
    };
    Field::list(parents.map(line).collect())
}

fn source(facts: &Facts, answers: &Answers, node: &Node) -> Field {
    let mut lines = vec![];
    let mut line = |label: &str, value: Option<&str>| lines.push(format!("{label}: {}", value.unwrap_or(NOT_STATED)));
    let list = |items: &[String]| (!items.is_empty()).then(|| items.join(", "));
    line("Address", answers.text(node, |about| &about.url));
    line("Description", answers.text(node, |about| &about.description));
    line("Modalities", list(answers.list(node, |about| &about.modalities)).as_deref());
    line("Size", answers.text(node, |about| &about.size));
    line("Licence", answers.text(node, |about| &about.license));
    if let Some(about) = answers.about(node) {
        match about.category {
            Some(Category::Crawled) => {
                line("Crawlers", list(&about.crawlers).as_deref());
                line("Period of collection", stated(&about.crawl_period));
                line("Main domains", list(&about.domains).as_deref());
            }
            Some(Category::Synthetic) => line("Generated by", list(&about.generators).as_deref()),
            _ => {}
        }
    }
    if let Some(statement) = &node.statement {
        let listing = &statement.predicate.listing;
        line("Signed content", Some(&format!("{} bytes in {} files", listing.total_size(), listing.files().len())));
    }
    line("Statement", Some(&node.id.to_string()));
    let users: Vec<String> = facts.children(node).map(|child| child.name.clone()).collect();
    line("Used by", list(&users).as_deref());
    Field::List(lines)
}
