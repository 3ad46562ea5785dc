//! What a policy says, in plain words, and what its author may not have meant.

use std::collections::{BTreeMap, BTreeSet};

use super::{AnchorKind, AnchorRule, Bitcoin, Chain, Policy, Signer, Threshold};
use crate::anchor::note::VerifierKey;
use crate::graph::Relation;

/// One sentence on a part of a policy.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Remark {
    /// Which part: `signer NAME`, `threshold 1`, `require`.
    pub part: String,
    /// What it says, or what is odd about it.
    pub text: String,
    /// True when this is probably not what was meant.
    pub warning: bool,
}

#[derive(Default)]
struct Remarks(Vec<Remark>);

impl Remarks {
    fn say(&mut self, part: &str, text: impl Into<String>) {
        self.0.push(Remark { part: part.to_owned(), text: text.into(), warning: false });
    }

    fn warn(&mut self, part: &str, text: impl Into<String>) {
        self.0.push(Remark { part: part.to_owned(), text: text.into(), warning: true });
    }
}

const DAY: i64 = 86_400;

impl Policy {
    /// Goes through the policy and says of each part what it means at `now`, in Unix seconds.
    pub fn review(&self, now: i64) -> Vec<Remark> {
        let mut remarks = Remarks::default();
        if self.signers.is_empty() {
            remarks.warn("signer", "there is none: nothing will ever be green");
        }
        for signer in &self.signers {
            self.signer_remarks(signer, now, &mut remarks);
        }
        self.shared_keys(&mut remarks);
        for (index, threshold) in self.thresholds.iter().enumerate() {
            self.threshold_remarks(&format!("threshold {}", index + 1), threshold, now, &mut remarks);
        }
        self.root_remarks(&mut remarks);
        self.log_remarks(&mut remarks);
        for chain in &self.chains {
            chain.remarks(&mut remarks);
        }
        self.list_remarks(&mut remarks);
        for entry in &self.revoked {
            remarks.say("revoked", format!("{} no longer counts: {}", what(entry), entry.reason));
        }
        self.require_remarks(&mut remarks);
        remarks.0
    }

    fn signer_remarks(&self, signer: &Signer, now: i64, remarks: &mut Remarks) {
        let part = format!("signer {}", signer.name);
        let names = signer.names.as_ref().map_or("any name".to_owned(), |names| format!("names {}", list(names)));
        let relations = match &signer.relations {
            None => "any relation".to_owned(),
            Some(relations) => format!("relations {}", list(relations.iter().map(|one| one.as_str()))),
        };
        let mut text = format!("{} may vouch for {names} and {relations}", signer.key.short());
        if let Some(from) = signer.from {
            text += &format!(", from {from}");
        }
        if let Some(until) = signer.until {
            text += &format!(", until {until}");
        }
        remarks.say(&part, text);
        if signer.name.is_empty() {
            remarks.warn(&part, "has no name, so verdicts cannot say who it is");
        }
        match &signer.names {
            Some(names) if names.is_empty() => remarks.warn(&part, "names is empty: it may vouch for nothing"),
            Some(names) => {
                for name in names.iter().filter(|name| is_odd(name)) {
                    let text = format!("{name:?}: only a * at the end stands for any rest, and this one is not there");
                    remarks.warn(&part, text);
                }
            }
            None => {}
        }
        if signer.relations.as_ref().is_some_and(Vec::is_empty) {
            remarks.warn(&part, "relations is empty: it may vouch only for what has no parents");
        }
        if let (Some(from), Some(until)) = (signer.from, signer.until)
            && from >= until
        {
            remarks.warn(&part, "its time ends before it begins: it may vouch for nothing");
        } else if signer.until.is_some_and(|until| until.0 < now) {
            remarks.warn(&part, "its time is over: what it signed no longer verifies");
        } else if signer.until.is_some_and(|until| until.0 < now.saturating_add(30 * DAY)) {
            remarks.warn(&part, "its time is over in less than 30 days");
        } else if signer.from.is_some_and(|from| from.0 > now) {
            remarks.warn(&part, "its time has not begun");
        }
        if let Some(entry) = self.revoked.iter().find(|entry| entry.key == Some(signer.key)) {
            remarks.warn(&part, format!("this very policy revokes its key: {}", entry.reason));
        }
    }

    /// The first entry with a key decides, so a second one says nothing.
    fn shared_keys(&self, remarks: &mut Remarks) {
        let mut seen = BTreeMap::new();
        for signer in &self.signers {
            if let Some(first) = seen.insert(signer.key, &signer.name) {
                let text = format!("its key is that of {first}, too: one key is one signer, whatever it is called");
                remarks.warn(&format!("signer {}", signer.name), text);
            }
        }
    }

