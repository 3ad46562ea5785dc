//! The YAML front matter of a model card: read strictly, and edited without touching anything else.
//!
//! Cards are read by many programs, and YAML means different things to them. So whatever could be read in two ways is
//! refused: front matter that does not begin at the first byte or is empty, anchors, aliases, tags, merge keys, keys that
//! stand there twice, several documents, and characters that only some readers take for line ends. What is left is the
//! part of YAML 1.2 on which readers agree.
//!
//! ```
//! use countermark_formats::front_matter::{Change, FrontMatter, Value};
//!
//! let card = "---\nlicense: mit # as the code\nbase_model: old/one\n---\n# A model\n";
//! let front = FrontMatter::parse(card)?;
//! assert_eq!(front.get("base_model"), Some(&Value::Text("old/one".into())));
//!
//! let edited = front.edit(card, &[("base_model", Change::Text("new/one".into()))])?;
//! assert_eq!(edited, "---\nlicense: mit # as the code\nbase_model: new/one\n---\n# A model\n");
//! # Ok::<(), countermark_formats::front_matter::Error>(())
//! ```

mod edit;

use std::collections::BTreeSet;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

pub use edit::Change;

/// Longer front matter is refused, in bytes.
pub const LONGEST: usize = 1 << 20;

/// Deeper nesting is refused.
const DEEPEST: usize = 64;

/// Front matter that cannot be read in one way only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Error {
    /// Line of the card, from 1.
    pub line: usize,
    /// What is wrong there, and how to mend it.
    pub reason: String,
}

/// The fields of a card's front matter, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontMatter {
    fields: Vec<Field>,
    /// The YAML between the two lines of dashes, in bytes of the card; `None` without front matter.
    yaml: Option<Range<usize>>,
    /// The mapping is written in braces, which cannot be edited line by line.
    is_flow: bool,
}

/// One field at the top.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    key: String,
    value: Value,
    /// From the key's first byte to the value's last, in bytes of the card.
    range: Range<usize>,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing, `null` or `~`.
    Null,
    /// One scalar, as text; numbers and truth values as they are written.
    Text(String),
    /// A list of scalars.
    List(Vec<String>),
    /// Anything nested.
    Other,
}

impl FrontMatter {
    /// Reads a card, which may have no front matter.
    ///
    /// # Errors
    /// [`Error`] naming the line of what could be read in two ways.
    pub fn parse(card: &str) -> Result<Self, Error> {
        let Some(yaml) = find(card)? else { return Ok(FrontMatter::default()) };
        let text = &card[yaml.clone()];
        // Lines of the card: the first is the dashes.
        let fail = |offset: usize, reason: &str| {
            let line = 2 + text[..offset].bytes().filter(|byte| *byte == b'\n').count();
            Error { line, reason: reason.to_owned() }
        };
        if text.len() > LONGEST {
            return Err(fail(0, "the front matter is above 1 MiB; shorten it"));
        }
        let steers = |c: char| (c.is_control() && !"\n\r\t".contains(c)) || "\u{2028}\u{2029}\u{feff}".contains(c);
        let dashes = text.starts_with("---").then_some(0).or_else(|| Some(text.find("\n---")? + 1));
        if let Some(at) = dashes {
            return Err(fail(
                at,
                "a line that begins with ---, the end of the front matter or a second one to some; indent it",
            ));
        }
        if let Some((at, _)) = text.char_indices().find(|(_, c)| steers(*c)) {
            return Err(fail(at, "a control character, or one that some readers take for a line end; remove it"));
        }
        let bytes = text.as_bytes();
        if let Some(at) = (0..bytes.len()).find(|at| bytes[*at] == b'\r' && bytes.get(at + 1) != Some(&b'\n')) {
            return Err(fail(at, "a carriage return without line feed, a line end for some readers only; remove it"));
        }
        let mut reader = Reader::new(text, yaml.start);
        reader.read().map_err(|(offset, reason)| fail(offset.min(text.len()), &reason))?;
        Ok(FrontMatter { fields: reader.fields, yaml: Some(yaml), is_flow: reader.is_flow })
    }

    /// The value of a field.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.fields.iter().find(|field| field.key == key).map(|field| &field.value)
    }

    /// The names of the fields, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| &*field.key)
    }
}

/// The bytes between the two lines of dashes.
fn find(card: &str) -> Result<Option<Range<usize>>, Error> {
    let fail = |line, reason: &str| Err(Error { line, reason: reason.to_owned() });
    let start = if card.starts_with("---\n") {
        4
    } else if card.starts_with("---\r\n") {
        5
    } else {
        // Readers that skip white space or a byte order mark would see front matter here.
        let shown = card.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        if shown.starts_with("---\n") || shown.starts_with("---\r") {
            return fail(1, "front matter must begin at the first byte of the card: remove what stands before ---");
        }
        // Some take a line that merely begins so for the opening one.
        if shown.starts_with("---") && !shown.starts_with("----") && shown != "---" {
            return fail(1, "the first line begins with --- and goes on: end it there, or begin it otherwise");
        }
        return Ok(None);
    };
    let mut at = start;
    for line in card[start..].split_inclusive('\n') {
        let content = line.strip_suffix('\n').unwrap_or(line);
        if content.strip_suffix('\r').unwrap_or(content) == "---" {
            if at == start {
                return fail(2, "empty front matter: remove the two lines of dashes, or write a field between them");
            }
            return Ok(Some(start..at));
        }
        at += line.len();
    }
    fail(1, "front matter is opened by --- and never closed by another line ---")
}

