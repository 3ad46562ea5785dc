//! Which files of an artifact hold records, and a walk over all of them in order.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;

use countermark_formats::ReadAt;
use countermark_formats::records::csv::Csv;
use countermark_formats::records::tar::Tar;
use countermark_formats::records::warc::Warc;
use countermark_formats::records::{self, Batch, Format, Lines, ReadRecords};
use countermark_lineage::Error;
use countermark_lineage::digest::artifact::Artifact;
use countermark_lineage::digest::blob;
use countermark_lineage::digest::listing::Listing;
use countermark_lineage::digest::records::{FileRecords, MAX_FILES, Records};

use super::source;

/// The files of an artifact that hold records of one format, by path.
pub struct Dataset {
    /// How they are cut into records.
    pub format: Format,
    files: Vec<(String, Arc<dyn ReadAt>)>,
}

/// What a walk has met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Number of records.
    pub count: u64,
    /// How many are in which file.
    pub files: Vec<FileRecords>,
    /// The CSV header row, or the text of the columns.
    pub columns: Option<Vec<u8>>,
}

impl Dataset {
    /// The files named like `format`, or like the one format that is there when none is given. A single file named like
    /// nothing known is taken as what is given.
    ///
    /// # Errors
    /// [`Error::Input`] when there are records of several formats, or none.
    pub fn open(artifact: &Artifact, format: Option<Format>) -> Result<Self, Error> {
        let found: BTreeSet<Format> = artifact.files.iter().filter_map(|(path, _)| Format::of(path)).collect();
        let format = match (format, found.len()) {
            (Some(format), _) => format,
            (None, 1) => *found.first().unwrap_or(&Format::Text),
            (None, 0) => {
                let problem = "holds no file that is known to hold records";
                let help = "name the format, for instance --records=text; known endings: .jsonl .txt .csv .parquet .arrow \
                            .tar .warc, the text ones and archives also with .gz or .zst";
                return Err(Error::input(&artifact.name, problem, help));
            }
            (None, _) => {
                let names: Vec<&str> = found.iter().map(|format| format.as_str()).collect();
                let problem = format!("holds records of several formats: {}", names.join(", "));
                return Err(Error::input(
                    &artifact.name,
                    problem,
                    "name the one that counts, for instance --records=jsonl",
                ));
            }
        };
        let mut files: Vec<_> =
            artifact.files.iter().filter(|(path, _)| Format::of(path) == Some(format)).cloned().collect();
        if files.is_empty() && artifact.files.len() == 1 {
            files = artifact.files.clone();
        }
        if files.is_empty() || files.len() > MAX_FILES {
            let problem = format!("holds {} files named as {format} is named", files.len());
            return Err(Error::input(&artifact.name, problem, "name another format, or a part of the folder"));
        }
        Ok(Dataset::sorted(format, files))
    }

    /// The files that a statement names. A single file may be called otherwise by now.
    ///
    /// # Errors
    /// [`Error::Input`] when one of them is not here.
    pub fn signed(artifact: &Artifact, records: &Records) -> Result<Self, Error> {
        let by_path: BTreeMap<&str, &Arc<dyn ReadAt>> =
            artifact.files.iter().map(|(path, source)| (&**path, source)).collect();
        let find = |path: &str| match (&*artifact.files, &*records.files) {
            ([(_, source)], [_]) if !artifact.is_folder => Some(source.clone()),
            _ => by_path.get(path).map(|source| Arc::clone(source)),
        };
        let files = records.files.iter().map(|file| {
            let missing = || Error::input(&file.path, "is not here", "fetch the whole dataset");
            Ok((file.path.clone(), find(&file.path).ok_or_else(missing)?))
        });
        Ok(Dataset::sorted(records.format, files.collect::<Result<_, Error>>()?))
    }

    fn sorted(format: Format, mut files: Vec<(String, Arc<dyn ReadAt>)>) -> Self {
        files.sort_by(|a, b| a.0.cmp(&b.0));
        Dataset { format, files }
    }

    /// Bytes of all files together.
    pub fn total_size(&self) -> u64 {
        self.files.iter().map(|(_, source)| source.len()).sum()
    }

