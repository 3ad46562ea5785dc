//! Names become roles, in every format the same; rows come back into the order of Hugging Face.

mod common;

use common::{Part, Value, f32s, gguf, matrix, number, numbers, open, safetensors, text, values};
use countermark_formats::{Checkpoint, Dtype, Grid, Matrix};

/// F32 matrices of 8 × 6 under these names.
fn named(names: &[&str]) -> Checkpoint {
    let parts: Vec<Part<'_>> = names.iter().map(|name| (*name, "F32", &[8, 6][..], vec![0; 192])).collect();
    open(safetensors(&parts))
}

fn named_in_gguf(architecture: &str, names: &[&str]) -> Checkpoint {
    let parts: Vec<Part<'_>> = names.iter().map(|name| (*name, "0", &[8, 6][..], vec![0; 192])).collect();
    open(gguf(&[("general.architecture", text(architecture))], &parts))
}

fn roles(model: &Checkpoint) -> Vec<String> {
    model.matrices().into_iter().map(|matrix| matrix.role).collect()
}

const LLAMA: [&str; 9] = [
    "embed",
    "head",
    "layers.0.attn.k",
    "layers.0.attn.o",
    "layers.0.attn.q",
    "layers.0.attn.v",
    "layers.11.mlp.down",
    "layers.11.mlp.gate",
    "layers.11.mlp.up",
];

#[test]
fn llama() {
    let hub = [
        "model.embed_tokens.weight",
        "lm_head.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.0.self_attn.k_proj.weight",
        "model.layers.0.self_attn.v_proj.weight",
        "model.layers.0.self_attn.o_proj.weight",
        "model.layers.11.mlp.gate_proj.weight",
        "model.layers.11.mlp.up_proj.weight",
        "model.layers.11.mlp.down_proj.weight",
    ];
    assert_eq!(roles(&named(&hub)), LLAMA);
    let wrapped = hub.map(|name| format!("base_model.model.{name}"));
    assert_eq!(roles(&named(&wrapped.each_ref().map(String::as_str))), LLAMA);
    let ggml = [
        "token_embd.weight",
        "output.weight",
        "blk.0.attn_q.weight",
        "blk.0.attn_k.weight",
        "blk.0.attn_v.weight",
        "blk.0.attn_output.weight",
        "blk.11.ffn_gate.weight",
        "blk.11.ffn_up.weight",
        "blk.11.ffn_down.weight",
    ];
    assert_eq!(roles(&named_in_gguf("llama", &ggml)), LLAMA);
}

#[test]
fn bert() {
    let expected = [
        "embed",
        "embed_positions",
        "embed_types",
        "layers.3.attn.k",
        "layers.3.attn.o",
        "layers.3.attn.q",
        "layers.3.attn.v",
        "layers.3.mlp.down",
        "layers.3.mlp.up",
        "pooler",
    ];
    let hub = [
        "embeddings.word_embeddings.weight",
        "embeddings.position_embeddings.weight",
        "embeddings.token_type_embeddings.weight",
        "encoder.layer.3.attention.self.query.weight",
        "encoder.layer.3.attention.self.key.weight",
        "encoder.layer.3.attention.self.value.weight",
        "encoder.layer.3.attention.output.dense.weight",
        "encoder.layer.3.intermediate.dense.weight",
        "encoder.layer.3.output.dense.weight",
        "pooler.dense.weight",
    ];
    assert_eq!(roles(&named(&hub)), expected);
    let prefixed = hub.map(|name| format!("bert.{name}"));
    assert_eq!(roles(&named(&prefixed.each_ref().map(String::as_str))), expected);
    let ggml = [
        "token_embd.weight",
        "position_embd.weight",
        "token_types.weight",
        "blk.3.attn_q.weight",
        "blk.3.attn_k.weight",
        "blk.3.attn_v.weight",
        "blk.3.attn_output.weight",
        "blk.3.ffn_up.weight",
        "blk.3.ffn_down.weight",
    ];
    assert_eq!(roles(&named_in_gguf("bert", &ggml)), expected[..9]);
}

