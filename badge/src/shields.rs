//! The [shields.io endpoint](https://shields.io/badges/endpoint-badge) document. Unknown keys are rejected there.

use countermark_lineage::verdict::Verdict;
use serde_json::{Value, json};

use crate::wording::{self, LABEL, LABEL_COLOUR};

/// How long shields.io may keep it; it takes no less than this.
const CACHE_SECONDS: u32 = 300;

/// The document to serve over https.
///
/// `isError` is set for every state that `countermark verify` fails on: shields.io then lets nobody repaint the badge
/// through its own address.
pub fn shields(verdict: &Verdict) -> Value {
    let look = wording::look(wording::state(verdict));
    let (glyph, ink) = (look.glyph, look.text);
    let logo = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 12 12"><path d="{glyph}" fill="none" stroke="{ink}" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round"/></svg>"#
    );
    json!({
        "schemaVersion": 1,
        "label": LABEL,
        "message": look.message,
        "color": look.colour,
        "labelColor": LABEL_COLOUR,
        "isError": wording::state(verdict).exit_code() != 0,
        "logoSvg": logo,
        "cacheSeconds": CACHE_SECONDS,
    })
}