    fn threshold_remarks(&self, part: &str, threshold: &Threshold, now: i64, remarks: &mut Remarks) {
        let required = threshold.required.get();
        let who = threshold.signers.as_ref().map_or("all signers".to_owned(), list);
        remarks.say(part, format!("{} needs {required} of {who}", list(&threshold.names)));
        if threshold.names.is_empty() {
            remarks.warn(part, "names is empty: it is never asked for; write names = [\"*\"] for everything");
        }
        for name in threshold.names.iter().filter(|name| is_odd(name)) {
            remarks.warn(part, format!("{name:?}: only a * at the end stands for any rest"));
        }
        let known: BTreeSet<&str> = self.signers.iter().map(|signer| &*signer.name).collect();
        for name in threshold.signers.iter().flatten().filter(|name| !known.contains(name.as_str())) {
            remarks.warn(part, format!("{name:?} is no signer of this policy, and never counts"));
        }
        // Who could count at all: its time is not over, and one of the names may be its.
        let could = |signer: &&Signer| {
            let counts = threshold.signers.as_ref().is_none_or(|signers| signers.contains(&signer.name));
            let revoked = self.revoked.iter().any(|entry| entry.key == Some(signer.key));
            let named = signer
                .names
                .as_ref()
                .is_none_or(|names| names.iter().any(|name| threshold.names.iter().any(|other| overlap(name, other))));
            counts && named && !revoked && signer.until.is_none_or(|until| until.0 >= now)
        };
        let able: BTreeSet<&str> = self.signers.iter().filter(could).map(|signer| &*signer.name).collect();
        if able.len() < required as usize {
            let text = format!("only {} could sign for these names, so it can never be met", able.len());
            remarks.warn(part, text);
        }
        if required == 1 {
            remarks.warn(part, "one signer is what is asked for without it");
        }
    }

    fn root_remarks(&self, remarks: &mut Remarks) {
        for root in &self.certificate_roots {
            let part = format!("certificate_root {}", root.name);
            match root.to_der() {
                Err(error) => remarks.warn(&part, error.problem()),
                Ok(der) => match crate::credential::c2pa::certificate_key(&der) {
                    Ok(key) => remarks.say(&part, format!("{} vouches for certificates of manifests", key.short())),
                    Err(error) => remarks.warn(&part, error.problem()),
                },
            }
        }
    }

    fn log_remarks(&self, remarks: &mut Remarks) {
        for log in &self.logs {
            match VerifierKey::parse(&log.vkey) {
                Ok(key) => remarks.say("log", format!("places in {} count", key.name)),
                Err(error) => remarks.warn("log", error.problem()),
            }
        }
        self.tlog_remarks(remarks);
        if self.require.log && !self.names_logs() {
            remarks.warn("require", "asks for a log and names none: nothing will ever be green");
        }
    }

    fn tlog_remarks(&self, remarks: &mut Remarks) {
        const PART: &str = "tlog_policy";
        let Some(policy) = &self.tlog_policy else { return };
        let asked = match policy.quorum {
            None => "count, and no witness is asked for: a log may show others another tree".to_owned(),
            Some(_) => format!("count once they were cosigned by {}", policy.describe()),
        };
        for log in &policy.logs {
            match &log.key {
                Some(key) => remarks.say(PART, format!("checkpoints of {} {asked}", key.name)),
                None => remarks.warn(PART, format!("{}: this version cannot check keys of its type", log.vkey)),
            }
            if let Some(key) =
                log.key.as_ref().filter(|key| self.logs.iter().any(|known| known.vkey == key.to_string()))
            {
                let text = format!("{} stands in [[log]], too: its witnesses are asked for all the same", key.name);
                remarks.say(PART, text);
            }
        }
        if policy.logs.is_empty() {
            remarks.warn(PART, "names no log, so its witnesses are never asked for");
        }
        let voters = policy.voters();
        for (place, name, witness) in policy.witnesses() {
            let Some(key) = &witness.key else {
                let text = format!("witness {name}: this version cannot check keys of its type, so it never counts");
                remarks.warn(PART, text);
                continue;
            };
            if policy.quorum.is_some() && !voters.contains(&place) {
                remarks.warn(PART, format!("witness {name}: the quorum does not depend on it"));
            }
            if policy.logs.iter().filter_map(|log| log.key.as_ref()).any(|log| log.key == key.key) {
                remarks.warn(PART, format!("witness {name}: has the key of a log, which then witnesses itself"));
            }
        }
        if !policy.can_be_met() {
            remarks.warn(PART, "the quorum can never be met: nothing of these logs will ever be green");
        }
    }

