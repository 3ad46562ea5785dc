//! The columns of a table, from its beginning: CSV and TSV with a header (RFC 4180), and JSON lines.

use std::collections::BTreeMap;

use serde_json::Value;

/// A file of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// In the order of the file.
    pub columns: Vec<Column>,
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What every value of the whole file is; [`Values::Text`] when only the beginning was seen.
    pub values: Values,
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Whole numbers of 64 bits.
    Integer,
    /// Numbers.
    Float,
    /// `true` and `false`.
    Boolean,
    /// Anything else, or not known.
    Text,
}

/// Tables of more columns are not described.
const MOST_COLUMNS: usize = 10_000;

/// True for the names that [`sniff`] knows.
pub fn is_table(path: &str) -> bool {
    separator(path).is_some() || is_json_lines(path)
}

fn separator(path: &str) -> Option<u8> {
    match path.rsplit('.').next()? {
        "csv" => Some(b','),
        "tsv" => Some(b'\t'),
        _ => None,
    }
}

fn is_json_lines(path: &str) -> bool {
    matches!(path.rsplit('.').next(), Some("jsonl" | "ndjson"))
}

/// The columns of the file that begins with `head`, or `None` when it is not such a table. `whole`: nothing follows.
pub fn sniff(path: &str, head: &[u8], whole: bool) -> Option<Table> {
    // The last line may be cut off.
    let end = if whole { head.len() } else { head.iter().rposition(|byte| *byte == b'\n')? + 1 };
    let text = std::str::from_utf8(&head[..end]).ok()?;
    let mut columns = match separator(path) {
        Some(separator) => delimited(text, separator as char, whole)?,
        None => json_lines(text)?,
    };
    if !whole {
        columns.iter_mut().for_each(|column| column.values = Values::Text);
    }
    let mut names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
    names.sort_unstable();
    let is_good = (1..=MOST_COLUMNS).contains(&columns.len())
        && names.windows(2).all(|pair| pair[0] != pair[1])
        && names.iter().all(|name| !name.is_empty() && !name.contains(char::is_control));
    is_good.then_some(Table { columns })
}

fn delimited(text: &str, separator: char, whole: bool) -> Option<Vec<Column>> {
    let mut rows = Rows { rest: text, separator };
    let header = rows.next()?;
    let mut seen: Vec<Option<Values>> = vec![None; header.len()];
    for row in rows.by_ref() {
        if row.len() != header.len() {
            return None;
        }
        for (seen, cell) in seen.iter_mut().zip(&row) {
            // What begins with a zero is a code, such as a postal one, and would lose it as a number.
            let is_code = cell.len() > 1 && cell.starts_with('0') && !cell.starts_with("0.");
            let value = if is_code {
                Values::Text
            } else if cell.parse::<i64>().is_ok() {
                Values::Integer
            } else if cell.parse::<f64>().is_ok_and(f64::is_finite) {
                Values::Float
            } else {
                Values::Text
            };
            *seen = Some(join(*seen, value));
        }
    }
    // A quote that never closes: the rest is no table, unless the file goes on after what was seen.
    if whole && !rows.rest.is_empty() {
        return None;
    }
    Some(header.into_iter().zip(seen).map(column).collect())
}

fn column((name, seen): (String, Option<Values>)) -> Column {
    Column { name, values: seen.unwrap_or(Values::Text) }
}

/// What a column is that held the one and now holds the other.
fn join(seen: Option<Values>, value: Values) -> Values {
    match (seen, value) {
        (None, value) => value,
        (Some(Values::Integer | Values::Float), Values::Float) | (Some(Values::Float), Values::Integer) => {
            Values::Float
        }
        (Some(seen), value) if seen == value => value,
        _ => Values::Text,
    }
}

fn json_lines(text: &str) -> Option<Vec<Column>> {
    let mut columns: Vec<(String, Option<Values>)> = Vec::new();
    let mut at: BTreeMap<String, usize> = BTreeMap::new();
    let (mut count, mut present) = (0_usize, Vec::new());
    for line in text.lines() {
        let Value::Object(record) = serde_json::from_str(line).ok()? else { return None };
        count += 1;
        for (name, value) in record {
            let value = match value {
                Value::Bool(_) => Values::Boolean,
                Value::Number(number) if number.is_i64() => Values::Integer,
                Value::Number(_) => Values::Float,
                _ => Values::Text,
            };
            let index = *at.entry(name.clone()).or_insert_with(|| {
                columns.push((name, None));
                present.push(0_usize);
                columns.len() - 1
            });
            if columns.len() > MOST_COLUMNS {
                return None;
            }
            columns[index].1 = Some(join(columns[index].1, value));
            present[index] += 1;
        }
    }
    // A column that some records lack holds more than its values.
    for (column, present) in columns.iter_mut().zip(present) {
        if present != count {
            column.1 = Some(Values::Text);
        }
    }
    Some(columns.into_iter().map(column).collect())
}

/// The records of a delimited text.
struct Rows<'a> {
    rest: &'a str,
    separator: char,
}

impl Iterator for Rows<'_> {
    type Item = Vec<String>;

    fn next(&mut self) -> Option<Vec<String>> {
        let (mut row, mut cell, mut quoted) = (Vec::new(), String::new(), false);
        let mut chars = self.rest.char_indices().peekable();
        if self.rest.is_empty() {
            return None;
        }
        while let Some((at, c)) = chars.next() {
            match c {
                '"' if quoted && chars.next_if(|(_, next)| *next == '"').is_some() => cell.push('"'),
                '"' if quoted || cell.is_empty() => quoted = !quoted,
                c if c == self.separator && !quoted => {
                    row.push(std::mem::take(&mut cell));
                    if row.len() > MOST_COLUMNS {
                        return None;
                    }
                }
                '\n' if !quoted => {
                    if cell.ends_with('\r') {
                        cell.pop();
                    }
                    row.push(cell);
                    self.rest = &self.rest[at + 1..];
                    return Some(row);
                }
                c => cell.push(c),
            }
        }
        if quoted {
            return None;
        }
        row.push(cell);
        self.rest = "";
        Some(row)
    }
}
