//! What a signer declares of an artifact beside where it comes from: what others may do with it (CAWG training and data
//! mining), how it came about (digital source type), what it is (asset type), and which kind of model produced it
//! (`c2pa.ai-disclosure`). C2PA 2.2, sections 18.16, 18.28; the labels are those of the assertions.
//!
//! All of it is the signer's word. Nothing here can be checked against the bytes.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::c2pa::Refusal;
use super::manifest::Claim;
use crate::Error;
use crate::cbor::Value;
use crate::graph::{Kind, words};

/// Label of the assertion on what others may do with it.
pub const TRAINING_MINING: &str = "cawg.training-mining";
/// Label of the assertion on the model that produced it.
pub const DISCLOSURE: &str = "c2pa.ai-disclosure";
/// Label of the assertion on what it is.
pub const ASSET_TYPE: &str = "c2pa.asset-type.v2";

/// The IPTC's terms, <https://cv.iptc.org/newscodes/digitalsourcetype>.
const IPTC: &str = "http://cv.iptc.org/newscodes/digitalsourcetype/";
/// C2PA's own terms (2.2, 18.15.3).
const C2PA: &str = "http://c2pa.org/digitalsourcetype/";
/// A model made this, and it is no medium: weights, tables.
pub const TRAINED_ALGORITHMIC_DATA: &str = "http://c2pa.org/digitalsourcetype/trainedAlgorithmicData";
/// A model made this image, sound, film or text.
pub const TRAINED_ALGORITHMIC_MEDIA: &str = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia";

words! {
    /// What somebody may want to do with an artifact.
    Purpose, "purpose" {
        /// Train or fine-tune a model.
        AiTraining = "ai-training",
        /// Train or fine-tune a model that generates content.
        AiGenerativeTraining = "ai-generative-training",
        /// Give it to a model as input.
        AiInference = "ai-inference",
        /// Text and data mining without training.
        DataMining = "data-mining",
    }
}

words! {
    /// How far a person watched over the making of content.
    Oversight, "oversight" {
        /// Nobody gave a prompt or looked at it.
        FullyAutonomous = "fully_autonomous",
        /// A person gave the prompt.
        PromptGuided = "prompt_guided",
        /// A person looked at the result and let it pass.
        HumanValidated = "human_validated",
    }
}

/// Whether somebody may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// They may.
    Allowed,
    /// They may not.
    NotAllowed,
    /// They may under these conditions.
    Constrained(String),
}

/// `PURPOSE=allowed|not-allowed|constrained[:CONDITIONS]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingMining {
    /// What for.
    pub purpose: Purpose,
    /// Whether they may.
    pub permission: Permission,
}

impl std::str::FromStr for TrainingMining {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let help = "write PURPOSE=allowed, PURPOSE=not-allowed or PURPOSE=constrained:CONDITIONS";
        let Some((purpose, permission)) = text.split_once('=') else {
            return Err(Error::usage(format!("{text:?} names no permission"), help));
        };
        let (word, conditions) = permission.split_once(':').unwrap_or((permission, ""));
        let permission = match word {
            "constrained" => Permission::Constrained(conditions.trim().to_owned()),
            "allowed" if conditions.is_empty() => Permission::Allowed,
            "not-allowed" if conditions.is_empty() => Permission::NotAllowed,
            _ => return Err(Error::usage(format!("unknown permission {permission:?}"), help)),
        };
        Ok(TrainingMining { purpose: purpose.parse()?, permission })
    }
}

/// A term of the IPTC or of C2PA, such as `digitalCapture`, or a whole URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceType(String);

impl SourceType {
    /// The terms that need no URL.
    pub const TERMS: [&str; 17] = [
        "algorithmicMedia",
        "algorithmicallyEnhanced",
        "compositeCapture",
        "compositeSynthetic",
        "compositeWithTrainedAlgorithmicMedia",
        "computationalCapture",
        "dataDrivenMedia",
        "digitalArt",
        "digitalCapture",
        "digitalCreation",
        "humanEdits",
        "minorHumanEdits",
        "negativeFilm",
        "positiveFilm",
        "print",
        "screenCapture",
        "virtualRecording",
    ];

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for SourceType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_term = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let url = match text {
            "empty" | "trainedAlgorithmicData" => format!("{C2PA}{text}"),
            "trainedAlgorithmicMedia" | "composite" => format!("{IPTC}{text}"),
            term if Self::TERMS.contains(&term) => format!("{IPTC}{term}"),
            url if url.strip_prefix(IPTC).or(url.strip_prefix(C2PA)).is_some_and(is_term) => url.to_owned(),
            _ => {
                let terms = Self::TERMS.join(", ");
                let help = format!("use a URL below {IPTC} or {C2PA}, or one of {terms}, trainedAlgorithmicMedia");
                return Err(Error::usage(format!("unknown digital source type {text:?}"), help));
            }
        };
        Ok(SourceType(url))
    }
}