    fn list_remarks(&self, remarks: &mut Remarks) {
        let mut keys = BTreeSet::new();
        for issuer in &self.revocation_lists {
            let part = format!("revocation_list {}", issuer.key.short());
            let needed = if issuer.required { "must be there" } else { "counts when it is there" };
            let file = issuer.file.as_ref().map_or(String::new(), |file| format!("; looked for in {file}"));
            remarks.say(&part, format!("a list of this key {needed}{file}"));
            if !keys.insert(issuer.key) {
                remarks.warn(&part, "stands there twice; the first entry decides");
            }
            if self.signers.iter().any(|signer| signer.key == issuer.key) {
                let text = "also signs releases: whoever steals it can revoke, and issue lists that forget";
                remarks.warn(&part, text);
            }
            if issuer.max_age_days == Some(0) {
                remarks.warn(&part, "max_age_days is 0: every list is stale at once");
            }
        }
        if self.revocation_lists.is_empty() {
            remarks.say("revocation_list", "none: keys that are stolen later are not noticed");
        } else if self.revocation_lists.iter().all(|issuer| !issuer.required) {
            let text = "none is required: whoever leaves the list out does not see what was revoked";
            remarks.say("revocation_list", text);
        }
    }

    fn require_remarks(&self, remarks: &mut Remarks) {
        let require = &self.require;
        let asked = [
            (require.log, "a place in a log".to_owned()),
            (require.manifest, "a C2PA manifest".to_owned()),
            (require.timestamp, "a time-stamp in the C2PA manifest".to_owned()),
            (require.oms, "an OpenSSF model signature".to_owned()),
            (require.anchor.is_required(), require.anchor.describe()),
        ];
        let mut asked: Vec<String> = asked.into_iter().filter_map(|(is, what)| is.then_some(what)).collect();
        asked.extend(require.max_age_days.map(|days| format!("an age of at most {days} days")));
        if asked.is_empty() {
            remarks.say("require", "nothing beside signatures that hold");
        } else {
            remarks.say("require", asked.join(", "));
        }
        match &require.anchor {
            AnchorRule::OneOf(kinds) if kinds.is_empty() => {
                remarks.warn("require", "anchor is an empty list: no anchor meets it");
            }
            rule if rule.is_required() && !KINDS.iter().any(|kind| rule.accepts(*kind) && self.may_count(*kind)) => {
                let text = "asks for an anchor of a kind of which this policy counts none: nothing will ever be green";
                remarks.warn("require", text);
            }
            _ => {}
        }
        if require.max_age_days == Some(0) {
            remarks.warn("require", "max_age_days is 0: everything is stale after a day at the latest");
        }
    }
}

/// Every kind of anchor.
const KINDS: [AnchorKind; 5] =
    [AnchorKind::Evm, AnchorKind::Eas, AnchorKind::Calldata, AnchorKind::OpenTimestamps, AnchorKind::Rfc3161];

impl Policy {
    /// Whether any anchor of this kind could count.
    fn may_count(&self, kind: AnchorKind) -> bool {
        match kind {
            AnchorKind::OpenTimestamps => {
                let counts = |bitcoin: &Bitcoin| !bitcoin.blocks.is_empty() || bitcoin.min_difficulty.is_some();
                self.bitcoin.as_ref().is_some_and(counts)
            }
            AnchorKind::Rfc3161 => !self.timestamp_roots.is_empty(),
            on_chain => self.chains.iter().any(|chain| chain.knows_blocks() && chain.names(on_chain)),
        }
    }
}

impl Chain {
    /// How many of its endpoints must agree.
    pub fn agreement(&self) -> usize {
        self.agree.map_or(self.endpoints.len(), |agree| agree.get() as usize)
    }

    /// Whether anybody could vouch for a block.
    fn knows_blocks(&self) -> bool {
        !self.blocks.is_empty() || (!self.endpoints.is_empty() && self.agreement() <= self.endpoints.len())
    }

    /// Whether it says whose anchors of this kind count.
    fn names(&self, kind: AnchorKind) -> bool {
        match kind {
            AnchorKind::Evm => self.contract.is_some() && !self.recorders.is_empty(),
            AnchorKind::Eas => self.eas.is_some(),
            AnchorKind::Calldata => !self.recorders.is_empty(),
            AnchorKind::OpenTimestamps | AnchorKind::Rfc3161 => false,
        }
    }

