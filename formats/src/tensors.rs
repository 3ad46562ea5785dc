//! The tensors of a model's files, whatever their format, as one list: what tensor roots and comparisons are made of.
//!
//! A [`Checkpoint`] knows matrices and can be edited; this list only names what is stored, and gives the bytes back one
//! after the other. Bytes are little-endian and row-major unless the dtype's text says otherwise, so that a tensor has the
//! same bytes in every format that stores it.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use crate::inflate::{Inflated, Stored};
use crate::zip::Member;
use crate::{Checkpoint, Error, ReadAt, Result, Source, distributed, index, numpy, onnx, torch};

/// One tensor as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTensor {
    /// Name in the model, not empty, without control characters.
    pub name: String,
    /// Safetensors' or ggml's name of the number format, or the file format's own text where those have none; `bytes`
    /// for what is not a tensor, such as a pickle.
    pub dtype: String,
    /// Extents, outermost first.
    pub shape: Vec<u64>,
    /// Length of its bytes.
    pub bytes: u64,
    pub(crate) place: Place,
}

/// Where a tensor's bytes are. Files are numbered in the order in which they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a row, as they are.
    Plain { file: usize, range: Range<u64> },
    /// In a deflated member of an archive, behind its first bytes.
    Deflated { file: usize, member: Member, skip: u64 },
    /// In the typed fields of an ONNX tensor.
    Typed { file: usize, field: onnx::Typed },
}

impl StoredTensor {
    /// A member of an archive that is not looked into.
    pub(crate) fn opaque(name: String, file: usize, member: Member) -> Self {
        let bytes = member.size;
        let place = if member.deflated {
            Place::Deflated { file, member, skip: 0 }
        } else {
            Place::Plain { file, range: member.range }
        };
        StoredTensor { name, dtype: OPAQUE.to_owned(), shape: vec![bytes], bytes, place }
    }
}

/// The dtype's text of what is not a tensor.
pub(crate) const OPAQUE: &str = "bytes";

/// The tensors of the files of one model.
pub struct Tensors {
    files: Vec<(String, Source)>,
    list: Vec<StoredTensor>,
}

impl Tensors {
    /// Finds the weights among `files` (relative path with `/`, bytes) and lists their tensors, or answers `None` when
    /// there are none. A folder that holds the same model in several formats is taken at the first of these: safetensors,
    /// GGUF, ONNX, PyTorch (zip archives and distributed checkpoints), NumPy.
    ///
    /// PyTorch's older files, bare pickles, are no weights here: what they hold cannot be told without running them.
    ///
    /// With several ONNX, PyTorch or NumPy files each name begins with its file's path.
    ///
    /// # Errors
    /// A malformed file, a name that appears twice, and an index of safetensors shards that does not fit them.
    pub fn open(files: &[(String, Source)]) -> Result<Option<Tensors>> {
        let files = files.to_vec();
        let ending = |endings: &'static [&'static str]| {
            let fits = |(path, _): &(String, Source)| endings.iter().any(|ending| path.ends_with(ending));
            (0..files.len()).filter(|&file| fits(&files[file])).collect::<Vec<_>>()
        };
        for endings in [&[".safetensors"], &[".gguf"]] {
            let shards = ending(endings);
            if !shards.is_empty() {
                let list = stored(&files, &shards)?;
                return Ok(Some(Tensors { files, list }));
            }
        }
        let readers: [(Vec<usize>, Reader); 3] = [
            (ending(&[".onnx"]), onnx::tensors),
            (torch::select(&files), torch_family),
            (ending(&[".npy", ".npz"]), numpy_family),
        ];
        for (chosen, read) in readers {
            if !chosen.is_empty() {
                let mut list = gather(&files, &chosen, read)?;
                sort(&mut list)?;
                return Ok(Some(Tensors { files, list }));
            }
        }
        Ok(None)
    }

    /// All tensors, sorted by the bytes of the name.
    pub fn list(&self) -> &[StoredTensor] {
        &self.list
    }

    /// The tensor of that name, and its place in the list.
    pub fn find(&self, name: &str) -> Option<(usize, &StoredTensor)> {
        let index = self.list.binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok()?;
        Some((index, &self.list[index]))
    }

    /// Bytes of all tensors together.
    pub fn total_size(&self) -> u64 {
        self.list.iter().fold(0, |sum, tensor| sum.saturating_add(tensor.bytes))
    }

    /// A tensor's bytes where they lie in a row in one file: the file and the range. `None` for those that must be
    /// unpacked, which [`Tensors::reader`] does.
    ///
    /// # Panics
    /// When `index` is not below the length of the list.
    pub fn plain(&self, index: usize) -> Option<(&Source, Range<u64>)> {
        match &self.list[index].place {
            Place::Plain { file, range } => Some((&self.files[*file].1, range.clone())),
            _ => None,
        }
    }

    /// As [`Tensors::plain`], with the file's number among those given to [`Tensors::open`].
    ///
    /// # Panics
    /// When `index` is not below the length of the list.
    pub fn range(&self, index: usize) -> Option<(usize, Range<u64>)> {
        match &self.list[index].place {
            Place::Plain { file, range } => Some((*file, range.clone())),
            _ => None,
        }
    }

    /// A tensor's bytes one after the other, in bounded memory. What does not unpack to exactly the bytes that the file
    /// promises ends in an error of the kind [`io::ErrorKind::InvalidData`].
    ///
    /// # Errors
    /// A source that fails.
    ///
    /// # Panics
    /// When `index` is not below the length of the list.
    pub fn reader(&self, index: usize) -> io::Result<Box<dyn Read + '_>> {
        Ok(match &self.list[index].place {
            Place::Plain { file, range } => Box::new(Stored::new(&*self.files[*file].1, range.clone())),
            Place::Deflated { file, member, skip } => {
                let mut inflated = Inflated::new(&*self.files[*file].1, member);
                io::copy(&mut (&mut inflated).take(*skip), &mut io::sink())?;
                Box::new(inflated)
            }
            Place::Typed { file, field } => Box::new(field.reader(&*self.files[*file].1)),
        })
    }
}

