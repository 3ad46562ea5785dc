//! Through the graphs of a model: where the tensors are, and what they are called.

use std::ops::Range;

use super::tensor::{self, Home};
use crate::protobuf::{Cursor, Value, Wire, fail};
use crate::tensors::StoredTensor;
use crate::{Result, Source};

/// Graphs in graphs: exporters nest a few.
const MAX_DEPTH: u32 = 32;

/// Longest name, with everything in front of it.
pub(super) const MAX_NAME: u64 = 4096;

const MAX_TENSORS: usize = 1 << 20;

/// Graphs of one model: a branch of a condition is one.
const MAX_GRAPHS: usize = 1 << 16;

/// Bytes of all names together.
const MAX_NAMES: usize = 1 << 28;

/// Attributes of one node.
const MAX_ATTRIBUTES: usize = 10_000;

/// The tensors of the model in one of `files`. External data is looked for in the others.
pub(crate) fn tensors(files: &[(String, Source)], file: usize) -> Result<Vec<StoredTensor>> {
    let (path, source) = &files[file];
    let paths = files.iter().enumerate().map(|(number, (path, _))| (path.as_str(), number)).collect();
    let home = Home { files, paths, file, folder: &path[..path.rfind('/').map_or(0, |slash| slash + 1)] };
    let wire = Wire::new(&**source);
    let mut walk = Walk { home, wire, list: Vec::new(), names: 0, graphs: 0, external: Vec::new() };
    walk.model(0..source.len())?;
    let Walk { list, external, .. } = walk;
    tensor::refuse_overlaps(external)?;
    Ok(list)
}

struct Walk<'a> {
    home: Home<'a>,
    wire: Wire<'a>,
    list: Vec<StoredTensor>,
    /// Bytes of the names in the list.
    names: usize,
    /// Graphs that were gone through.
    graphs: usize,
    /// Ranges of external files.
    external: Vec<(usize, Range<u64>)>,
}

/// Keeps a field that may stand there once.
fn once<T>(slot: &mut Option<T>, value: T, at: u64, what: &str) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(fail(at, format!("{what} appears twice"))),
    }
}

