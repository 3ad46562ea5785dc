//! Attacks as text: a kind and its numbers, `low-rank:16:0.05`.

use std::fmt;
use std::str::FromStr;

use countermark_formats::Dtype;

use super::{Attack, Blocks};
use crate::Error;

impl Attack {
    /// How each kind is written, an example of it, and what it does. Numbers in brackets may be left out.
    pub const ALL_KINDS: &'static [(&'static str, &'static str, &'static str)] = &[
        ("noise:SHARE", "noise:0.1", "normal noise of SHARE times the row's RMS on every weight"),
        ("int8", "int8", "8-bit integers and back, one scale for each row"),
        ("int4[:GROUP]", "int4:128", "4-bit integers and back, one scale for GROUP weights"),
        ("int3[:GROUP]", "int3:128", "3-bit integers and back, one scale for GROUP weights"),
        ("ternary[:GROUP]", "ternary:64", "three levels and back, one scale for GROUP weights"),
        ("nf4[:GROUP]", "nf4:64", "the 16 levels of NF4 and back, one scale for GROUP weights"),
        ("fp8", "fp8", "8-bit floats (E4M3) and back, one scale for each row"),
        ("gguf:TYPE", "gguf:q4_k", "a GGUF block type and back: q8_0 q6_k q5_k q5_1 q5_0 q4_k q4_1 q4_0 q3_k q2_k"),
        ("prune:SHARE", "prune:0.5", "SHARE of every matrix's weights become zero, the smallest first"),
        ("prune-units:SHARE", "prune-units:0.25", "SHARE of every MLP's hidden units are removed"),
        ("low-rank:RANK:SHARE", "low-rank:16:0.05", "a random adapter of that rank and relative size is merged"),
        ("soup[:WEIGHT]", "soup:0.5", "the mean with another model, which has WEIGHT"),
        ("slerp[:WEIGHT]", "slerp:0.5", "the mean along the great circle to another model"),
        ("ties:DENSITY[:WEIGHT]", "ties:0.2:1", "a TIES merge of the difference from the base onto the base"),
        ("dare:DENSITY[:WEIGHT]", "dare:0.1:1", "a DARE merge of the difference from the base onto the base"),
        ("permute[:HEAD]", "permute", "hidden units, and values in heads of size HEAD, in another order"),
        ("rotate", "rotate", "the residual stream in another basis"),
        ("scale[:SPREAD]", "scale:4", "factors up to SPREAD moved between up and down, norms and readers"),
        ("sign-flip[:HEAD]", "sign-flip", "signs of hidden units, and of values in heads of size HEAD, flipped"),
        ("crop-vocabulary:ROWS", "crop-vocabulary:200", "only the first ROWS tokens are kept"),
        ("extend-vocabulary:ROWS", "extend-vocabulary:64", "ROWS new tokens with random embeddings"),
        ("cast:DTYPE", "cast:f16", "all floats as f64, f32, f16 or bf16"),
        ("overwrite[:DECIBEL]", "overwrite", "another mark by this scheme, under a key of a stranger"),
        ("A+B+…", "noise:0.05+prune:0.5+int4:128", "several that change every matrix by itself, in this order"),
    ];
}

impl FromStr for Attack {
    type Err = Error;

    fn from_str(text: &str) -> Result<Attack, Error> {
        let refuse = |reason: String| Error::BadAttack { text: text.into(), reason };
        let attacks: Vec<Attack> = text.split('+').map(parse).collect::<Result<_, String>>().map_err(refuse)?;
        match <[Attack; 1]>::try_from(attacks) {
            Ok([attack]) => Ok(attack),
            Err(attacks) => match attacks.iter().find(|attack| !attack.is_local()) {
                Some(attack) => {
                    Err(refuse(format!("{attack} looks at more than one matrix: apply it to a file of its own")))
                }
                None => Ok(Attack::Chain(attacks)),
            },
        }
    }
}

