//! Arrow arrays to the canonical bytes of a row.

use arrow_array::cast::AsArray as _;
use arrow_array::types::*;
use arrow_array::{Array, RecordBatch, downcast_dictionary_array};
use arrow_schema::{DataType, Field, IntervalUnit, TimeUnit};
use countermark_formats::records::Error;
use countermark_formats::records::columns::{Column, Type, Unit};

use super::bad;

// Buffers of numbers are copied as they lie in memory.
#[cfg(target_endian = "big")]
compile_error!("the encoding of rows copies little-endian buffers");

/// The canonical column of an Arrow field.
pub(super) fn column(field: &Field, depth: usize, budget: &mut usize) -> Result<Column, Error> {
    let kind = kind(field.data_type(), depth, budget)
        .map_err(|problem| bad(format!("column {:?}: {problem}", field.name())))?;
    Ok(Column { name: field.name().clone(), kind })
}

fn unit(unit: TimeUnit) -> Unit {
    match unit {
        TimeUnit::Second => Unit::S,
        TimeUnit::Millisecond => Unit::Ms,
        TimeUnit::Microsecond => Unit::Us,
        TimeUnit::Nanosecond => Unit::Ns,
    }
}

fn kind(data: &DataType, depth: usize, budget: &mut usize) -> Result<Type, String> {
    let depth = depth.checked_sub(1).ok_or("types nest too deep")?;
    *budget = budget.checked_sub(1).ok_or("too many columns")?;
    let mut inner = |data: &DataType| kind(data, depth, budget);
    Ok(match data {
        DataType::Null => Type::Null,
        DataType::Boolean => Type::Bool,
        DataType::Int8 => Type::Int(8),
        DataType::Int16 => Type::Int(16),
        DataType::Int32 => Type::Int(32),
        DataType::Int64 => Type::Int(64),
        DataType::UInt8 => Type::Uint(8),
        DataType::UInt16 => Type::Uint(16),
        DataType::UInt32 => Type::Uint(32),
        DataType::UInt64 => Type::Uint(64),
        DataType::Float16 => Type::Float(16),
        DataType::Float32 => Type::Float(32),
        DataType::Float64 => Type::Float(64),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => Type::Decimal(*precision, *scale),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Type::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Type::Bytes,
        DataType::FixedSizeBinary(length) => {
            Type::Fixed(u32::try_from(*length).map_err(|_| "a negative length".to_owned())?)
        }
        DataType::Date32 => Type::Date,
        DataType::Date64 => Type::DateMs,
        DataType::Time32(of) | DataType::Time64(of) => Type::Time(unit(*of)),
        DataType::Timestamp(of, zone) => Type::Timestamp(unit(*of), zone.is_some()),
        DataType::Duration(of) => Type::Duration(unit(*of)),
        DataType::Interval(IntervalUnit::YearMonth) => Type::Interval(4),
        DataType::Interval(IntervalUnit::DayTime) => Type::Interval(8),
        DataType::Interval(IntervalUnit::MonthDayNano) => Type::Interval(16),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => Type::List(Box::new(inner(item.data_type())?)),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                Type::Map(Box::new((inner(pair[0].data_type())?, inner(pair[1].data_type())?)))
            }
            _ => return Err("a map that is not of keys and values".to_owned()),
        },
        DataType::Struct(members) => {
            let member = |field: &std::sync::Arc<Field>| {
                Ok::<_, String>(Column { name: field.name().clone(), kind: inner(field.data_type())? })
            };
            Type::Struct(members.iter().map(member).collect::<Result<_, _>>()?)
        }
        DataType::Dictionary(_, values) => inner(values)?,
        DataType::RunEndEncoded(_, values) => inner(values.data_type())?,
        DataType::Union(..) => return Err("unions have no canonical encoding".to_owned()),
    })
}

/// An array, ready to write any of its values.
pub(super) struct Encoder<'a> {
    array: &'a dyn Array,
    has_nulls: bool,
    values: Values<'a>,
}

