//! Serves HTTP/1.1 on a stream of connections, with a limit on their number and a deadline for every
//! wait.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::stream::{self, Stream, StreamExt};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::task::TaskTracker;

use super::linger::{Lingering, Unread};
use super::options::ServerOptions;
use super::read_limit::ReadLimit;

/// How many connections over the limit are answered at a time; others are closed without an answer.
const MAX_REJECTIONS: usize = 64;
/// The most bytes of a request's head.
const MAX_HEAD: usize = 64 * 1024;

/// The answer to a connection over the limit, whatever its request.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\n\
    content-length: 0\r\nconnection: close\r\n\r\n";

/// The connections that a listener accepts, or why it could not accept one.
pub fn accepted(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> + Send {
    stream::poll_fn(move |context| listener.poll_accept(context).map(Some)).map(|accepted| {
        let (stream, _) = accepted?;
        // Nagle's algorithm would delay the last small packet of each answer by 40 ms.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        Ok(stream)
    })
}

/// Serves `router` on `connections` until they end or [`ServerOptions::stop`] is cancelled. Running
/// requests may complete then, for [`ServerOptions::shutdown_grace`].
pub async fn serve<C>(
    connections: impl Stream<Item = io::Result<C>> + Send,
    router: Router,
    options: ServerOptions,
) where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let options = Arc::new(options);
    let permits = Arc::new(Semaphore::new(options.max_connections));
    let rejections = Arc::new(Semaphore::new(MAX_REJECTIONS));
    let tasks = TaskTracker::new();
    let mut connections = Box::pin(connections);
    loop {
        let next = tokio::select! {
            next = connections.next() => next,
            () = options.stop.cancelled() => break,
        };
        let stream = match next {
            Some(Ok(stream)) => stream,
            Some(Err(error)) => {
                wait_after(&error).await;
                continue;
            }
            None => break,
        };
        if let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
            let connection = connection(stream, router.clone(), Arc::clone(&options), permit);
            tasks.spawn(connection);
        } else if let Ok(permit) = Arc::clone(&rejections).try_acquire_owned() {
            tasks.spawn(reject(stream, Arc::clone(&options), permit));
        }
    }
    // A client that connects from here on is refused by the system, and does not wait in a queue.
    drop(connections);
    tasks.close();
    let grace = async {
        options.stop.cancelled().await;
        tokio::time::sleep(options.shutdown_grace).await;
    };
    // What is still running after that ends with the process.
    tokio::select! {
        () = tasks.wait() => {}
        () = grace => {}
    }
}

/// Without file descriptors, only waiting helps; a client that disconnected is no reason to wait.
async fn wait_after(error: &io::Error) {
    if !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    ) {
        tracing::warn!(%error, "no connection can be accepted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn connection<C>(
    stream: C,
    router: Router,
    options: Arc<ServerOptions>,
    _permit: OwnedSemaphorePermit,
) where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let unread = Unread::default();
    let read_limit = ReadLimit::default();
    let stream = Lingering::new(stream, read_limit.clone(), unread.clone(), options.linger);
    let mut stream = Box::pin(TimeoutStream::new(stream));
    stream
        .as_mut()
        .set_write_timeout_pinned(Some(options.write_timeout));
    let router = TowerToHyperService::new(router);
    let router = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(read_limit.clone());
        router.call(unread.track(request))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.head_timeout)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), router)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = options.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

