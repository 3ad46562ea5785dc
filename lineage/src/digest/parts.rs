//! One large object hashed by several machines: plan, hash each part anywhere, merge.
//!
//! ```
//! use countermark_lineage::digest::{Hash, parts};
//!
//! let object = vec![7_u8; 5 << 20];
//! let plan = parts::plan(object.len() as u64, 2 << 20)?;
//! // Each of these may run somewhere else, in any order.
//! let done: Vec<_> = plan.iter().map(|part| parts::hash_part(&object, part.offset, part.length)).collect::<Result<_, _>>()?;
//! assert_eq!(parts::merge(object.len() as u64, &done)?, Hash::blake3(&object));
//! # Ok::<(), countermark_lineage::Error>(())
//! ```
//!
//! A chaining value proves nothing by itself: each part is trusted as far as the worker that hashed it, and the length of
//! the object must be known independently of the workers.

use countermark_formats::ReadAt;
use serde::{Deserialize, Serialize};

use super::Hash;
use super::blob;
use super::subtree::{CHUNK, Fold};
use crate::Error;
use crate::limit::at_most;

/// Schema of the JSON form.
pub const SCHEMA: &str = "countermark.dev/parts/v1";

/// An object in more parts than this is refused: 1 PiB in parts of 64 MiB.
pub const MAX_PARTS: usize = 1 << 24;

/// A run of bytes of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// What a worker answers for a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartDigest {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Chaining value of this subtree of the BLAKE3 tree; zero for no bytes, which are no subtree. Never the hash of a file.
    pub cv: Hash,
    /// Of the part at offset 0: its plain BLAKE3, which is the object's when there is no other part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<Hash>,
}

/// The JSON form: what one or several workers hashed of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Name of the object, as the worker knew it.
    pub name: String,
    /// Length of the whole object in bytes.
    pub size: u64,
    /// The parts that were hashed.
    #[serde(deserialize_with = "at_most::<MAX_PARTS, _, _>")]
    pub parts: Vec<PartDigest>,
}

impl Document {
    /// Of an object of `size` bytes.
    pub fn new(name: impl Into<String>, size: u64, parts: Vec<PartDigest>) -> Self {
        Document { schema: SCHEMA.to_owned(), name: name.into(), size, parts }
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// [`Error::Input`] with line and column.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let help = "make it with `countermark digest PATH --part OFFSET:LENGTH`";
        let document: Document =
            serde_json::from_slice(json).map_err(|error| Error::input("parts", error.to_string(), help))?;
        if document.schema != SCHEMA {
            return Err(Error::input("parts schema", format!("is {:?}, not {SCHEMA:?}", document.schema), help));
        }
        Ok(document)
    }

    /// Joins documents about one object, in any order, into its plain BLAKE3.
    ///
    /// # Errors
    /// As [`merge`]; and when they are about different objects, or there are none.
    pub fn merge(documents: &[Document]) -> Result<(String, Hash), Error> {
        let Some(first) = documents.first() else {
            return Err(Error::usage("no parts to merge", "name the documents that `digest --part` printed"));
        };
        if let Some(other) = documents.iter().find(|other| (&other.name, other.size) != (&first.name, first.size)) {
            let problem =
                format!("is about {:?} of {} bytes, not {:?} of {}", other.name, other.size, first.name, first.size);
            return Err(Error::input("parts", problem, "merge the parts of one object"));
        }
        let mut parts: Vec<PartDigest> = documents.iter().flat_map(|document| &document.parts).copied().collect();
        parts.sort_by_key(|part| (part.offset, part.length));
        Ok((first.name.clone(), merge(first.size, &parts)?))
    }
}

