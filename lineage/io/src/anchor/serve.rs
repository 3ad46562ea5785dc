//! Offers the public files of a log over HTTP, as any static web server could.
//!
//! ```text
//! /checkpoint             text/plain, asked for anew each time
//! /tile/…                 application/octet-stream, kept for ever: tiles never change
//! /anchors/<size>/<name>  checkpoints and what holds them, asked for anew each time
//! ```
//!
//! Nothing else is there: not `.state`, not a name that the rules do not write. For a partial tile or bundle that was removed
//! since, the beginning of the full one is served. The runtime stays in this file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fs, io};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::Response;
use countermark_lineage::anchor::checkpoint::decimal;
use countermark_lineage::anchor::tiles::{Name, WIDTH};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

use crate::log::{MAX_FILE, MAX_NOTE};
use crate::{Error, files};

/// More connections wait until one is closed.
const CONNECTIONS: usize = 256;

/// Somebody who reads slower than the longest bundle in this time must come again.
const LONGEST: Duration = Duration::from_secs(300);

/// A log that is being offered, until this is dropped.
pub struct Server {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Server {
    /// Begins to offer the log in `folder`. Port 0 takes a free one.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is no log, [`Error::Io`] when the address cannot be used.
    pub fn start(folder: &Path, listen: SocketAddr) -> Result<Self, Error> {
        if !folder.join("checkpoint").is_file() {
            return Err(Error::refused(folder, "holds no log", "name the folder of a log, as given to --log"));
        }
        let name = listen.to_string();
        let place = Path::new(&name);
        let help = "choose another address: --listen 127.0.0.1:0 takes a free port";
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(16)
            .thread_name("serve")
            .enable_all()
            .build()
            .map_err(Error::io(place, help))?;
        let listener = runtime.block_on(TcpListener::bind(listen)).map_err(Error::io(place, help))?;
        let address = listener.local_addr().map_err(Error::io(place, help))?;
        let routes = Router::new().fallback(answer).with_state(Arc::<Path>::from(folder));
        let doors = Doors::new(listener, LONGEST);
        runtime.spawn(async move { axum::serve(doors, routes).await });
        Ok(Server { address, runtime: Some(runtime) })
    }

    /// Where.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Offers it until the process is ended: nothing here needs to be finished.
    pub fn wait(self) -> ! {
        loop {
            std::thread::park();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A public file.
struct File {
    bytes: Vec<u8>,
    content_type: &'static str,
    is_immutable: bool,
}

async fn answer(State(folder): State<Arc<Path>>, method: Method, uri: Uri) -> Response {
    let mut response = Response::builder()
        // Pages that verify in the browser fetch from here.
        .header(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    let (status, body) = if method != Method::GET && method != Method::HEAD {
        response = response.header(header::ALLOW, "GET, HEAD");
        (StatusCode::METHOD_NOT_ALLOWED, vec![])
    } else {
        let path = uri.path().to_owned();
        match tokio::task::spawn_blocking(move || find(&folder, &path)).await {
            Ok(Ok(Some(file))) => {
                let cache = if file.is_immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
                response =
                    response.header(header::CONTENT_TYPE, file.content_type).header(header::CACHE_CONTROL, cache);
                (StatusCode::OK, file.bytes)
            }
            Ok(Ok(None)) => {
                // What is not there yet may be there in a moment.
                response = response.header(header::CACHE_CONTROL, "no-store");
                (StatusCode::NOT_FOUND, vec![])
            }
            _ => (StatusCode::INTERNAL_SERVER_ERROR, vec![]),
        }
    };
    let is_head = method == Method::HEAD;
    let length = body.len();
    let body = if is_head { Body::empty() } else { Body::from(body) };
    let response = if is_head { response.header(header::CONTENT_LENGTH, length) } else { response };
    response.status(status).body(body).unwrap_or_default()
}

/// The public file under a path, if there is one.
fn find(folder: &Path, path: &str) -> Result<Option<File>, Error> {
    let Some(path) = path.strip_prefix('/') else { return Ok(None) };
    let mutable = |bytes: Vec<u8>, content_type| File { bytes, content_type, is_immutable: false };
    if path == "checkpoint" {
        return Ok(read(&folder.join(path), MAX_NOTE)?.map(|bytes| mutable(bytes, TEXT)));
    }
    if let Some(name) = Name::parse(path) {
        let bytes = match read(&folder.join(path), MAX_FILE)? {
            None if name.width() < WIDTH => {
                let full = read(&folder.join(name.full().path()), MAX_FILE)?;
                full.map(|bytes| name.cut(bytes)).transpose()?
            }
            bytes => bytes,
        };
        let content_type = "application/octet-stream";
        return Ok(bytes.map(|bytes| File { bytes, content_type, is_immutable: true }));
    }
    let Some((size, name)) = path.strip_prefix("anchors/").and_then(|rest| rest.split_once('/')) else {
        return Ok(None);
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if decimal(size).is_none() || name.starts_with('.') || !name.bytes().all(is_plain) {
        return Ok(None);
    }
    let content_type = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("json") => "application/json",
        Some("tsr") => "application/timestamp-reply",
        Some("ots") => "application/octet-stream",
        _ => TEXT,
    };
    let path: PathBuf = [folder, Path::new("anchors"), Path::new(size), Path::new(name)].iter().collect();
    Ok(read(&path, MAX_FILE)?.map(|bytes| mutable(bytes, content_type)))
}

const TEXT: &str = "text/plain; charset=utf-8";

/// A regular file; what is not there, or is something else, is none.
fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => files::read(path, limit).map(Some),
        _ => Ok(None),
    }
}

/// Lets in so many at once, and none for longer than a while.
pub(super) struct Doors {
    listener: TcpListener,
    free: Arc<Semaphore>,
    longest: Duration,
}

impl Doors {
    pub fn new(listener: TcpListener, longest: Duration) -> Self {
        Doors { listener, free: Arc::new(Semaphore::new(CONNECTIONS)), longest }
    }
}

impl axum::serve::Listener for Doors {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            // A semaphore that nobody closes always answers.
            let Ok(permit) = self.free.clone().acquire_owned().await else { continue };
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let end = Box::pin(tokio::time::sleep(self.longest));
                    return (Connection { stream, end, _permit: permit }, address);
                }
                // Out of file handles, or the other side is gone already.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends after a while, whatever the other side does.
pub(super) struct Connection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn in_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.in_time(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.in_time(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
