//! Which logs count, and which witnesses must have cosigned their checkpoints (C2SP tlog-policy).
//!
//! ```text
//! log <vkey> [url]
//! witness <name> <vkey> [url]
//! group <name> all|any|<k> <member>…
//! quorum <name>|none
//! ```
//!
//! Names are bytes that mean nothing outside of the file. A name must stand above its use, and is the member of one
//! group at most, so a quorum is a tree and each witness counts once.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::checkpoint::decimal;
use super::cosignature::{ML_DSA_44, WitnessKey};
use super::note::{KeyText, VerifierKey};
use crate::Error;

/// Longer policies are refused.
pub const MAX_POLICY: usize = 1 << 20;
/// A policy has at most this many logs, and as many witnesses and groups together.
const MAX_NAMES: usize = 1024;

/// Which checkpoints count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogPolicy {
    /// The logs. Empty: those that are known otherwise.
    pub logs: Vec<Log>,
    /// Witnesses and groups of them, in the order of the file.
    pub names: Vec<Named>,
    /// Which of [`TlogPolicy::names`] must have cosigned; none when cosignatures are not asked for.
    pub quorum: Option<usize>,
}

/// A log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its verifier key as it stands in the file.
    pub vkey: String,
    /// The key, when it is of a type that this version can check.
    pub key: Option<VerifierKey>,
    /// Where it is.
    pub url: Option<String>,
}

/// A witness or a group, under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name: no blank in it.
    pub name: Vec<u8>,
    /// What it is.
    pub what: What,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// One witness.
    Witness(Witness),
    /// A number of members that are enough.
    Group {
        /// How many, from 1 to all.
        enough: usize,
        /// Places in [`TlogPolicy::names`], all before the group's own.
        members: Vec<usize>,
    },
}

/// A witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Its verifier key as it stands in the file.
    pub vkey: String,
    /// The key, when it is of a type that this version can check. Otherwise it never counts.
    pub key: Option<WitnessKey>,
    /// Where it is: its submission prefix.
    pub url: Option<String>,
}

