//! Reads the manifest store that a medium carries, and asks the crate `c2pa` whether it is bound to the medium's bytes.
//!
//! The crate decides on the digest alone. Signature, certificate, assertions and inputs are judged by
//! `countermark-lineage`, and so is what the digest leaves out, which the crate does not ask.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use c2pa::settings::Settings;
use c2pa::{Context, Ingredient, Reader, jumbf_io};
use countermark_formats::ReadAt;
use countermark_lineage::verify::manifest::{Binding, Carried};

use crate::c2pa::{C2paError, ReadSeek, finish, settings, unfailed};

use super::format;

/// The crate is asked for the binding, and for nobody's standing; and it asks nobody.
const ONLY_BYTES: &str = r#"{"verify": {"verify_trust": false, "ocsp_fetch": false, "remote_manifest_fetch": false},
                             "core": {"allowed_network_hosts": []}}"#;
/// Longer stores are not read out of a medium.
const MAX_STORE: usize = 64 << 20;

/// The store in a medium, with what the crate says of its binding; `None` when it is no medium, or carries nothing.
///
/// # Errors
/// When the bytes cannot be read, or the medium is malformed where its manifest should be.
pub fn carried(source: &dyn ReadAt) -> Result<Option<Carried>, C2paError> {
    let mut head = [0; format::HEAD];
    let length = usize::try_from(source.len()).unwrap_or(usize::MAX).min(head.len());
    let io = |error| C2paError::Io { what: "medium".to_owned(), source: error };
    source.read_exact_at(&mut head[..length], 0).map_err(io)?;
    let Some(format) = format::of(&head[..length]) else { return Ok(None) };
    // A thread of its own keeps a panic over a hostile file out of this one.
    let read = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || read(source, format))?;
        thread.join().map_err(|_| io::Error::other("the C2PA library panicked"))
    });
    let found = read.map_err(io)??;
    source.unchanged().map_err(io)?;
    Ok(found)
}

fn read(source: &dyn ReadAt, format: &'static str) -> Result<Option<Carried>, C2paError> {
    let store = match jumbf_io::load_jumbf_from_stream(format, &mut Stream::of(source)) {
        Ok(store) if store.len() <= MAX_STORE => store,
        Ok(store) => {
            let problem = format!("the manifest store has {} bytes, above {} MiB", store.len(), MAX_STORE >> 20);
            return Err(c2pa::Error::OtherError(problem.into()).into());
        }
        Err(c2pa::Error::JumbfNotFound | c2pa::Error::UnsupportedType) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let context = Context::new().with_settings(ONLY_BYTES)?;
    let binding = match Reader::from_context(context).with_stream(format, Stream::of(source)) {
        Err(error) => Binding::Broken(error.to_string()),
        Ok(reader) => binding(&reader),
    };
    Ok(Some(Carried { store, format, binding }))
}

/// What the crate found about the bytes. Whom the signer is known to is not asked here.
fn binding(reader: &Reader) -> Binding {
    let active = reader.validation_results().and_then(|results| results.active_manifest());
    let Some(active) = active else { return Binding::Broken("nothing was validated".to_owned()) };
    let of_signer = |code: &str| code.starts_with("signingCredential.") || code.starts_with("timeStamp.");
    if let Some(failure) = active.failure().iter().find(|status| !of_signer(status.code())) {
        return Binding::Broken(failure.code().to_owned());
    }
    // Of dataHash, bmffHash and so on; hashedURI says of an assertion that it is as signed, and nothing of the bytes.
    let matches = |code: &str| code.starts_with("assertion.") && code.ends_with("Hash.match");
    match active.success().iter().find(|status| matches(status.code())) {
        Some(status) => Binding::Holds(status.code().to_owned()),
        None => Binding::Broken("no hash of the bytes was found to match".to_owned()),
    }
}

/// A medium as ingredient, with the manifest that it carries.
pub(super) fn quoted(
    name: &str,
    format: &'static str,
    asset: &mut dyn ReadSeek,
    anchors: &str,
) -> Result<Ingredient, C2paError> {
    let refuse = |problem: String| C2paError::Parent { name: name.to_owned(), problem };
    // As for sidecars: settings come from the thread, and a panic stays in it.
    let validated = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || validate(format, asset, anchors))?;
        thread.join().map_err(|_| io::Error::other("the C2PA library panicked"))
    });
    let ingredient = validated.map_err(|error| refuse(format!("its manifest could not be validated: {error}")))??;
    unfailed(name, ingredient)
}

#[expect(deprecated, reason = "0.90.22 has no other way to make an ingredient and see how it was validated")]
fn validate(format: &str, mut asset: &mut dyn ReadSeek, anchors: &str) -> c2pa::Result<Ingredient> {
    Settings::from_string(&settings(anchors), "json")?;
    finish(Ingredient::from_stream_async(format, &mut asset))
}

/// Positioned reads as a stream.
struct Stream<'a> {
    source: &'a dyn ReadAt,
    position: u64,
}

impl<'a> Stream<'a> {
    fn of(source: &'a dyn ReadAt) -> BufReader<Self> {
        BufReader::with_capacity(256 << 10, Stream { source, position: 0 })
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.source.len().saturating_sub(self.position);
        let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.source.read_exact_at(&mut buffer[..length], self.position)?;
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for Stream<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.source.len().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "seek before the start"))?;
        Ok(self.position)
    }
}

/// A file that is open for reading and writing, as a source of positioned reads: what was just written is read again.
pub struct Reread {
    file: std::sync::Mutex<std::fs::File>,
    length: u64,
}

impl Reread {
    /// The file as it is now.
    ///
    /// # Errors
    /// When it has no length, or cannot be opened again.
    pub fn of(file: &std::fs::File) -> io::Result<Self> {
        Ok(Reread { file: std::sync::Mutex::new(file.try_clone()?), length: file.metadata()?.len() })
    }
}

impl ReadAt for Reread {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(buffer)
    }
}