enum Values<'a> {
    Null,
    Bool(&'a arrow_array::BooleanArray),
    /// Values of so many bytes in one buffer.
    Raw(&'a [u8], usize),
    /// Two's complement of so many bytes, to be made as long as the second says.
    Decimal(&'a [u8], usize, usize),
    FixedBinary(&'a arrow_array::FixedSizeBinaryArray),
    Utf8(&'a arrow_array::StringArray),
    LargeUtf8(&'a arrow_array::LargeStringArray),
    Utf8View(&'a arrow_array::StringViewArray),
    Binary(&'a arrow_array::BinaryArray),
    LargeBinary(&'a arrow_array::LargeBinaryArray),
    BinaryView(&'a arrow_array::BinaryViewArray),
    List(Range<'a>, Box<Encoder<'a>>),
    Map(&'a [i32], Box<(Encoder<'a>, Encoder<'a>)>),
    Struct(Vec<Encoder<'a>>),
    /// Which value of another array stands for a row.
    Indirect(Box<dyn Fn(usize) -> usize + 'a>, Box<Encoder<'a>>),
}

/// Where the items of a list lie.
type Range<'a> = Box<dyn Fn(usize) -> std::ops::Range<usize> + 'a>;

impl<'a> Encoder<'a> {
    /// All columns of a batch as one struct without nulls.
    pub fn of(rows: &'a RecordBatch) -> Result<Rows<'a>, Error> {
        rows.columns().iter().map(|array| Encoder::new(array)).collect::<Result<_, _>>().map(Rows)
    }

    fn new(array: &'a dyn Array) -> Result<Self, Error> {
        macro_rules! raw {
            ($kind:ty) => {{
                let values = array.as_primitive::<$kind>().values();
                Values::Raw(values.inner().as_slice(), size_of::<<$kind as ArrowPrimitiveType>::Native>())
            }};
        }
        macro_rules! decimal {
            ($kind:ty, $precision:expr) => {{
                let values = array.as_primitive::<$kind>().values();
                let width = size_of::<<$kind as ArrowPrimitiveType>::Native>();
                Values::Decimal(values.inner().as_slice(), width, if *$precision > 38 { 32 } else { 16 })
            }};
        }
        let list = |range: Range<'a>, items: &'a dyn Array| {
            Ok::<_, Error>(Values::List(range, Box::new(Encoder::new(items)?)))
        };
        let values = match array.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Bool(array.as_boolean()),
            DataType::Int8 => raw!(Int8Type),
            DataType::Int16 => raw!(Int16Type),
            DataType::Int32 => raw!(Int32Type),
            DataType::Int64 => raw!(Int64Type),
            DataType::UInt8 => raw!(UInt8Type),
            DataType::UInt16 => raw!(UInt16Type),
            DataType::UInt32 => raw!(UInt32Type),
            DataType::UInt64 => raw!(UInt64Type),
            DataType::Float16 => raw!(Float16Type),
            DataType::Float32 => raw!(Float32Type),
            DataType::Float64 => raw!(Float64Type),
            DataType::Decimal32(precision, _) => decimal!(Decimal32Type, precision),
            DataType::Decimal64(precision, _) => decimal!(Decimal64Type, precision),
            DataType::Decimal128(precision, _) => decimal!(Decimal128Type, precision),
            DataType::Decimal256(precision, _) => decimal!(Decimal256Type, precision),
            DataType::Date32 => raw!(Date32Type),
            DataType::Date64 => raw!(Date64Type),
            DataType::Time32(TimeUnit::Second) => raw!(Time32SecondType),
            DataType::Time32(_) => raw!(Time32MillisecondType),
            DataType::Time64(TimeUnit::Microsecond) => raw!(Time64MicrosecondType),
            DataType::Time64(_) => raw!(Time64NanosecondType),
            DataType::Timestamp(TimeUnit::Second, _) => raw!(TimestampSecondType),
            DataType::Timestamp(TimeUnit::Millisecond, _) => raw!(TimestampMillisecondType),
            DataType::Timestamp(TimeUnit::Microsecond, _) => raw!(TimestampMicrosecondType),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => raw!(TimestampNanosecondType),
            DataType::Duration(TimeUnit::Second) => raw!(DurationSecondType),
            DataType::Duration(TimeUnit::Millisecond) => raw!(DurationMillisecondType),
            DataType::Duration(TimeUnit::Microsecond) => raw!(DurationMicrosecondType),
            DataType::Duration(TimeUnit::Nanosecond) => raw!(DurationNanosecondType),
            DataType::Interval(IntervalUnit::YearMonth) => raw!(IntervalYearMonthType),
            DataType::Interval(IntervalUnit::DayTime) => raw!(IntervalDayTimeType),
            DataType::Interval(IntervalUnit::MonthDayNano) => raw!(IntervalMonthDayNanoType),
            DataType::FixedSizeBinary(_) => Values::FixedBinary(array.as_fixed_size_binary()),
            DataType::Utf8 => Values::Utf8(array.as_string()),
            DataType::LargeUtf8 => Values::LargeUtf8(array.as_string()),
            DataType::Utf8View => Values::Utf8View(array.as_string_view()),
            DataType::Binary => Values::Binary(array.as_binary()),
            DataType::LargeBinary => Values::LargeBinary(array.as_binary()),
            DataType::BinaryView => Values::BinaryView(array.as_binary_view()),
            DataType::List(_) => {
                let (at, items) = (array.as_list::<i32>().value_offsets(), array.as_list::<i32>().values());
                list(Box::new(move |row| at[row] as usize..at[row + 1] as usize), items)?
            }
            DataType::LargeList(_) => {
                let (at, items) = (array.as_list::<i64>().value_offsets(), array.as_list::<i64>().values());
                list(Box::new(move |row| at[row] as usize..at[row + 1] as usize), items)?
            }
            DataType::ListView(_) => {
                let view = array.as_list_view::<i32>();
                let range = move |row| {
                    let begin = view.value_offset(row) as usize;
                    begin..begin + view.value_size(row) as usize
                };
                list(Box::new(range), view.values())?
            }
            DataType::LargeListView(_) => {
                let view = array.as_list_view::<i64>();
                let range = move |row| {
                    let begin = view.value_offset(row) as usize;
                    begin..begin + view.value_size(row) as usize
                };
                list(Box::new(range), view.values())?
            }
            DataType::FixedSizeList(_, length) => {
                let (fixed, length) = (array.as_fixed_size_list(), *length as usize);
                let range = move |row| {
                    let begin = fixed.value_offset_at(row);
                    begin..begin + length
                };
                list(Box::new(range), fixed.values())?
            }
            DataType::Map(..) => {
                let map = array.as_map();
                let pair = (Encoder::new(map.keys())?, Encoder::new(map.values())?);
                Values::Map(map.value_offsets(), Box::new(pair))
            }
            DataType::Struct(_) => {
                let members = array.as_struct().columns().iter().map(|member| Encoder::new(member));
                Values::Struct(members.collect::<Result<_, _>>()?)
            }
            DataType::Dictionary(..) => downcast_dictionary_array!(
                array => {
                    // A null has no key; it is not asked for.
                    let key = move |row| array.key(row).unwrap_or(usize::MAX);
                    Values::Indirect(Box::new(key), Box::new(Encoder::new(array.values())?))
                },
                other => return Err(bad(format!("{other} is no dictionary"))),
            ),
            DataType::RunEndEncoded(ends, _) => match ends.data_type() {
                DataType::Int16 => runs(array.as_run::<Int16Type>())?,
                DataType::Int32 => runs(array.as_run::<Int32Type>())?,
                _ => runs(array.as_run::<Int64Type>())?,
            },
            other => return Err(bad(format!("{other} has no canonical encoding"))),
        };
        Ok(Encoder { array, has_nulls: array.null_count() > 0, values })
    }

    /// Appends the value at `row`. Stops soon after `out` becomes longer than `limit`.
    fn value(&self, row: usize, out: &mut Vec<u8>, limit: usize) -> Result<(), Error> {
        if let Values::Indirect(index, values) = &self.values {
            if self.has_nulls && self.array.is_null(row) {
                out.push(0);
                return Ok(());
            }
            return values.value(index(row), out, limit);
        }
        if matches!(self.values, Values::Null) || self.has_nulls && self.array.is_null(row) {
            out.push(0);
            return Ok(());
        }
        out.push(1);
        let mut variable = |bytes: &[u8]| {
            let length = u32::try_from(bytes.len()).ok().filter(|_| out.len() + bytes.len() <= limit);
            let length = length.ok_or_else(|| bad("too long"))?;
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(bytes);
            Ok::<(), Error>(())
        };
        match &self.values {
            Values::Null | Values::Indirect(..) => {}
            Values::Bool(array) => out.push(array.value(row).into()),
            Values::Raw(bytes, width) => out.extend_from_slice(&bytes[row * width..(row + 1) * width]),
            Values::Decimal(bytes, from, to) => {
                let bytes = &bytes[row * from..(row + 1) * from];
                let sign = if bytes[from - 1] & 0x80 == 0 { 0 } else { 0xff };
                if bytes.iter().skip(*to).any(|byte| *byte != sign) {
                    return Err(bad("a decimal number with more digits than its column allows"));
                }
                out.extend_from_slice(&bytes[..*from.min(to)]);
                out.extend(std::iter::repeat_n(sign, to.saturating_sub(*from)));
            }
            Values::FixedBinary(array) => {
                if out.len() + array.value(row).len() > limit {
                    return Err(bad("too long"));
                }
                out.extend_from_slice(array.value(row));
            }
            Values::Utf8(array) => variable(array.value(row).as_bytes())?,
            Values::LargeUtf8(array) => variable(array.value(row).as_bytes())?,
            Values::Utf8View(array) => variable(array.value(row).as_bytes())?,
            Values::Binary(array) => variable(array.value(row))?,
            Values::LargeBinary(array) => variable(array.value(row))?,
            Values::BinaryView(array) => variable(array.value(row))?,
            Values::List(range, items) => {
                let range = range(row);
                count(range.len(), out, limit)?;
                for item in range {
                    items.value(item, out, limit)?;
                }
            }
            Values::Map(offsets, pair) => {
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                count(range.len(), out, limit)?;
                for entry in range {
                    pair.0.value(entry, out, limit)?;
                    pair.1.value(entry, out, limit)?;
                }
            }
            Values::Struct(members) => {
                for member in members {
                    member.value(row, out, limit)?;
                }
            }
        }
        Ok(())
    }
}

/// A count of values, each of which takes a byte at least.
fn count(count: usize, out: &mut Vec<u8>, limit: usize) -> Result<(), Error> {
    let fits = u32::try_from(count).ok().filter(|_| out.len().saturating_add(count) <= limit);
    out.extend_from_slice(&fits.ok_or_else(|| bad("too long"))?.to_le_bytes());
    Ok(())
}

fn runs<'a, K: RunEndIndexType>(array: &'a arrow_array::RunArray<K>) -> Result<Values<'a>, Error> {
    let index = move |row| array.get_physical_index(row);
    Ok(Values::Indirect(Box::new(index), Box::new(Encoder::new(array.values())?)))
}

/// All columns of a batch.
pub(super) struct Rows<'a>(Vec<Encoder<'a>>);

impl Rows<'_> {
    /// Appends a row. Stops soon after `out` becomes longer than `limit`.
    pub fn row(&self, row: usize, out: &mut Vec<u8>, limit: usize) -> Result<(), Error> {
        self.0.iter().try_for_each(|column| column.value(row, out, limit))
    }
}
