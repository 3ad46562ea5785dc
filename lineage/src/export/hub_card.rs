//! The model card of a hub, beside the signed parents: what it claims, whether that agrees, and how to write it.
//!
//! A card names repositories, a statement names artifacts. What joins the two is the answers file (`[hub]`), or a process
//! parameter `hub` in the parent's own signed statement. Where neither is there, names cannot be compared, and that is
//! said; names that merely look alike prove nothing.

mod write;

use std::collections::{BTreeMap, BTreeSet};

use countermark_formats::front_matter::{FrontMatter, Value};
use serde::Serialize;

use super::answers::{Answers, HubPlace, is_repository};
use super::facts::{Facts, Node};
use crate::Error;
use crate::digest::Hash;
use crate::graph::{Kind, Relation};
use crate::verdict::{Check, State};

pub use write::write;

/// Larger cards are refused, in bytes.
pub const MAX_CARD: u64 = 16 << 20;

/// Schema of [`Comparison`]'s JSON form.
pub const SCHEMA: &str = "countermark.dev/card-check/v1";

/// Name of the process parameter by which a signer says where the artifact is published.
pub const HUB_PARAMETER: &str = "hub";

/// A card beside the signed parents.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Verified: agrees. Invalid: contradicts. Unknown: cannot be told.
    pub state: State,
    /// The artifact.
    pub name: String,
    /// One row for each claim of the card, and for each signed parent that it lacks.
    pub checks: Vec<Check>,
}

impl Comparison {
    /// Of rows, of which the worst decides.
    pub fn new(name: &str, checks: Vec<Check>) -> Self {
        let state = checks.iter().map(|row| row.state).max().unwrap_or(State::Verified);
        Comparison { schema: SCHEMA.to_owned(), state, name: name.to_owned(), checks }
    }
}

/// Where an artifact is published.
enum Place {
    Repository(String),
    Unpublished,
    Unknown,
}

fn place(answers: &Answers, node: &Node) -> Place {
    match answers.hub.get(&node.id.to_string()).or_else(|| answers.hub.get(&node.name)) {
        Some(HubPlace::Repository(id)) => return Place::Repository(id.clone()),
        Some(HubPlace::Published(_)) => return Place::Unpublished,
        None => {}
    }
    let process = node.statement.as_ref().and_then(|statement| statement.predicate.process.as_ref());
    match process.and_then(|process| process.parameters.get(HUB_PARAMETER)) {
        Some(id) if is_repository(id) => Place::Repository(id.clone()),
        _ => Place::Unknown,
    }
}

/// The hub's word for a relation; it has none for the others.
fn word(relation: Relation) -> Option<&'static str> {
    match relation {
        Relation::FineTunedFrom => Some("finetune"),
        Relation::AdapterOf => Some("adapter"),
        Relation::QuantisedFrom => Some("quantized"),
        Relation::MergedFrom => Some("merge"),
        _ => None,
    }
}

/// Which field of a card names such an ancestor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Field {
    BaseModel,
    Datasets,
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Field::BaseModel => "base_model",
            Field::Datasets => "datasets",
        }
    }
}

fn is_dataset(relation: Relation, parent: &Node) -> bool {
    relation == Relation::TrainedOn || matches!(parent.kind(), Some(Kind::Dataset | Kind::Shard))
}

/// The signed side: direct parents with their relations, all ancestors by field, and where each is published.
struct Signed<'a> {
    facts: &'a Facts,
    places: BTreeMap<Hash, Place>,
    datasets: BTreeSet<Hash>,
    /// The ancestors by the name that a claim would have, in lower case: the hub does not tell the cases apart.
    named: BTreeMap<(Field, String), Vec<&'a Node>>,
}

impl<'a> Signed<'a> {
    fn new(facts: &'a Facts, answers: &Answers) -> Self {
        let places = facts.nodes().iter().map(|node| (node.id, place(answers, node))).collect();
        let datasets = facts.datasets().into_iter().map(|node| node.id).collect();
        let mut signed = Signed { facts, places, datasets, named: BTreeMap::new() };
        for field in [Field::BaseModel, Field::Datasets] {
            let ancestors: Vec<&Node> = signed.ancestors(field).collect();
            for node in ancestors {
                let name = match signed.place(node) {
                    Place::Repository(id) => id,
                    Place::Unknown if node.name.contains('/') => &node.name,
                    _ => continue,
                };
                let key = (field, name.to_ascii_lowercase());
                signed.named.entry(key).or_default().push(node);
            }
        }
        signed
    }

