//! Names of tensors in files become **roles**: what a matrix does in the network, the same for every file format.
//!
//! Roles are `embed`, `embed_positions`, `embed_types`, `head`, `pooler`, and for layer N `layers.N.attn.{q,k,v,o,qkv}`,
//! `layers.N.mlp.{gate,up,down,gate_up}`, `layers.N.experts.E.{gate,up,down,gate_up}`,
//! `layers.N.shared.{gate,up,down}` and `layers.N.router`. They are known for the decoders of the Llama, Mistral, Qwen,
//! Gemma, Phi, Falcon, GPT-2, GPT-J, GPT-NeoX, OPT, BLOOM and InternLM families and for BERT-like encoders, under their
//! Hugging Face names and those of GGUF. Every other name stays as it is, without `.weight` at its end.
//!
//! GGUF keeps some matrices with their rows in another order; [`Order`] leads back to the order of Hugging Face.

/// Prefixes that say which class wraps the network, and nothing about a matrix.
const PREFIXES: [&str; 13] = [
    "base_model.model.",
    "model.",
    "language_model.",
    "transformer.",
    "bert.",
    "roberta.",
    "xlm_roberta.",
    "distilbert.",
    "electra.",
    "gpt_neox.",
    "decoder.",
    "module.",
    "embedding.",
];

/// Names outside the layers.
const OUTSIDE: [(&str, &[&str]); 5] = [
    (
        "embed",
        &[
            "embed_tokens",
            "wte",
            "word_embeddings",
            "embeddings.word_embeddings",
            "embed_in",
            "tok_embeddings",
            "token_embd",
        ],
    ),
    ("embed_positions", &["wpe", "embed_positions", "embeddings.position_embeddings", "position_embd"]),
    ("embed_types", &["embeddings.token_type_embeddings", "token_types"]),
    ("head", &["lm_head", "embed_out", "output_layer", "output"]),
    ("pooler", &["pooler.dense"]),
];

/// What layer N is called.
const LAYERS: [&str; 6] = ["layers.", "h.", "blk.", "encoder.layer.", "encoder.layers.", "layer."];

/// Names inside a layer.
const INSIDE: [(&str, &[&str]); 13] = [
    (
        "attn.q",
        &[
            "self_attn.q_proj",
            "attn.q_proj",
            "attention.q_proj",
            "attention.self.query",
            "attention.q_lin",
            "attention.wq",
            "attn_q",
        ],
    ),
    (
        "attn.k",
        &[
            "self_attn.k_proj",
            "attn.k_proj",
            "attention.k_proj",
            "attention.self.key",
            "attention.k_lin",
            "attention.wk",
            "attn_k",
        ],
    ),
    (
        "attn.v",
        &[
            "self_attn.v_proj",
            "attn.v_proj",
            "attention.v_proj",
            "attention.self.value",
            "attention.v_lin",
            "attention.wv",
            "attn_v",
        ],
    ),
    (
        "attn.o",
        &[
            "self_attn.o_proj",
            "self_attn.out_proj",
            "self_attn.dense",
            "attn.c_proj",
            "attn.out_proj",
            "attention.o_proj",
            "attention.dense",
            "attention.output.dense",
            "attention.out_lin",
            "attention.wo",
            "self_attention.dense",
            "attn_output",
        ],
    ),
    (
        "attn.qkv",
        &[
            "self_attn.qkv_proj",
            "self_attn.W_pack",
            "attn.c_attn",
            "attn.Wqkv",
            "attention.wqkv",
            "attention.query_key_value",
            "self_attention.query_key_value",
            "attn_qkv",
        ],
    ),
    ("mlp.gate", &["mlp.gate_proj", "feed_forward.w1", "ffn_gate"]),
    (
        "mlp.up",
        &[
            "mlp.up_proj",
            "mlp.c_fc",
            "mlp.fc_in",
            "mlp.fc1",
            "fc1",
            "mlp.dense_h_to_4h",
            "intermediate.dense",
            "ffn.lin1",
            "feed_forward.w3",
            "ffn_up",
        ],
    ),
    (
        "mlp.down",
        &[
            "mlp.down_proj",
            "mlp.c_proj",
            "mlp.fc_out",
            "mlp.fc2",
            "fc2",
            "mlp.dense_4h_to_h",
            "output.dense",
            "ffn.lin2",
            "feed_forward.w2",
            "ffn_down",
        ],
    ),
    ("mlp.gate_up", &["mlp.gate_up_proj"]),
    ("router", &["mlp.gate", "mlp.router", "block_sparse_moe.gate", "feed_forward.router", "ffn_gate_inp"]),
    ("shared.gate", &["mlp.shared_expert.gate_proj", "mlp.shared_experts.gate_proj", "ffn_gate_shexp"]),
    ("shared.up", &["mlp.shared_expert.up_proj", "mlp.shared_experts.up_proj", "ffn_up_shexp"]),
    ("shared.down", &["mlp.shared_expert.down_proj", "mlp.shared_experts.down_proj", "ffn_down_shexp"]),
];

/// What holds the experts of a layer, one by one or in a stack.
const EXPERTS: [&str; 3] = ["mlp.experts.", "block_sparse_moe.experts.", "feed_forward.experts."];

/// Names of one expert's matrices.
const EXPERT: [(&str, &[&str]); 4] = [
    ("gate", &["gate_proj", "w1", "ffn_gate"]),
    ("up", &["up_proj", "w3", "ffn_up"]),
    ("down", &["down_proj", "w2", "ffn_down"]),
    ("gate_up", &["gate_up_proj", "ffn_gate_up"]),
];

