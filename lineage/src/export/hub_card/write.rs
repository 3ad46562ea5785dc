//! Writes the signed parents into a card, and leaves everything else as it is.

use std::collections::BTreeSet;

use countermark_formats::front_matter::{Change, FrontMatter, Value};

use super::{Answers, Facts, Field, Place, Signed, parse, refuse_others, word};
use crate::Error;

/// The card with `base_model`, `base_model_relation`, `datasets` and `tags` as they are signed and answered.
///
/// What the card names already and what is an ancestor stays where it stands. A parent that is published nowhere is left
/// out.
///
/// # Errors
/// [`Error::Usage`] naming the parents of which nobody stated where they are published; [`Error::Input`] when the front
/// matter cannot be read or edited.
pub fn write(facts: &Facts, answers: &Answers, card: &str) -> Result<String, Error> {
    refuse_others(facts)?;
    let front = parse(card)?;
    let signed = Signed::new(facts, answers);
    let mut missing = BTreeSet::new();
    let mut changes = vec![];
    for field in [Field::BaseModel, Field::Datasets] {
        let mut values: Vec<String> = vec![];
        for claim in existing(&front, field.name())? {
            if !signed.named(field, &claim).is_empty() && !has(&values, &claim) {
                values.push(claim);
            }
        }
        for (parent, _) in signed.parents(field) {
            match signed.place(parent) {
                Place::Repository(id) if !has(&values, id) => values.push(id.clone()),
                Place::Unknown if !(parent.name.contains('/') && has(&values, &parent.name)) => {
                    missing.insert(format!("{:?}", parent.name));
                }
                _ => {}
            }
        }
        let change = match (field, &*values) {
            (_, []) => Change::Remove,
            (Field::BaseModel, [one]) => Change::Text(one.clone()),
            _ => Change::List(values),
        };
        changes.push((field.name(), change));
    }
    if !missing.is_empty() {
        let missing: Vec<String> = missing.into_iter().collect();
        return Err(Error::usage(
            format!("nobody stated where these parents are published: {}", missing.join(", ")),
            "answer [hub] NAME = \"organisation/repository\" for each, or false for one that is published nowhere",
        ));
    }
    // One word stands for all base models, so it is written only when all have it.
    let published = signed.parents(Field::BaseModel).into_iter();
    let published = published.filter(|(parent, _)| !matches!(signed.place(parent), Place::Unpublished));
    let words: BTreeSet<_> = published.flat_map(|(_, relations)| relations).map(word).collect();
    let relation = match words.into_iter().collect::<Vec<_>>()[..] {
        [Some(word)] => Change::Text(word.to_owned()),
        _ => Change::Remove,
    };
    changes.push(("base_model_relation", relation));

    let mut tags = existing(&front, "tags")?;
    let is_claim = |tag: &String| tag.starts_with("base_model:") || tag.starts_with("dataset:");
    // The hub derives these tags from the fields; left standing they could claim something else.
    tags.retain(|tag| !is_claim(tag));
    for tag in &answers.card.tags {
        if !has(&tags, tag) {
            tags.push(tag.clone());
        }
    }
    // A single tag written as text is as good as a list of one.
    let stands = match front.get("tags") {
        Some(Value::Text(text)) => tags == [text.clone()],
        None | Some(Value::Null) => tags.is_empty(),
        _ => false,
    };
    if !stands {
        changes.push(("tags", Change::List(tags)));
    }
    let help = "nothing was written";
    front.edit(card, &changes).map_err(|error| Error::input("README.md", error.to_string(), help))
}

fn has(values: &[String], value: &str) -> bool {
    values.iter().any(|other| other.eq_ignore_ascii_case(value))
}

fn existing(front: &FrontMatter, field: &str) -> Result<Vec<String>, Error> {
    match front.get(field) {
        None | Some(Value::Null) => Ok(vec![]),
        Some(Value::Text(text)) => Ok(vec![text.clone()]),
        Some(Value::List(items)) => Ok(items.clone()),
        Some(Value::Other) => {
            let problem = format!("{field} holds something nested, where text or a list of texts is expected");
            Err(Error::input("README.md", problem, "write it as a list of names; nothing was written"))
        }
    }
}
