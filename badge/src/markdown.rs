//! The snippet for a model card: the picture inside a link, which is all that hubs agree on.

use countermark_lineage::verdict::Verdict;

use crate::wording;

/// Markdown that shows `image` and leads to `link`, a page or the bundle; both are relative paths or URLs.
///
/// The text of a card outlives the verdict. A picture from a URL may change later, so its alternative text names the
/// artifact and no state; a picture in a file is as old as the text and may say it.
pub fn markdown(verdict: &Verdict, image: &str, link: &str) -> String {
    let may_change = image.contains("://");
    let text =
        if may_change { format!("provenance of {}", wording::subject(verdict)) } else { wording::short(verdict) };
    format!("[![{}]({})]({})", escape(&text), destination(image), destination(link))
}

/// Backslash before everything that CommonMark gives a meaning to inside a link's text.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\`*_[]<>&!|~#$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// A link's destination: percent-encodes what could end it, and leaves everything else of a URL as it is.
fn destination(target: &str) -> String {
    let mut encoded = String::with_capacity(target.len());
    for byte in target.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => encoded.push(char::from(byte)),
            _ if b"-._~/:?#@!$&'*+,=%".contains(&byte) => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
