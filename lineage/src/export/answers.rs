//! The answers file: what a person adds to an export, because no statement can know it.
//!
//! One TOML file, schema [`SCHEMA`]; [`template`] prints one with every key and what it is for. An empty text or list says
//! nothing, so a template that nobody filled in adds nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

use super::facts::{Facts, Node};
use crate::Error;
use crate::digest::Hash;
use crate::graph::Kind;
use crate::graph::statement::check_name;

/// Schema of the file.
pub const SCHEMA: &str = "countermark.dev/answers/v1";

/// What a person adds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Answers {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Who places the artifact on the market.
    pub provider: Provider,
    /// One table for each artifact, under its name in the statement, or under the id of its statement.
    pub artifact: BTreeMap<String, About>,
    /// Where each artifact is published on the hub, by name or statement id; `false` for one that is not published.
    pub hub: BTreeMap<String, HubPlace>,
    /// What a model card gets beside its parents.
    pub card: CardAnswers,
    /// What only the summary under the EU AI Act asks for.
    pub eu: EuAnswers,
}

/// Who places the artifact on the market.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provider {
    /// Name of the organisation.
    pub name: String,
    /// Web address.
    pub url: String,
    /// How to reach it.
    pub contact: String,
    /// Name and contact of the authorised representative in the EU.
    pub representative: String,
}

/// Where an artifact is published on the hub.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum HubPlace {
    /// `organisation/repository`.
    Repository(String),
    /// `false`: nowhere.
    Published(bool),
}

/// What a model card gets beside its parents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CardAnswers {
    /// Tags to add.
    pub tags: Vec<String>,
}

/// How a dataset came about, in the sections of the EU template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// Section 2.1.
    Public,
    /// Section 2.2.1.
    Licensed,
    /// Section 2.2.2.
    Private,
    /// Section 2.3.
    Crawled,
    /// Section 2.4.
    User,
    /// Section 2.5.
    Synthetic,
    /// Section 2.6.
    Other,
}

/// What a person adds about one artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct About {
    /// What it is, in a few sentences.
    pub description: String,
    /// SPDX licence expression, or the name of the licence.
    pub license: String,
    /// Page about it.
    pub url: String,
    /// Where its files are: the path of a file is appended.
    pub download: String,
    /// Version, as its maker counts.
    pub version: String,
    /// Day of release, `YYYY-MM-DD`.
    pub released: String,
    /// Who made it.
    pub creator: String,
    /// How to cite it.
    pub citation: String,
    /// text, image, audio, video, tabular, …
    pub modalities: Vec<String>,
    /// Languages of its content, BCP 47.
    pub languages: Vec<String>,
    /// Words to find it by.
    pub keywords: Vec<String>,
    /// How a dataset came about.
    pub category: Option<Category>,
    /// SHA-256 of its files by path, lower-case hex.
    pub sha256: BTreeMap<String, Hash>,
    /// Names of the crawlers.
    pub crawlers: Vec<String>,
    /// When it was crawled, such as `01/2025 to 03/2025`.
    pub crawl_period: String,
    /// Main domains.
    pub domains: Vec<String>,
    /// Size in the template's broad ranges, such as `less than 1 billion tokens`.
    pub size: String,
    /// Models that generated it.
    pub generators: Vec<String>,
}

/// What only the summary under the EU AI Act asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EuAnswers {
    /// Version of the summary.
    pub summary_version: String,
    /// Day on which the model was placed on the Union market.
    pub placed_on_market: String,
    /// Latest date of the data, `MM/YYYY`.
    pub latest_data: String,
    /// Whether training goes on with new data.
    pub continuous: String,
    /// Linguistic characteristics of all the data.
    pub linguistic: String,
    /// Size by modality, in the template's ranges.
    pub sizes: BTreeMap<String, String>,
    /// Section 3.1: reservations of rights (text and data mining).
    pub opt_outs: String,
    /// Section 3.2: removal of illegal content.
    pub illegal_content: String,
    /// Section 3.3.
    pub other: String,
}

impl Answers {
    /// Reads the TOML text, and checks that each table is about an artifact of the bundle.
    ///
    /// # Errors
    /// [`Error::Input`] naming the key.
    pub fn parse(text: &str, facts: &Facts) -> Result<Self, Error> {
        let help = "print a file with every key by `countermark lineage export BUNDLE --answers-template`";
        let refuse = |place: &str, problem: String| Err(Error::input(format!("answers {place}"), problem, help));
        let answers: Answers = match toml::from_str(text) {
            Ok(answers) => answers,
            Err(error) => return refuse("file", error.to_string().trim_end().to_owned()),
        };
        if answers.schema != SCHEMA {
            return refuse("schema", format!("{:?} is not {SCHEMA:?}", answers.schema));
        }
        for key in answers.artifact.keys().chain(answers.hub.keys()) {
            let of_id = Hash::parse(key).and_then(|id| facts.node(&id));
            match facts.count_named(key) {
                0 if of_id.is_some() => {}
                0 => return refuse(&format!("key {key:?}"), "is no artifact of this bundle".to_owned()),
                1 => {}
                _ => {
                    let problem = "is the name of several artifacts here: use the ids of their statements";
                    return refuse(&format!("key {key:?}"), problem.to_owned());
                }
            }
        }
        for (name, about) in &answers.artifact {
            let place = |field: &str| format!("[artifact.{name:?}] {field}");
            for (field, url) in [("url", &about.url), ("download", &about.download)] {
                check_url(&place(field), url)?;
            }
            if !about.released.is_empty() && !is_day(&about.released) {
                return refuse(&place("released"), format!("{:?} is not a day, YYYY-MM-DD", about.released));
            }
        }
        check_url("[provider] url", &answers.provider.url)?;
        for (name, place) in &answers.hub {
            match place {
                HubPlace::Repository(id) if !is_repository(id) => {
                    return refuse(&format!("[hub] {name:?}"), format!("{id:?} is not organisation/repository"));
                }
                HubPlace::Published(true) => {
                    let problem = "true says nothing: name the repository, or false for one that is not published";
                    return refuse(&format!("[hub] {name:?}"), problem.to_owned());
                }
                _ => {}
            }
        }
        if let Some(tag) = answers.card.tags.iter().find(|tag| check_name(tag).is_err()) {
            return refuse("[card] tags", format!("{tag:?} is no tag"));
        }
        Ok(answers)
    }

