//! The verdict: one state, and one row for each check behind it.
//!
//! The same JSON document serves the command line, Python and the badge. Readers promise to accept every older
//! [`SCHEMA`]; a field is added under a new version and never changes its meaning.

use serde::{Deserialize, Serialize};

/// Schema of the JSON form.
pub const SCHEMA: &str = "countermark.dev/verdict/v1";

/// Schema of a verdict on a part of an artifact: another one, so that nobody takes it for a verdict on the whole.
pub const SCHEMA_OF_PART: &str = "countermark.dev/verdict-on-part/v1";

/// Schema of a verdict on one OpenSSF model signature: it says nothing of where a model came from.
pub const SCHEMA_OF_OMS: &str = "countermark.dev/verdict-on-oms/v1";

/// Schema of a verdict on a receipt or an anchor alone: it says nothing of the bytes that they are about.
pub const SCHEMA_OF_RECEIPT: &str = "countermark.dev/verdict-on-receipt/v1";

/// What a check, or all checks together, came to. Ordered from best to worst, so that the worst row decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Everything the policy asks for was checked and passed.
    Verified,
    /// As [`State::Verified`], but nothing anchors it to a chain yet, and the policy asks for none.
    Unanchored,
    /// Older than the policy's maximum age.
    Stale,
    /// Signatures are good, but nobody in the policy vouches for the signer.
    UnknownSigner,
    /// Something could not be checked: missing proof, unreachable, unsupported.
    Unknown,
    /// No provenance was found.
    Absent,
    /// Something that was checked is wrong.
    Invalid,
    /// The signer, the statement or the mark was revoked.
    Revoked,
}

impl State {
    /// The word used on the command line, in JSON, in Python and on the badge.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Verified => "verified",
            State::Unanchored => "unanchored",
            State::Stale => "stale",
            State::UnknownSigner => "unknown-signer",
            State::Unknown => "unknown",
            State::Absent => "absent",
            State::Invalid => "invalid",
            State::Revoked => "revoked",
        }
    }

    /// Exit code of `countermark verify` for this state.
    pub fn exit_code(self) -> u8 {
        match self {
            State::Verified | State::Unanchored => 0,
            State::Invalid | State::Revoked => 1,
            State::Stale | State::UnknownSigner | State::Unknown => 3,
            State::Absent => 4,
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// One row of a verdict: what was checked, what it came to, against what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Which check, in a few stable words: `artifact root`, `statement signature`, `parent base: signer`.
    pub name: String,
    /// What it came to.
    pub state: State,
    /// What it was checked against, or what differs and where.
    pub detail: String,
}

impl Check {
    /// A row. Both texts may quote foreign bytes: what could steer a terminal or hide a part of the text is replaced, and
    /// no row is longer than a person reads.
    pub fn new(name: impl Into<String>, state: State, detail: impl Into<String>) -> Self {
        Check { name: printable(&name.into(), 120), state, detail: printable(&detail.into(), 2000) }
    }
}

/// `text` without control characters and without those that reorder what is written, cut at `longest` characters.
pub fn printable(text: &str, longest: usize) -> String {
    let clean = |c: char| match c {
        '\n' => ' ',
        c if c.is_control() || is_reordering(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    let mut cut: String = text.chars().take(longest).map(clean).collect();
    if text.chars().nth(longest).is_some() {
        cut.push('…');
    }
    cut
}

/// Bidirectional controls, zero-width characters and line separators.
pub(crate) fn is_reordering(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// What all the evidence comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// [`SCHEMA`], [`SCHEMA_OF_PART`] together with [`Verdict::scope`], [`SCHEMA_OF_OMS`] or
    /// [`SCHEMA_OF_RECEIPT`].
    pub schema: String,
    /// The worst state of all rows.
    pub state: State,
    /// Name of the artifact as its signer gave it; empty when nothing could be read.
    pub name: String,
    /// Root of the artifact, lower-case hex; empty when nothing could be read.
    pub root: String,
    /// Id of the artifact's statement, lower-case hex; empty when nothing could be read.
    pub statement: String,
    /// Who signed, as the policy names them, or the key id.
    pub signer: String,
    /// The only part of the artifact whose bytes were looked at: `file PATH` or `tensor NAME`. Left out when that is all
    /// of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Every check, in the order in which it was made.
    pub checks: Vec<Check>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_cannot_steer_a_terminal() {
        let row = Check::new("parent \u{1b}[2J\u{202e}", State::Invalid, "x".repeat(5000));
        assert!(!row.name.contains(|c: char| c.is_control() || is_reordering(c)), "{:?}", row.name);
        assert_eq!(row.detail.chars().count(), 2001);
    }

    #[test]
    fn the_worst_state_is_the_greatest() {
        assert!(
            State::Verified < State::Unanchored && State::Unknown < State::Invalid && State::Invalid < State::Revoked
        );
        let green = |state: &State| state.exit_code() == 0;
        assert!([State::Verified, State::Unanchored].iter().all(green));
    }
}
