//! The signed payload: an in-toto statement that lists the files of a model, or shards of them, with their digests.
//!
//! ```text
//! subject      one name (for people), and the root: SHA-256 over the raw digests in the order of the list
//! resources    name, algorithm, digest of each file; of each byte range `path:start:end` with the method `shards`
//! serialization  how they were made: method, hash, shard size, links, what was left out
//! ```
//!
//! [`Statement::parse`] takes the bytes of a verified payload. The payload need not be canonical and is never written
//! again before it is verified.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::json::strict;
use super::names::{DEFAULT_IGNORED, check_ignored, check_name, is_ignored, parse_shard};
use crate::Error;
use crate::digest::Hash;
use crate::digest::pieces::Function;

/// Bytes of a shard when nobody says otherwise.
pub const DEFAULT_SHARD_SIZE: u64 = 1_000_000_000;

const TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://model_signing/signature/v1.0";
/// Of model-signing 0.2.0: files stand in the subject, and there is no predicate. Read, never written.
const LEGACY: &str = "https://model_signing/Digests/v0.1";
/// Larger numbers are not exact in the floating-point numbers in which the reference writes them.
const MAX_SHARD_SIZE: u64 = 1 << 53;

/// Cut files into resources, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// One resource a file.
    Files,
    /// One resource for so many bytes of a file. Files without bytes have none, so nothing protects them.
    Shards(u64),
}

/// One digest of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The file, relative to the model; `.` when the model is this one file.
    pub path: String,
    /// The bytes of it, with [`Method::Shards`].
    pub range: Option<Range<u64>>,
    /// As many bytes as the hash function gives.
    pub digest: Vec<u8>,
}

/// What was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What the signer called the model. Says nothing about which model this is.
    pub name: String,
    /// Countermark's root of the same artifact, when the signer stated it.
    pub blake3: Option<Hash>,
    /// Files or shards, each once, in the order given.
    pub resources: Vec<Resource>,
    /// Cut into shards, or not.
    pub method: Method,
    /// What they were hashed with.
    pub function: Function,
    /// Links were followed.
    pub allow_symlinks: bool,
    /// Left out, beside [`DEFAULT_IGNORED`].
    pub ignored: Vec<String>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "_type")]
    statement_type: String,
    #[serde(rename = "predicateType")]
    predicate_type: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<P> {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<RawSubject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: P,
}

/// Subjects and resources are open: fields that in-toto knows and OMS does not say are ignored.
#[derive(Serialize, Deserialize)]
struct RawSubject {
    name: String,
    digest: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPredicate {
    resources: Vec<RawResource>,
    serialization: RawSerialization,
}

#[derive(Serialize, Deserialize)]
struct RawResource {
    name: String,
    digest: String,
    algorithm: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSerialization {
    method: String,
    hash_type: String,
    allow_symlinks: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shard_size: Option<serde_json::Number>,
    #[serde(default)]
    ignore_paths: Option<Vec<String>>,
}

fn refuse<T>(problem: impl Into<String>) -> Result<T, Error> {
    let help = "ask whoever signed the model to sign it again with a current tool";
    Err(Error::input("OMS statement", problem, help))
}

/// Does this payload, verified or not, say that it is of the oldest kind?
pub(super) fn is_legacy(payload: &[u8]) -> bool {
    serde_json::from_slice::<Head>(payload).is_ok_and(|head| head.predicate_type == LEGACY)
}

impl Statement {
    /// Reads a verified payload.
    ///
    /// # Errors
    /// [`Error::Input`] naming what is wrong.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let head: Head = strict(payload).or_else(refuse)?;
        if head.statement_type != TYPE {
            return refuse(format!("its _type is not {TYPE}"));
        }
        match &*head.predicate_type {
            PREDICATE => Self::current(serde_json::from_slice(payload).or_else(|error| refuse(error.to_string()))?),
            LEGACY => Self::legacy(serde_json::from_slice(payload).or_else(|error| refuse(error.to_string()))?),
            _ => refuse(format!("its predicateType is not {PREDICATE}")),
        }
    }

