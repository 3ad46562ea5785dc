//! Types of columns, and the text of a schema.

use std::fmt;

use super::{HEADER, MAX_COLUMNS, MAX_DEPTH};

/// A column, or a member of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What its values are.
    pub kind: Type,
}

/// What the values of a column are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Never anything but null.
    Null,
    /// True or false.
    Bool,
    /// Signed integer of so many bits.
    Int(u8),
    /// Unsigned integer of so many bits.
    Uint(u8),
    /// IEEE 754 number of so many bits.
    Float(u8),
    /// Decimal number: digits, and how many of them stand behind the point.
    Decimal(u8, i8),
    /// Text in UTF-8.
    String,
    /// Bytes.
    Bytes,
    /// So many bytes each.
    Fixed(u32),
    /// Days since 1970-01-01, in 32 bits.
    Date,
    /// Milliseconds since 1970-01-01, in 64 bits.
    DateMs,
    /// Time of day: 32 bits for seconds and milliseconds, 64 for finer ones.
    Time(Unit),
    /// Time since 1970-01-01T00:00:00 in 64 bits; true when that is UTC, false when the zone is not said.
    Timestamp(Unit, bool),
    /// Elapsed time in 64 bits.
    Duration(Unit),
    /// Months (4 bytes), days and milliseconds (8), or months, days and nanoseconds (16).
    Interval(u8),
    /// Values of one type.
    List(Box<Type>),
    /// Pairs of key and value.
    Map(Box<(Type, Type)>),
    /// Named values.
    Struct(Vec<Column>),
}

/// Unit of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::S => "s",
            Unit::Ms => "ms",
            Unit::Us => "us",
            Unit::Ns => "ns",
        })
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A string serialises without error.
        f.write_str(&serde_json::to_string(&self.name).unwrap_or_default())?;
        write!(f, " {}", self.kind)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int(bits) => write!(f, "int{bits}"),
            Type::Uint(bits) => write!(f, "uint{bits}"),
            Type::Float(bits) => write!(f, "float{bits}"),
            Type::Decimal(precision, scale) => write!(f, "decimal({precision},{scale})"),
            Type::String => f.write_str("string"),
            Type::Bytes => f.write_str("bytes"),
            Type::Fixed(length) => write!(f, "fixed({length})"),
            Type::Date => f.write_str("date"),
            Type::DateMs => f.write_str("date(ms)"),
            Type::Time(unit) => write!(f, "time({unit})"),
            Type::Timestamp(unit, false) => write!(f, "timestamp({unit})"),
            Type::Timestamp(unit, true) => write!(f, "timestamp({unit},utc)"),
            Type::Duration(unit) => write!(f, "duration({unit})"),
            Type::Interval(bytes) => write!(f, "interval({bytes})"),
            Type::List(item) => write!(f, "list<{item}>"),
            Type::Map(pair) => write!(f, "map<{},{}>", pair.0, pair.1),
            Type::Struct(members) => {
                f.write_str("struct<")?;
                for (index, member) in members.iter().enumerate() {
                    write!(f, "{}{member}", if index == 0 { "" } else { "," })?;
                }
                f.write_str(">")
            }
        }
    }
}

impl Type {
    /// Bytes of a value that is not null, when they are the same for all.
    pub fn width(&self) -> Option<usize> {
        match self {
            Type::Null => Some(0),
            Type::Bool => Some(1),
            Type::Int(bits) | Type::Uint(bits) | Type::Float(bits) => Some(usize::from(bits / 8)),
            Type::Decimal(precision, _) => Some(if *precision > 38 { 32 } else { 16 }),
            Type::Fixed(length) => Some(*length as usize),
            Type::Date | Type::Time(Unit::S | Unit::Ms) => Some(4),
            Type::DateMs | Type::Time(_) | Type::Timestamp(..) | Type::Duration(_) => Some(8),
            Type::Interval(bytes) => Some(usize::from(*bytes)),
            Type::String | Type::Bytes | Type::List(_) | Type::Map(_) | Type::Struct(_) => None,
        }
    }
}