    /// Gives all records to `visit`, batch by batch with the index of the first one. The next batch is read meanwhile.
    ///
    /// With a listing, the bytes of each file must be those that it lists: a file that changed between the two passes is an
    /// error.
    ///
    /// # Errors
    /// [`Error::Input`] naming file and byte, and what `visit` answers.
    pub fn walk(
        &self,
        listing: Option<&Listing>,
        progress: &(dyn Fn(u64) + Sync),
        visit: &mut (dyn FnMut(u64, &Batch) -> Result<(), Error> + Send),
    ) -> Result<Walked, Error> {
        let mut walked = Walked { count: 0, files: vec![], columns: None };
        let (mut now, mut next) = (Batch::default(), Batch::default());
        for (path, source) in &self.files {
            let refuse = |error: records::Error| Error::input(path, error.to_string(), error.help());
            let listed = listing.map(|listing| listing.files());
            let listed = listed
                .and_then(|files| files.binary_search_by(|file| file.path.cmp(path)).ok().map(|index| &files[index]));
            if listing.is_some() && listed.is_none() {
                return Err(Error::input(path, "appeared while it was read", "let nobody write there, and try again"));
            }
            let (mut reader, watch) = self.reader(path, source, listed.is_some(), progress)?;
            let first = walked.count;
            let mut more = reader.next(&mut now).map_err(refuse)?;
            while more {
                let index = walked.count;
                let (read, visited) = rayon::join(|| reader.next(&mut next), || visit(index, &now));
                visited?;
                walked.count += now.len() as u64;
                more = read.map_err(refuse)?;
                std::mem::swap(&mut now, &mut next);
            }
            if let Some(columns) = reader.schema() {
                match &walked.columns {
                    Some(known) if known != columns => {
                        let problem = format!("has other columns than {}", self.files[0].0);
                        return Err(Error::input(path, problem, "sign files of different columns one by one"));
                    }
                    _ => walked.columns = Some(columns.to_vec()),
                }
            }
            drop(reader);
            if let Some(listed) = listed {
                let hash = match watch {
                    Some(watch) => watch.hash().map_err(Error::io(path))?,
                    None => Some(blob::hash(&**source).map_err(Error::io(path))?),
                };
                if hash != Some(listed.blake3) {
                    return Err(Error::input(
                        path,
                        "changed while it was read",
                        "let nobody write to it, and try again",
                    ));
                }
            }
            walked.files.push(FileRecords { path: path.clone(), count: walked.count - first });
        }
        Ok(walked)
    }

    fn reader<'a>(
        &self,
        path: &str,
        source: &Arc<dyn ReadAt>,
        hashed: bool,
        progress: &'a (dyn Fn(u64) + Sync),
    ) -> Result<(Box<dyn ReadRecords + 'a>, Option<source::Watch>), Error> {
        if matches!(self.format, Format::Parquet | Format::Arrow) {
            return Ok((tables(path, source, self.format, progress)?, None));
        }
        let (sequential, watch) = source::open(source, hashed, progress);
        let text = source::decompressed(path, sequential).map_err(Error::io(path))?;
        Ok((framed(self.format, text), Some(watch)))
    }
}

fn framed<'a>(format: Format, text: impl Read + Send + 'a) -> Box<dyn ReadRecords + 'a> {
    match format {
        Format::Csv => Box::new(Csv::new(text)),
        Format::Webdataset => Box::new(Tar::new(text)),
        Format::Warc => Box::new(Warc::new(text)),
        _ => Box::new(Lines::new(text)),
    }
}

#[cfg(feature = "columnar")]
fn tables<'a>(
    path: &str,
    source: &Arc<dyn ReadAt>,
    format: Format,
    progress: &'a (dyn Fn(u64) + Sync),
) -> Result<Box<dyn ReadRecords + 'a>, Error> {
    super::columnar::open(source, format, progress).map_err(|error| Error::input(path, error.to_string(), error.help()))
}

#[cfg(not(feature = "columnar"))]
fn tables<'a>(
    path: &str,
    _: &Arc<dyn ReadAt>,
    format: Format,
    _: &'a (dyn Fn(u64) + Sync),
) -> Result<Box<dyn ReadRecords + 'a>, Error> {
    Err(Error::input(path, format!("{format} is not built in"), "build with the feature `columnar`"))
}
