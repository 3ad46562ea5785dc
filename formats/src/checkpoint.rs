//! The tensors of one or several files, safetensors or GGUF, as one list.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::{Error, ReadAt, Result, TensorInfo, gguf, read_at, safetensors};

/// A tensor and the shard that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Which shard, in the order given to [`Checkpoint::open`].
    pub shard: usize,
    /// Its entry in that shard's header.
    pub info: TensorInfo,
}

struct Shard {
    path: String,
    source: Box<dyn ReadAt>,
    metadata: BTreeMap<String, String>,
    /// Metadata with its types, of a GGUF file.
    gguf: Option<BTreeMap<String, gguf::Value>>,
}

/// The header of a file of any known format.
struct Parsed {
    metadata: BTreeMap<String, String>,
    gguf: Option<BTreeMap<String, gguf::Value>>,
    tensors: Vec<TensorInfo>,
}

/// A checkpoint of one or several shards. Reading needs `&self` only, from any number of threads.
pub struct Checkpoint {
    shards: Vec<Shard>,
    tensors: Vec<Tensor>,
}

impl Checkpoint {
    /// Reads the headers of all shards, each safetensors or GGUF as its first bytes say. Each comes with its path
    /// relative to the checkpoint's folder, which is used in messages only.
    ///
    /// # Errors
    /// A bad header, a pickle, a tensor that two shards hold, or no shards at all.
    pub fn open(shards: Vec<(String, Box<dyn ReadAt>)>) -> Result<Checkpoint> {
        if shards.is_empty() {
            return Err(Error::NoShards);
        }
        let mut tensors = Vec::new();
        let mut opened = Vec::with_capacity(shards.len());
        for (number, (path, source)) in shards.into_iter().enumerate() {
            let parsed = parse(source.as_ref())
                .map_err(|source| Error::Shard { path: path.clone(), source: Box::new(source) })?;
            tensors.extend(parsed.tensors.into_iter().map(|info| Tensor { shard: number, info }));
            opened.push(Shard { path, source, metadata: parsed.metadata, gguf: parsed.gguf });
        }
        tensors.sort_by(|a, b| (&a.info.name, a.shard).cmp(&(&b.info.name, b.shard)));
        for pair in tensors.windows(2) {
            if pair[0].info.name == pair[1].info.name {
                return Err(Error::InTwoShards {
                    name: pair[0].info.name.clone(),
                    first: opened[pair[0].shard].path.clone(),
                    second: opened[pair[1].shard].path.clone(),
                });
            }
        }
        Ok(Checkpoint { shards: opened, tensors })
    }

    /// All tensors, sorted by name (by bytes).
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The tensor of that name, and its index in [`Checkpoint::tensors`].
    pub fn find(&self, name: &str) -> Option<(usize, &Tensor)> {
        let index = self.tensors.binary_search_by(|tensor| tensor.info.name.as_str().cmp(name)).ok()?;
        Some((index, &self.tensors[index]))
    }

    /// Number of shards.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Path of a shard, as given to [`Checkpoint::open`].
    pub fn shard_path(&self, shard: usize) -> Option<&str> {
        self.shards.get(shard).map(|shard| shard.path.as_str())
    }

    /// What a shard has under `__metadata__`; of a GGUF file, its metadata as text.
    pub fn shard_metadata(&self, shard: usize) -> Option<&BTreeMap<String, String>> {
        self.shards.get(shard).map(|shard| &shard.metadata)
    }

    /// A metadata value of a GGUF file, from the first shard that has it.
    pub fn gguf_value(&self, key: &str) -> Option<&gguf::Value> {
        self.shards.iter().find_map(|shard| shard.gguf.as_ref()?.get(key))
    }

    /// Reads a tensor's bytes into `buffer`, which afterwards holds exactly them.
    ///
    /// # Errors
    /// An index out of range, or a source that fails.
    pub fn read(&self, index: usize, buffer: &mut Vec<u8>) -> Result<()> {
        let bytes = self.tensors.get(index).map_or(0, |tensor| tensor.info.bytes());
        self.read_range(index, 0..bytes, buffer)
    }

    /// Reads some of a tensor's bytes into `buffer`, which afterwards holds exactly them. The range counts from the
    /// tensor's first byte.
    ///
    /// # Errors
    /// An index or range out of bounds, or a source that fails.
    pub fn read_range(&self, index: usize, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<()> {
        let out_of_range = || Error::OutOfRange { index, begin: range.start, end: range.end };
        let tensor = self.tensors.get(index).ok_or_else(out_of_range)?;
        if range.start > range.end || range.end > tensor.info.bytes() {
            return Err(out_of_range());
        }
        let (offset, length) = (tensor.info.range.start + range.start, range.end - range.start);
        let size =
            usize::try_from(length).map_err(|_| Error::TooLarge { name: tensor.info.name.clone(), offset, length })?;
        buffer.resize(size, 0);
        let shard = &self.shards[tensor.shard];
        shard.source.read_exact_at(buffer, offset).map_err(|source| Error::Shard {
            path: shard.path.clone(),
            source: Box::new(Error::Read { offset, length, source }),
        })
    }
}

/// Reads the header of a file whose format its first bytes tell.
fn parse(source: &dyn ReadAt) -> Result<Parsed> {
    let mut magic = [0; 9];
    let length = source.len().min(9) as usize;
    read_at::read(source, &mut magic[..length], 0)?;
    if magic[..4] == gguf::MAGIC {
        let header = gguf::parse(source)?;
        let metadata = header.metadata.iter().map(|(key, value)| (key.clone(), value.to_string())).collect();
        return Ok(Parsed { metadata, gguf: Some(header.metadata), tensors: header.tensors });
    }
    // A zip archive, or the opcode PROTO of pickle 2 to 5. A safetensors file that begins so goes on with a brace.
    let pickle = magic[..4] == *b"PK\x03\x04" || (magic[0] == 0x80 && (2..=5).contains(&magic[1]));
    if pickle && magic[8] != b'{' {
        return Err(Error::Pickle);
    }
    let header = safetensors::parse(source)?;
    Ok(Parsed { metadata: header.metadata, gguf: None, tensors: header.tensors })
}
