//! Artifacts in object stores and on web servers, read by ranges: `s3://`, `gs://`, `az://`, `http://`, `https://`.
//!
//! An object is fetched in parts, several at once, and a few of them are in memory at a time, whatever its size. Credentials
//! come from the environment as the crate `object_store` reads them (`AWS_…`, `GOOGLE_…`, `AZURE_…`). A server is not
//! believed: each answer must be the range that was asked for, of an object of the size and etag that it had at first, and
//! not a byte longer. An etag only tells that an object changed; it is never taken for a digest.
//!
//! Redirects are followed, from https to https only. `http://` is for tests and networks of one's own.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use countermark_formats::ReadAt;
use countermark_lineage::digest::artifact::{Artifact, Names};
use countermark_lineage::digest::listing::check_path;
use countermark_lineage::verdict::printable;
use futures_util::StreamExt as _;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{
    ClientConfigKey, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _, parse_url_opts,
};
use reqwest::Url;
use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

use crate::Error;
use crate::files::{empty, put};

/// Bytes of one request.
const PART: u64 = 8 << 20;

/// Parts that are fetched ahead, and held, at once.
const AT_ONCE: u64 = 16;

/// More objects below a prefix are refused.
const MOST_OBJECTS: usize = 1_000_000;

/// How often a part is asked for when the connection breaks in the middle of it.
const ATTEMPTS: u32 = 3;