fn parse(text: &str) -> Result<Attack, String> {
    let mut fields = Fields(text.split(':'));
    let kind = fields.0.next().unwrap_or_default();
    let share = |value: &f64| (0.0..=1.0).contains(value);
    let positive = |value: &f64| *value > 0.0 && value.is_finite();
    let least_one = |value: &usize| *value >= 1;
    let attack = match kind {
        "noise" => Attack::Noise { share: fields.number("share", None, |v: &f64| *v >= 0.0 && v.is_finite())? },
        "int8" => Attack::Int8,
        "int4" => Attack::Int4 { group: fields.number("group", Some(128), least_one)? },
        "int3" => Attack::Int3 { group: fields.number("group", Some(128), least_one)? },
        "ternary" => Attack::Ternary { group: fields.number("group", Some(64), least_one)? },
        "nf4" => Attack::Nf4 { group: fields.number("group", Some(64), least_one)? },
        "fp8" => Attack::Float8,
        "gguf" => {
            let name: String = fields.number("type", None, |_| true)?;
            let found = BLOCKS.iter().find(|(known, _)| *known == name.to_lowercase());
            Attack::Gguf(found.ok_or_else(|| format!("{name:?} is no type of block that is known"))?.1)
        }
        "prune" => Attack::Prune { share: fields.number("share", None, share)? },
        "prune-units" => Attack::PruneUnits { share: fields.number("share", None, share)? },
        "low-rank" => Attack::LowRank {
            rank: fields.number("rank", None, |v| (1..=4096).contains(v))?,
            share: fields.number("share", None, positive)?,
        },
        "soup" => Attack::Soup { weight: fields.number("weight", Some(0.5), share)? },
        "slerp" => Attack::Slerp { weight: fields.number("weight", Some(0.5), share)? },
        "ties" | "dare" => {
            let density = fields.number("density", None, |v| share(v) && *v > 0.0)?;
            let weight = fields.number("weight", Some(1.0), |v: &f64| v.is_finite())?;
            if kind == "ties" { Attack::Ties { density, weight } } else { Attack::Dare { density, weight } }
        }
        "permute" => Attack::Permute { head: fields.optional("head", |v| *v >= 1)? },
        "rotate" => Attack::Rotate,
        "scale" => Attack::Scale { spread: fields.number("spread", Some(4.0), |v| (1.0..=1024.0).contains(v))? },
        "sign-flip" => Attack::SignFlip { head: fields.optional("head", |v| *v >= 1)? },
        "crop-vocabulary" => {
            Attack::CropVocabulary { rows: fields.number("rows", None, |v| (1..1 << 31).contains(v))? }
        }
        "extend-vocabulary" => {
            Attack::ExtendVocabulary { rows: fields.number("rows", None, |v| (1..1 << 24).contains(v))? }
        }
        "cast" => {
            let name: String = fields.number("dtype", None, |_| true)?;
            let dtypes = [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::Bf16];
            let found = dtypes.into_iter().find(|dtype| dtype.as_str().eq_ignore_ascii_case(&name));
            Attack::Cast { dtype: found.ok_or_else(|| format!("{name:?} is not f64, f32, f16 or bf16"))? }
        }
        "overwrite" => Attack::Overwrite { decibel: fields.optional("decibel", |v| (-120.0..=-10.0).contains(v))? },
        other => return Err(format!("there is no kind {other:?}")),
    };
    match fields.0.next() {
        Some(rest) => Err(format!("{rest:?} is one number too many")),
        None => Ok(attack),
    }
}

/// The numbers behind the kind.
struct Fields<'a>(std::str::Split<'a, char>);

impl Fields<'_> {
    fn number<T: FromStr>(&mut self, name: &str, default: Option<T>, fits: impl Fn(&T) -> bool) -> Result<T, String> {
        match (self.optional(name, fits)?, default) {
            (Some(value), _) | (None, Some(value)) => Ok(value),
            (None, None) => Err(format!("the {name} is missing")),
        }
    }

    fn optional<T: FromStr>(&mut self, name: &str, fits: impl Fn(&T) -> bool) -> Result<Option<T>, String> {
        let Some(text) = self.0.next() else { return Ok(None) };
        let value = text.parse().ok().filter(fits);
        value.map(Some).ok_or_else(|| format!("{text:?} is no possible {name}"))
    }
}

