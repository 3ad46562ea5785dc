//! A row's bytes back to values, so that a disclosed record can be read by people.

use serde_json::{Map, Value};

use super::types::{Column, Type};

/// The values of a row as a JSON object, or `None` when the bytes are no row of these columns, two columns share a name, or
/// the text would be above 64 MiB. Times are the integers that are stored; bytes are lower-case hex; decimals and what JSON has no number for are
/// strings.
pub fn row_to_json(columns: &[Column], row: &[u8]) -> Option<Value> {
    let mut reader = Reader { rest: row, budget: 64 << 20 };
    let value = reader.members(columns)?;
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a [u8],
    /// What may still be put out: names stand once in the schema and in every value here.
    budget: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        self.budget = self.budget.checked_sub(length * 2 + 16)?;
        Some(taken)
    }

    fn count(&mut self) -> Option<usize> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?) as usize)
    }

    fn members(&mut self, columns: &[Column]) -> Option<Value> {
        let mut members = Map::new();
        for column in columns {
            self.budget = self.budget.checked_sub(column.name.len())?;
            let before = members.insert(column.name.clone(), self.value(&column.kind)?);
            if before.is_some() {
                return None;
            }
        }
        Some(Value::Object(members))
    }

    fn value(&mut self, kind: &Type) -> Option<Value> {
        match self.take(1)? {
            [0] => return Some(Value::Null),
            [1] => {}
            _ => return None,
        }
        if let Some(width) = kind.width() {
            return fixed(kind, self.take(width)?);
        }
        let count = match kind {
            Type::Struct(members) => return self.members(members),
            _ => self.count()?,
        };
        match kind {
            Type::String => Some(Value::from(std::str::from_utf8(self.take(count)?).ok()?)),
            Type::Bytes => Some(hex(self.take(count)?)),
            // Every value takes a byte at least.
            _ if count > self.rest.len() => None,
            Type::List(item) => (0..count).map(|_| self.value(item)).collect::<Option<Vec<_>>>().map(Value::Array),
            Type::Map(pair) => {
                let pairs = (0..count).map(|_| Some(Value::Array(vec![self.value(&pair.0)?, self.value(&pair.1)?])));
                pairs.collect::<Option<Vec<_>>>().map(Value::Array)
            }
            _ => None,
        }
    }
}

fn hex(bytes: &[u8]) -> Value {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// The low bytes of a two's complement number.
fn signed(bytes: &[u8]) -> Option<i128> {
    let mut wide = [if *bytes.last()? & 0x80 == 0 { 0 } else { 0xff }; 16];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i128::from_le_bytes(wide))
}

fn fixed(kind: &Type, bytes: &[u8]) -> Option<Value> {
    let float = |value: f64| match serde_json::Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None => Value::from(value.to_string()),
    };
    Some(match kind {
        Type::Null => return None,
        Type::Bool => match bytes {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            _ => return None,
        },
        Type::Float(16) => float(half::f16::from_le_bytes(bytes.try_into().ok()?).into()),
        Type::Float(32) => float(f32::from_le_bytes(bytes.try_into().ok()?).into()),
        Type::Float(_) => float(f64::from_le_bytes(bytes.try_into().ok()?)),
        Type::Uint(_) => {
            let mut wide = [0; 8];
            wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
            u64::from_le_bytes(wide).into()
        }
        Type::Decimal(_, scale) if bytes.len() == 16 => format!("{}e{}", signed(bytes)?, -i16::from(*scale)).into(),
        Type::Decimal(..) | Type::Fixed(_) | Type::Interval(16) => hex(bytes),
        Type::Interval(8) => vec![signed(&bytes[..4])? as i64, signed(&bytes[4..])? as i64].into(),
        _ => Value::from(signed(bytes)? as i64),
    })
}