    fn remarks(&self, remarks: &mut Remarks) {
        let part = format!("chain {}", self.name);
        let by = list(self.recorders.iter().map(ToString::to_string));
        let mut counts = vec![];
        if let Some(contract) = self.contract.filter(|_| self.names(AnchorKind::Evm)) {
            counts.push(format!("commits of the contract {contract} by {by}"));
        }
        if let Some(eas) = self.eas {
            counts.push(format!("time-stamps of EAS at {eas} by anybody"));
        }
        if self.names(AnchorKind::Calldata) {
            counts.push(format!("transactions with the digest by {by}"));
        }
        if counts.is_empty() {
            let text = "counts no anchor: it needs contract and recorders, or eas, or recorders alone for calldata";
            remarks.warn(&part, text);
        } else {
            remarks.say(&part, format!("on chain {} count {}", self.chain_id, counts.join("; ")));
        }
        if self.contract.is_some() && self.recorders.is_empty() {
            remarks.warn(&part, "names a contract and no recorder: anybody may commit there, so nothing of it counts");
        }
        self.block_remarks(&part, remarks);
    }

    fn block_remarks(&self, part: &str, remarks: &mut Remarks) {
        let (of, needed) = (self.endpoints.len(), self.agreement());
        let pinned = match self.blocks.len() {
            0 => String::new(),
            1 => "one block is pinned: it counts as final".to_owned(),
            count => format!("{count} blocks are pinned: they count as final"),
        };
        let asked =
            if of == 0 { String::new() } else { format!("{needed} of {of} endpoints must know a block, when asked") };
        let told: Vec<String> = [pinned, asked].into_iter().filter(|text| !text.is_empty()).collect();
        if told.is_empty() {
            let text = "pins no block and names no endpoint: nobody vouches for any block, and nothing on it counts";
            remarks.warn(part, text);
        } else {
            remarks.say(part, told.join("; "));
        }
        if of == 0 && self.agree.is_some() {
            remarks.warn(part, "says how many endpoints must agree, and names none");
        } else if needed > of {
            remarks
                .warn(part, format!("{needed} endpoints must agree and there are {of}: they never vouch for a block"));
        } else if needed == 1 {
            remarks.warn(part, "the word of one endpoint is enough: whoever runs it, or stands in between, decides");
        } else if needed > 0 && needed * 2 <= of {
            remarks.warn(part, format!("{needed} of {of} is no majority: two sides could both be believed"));
        }
        if self.chain_id == 0 {
            remarks.warn(part, "no chain has the number 0");
        }
    }
}

fn list<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> String {
    words.into_iter().map(|word| word.as_ref().to_owned()).collect::<Vec<_>>().join(", ")
}

/// A star anywhere but at the end stands for itself.
fn is_odd(pattern: &str) -> bool {
    pattern.strip_suffix('*').unwrap_or(pattern).contains('*')
}

/// True when a name could fit both patterns.
fn overlap(a: &str, b: &str) -> bool {
    match (a.strip_suffix('*'), b.strip_suffix('*')) {
        (Some(a), Some(b)) => a.starts_with(b) || b.starts_with(a),
        (Some(prefix), None) => b.starts_with(prefix),
        (None, Some(prefix)) => a.starts_with(prefix),
        (None, None) => a == b,
    }
}

fn what(entry: &super::Revoked) -> String {
    let parts = [
        entry.key.map(|key| format!("key {}", key.short())),
        entry.statement.map(|id| format!("statement {}", id.short())),
        entry.mark.map(|mark| format!("mark {}", mark.short())),
        entry.certificate.map(|certificate| format!("certificate {}", certificate.short())),
    ];
    list(parts.into_iter().flatten())
}

impl Signer {
    /// The names it may vouch for, or `*`.
    pub fn names_text(&self) -> String {
        self.names.as_ref().map_or("*".to_owned(), list)
    }