#[test]
fn other_families() {
    for (name, role) in [
        ("gpt_neox.embed_in.weight", "embed"),
        ("embed_out.weight", "head"),
        ("gpt_neox.layers.1.attention.query_key_value.weight", "layers.1.attn.qkv"),
        ("gpt_neox.layers.1.mlp.dense_4h_to_h.weight", "layers.1.mlp.down"),
        ("model.layers.1.self_attn.qkv_proj.weight", "layers.1.attn.qkv"),
        ("model.layers.1.mlp.gate_up_proj.weight", "layers.1.mlp.gate_up"),
        ("model.layers.1.self_attn.dense.weight", "layers.1.attn.o"),
        ("model.decoder.layers.1.fc1.weight", "layers.1.mlp.up"),
        ("model.language_model.layers.1.self_attn.q_proj.weight", "layers.1.attn.q"),
        ("model.layers.1.block_sparse_moe.experts.7.w2.weight", "layers.1.experts.7.down"),
        ("model.layers.1.mlp.experts.7.gate_proj.weight", "layers.1.experts.7.gate"),
        ("model.layers.1.mlp.gate.weight", "layers.1.router"),
        ("model.layers.1.mlp.shared_experts.up_proj.weight", "layers.1.shared.up"),
        ("blk.1.ffn_up.7.weight", "layers.1.experts.7.up"),
        // Unknown: as they are, without the ending.
        ("model.layers.01.mlp.gate_proj.weight", "model.layers.01.mlp.gate_proj"),
        ("model.layers.1.mlp.experts.07.gate_proj.weight", "model.layers.1.mlp.experts.07.gate_proj"),
        ("vision.patch.weight", "vision.patch"),
        ("model.layers.0.self_attn.q_proj.lora_A.weight", "model.layers.0.self_attn.q_proj.lora_A"),
        ("model.weights", "model.weights"),
    ] {
        assert_eq!(roles(&named(&[name])), [role]);
    }
    assert_eq!(roles(&named_in_gguf("phi3", &["blk.0.ffn_up.weight"])), ["layers.0.mlp.gate_up"]);
}

#[test]
fn equal_roles_keep_their_names() {
    assert_eq!(
        roles(&named(&["encoder.layers.0.fc1.weight", "decoder.layers.0.fc1.weight", "lm_head.weight"])),
        ["decoder.layers.0.fc1", "encoder.layers.0.fc1", "head"]
    );
    assert_eq!(roles(&named(&["a", "a.weight"])), ["a", "a.weight"]);
    assert_eq!(
        roles(&named(&["embed", "model.embed_tokens", "model.embed_tokens.weight"])),
        ["embed", "model.embed_tokens", "model.embed_tokens.weight"]
    );
}

#[test]
fn what_is_no_matrix() {
    let model = open(safetensors(&[
        ("norm.weight", "F32", &[6], vec![0; 24]),
        ("ids", "I64", &[2, 2], vec![0; 32]),
        ("bytes.weight", "I8", &[4, 4], vec![0; 16]),
        ("x.weight_scale", "F32", &[4, 4], vec![0; 64]),
        ("empty", "F32", &[0, 4], vec![]),
        ("words.qweight", "I32", &[4, 4], vec![0; 64]),
    ]));
    assert_eq!(roles(&model), Vec::<String>::new());
}

/// Values that tell row and column: 100 r + c.
fn numbered(rows: u64, columns: u64) -> Vec<f32> {
    (0..rows).flat_map(|row| (0..columns).map(move |column| (100 * row + column) as f32)).collect()
}

#[test]
fn gpt2_layers_are_turned_round() {
    let shapes: [(&str, u64, u64); 5] = [
        ("h.0.attn.c_attn.weight", 4, 12),
        ("h.0.attn.c_proj.weight", 4, 4),
        ("h.0.mlp.c_fc.weight", 4, 16),
        ("h.0.mlp.c_proj.weight", 16, 4),
        ("wte.weight", 9, 4),
    ];
    let file = |widening: bool| {
        let shapes = shapes.map(|(name, a, b)| (name, if widening || name == "wte.weight" { [a, b] } else { [b, a] }));
        let data = |shape: &[u64; 2]| f32s(numbered(shape[0], shape[1]));
        let parts: Vec<Part<'_>> = shapes.iter().map(|(name, shape)| (*name, "F32", &shape[..], data(shape))).collect();
        open(safetensors(&parts))
    };
    let model = file(true);
    for (role, rows, columns) in [
        ("layers.0.attn.qkv", 12, 4),
        ("layers.0.attn.o", 4, 4),
        ("layers.0.mlp.up", 16, 4),
        ("layers.0.mlp.down", 4, 16),
    ] {
        let matrix = matrix(&model, role);
        assert_eq!((matrix.rows, matrix.columns, matrix.is_contiguous()), (rows, columns, false));
        let expected: Vec<f32> =
            (0..rows).flat_map(|row| (0..columns).map(move |column| (100 * column + row) as f32)).collect();
        assert_eq!(values(&model, &matrix), expected);
        let mut raw = Vec::new();
        model.rows(&matrix).unwrap().raw(1..3, &mut raw).unwrap();
        assert_eq!(raw, f32s(expected[columns as usize..3 * columns as usize].iter().copied()));
    }
    let embed = matrix(&model, "embed");
    assert!(embed.is_contiguous() && values(&model, &embed) == numbered(9, 4));
    // Models with these names whose layers are stored the usual way.
    let model = file(false);
    let up = matrix(&model, "layers.0.mlp.up");
    assert!(up.is_contiguous() && values(&model, &up) == numbered(16, 4));
}