/// Reads the tensors of one file, whose number among all files comes second.
type Reader = fn(&[(String, Source)], usize) -> Result<Vec<StoredTensor>>;

fn gather(files: &[(String, Source)], chosen: &[usize], read: Reader) -> Result<Vec<StoredTensor>> {
    let mut list = Vec::new();
    for &file in chosen {
        let path = &files[file].0;
        let tensors =
            read(files, file).map_err(|source| Error::Shard { path: path.clone(), source: Box::new(source) })?;
        list.extend(tensors.into_iter().map(|mut tensor| {
            // The file's name alone says which tensor an array is; elsewhere it tells equal names apart.
            if chosen.len() > 1 && !path.ends_with(".npy") && tensor.name != *path {
                tensor.name = format!("{path}/{}", tensor.name);
            }
            tensor
        }));
    }
    Ok(list)
}

fn torch_family(files: &[(String, Source)], file: usize) -> Result<Vec<StoredTensor>> {
    let (path, source) = &files[file];
    if path.ends_with(".metadata") {
        return Ok(vec![distributed::metadata(path, source, file)]);
    }
    if path.ends_with(".distcp") { distributed::tensors(source, file) } else { torch::tensors(source, file) }
}

fn numpy_family(files: &[(String, Source)], file: usize) -> Result<Vec<StoredTensor>> {
    let (path, source) = &files[file];
    match path.strip_suffix(".npy") {
        Some(name) => Ok(vec![numpy::array(source, file, name.to_owned())?]),
        None => numpy::archive(source, file),
    }
}

/// Sorts by name, and refuses a name that appears twice.
fn sort(list: &mut [StoredTensor]) -> Result<()> {
    list.sort_by(|a, b| a.name.cmp(&b.name));
    match list.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => Err(Error::Malformed {
            format: "model",
            offset: 0,
            reason: format!("the tensor {:?} appears twice", pair[0].name),
        }),
        None => Ok(()),
    }
}

/// The tensors of safetensors or GGUF shards.
fn stored(files: &[(String, Source)], shards: &[usize]) -> Result<Vec<StoredTensor>> {
    let open = |&file: &usize| (files[file].0.clone(), Box::new(Arc::clone(&files[file].1)) as Box<dyn ReadAt>);
    let model = Checkpoint::open(shards.iter().map(open).collect())?;
    index::check(files, &model)?;
    let stored = |tensor: &crate::Tensor| StoredTensor {
        name: tensor.info.name.clone(),
        dtype: tensor.info.dtype.as_str().to_owned(),
        shape: tensor.info.shape.clone(),
        bytes: tensor.info.bytes(),
        place: Place::Plain { file: shards[tensor.shard], range: tensor.info.range.clone() },
    };
    Ok(model.tensors().iter().map(stored).collect())
}