/// Architectures whose feed-forward matrix in GGUF holds gate and up, one after the other, under the name of up.
const FUSED_UP: [&str; 3] = ["phi3", "chatglm", "glm4"];

/// Architectures whose q and k rows the conversion to GGUF reorders, because ggml rotates neighbours where Hugging Face
/// rotates halves.
const ROTATED: [&str; 13] = [
    "llama",
    "deci",
    "baichuan",
    "internlm2",
    "minicpm",
    "xverse",
    "olmo",
    "arctic",
    "deepseek",
    "granite",
    "granitemoe",
    "smollm3",
    "arcee",
];

/// Architectures whose fused q, k and v rows the conversion to GGUF sorts by kind, where Hugging Face sorts by head.
const SORTED: [&str; 2] = ["gptneox", "bloom"];

/// A tensor's name without what only says that it is a weight.
pub(crate) fn stem(name: &str) -> &str {
    let name = name.strip_suffix(".qweight").or(name.strip_suffix("._data")).unwrap_or(name);
    name.strip_suffix(".weight").unwrap_or(name)
}

/// The role of a matrix, by its stem; `None` when the name is unknown. A stack of experts has `*` for the expert's
/// number. `architecture` is that of a GGUF file.
pub(crate) fn role(stem: &str, architecture: Option<&str>) -> Option<String> {
    let mut name = stem;
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    if let Some(role) = look_up(&OUTSIDE, name) {
        return Some(role.into());
    }
    let (layer, part) = LAYERS.iter().find_map(|layers| number(name.strip_prefix(layers)?))?;
    let role = match look_up(&INSIDE, part) {
        Some("mlp.up") if part == "ffn_up" && architecture.is_some_and(|name| FUSED_UP.contains(&name)) => {
            "mlp.gate_up".into()
        }
        Some(role) => role.into(),
        None => expert(part)?,
    };
    Some(format!("layers.{layer}.{role}"))
}

/// The role within a layer of one expert's matrix or of a stack of them.
fn expert(part: &str) -> Option<String> {
    if let Some(rest) = EXPERTS.iter().find_map(|experts| part.strip_prefix(experts)) {
        return Some(match number(rest) {
            Some((expert, part)) => format!("experts.{expert}.{}", look_up(&EXPERT, part)?),
            None => format!("experts.*.{}", look_up(&EXPERT, rest)?),
        });
    }
    if let Some(stack) = part.strip_suffix("_exps") {
        return Some(format!("experts.*.{}", look_up(&EXPERT, stack)?));
    }
    let (part, expert) = part.rsplit_once('.')?;
    let (expert, _) = number(&format!("{expert}."))?;
    part.starts_with("ffn_").then(|| look_up(&EXPERT, part)).flatten().map(|role| format!("experts.{expert}.{role}"))
}

fn look_up(table: &[(&'static str, &[&str])], name: &str) -> Option<&'static str> {
    table.iter().find(|(_, names)| names.contains(&name)).map(|(role, _)| *role)
}

/// Splits `12.rest`; the number has no leading zeros, so that no two names give one role.
fn number(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_once('.')?;
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some((number, rest))
}

/// Where the rows of a matrix are among the stored ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// As stored.
    Same,
    /// In each of so many heads, rows i and i + half are neighbours: converters reshape to \[heads, 2, half\] and swap
    /// the last two.
    Neighbours { heads: u64 },
    /// First all of q, then k, then v, each with so many heads; without it head by head.
    ByKind { heads: u64 },
}

impl Order {
    /// Whether so many rows can be in this order.
    pub fn divides(self, rows: u64) -> bool {
        let parts = match self {
            Order::Same => return true,
            Order::Neighbours { heads } => heads.checked_mul(2),
            Order::ByKind { heads } => heads.checked_mul(3),
        };
        parts.is_some_and(|parts| parts > 0 && rows >= parts && rows.is_multiple_of(parts))
    }

    /// The stored row that holds row `row` of `rows`, which must [divide](Order::divides).
    pub fn stored(self, row: u64, rows: u64) -> u64 {
        match self {
            Order::Same => row,
            Order::Neighbours { heads } => {
                let half = rows / heads / 2;
                let (head, within) = (row / (2 * half), row % (2 * half));
                (head * half + within % half) * 2 + within / half
            }
            Order::ByKind { heads } => {
                let width = rows / heads / 3;
                let (head, within) = (row / (3 * width), row % (3 * width));
                (within / width * heads + head) * width + within % width
            }
        }
    }

    /// The order of a GGUF tensor with a role. `heads` gives the heads of a layer, of q or of k and v.
    pub fn of(
        name: &str,
        role: &str,
        architecture: &str,
        rows: u64,
        heads: impl Fn(u32, bool) -> Option<u64>,
    ) -> Order {
        let Some((layer, part)) = name.strip_prefix("blk.").and_then(number) else { return Order::Same };
        let order = match (part, role.rsplit_once("attn.").map(|(_, kind)| kind)) {
            ("attn_q.weight", Some("q")) if ROTATED.contains(&architecture) => {
                heads(layer, false).map(|heads| Order::Neighbours { heads })
            }
            ("attn_k.weight", Some("k")) if ROTATED.contains(&architecture) => {
                heads(layer, true).map(|heads| Order::Neighbours { heads })
            }
            ("attn_qkv.weight", Some("qkv")) if SORTED.contains(&architecture) => {
                heads(layer, false).map(|heads| Order::ByKind { heads })
            }
            _ => None,
        };
        order.filter(|order| order.divides(rows)).unwrap_or(Order::Same)
    }
}
