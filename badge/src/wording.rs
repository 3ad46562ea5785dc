//! What a badge says, in one place: label, message, colours, glyph and sentence for each state.
//!
//! No wording claims more than its state: `unanchored` says that no anchor is there, `unknown` that nothing was decided,
//! and only `verified` is green. Words and glyph differ between any two states, so colour never carries the meaning alone.

use countermark_lineage::verdict::{SCHEMA, State, Verdict};

/// The left half of every badge.
pub const LABEL: &str = "provenance";

/// Background of the left half, under white text.
pub const LABEL_COLOUR: &str = "#555555";

/// How one state looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The right half.
    pub message: &'static str,
    /// Background of the right half, `#rrggbb`.
    pub colour: &'static str,
    /// Text and glyph on it, `#rrggbb`, with a contrast of at least 4.5 (WCAG 2, 1.4.3).
    pub text: &'static str,
    /// The glyph: an SVG path to be stroked, in a box of 12 by 12.
    pub glyph: &'static str,
}

const WHITE: &str = "#ffffff";
const DARK: &str = "#111111";

/// The look of `state`.
pub fn look(state: State) -> Look {
    let (message, colour, text, glyph) = match state {
        State::Verified => ("verified", "#1a7f37", WHITE, "M2 6.5 4.8 9.5 10 3"),
        // A written line: signed, and no more.
        State::Unanchored => ("signed, unanchored", "#0969da", WHITE, "M1 8.5C3 3 4.5 2 4 6s1 3 2.5.5S8 8 11 8"),
        // A clock.
        State::Stale => ("stale", "#f5b04c", DARK, "M6 1.2a4.8 4.8 0 1 1-.01 0M6 3.4V6L8 7.4"),
        // A person.
        State::UnknownSigner => {
            ("signer unknown", "#f2c94c", DARK, "M6 1.2a2.2 2.2 0 1 1-.01 0M1.8 11a4.2 3.9 0 0 1 8.4 0")
        }
        State::Unknown => {
            ("could not be checked", "#d0d7de", DARK, "M3.6 3.8a2.4 2.4 0 1 1 3.5 2.2Q6 6.6 6 7.9M6 10.6v.01")
        }
        State::Absent => ("none found", "#57606a", WHITE, "M2.5 6h7"),
        State::Invalid => ("invalid", "#cf222e", WHITE, "M2.5 2.5l7 7M9.5 2.5l-7 7"),
        State::Revoked => ("revoked", "#82071e", WHITE, "M6 1.2a4.8 4.8 0 1 1-.01 0M2.6 2.6l6.8 6.8"),
    };
    Look { message, colour, text, glyph }
}

/// The state that a badge may show: a verdict on a part of an artifact is not one on the artifact, unless it is bad.
/// Nor is one of a schema that is not known here.
pub fn state(verdict: &Verdict) -> State {
    let is_whole = verdict.scope.is_none() && verdict.schema == SCHEMA;
    if is_whole { verdict.state } else { verdict.state.max(State::Unknown) }
}

/// Label and message, as a screen reader says them.
pub fn short(verdict: &Verdict) -> String {
    format!("{LABEL}: {}", look(state(verdict)).message)
}

/// One sentence about the artifact at hand; names in it are cut and cleaned, but not escaped.
pub fn sentence(verdict: &Verdict) -> String {
    let (name, signer) = (subject(verdict), clean(&verdict.signer));
    match state(verdict) {
        State::Verified => format!("{name}: every check that the policy asks for passed; signed by {signer}"),
        State::Unanchored => format!("{name}: signed by {signer}, every other check passed; not anchored to a chain"),
        State::Stale => format!("{name}: signed by {signer}, but older than the policy allows"),
        State::UnknownSigner => {
            format!("{name}: the signatures are good, but nobody in the policy vouches for the signer")
        }
        State::Unknown => format!("{name}: something could not be checked"),
        State::Absent => format!("{name}: no provenance was found"),
        State::Invalid => format!("{name}: something that was checked is wrong"),
        State::Revoked => format!("{name}: the signer, the statement or the mark was revoked"),
    }
}

/// The artifact's name, or `this artifact` when nothing could be read.
pub fn subject(verdict: &Verdict) -> String {
    if verdict.name.is_empty() { "this artifact".to_owned() } else { clean(&verdict.name) }
}

/// At most 80 characters, and U+FFFD in the place of those that XML forbids or that reorder or break a line, since
/// names come from strangers.
fn clean(text: &str) -> String {
    const MAX: usize = 80;
    let shown = |c: char| match c {
        '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}' => char::REPLACEMENT_CHARACTER,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    let mut cleaned: String = text.chars().take(MAX).map(shown).collect();
    if text.chars().nth(MAX).is_some() {
        cleaned.push('…');
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_and_cleaned() {
        assert_eq!(clean("a\nb\u{202E}c\0"), "a\u{FFFD}b\u{FFFD}c\u{FFFD}");
        assert_eq!(clean(&"é".repeat(80)), "é".repeat(80));
        assert_eq!(clean(&"é".repeat(81)), format!("{}…", "é".repeat(80)));
    }
}