impl Walk<'_> {
    /// `ModelProto`.
    fn model(&mut self, range: Range<u64>) -> Result<()> {
        let mut cursor = Cursor::from(range);
        let (mut graph, mut training) = (None, 0);
        while let Some((number, value)) = self.wire.field(&mut cursor)? {
            match (number, value) {
                (7, Value::Bytes(range)) => {
                    once(&mut graph, (), range.start, "the graph")?;
                    self.graph(range, "", 0)?;
                }
                (20, Value::Bytes(range)) => {
                    self.training(range, training)?;
                    training += 1;
                }
                (25, Value::Bytes(range)) => self.function(range)?,
                (7 | 20 | 25, _) => return Err(fail(cursor.at, format!("field {number} is no message"))),
                _ => {}
            }
        }
        graph.ok_or_else(|| fail(0, "holds no graph, so it is no ONNX model"))
    }

    /// `TrainingInfoProto`.
    fn training(&mut self, range: Range<u64>, number: usize) -> Result<()> {
        let mut cursor = Cursor::from(range);
        let mut seen = [None, None];
        while let Some((field, value)) = self.wire.field(&mut cursor)? {
            if let (field @ (1 | 2), Value::Bytes(range)) = (field, value) {
                let slot = field as usize - 1;
                once(&mut seen[slot], (), range.start, "a training graph")?;
                let kind = ["initialization", "algorithm"][slot];
                self.graph(range, &format!("training[{number}].{kind}/"), 1)?;
            }
        }
        Ok(())
    }

    /// `FunctionProto`.
    fn function(&mut self, range: Range<u64>) -> Result<()> {
        let mut cursor = Cursor::from(range.clone());
        let (mut name, mut domain, mut overload) = (None, None, None);
        while let Some((number, value)) = self.wire.field(&mut cursor)? {
            let slot = match number {
                1 => &mut name,
                10 => &mut domain,
                13 => &mut overload,
                _ => continue,
            };
            if let Value::Bytes(range) = value {
                once(slot, self.wire.text(&range, MAX_NAME)?, range.start, "a function's name")?;
            }
        }
        let overload = overload.filter(|text| !text.is_empty()).map_or(String::new(), |text| format!(":{text}"));
        let name = name.unwrap_or_default();
        let prefix = format!("function {}.{name}{overload}/", domain.unwrap_or_default());
        let mut cursor = Cursor::from(range);
        let mut nodes = 0;
        while let Some((number, value)) = self.wire.field(&mut cursor)? {
            match (number, value) {
                (7, Value::Bytes(range)) => {
                    self.node(range, &prefix, nodes, 1)?;
                    nodes += 1;
                }
                (11, Value::Bytes(range)) => self.attribute(range, &prefix, "default", 1)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// `GraphProto`.
    fn graph(&mut self, range: Range<u64>, prefix: &str, depth: u32) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(fail(range.start, format!("graphs nest deeper than {MAX_DEPTH}")));
        }
        self.graphs += 1;
        if self.graphs > MAX_GRAPHS {
            return Err(fail(range.start, format!("more than {MAX_GRAPHS} graphs")));
        }
        let mut cursor = Cursor::from(range);
        let mut nodes = 0;
        while let Some((number, value)) = self.wire.field(&mut cursor)? {
            match (number, value) {
                (1, Value::Bytes(range)) => {
                    self.node(range, prefix, nodes, depth)?;
                    nodes += 1;
                }
                (5, Value::Bytes(range)) => self.tensor(range, prefix, None)?,
                (15, Value::Bytes(range)) => self.sparse(range, prefix, None)?,
                (1 | 5 | 15, _) => return Err(fail(cursor.at, format!("field {number} is no message"))),
                _ => {}
            }
        }
        Ok(())
    }

    /// `NodeProto`, the `number`th of its graph.
    fn node(&mut self, range: Range<u64>, prefix: &str, number: usize, depth: u32) -> Result<()> {
        let mut cursor = Cursor::from(range);
        let (mut output, mut attributes) = (None, Vec::new());
        while let Some((field, value)) = self.wire.field(&mut cursor)? {
            match (field, value) {
                (2, Value::Bytes(range)) if output.is_none() => output = Some(range),
                (5, Value::Bytes(range)) if attributes.len() < MAX_ATTRIBUTES => attributes.push(range),
                (5, _) => return Err(fail(cursor.at, format!("more than {MAX_ATTRIBUTES} attributes"))),
                _ => {}
            }
        }
        if attributes.is_empty() {
            return Ok(());
        }
        // Outputs are unique in a graph; a node without a name for its first output has only its place.
        let label = match output.filter(|range| !range.is_empty()) {
            Some(range) => self.wire.text(&range, MAX_NAME)?,
            None => format!("#{number}"),
        };
        for attribute in attributes {
            self.attribute(attribute, prefix, &label, depth)?;
        }
        Ok(())
    }

    /// `AttributeProto`.
    fn attribute(&mut self, range: Range<u64>, prefix: &str, label: &str, depth: u32) -> Result<()> {
        let mut cursor = Cursor::from(range.clone());
        let mut name = None;
        let mut holds = false;
        while let Some((number, value)) = self.wire.field(&mut cursor)? {
            if let Value::Bytes(range) = value {
                match number {
                    1 => once(&mut name, range.clone(), range.start, "an attribute's name")?,
                    5 | 6 | 10 | 11 | 22 | 23 => holds = true,
                    _ => {}
                }
            }
        }
        if !holds {
            return Ok(());
        }
        let name = name.map(|range| self.wire.text(&range, MAX_NAME)).transpose()?.unwrap_or_default();
        let base = format!("{prefix}{label}.{name}");
        if base.len() as u64 > MAX_NAME {
            return Err(fail(range.start, format!("a name of more than {MAX_NAME} bytes with all that is around it")));
        }
        let mut cursor = Cursor::from(range);
        let mut counts = [0usize; 24];
        while let Some((number, value)) = self.wire.field(&mut cursor)? {
            let (5 | 6 | 10 | 11 | 22 | 23, Value::Bytes(range)) = (number, value) else { continue };
            let count = &mut counts[number as usize];
            if matches!(number, 5 | 6 | 22) && *count > 0 {
                return Err(fail(range.start, format!("the value of {base:?} appears twice")));
            }
            let name = if matches!(number, 10 | 11 | 23) { format!("{base}[{count}]") } else { base.clone() };
            *count += 1;
            match number {
                5 | 10 => self.tensor(range, "", Some(name))?,
                22 | 23 => self.sparse(range, "", Some(name))?,
                _ => self.graph(range, &format!("{name}/"), depth + 1)?,
            }
        }
        Ok(())
    }

    /// `SparseTensorProto`: its values and their indices, two tensors.
    fn sparse(&mut self, range: Range<u64>, prefix: &str, name: Option<String>) -> Result<()> {
        let begin = range.start;
        let mut cursor = Cursor::from(range);
        let (mut values, mut indices, mut dims) = (None, None, Vec::new());
        while let Some((number, value)) = self.wire.field(&mut cursor)? {
            match (number, value) {
                (1, Value::Bytes(range)) => once(&mut values, range.clone(), range.start, "the values")?,
                (2, Value::Bytes(range)) => once(&mut indices, range.clone(), range.start, "the indices")?,
                (3, value) => tensor::dimensions(&mut self.wire, value, &mut dims, cursor.at)?,
                _ => {}
            }
        }
        let missing = || fail(begin, "a sparse tensor lacks its values or indices");
        let (values, indices) = (values.ok_or_else(missing)?, indices.ok_or_else(missing)?);
        self.tensor(values, prefix, name)?;
        let Some(values) = self.list.last_mut() else { return Ok(()) };
        // The extents of the whole are part of what the tensor is.
        values.dtype = format!("{} sparse in {dims:?}", values.dtype);
        let name = format!("{}.indices", values.name);
        self.tensor(indices, "", Some(name))
    }

    /// `TensorProto`. Without a name from outside it must have its own.
    fn tensor(&mut self, range: Range<u64>, prefix: &str, name: Option<String>) -> Result<()> {
        let begin = range.start;
        let stored = tensor::read(&mut self.wire, &self.home, range, prefix, name, &mut self.external)?;
        self.names += stored.name.len();
        if self.list.len() == MAX_TENSORS || self.names > MAX_NAMES {
            return Err(fail(begin, format!("more than {MAX_TENSORS} tensors, or {MAX_NAMES} bytes of names")));
        }
        self.list.push(stored);
        Ok(())
    }
}