    /// What was answered about `node`: by its id first, then by its name.
    pub fn about(&self, node: &Node) -> Option<&About> {
        self.artifact.get(&node.id.to_string()).or_else(|| self.artifact.get(&node.name))
    }

    /// An answer about `node`, unless it is empty.
    pub fn text<'a>(&'a self, node: &Node, field: impl Fn(&'a About) -> &'a String) -> Option<&'a str> {
        self.about(node).and_then(|about| stated(field(about)))
    }

    /// Answers about `node` that are a list; empty when nobody answered.
    pub fn list<'a>(&'a self, node: &Node, field: impl Fn(&'a About) -> &'a Vec<String>) -> &'a [String] {
        self.about(node).map_or(&[], |about| field(about))
    }

    /// The key under which a person answers about `node`.
    pub fn key(node: &Node, field: &str) -> String {
        format!("[artifact.{:?}] {field}", node.name)
    }
}

/// `text`, unless it is empty.
pub fn stated(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

fn check_url(place: &str, url: &str) -> Result<(), Error> {
    let legal = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    if url.is_empty() || (is_web && url.bytes().all(legal)) {
        return Ok(());
    }
    let help = "write a whole web address, with other characters percent-encoded";
    Err(Error::input(format!("answers {place}"), format!("{url:?} is no web address"), help))
}

fn is_day(text: &str) -> bool {
    time::Date::parse(text, time::macros::format_description!("[year]-[month]-[day]")).is_ok()
}

/// `name` or `organisation/name`, of the characters that the hub allows.
pub fn is_repository(id: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let part = |part: &str| (1..=96).contains(&part.len()) && part.bytes().all(legal) && !part.starts_with(['.', '-']);
    let parts: Vec<&str> = id.split('/').collect();
    parts.len() <= 2 && parts.into_iter().all(part)
}

/// An answers file for this bundle, with every key empty and what each is for.
pub fn template(facts: &Facts) -> String {
    let mut out = format!(
        "# What no statement can know. Leave empty what you do not know: it is exported as \"not stated\".\n\
         schema = \"{SCHEMA}\"\n\n\
         [provider]\n\
         name = \"\"              # who places the model on the market\n\
         url = \"\"\n\
         contact = \"\"\n\
         representative = \"\"    # authorised representative in the EU, with contact\n\n\
         [card]\n\
         tags = []              # tags that `card write` adds\n\n\
         [hub]                  # where each is published; false for one that is not\n"
    );
    for node in facts.nodes() {
        let _ = writeln!(out, "# {} = \"organisation/repository\"", key(facts, node));
    }
    for node in facts.nodes() {
        let is_dataset = matches!(node.kind(), Some(Kind::Dataset | Kind::Shard) | None);
        let what = node.kind().map_or("statement missing", Kind::as_str);
        let _ = write!(
            out,
            "\n[artifact.{}]    # {what}, statement {}\n\
             description = \"\"\n\
             license = \"\"           # SPDX expression, such as Apache-2.0\n\
             url = \"\"               # page about it\n\
             download = \"\"          # where its files are; the path of a file is appended\n\
             version = \"\"\n\
             released = \"\"          # YYYY-MM-DD\n\
             creator = \"\"\n\
             citation = \"\"\n\
             modalities = []        # text, image, audio, video, tabular, …\n\
             languages = []\n\
             keywords = []\n",
            key(facts, node),
            node.id.short(),
        );
        if is_dataset {
            out.push_str(
                "# category = \"public\"    # public, licensed, private, crawled, user, synthetic, other\n\
                 sha256 = {}            # { \"train.csv\" = \"hex\" }, for Croissant without --path\n\
                 crawlers = []\n\
                 crawl_period = \"\"      # MM/YYYY to MM/YYYY\n\
                 domains = []\n\
                 size = \"\"              # in the broad ranges of the EU template\n\
                 generators = []        # models that generated it\n",
            );
        }
    }
    out.push_str(
        "\n[eu]                   # only for the summary under Article 53(1)(d)\n\
         summary_version = \"\"\n\
         placed_on_market = \"\"\n\
         latest_data = \"\"       # MM/YYYY\n\
         continuous = \"\"        # does training go on with new data?\n\
         linguistic = \"\"\n\
         sizes = {}             # { text = \"1 billion to 10 trillion tokens\" }\n\
         opt_outs = \"\"          # section 3.1: measures for reservations of rights\n\
         illegal_content = \"\"   # section 3.2\n\
         other = \"\"             # section 3.3\n",
    );
    out
}

/// The quoted TOML key of `node`: its name, or its id when another has the same name.
fn key(facts: &Facts, node: &Node) -> String {
    let key = if facts.count_named(&node.name) == 1 { node.name.clone() } else { node.id.to_string() };
    // A JSON string is a TOML basic string, but for DEL, which names cannot hold.
    serde_json::Value::from(key).to_string()
}