async fn reject<C>(stream: C, options: Arc<ServerOptions>, _permit: OwnedSemaphorePermit)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let limits = options.linger;
    let mut stream = Lingering::new(stream, ReadLimit::default(), Unread::all(), limits);
    let rejecting = async {
        stream.write_all(BUSY).await?;
        stream.shutdown().await
    };
    let _ = tokio::time::timeout(limits.total, rejecting).await;
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, Bytes};
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;
    use crate::http::{BodyLimits, read_body};

    const SHORT: Duration = Duration::from_millis(100);
    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    fn short_deadlines() -> ServerOptions {
        let body = BodyLimits {
            timeout: SHORT,
            ..BodyLimits::default()
        };
        ServerOptions {
            head_timeout: SHORT,
            write_timeout: SHORT,
            shutdown_grace: SHORT,
            body,
            ..ServerOptions::default()
        }
    }

    /// `/` says hello, `/read` reads the body, `/slow` takes longer than any deadline here, and
    /// `/endless` answers for ever.
    fn router(limits: BodyLimits) -> Router {
        let read = move |body: Body| async move {
            match read_body(body, limits).await {
                Ok(_) => http::StatusCode::OK,
                Err(why) => why.status(),
            }
        };
        let slow = async || tokio::time::sleep(Duration::from_secs(60)).await;
        let endless = async || {
            let chunk = || async { Ok::<_, io::Error>(Bytes::from_static(&[b'a'; 1000])) };
            Body::from_stream(stream::repeat_with(chunk).then(|it| it))
        };
        Router::new()
            .route("/", get(async || "hello"))
            .route("/read", post(read))
            .route("/slow", get(slow))
            .route("/endless", get(endless))
    }

    /// Serves in-memory connections, and returns the clients' ends.
    fn start(count: usize, options: &ServerOptions) -> (Vec<DuplexStream>, JoinHandle<()>) {
        let (clients, ours): (Vec<_>, Vec<_>) = (0..count).map(|_| duplex(4096)).unzip();
        let connections = stream::iter(ours.into_iter().map(Ok)).chain(stream::pending());
        let serving = serve(connections, router(options.body), options.clone());
        (clients, tokio::spawn(serving))
    }

    async fn read(client: &mut DuplexStream) -> String {
        let mut answer = Vec::new();
        let read = client.read_to_end(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(10), read).await;
        read.expect("the connection is closed").unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn connections_need_not_be_those_of_a_socket() {
        let options = ServerOptions::default();
        let (mut clients, serving) = start(1, &options);
        let client = &mut clients[0];
        client.write_all(GET).await.unwrap();
        let mut answer = [0; 15];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        options.stop.cancel();
        assert!(read(client).await.ends_with("hello"));
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_server_ends_with_its_connections() {
        let (mut client, ours) = duplex(4096);
        let options = ServerOptions::default();
        let limits = options.body;
        let serving = serve(stream::iter([Ok(ours)]), router(limits), options);
        let asking = async {
            let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            client.write_all(request).await.unwrap();
            read(&mut client).await
        };
        let (answer, ()) = tokio::join!(asking, serving);
        assert!(answer.ends_with("hello"), "{answer}");
    }

    #[tokio::test]
    async fn slow_clients_are_closed_while_others_are_served() {
        let options = short_deadlines();
        let starts: [&[u8]; 4] = [
            b"",
            b"POST /read HTTP/1.1\r\nhost: local",
            b"PRI * HT",
            b"POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{",
        ];
        let (mut slow, _serving) = start(starts.len() + 1, &options);
        let mut honest = slow.pop().unwrap();
        for (client, start) in slow.iter_mut().zip(starts) {
            client.write_all(start).await.unwrap();
        }
        honest.write_all(GET).await.unwrap();
        let mut answer = [0; 15];
        honest.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        for (client, start) in slow.iter_mut().zip(starts) {
            let answer = read(client).await;
            let is_timeout = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
            assert!(is_timeout, "{start:?}: {answer}");
        }
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_disconnected() {
        let options = short_deadlines();
        let (mut clients, _serving) = start(1, &options);
        let request = b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n";
        clients[0].write_all(request).await.unwrap();
        // Nothing is read for longer than a write may wait.
        tokio::time::sleep(SHORT * 3).await;
        let answer = read(&mut clients[0]).await;
        assert!(answer.len() <= 4096, "{}", answer.len());
    }

    #[tokio::test]
    async fn connections_over_the_limit_are_rejected_with_retry_after() {
        let options = ServerOptions {
            max_connections: 1,
            ..short_deadlines()
        };
        let (mut clients, _serving) = start(2, &options);
        let mut rejected = clients.pop().unwrap();
        rejected.write_all(GET).await.unwrap();
        rejected.shutdown().await.unwrap();
        assert_eq!(read(&mut rejected).await.as_bytes(), BUSY);
    }

    #[tokio::test]
    async fn a_shutdown_waits_for_running_requests_but_not_for_ever() {
        let options = short_deadlines();
        let (mut clients, serving) = start(1, &options);
        let request = b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n";
        clients[0].write_all(request).await.unwrap();
        tokio::time::sleep(SHORT / 2).await;
        let began = Instant::now();
        options.stop.cancel();
        serving.await.unwrap();
        let took = began.elapsed();
        assert!(took >= SHORT && took < SHORT * 20, "{took:?}");
    }
}
