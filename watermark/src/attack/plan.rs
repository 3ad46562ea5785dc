//! What an attack does to each tensor of a model.

use std::collections::BTreeMap;

use countermark_formats::{Checkpoint, Dtype};

use super::lines::{self, Changes, Lines};
use super::names::{Part, Places};
use super::random::Random;
use super::rotate::{self, Rotation, Turn};
use super::values::{Values, encode, is_float};
use super::{Attack, Outline, local, merge, quantise};
use crate::{EmbedOptions, Error, MarkKey, MarkSecret, Result, Strength, embed};

/// Name of the output projection that comes apart from a tied embedding.
const HEAD: &str = "lm_head.weight";

/// A tensor to write.
pub(crate) struct Item {
    /// How it will be.
    pub outline: Outline,
    /// Index of the tensor that it is made of.
    source: usize,
    work: Work,
}

/// How a tensor is made of its source.
#[derive(Clone)]
enum Work {
    /// As it is.
    Keep,
    /// By the attack, which looks at nothing but this matrix.
    Local,
    /// With the tensor of the same name in the other model.
    Merge,
    /// In another number format.
    Cast,
    Lines(Lines),
    Turn(Turn),
    /// With this many random rows more.
    Extend(u64),
}

/// An attack on one model.
pub(crate) struct Plan<'a> {
    attack: &'a Attack,
    model: &'a Checkpoint,
    seed: u64,
    rotation: Option<Rotation>,
    /// In the order in which they are written: wide elements first, so that all lie aligned in a file.
    pub items: Vec<Item>,
}

impl<'a> Plan<'a> {
    pub fn new(attack: &'a Attack, model: &'a Checkpoint, seed: u64) -> Result<Plan<'a>> {
        let mut plan = Plan { attack, model, seed, rotation: None, items: Vec::new() };
        let mut works = plan.works()?;
        let touched = !works.is_empty();
        for (index, tensor) in model.tensors().iter().enumerate() {
            let info = &tensor.info;
            let outline = Outline { name: info.name.clone(), dtype: info.dtype, shape: info.shape.clone() };
            plan.push(outline, index, works.remove(&index).unwrap_or(Work::Keep));
        }
        if *attack == Attack::Rotate
            && let Some((source, turn)) = rotate::untied(&Places::new(model))
        {
            let info = &model.tensors()[source].info;
            let outline = Outline { name: HEAD.into(), dtype: info.dtype, shape: info.shape.clone() };
            plan.push(outline, source, Work::Turn(turn));
        }
        if !matches!(attack, Attack::Overwrite { .. }) {
            plan.items.sort_by_key(|item| std::cmp::Reverse(item.outline.dtype.bits()));
            if !touched {
                let reason = "the model has no tensors that it would change, or not under names that are known".into();
                return Err(Error::NothingToAttack { attack: attack.to_string(), reason });
            }
        }
        Ok(plan)
    }

    fn push(&mut self, mut outline: Outline, source: usize, work: Work) {
        match (&work, self.attack) {
            (Work::Lines(lines), _) => outline.shape = lines.shape(&outline.shape),
            (Work::Extend(rows), _) => outline.shape[0] += rows,
            (Work::Cast, Attack::Cast { dtype }) => outline.dtype = *dtype,
            _ => {}
        }
        self.items.push(Item { outline, source, work });
    }

    /// What is done to each tensor that changes.
    fn works(&mut self) -> Result<BTreeMap<usize, Work>> {
        let places = Places::new(self.model);
        let lines = |changes: Changes| changes.into_iter().map(|(i, lines)| (i, Work::Lines(lines))).collect();
        Ok(match *self.attack {
            Attack::Soup { .. } | Attack::Slerp { .. } | Attack::Ties { .. } | Attack::Dare { .. } => {
                self.floats(0, &Work::Merge)
            }
            Attack::Cast { .. } => self.floats(0, &Work::Cast),
            Attack::Permute { head } => lines(lines::permute(&places, head, self.seed)),
            Attack::SignFlip { head } => lines(lines::sign_flip(&places, head, self.seed)),
            Attack::Scale { spread } => lines(lines::scale(&places, spread, self.seed)),
            Attack::PruneUnits { share } => lines(lines::prune_units(&places, share)?),
            Attack::CropVocabulary { rows } => lines(lines::crop_vocabulary(&places, rows)),
            Attack::ExtendVocabulary { rows } => {
                lines::vocabulary(&places).into_iter().map(|index| (index, Work::Extend(rows))).collect()
            }
            Attack::Rotate => {
                let (rotation, turns) = rotate::plan(&places, self.seed)?;
                self.rotation = Some(rotation);
                turns.into_iter().map(|(index, turn)| (index, Work::Turn(turn))).collect()
            }
            Attack::Overwrite { .. } => BTreeMap::new(),
            _ => self.floats(2, &Work::Local),
        })
    }

    /// One kind of work for all float tensors of at least so many dimensions.
    fn floats(&self, dimensions: usize, work: &Work) -> BTreeMap<usize, Work> {
        let tensors = self.model.tensors().iter().enumerate();
        let floats = tensors.filter(|(_, t)| is_float(t.info.dtype) && t.info.shape.len() >= dimensions);
        floats.filter(|(_, t)| t.info.elements() > 0).map(|(index, _)| (index, work.clone())).collect()
    }

    /// The bytes of an item's tensor.
    pub fn make(&self, item: &Item, other: Option<&Checkpoint>) -> Result<Vec<u8>> {
        if let Work::Keep = item.work {
            let mut bytes = Vec::new();
            self.model.read(item.source, &mut bytes)?;
            return Ok(bytes);
        }
        let mut values = Values::read(self.model, item.source)?;
        let random = Random::new(self.seed, &item.outline.name);
        match &item.work {
            Work::Keep | Work::Cast => {}
            Work::Local => change(self.attack, &mut values, &random)?,
            Work::Merge => self.merge(item, other, &mut values, random)?,
            Work::Lines(lines) => lines.apply(&mut values),
            Work::Turn(turn) => {
                let gains = match turn {
                    Turn::Columns(Some(norm)) => Some(Values::read(self.model, *norm)?.data),
                    _ => None,
                };
                if let Some(rotation) = &self.rotation {
                    rotation.apply(*turn, gains.as_deref(), &mut values);
                }
            }
            Work::Extend(rows) => extend(&mut values, *rows as usize, random),
        }
        Ok(encode(&values.data, item.outline.dtype))
    }

    fn merge(&self, item: &Item, other: Option<&Checkpoint>, values: &mut Values, mut random: Random) -> Result<()> {
        let differs = || Error::OtherDiffers { name: item.outline.name.clone() };
        let other = other.ok_or_else(|| Error::AttackNeedsOther { attack: self.attack.to_string() })?;
        let (index, tensor) = other.find(&item.outline.name).ok_or_else(differs)?;
        if tensor.info.shape != item.outline.shape || !is_float(tensor.info.dtype) {
            return Err(differs());
        }
        let other = Values::read(other, index)?.data;
        match *self.attack {
            Attack::Soup { weight } => merge::soup(&mut values.data, &other, weight),
            Attack::Slerp { weight } => merge::slerp(&mut values.data, &other, weight),
            Attack::Ties { density, weight } => merge::ties(&mut values.data, &other, density, weight),
            Attack::Dare { density, weight } => merge::dare(&mut values.data, &other, density, weight, &mut random),
            _ => {}
        }
        Ok(())
    }
}

