//! The formats whose records are known.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a file is cut into records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON document per line. The lines are not parsed.
    Jsonl,
    /// Lines of text.
    Text,
    /// Rows by RFC 4180, the first one a header.
    Csv,
    /// Rows of Apache Parquet.
    Parquet,
    /// Rows of Apache Arrow IPC, file or stream.
    Arrow,
    /// Samples of a tar archive.
    Webdataset,
    /// Records of a web archive, ISO 28500.
    Warc,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 7] =
        [Format::Jsonl, Format::Text, Format::Csv, Format::Parquet, Format::Arrow, Format::Webdataset, Format::Warc];

    /// The one spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Jsonl => "jsonl",
            Format::Text => "text",
            Format::Csv => "csv",
            Format::Parquet => "parquet",
            Format::Arrow => "arrow",
            Format::Webdataset => "webdataset",
            Format::Warc => "warc",
        }
    }

    /// Told from the name of a file. A `.gz` or `.zst` at its end is left out for formats that are compressed whole.
    pub fn of(path: &str) -> Option<Format> {
        let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
        let bare = [".gz", ".zst"].iter().find_map(|ending| name.strip_suffix(ending));
        let ends = |name: &str, endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        let whole = bare.unwrap_or(&name);
        match whole {
            name if ends(name, &[".jsonl", ".ndjson"]) => Some(Format::Jsonl),
            name if ends(name, &[".txt"]) => Some(Format::Text),
            name if ends(name, &[".csv"]) => Some(Format::Csv),
            name if ends(name, &[".tar"]) || (bare.is_none() && ends(name, &[".tgz"])) => Some(Format::Webdataset),
            name if ends(name, &[".warc"]) => Some(Format::Warc),
            _ if bare.is_some() => None,
            name if ends(name, &[".parquet"]) => Some(Format::Parquet),
            name if ends(name, &[".arrow", ".arrows", ".feather", ".ipc"]) => Some(Format::Arrow),
            _ => None,
        }
    }

    /// True when all files must agree on a header row or on columns.
    pub fn has_schema(self) -> bool {
        matches!(self, Format::Csv | Format::Parquet | Format::Arrow)
    }

    /// True when a record is a line or row of text, which a file of its own may end with a line feed.
    pub fn is_text(self) -> bool {
        matches!(self, Format::Jsonl | Format::Text | Format::Csv)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Format::ALL.into_iter().find(|format| format.as_str() == text).ok_or_else(|| {
            let all: Vec<_> = Format::ALL.iter().map(|format| format.as_str()).collect();
            format!("unknown format of records {text:?}: use one of {}", all.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_and_told_from_names() {
        for format in Format::ALL {
            assert_eq!(format.as_str().parse(), Ok(format));
            assert_eq!(serde_json::to_string(&format).unwrap(), format!("\"{format}\""));
        }
        for (name, format) in [
            ("a/B.JSONL", Some(Format::Jsonl)),
            ("a.ndjson.gz", Some(Format::Jsonl)),
            ("a.txt.zst", Some(Format::Text)),
            ("a.tgz", Some(Format::Webdataset)),
            ("a.tar.gz", Some(Format::Webdataset)),
            ("a.warc.gz", Some(Format::Warc)),
            ("a.parquet", Some(Format::Parquet)),
            ("a.parquet.gz", None),
            ("a.arrow", Some(Format::Arrow)),
            ("a.json", None),
            ("a.gz", None),
        ] {
            assert_eq!(Format::of(name), format, "{name}");
        }
    }
}