    fn current(raw: Raw<RawPredicate>) -> Result<Self, Error> {
        let [subject] = &*raw.subject else {
            return refuse(format!("{} subjects; there must be exactly one", raw.subject.len()));
        };
        if subject.name.is_empty() {
            return refuse("the subject has no name");
        }
        let Some(root) = subject.digest.get("sha256").and_then(|digest| Hash::parse(digest)) else {
            return refuse("the subject has no sha256 of 64 lower-case hexadecimal digits");
        };
        let blake3 = match subject.digest.get("blake3").map(|digest| Hash::parse(digest)) {
            Some(None) => return refuse("the subject's blake3 is not 64 lower-case hexadecimal digits"),
            found => found.flatten(),
        };
        let parameters = raw.predicate.serialization;
        let Some(function) = Function::parse(&parameters.hash_type) else {
            return refuse(format!("hash_type {:?} is none of sha256, blake2b and blake3", parameters.hash_type));
        };
        let method = method(&parameters)?;
        let sharded = match method {
            Method::Files => function.as_str().to_owned(),
            Method::Shards(size) => format!("{function}-sharded-{size}"),
        };
        let ignored = parameters.ignore_paths.unwrap_or_default();
        ignored.iter().try_for_each(|path| check_ignored(path)).or_else(refuse)?;
        let all = raw.predicate.resources;
        let sole = all.len() == 1;
        let resource = |raw: RawResource| {
            if raw.algorithm != function.as_str() && raw.algorithm != sharded {
                let problem =
                    format!("{:?} was hashed with {:?}, and hash_type is {function}", raw.name, raw.algorithm);
                return refuse(problem);
            }
            let Some(digest) = function.parse_digest(&raw.digest) else {
                let digits = function.length() * 2;
                return refuse(format!("the digest of {:?} is not {digits} lower-case hexadecimal digits", raw.name));
            };
            let (path, range) = match method {
                Method::Files => (raw.name, None),
                Method::Shards(size) => shard(&raw.name, size)?,
            };
            // The name that the reference gives to a model of one file.
            if path != "." || !sole || range.is_some() {
                check_name(&path).or_else(refuse)?;
            }
            Ok(Resource { path, range, digest })
        };
        let resources = all.into_iter().map(resource).collect::<Result<Vec<_>, _>>()?;
        let statement = Statement {
            name: subject.name.clone(),
            blake3,
            resources,
            method,
            function,
            allow_symlinks: parameters.allow_symlinks,
            ignored,
        };
        statement.check()?;
        if statement.root() != root {
            return refuse("the subject's sha256 is not the root of the resources");
        }
        Ok(statement)
    }

    fn legacy(raw: Raw<serde::de::IgnoredAny>) -> Result<Self, Error> {
        let resource = |subject: RawSubject| {
            let digest = subject.digest.get("sha256").and_then(|digest| Hash::parse(digest));
            let Some(digest) = digest else { return refuse(format!("{:?} has no sha256", subject.name)) };
            Ok(Resource { path: subject.name, range: None, digest: digest.0.to_vec() })
        };
        let resources = raw.subject.into_iter().map(resource).collect::<Result<Vec<_>, _>>()?;
        if !matches!(&*resources, [sole] if sole.path == ".") {
            resources.iter().try_for_each(|resource| check_name(&resource.path)).or_else(refuse)?;
        }
        let statement = Statement {
            name: "a model without a name".to_owned(),
            blake3: None,
            resources,
            method: Method::Files,
            function: Function::Sha256,
            allow_symlinks: false,
            ignored: vec![],
        };
        statement.check()?;
        Ok(statement)
    }

    /// What must hold of any list: something is in it, nothing is in it twice, and nothing that was left out.
    fn check(&self) -> Result<(), Error> {
        if self.resources.is_empty() {
            return refuse("there are no resources, so nothing was signed");
        }
        let ignored: BTreeSet<&str> = self.ignored.iter().map(|path| &**path).collect();
        let mut seen = BTreeSet::new();
        for resource in &self.resources {
            if !seen.insert((&*resource.path, resource.range.as_ref().map(|range| range.start))) {
                return refuse(format!("{:?} is listed twice", resource.path));
            }
            if is_ignored(&resource.path, &ignored) {
                return refuse(format!("{:?} is listed and ignored", resource.path));
            }
        }
        Ok(())
    }

    /// SHA-256 over the raw digests, in the order of the list.
    pub fn root(&self) -> Hash {
        let mut hasher = Sha256::new();
        self.resources.iter().for_each(|resource| hasher.update(&resource.digest));
        Hash(hasher.finalize().into())
    }

    /// Everything that was left out: what is recorded, and what always is.
    pub fn left_out(&self) -> BTreeSet<String> {
        self.ignored.iter().map(|path| &**path).chain(DEFAULT_IGNORED).map(str::to_owned).collect()
    }