#[test]
fn stacks_of_experts() {
    let stack = || f32s((0..3 * 64 * 64).map(|i| i as f32));
    let check = |model: Checkpoint, role: &str| {
        assert_eq!(model.matrices().len(), 3);
        for expert in 0..3 {
            let matrix = matrix(&model, &role.replace('*', &expert.to_string()));
            assert_eq!((matrix.rows, matrix.columns, matrix.is_contiguous()), (64, 64, expert == 0));
            let expected: Vec<f32> = (expert * 4096..(expert + 1) * 4096).map(|i| i as f32).collect();
            assert_eq!(values(&model, &matrix), expected);
        }
    };
    let hub = open(safetensors(&[("model.layers.2.mlp.experts.gate_up_proj", "F32", &[3, 64, 64], stack())]));
    check(hub, "layers.2.experts.*.gate_up");
    let ggml =
        gguf(&[("general.architecture", text("x"))], &[("blk.2.ffn_down_exps.weight", "0", &[3, 64, 64], stack())]);
    check(open(ggml), "layers.2.experts.*.down");
    // Other stacks are one matrix.
    let other = open(safetensors(&[("stack", "F32", &[3, 64, 64], stack())]));
    assert_eq!(other.matrices().iter().map(|matrix| (matrix.rows, matrix.columns)).collect::<Vec<_>>(), [(192, 64)]);
}

/// The published conversion, step by step: reshape(heads, 2, rows / heads / 2, columns), swap axes 1 and 2, flatten.
fn converted(hub: &[f32], heads: usize, rows: usize, columns: usize) -> Vec<f32> {
    let half = rows / heads / 2;
    let at = |head: usize, side: usize, i: usize, column: usize| ((head * 2 + side) * half + i) * columns + column;
    let mut stored = Vec::new();
    for head in 0..heads {
        for i in 0..half {
            for side in 0..2 {
                for column in 0..columns {
                    stored.push(hub[at(head, side, i, column)]);
                }
            }
        }
    }
    stored
}

fn heads(architecture: &str, q: Value, kv: Option<Value>) -> Vec<(String, Value)> {
    let mut metadata =
        vec![("general.architecture".into(), text(architecture)), (format!("{architecture}.attention.head_count"), q)];
    metadata.extend(kv.map(|kv| (format!("{architecture}.attention.head_count_kv"), kv)));
    metadata
}