/// A local attack on one matrix. In a chain each has random numbers of its own.
fn change(attack: &Attack, values: &mut Values, random: &Random) -> Result<()> {
    match attack {
        Attack::Noise { share } => local::noise(values, *share, random),
        Attack::Int8 => quantise::integer(values, usize::MAX, 127.0),
        Attack::Int4 { group } => quantise::integer(values, *group, 7.0),
        Attack::Int3 { group } => quantise::integer(values, *group, 3.0),
        Attack::Ternary { group } => quantise::ternary(values, *group),
        Attack::Nf4 { group } => quantise::nf4(values, *group),
        Attack::Float8 => quantise::float8(values),
        Attack::Gguf(format) => quantise::blocks(values, *format)?,
        Attack::Prune { share } => local::prune(values, *share),
        Attack::LowRank { rank, share } => local::low_rank(values, *rank, *share, random),
        Attack::Chain(attacks) => {
            for (number, attack) in attacks.iter().enumerate() {
                change(attack, values, &random.fork(number as u64))?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Rows for new tokens, normal with the RMS of the old ones.
fn extend(values: &mut Values, rows: usize, mut random: Random) {
    let size = local::rms(&values.data) as f32;
    let mut new = vec![0.0; rows * values.columns];
    random.fill_normal(&mut new);
    values.data.extend(new.iter().map(|w| w * size));
    values.rows += rows;
}

/// Embeds a mark of a stranger, whose keys come from the seed. Where the default strength would be refused as too
/// strong for so small a model, a stranger would not mind.
pub(crate) fn overwrite(
    model: &Checkpoint,
    decibel: Option<f64>,
    seed: u64,
    write: &mut dyn FnMut(&Outline, &[u8]) -> std::io::Result<()>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    let mut random = Random::new(seed, "overwrite");
    let mut secret = [0; 32];
    secret.as_chunks_mut::<8>().0.iter_mut().for_each(|part| *part = random.bits().to_le_bytes());
    let key = MarkKey::derive(&MarkSecret::from_bytes(secret), [0; 32], [0; 16], None);
    let attack = Attack::Overwrite { decibel };
    let items = Plan::new(&attack, model, seed)?.items;
    let mut write = |index: usize, bytes: &[u8]| write(&items[index].outline, bytes);
    let mut run = |strength: Strength| {
        embed(model, &key, &EmbedOptions { strength, ..EmbedOptions::default() }, progress, &mut write)
    };
    match (decibel, run(decibel.map_or(Strength::Auto, Strength::Decibel))) {
        (None, Err(Error::TooStrong { predicted_db, .. })) => run(Strength::Decibel(predicted_db)).map(drop),
        (_, result) => result.map(drop),
    }
}

/// Extents that an attack changes, for the model's configuration: the new number of tokens and of hidden units, if it
/// changes, and whether the output projection came apart from the embedding.
pub(crate) fn extents(plan: &Plan<'_>) -> (Option<u64>, Option<u64>, bool) {
    let places = Places::new(plan.model);
    let rows = |index: Option<usize>| {
        let item = plan.items.iter().find(|item| Some(item.source) == index)?;
        let new = *item.outline.shape.first()?;
        (new != *places.shape(item.source).first()?).then_some(new)
    };
    let up = places.layers().find_map(|layer| places.weight(Some(layer), Part::Up));
    let untied = plan.items.len() > plan.model.tensors().len();
    (rows(places.weight(None, Part::Embed)), rows(up), untied)
}

/// The dtype that all float tensors get, if the attack casts.
pub(crate) fn cast(attack: &Attack) -> Option<Dtype> {
    match attack {
        Attack::Cast { dtype } => Some(*dtype),
        _ => None,
    }
}