/// Cuts an object of `size` bytes into parts of `part_length`, the last one shorter. An empty object is one empty part.
///
/// # Errors
/// [`Error::Usage`] unless `part_length` is a power of two of at least 1024 bytes, and for more than [`MAX_PARTS`] parts.
pub fn plan(size: u64, part_length: u64) -> Result<Vec<Part>, Error> {
    if !part_length.is_power_of_two() || part_length < CHUNK {
        let problem = format!("parts of {part_length} bytes are not subtrees of BLAKE3");
        return Err(Error::usage(problem, "choose a power of two of at least 1024 bytes, such as 67108864"));
    }
    let count = size.div_ceil(part_length).max(1);
    if count > MAX_PARTS as u64 {
        let problem = format!("{count} parts are above {MAX_PARTS}");
        return Err(Error::usage(problem, "choose larger parts"));
    }
    let part = |index| Part { offset: index * part_length, length: part_length.min(size - index * part_length) };
    Ok((0..count).map(part).collect())
}

/// Hashes `length` bytes at `offset` of `source`, as a part of the whole.
///
/// # Errors
/// [`Error::Usage`] for bytes that are no subtree of this source; [`Error::Io`] when they cannot be read.
pub fn hash_part(source: &(impl ReadAt + ?Sized), offset: u64, length: u64) -> Result<PartDigest, Error> {
    hash_part_with(source, offset, length, &|_| ())
}

