//! Manifests of generated content, and of models and datasets without a statement: inside media, or as a sidecar.
//!
//! What a model produced names the model as its input, with the model's own manifest and all that this one rests on.
//! Media that the crate `c2pa` can write carry the manifest in themselves; anything else, PDF and text among it, gets a
//! sidecar. [`carried`] reads what media carry.

mod carried;
pub mod format;

use std::io::{Read, Seek, Write};

use c2pa::assertions::DataHash;
use c2pa::{Builder, Context, Ingredient};
use countermark_lineage::credential::c2pa as checker;
use countermark_lineage::credential::declared::Declared;
use countermark_lineage::digest::Hash;
use countermark_lineage::graph::{Kind, Relation};
use serde_json::{Value as Json, json};

pub use carried::{Reread, carried};

use crate::c2pa::{
    C2paError, OPAQUE, ParentManifest, ReadSeek, Signer, actions, declarations, hex, quoted, relationships, settings,
};

/// What a manifest says of an artifact that has no statement.
pub struct Content<'a> {
    /// Base name.
    pub name: &'a str,
    /// What it is.
    pub kind: Kind,
    /// What it was made from, the models that produced it among it.
    pub inputs: Vec<Input<'a>>,
    /// The prompt, when it shall be told.
    pub prompt: Option<Prompt<'a>>,
    /// What made it, as the first action names it.
    pub software: Option<&'a str>,
    /// What the signer declares beside that.
    pub declared: &'a Declared,
    /// For a folder its listing, the very text that a sidecar of it binds.
    pub listing: Option<&'a str>,
}

/// One input.
pub struct Input<'a> {
    /// How the content comes from it.
    pub relation: Relation,
    /// Its name.
    pub name: &'a str,
    /// What it is, if that is known.
    pub kind: Option<Kind>,
    /// SHA-256 of its statement's DSSE payload, if it has one.
    pub statement: Option<[u8; 32]>,
    /// Its root, if that is known.
    pub root: Option<[u8; 32]>,
    /// Its manifest, if it has one.
    pub manifest: Option<InputManifest<'a>>,
}

/// Where an input's manifest is.
pub enum InputManifest<'a> {
    /// In a sidecar, or in a bundle.
    Beside(ParentManifest<'a>),
    /// In a medium itself.
    Carried {
        /// Its format, from [`format::of`].
        format: &'static str,
        /// The medium.
        asset: &'a mut dyn ReadSeek,
    },
}

/// What the model was asked.
pub enum Prompt<'a> {
    /// The prompt itself.
    Text(&'a str),
    /// Its digest and length. Whoever guesses the prompt can confirm the guess.
    Hash {
        /// SHA-256 of the prompt.
        sha256: [u8; 32],
        /// Length in bytes.
        size: u64,
    },
}

/// Signs a copy of a medium, with its manifest in it. Returns the store; what was written must still be judged by
/// `countermark-lineage`.
///
/// # Errors
/// [`C2paError::Parent`] when an input's manifest does not verify for its bytes, and whatever the crate refuses.
pub fn embed(
    content: Content<'_>,
    format: &'static str,
    source: &mut (impl Read + Seek + Send),
    copy: &mut (impl Read + Write + Seek + Send),
    signer: &Signer,
) -> Result<Vec<u8>, C2paError> {
    let mut builder = builder(content, format, signer)?;
    Ok(builder.sign(signer, format, source, copy)?)
}

/// Signs the sidecar of bytes with this SHA-256: of a file, or of a folder's listing.
///
/// # Errors
/// As [`embed`].
pub fn sidecar(content: Content<'_>, asset_sha256: [u8; 32], signer: &Signer) -> Result<Vec<u8>, C2paError> {
    let format = if content.listing.is_some() { "multipart/mixed" } else { OPAQUE };
    let mut builder = builder(content, format, signer)?;
    builder.set_no_embed(true);
    let mut binding = DataHash::new("whole file", "sha256");
    binding.set_hash(asset_sha256.to_vec());
    builder.add_assertion(DataHash::LABEL, &binding)?;
    Ok(builder.sign_embeddable("application/c2pa")?)
}