    /// The relations it may state, or `*`.
    pub fn relations_text(&self) -> String {
        self.relations.as_ref().map_or("*".to_owned(), |all| list(all.iter().copied().map(Relation::as_str)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let key = "ed25519:3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        let text = format!(
            "schema = \"countermark.dev/policy/v1\"\n\
             [[signer]]\nname = \"a\"\nkey = \"{key}\"\nfrom = 2020-01-01T01:00:00+01:00\nuntil = \"2030-01-01T00:00:00Z\"\n\
             [[threshold]]\nnames = [\"x\"]\nsigners = [\"a\"]\nrequired = 3\n\
             [[revocation_list]]\nkey = \"{key}\"\nfile = \"lists/newest.json\"\nsequence = 4\n\
             [require]\nanchor = [\"evm\", \"rfc3161\"]\noms = true\n"
        );
        let policy = Policy::parse(&text).unwrap();
        assert_eq!(policy.signers[0].from.map(|time| time.0), Some(1_577_836_800));
        let again = toml::to_string(&policy).unwrap();
        assert_eq!(Policy::parse(&again).unwrap(), policy, "{again}");
    }

    fn chain(text: &str) -> Result<Policy, crate::Error> {
        let (a, b) = ("0x1111111111111111111111111111111111111111", "0x2222222222222222222222222222222222222222");
        let text = text.replace("AAAA", &format!("\"{a}\"")).replace("BBBB", &format!("\"{b}\""));
        let hash = format!("\"0x{}\"", "ab".repeat(32));
        Policy::parse(&format!("schema = \"countermark.dev/policy/v1\"\n{}", text.replace("HHHH", &hash)))
    }

    #[test]
    fn chains_that_are_ambiguous_are_refused() {
        let one = "[[chain]]\nname = \"a\"\nchain_id = 1\n";
        for (reason, text) in [
            ("has the chain_id 1 of \"a\"", format!("{one}[[chain]]\nname = \"b\"\nchain_id = 1\n")),
            ("is the name of chain 1 and of chain 2", format!("{one}[[chain]]\nname = \"a\"\nchain_id = 2\n")),
            ("\"http://x\" twice", format!("{one}endpoints = [\"http://x\", \"http://y\", \"http://x\"]\n")),
            ("expected 0x and 40", format!("{one}contract = \"0x11\"\n")),
            ("expected 0x and 64", format!("{one}blocks = [AAAA]\n")),
        ] {
            let problem = chain(&text).unwrap_err().problem();
            assert!(problem.contains(reason), "{reason}: {problem}");
        }
        assert!(chain(&format!("{one}endpoints = [\"http://x\", \"http://y\"]\n")).is_ok());
    }

    #[test]
    fn what_is_missing_in_a_chain_is_said() {
        let urls = "endpoints = [\"https://x\", \"https://y\", \"https://z\"]";
        let cases = [
            ("counts no anchor", "blocks = [HHHH]".to_owned()),
            ("names a contract and no recorder", "contract = AAAA\nblocks = [HHHH]".to_owned()),
            ("nobody vouches for any block", "contract = AAAA\nrecorders = [BBBB]".to_owned()),
            ("names none", "eas = AAAA\nagree = 2".to_owned()),
            ("4 endpoints must agree and there are 3", format!("eas = AAAA\n{urls}\nagree = 4")),
            ("the word of one endpoint", format!("eas = AAAA\n{urls}\nagree = 1")),
            ("the word of one endpoint", "eas = AAAA\nendpoints = [\"https://x\"]".to_owned()),
            ("counts none: nothing will ever", "contract = AAAA\nblocks = [HHHH]\n[require]\nanchor = true".to_owned()),
            ("counts none: nothing will ever", "eas = AAAA\nblocks = [HHHH]\n[require]\nanchor = [\"evm\"]".to_owned()),
            ("counts none: nothing will ever", "eas = AAAA\n[require]\nanchor = [\"eas\"]".to_owned()),
        ];
        let head = "[[chain]]\nname = \"a\"\nchain_id = 1\n";
        for (reason, text) in cases {
            let remarks = chain(&format!("{head}{text}\n")).unwrap().review(0);
            let found = remarks.iter().any(|remark| remark.warning && remark.text.contains(reason));
            assert!(found, "{reason}: {remarks:?}");
        }
        let good =
            format!("{head}contract = AAAA\neas = AAAA\nrecorders = [BBBB]\nblocks = [HHHH]\n{urls}\nagree = 2\n");
        let remarks = chain(&format!("{good}[require]\nanchor = [\"evm\"]\n")).unwrap().review(0);
        let warned: Vec<_> = remarks.iter().filter(|one| one.warning && one.part != "signer").collect();
        assert!(warned.is_empty(), "{warned:?}");
        assert!(remarks.iter().any(|one| one.text.contains("2 of 3 endpoints must know a block")));
    }

    #[test]
    fn patterns_overlap_when_a_name_fits_both() {
        for (a, b, expected) in
            [("x*", "xy", true), ("x", "x", true), ("x*", "xy*", true), ("x", "y*", false), ("x*", "y*", false)]
        {
            assert_eq!((overlap(a, b), overlap(b, a)), (expected, expected), "{a} {b}");
        }
        assert!(is_odd("*x") && is_odd("a**") && !is_odd("a*") && !is_odd("a"));
    }
}
