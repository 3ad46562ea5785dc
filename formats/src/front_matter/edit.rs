//! Changes to single fields, everything else byte for byte as it was.

use std::fmt::Write as _;

use super::{Error, FrontMatter, Value};

/// What becomes of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It holds this text.
    Text(String),
    /// It holds this list.
    List(Vec<String>),
    /// It is not there.
    Remove,
}

impl FrontMatter {
    /// `card`, which this was parsed from, with these fields changed. A new field goes to the end; a field that holds
    /// what it shall already is left as it is written.
    ///
    /// # Errors
    /// [`Error`] when the front matter is written in braces, or the change would not read back as what was asked for.
    pub fn edit(&self, card: &str, changes: &[(&str, Change)]) -> Result<String, Error> {
        let fail = |line, reason: &str| Err(Error { line, reason: reason.to_owned() });
        let changes: Vec<&(&str, Change)> =
            changes.iter().filter(|(key, change)| change.value().as_ref() != self.get(key)).collect();
        if changes.is_empty() {
            return Ok(card.to_owned());
        }
        if self.is_flow {
            return fail(
                2,
                "this front matter is written in braces; write it as `field: value` lines to have it edited",
            );
        }
        let newline = if card.starts_with("---\r\n") { "\r\n" } else { "\n" };
        let (mut out, mut done) = (String::with_capacity(card.len() + 256), 0);
        for field in &self.fields {
            let Some((key, change)) = changes.iter().find(|(key, _)| *key == field.key) else { continue };
            let start = field.range.start;
            if !matches!(card.as_bytes().get(start.wrapping_sub(1)), Some(b'\n')) {
                let reason = "this field does not begin its line; write it as `field: value` to have it edited";
                return fail(line_of(card, start), reason);
            }
            out.push_str(&card[done..start]);
            match change {
                Change::Remove => {
                    let rest = &card[field.range.end..];
                    done = field.range.end + rest.find('\n').map_or(rest.len(), |end| end + 1);
                }
                change => {
                    out.push_str(&change.render(key, newline));
                    done = field.range.end;
                }
            }
        }
        let end = self.yaml.as_ref().map_or(0, |yaml| yaml.end);
        let added: String = changes
            .iter()
            .filter(|(key, change)| self.get(key).is_none() && *change != Change::Remove)
            .map(|(key, change)| change.render(key, newline) + newline)
            .collect();
        if self.yaml.is_some() {
            out.push_str(&card[done..end]);
            out.push_str(&added);
        } else if !added.is_empty() {
            let _ = write!(out, "---{newline}{added}---{newline}");
            if !card.is_empty() {
                out.push_str(newline);
            }
        }
        // Nothing is left of it: no dashes either.
        let is_empty = self.yaml.as_ref().is_some_and(|yaml| out.len() == yaml.start);
        if is_empty {
            let rest = &card[end..];
            let rest = &rest[rest.find('\n').map_or(rest.len(), |end| end + 1)..];
            out = rest.to_owned();
        } else {
            out.push_str(&card[end..]);
        }
        self.check(card, &out, &changes)?;
        Ok(out)
    }

    /// The edited card must say what was asked for, and the same as before elsewhere.
    fn check(&self, card: &str, edited: &str, changes: &[&(&str, Change)]) -> Result<(), Error> {
        let again = FrontMatter::parse(edited)?;
        let is_changed = |key: &str| changes.iter().any(|(changed, _)| *changed == key);
        let wanted = changes.iter().all(|(key, change)| again.get(key) == change.value().as_ref());
        let others = |front: &FrontMatter, card: &str| -> Vec<String> {
            let kept = front.fields.iter().filter(|field| !is_changed(&field.key));
            kept.map(|field| card[field.range.clone()].to_owned()).collect()
        };
        if wanted && others(self, card) == others(&again, edited) {
            return Ok(());
        }
        let reason =
            "the change would not read back as it was asked for; write the fields one to a line, then try again";
        Err(Error { line: 1, reason: reason.to_owned() })
    }
}

impl Change {
    fn value(&self) -> Option<Value> {
        match self {
            Change::Text(text) => Some(Value::Text(text.clone())),
            Change::List(items) => Some(Value::List(items.clone())),
            Change::Remove => None,
        }
    }

    /// The field's lines, the last without line end.
    fn render(&self, key: &str, newline: &str) -> String {
        match self {
            Change::Text(text) => format!("{}: {}", scalar(key), scalar(text)),
            Change::List(items) if items.is_empty() => format!("{}: []", scalar(key)),
            Change::List(items) => {
                let items: String = items.iter().map(|item| format!("{newline}- {}", scalar(item))).collect();
                format!("{}:{items}", scalar(key))
            }
            Change::Remove => String::new(),
        }
    }
}

/// `text` as a YAML scalar that every reader takes for this very text: plain when nothing can be mistaken, otherwise in
/// double quotes with everything unusual escaped (YAML 1.2.2, section 5.7; the same in 1.1).
fn scalar(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    // Words and numbers that some schema resolves to something else than text begin with these, or are these.
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphabetic());
    const WORDS: [&str; 12] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "inf", "nan", "none"];
    if begins_well && text.bytes().all(plain) && !WORDS.contains(&&*text.to_ascii_lowercase()) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            c if c.is_alphanumeric() && (c as u32) < 0x1_0000 => out.push(c),
            c if (c as u32) < 0x1_0000 => drop(write!(out, "\\u{:04X}", c as u32)),
            c => drop(write!(out, "\\U{:08X}", c as u32)),
        }
    }
    out.push('"');
    out
}

fn line_of(card: &str, offset: usize) -> usize {
    1 + card[..offset].bytes().filter(|byte| *byte == b'\n').count()
}