/// Turns the parser's events into fields.
struct Reader<'a> {
    text: &'a str,
    /// Where the text begins in the card.
    base: usize,
    /// Byte of each character, since the parser counts characters.
    bytes: Vec<usize>,
    fields: Vec<Field>,
    is_flow: bool,
}

type Failure = (usize, String);

impl<'a> Reader<'a> {
    fn new(text: &'a str, base: usize) -> Self {
        let bytes = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        Reader { text, base, bytes, fields: vec![], is_flow: false }
    }

    fn byte(&self, character: usize) -> usize {
        self.bytes.get(character).copied().unwrap_or(self.text.len())
    }

    fn read(&mut self) -> Result<(), Failure> {
        let mut parser = Parser::new_from_str(self.text);
        let mut open: Vec<Open> = vec![];
        let mut documents = 0;
        let mut current: Option<Pending> = None;
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| (self.byte(error.marker().index()), error.info().to_owned()))?;
            let at = self.byte(span.start.index());
            let fail = |reason: &str| Err((at, reason.to_owned()));
            let (anchor, tagged) = match &event {
                Event::Alias(_) => return fail("an alias, which cards cannot use; write the value again"),
                Event::Scalar(_, _, anchor, tag) => (*anchor, tag.is_some()),
                Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => (*anchor, tag.is_some()),
                _ => (0, false),
            };
            if anchor != 0 || tagged {
                return fail("an anchor or a tag, which cards cannot use; remove it");
            }
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return fail("a second YAML document, which only some readers see; remove it");
                    }
                }
                Event::MappingStart(..) | Event::SequenceStart(..) => {
                    let is_mapping = matches!(event, Event::MappingStart(..));
                    if open.last().is_some_and(Open::awaits_key) {
                        return fail("a key that is no plain text; write a word");
                    }
                    if open.is_empty() && !is_mapping {
                        return fail("front matter is no list of fields; write `field: value` lines");
                    }
                    if open.is_empty() {
                        self.is_flow = self.text[at..].starts_with('{');
                    }
                    if let Some(current) = &mut current {
                        current.nest(open.len(), is_mapping);
                        current.extend(self.byte(span.end.index()));
                    }
                    if open.len() == DEEPEST {
                        return fail("nested too deeply");
                    }
                    open.push(if is_mapping {
                        Open::Mapping { keys: BTreeSet::new(), key: true }
                    } else {
                        Open::Sequence
                    });
                }
                Event::MappingEnd | Event::SequenceEnd => {
                    open.pop();
                    // Only flow collections end with a character of their own.
                    if let Some(current) = &mut current
                        && span.end.index() > span.start.index()
                    {
                        current.extend(self.byte(span.end.index()));
                    }
                    self.complete(&mut open, &mut current);
                }
                Event::Scalar(text, style, ..) => {
                    let top = open.len() == 1;
                    match open.last_mut() {
                        None => return fail("front matter is no list of fields; write `field: value` lines"),
                        Some(Open::Mapping { keys, key }) if *key => {
                            if text == "<<" {
                                return fail(
                                    "a merge key, which only some readers follow; write the fields themselves",
                                );
                            }
                            if !keys.insert(text.clone().into_owned()) {
                                return fail("this field stands there twice; remove one");
                            }
                            *key = false;
                            if top {
                                current = Some(Pending::new(text.into_owned(), self.key_range(at, &span)));
                            }
                        }
                        Some(_) => {
                            if let Some(current) = &mut current {
                                current.scalar(open.len(), &text, style);
                                current.extend(self.byte(span.end.index()));
                            }
                            self.complete(&mut open, &mut current);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A key with its colon: the value may be empty.
    fn key_range(&self, start: usize, span: &Span) -> Range<usize> {
        let end = self.byte(span.end.index());
        // A key behind a question mark may lack its colon: only blanks may stand between.
        let blanks = self.text[end..].bytes().take_while(|byte| b" \t\r\n".contains(byte)).count();
        let colon = self.text[end + blanks..].starts_with(':');
        start..if colon { end + blanks + 1 } else { end }
    }

    /// A value of the innermost mapping is complete: a key comes next. At the top, the field is.
    fn complete(&mut self, open: &mut [Open], current: &mut Option<Pending>) {
        let top = open.len() == 1;
        if let Some(Open::Mapping { key, .. }) = open.last_mut() {
            *key = true;
            if top && let Some(pending) = current.take() {
                let Range { start, end } = pending.range;
                let end = start + self.text[start..end].trim_end().len();
                let range = self.base + start..self.base + end;
                self.fields.push(Field { key: pending.key, value: pending.value, range });
            }
        }
    }
}

/// A collection that is being read.
enum Open {
    Mapping { keys: BTreeSet<String>, key: bool },
    Sequence,
}

impl Open {
    fn awaits_key(&self) -> bool {
        matches!(self, Open::Mapping { key: true, .. })
    }
}

/// The field at the top whose value is being read.
struct Pending {
    key: String,
    value: Value,
    range: Range<usize>,
}

impl Pending {
    fn new(key: String, range: Range<usize>) -> Self {
        Pending { key, value: Value::Null, range }
    }

    fn extend(&mut self, end: usize) {
        self.range.end = self.range.end.max(end);
    }

    /// A collection opens inside `depth` others.
    fn nest(&mut self, depth: usize, is_mapping: bool) {
        self.value = if depth == 1 && !is_mapping { Value::List(vec![]) } else { Value::Other };
    }

    fn scalar(&mut self, depth: usize, text: &str, style: ScalarStyle) {
        let is_null = style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL");
        match &mut self.value {
            value @ Value::Null if depth == 1 && !is_null => *value = Value::Text(text.to_owned()),
            Value::List(items) if depth == 2 => items.push(text.to_owned()),
            _ => {}
        }
    }
}