/// The text of a schema, which is hashed.
pub fn schema(columns: &[Column]) -> String {
    let lines = columns.iter().map(|column| format!("{column}\n"));
    std::iter::once(HEADER.to_owned()).chain(lines).collect()
}

/// Reads the text of a schema, and only the one spelling that [`schema`] has for it.
pub fn parse(text: &str) -> Option<Vec<Column>> {
    let mut parser = Parser { rest: text.strip_prefix(HEADER)?, budget: MAX_COLUMNS };
    let mut columns = Vec::new();
    while !parser.rest.is_empty() {
        columns.push(parser.column(0)?);
        parser.eat("\n")?;
    }
    (schema(&columns) == text).then_some(columns)
}

struct Parser<'a> {
    rest: &'a str,
    budget: usize,
}

impl Parser<'_> {
    fn eat(&mut self, token: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(token)?;
        Some(())
    }

    fn column(&mut self, depth: usize) -> Option<Column> {
        let mut names = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        let name = names.next()?.ok()?;
        let used = names.byte_offset();
        self.rest = self.rest.get(used..)?;
        self.eat(" ")?;
        Some(Column { name, kind: self.kind(depth)? })
    }

    fn number<T: std::str::FromStr>(&mut self) -> Option<T> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit() && c != '-')?;
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits.parse().ok()
    }

    fn unit(&mut self) -> Option<Unit> {
        let found = [("s", Unit::S), ("ms", Unit::Ms), ("us", Unit::Us), ("ns", Unit::Ns)]
            .into_iter()
            .find(|(word, _)| self.rest.strip_prefix(word).is_some_and(|rest| rest.starts_with([',', ')'])))?;
        self.eat(found.0)?;
        Some(found.1)
    }

    fn kind(&mut self, depth: usize) -> Option<Type> {
        self.budget = self.budget.checked_sub(1)?;
        if depth > MAX_DEPTH {
            return None;
        }
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(match word {
            "null" => Type::Null,
            "bool" => Type::Bool,
            "int8" => Type::Int(8),
            "int16" => Type::Int(16),
            "int32" => Type::Int(32),
            "int64" => Type::Int(64),
            "uint8" => Type::Uint(8),
            "uint16" => Type::Uint(16),
            "uint32" => Type::Uint(32),
            "uint64" => Type::Uint(64),
            "float16" => Type::Float(16),
            "float32" => Type::Float(32),
            "float64" => Type::Float(64),
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "date" if self.rest.starts_with('(') => {
                self.eat("(ms)")?;
                Type::DateMs
            }
            "date" => Type::Date,
            "decimal" => {
                self.eat("(")?;
                let precision = self.number()?;
                self.eat(",")?;
                let scale = self.number()?;
                self.eat(")")?;
                Type::Decimal(precision, scale)
            }
            "fixed" | "interval" => {
                self.eat("(")?;
                let length: u32 = self.number()?;
                self.eat(")")?;
                match (word, length) {
                    ("fixed", _) => Type::Fixed(length),
                    (_, 4 | 8 | 16) => Type::Interval(length as u8),
                    _ => return None,
                }
            }
            "time" | "timestamp" | "duration" => {
                self.eat("(")?;
                let unit = self.unit()?;
                let utc = word == "timestamp" && self.eat(",utc").is_some();
                self.eat(")")?;
                match word {
                    "time" => Type::Time(unit),
                    "timestamp" => Type::Timestamp(unit, utc),
                    _ => Type::Duration(unit),
                }
            }
            "list" => {
                self.eat("<")?;
                let item = self.kind(depth + 1)?;
                self.eat(">")?;
                Type::List(Box::new(item))
            }
            "map" => {
                self.eat("<")?;
                let key = self.kind(depth + 1)?;
                self.eat(",")?;
                let value = self.kind(depth + 1)?;
                self.eat(">")?;
                Type::Map(Box::new((key, value)))
            }
            "struct" => {
                self.eat("<")?;
                let mut members = Vec::new();
                while self.eat(">").is_none() {
                    if !members.is_empty() {
                        self.eat(",")?;
                    }
                    members.push(self.column(depth + 1)?);
                }
                Type::Struct(members)
            }
            _ => return None,
        })
    }
}
