//! The picture: two rectangles under a rounded clip, a glyph and two texts.
//!
//! Nothing in it needs a script, a style, a link or a font from elsewhere, so it draws the same inside an `<img>` and
//! under the strictest content policy. Text is set at ten times its size and scaled down, with its length pinned, so
//! that a substitute font keeps the layout.

use countermark_lineage::verdict::Verdict;

use crate::widths;
use crate::wording::{self, LABEL, LABEL_COLOUR};

/// Space before, between and after the parts, in pixels.
const PAD: u32 = 5;
/// Side of the glyph's box, in pixels.
const GLYPH: u32 = 12;

/// The badge as one SVG document, 20 pixels high. The clip's id names the state, hence its width, so that several badges
/// can be inlined into one page.
pub fn svg(verdict: &Verdict) -> String {
    let state = wording::state(verdict);
    let look = wording::look(state);
    let (label_width, message_width) = (widths::width(LABEL), widths::width(look.message));
    let left = label_width + 2 * PAD;
    let right = GLYPH + message_width + 3 * PAD;
    let width = left + right;
    let (glyph_x, message_x) = (left + PAD, left + GLYPH + 2 * PAD);
    let (label, title) = (escape(&wording::short(verdict)), escape(&wording::sentence(verdict)));
    let (colour, ink, glyph) = (look.colour, look.text, look.glyph);
    let label_text = text(PAD, label_width, LABEL);
    let message_text = text(message_x, message_width, look.message);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="{label}"><title>{title}</title><clipPath id="clip-{state}"><rect width="{width}" height="20" rx="3"/></clipPath><g clip-path="url(#clip-{state})"><rect width="{left}" height="20" fill="{LABEL_COLOUR}"/><rect x="{left}" width="{right}" height="20" fill="{colour}"/></g><path transform="translate({glyph_x} 4)" d="{glyph}" fill="none" stroke="{ink}" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round"/><g font-family="Verdana,Geneva,DejaVu Sans,sans-serif" font-size="110" text-rendering="geometricPrecision"><g fill="#ffffff">{label_text}</g><g fill="{ink}">{message_text}</g></g></svg>"##
    )
}

fn text(x: u32, width: u32, content: &str) -> String {
    let (x, length) = (10 * x, 10 * width);
    let content = escape(content);
    format!(r#"<text transform="scale(.1)" x="{x}" y="140" textLength="{length}">{content}</text>"#)
}

/// For XML text and for attributes in double quotes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
