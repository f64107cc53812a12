//! The accept loop: deadlines for whoever is slow, room for so many, and time to finish.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::linger::{Bounds, Lingering, Unread};
use super::read_limit::ReadLimit;

/// How many connections there are at a time, if nothing else needs file descriptors: a process has 1024
/// on most systems.
pub const MOST_CONNECTIONS: usize = 768;
/// How many more get an answer that says there is no room; the others are closed.
const MOST_REFUSED: usize = 64;
/// How long the head of a request may take, and how long a connection may wait for the next one.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// How long an answer may wait for a client that does not read it.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// How long a refusal of a connection may take, the request that nobody reads included.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(5);
/// The most bytes of a request's head.
const MAX_HEAD: usize = 64 * 1024;
/// How long calls may take to finish once the server is told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// What a client is told when there is no room, whatever it was about to ask.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\n\
    content-length: 0\r\nconnection: close\r\n\r\n";

/// Serves `router` over HTTP/1.1 until `stop` is cancelled, then lets the calls that run finish,
/// for 10 s. There are at most [`MOST_CONNECTIONS`] at a time.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    serve_up_to(MOST_CONNECTIONS, listener, router, stop).await;
}

/// The same, with another number of connections at a time.
pub async fn serve_up_to(
    most_connections: usize,
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(most_connections));
    let room_to_refuse = Arc::new(Semaphore::new(MOST_REFUSED));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                wait_after(&error).await;
                continue;
            }
        };
        if let Ok(place) = Arc::clone(&room).try_acquire_owned() {
            connections.spawn(connection(stream, router.clone(), stop.clone(), place));
        } else if let Ok(place) = Arc::clone(&room_to_refuse).try_acquire_owned() {
            connections.spawn(refuse(stream, place));
        }
    }
    drop(listener);
    connections.close();
    // Whoever is not done then is cut off: the process ends.
    let _ = tokio::time::timeout(GRACE, connections.wait()).await;
}

/// A client that left again is no reason to wait; without file descriptors, nothing else helps.
async fn wait_after(error: &io::Error) {
    if !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    ) {
        tracing::warn!(%error, "no connection can be accepted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
) {
    // Without it, the last small packet of each answer waits 40 ms for the one before.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let unread = Unread::default();
    let read_limit = ReadLimit::default();
    let bounds = Bounds::default();
    let stream = Lingering::new(stream, read_limit.clone(), unread.clone(), bounds);
    let mut stream = Box::pin(TimeoutStream::new(stream));
    stream
        .as_mut()
        .set_write_timeout_pinned(Some(WRITE_DEADLINE));
    let router = TowerToHyperService::new(router);
    let router = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(read_limit.clone());
        router.call(unread.watch(request))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), router)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

async fn refuse(stream: TcpStream, _place: OwnedSemaphorePermit) {
    let mut stream = Lingering::new(
        stream,
        ReadLimit::default(),
        Unread::all(),
        Bounds::default(),
    );
    let refused = async {
        stream.write_all(BUSY).await?;
        stream.shutdown().await
    };
    let _ = tokio::time::timeout(REFUSAL_DEADLINE, refused).await;
}