fn gguf_with(metadata: &[(String, Value)], parts: &[Part<'_>]) -> Checkpoint {
    let metadata: Vec<(&str, Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    open(gguf(&metadata, parts))
}

#[test]
fn rotated_rows_come_back() {
    for (q_heads, kv_heads, width) in [(1, 1, 2), (2, 1, 4), (6, 2, 8), (9, 3, 2), (4, 4, 6)] {
        let (rows, kv_rows, columns) = (q_heads * width, kv_heads * width, 5);
        let parts: &[Part<'_>] = &[
            (
                "blk.1.attn_q.weight",
                "0",
                &[rows as u64, 5],
                f32s(converted(&numbered(rows as u64, 5), q_heads, rows, columns)),
            ),
            (
                "blk.1.attn_k.weight",
                "0",
                &[kv_rows as u64, 5],
                f32s(converted(&numbered(kv_rows as u64, 5), kv_heads, kv_rows, columns)),
            ),
            ("blk.1.attn_v.weight", "0", &[kv_rows as u64, 5], f32s(numbered(kv_rows as u64, 5))),
        ];
        let single = |heads: usize| number(heads as u32);
        let layers = |heads: usize| numbers(&[1, heads as u32]);
        let kv = (q_heads != kv_heads).then_some(kv_heads);
        for metadata in [
            heads("llama", single(q_heads), kv.map(single)),
            heads("smollm3", single(q_heads), kv.map(single)),
            heads("llama", layers(q_heads), kv.map(layers)),
        ] {
            let model = gguf_with(&metadata, parts);
            for (role, rows) in [("attn.q", rows), ("attn.k", kv_rows), ("attn.v", kv_rows)] {
                let matrix = matrix(&model, &format!("layers.1.{role}"));
                assert_eq!(values(&model, &matrix), numbered(rows as u64, 5), "{role}, {q_heads} heads");
                assert_eq!(matrix.grid, Grid::Float(Dtype::F32));
                check_raw(&model, &matrix);
            }
        }
        // Architectures that ggml rotates like Hugging Face keep their rows.
        let model = gguf_with(&heads("qwen2", single(q_heads), kv.map(single)), parts);
        let expected = converted(&numbered(rows as u64, 5), q_heads, rows, columns);
        assert_eq!(values(&model, &matrix(&model, "layers.1.attn.q")), expected);
    }
}

/// Every range of rows reads as a part of the whole, and what is put back is what was read.
fn check_raw(model: &Checkpoint, matrix: &Matrix) {
    let whole = values(model, matrix);
    let rows = model.rows(matrix).unwrap();
    let width = matrix.columns as usize;
    for (begin, end) in [(0, 1), (1, matrix.rows), (0, matrix.rows), (1, 1)] {
        let mut raw = Vec::new();
        rows.raw(begin..end, &mut raw).unwrap();
        assert_eq!(raw, f32s(whole[begin as usize * width..end as usize * width].iter().copied()));
    }
    let mut edit = model.edit(matrix.tensor).unwrap();
    let before = edit.bytes().to_vec();
    edit.put_raw(matrix, 0..matrix.rows, &f32s(whole.iter().copied())).unwrap();
    assert_eq!(edit.bytes(), before);
    edit.put_raw(matrix, 1..2, &vec![0xff; width * 4]).unwrap();
    let changed = edit.bytes().iter().zip(&before).filter(|(a, b)| a != b).count();
    assert!(changed > 0 && changed <= width * 4);
}

/// GPT-NeoX: \[heads, 3, width\] becomes \[3, heads, width\].
#[test]
fn fused_rows_sorted_by_kind_come_back() {
    let (heads_of, width) = (3u64, 4u64);
    let hub = numbered(heads_of * 3 * width, 5);
    let mut stored = Vec::new();
    for kind in 0..3 {
        for head in 0..heads_of {
            for i in 0..width {
                let row = ((head * 3 + kind) * width + i) as usize;
                stored.extend_from_slice(&hub[row * 5..row * 5 + 5]);
            }
        }
    }
    let metadata = heads("gptneox", number(heads_of as u32), None);
    let model = gguf_with(&metadata, &[("blk.0.attn_qkv.weight", "0", &[36, 5], f32s(stored))]);
    let matrix = matrix(&model, "layers.0.attn.qkv");
    assert_eq!(values(&model, &matrix), hub);
    check_raw(&model, &matrix);
}

/// Heads that do not divide the rows, or no heads at all: rows stay as stored.
#[test]
fn senseless_heads_change_nothing() {
    for q in [number(0), number(7), number(u32::MAX), numbers(&[]), text("x")] {
        let model = gguf_with(&heads("llama", q, None), &[("blk.0.attn_q.weight", "0", &[8, 5], f32s(numbered(8, 5)))]);
        assert_eq!(values(&model, &matrix(&model, "layers.0.attn.q")), numbered(8, 5));
    }
}

/// A real encoder, named by an environment variable.
#[test]
fn minilm() {
    let Some(path) = common::named("COUNTERMARK_MINILM") else { return };
    let model = open(std::fs::read(path).unwrap());
    let mut expected: Vec<String> = ["embed", "embed_positions", "embed_types", "pooler"].map(String::from).into();
    for layer in 0..6 {
        for part in ["attn.q", "attn.k", "attn.v", "attn.o", "mlp.up", "mlp.down"] {
            expected.push(format!("layers.{layer}.{part}"));
        }
    }
    expected.sort_unstable();
    assert_eq!(roles(&model), expected);
    assert!(model.matrices().iter().all(Matrix::is_contiguous));
}