    /// The artifact's own parents that belong into `field`, each once with all its relations.
    fn parents(&self, field: Field) -> Vec<(&'a Node, Vec<Relation>)> {
        let mut parents: Vec<(&Node, Vec<Relation>)> = vec![];
        for (relation, parent) in self.facts.parents(self.facts.artifact()) {
            if is_dataset(relation, parent) != (field == Field::Datasets) {
                continue;
            }
            match parents.iter_mut().find(|(other, _)| other.id == parent.id) {
                Some((_, relations)) => relations.push(relation),
                None => parents.push((parent, vec![relation])),
            }
        }
        parents
    }

    /// All ancestors that could stand in `field`.
    fn ancestors(&self, field: Field) -> impl Iterator<Item = &'a Node> {
        let wanted = field == Field::Datasets;
        self.facts.nodes()[1..].iter().filter(move |node| self.datasets.contains(&node.id) == wanted)
    }

    fn place(&self, node: &Node) -> &Place {
        self.places.get(&node.id).unwrap_or(&Place::Unknown)
    }

    /// The ancestors that are published under the repository of a claim.
    fn named(&self, field: Field, claim: &str) -> &[&'a Node] {
        self.named.get(&(field, claim.to_ascii_lowercase())).map_or(&[], |nodes| nodes)
    }

    /// These and everything that was made from them.
    fn below(&self, ids: &BTreeSet<Hash>) -> BTreeSet<Hash> {
        let (mut queue, mut seen): (Vec<&Node>, _) =
            (ids.iter().filter_map(|id| self.facts.node(id)).collect(), ids.clone());
        while let Some(node) = queue.pop() {
            queue.extend(self.facts.children(node).filter(|child| seen.insert(child.id)));
        }
        seen
    }
}

/// What a card claims.
#[derive(Default)]
struct Claims {
    base_models: Vec<String>,
    datasets: Vec<String>,
    /// The relation as claimed, once by field and once by each tag that names one.
    relations: BTreeSet<String>,
    /// Fields that hold something else than text or a list of texts.
    unreadable: Vec<&'static str>,
}

impl Claims {
    fn of(front: &FrontMatter) -> Self {
        let mut claims = Claims::default();
        for field in ["base_model", "datasets", "base_model_relation", "tags"] {
            let values = match front.get(field) {
                None | Some(Value::Null) => vec![],
                Some(Value::Text(text)) => vec![text.clone()],
                Some(Value::List(items)) => items.clone(),
                Some(Value::Other) => {
                    claims.unreadable.push(field);
                    vec![]
                }
            };
            match field {
                "base_model" => claims.base_models.extend(values),
                "datasets" => claims.datasets.extend(values),
                "base_model_relation" => claims.relations.extend(values),
                // The hub writes its findings as tags, so a tag is a claim to a reader.
                _ => values.iter().for_each(|tag| claims.tag(tag)),
            }
        }
        let mut seen = BTreeSet::new();
        claims.base_models.retain(|claim| seen.insert(claim.to_ascii_lowercase()));
        let mut seen = BTreeSet::new();
        claims.datasets.retain(|claim| seen.insert(claim.to_ascii_lowercase()));
        claims
    }

    fn tag(&mut self, tag: &str) {
        if let Some(rest) = tag.strip_prefix("base_model:") {
            match rest.split_once(':') {
                Some((relation, id)) => {
                    self.relations.insert(relation.to_owned());
                    self.base_models.push(id.to_owned());
                }
                None => self.base_models.push(rest.to_owned()),
            }
        } else if let Some(id) = tag.strip_prefix("dataset:") {
            self.datasets.push(id.to_owned());
        }
    }

    fn in_field(&self, field: Field) -> &[String] {
        match field {
            Field::BaseModel => &self.base_models,
            Field::Datasets => &self.datasets,
        }
    }
}

/// Compares a card's claims with the signed parents.
///
/// # Errors
/// [`Error::Input`] when the card's front matter could be read in two ways, [`Error::Usage`] when the artifact is no model.
pub fn check(facts: &Facts, answers: &Answers, card: &str) -> Result<Comparison, Error> {
    refuse_others(facts)?;
    let claims = Claims::of(&parse(card)?);
    let signed = Signed::new(facts, answers);
    let mut rows = vec![];
    for field in &claims.unreadable {
        let detail = "holds something nested, where text or a list of texts is expected";
        rows.push(Check::new(*field, State::Unknown, detail));
    }
    for field in [Field::BaseModel, Field::Datasets] {
        compare(&signed, field, claims.in_field(field), &mut rows);
    }
    relations(&signed, &claims, &mut rows);
    if rows.is_empty() {
        rows.push(Check::new("card", State::Verified, "claims no parent, and none is signed"));
    }
    Ok(Comparison::new(&facts.artifact().name, rows))
}