/// As [`hash_part`], and tells `progress` how many bytes were hashed.
pub fn hash_part_with(
    source: &(impl ReadAt + ?Sized),
    offset: u64,
    length: u64,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<PartDigest, Error> {
    check(source.len(), offset, length).map_err(|problem| {
        Error::usage(problem, "take an offset that is a multiple of the length, and a length that is a power of two of at least 1024 bytes; or \
             all that is left, for the last part")
    })?;
    let place = || format!("part {offset}:{length}");
    let (cv, whole) = blob::subtree(source, offset..offset + length, progress).map_err(Error::io(place()))?;
    Ok(PartDigest { offset, length, cv: Hash(cv), whole })
}

/// Joins the parts of an object of `size` bytes, which must follow each other in order, into its plain BLAKE3.
///
/// # Errors
/// [`Error::Input`] naming the first part that leaves a gap, overlaps, stands twice, is out of order, is no subtree of
/// BLAKE3, or ends elsewhere than the object.
pub fn merge(size: u64, parts: &[PartDigest]) -> Result<Hash, Error> {
    let refuse = |index: usize, problem: String| {
        let help = "hash the missing or wrong part again, with offset and length from one plan";
        Err(Error::input(format!("part {index}"), problem, help))
    };
    if parts.len() > MAX_PARTS {
        return refuse(parts.len(), format!("there are more than {MAX_PARTS} parts"));
    }
    let mut fold = Fold::default();
    let mut reached = 0_u64;
    for (index, part) in parts.iter().enumerate() {
        if part.offset != reached {
            let how = if part.offset > reached { "leaves a gap" } else { "overlaps, stands twice or is out of order" };
            return refuse(index, format!("begins at {}, and the one before ends at {reached}: {how}", part.offset));
        }
        if let Err(problem) = check(size, part.offset, part.length) {
            return refuse(index, problem);
        }
        if part.length == 0 && size > 0 {
            return refuse(index, "is empty".to_owned());
        }
        // `check` has compared the sum with the size.
        reached += part.length;
        fold.push(part.length, part.cv.0);
    }
    if reached != size || parts.is_empty() {
        return refuse(parts.len(), format!("is missing: the parts end at {reached} of {size} bytes"));
    }
    match parts {
        [PartDigest { whole: Some(whole), .. }] => Ok(*whole),
        [_] => refuse(0, "is the only one and does not say its plain hash".to_owned()),
        _ => fold.root().ok_or_else(|| Error::input("parts", "are too few for a root", "hash the object again")),
    }
}

/// Why these bytes are no subtree of an object of `size` bytes.
///
/// A subtree that ends before the object does is complete: a power of two of chunks, at a multiple of its length. The last
/// one is cut short, and no longer than the largest power of two that divides its offset.
fn check(size: u64, offset: u64, length: u64) -> Result<(), String> {
    let what = format!("{offset}:{length} of {size} bytes");
    let Some(end) = offset.checked_add(length).filter(|end| *end <= size) else {
        return Err(format!("{what} is outside of the object"));
    };
    if !offset.is_multiple_of(CHUNK) {
        return Err(format!("{what} does not begin at a multiple of {CHUNK}"));
    }
    if length == 0 && size > 0 {
        return Err(format!("{what} is empty"));
    }
    let most = if offset == 0 { u64::MAX } else { 1 << offset.trailing_zeros() };
    if length > most {
        return Err(format!("{what} is no subtree: at this offset one has at most {most} bytes"));
    }
    if end < size && !(length.is_power_of_two() && length >= CHUNK) {
        return Err(format!("{what} is no subtree: before the end one has a power of two of at least {CHUNK} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i % 251) as u8).collect()
    }

    fn digests(bytes: &[u8], part_length: u64) -> Vec<PartDigest> {
        let plan = plan(bytes.len() as u64, part_length).unwrap();
        plan.iter().map(|part| hash_part(bytes, part.offset, part.length).unwrap()).collect()
    }

    #[test]
    fn part_values_of_the_known_answer() {
        let bytes = pattern(3 * 1024 * 1024 + 777);
        let parts = digests(&bytes, 1 << 20);
        let values: Vec<String> = parts.iter().map(|part| part.cv.to_string()).collect();
        assert_eq!(
            values,
            [
                "8a576541118ebf5fad8d683c09b63402288a71616ecc72514abf780822136023",
                "e01e387e729abf35ba39644daebfa3a124ab9fee5a6445295e0309cc4fda53a7",
                "bdcf82608b11c686cb5a2618dc95a16978b73622e9a943dd26af5bdbf7f4b41b",
                "946cf5eff244c5513451b80ceee2b031aec582f029178ee75dacacdf23e68984",
            ]
        );
        let root = "af47dfe5284779cecdf26b7bb8209b1a4ca1e24bb168adff9f9ee4294a9e52e9";
        assert_eq!(merge(bytes.len() as u64, &parts).unwrap().to_string(), root);
    }

    fn problem(size: u64, parts: &[PartDigest]) -> String {
        merge(size, parts).unwrap_err().problem()
    }

    #[test]
    fn parts_that_do_not_tile_are_refused() {
        let bytes = pattern(5000);
        let good = digests(&bytes, 1024);
        assert_eq!(merge(5000, &good).unwrap(), Hash::blake3(&bytes));
        let gap = [&good[..1], &good[2..]].concat();
        assert!(problem(5000, &gap).contains("leaves a gap"));
        let twice = [&good[..2], &good[1..]].concat();
        assert!(problem(5000, &twice).contains("stands twice"));
        let mut turned = good.clone();
        turned.swap(0, 1);
        assert!(problem(5000, &turned).contains("gap"));
        turned[0] = good[0];
        assert!(problem(5000, &turned).contains("out of order"));
        let two = hash_part(&bytes[..4096], 0, 2048).unwrap();
        assert!(problem(5000, &[&[two], &good[1..]].concat()).contains("overlaps"));
        assert!(problem(5000, &good[..4]).contains("is missing"));
        assert!(problem(5000, &[]).contains("is missing"));
        for wrong_total in [0, 1, 4096, 4999, 5001, 6144, u64::MAX] {
            merge(wrong_total, &good).unwrap_err();
        }
        let mut nothing = good.clone();
        nothing.push(PartDigest { offset: 5000, length: 0, cv: Hash::default(), whole: None });
        assert!(problem(5000, &nothing).contains("multiple"));
        let overflow = PartDigest { offset: 5 << 10, length: u64::MAX, cv: Hash::default(), whole: None };
        problem(u64::MAX, &[&good[..4], &[overflow]].concat());
    }

    /// These add up, and would give some hash, but not the object's.
    #[test]
    fn parts_that_are_no_subtrees_are_refused() {
        let bytes = pattern(8192);
        for (offset, length) in [(0, 3072), (1024, 2048), (512, 512), (3072, 5120), (0, 0), (2048, 3000), (0, 100)] {
            assert!(hash_part(&bytes, offset, length).is_err(), "{offset}:{length}");
        }
        assert!(hash_part(&bytes, 8192, 1).is_err() && hash_part(&bytes, u64::MAX, 1024).is_err());
        let part = |offset, length| PartDigest { offset, length, cv: Hash([1; 32]), whole: None };
        assert!(problem(8192, &[part(0, 3072), part(3072, 1024), part(4096, 4096)]).contains("no subtree"));
        assert!(problem(8192, &[part(0, 1024), part(1024, 7168)]).contains("no subtree"));
    }

    #[test]
    fn one_part_and_none() {
        for length in [0, 1, 1024, 1025, 5000, 3 << 20] {
            let bytes = pattern(length);
            let one = digests(&bytes, 1 << 30);
            assert_eq!(one.len(), 1);
            assert_eq!(merge(length as u64, &one).unwrap(), Hash::blake3(&bytes));
            let stripped = PartDigest { whole: None, ..one[0] };
            merge(length as u64, &[stripped]).unwrap_err();
        }
        assert!(plan(1, 1000).is_err() && plan(1, 512).is_err() && plan(1, 0).is_err());
        assert!(plan(u64::MAX, 1024).is_err());
        assert_eq!(plan(u64::MAX, 1 << 63).unwrap().len(), 2);
    }

    #[test]
    fn documents_are_about_one_object() {
        let bytes = pattern(3000);
        let one = |name: &str, part: PartDigest| Document::new(name, 3000, vec![part]);
        let parts = digests(&bytes, 1024);
        let documents: Vec<Document> = parts.iter().rev().map(|part| one("a", *part)).collect();
        assert_eq!(Document::merge(&documents).unwrap(), ("a".to_owned(), Hash::blake3(&bytes)));
        let json = serde_json::to_vec(&documents[0]).unwrap();
        assert_eq!(Document::parse(&json).unwrap(), documents[0]);
        Document::merge(&[one("a", parts[0]), one("b", parts[1]), one("a", parts[2])]).unwrap_err();
        Document::merge(&[]).unwrap_err();
        Document::parse(br#"{"schema":"other","name":"a","size":0,"parts":[]}"#).unwrap_err();
        Document::parse(br#"{"schema":"countermark.dev/parts/v1","name":"a","size":-1,"parts":[]}"#).unwrap_err();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever the parts, mixed sizes among them: split each complete part again or not.
        #[test]
        fn any_legal_tiling_gives_the_plain_hash(length in 1_usize..300_000, log in 10_u32..16, splits: u64) {
            let bytes = pattern(length);
            let mut tiling = Vec::new();
            for (index, part) in plan(length as u64, 1 << log).unwrap().into_iter().enumerate() {
                let half = part.length / 2;
                if splits >> (index % 64) & 1 == 1 && part.length == 1 << log && half >= 1024 {
                    tiling.push(Part { length: half, ..part });
                    tiling.push(Part { offset: part.offset + half, length: half });
                } else {
                    tiling.push(part);
                }
            }
            let digests = tiling.iter().map(|part| hash_part(&bytes, part.offset, part.length)).collect::<Result<Vec<_>, _>>();
            prop_assert_eq!(merge(length as u64, &digests.unwrap()).unwrap(), Hash::blake3(&bytes));
        }

        #[test]
        fn foreign_documents_do_no_harm(text in "\\PC*", size: u64, offset: u64, length: u64) {
            let _ = Document::parse(text.as_bytes());
            let part = PartDigest { offset, length, cv: Hash([1; 32]), whole: None };
            let _ = merge(size, &[part, part]);
            let _ = hash_part(&[1_u8; 5000][..], offset % 6000, length % 6000);
        }
    }
}
