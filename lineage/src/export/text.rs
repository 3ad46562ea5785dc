//! Foreign text as data of another grammar: identifiers, IRIs and Markdown.

use std::fmt::Write as _;

use crate::digest::Hash;

/// A UUID made from a hash (RFC 9562, version 8: its content is ours to choose), so that the same input gives the same.
pub fn uuid(hash: &Hash) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.0[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// `path` with everything but RFC 3986's unreserved characters and `/` percent-encoded: a relative IRI of its own.
pub fn percent_encode(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(byte as char),
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

/// `text` as Markdown that shows it and does nothing else (CommonMark 0.31, sections 2.4 and 2.5).
///
/// ASCII punctuation gets a backslash, unless it can do nothing where it stands; `&`, `<`, `>`, `|`, `` ` `` and `@` become
/// character references, since tables and links are found before backslashes count everywhere; white space at the ends or
/// in a row, and line ends, become references too.
pub fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let (mut before, mut chars) = (None, text.chars().peekable());
    while let Some(c) = chars.next() {
        let after = chars.peek().copied();
        let inside = |kind: fn(&char) -> bool| before.as_ref().is_some_and(kind) && after.as_ref().is_some_and(kind);
        let harmless = match c {
            ',' | ';' | '(' | ')' | '"' | '\'' | '/' | '?' | '%' => before.is_some(),
            '-' => inside(char::is_ascii_alphanumeric),
            // `www.` is a link by itself to some readers.
            '.' => inside(char::is_ascii_alphanumeric) && before != Some('w') && before != Some('W'),
            ':' => inside(char::is_ascii_digit) || (before.is_some() && after == Some(' ')),
            ' ' => before.is_some_and(|before| before != ' ') && after.is_some(),
            c => !c.is_ascii_punctuation() && !c.is_whitespace() && !c.is_control(),
        };
        if harmless {
            out.push(c);
        } else if c.is_ascii_punctuation() && !"&<>|`@:".contains(c) {
            out.extend(['\\', c]);
        } else {
            let _ = write!(out, "&#{};", c as u32);
        }
        before = Some(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_says_that_it_is_one() {
        let uuid = uuid(&Hash([0xff; 32]));
        assert_eq!(uuid, "ffffffff-ffff-8fff-bfff-ffffffffffff");
    }

    #[test]
    fn paths_become_iris() {
        assert_eq!(percent_encode("a b/ü?#%.csv"), "a%20b/%C3%BC%3F%23%25.csv");
    }
}
