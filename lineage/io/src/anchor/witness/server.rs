//! The witness over HTTP.
//!
//! ```text
//! POST /add-checkpoint             C2SP tlog-witness
//! GET  /<hex SHA-256 of the origin>/checkpoint    the last cosigned note
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use countermark_lineage::anchor::witness::{Answer, MAX_REQUEST, SIZE_TYPE};
use countermark_lineage::digest::Hash;
use tokio::net::TcpListener;

use super::Witness;
use crate::Error;
use crate::anchor::serve::Doors;
use crate::remote::{Stopped, wait};

/// Then a connection ends, whatever is on it: nobody holds one by sending slowly.
const LONGEST: Duration = Duration::from_secs(60);

struct Problem(io::Error);

impl From<Stopped> for Problem {
    fn from(_: Stopped) -> Self {
        Problem(io::Error::other("no thread could be started"))
    }
}

/// Serves a witness until the process ends; `ready` is told the address.
///
/// # Errors
/// When another process serves it, or nobody can listen there.
pub fn serve(witness: Witness, listen: &str, ready: impl FnOnce(SocketAddr) + Send + 'static) -> Result<(), Error> {
    let _lock = witness.lock()?;
    let router = Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/{origin}/checkpoint", get(checkpoint))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(Arc::new(witness));
    let address = listen.to_owned();
    let work = async move {
        let listener = TcpListener::bind(address).await.map_err(Problem)?;
        ready(listener.local_addr().map_err(Problem)?);
        axum::serve(Doors::new(listener, LONGEST), router).await.map_err(Problem)
    };
    let help = "name an address of this machine and a free port, such as 127.0.0.1:8080";
    wait(work).map_err(|problem| Error::io(std::path::Path::new(listen), help)(problem.0))
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, body: Bytes) -> Response {
    let Ok(text) = String::from_utf8(body.into()) else {
        return plain(StatusCode::BAD_REQUEST, "the request is not UTF-8\n".to_owned());
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // Deciding waits for the disk.
    let considered = tokio::task::spawn_blocking(move || witness.consider(&text, now)).await;
    let (answer, line) = match considered {
        Ok(Ok(considered)) => considered,
        Ok(Err(error)) => return broken(&error.to_string()),
        Err(error) => return broken(&error.to_string()),
    };
    let status = StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match answer {
        Answer::Cosign { .. } => plain(status, line),
        Answer::Malformed(problem) | Answer::Forbidden(problem) => plain(status, problem + "\n"),
        Answer::Stranger => plain(status, "this witness does not watch a log of this origin\n".to_owned()),
        Answer::Conflict(size) => (status, [(header::CONTENT_TYPE, SIZE_TYPE)], format!("{size}\n")).into_response(),
        Answer::Inconsistent(problem) => plain(status, format!("{problem}\n")),
    }
}

async fn checkpoint(State(witness): State<Arc<Witness>>, Path(origin): Path<String>) -> Response {
    let Some(origin) = Hash::parse(&origin) else { return plain(StatusCode::NOT_FOUND, "no such log\n".to_owned()) };
    match tokio::task::spawn_blocking(move || witness.checkpoint(&origin)).await {
        Ok(Ok(Some(note))) => plain(StatusCode::OK, note),
        Ok(Ok(None)) => plain(StatusCode::NOT_FOUND, "nothing was cosigned of such a log\n".to_owned()),
        Ok(Err(error)) => broken(&error.to_string()),
        Err(error) => broken(&error.to_string()),
    }
}

fn plain(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// Whoever runs the witness is told why; whoever asks is not told of paths.
fn broken(problem: &str) -> Response {
    eprintln!("witness: {problem}");
    plain(StatusCode::INTERNAL_SERVER_ERROR, "the witness cannot answer; its owner was told why\n".to_owned())
}
