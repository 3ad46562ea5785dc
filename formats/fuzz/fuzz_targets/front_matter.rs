//! Model cards: whatever is read can be edited, and the edit reads back as what was asked for.
#![no_main]

use countermark_formats::front_matter::{Change, FrontMatter, Value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (&str, &str)| {
    let (card, text) = data;
    let Ok(front) = FrontMatter::parse(card) else { return };
    if let Ok(edited) = front.edit(card, &[("base_model", Change::Text(text.to_owned()))]) {
        let again = FrontMatter::parse(&edited).expect("an edited card reads");
        assert_eq!(again.get("base_model"), Some(&Value::Text(text.to_owned())));
        front.keys().filter(|key| *key != "base_model").for_each(|key| assert_eq!(again.get(key), front.get(key)));
    }
});