/// Is this the URL of something that is fetched, and not a path?
pub fn is_url(text: &str) -> bool {
    let schemes = ["s3://", "s3a://", "gs://", "az://", "azure://", "abfs://", "abfss://", "http://", "https://"];
    schemes.iter().any(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

/// Opens one object, or everything below a prefix as a folder. A web server has no prefixes.
///
/// # Errors
/// [`Error::Io`] when the server refuses; [`Error::Refused`] for a URL that names nothing or cannot be used.
pub fn open(url: &str) -> Result<Artifact, Error> {
    let (store, path) = store(url)?;
    let Some(name) = path.filename().map(str::to_owned) else {
        return Err(refused(url, "names no object", "add the object or a prefix behind the bucket"));
    };
    check_path(&name).map_err(|error| refused(url, error.problem(), "rename it"))?;
    match wait(head(store.clone(), path.clone())) {
        Ok(meta) if !url.ends_with('/') => {
            let mut artifact = empty(name.clone(), false);
            artifact.files.push((name, Arc::new(Object::new(url, store, meta))));
            Ok(artifact)
        }
        Err(error) if !matches!(error, object_store::Error::NotFound { .. }) => Err(failed(url)(error)),
        _ if is_web(url) => Err(refused(url, "is not there", "check the URL; on a web server name one file")),
        _ => open_prefix(url, name, store, path),
    }
}

fn open_prefix(url: &str, name: String, store: Arc<dyn ObjectStore>, path: Path) -> Result<Artifact, Error> {
    let metas = wait(list(store.clone(), path.clone())).map_err(|error| refused(url, error, "check the URL"))?;
    let mut artifact = empty(name, true);
    for meta in &metas {
        let relative: Vec<_> = meta.location.prefix_match(&path).into_iter().flatten().collect();
        let relative: Vec<&str> = relative.iter().map(|part| part.as_ref()).collect();
        let relative = relative.join("/");
        if relative.is_empty() {
            continue;
        }
        check_path(&relative).map_err(|error| refused(url, error.problem(), "rename it"))?;
        let place = format!("{}/{relative}", url.trim_end_matches('/'));
        put(&mut artifact, relative, Arc::new(Object::new(&place, store.clone(), meta.clone())));
    }
    if artifact.files.is_empty() {
        return Err(refused(url, "is no object, and holds none", "check the URL and the credentials"));
    }
    artifact.files.sort_by(|a, b| a.0.cmp(&b.0));
    artifact.ignored.sort();
    artifact.ignored.dedup();
    artifact.names = Some(Arc::new(Prefix { store, path, metas }));
    Ok(artifact)
}

/// Reads an object of at most `limit` bytes.
///
/// # Errors
/// As [`open`], and above the limit.
pub fn read(url: &str, limit: u64) -> Result<Vec<u8>, Error> {
    let (store, path) = store(url)?;
    let meta = wait(head(store.clone(), path)).map_err(failed(url))?;
    if meta.size > limit {
        return Err(refused(url, format!("is above {limit} bytes"), "is this the right file?"));
    }
    let object = Object::new(url, store, meta);
    let mut bytes = vec![0; object.0.meta.size as usize];
    for (index, part) in bytes.chunks_mut(PART as usize).enumerate() {
        object.read_exact_at(part, index as u64 * PART).map_err(Error::io(FilePath::new(url), HELP))?;
    }
    Ok(bytes)
}

/// Is there such an object?
pub fn exists(url: &str) -> bool {
    store(url).is_ok_and(|(store, path)| wait(head(store, path)).is_ok())
}

const HELP: &str = "check the URL, the credentials in the environment, and the network";

fn refused(url: &str, problem: impl Into<String>, help: &str) -> Error {
    Error::refused(FilePath::new(url), problem, help)
}

fn failed(url: &str) -> impl FnOnce(object_store::Error) -> Error {
    move |error| Error::io(FilePath::new(url), HELP)(io::Error::other(told(&error)))
}

/// An error as text that a server may have had a hand in.
fn told(error: &object_store::Error) -> String {
    printable(&error.to_string(), 400)
}

fn is_web(url: &str) -> bool {
    url.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("http"))
}

/// The store that holds `url`, and the path in it.
fn store(url: &str) -> Result<(Arc<dyn ObjectStore>, Path), Error> {
    // The crates bring no provider of cryptography of their own. It does not matter who was first to name one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let parsed = Url::parse(url).map_err(|error| refused(url, error.to_string(), "check the URL"))?;
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(refused(
            url,
            "has a query or a fragment",
            "download the file, or use a URL that ends with its name",
        ));
    }
    if is_web(url) {
        let path =
            Path::from_url_path(parsed.path()).map_err(|error| refused(url, error.to_string(), "check the URL"))?;
        let allow_http = (parsed.scheme() == "http").to_string();
        let builder = HttpBuilder::new().with_url(parsed.origin().ascii_serialization());
        let store = builder.with_config(ClientConfigKey::AllowHttp, allow_http).build().map_err(failed(url))?;
        return Ok((Arc::new(store), path));
    }
    // Only what belongs to a store: `TOKEN` or `REGION` alone may be anybody's.
    let options =
        std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    let options = options.filter(|(key, _)| ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|start| key.starts_with(start)));
    let (store, path) = parse_url_opts(&parsed, options).map_err(failed(url))?;
    Ok((Arc::from(store), path))
}

/// The runtime behind every request. It stays in this file: all that leaves it is synchronous.
fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let build = || Builder::new_multi_thread().worker_threads(2).thread_name("fetch").enable_all().build();
    RUNTIME.get_or_init(build).as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))
}

