//! A lingering close: a connection is read on, within limits, while its client still writes.
//!
//! Closing a connection with unread data resets it, and the client may lose the answer: Node reports
//! EPIPE instead of a 401. If a request was answered before its body was read, the rest of the body
//! is therefore read after the answer (RFC 9112 section 9.6). A client that waits for `100 Continue`
//! never gets one, and sends nothing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use http::Request;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::read_limit::ReadLimit;

/// How much is read of what a client still sends, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LingerLimits {
    pub max_bytes: usize,
    /// How long the client may send nothing.
    pub idle: Duration,
    /// How long all of it may take.
    pub total: Duration,
}

impl Default for LingerLimits {
    /// 32 MiB, which is twice the largest body that any of our servers accepts; 1 and 5 seconds.
    fn default() -> Self {
        Self {
            max_bytes: 32 * 1024 * 1024,
            idle: Duration::from_secs(1),
            total: Duration::from_secs(5),
        }
    }
}

/// Whether the body of the last request has not been read to its end. Cloning shares the state.
#[derive(Debug, Clone, Default)]
pub struct Unread(Arc<AtomicBool>);

impl Unread {
    /// For a connection whose request is not read.
    pub fn all() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// Tracks whether the body of `request` is read to its end.
    pub fn track(&self, request: Request<Incoming>) -> Request<TrackedBody> {
        self.note(request.body());
        let unread = self.clone();
        request.map(|body| TrackedBody { body, unread })
    }

    fn note(&self, body: &Incoming) {
        self.0.store(!body.is_end_stream(), Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The body of a request, which updates [`Unread`].
pub struct TrackedBody {
    body: Incoming,
    unread: Unread,
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match frame {
            None => self.unread.0.store(false, Ordering::Relaxed),
            Some(_) => self.unread.note(&self.body),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that reads what its peer still sends when it is shut down, and that reads no more than its
/// [`ReadLimit`] allows.
pub struct Lingering<S> {
    stream: S,
    read_limit: ReadLimit,
    unread: Unread,
    limits: LingerLimits,
    draining: Option<Draining>,
}

struct Draining {
    left: usize,
    end: Instant,
    idle: Pin<Box<Sleep>>,
}

impl<S> Lingering<S> {
    pub fn new(stream: S, read_limit: ReadLimit, unread: Unread, limits: LingerLimits) -> Self {
        Self {
            stream,
            read_limit,
            unread,
            limits,
            draining: None,
        }
    }
}

impl<S: AsyncRead + Unpin> Lingering<S> {
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let LingerLimits {
            max_bytes,
            idle,
            total,
        } = self.limits;
        let draining = self.draining.get_or_insert_with(|| Draining {
            left: max_bytes,
            end: Instant::now() + total,
            idle: Box::pin(tokio::time::sleep(idle)),
        });
        let mut scrap = [0; 16 * 1024];
        loop {
            let mut scrap = ReadBuf::new(&mut scrap);
            match Pin::new(&mut self.stream).poll_read(context, &mut scrap) {
                Poll::Pending => return draining.idle.as_mut().poll(context),
                Poll::Ready(read) => {
                    let count = scrap.filled().len();
                    if read.is_err() || count == 0 || count >= draining.left {
                        return Poll::Ready(());
                    }
                    draining.left -= count;
                    let next = draining.end.min(Instant::now() + idle);
                    draining.idle.as_mut().reset(next);
                }
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.read_limit.admit(buffer.filled().len() - before))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Ends the writing side, then reads on.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.draining.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        }
        if self.unread.get() {
            ready!(self.poll_drain(context));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const LIMITS: LingerLimits = LingerLimits {
        max_bytes: 100_000,
        idle: Duration::from_millis(50),
        total: Duration::from_millis(200),
    };

    fn lingering(unread: Unread) -> (Lingering<DuplexStream>, DuplexStream) {
        let (ours, client) = duplex(1000);
        let ours = Lingering::new(ours, ReadLimit::default(), unread, LIMITS);
        (ours, client)
    }

    #[tokio::test]
    async fn a_client_that_still_writes_reads_the_answer_first() {
        let (mut ours, mut client) = lingering(Unread::all());
        let answering = async {
            ours.write_all(b"401").await.unwrap();
            ours.shutdown().await.unwrap();
            drop(ours);
        };
        let asking = async {
            client.write_all(&[0; 90_000]).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            drop(client);
            answer
        };
        let (answer, ()) = tokio::join!(asking, answering);
        assert_eq!(answer, "401");
    }

    #[tokio::test]
    async fn a_client_is_read_within_limits_only() {
        // It sends nothing and stays connected.
        let (mut ours, _client) = lingering(Unread::all());
        let began = Instant::now();
        ours.shutdown().await.unwrap();
        assert!(began.elapsed() >= LIMITS.idle && began.elapsed() < LIMITS.total);

        // It sends for ever, slowly.
        let (mut ours, mut client) = lingering(Unread::all());
        let dripping = tokio::spawn(async move {
            while client.write_all(&[0]).await.is_ok() {
                tokio::time::sleep(LIMITS.idle / 5).await;
            }
        });
        let began = Instant::now();
        ours.shutdown().await.unwrap();
        assert!(began.elapsed() >= LIMITS.total);
        drop(ours);
        dripping.await.unwrap();

        // It sends too much.
        let (mut ours, mut client) = lingering(Unread::all());
        let flooding = tokio::spawn(async move { client.write_all(&[0; 200_000]).await });
        ours.shutdown().await.unwrap();
        drop(ours);
        assert!(flooding.await.unwrap().is_err());

        // All of it was read.
        let (mut ours, _client) = lingering(Unread::default());
        let began = Instant::now();
        ours.shutdown().await.unwrap();
        assert!(began.elapsed() < LIMITS.idle);
    }
}
