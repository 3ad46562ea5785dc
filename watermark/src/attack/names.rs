//! Which part of a network a tensor is, by its name.

use std::collections::BTreeMap;

use countermark_formats::Checkpoint;

use super::values::is_float;

/// What a tensor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Token embedding, vocabulary × width.
    Embed,
    /// Output projection, vocabulary × width.
    Head,
    /// Gains before the output projection.
    FinalNorm,
    /// Gains before attention.
    InputNorm,
    /// Gains before the MLP.
    MlpNorm,
    /// Gains inside heads.
    HeadNorm,
    /// Attention, into the heads.
    Query,
    /// Attention, into the heads.
    Key,
    /// Attention, into the heads.
    Value,
    /// Attention, back into the residual stream.
    Output,
    /// MLP, the factor under the activation.
    Gate,
    /// MLP, into the hidden units.
    Up,
    /// MLP, back into the residual stream.
    Down,
}

/// Where a tensor belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The layer, from 0; `None` outside the layers.
    pub layer: Option<u32>,
    /// The part.
    pub part: Part,
    /// A bias rather than a weight.
    pub bias: bool,
}

/// The place of a tensor under the names of Hugging Face's llama and BERT families; `None` for any other name.
pub(crate) fn place(name: &str) -> Option<Place> {
    let (name, bias) = match name.strip_suffix(".bias") {
        Some(name) => (name, true),
        None => (name.strip_suffix(".weight")?, false),
    };
    let name = ["model.", "bert.", "base_model.model."].iter().find_map(|p| name.strip_prefix(p)).unwrap_or(name);
    let inside = ["layers.", "encoder.layer."].iter().find_map(|p| name.strip_prefix(p)?.split_once('.'));
    if let Some((number, part)) = inside {
        let part = match part {
            "input_layernorm" => Part::InputNorm,
            "post_attention_layernorm" => Part::MlpNorm,
            "self_attn.q_norm" | "self_attn.k_norm" => Part::HeadNorm,
            "self_attn.q_proj" | "attention.self.query" => Part::Query,
            "self_attn.k_proj" | "attention.self.key" => Part::Key,
            "self_attn.v_proj" | "attention.self.value" => Part::Value,
            "self_attn.o_proj" | "attention.output.dense" => Part::Output,
            "mlp.gate_proj" => Part::Gate,
            "mlp.up_proj" | "intermediate.dense" => Part::Up,
            "mlp.down_proj" | "output.dense" => Part::Down,
            _ => return None,
        };
        return Some(Place { layer: Some(number.parse().ok()?), part, bias });
    }
    let part = match name {
        "embed_tokens" | "embeddings.word_embeddings" => Part::Embed,
        "lm_head" => Part::Head,
        "norm" => Part::FinalNorm,
        _ => return None,
    };
    Some(Place { layer: None, part, bias })
}

/// The float tensors of a model by their places.
pub(crate) struct Places<'a> {
    /// The model.
    pub model: &'a Checkpoint,
    /// Names of the float tensors that have no known place.
    pub unknown: Vec<&'a str>,
    indices: BTreeMap<Place, usize>,
}

impl<'a> Places<'a> {
    pub fn new(model: &'a Checkpoint) -> Places<'a> {
        let (mut unknown, mut indices) = (Vec::new(), BTreeMap::new());
        for (index, tensor) in model.tensors().iter().enumerate().filter(|(_, t)| is_float(t.info.dtype)) {
            match place(&tensor.info.name) {
                Some(place) => drop(indices.insert(place, index)),
                None => unknown.push(tensor.info.name.as_str()),
            }
        }
        Places { model, unknown, indices }
    }

    /// Index of a weight in the model's tensors.
    pub fn weight(&self, layer: Option<u32>, part: Part) -> Option<usize> {
        self.indices.get(&Place { layer, part, bias: false }).copied()
    }

    /// Index of a bias in the model's tensors.
    pub fn bias(&self, layer: Option<u32>, part: Part) -> Option<usize> {
        self.indices.get(&Place { layer, part, bias: true }).copied()
    }

    /// The layers that have at least one known tensor.
    pub fn layers(&self) -> impl Iterator<Item = u32> {
        let mut layers: Vec<u32> = self.indices.keys().filter_map(|place| place.layer).collect();
        layers.dedup();
        layers.into_iter()
    }

    /// Extents of a tensor.
    pub fn shape(&self, index: usize) -> &[u64] {
        &self.model.tensors()[index].info.shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_places() {
        let at = |layer, part, bias| Some(Place { layer, part, bias });
        for (name, expected) in [
            ("model.layers.12.mlp.up_proj.weight", at(Some(12), Part::Up, false)),
            ("model.layers.0.self_attn.v_proj.bias", at(Some(0), Part::Value, true)),
            ("encoder.layer.3.output.dense.weight", at(Some(3), Part::Down, false)),
            ("bert.encoder.layer.3.attention.output.dense.bias", at(Some(3), Part::Output, true)),
            ("model.embed_tokens.weight", at(None, Part::Embed, false)),
            ("lm_head.weight", at(None, Part::Head, false)),
            ("model.norm.weight", at(None, Part::FinalNorm, false)),
            ("model.layers.0.mlp.experts.1.up_proj.weight", None),
            ("model.layers.x.mlp.up_proj.weight", None),
            ("model.layers.0.mlp.up_proj.qweight", None),
        ] {
            assert_eq!(place(name), expected, "{name}");
        }
    }
}