/// Has the runtime do it, and waits, also when this thread belongs to another runtime.
pub(crate) fn wait<T, E>(work: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: Send + 'static + From<Stopped>,
{
    let (sender, receiver) = std::sync::mpsc::channel();
    let runtime = runtime().map_err(|_| E::from(Stopped))?;
    runtime.spawn(async move { drop(sender.send(work.await)) });
    receiver.recv().unwrap_or_else(|_| Err(E::from(Stopped)))
}

/// The runtime is not there.
pub(crate) struct Stopped;

impl From<Stopped> for object_store::Error {
    fn from(_: Stopped) -> Self {
        object_store::Error::Generic { store: "countermark", source: "no thread could be started".into() }
    }
}

impl From<Stopped> for String {
    fn from(_: Stopped) -> Self {
        "no thread could be started".to_owned()
    }
}

async fn head(store: Arc<dyn ObjectStore>, path: Path) -> object_store::Result<ObjectMeta> {
    store.head(&path).await
}

async fn list(store: Arc<dyn ObjectStore>, prefix: Path) -> Result<Vec<ObjectMeta>, String> {
    let mut metas = Vec::new();
    let mut stream = store.list(Some(&prefix));
    while let Some(meta) = stream.next().await {
        if metas.len() == MOST_OBJECTS {
            return Err(format!("holds more than {MOST_OBJECTS} objects"));
        }
        metas.push(meta.map_err(|error| told(&error))?);
    }
    metas.sort_by(|a, b| a.location.cmp(&b.location));
    Ok(metas)
}

/// Everything below a prefix, as it was when it was opened.
struct Prefix {
    store: Arc<dyn ObjectStore>,
    path: Path,
    metas: Vec<ObjectMeta>,
}

impl Names for Prefix {
    fn unchanged(&self) -> io::Result<()> {
        let now = wait(list(self.store.clone(), self.path.clone())).map_err(io::Error::other)?;
        let key = |meta: &ObjectMeta| (meta.location.clone(), meta.size, meta.e_tag.clone());
        if now.iter().map(key).eq(self.metas.iter().map(key)) { Ok(()) } else { Err(changed()) }
    }
}

fn changed() -> io::Error {
    io::Error::other("changed while it was read; wait until nothing writes to it, then try again")
}

/// An object of the size and etag that it had when it was opened. Reads are single requests; a pass fetches ahead.
struct Object(Arc<Inner>);

struct Inner {
    url: String,
    store: Arc<dyn ObjectStore>,
    meta: ObjectMeta,
}

impl Object {
    fn new(url: &str, store: Arc<dyn ObjectStore>, meta: ObjectMeta) -> Self {
        Object(Arc::new(Inner { url: url.to_owned(), store, meta }))
    }
}

impl Inner {
    /// Exactly these bytes, or an error. `range` is bounded by its callers.
    async fn fetch(&self, range: Range<u64>) -> Result<Vec<u8>, String> {
        let mut attempt = 1;
        loop {
            match self.attempt(range.clone()).await {
                Err((problem, true)) if attempt == ATTEMPTS => return Err(format!("{}: {problem}", self.url)),
                Err((_, true)) => attempt += 1,
                Err((problem, false)) => return Err(format!("{}: {problem}", self.url)),
                Ok(bytes) => return Ok(bytes),
            }
        }
    }

    /// The error says whether it is worth another try: a broken connection is, a lie is not.
    async fn attempt(&self, range: Range<u64>) -> Result<Vec<u8>, (String, bool)> {
        let size = (range.end - range.start) as usize;
        // A weak etag never matches (RFC 9110, section 13.1.1); it is compared below like any other.
        let if_match = self.meta.e_tag.clone().filter(|etag| !etag.starts_with("W/"));
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), if_match, ..GetOptions::default() };
        let answer = self.store.get_opts(&self.meta.location, options).await.map_err(|error| match error {
            object_store::Error::Precondition { .. } => (changed().to_string(), false),
            error => (told(&error), false),
        })?;
        if !self.is_same(&answer.meta) {
            return Err((changed().to_string(), false));
        }
        if answer.range != range {
            return Err((format!("answers with bytes {:?} instead of {range:?}", answer.range), false));
        }
        let mut bytes = Vec::with_capacity(size);
        let mut stream = answer.into_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| (told(&error), true))?;
            if bytes.len() + chunk.len() > size {
                return Err(("sends more than was asked for".to_owned(), false));
            }
            bytes.extend_from_slice(&chunk);
        }
        if bytes.len() < size {
            return Err((format!("sends {} bytes instead of {size}", bytes.len()), true));
        }
        Ok(bytes)
    }

    fn is_same(&self, now: &ObjectMeta) -> bool {
        (now.size, &now.e_tag, now.last_modified) == (self.meta.size, &self.meta.e_tag, self.meta.last_modified)
    }
}