const BLOCKS: [(&str, Blocks); 10] = [
    ("q8_0", Blocks::Q8_0),
    ("q6_k", Blocks::Q6K),
    ("q5_k", Blocks::Q5K),
    ("q5_1", Blocks::Q5_1),
    ("q5_0", Blocks::Q5_0),
    ("q4_k", Blocks::Q4K),
    ("q4_1", Blocks::Q4_1),
    ("q4_0", Blocks::Q4_0),
    ("q3_k", Blocks::Q3K),
    ("q2_k", Blocks::Q2K),
];

impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(BLOCKS.iter().find(|(_, format)| format == self).map_or("", |(name, _)| name))
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn with<T: fmt::Display>(f: &mut fmt::Formatter<'_>, kind: &str, number: &Option<T>) -> fmt::Result {
            match number {
                Some(number) => write!(f, "{kind}:{number}"),
                None => f.write_str(kind),
            }
        }
        match self {
            Attack::Noise { share } => write!(f, "noise:{share}"),
            Attack::Int8 => f.write_str("int8"),
            Attack::Int4 { group } => write!(f, "int4:{group}"),
            Attack::Int3 { group } => write!(f, "int3:{group}"),
            Attack::Ternary { group } => write!(f, "ternary:{group}"),
            Attack::Nf4 { group } => write!(f, "nf4:{group}"),
            Attack::Float8 => f.write_str("fp8"),
            Attack::Gguf(format) => write!(f, "gguf:{format}"),
            Attack::Prune { share } => write!(f, "prune:{share}"),
            Attack::PruneUnits { share } => write!(f, "prune-units:{share}"),
            Attack::LowRank { rank, share } => write!(f, "low-rank:{rank}:{share}"),
            Attack::Soup { weight } => write!(f, "soup:{weight}"),
            Attack::Slerp { weight } => write!(f, "slerp:{weight}"),
            Attack::Ties { density, weight } => write!(f, "ties:{density}:{weight}"),
            Attack::Dare { density, weight } => write!(f, "dare:{density}:{weight}"),
            Attack::Permute { head } => with(f, "permute", head),
            Attack::Rotate => f.write_str("rotate"),
            Attack::Scale { spread } => write!(f, "scale:{spread}"),
            Attack::SignFlip { head } => with(f, "sign-flip", head),
            Attack::CropVocabulary { rows } => write!(f, "crop-vocabulary:{rows}"),
            Attack::ExtendVocabulary { rows } => write!(f, "extend-vocabulary:{rows}"),
            Attack::Cast { dtype } => write!(f, "cast:{}", dtype.as_str().to_lowercase()),
            Attack::Overwrite { decibel } => with(f, "overwrite", decibel),
            Attack::Chain(attacks) => {
                for (number, attack) in attacks.iter().enumerate() {
                    write!(f, "{}{attack}", if number == 0 { "" } else { "+" })?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_as_it_is_shown() {
        for (syntax, example, _) in Attack::ALL_KINDS {
            let attack: Attack = example.parse().unwrap();
            assert_eq!(attack.to_string(), *example, "{syntax}");
            let kind = syntax.split([':', '[', '+']).next().unwrap();
            assert!(example.starts_with(kind) || kind == "A");
        }
        assert_eq!("int4".parse::<Attack>().unwrap(), Attack::Int4 { group: 128 });
        assert_eq!("permute:64".parse::<Attack>().unwrap(), Attack::Permute { head: Some(64) });
    }

    #[test]
    fn bad_attacks_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "no kind"),
            ("int5", "no kind"),
            ("noise", "share is missing"),
            ("noise:-1", "no possible share"),
            ("prune:1.5", "no possible share"),
            ("prune:nan", "no possible share"),
            ("int4:0", "no possible group"),
            ("int4:128:1", "too many"),
            ("gguf:q9", "no type"),
            ("cast:i8", "not f64"),
            ("low-rank:0:0.1", "no possible rank"),
            ("noise:0.1+rotate", "more than one matrix"),
        ] {
            let error = text.parse::<Attack>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