fn parse(card: &str) -> Result<FrontMatter, Error> {
    let help = "mend the card's front matter; nothing was compared or written";
    FrontMatter::parse(card).map_err(|error| Error::input("README.md", error.to_string(), help))
}

fn refuse_others(facts: &Facts) -> Result<(), Error> {
    match facts.statement().predicate.kind {
        Kind::Model | Kind::Adapter => Ok(()),
        kind => Err(Error::usage(
            format!("{:?} is a {kind}, and only the cards of models and adapters name parents", facts.artifact().name),
            "name the bundle of a model; the card of a dataset is part of what was signed",
        )),
    }
}

fn compare(signed: &Signed<'_>, field: Field, claims: &[String], rows: &mut Vec<Check>) {
    let parents = signed.parents(field);
    let mut found: BTreeSet<Hash> = BTreeSet::new();
    let mut unresolved = false;
    let nameless = signed.ancestors(field).filter(|node| matches!(signed.place(node), Place::Unknown));
    let nameless: Vec<&str> = nameless.map(|node| &*node.name).take(8).collect();
    for claim in claims {
        let row = format!("{} {claim}", field.name());
        let named = signed.named(field, claim);
        found.extend(named.iter().map(|node| node.id));
        let direct = parents.iter().find(|(parent, _)| named.iter().any(|node| node.id == parent.id));
        if let Some((parent, relations)) = direct {
            let relations: Vec<&str> = relations.iter().map(|relation| relation.as_str()).collect();
            let detail =
                format!("is signed: {} {}, statement {}", relations.join(", "), parent.name, parent.id.short());
            rows.push(Check::new(row, State::Verified, detail));
        } else if let Some(node) = named.first() {
            let detail =
                format!("is signed as an ancestor, not as a parent: {}, statement {}", node.name, node.id.short());
            rows.push(Check::new(row, State::Verified, detail));
        } else {
            if nameless.is_empty() {
                rows.push(Check::new(row, State::Invalid, "is claimed by the card, and no such parent is signed"));
            } else {
                unresolved = true;
                let detail = format!(
                    "names cannot be compared: nobody stated where these are published: {}; answer [hub] {:?} = …",
                    nameless.join(", "),
                    nameless[0]
                );
                rows.push(Check::new(row, State::Unknown, detail));
            }
        }
    }
    let covered = signed.below(&found);
    for (parent, relations) in &parents {
        if found.contains(&parent.id) {
            continue;
        }
        let row = format!("signed parent {}", parent.name);
        let relation = relations.first().map_or("", |relation| relation.as_str());
        let (state, detail) = match signed.place(parent) {
            Place::Unpublished => (State::Verified, "is published nowhere, so the card need not name it".to_owned()),
            Place::Repository(id) => {
                (State::Invalid, format!("{id} ({relation}) is missing from the card's {}", field.name()))
            }
            Place::Unknown if covered.contains(&parent.id) => {
                (State::Verified, format!("({relation}) stands in the card by an ancestor of its own"))
            }
            Place::Unknown if unresolved => {
                (State::Unknown, format!("({relation}) may be one of those that cannot be compared"))
            }
            Place::Unknown => (State::Invalid, format!("({relation}) is missing from the card's {}", field.name())),
        };
        rows.push(Check::new(row, state, detail));
    }
}

fn relations(signed: &Signed<'_>, claims: &Claims, rows: &mut Vec<Check>) {
    let parents = signed.parents(Field::BaseModel);
    let named: BTreeSet<Hash> =
        claims.base_models.iter().flat_map(|claim| signed.named(Field::BaseModel, claim)).map(|node| node.id).collect();
    let claimed: Vec<_> = parents.iter().filter(|(parent, _)| named.contains(&parent.id)).collect();
    for relation in &claims.relations {
        let row = format!("base_model_relation {relation}");
        if claimed.is_empty() {
            rows.push(Check::new(row.clone(), State::Unknown, "no parent that the card names could be compared"));
        }
        for (parent, relations) in &claimed {
            let words: Vec<&str> = relations.iter().filter_map(|relation| word(*relation)).collect();
            let stated: Vec<&str> = relations.iter().map(|relation| relation.as_str()).collect();
            let stated = stated.join(", ");
            let (state, detail) = if words.contains(&&**relation) {
                (State::Verified, format!("is signed: {stated} {}", parent.name))
            } else if words.is_empty() {
                (State::Unknown, format!("the hub has no word for {stated}, which is signed of {}", parent.name))
            } else {
                (State::Invalid, format!("differs: {stated} is signed of {}", parent.name))
            };
            rows.push(Check::new(row.clone(), state, detail));
        }
    }
}