impl ReadAt for Object {
    fn len(&self) -> u64 {
        self.0.meta.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.len());
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        for start in (offset..end).step_by(PART as usize) {
            let range = start..end.min(start + PART);
            let inner = self.0.clone();
            let part = range.clone();
            let bytes = wait(async move { inner.fetch(part).await }).map_err(io::Error::other)?;
            buffer[(range.start - offset) as usize..(range.end - offset) as usize].copy_from_slice(&bytes);
        }
        Ok(())
    }

    fn for_one_pass(&self) -> io::Result<Option<Box<dyn ReadAt + '_>>> {
        let shared = Shared { state: Mutex::default(), arrived: Condvar::new() };
        Ok(Some(Box::new(Ahead { object: self.0.clone(), shared: Arc::new(shared) })))
    }

    fn unchanged(&self) -> io::Result<()> {
        let now = wait(head(self.0.store.clone(), self.0.meta.location.clone()));
        let now = now.map_err(|error| io::Error::other(told(&error)))?;
        if self.0.is_same(&now) { Ok(()) } else { Err(changed()) }
    }
}

/// One pass over an object, roughly in order.
struct Ahead {
    object: Arc<Inner>,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    /// The first part that was never asked for.
    next: u64,
    parts: BTreeMap<u64, Fetch>,
}

struct Fetch {
    /// Bytes that were not read yet; the part is dropped when there are none.
    unread: u64,
    answer: Option<Result<Arc<Vec<u8>>, String>>,
    task: AbortHandle,
}

impl Ahead {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn range(&self, part: u64) -> Range<u64> {
        part * PART..self.object.meta.size.min((part + 1) * PART)
    }

    /// Asks for a part, unless it is on its way.
    fn request(&self, state: &mut State, part: u64) -> io::Result<()> {
        if state.parts.contains_key(&part) {
            return Ok(());
        }
        let (range, object, shared) = (self.range(part), self.object.clone(), self.shared.clone());
        let unread = range.end - range.start;
        let task = runtime()?.spawn(async move {
            let answer = object.fetch(range).await.map(Arc::new);
            let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(fetch) = state.parts.get_mut(&part) {
                fetch.answer = Some(answer);
            }
            drop(state);
            shared.arrived.notify_all();
        });
        state.parts.insert(part, Fetch { unread, answer: None, task: task.abort_handle() });
        state.next = state.next.max(part + 1);
        Ok(())
    }

    /// A part, and those behind it on their way.
    fn part(&self, part: u64) -> io::Result<Arc<Vec<u8>>> {
        let mut state = self.lock();
        self.request(&mut state, part)?;
        let end = self.object.meta.size.div_ceil(PART);
        while state.next < end && (state.parts.len() as u64) < AT_ONCE {
            let next = state.next;
            self.request(&mut state, next)?;
        }
        loop {
            match state.parts.get(&part).map(|fetch| &fetch.answer) {
                Some(Some(Ok(bytes))) => return Ok(bytes.clone()),
                Some(Some(Err(problem))) => return Err(io::Error::other(problem.clone())),
                // Another thread has read all of it meanwhile, so somebody reads twice: ask again.
                None => self.request(&mut state, part)?,
                Some(None) => {}
            }
            state = self.shared.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn was_read(&self, part: u64, count: u64) {
        let mut state = self.lock();
        if let Some(fetch) = state.parts.get_mut(&part) {
            fetch.unread = fetch.unread.saturating_sub(count);
            if fetch.unread == 0 {
                state.parts.remove(&part);
            }
        }
    }
}

impl ReadAt for Ahead {
    fn len(&self) -> u64 {
        self.object.meta.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.len());
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut at = offset;
        while at < end {
            let (part, range) = (at / PART, self.range(at / PART));
            let upto = end.min(range.end);
            let bytes = self.part(part)?;
            let source = &bytes[(at - range.start) as usize..(upto - range.start) as usize];
            buffer[(at - offset) as usize..(upto - offset) as usize].copy_from_slice(source);
            self.was_read(part, upto - at);
            at = upto;
        }
        Ok(())
    }

    fn unchanged(&self) -> io::Result<()> {
        Object(self.object.clone()).unchanged()
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.lock().parts.values().for_each(|fetch| fetch.task.abort());
    }
}