/// What an artifact is, in C2PA's words: `c2pa.types.model.onnx`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetType(String);

impl Default for AssetType {
    /// A model, whatever its framework.
    fn default() -> Self {
        AssetType("c2pa.types.model".to_owned())
    }
}

impl AssetType {
    /// The type.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for AssetType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parts = text.split('.').collect::<Vec<_>>();
        let is_word = |part: &&str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        // C2PA's own types, or those of a domain, in reverse order.
        if text.len() <= 200 && parts.len() >= 3 && parts.iter().all(is_word) {
            return Ok(AssetType(text.to_owned()));
        }
        let help = "write c2pa.types.model.pytorch, c2pa.types.dataset, or a type of a domain of yours, such as \
                    org.example.types.model";
        Err(Error::usage(format!("{text:?} is not an asset type"), help))
    }
}

/// Which kind of model produced content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disclosure {
    /// What the model is.
    pub model_type: AssetType,
    /// Name of the model.
    pub model_name: Option<String>,
    /// Identifier of the model, such as the id of its statement.
    pub model_identifier: Option<String>,
    /// How far a person watched.
    pub oversight: Option<Oversight>,
}

/// Everything that is declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// What others may do with it. The later word on a purpose counts.
    pub training_mining: Vec<TrainingMining>,
    /// How it came about; told from its kind when left out.
    pub source_type: Option<SourceType>,
    /// What it is; told from its kind and name when left out.
    pub asset_type: Option<AssetType>,
    /// Which kind of model produced it.
    pub disclosure: Option<Disclosure>,
}

impl Declared {
    /// The digital source type. `generated` says that a model made a dataset, `medium` that content is no plain data.
    pub fn source_type(&self, kind: Kind, generated: bool, medium: bool) -> &str {
        match (&self.source_type, kind) {
            (Some(given), _) => given.as_str(),
            (None, Kind::Model | Kind::Adapter) => TRAINED_ALGORITHMIC_DATA,
            (None, Kind::GeneratedContent) if medium => TRAINED_ALGORITHMIC_MEDIA,
            (None, Kind::GeneratedContent) => TRAINED_ALGORITHMIC_DATA,
            (None, _) if generated => TRAINED_ALGORITHMIC_DATA,
            // A dataset was collected, and who collected it created it: the IPTC has no better word.
            (None, _) => "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCreation",
        }
    }

    /// The asset type: by the name of the file where that tells the framework, else by the kind alone.
    pub fn asset_type(&self, kind: Kind, name: &str) -> Option<&str> {
        if let Some(given) = &self.asset_type {
            return Some(given.as_str());
        }
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        match kind {
            Kind::Model | Kind::Adapter => Some(match ending {
                "onnx" => "c2pa.types.model.onnx",
                "pt" | "pth" => "c2pa.types.model.pytorch",
                "keras" => "c2pa.types.model.keras",
                // A file of numbers does not tell which framework they are for.
                _ => "c2pa.types.model",
            }),
            Kind::Dataset | Kind::Shard => Some("c2pa.types.dataset"),
            Kind::TrainingRun | Kind::Evaluation | Kind::GeneratedContent => None,
        }
    }

    /// The assertions for all but actions, as label and content.
    pub fn assertions(&self, kind: Kind, name: &str) -> Vec<(&'static str, Json)> {
        let mut assertions = Vec::new();
        if let Some(asset_type) = self.asset_type(kind, name) {
            assertions.push((ASSET_TYPE, json!({"types": [{"type": asset_type}]})));
        }
        if !self.training_mining.is_empty() {
            let mut entries = serde_json::Map::new();
            for entry in &self.training_mining {
                let permission = match &entry.permission {
                    Permission::Allowed => json!({"use": "allowed"}),
                    Permission::NotAllowed => json!({"use": "notAllowed"}),
                    Permission::Constrained(info) if info.is_empty() => json!({"use": "constrained"}),
                    Permission::Constrained(info) => json!({"use": "constrained", "constraint_info": info}),
                };
                entries.insert(format!("cawg.{}", entry.purpose.as_str().replace('-', "_")), permission);
            }
            assertions.push((TRAINING_MINING, json!({"entries": entries})));
        }
        if let Some(disclosure) = &self.disclosure {
            let mut content = json!({"modelType": disclosure.model_type.as_str()});
            let optional = [("modelName", &disclosure.model_name), ("modelIdentifier", &disclosure.model_identifier)];
            for (member, value) in optional {
                if let Some(value) = value {
                    content[member] = json!(value);
                }
            }
            if let Some(oversight) = disclosure.oversight {
                content["contentProfile"] = json!({"humanOversightLevel": oversight});
            }
            assertions.push((DISCLOSURE, content));
        }
        assertions
    }
}