/// Everything but the binding.
fn builder(content: Content<'_>, format: &str, signer: &Signer) -> Result<Builder, C2paError> {
    let Content { name, kind, mut inputs, prompt, software, declared, listing } = content;
    let mut labels: Vec<(String, Relation)> =
        inputs.iter().enumerate().map(|(index, input)| (label(index, input.relation), input.relation)).collect();
    if prompt.is_some() {
        labels.push(("prompt".to_owned(), Relation::GeneratedBy));
    }
    let relationships = relationships(&labels);
    let source_type = declared.source_type(kind, false, format != OPAQUE || is_medium(name));
    let software = software.map(|name| json!({"name": name}));
    let mut assertions = vec![json!({"label": "c2pa.actions.v2", "created": true,
        "data": {"actions": actions(&labels, &relationships, source_type, software)}})];
    assertions.extend(declarations(declared, kind, name));
    if let Some(listing) = listing {
        assertions.push(json!({"label": checker::COLLECTION, "created": true,
                               "data": {"schema": checker::COLLECTION_SCHEMA, "listing": listing}}));
    }
    let definition = json!({
        "claim_generator_info": [{"name": "countermark", "version": env!("CARGO_PKG_VERSION")}],
        "title": name,
        "format": format,
        "assertions": assertions,
    });
    let context = Context::new().with_settings(settings(&signer.anchors))?.with_signer(signer.clone());
    let mut builder = Builder::from_context(context).with_definition(definition.to_string())?;
    for ((input, (label, _)), relationship) in inputs.iter_mut().zip(&labels).zip(&relationships) {
        let mut ingredient = ingredient(input, &signer.anchors)?;
        ingredient.set_title(input.name).set_label(&**label).set_instance_id(&**label);
        ingredient.set_relationship(relationship.clone());
        if let Some(described) = describe(input) {
            let data = ingredient.resources_mut().add_with("parent", "application/json", described.to_string())?;
            ingredient.set_data_ref(data)?;
        }
        builder.add_ingredient(ingredient);
    }
    if let Some(prompt) = prompt {
        builder.add_ingredient(prompt_ingredient(&prompt)?);
    }
    Ok(builder)
}

/// A page of text is a medium to people, whatever the crate can write into.
fn is_medium(name: &str) -> bool {
    const MEDIA: [&str; 16] = [
        ".pdf", ".txt", ".md", ".html", ".htm", ".srt", ".vtt", ".doc", ".docx", ".odt", ".rtf", ".epub", ".ogg",
        ".opus", ".webm", ".mkv",
    ];
    let name = name.to_ascii_lowercase();
    MEDIA.iter().any(|ending| name.ends_with(ending))
}

fn label(index: usize, relation: Relation) -> String {
    let role = if relation == Relation::GeneratedBy { "model" } else { "parent" };
    format!("{role}{index}")
}

/// What is known of an input that the checker can hold against its statement.
fn describe(input: &Input<'_>) -> Option<Json> {
    let (statement, root) = (input.statement?, input.root?);
    Some(json!({
        "schema": checker::PARENT_SCHEMA, "relation": input.relation, "name": input.name, "kind": input.kind,
        "statement": hex(statement), "root": hex(root),
    }))
}

fn ingredient(input: &mut Input<'_>, anchors: &str) -> Result<Ingredient, C2paError> {
    match &mut input.manifest {
        None => Ok(Ingredient::new_v2(input.name, OPAQUE)),
        Some(InputManifest::Beside(manifest)) => quoted(input.name, manifest, (input.statement, input.root), anchors),
        Some(InputManifest::Carried { format, asset }) => carried::quoted(input.name, format, *asset, anchors),
    }
}

/// The prompt is an input of its own, bound by what describes it.
fn prompt_ingredient(prompt: &Prompt<'_>) -> Result<Ingredient, C2paError> {
    let (format, data) = match prompt {
        Prompt::Text(text) => ("text/plain", (*text).to_owned()),
        Prompt::Hash { sha256, size } => {
            let sha256 = Hash(*sha256);
            let described = json!({"schema": checker::PROMPT_SCHEMA, "sha256": sha256, "size": size});
            ("application/json", described.to_string())
        }
    };
    let mut ingredient = Ingredient::new_v2("prompt", format);
    ingredient.set_label("prompt").set_instance_id("prompt").set_relationship(c2pa::Relationship::InputTo);
    ingredient.add_data_type(c2pa::assertions::AssetType::new("c2pa.types.generator.prompt", None));
    let data = ingredient.resources_mut().add_with("prompt", format, data)?;
    ingredient.set_data_ref(data)?;
    Ok(ingredient)
}
