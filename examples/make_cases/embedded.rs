//! Manifests inside files: the good ones of each format, and every way that we know to have such a file read in two ways or
//! to write over the manifest's text. Names of cases are those that others use for the same attacks.

use std::fs;
use std::path::Path;

use countermark::formats::manifest::{self, Found, KEY};
use countermark::{sign, silent};

use crate::{Case, Result, World};

/// Name, story, the file's bytes, the state it must come to, and words of the reason.
type Change = (&'static str, &'static str, Vec<u8>, &'static str, &'static str);

/// A file with its manifest inside, and where the text is.
struct Made {
    file: Vec<u8>,
    text: std::ops::Range<usize>,
}

impl Made {
    /// Puts `bytes` in the place of the manifest's text.
    fn with_text(&self, bytes: &[u8]) -> Vec<u8> {
        [&self.file[..self.text.start], bytes, &self.file[self.text.end..]].concat()
    }

    fn text(&self) -> &[u8] {
        &self.file[self.text.clone()]
    }
}

/// The cases, with their files written.
pub fn cases(world: &World) -> Result<Vec<Case>> {
    let folder = world.out.join("embedded");
    fs::create_dir_all(&folder)?;
    let mut cases = Vec::new();
    for (name, bytes, changes) in [
        ("m.safetensors", safetensors(HEADER), safetensors_changes as fn(&Made) -> Vec<Change>),
        ("m.onnx", onnx(), onnx_changes),
        ("d.parquet", PARQUET.to_vec(), parquet_changes),
    ] {
        let made = make(world, name, &bytes)?;
        let bundle = format!("embedded/{name}.json");
        fs::copy(world.at(&format!("copies/{name}.provenance.json")), world.out.join(&bundle))?;
        let ending = Path::new(name).extension().unwrap_or_default().to_string_lossy();
        for (case, story, file, state, reason) in changes(&made) {
            let path = format!("embedded/{case}.{ending}");
            fs::write(world.out.join(&path), file)?;
            let options = [("bundle", &*bundle), ("policy", "policy.toml")];
            cases.push(Case::new(case, story, "verify", &path, &options, state, reason));
        }
        if name == "m.safetensors" {
            cases.push(both(world, &made)?);
        }
    }
    cases.push(gguf(world)?);
    cases.push(external(world)?);
    Ok(cases)
}

/// Signs a file with its manifest inside.
fn make(world: &World, name: &str, bytes: &[u8]) -> Result<Made> {
    fs::write(world.at(name), bytes)?;
    let copy = world.at(&format!("copies/{name}"));
    let mut request = sign::Request::new(world.at(name), world.at("keys/owner.key"));
    (request.log, request.embed) = (Some(world.at("log")), Some(copy.clone()));
    sign::sign(&request, &silent())?;
    let file = fs::read(copy)?;
    let span = match manifest::find(name, &file, None) {
        Ok(Some(Found::Embedded(found))) => found.span,
        _ => return Err("the manifest that was put in is not found".into()),
    };
    Ok(Made { file, text: span.start as usize..span.end as usize })
}

const HEADER: &str = r#"{"__metadata__":{"format":"pt"},"w":{"dtype":"U8","shape":[64],"data_offsets":[0,64]}}"#;
const TENSOR: &str = r#","w":{"dtype":"U8","shape":[64],"data_offsets":[0,64]}"#;

fn safetensors(header: &str) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[7; 64]].concat()
}