impl TlogPolicy {
    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Input`] with the line.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        if text.len() > MAX_POLICY {
            return Err(refuse(1, format!("is part of more than {} KiB", MAX_POLICY >> 10)));
        }
        let mut reader = Reader::default();
        let mut last = 0;
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            last = index + 1;
            if let Some(at) = line.iter().position(|byte| !matches!(byte, b'\t' | b' '..=b'~' | 0x80..)) {
                return Err(refuse(
                    last,
                    format!("holds the control character {:#04x} at column {}", line[at], at + 1),
                ));
            }
            let mut fields = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|field| !field.is_empty());
            let Some(keyword) = fields.next().filter(|keyword| keyword[0] != b'#') else { continue };
            let fields: Vec<&[u8]> = fields.collect();
            reader.line(keyword, &fields).map_err(|problem| refuse(last, problem))?;
        }
        let Reader { logs, names, quorum, .. } = reader;
        let quorum =
            quorum.ok_or_else(|| refuse(last, "is the last one, and there was no line 'quorum NAME'".into()))?;
        Ok(TlogPolicy { logs, names, quorum })
    }

    /// The file: every line once, fields one blank apart. Comments are not kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut line = |fields: &[&[u8]]| {
            bytes.extend_from_slice(&fields.join(&b' '));
            bytes.push(b'\n');
        };
        for Log { vkey, url, .. } in &self.logs {
            let url = url.as_ref().map(|url| url.as_bytes());
            line(&[Some(&b"log"[..]), Some(vkey.as_bytes()), url].into_iter().flatten().collect::<Vec<_>>());
        }
        for Named { name, what } in &self.names {
            match what {
                What::Witness(Witness { vkey, url, .. }) => {
                    let url = url.as_ref().map(|url| url.as_bytes());
                    let fields = [Some(&b"witness"[..]), Some(name), Some(vkey.as_bytes()), url];
                    line(&fields.into_iter().flatten().collect::<Vec<_>>());
                }
                What::Group { enough, members } => {
                    let enough = enough.to_string();
                    let mut fields = vec![&b"group"[..], name, enough.as_bytes()];
                    fields.extend(members.iter().map(|member| &*self.names[*member].name));
                    line(&fields);
                }
            }
        }
        line(&[b"quorum", self.quorum.map_or(b"none", |quorum| &self.names[quorum].name)]);
        bytes
    }

    /// The witnesses: place in [`TlogPolicy::names`], name for people, witness.
    pub fn witnesses(&self) -> impl Iterator<Item = (usize, String, &Witness)> {
        self.names.iter().enumerate().filter_map(|(place, named)| match &named.what {
            What::Witness(witness) => Some((place, named.to_string(), witness)),
            What::Group { .. } => None,
        })
    }

    /// True when the policy lists this log.
    pub fn lists(&self, log: &VerifierKey) -> bool {
        self.logs.iter().any(|known| known.key.as_ref() == Some(log))
    }

    /// True when the quorum is met by the witnesses at these places in [`TlogPolicy::names`].
    pub fn is_met(&self, cosigned: &BTreeSet<usize>) -> bool {
        let mut met = vec![false; self.names.len()];
        // Members stand before their group, so each answer is there when it is asked for.
        for (place, named) in self.names.iter().enumerate() {
            met[place] = match &named.what {
                What::Witness(_) => cosigned.contains(&place),
                What::Group { enough, members } => members.iter().filter(|member| met[**member]).count() >= *enough,
            };
        }
        self.quorum.is_none_or(|quorum| met[quorum])
    }

    /// True when the quorum can be met by witnesses whose keys this version can check.
    pub fn can_be_met(&self) -> bool {
        self.is_met(&self.witnesses().filter_map(|(place, _, witness)| witness.key.as_ref().map(|_| place)).collect())
    }

    /// The places of the witnesses on whom the quorum can depend, in their order.
    pub fn voters(&self) -> BTreeSet<usize> {
        let mut reached = BTreeSet::from_iter(self.quorum);
        for place in (0..self.names.len()).rev() {
            if let What::Group { members, .. } = &self.names[place].what
                && reached.contains(&place)
            {
                reached.extend(members);
            }
        }
        reached.retain(|place| matches!(self.names[*place].what, What::Witness(_)));
        reached
    }

    /// The quorum in plain words: `w1`, `2 of w1, w2, w3`, `all of (2 of a, b, c), (1 of d, e)`; `nobody`.
    pub fn describe(&self) -> String {
        let Some(quorum) = self.quorum else { return "nobody".to_owned() };
        // Each name is the member of one group at most, so no text is longer than the file.
        let mut told: Vec<String> = vec![];
        for named in &self.names {
            let text = match &named.what {
                What::Witness(_) => named.to_string(),
                What::Group { enough, members } => {
                    let mut list = vec![];
                    for member in members {
                        let text = std::mem::take(&mut told[*member]);
                        let is_group = matches!(self.names[*member].what, What::Group { .. });
                        list.push(if is_group { format!("({text})") } else { text });
                    }
                    let enough = if *enough == list.len() { "all".to_owned() } else { enough.to_string() };
                    if list.len() == 1 { list.concat() } else { format!("{enough} of {}", list.join(", ")) }
                }
            };
            told.push(text);
        }
        std::mem::take(&mut told[quorum])
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.name))
    }
}

impl Serialize for TlogPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}

impl<'de> Deserialize<'de> for TlogPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        TlogPolicy::parse(text.as_bytes()).map_err(|error| de::Error::custom(error.problem()))
    }
}

fn refuse(line: usize, problem: String) -> Error {
    Error::input(format!("tlog policy line {line}"), problem, "see c2sp.org/tlog-policy for the form of the file")
}

/// What was read so far.
#[derive(Default)]
struct Reader {
    logs: Vec<Log>,
    names: Vec<Named>,
    places: BTreeMap<Vec<u8>, usize>,
    log_keys: BTreeSet<Vec<u8>>,
    witness_keys: BTreeSet<Vec<u8>>,
    /// Places that are members of a group.
    taken: BTreeSet<usize>,
    quorum: Option<Option<usize>>,
}

impl Reader {
    fn line(&mut self, keyword: &[u8], fields: &[&[u8]]) -> Result<(), String> {
        match (keyword, fields) {
            (b"log", [vkey]) => self.log(vkey, None),
            (b"log", [vkey, url]) => self.log(vkey, Some(url)),
            (b"log", _) => Err("is not 'log VKEY [URL]'".to_owned()),
            (b"witness", [name, vkey]) => self.witness(name, vkey, None),
            (b"witness", [name, vkey, url]) => self.witness(name, vkey, Some(url)),
            (b"witness", _) => Err("is not 'witness NAME VKEY [URL]'".to_owned()),
            (b"group", [name, enough, members @ ..]) => self.group(name, enough, members),
            (b"group", _) => Err("is not 'group NAME all|any|K MEMBER...'".to_owned()),
            (b"quorum", [name]) => self.quorum(name),
            (b"quorum", _) => Err("is not 'quorum NAME' or 'quorum none'".to_owned()),
            _ => Err(format!("begins with {:?}, which is none of log, witness, group, quorum", lossy(keyword))),
        }
    }

    fn log(&mut self, vkey: &[u8], url: Option<&[u8]>) -> Result<(), String> {
        let vkey = std::str::from_utf8(vkey).map_err(|_| "has a verifier key that is not UTF-8".to_owned())?;
        let text = KeyText::parse(vkey).map_err(|error| error.problem())?;
        let key = text.log();
        if key.is_none() && text.kind != ML_DSA_44 {
            return Err(format!("has a key of type {:#04x}, which is no key of a log", text.kind));
        }
        if !self.log_keys.insert(text.key) {
            return Err("has the key of a log above, and one key is one log".to_owned());
        }
        if self.logs.len() == MAX_NAMES {
            return Err(format!("is one log too many; {MAX_NAMES} are read"));
        }
        self.logs.push(Log { vkey: vkey.to_owned(), key, url: url.map(lossy) });
        Ok(())
    }

    fn witness(&mut self, name: &[u8], vkey: &[u8], url: Option<&[u8]>) -> Result<(), String> {
        let vkey = std::str::from_utf8(vkey).map_err(|_| "has a verifier key that is not UTF-8".to_owned())?;
        let text = KeyText::parse(vkey).map_err(|error| error.problem())?;
        let key = text.witness();
        if key.is_none() && text.kind != ML_DSA_44 {
            return Err(format!("has a key of type {:#04x}, which is no key of a witness", text.kind));
        }
        if !self.witness_keys.insert(text.key) {
            return Err("has the key of a witness above, and one key is one witness".to_owned());
        }
        self.define(name, What::Witness(Witness { vkey: vkey.to_owned(), key, url: url.map(lossy) }))
    }

    fn group(&mut self, name: &[u8], enough: &[u8], members: &[&[u8]]) -> Result<(), String> {
        let mut places = vec![];
        for member in members {
            let place = self.place(member)?;
            if !self.taken.insert(place) {
                return Err(format!("lists {:?}, which is the member of a group already", lossy(member)));
            }
            places.push(place);
        }
        let enough = match enough {
            b"all" => places.len(),
            b"any" => 1,
            number => std::str::from_utf8(number)
                .ok()
                .and_then(decimal)
                .and_then(|number| usize::try_from(number).ok())
                .ok_or_else(|| format!("asks for {:?}, which is none of all, any or a number", lossy(number)))?,
        };
        if places.is_empty() {
            return Err("is a group without members".to_owned());
        }
        if !(1..=places.len()).contains(&enough) {
            return Err(format!("asks for {enough} of {} members", places.len()));
        }
        self.define(name, What::Group { enough, members: places })
    }

    fn quorum(&mut self, name: &[u8]) -> Result<(), String> {
        if self.quorum.is_some() {
            return Err("is the second quorum; there must be one".to_owned());
        }
        self.quorum = Some(if name == b"none" { None } else { Some(self.place(name)?) });
        Ok(())
    }

    fn place(&self, name: &[u8]) -> Result<usize, String> {
        if name == b"none" {
            return Err("lists none, which is no member".to_owned());
        }
        let place = self.places.get(name).copied();
        place.ok_or_else(|| format!("names {:?}, and no line above defines it", lossy(name)))
    }

    fn define(&mut self, name: &[u8], what: What) -> Result<(), String> {
        if name == b"none" {
            return Err("defines none, which stands for nobody".to_owned());
        }
        if self.places.insert(name.to_vec(), self.names.len()).is_some() {
            return Err(format!("defines {:?} a second time", lossy(name)));
        }
        if self.names.len() == MAX_NAMES {
            return Err(format!("is one name too many; {MAX_NAMES} are read"));
        }
        self.names.push(Named { name: name.to_vec(), what });
        Ok(())
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::cosignature::tests::{log_key, witness};
    use super::*;
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    fn log() -> String {
        VerifierKey::new("log.example/countermark", log_key().verifying_key().into()).unwrap().to_string()
    }

    fn vkey(seed: u8) -> String {
        let key = SigningKey::from_bytes(&[seed; 32]).verifying_key().into();
        WitnessKey::new(&format!("witness.example/{seed}"), key).unwrap().to_string()
    }

    /// As [`vkey`], of another type.
    fn of_type(kind: u8, key: &[u8]) -> String {
        struct Text<'a>(u8, &'a [u8]);
        impl std::fmt::Display for Text<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                super::super::note::write_key(f, "some.example", self.0, self.1)
            }
        }
        Text(kind, key).to_string()
    }

    fn two_levels() -> String {
        let mut text = format!("# two levels\n\n log\t{} https://log.example/\n", log());
        for (index, name) in ["X1", "X2", "X3", "Y1", "Y2"].iter().enumerate() {
            text += &format!("witness {name} {}\n", vkey(index as u8 + 1));
        }
        text + "group X 2 X1 X2 X3\n  group Y any Y1 Y2  \ngroup both all X Y\nquorum both"
    }

    #[test]
    fn a_quorum_of_two_levels() {
        let policy = TlogPolicy::parse(two_levels().as_bytes()).unwrap();
        assert_eq!(policy.describe(), "all of (2 of X1, X2, X3), (1 of Y1, Y2)");
        // Every subset of the five witnesses against the rule as it reads.
        for mask in 0..32_usize {
            let is = |index: usize| mask >> index & 1 == 1;
            let cosigned = (0..5).filter(|index| is(*index)).collect();
            let expected = [0, 1, 2].into_iter().filter(|index| is(*index)).count() >= 2 && (is(3) || is(4));
            assert_eq!(policy.is_met(&cosigned), expected, "{mask:#b}");
        }
        assert!(policy.can_be_met());
        assert_eq!(policy.voters(), (0..5).collect());
        let again = TlogPolicy::parse(&policy.to_bytes()).unwrap();
        assert_eq!(again, policy);
        assert_eq!(again.to_bytes(), policy.to_bytes());
    }

    #[test]
    fn every_error_names_its_line() {
        let (log, w1, w2) = (log(), vkey(1), vkey(2));
        let two = format!("log {log}\nwitness a {w1}\nwitness b {w2}\n");
        let (_, same_key) = w1.rsplit_once('+').unwrap();
        let renamed = {
            let key = STANDARD.decode(same_key).unwrap();
            of_type(key[0], &key[1..])
        };
        for (text, line, problem) in [
            (two.clone(), 4, "no line 'quorum NAME'"),
            (String::new(), 1, "no line 'quorum NAME'"),
            (format!("{two}quorum none\nquorum none"), 5, "second quorum"),
            (format!("quorum a\n{two}"), 1, "no line above defines it"),
            (format!("{two}quorum c"), 4, "no line above defines it"),
            (format!("{two}group g any a c\nquorum g"), 4, "no line above defines it"),
            (format!("{two}group g any g\nquorum g"), 4, "no line above defines it"),
            (format!("{two}group a any b\nquorum a"), 4, "a second time"),
            (format!("{two}witness b {}\nquorum a", vkey(3)), 4, "a second time"),
            (format!("{two}group g any a none\nquorum g"), 4, "none, which is no member"),
            (format!("{two}group none any a\nquorum none"), 4, "defines none"),
            (format!("{two}group g 0 a b\nquorum g"), 4, "asks for 0 of 2"),
            (format!("{two}group g 3 a b\nquorum g"), 4, "asks for 3 of 2"),
            (format!("{two}group g 02 a b\nquorum g"), 4, "none of all, any or a number"),
            (format!("{two}group g +1 a b\nquorum g"), 4, "none of all, any or a number"),
            (format!("{two}group g 18446744073709551616 a b\nquorum g"), 4, "none of all, any or a number"),
            (format!("{two}group g all\nquorum g"), 4, "without members"),
            (format!("{two}group g\nquorum g"), 4, "is not 'group"),
            (format!("{two}group g any a a\nquorum g"), 4, "member of a group already"),
            (format!("{two}group g any a\ngroup h any a b\nquorum h"), 5, "member of a group already"),
            (format!("{two}log {log}\nquorum none"), 4, "one key is one log"),
            (format!("{two}witness c {renamed}\nquorum none"), 4, "one key is one witness"),
            (format!("{two}witness c {log}\nquorum none"), 4, "no key of a witness"),
            (format!("{two}log {w1}\nquorum none"), 4, "no key of a log"),
            (format!("{two}log {}\nquorum none", of_type(2, &[9; 32])), 4, "no key of a log"),
            (format!("{two}witness c x+00000000+AA==\nquorum none"), 4, "key id does not fit"),
            (format!("{two}quorum a b"), 4, "is not 'quorum"),
            (format!("{two}quorums a"), 4, "none of log, witness"),
            (format!("{two}witness c {} u v\nquorum none", vkey(3)), 4, "is not 'witness"),
            (format!("{two}quorum none\r\n"), 4, "control character 0x0d"),
            (format!("{two}quorum\u{0}none"), 4, "control character 0x00"),
            (format!("{two}quorum none\u{7f}"), 4, "control character 0x7f"),
            (format!("{two}quorum\u{b}none"), 4, "control character 0x0b"),
            // A space of Unicode is no blank, but part of a name.
            (format!("{two}quorum\u{a0}a"), 4, "none of log, witness"),
        ] {
            let error = TlogPolicy::parse(text.as_bytes()).unwrap_err().problem();
            assert!(error.starts_with(&format!("tlog policy line {line}: ")), "{text}: {error}");
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn names_are_bytes() {
        let mut text = format!("log {}\nwitness K {}\nwitness ", log(), vkey(1)).into_bytes();
        text.extend("\u{212a}".as_bytes());
        text.extend(format!(" {}\nwitness ", vkey(2)).bytes());
        text.extend([0xff, 0x80]);
        text.extend(format!(" {}\ngroup g 2 K ", vkey(3)).bytes());
        text.extend("\u{212a} ".bytes());
        text.extend([0xff, 0x80]);
        text.extend(b"\nquorum g\n");
        let policy = TlogPolicy::parse(&text).unwrap();
        assert_eq!(policy.names.len(), 4);
        assert_eq!(policy.to_bytes(), text);
    }

    #[test]
    fn keys_of_the_future_are_kept_and_never_count() {
        let text = format!("witness a {}\nwitness b {}\ngroup g any a b\nquorum g", of_type(6, &[1; 1312]), witness());
        let policy = TlogPolicy::parse(text.as_bytes()).unwrap();
        assert!(policy.can_be_met());
        let alone = text.replace("quorum g", "quorum a");
        assert!(!TlogPolicy::parse(alone.as_bytes()).unwrap().can_be_met());
        let none = TlogPolicy::parse(text.replace("quorum g", "quorum none").as_bytes()).unwrap();
        assert!(none.is_met(&BTreeSet::new()) && none.voters().is_empty());
        assert_eq!(none.describe(), "nobody");
    }

    #[test]
    fn as_many_as_are_read() {
        let key = |index: u32| {
            let seed = crate::digest::Hash::sha256(&index.to_be_bytes()).0;
            let key = SigningKey::from_bytes(&seed).verifying_key().into();
            WitnessKey::new("w.example", key).unwrap().to_string()
        };
        let mut text =
            (0..MAX_NAMES as u32 - 1).map(|index| format!("witness {index} {}\n", key(index))).collect::<String>();
        // A chain of groups is walked without recursion.
        let chained =
            (0..500).fold("group g0 any 0\n".to_owned(), |text, at| text + &format!("group g{} any g{at}\n", at + 1));
        let short: String = text.lines().take(500).map(|line| format!("{line}\n")).collect();
        let deep = TlogPolicy::parse(format!("{short}{chained}quorum g500").as_bytes()).unwrap();
        assert!(deep.is_met(&BTreeSet::from([0])) && !deep.is_met(&BTreeSet::from([1])));
        assert_eq!(deep.describe(), format!("{}0{}", "(".repeat(500), ")".repeat(500)));
        assert_eq!(deep.voters(), BTreeSet::from([0]));
        text += &format!("witness last {}\nquorum last\n", key(5000));
        assert!(TlogPolicy::parse(text.as_bytes()).is_ok());
        let more = format!("witness more {}\n{text}", key(5001));
        assert!(TlogPolicy::parse(more.as_bytes()).unwrap_err().problem().contains("one name too many"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = TlogPolicy::parse(&text);
        }

        #[test]
        fn what_is_read_is_written_and_read_again(
            lines in proptest::collection::vec((0..4_u8, 0..6_u8, 0..6_u8, 0..6_u8, 0..4_u8), 0..12),
        ) {
            let mut text = String::new();
            for (kind, a, b, c, enough) in lines {
                text += &match kind {
                    0 => format!("witness n{a} {} https://w.example/{b}\n", vkey(b)),
                    1 => format!("group n{a} {enough} n{b} n{c}\n"),
                    2 => format!("log {}\n", log()),
                    _ => format!("group n{a} any n{b}\n"),
                };
                let whole = format!("{text}quorum n{c}\n");
                if let Ok(policy) = TlogPolicy::parse(whole.as_bytes()) {
                    prop_assert_eq!(TlogPolicy::parse(&policy.to_bytes()).unwrap(), policy);
                }
            }
        }
    }
}