    /// The payload to sign, as compact JSON, with the resources sorted by the code points of their names.
    ///
    /// # Errors
    /// [`Error::Input`] when nothing could be signed, or a verifier would refuse it.
    pub fn to_payload(&self) -> Result<Vec<u8>, Error> {
        let mut sorted: Vec<(String, &Resource)> = self.resources.iter().map(|item| (item.name(), item)).collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let resources: Vec<Resource> = sorted.iter().map(|(_, resource)| (*resource).clone()).collect();
        let root = Statement { resources, ..self.clone() }.root();
        let mut digest = BTreeMap::from([("sha256".to_owned(), root.to_string())]);
        digest.extend(self.blake3.map(|root| ("blake3".to_owned(), root.to_string())));
        let (method, suffix, shard_size) = match self.method {
            Method::Files => ("files", String::new(), None),
            Method::Shards(size) => ("shards", format!("-sharded-{size}"), Some(size.into())),
        };
        let algorithm = format!("{}{suffix}", self.function);
        let resource = |(name, resource): (String, &Resource)| RawResource {
            name,
            digest: crate::digest::pieces::hex(&resource.digest),
            algorithm: algorithm.clone(),
        };
        let raw = Raw {
            statement_type: TYPE.to_owned(),
            subject: vec![RawSubject { name: self.name.clone(), digest }],
            predicate_type: PREDICATE.to_owned(),
            predicate: RawPredicate {
                resources: sorted.into_iter().map(resource).collect(),
                serialization: RawSerialization {
                    method: method.to_owned(),
                    hash_type: self.function.to_string(),
                    allow_symlinks: self.allow_symlinks,
                    shard_size,
                    ignore_paths: Some(self.left_out().into_iter().collect()),
                },
            },
        };
        let payload = serde_json::to_vec(&raw).or_else(|error| refuse(error.to_string()))?;
        Statement::parse(&payload)?;
        Ok(payload)
    }
}

impl Resource {
    /// The name in the list.
    pub fn name(&self) -> String {
        match &self.range {
            Some(range) => format!("{}:{}:{}", self.path, range.start, range.end),
            None => self.path.clone(),
        }
    }
}

fn method(parameters: &RawSerialization) -> Result<Method, Error> {
    match (&*parameters.method, &parameters.shard_size) {
        ("files", None) => Ok(Method::Files),
        ("files", Some(_)) => refuse("shard_size stands there with the method files"),
        ("shards", None) => refuse("shard_size is missing"),
        ("shards", Some(size)) => {
            // The reference writes 3.0.
            let float =
                size.as_f64().filter(|size| size.fract() == 0.0 && *size >= 1.0 && *size < MAX_SHARD_SIZE as f64);
            match size.as_u64().filter(|size| (1..MAX_SHARD_SIZE).contains(size)).or(float.map(|size| size as u64)) {
                Some(size) => Ok(Method::Shards(size)),
                None => refuse(format!("shard_size {size} is not a number of bytes")),
            }
        }
        (other, _) => refuse(format!("method {other:?} is neither files nor shards")),
    }
}

/// A shard begins at a multiple of the size and is no longer than it.
fn shard(name: &str, size: u64) -> Result<(String, Option<Range<u64>>), Error> {
    match parse_shard(name) {
        Some((path, range)) if range.start % size == 0 && range.end - range.start <= size => {
            Ok((path.to_owned(), Some(range)))
        }
        _ => refuse(format!("{name:?} is not PATH:START:END of a shard of {size} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(names: &[(&str, &str)]) -> Statement {
        let resource = |(path, content): &(&str, &str)| Resource {
            path: (*path).to_owned(),
            range: None,
            digest: Hash::sha256(content.as_bytes()).0.to_vec(),
        };
        Statement {
            name: "model".into(),
            blake3: None,
            resources: names.iter().map(resource).collect(),
            method: Method::Files,
            function: Function::Sha256,
            allow_symlinks: false,
            ignored: vec!["model.sig".into()],
        }
    }

    #[test]
    fn known_roots_in_both_orders() {
        let theirs = statement(&[("B", "4"), ("a/b", "1"), ("a-c", "3"), ("a.txt", "2")]);
        assert_eq!(theirs.root().to_string(), "d3b85fa79605c9b0565e9d83e90da7c1b10cb4bf204f07014a8ff2ad9450e2cb");
        let ours = Statement::parse(&theirs.to_payload().unwrap()).unwrap();
        assert_eq!(ours.root().to_string(), "0cf90b07edce1f49fab55fdbdff99e99f2c20303c1c7a411914ba993620b2947");
        let names: Vec<&str> = ours.resources.iter().map(|resource| &*resource.path).collect();
        assert_eq!(names, ["B", "a-c", "a.txt", "a/b"]);
    }

    #[test]
    fn what_was_written_is_read_and_any_other_shape_is_not() {
        let good = String::from_utf8(statement(&[("w", "1")]).to_payload().unwrap()).unwrap();
        let parsed = Statement::parse(good.as_bytes()).unwrap();
        assert_eq!(parsed.ignored, [".git", ".gitattributes", ".github", ".gitignore", "model.sig"]);
        let digest = Hash::sha256(b"1").to_string();
        let resource = format!(r#"{{"name":"w","digest":"{digest}","algorithm":"sha256"}}"#);
        let root = Hash::sha256(&Hash::sha256(b"1").0).to_string();
        let twice = Hash::sha256(&[Hash::sha256(b"1").0, Hash::sha256(b"1").0].concat()).to_string();
        let none = Hash::sha256(b"").to_string();
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("_type", &[("Statement/v1", "Statement/v0.1")]),
            ("predicateType", &[("signature/v1.0", "signature/v1.1")]),
            ("no predicate", &[(r#""predicate":"#, r#""predicated":"#)]),
            ("predicate is null", &[(r#""predicate":{"#, r#""predicate":null,"x":{"#)]),
            ("no subject", &[(r#""subject":["#, r#""subject":[],"x":["#)]),
            ("subject without a name", &[(r#""name":"model""#, r#""name":"""#)]),
            ("root", &[(&root, &none)]),
            ("upper-case root", &[(&root, &root.to_uppercase())]),
            ("no resources", &[(&resource, ""), (&root, &none)]),
            ("listed twice", &[(&resource, &format!("{resource},{resource}")), (&root, &twice)]),
            ("name", &[(r#""name":"w""#, r#""name":"./w""#)]),
            ("name", &[(r#""name":"w""#, r#""name":"a/../w""#)]),
            ("name", &[(r#""name":"w""#, r#""name":"/w""#)]),
            ("ignored and listed", &[(r#""model.sig""#, r#""w""#)]),
            ("glob", &[(r#""model.sig""#, r#""*.sig""#)]),
            ("absolute", &[(r#""model.sig""#, r#""/tmp""#)]),
            ("climbs", &[(r#""model.sig""#, r#""../x""#)]),
            ("everything", &[(r#""model.sig""#, r#"".""#)]),
            ("hash_type", &[(r#""hash_type":"sha256""#, r#""hash_type":"blake3""#)]),
            ("unknown hash", &[(r#""hash_type":"sha256""#, r#""hash_type":"md5""#)]),
            ("digest", &[(&digest, &digest.to_uppercase())]),
            ("digest", &[(&digest, &digest[2..])]),
            ("algorithm", &[(r#","algorithm":"sha256""#, "")]),
            ("allow_symlinks", &[(r#""allow_symlinks":false,"#, "")]),
            ("shard_size with files", &[(r#""allow_symlinks":"#, r#""shard_size":4,"allow_symlinks":"#)]),
            ("extra field", &[(r#""serialization":"#, r#""more":1,"serialization":"#)]),
            ("extra field", &[(r#""allow_symlinks":"#, r#""more":1,"allow_symlinks":"#)]),
            ("key twice", &[(r#""name":"w""#, r#""name":"w","annotations":{"a":1,"a":2}"#)]),
        ];
        for (what, changes) in cases {
            let bad = changes.iter().fold(good.clone(), |text, (from, to)| text.replacen(from, to, 1));
            assert_ne!(bad, good, "{what}");
            assert!(Statement::parse(bad.as_bytes()).is_err(), "{what}: {bad}");
        }
        let open = good.replacen(r#""name":"w""#, r#""name":"w","annotations":{"blake3":"x"}"#, 1);
        assert!(Statement::parse(open.as_bytes()).is_ok());
    }

    #[test]
    fn shards_of_the_reference_are_read() {
        let shard = |range: Range<u64>| Resource { path: "a:b".into(), range: Some(range), digest: vec![1; 32] };
        let mut good = statement(&[]);
        good.method = Method::Shards(3);
        good.resources = vec![shard(3..5), shard(0..3)];
        let text = String::from_utf8(good.to_payload().unwrap()).unwrap();
        assert!(text.contains(r#""a:b:0:3""#) && text.contains(r#""sha256-sharded-3""#), "{text}");
        for (from, to) in [(r#""shard_size":3"#, r#""shard_size":3.0"#), ("sha256-sharded-3", "sha256")] {
            assert_eq!(Statement::parse(text.replace(from, to).as_bytes()).unwrap().resources.len(), 2);
        }
        for (from, to) in [
            (r#""shard_size":3"#, r#""shard_size":3.5"#),
            (r#""shard_size":3"#, r#""shard_size":0"#),
            (r#""shard_size":3"#, r#""shard_size":-3"#),
            (r#""shard_size":3"#, r#""shard_size":4"#),
            (r#""shard_size":3,"#, ""),
            ("sha256-sharded-3", "sha256-sharded-4"),
            ("a:b:0:3", "a:b:1:3"),
            ("a:b:0:3", "a:b:0:4"),
            ("a:b:0:3", "a:b"),
            ("a:b:0:3", ":0:3"),
        ] {
            assert!(Statement::parse(text.replace(from, to).as_bytes()).is_err(), "{to}");
        }
    }
}