/// What a manifest declares, as it stands there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declarations {
    /// Names of the actions, in their order.
    pub actions: Vec<String>,
    /// The first digital source type that an action names.
    pub source_type: Option<String>,
    /// Software or model that the first action names.
    pub software: Option<String>,
    /// What it is.
    pub asset_types: Vec<String>,
    /// Purpose, and whether others may.
    pub training_mining: Vec<(String, String)>,
    /// Members of the disclosure.
    pub disclosure: Vec<(String, String)>,
}

/// Longer lists are cut: they are shown to people.
const MANY: usize = 64;

/// Reads what a claim declares. Assertions that are not the signer's own word, or cannot be read, declare nothing.
pub(super) fn read(claim: &Claim<'_, '_>) -> Result<Declarations, Refusal> {
    let mut found = Declarations::default();
    for assertion in claim.assertions.iter().filter(|assertion| assertion.created) {
        let text = |value: Option<&Value>| value.and_then(Value::as_text).map(str::to_owned);
        match assertion.label {
            "c2pa.actions.v2" => {
                let value = assertion.cbor()?;
                for action in value.field("actions").and_then(Value::as_array).unwrap_or_default().iter().take(MANY) {
                    found.actions.extend(text(action.field("action")));
                    found.source_type = found.source_type.take().or(text(action.field("digitalSourceType")));
                    let software = action.field("softwareAgent");
                    let name = text(software.and_then(|agent| agent.field("name"))).or(text(software));
                    found.software = found.software.take().or(name);
                }
            }
            ASSET_TYPE => {
                let value = assertion.cbor()?;
                let types = value.field("types").and_then(Value::as_array).unwrap_or_default().iter().take(MANY);
                found.asset_types.extend(types.filter_map(|entry| text(entry.field("type"))));
            }
            TRAINING_MINING => {
                let value = assertion.cbor()?;
                let entries = value.field("entries").and_then(Value::as_map).unwrap_or_default().iter().take(MANY);
                for (purpose, entry) in entries {
                    let conditions = text(entry.field("constraint_info")).map(|info| format!(": {info}"));
                    if let (Some(purpose), Some(word)) = (purpose.as_text(), text(entry.field("use"))) {
                        found.training_mining.push((purpose.to_owned(), word + &conditions.unwrap_or_default()));
                    }
                }
            }
            DISCLOSURE => {
                let value = assertion.cbor()?;
                let members = value.as_map().unwrap_or_default().iter();
                let profile = value.field("contentProfile").and_then(Value::as_map).unwrap_or_default().iter();
                for (member, content) in members.chain(profile).take(MANY) {
                    if let (Some(member), Some(content)) = (member.as_text(), content.as_text()) {
                        found.disclosure.push((member.to_owned(), content.to_owned()));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_assertions() {
        let declared = Declared {
            training_mining: ["ai-training=not-allowed", "data-mining=constrained:ask first", "ai-inference=allowed"]
                .map(|text| text.parse().unwrap())
                .to_vec(),
            ..Declared::default()
        };
        let assertions = declared.assertions(Kind::Model, "m.onnx");
        assert_eq!(assertions[0].1, json!({"types": [{"type": "c2pa.types.model.onnx"}]}));
        let entries = json!({
            "cawg.ai_training": {"use": "notAllowed"}, "cawg.ai_inference": {"use": "allowed"},
            "cawg.data_mining": {"use": "constrained", "constraint_info": "ask first"},
        });
        assert_eq!(assertions[1], (TRAINING_MINING, json!({"entries": entries})));
        assert_eq!(declared.source_type(Kind::GeneratedContent, false, true), TRAINED_ALGORITHMIC_MEDIA);
        assert_eq!(declared.source_type(Kind::GeneratedContent, false, false), TRAINED_ALGORITHMIC_DATA);
    }

    #[test]
    fn what_is_misspelt_is_refused() {
        for text in ["ai-training", "ai-training=", "ai-training=no", "ai-training=allowed:x", "training=allowed"] {
            assert!(text.parse::<TrainingMining>().is_err(), "{text}");
        }
        for text in ["", "model", "c2pa.types", "c2pa..model", "c2pa.types.model pytorch"] {
            assert!(text.parse::<AssetType>().is_err(), "{text}");
        }
        let capture = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture";
        assert_eq!("digitalCapture".parse::<SourceType>().unwrap().as_str(), capture);
        assert_eq!(capture.parse::<SourceType>().unwrap().as_str(), capture);
        for text in ["", "photo", "http://example.org/digitalCapture", IPTC, &format!("{IPTC}a/b")] {
            assert!(text.parse::<SourceType>().is_err(), "{text}");
        }
    }
}