fn safetensors_changes(good: &Made) -> Vec<Change> {
    let whole = &good.file;
    let header = String::from_utf8_lossy(&whole[8..whole.len() - 64]).into_owned();
    let text = String::from_utf8_lossy(good.text()).into_owned();
    let size = text.len();
    let changed = |from: &str, to: &str| safetensors(&header.replacen(from, to, 1));
    let value = |to: &str| changed(&format!("\"{text}\""), to);
    let claims = |length: u64| [&length.to_le_bytes(), &whole[8..]].concat();
    let injected = |text: &str| {
        let begin = format!("{text}\",\"base_model\":\"attacker/evil\",\"p\":\"");
        let fill = "P".repeat(size - begin.len());
        good.with_text(format!("{begin}{fill}").as_bytes())
    };
    let twin = |key: &str| changed(&format!("\"{KEY}\""), &format!("\"{key}\":\"QUFB\",\"{KEY}\""));
    let mut flipped = whole.clone();
    flipped[whole.len() - 1] ^= 1;
    vec![
        ("st-embedded-good", "nothing is wrong", whole.clone(), "unanchored", ""),
        ("st-inject-metadata", "other metadata over the text", injected("X"), "invalid", "canonical Base64"),
        (
            "st-inject-shrunk-store",
            "a shorter text and other metadata in its room",
            injected(&text[..1200]),
            "invalid",
            "is not that of the bundle",
        ),
        ("st-two-keys", "a second manifest", twin(KEY), "invalid", "appears twice"),
        (
            "st-escaped-twin-key",
            "a second one, spelt otherwise",
            twin("\\u0063\\u0032pa:manifest"),
            "invalid",
            "appears twice",
        ),
        (
            "st-two-metadata",
            "a second __metadata__",
            changed(TENSOR, &format!("{TENSOR},\"__metadata__\":{{}}")),
            "invalid",
            "appears twice",
        ),
        ("st-duplicate-tensor", "a tensor twice", changed(TENSOR, &TENSOR.repeat(2)), "invalid", "appears twice"),
        (
            "st-b64-escaped-char",
            "one character of the text as an escape",
            value(&format!("\"\\u{:04x}{}\"", text.as_bytes()[0], &text[1..])),
            "invalid",
            "not plain Base64",
        ),
        (
            "st-b64-newline",
            "a line end after the text",
            value(&format!("\"{text}\\n\"")),
            "invalid",
            "not plain Base64",
        ),
        (
            "st-b64-urlsafe",
            "a character of another alphabet",
            value(&format!("\"-{}\"", &text[1..])),
            "invalid",
            "not plain Base64",
        ),
        (
            "st-b64-no-padding",
            "the text lacks its end",
            value(&format!("\"{}\"", &text[..size - 1])),
            "invalid",
            "canonical Base64",
        ),
        (
            "st-b64-spare-bits",
            "bits that no byte has",
            value(&format!("\"{}QR==\"", &text[..size - 4])),
            "invalid",
            "canonical Base64",
        ),
        ("st-value-number", "the manifest is a number", value("1"), "invalid", "invalid type"),
        ("st-value-null", "the manifest is null", value("null"), "invalid", "invalid type"),
        ("st-value-empty", "the manifest is empty", value("\"\""), "invalid", "is empty"),
        ("st-manifest-removed", "the file as it was before", safetensors(HEADER), "unknown", "is not there"),
        ("st-header-len+1", "the header takes in a weight", claims(header.len() as u64 + 1), "invalid", "header"),
        (
            "st-header-past-eof",
            "the header ends behind the file",
            claims(whole.len() as u64),
            "invalid",
            "header claims",
        ),
        ("st-header-over-100MB", "a header that nobody reads", claims(100_000_001), "invalid", "header claims"),
        (
            "st-header-junk-after-object",
            "text after the header",
            safetensors(&format!("{header}x       ")),
            "invalid",
            "only spaces",
        ),
        (
            "st-more-padding",
            "eight more spaces after the header",
            safetensors(&format!("{header}        ")),
            "invalid",
            "is about bytes",
        ),
        ("st-short-file", "the last weight is gone", whole[..whole.len() - 1].to_vec(), "invalid", "data"),
        (
            "st-bytes-after-tensors",
            "a byte after the weights",
            [whole, &b"x"[..]].concat(),
            "invalid",
            "belong to no tensor",
        ),
        ("st-flip-tensor", "one bit of a weight", flipped, "invalid", "files"),
        ("st-flip-header", "other metadata beside the manifest", changed("\"pt\"", "\"tf\""), "invalid", "files"),
    ]
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

/// A model with one initialiser of three bytes.
fn onnx() -> Vec<u8> {
    let tensor = [&[1 << 3, 3, 2 << 3, 2][..], &field(8, b"w"), &field(9, b"abc")].concat();
    [&[1 << 3, 8][..], &field(7, &field(5, &tensor)), &field(8, &[2 << 3, 17])].concat()
}

fn onnx_changes(good: &Made) -> Vec<Change> {
    let before = onnx().len();
    let (whole, entry) = (&good.file, &good.file[before..]);
    let second = field(14, &[field(1, KEY.as_bytes()), field(2, b"QUFB")].concat());
    let key = field(1, b"other");
    vec![
        ("onnx-embedded-good", "nothing is wrong", whole.clone(), "unanchored", ""),
        ("onnx-two-entries", "a second manifest", [whole, &*second].concat(), "invalid", "appears twice"),
        ("onnx-same-entry-twice", "the manifest twice", [whole, entry].concat(), "invalid", "appears twice"),
        ("onnx-group-type", "a group at the end", [whole, &[7 << 3 | 3][..]].concat(), "invalid", "wire type 3"),
        ("onnx-field-zero", "a field without a number", [whole, &[2, 0][..]].concat(), "invalid", "no field number"),
        ("onnx-truncated", "the end is gone", whole[..whole.len() - 1].to_vec(), "invalid", "cut short"),
        ("onnx-no-version", "a model without ir_version", whole[2..].to_vec(), "invalid", "ir_version"),
        ("onnx-more-metadata", "metadata beside the manifest", [whole, &*field(14, &key)].concat(), "invalid", "files"),
    ]
}

/// A footer that says no more than its version.
const PARQUET: &[u8] = b"PAR1columns\x15\x04\0\x03\0\0\0PAR1";

fn parquet_changes(good: &Made) -> Vec<Change> {
    let whole = &good.file;
    let tail = whole.len() - 8;
    let footer = &whole[11..tail];
    let with = |footer: &[u8]| {
        let length = (footer.len() as u32).to_le_bytes();
        [b"PAR1columns", footer, &length, b"PAR1"].concat()
    };
    // Version, header of field 5, header of the list, the entry, end.
    let (version, entry) = (&footer[..2], &footer[4..footer.len() - 1]);
    let list =
        |entries: &[&[u8]]| [version, &[0x49, (entries.len() as u8) << 4 | 12], &entries.concat(), &[0]].concat();
    let deep = [version, &[0x3c], &[0x1c; 100][..], &[0; 101], &[0x19], &footer[3..]].concat();
    vec![
        ("pq-embedded-good", "nothing is wrong", with(&list(&[entry])), "unanchored", ""),
        ("pq-two-entries", "the manifest twice", with(&list(&[entry, entry])), "invalid", "appears twice"),
        (
            "pq-more-metadata",
            "metadata beside the manifest",
            with(&list(&[entry, b"\x18\x01a\x18\x01b\0"])),
            "invalid",
            "holds more",
        ),
        (
            "pq-encrypted",
            "a footer said to be encrypted",
            [&whole[..tail + 4], b"PARE"].concat(),
            "invalid",
            "encrypted",
        ),
        (
            "pq-footer-length",
            "a footer that begins before the columns end",
            [&whole[..tail], &(footer.len() as u32 + 1).to_le_bytes(), b"PAR1"].concat(),
            "invalid",
            "Parquet footer",
        ),
        ("pq-deep-nesting", "a hundred structs, one in the other", with(&deep), "invalid", "nest deeper"),
        ("pq-column-flipped", "a byte of the columns", [b"PAR1Columns", &whole[11..]].concat(), "invalid", "files"),
    ]
}

/// A good file beside the sidecar of another.
fn both(world: &World, good: &Made) -> Result<Case> {
    let path = "embedded/both/m.safetensors";
    fs::create_dir_all(world.out.join("embedded/both"))?;
    fs::write(world.out.join(path), &good.file)?;
    fs::copy(world.at("data.csv.c2pa"), world.out.join("embedded/both/m.safetensors.c2pa"))?;
    let options = [("bundle", "embedded/m.safetensors.json"), ("policy", "policy.toml")];
    let story = "the manifest inside is good, the one beside it is another";
    let reason = "is not what was checked here";
    Ok(Case::new("both-embedded-good-sidecar-bad", story, "verify", path, &options, "invalid", reason))
}

/// A GGUF file with a value under the manifest's key, well signed.
fn gguf(world: &World) -> Result<Case> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let number = |number: u64| number.to_le_bytes();
    let key = [&text(KEY)[..], &8_u32.to_le_bytes(), &text("QUFB")].concat();
    let file = [&b"GGUF\x03\0\0\0"[..], &number(0), &number(1), &key].concat();
    let file = [&file[..], &vec![0; file.len().next_multiple_of(32) - file.len()]].concat();
    fs::write(world.at("m.gguf"), &file)?;
    world.sign("m.gguf", &[])?;
    fs::write(world.out.join("embedded/m.gguf"), &file)?;
    fs::copy(world.at("m.gguf.provenance.json"), world.out.join("embedded/m.gguf.json"))?;
    let options = [("bundle", "embedded/m.gguf.json"), ("policy", "policy.toml")];
    let story = "something under the manifest's key of a GGUF header";
    let reason = "unspecified place";
    Ok(Case::new("gguf-kv-manifest", story, "verify", "embedded/m.gguf", &options, "unknown", reason))
}

/// A model whose weights lie in a file of their own, which was changed.
fn external(world: &World) -> Result<Case> {
    let entry = |key: &str, value: &str| field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat());
    let tensor = [&[1 << 3, 3, 2 << 3, 2, 14 << 3, 1][..], &field(8, b"w"), &entry("location", "w.bin")].concat();
    let model = [&[1 << 3, 8][..], &field(7, &field(5, &tensor)), &field(8, &[2 << 3, 17])].concat();
    fs::create_dir_all(world.at("external"))?;
    fs::write(world.at("external/model.onnx"), &model)?;
    fs::write(world.at("external/w.bin"), b"abc")?;
    world.sign("external", &[])?;
    let folder = world.out.join("embedded/external");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("model.onnx"), &model)?;
    fs::write(folder.join("w.bin"), b"abd")?;
    fs::copy(world.at("external.provenance.json"), world.out.join("embedded/external.json"))?;
    let options = [("bundle", "embedded/external.json"), ("policy", "policy.toml")];
    let story = "a weight in an external data file";
    Ok(Case::new(
        "onnx-external-data-changed",
        story,
        "verify",
        "embedded/external",
        &options,
        "invalid",
        "w.bin was changed",
    ))
}
