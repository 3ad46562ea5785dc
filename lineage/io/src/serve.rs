//! A small server over HTTP: so many connections at once, and none for longer than a minute.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

use crate::Error;
use crate::remote::{Stopped, wait};

/// Further connections wait.
const MOST_CONNECTIONS: usize = 256;
/// Then a connection ends, whatever is on it: nobody holds one by sending slowly.
const LONGEST: Duration = Duration::from_secs(60);

struct Problem(io::Error);

impl From<Stopped> for Problem {
    fn from(_: Stopped) -> Self {
        Problem(io::Error::other("no thread could be started"))
    }
}

/// Answers requests at `listen`, such as `127.0.0.1:8080` or `127.0.0.1:0`, until the process ends. `ready` is told the
/// address once connections are accepted.
///
/// # Errors
/// [`Error::Io`] when nobody can listen there.
pub(crate) fn serve(
    listen: &str,
    router: Router,
    ready: impl FnOnce(SocketAddr) + Send + 'static,
) -> Result<(), Error> {
    let address = listen.to_owned();
    let work = async move {
        let listener = TcpListener::bind(address).await.map_err(Problem)?;
        ready(listener.local_addr().map_err(Problem)?);
        let bounded = Bounded { listener, free: Arc::new(Semaphore::new(MOST_CONNECTIONS)) };
        axum::serve(bounded, router).await.map_err(Problem)
    };
    let help = "name an address of this machine and a free port, such as 127.0.0.1:8080";
    wait(work).map_err(|problem: Problem| Error::io(Path::new(listen), help)(problem.0))
}

struct Bounded {
    listener: TcpListener,
    free: Arc<Semaphore>,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            // The semaphore is never closed.
            let Ok(permit) = self.free.clone().acquire_owned().await else { continue };
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let end = Box::pin(tokio::time::sleep(LONGEST));
                    return (Connection { stream, end, _permit: permit }, address);
                }
                // Out of file descriptors, or the other side gave up: neither is over by asking again at once.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends in time.
struct Connection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.end.as_mut().poll(context).is_ready()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        Poll::Ready(Ok(()))
    }
}
