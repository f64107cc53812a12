//! A connection that is not closed while its client still writes.
//!
//! A server that closes a connection with data unread resets it, and the client may lose the answer:
//! Node sees EPIPE in place of a 401. So a request that was answered before its body was read is
//! read on after the answer, within bounds (RFC 9112 section 9.6). A client that waits for
//! `100 Continue` never gets one, and sends nothing.

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

/// How much is read of what a client still sends.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// In bytes.
    pub most: usize,
    /// How long the client may send nothing.
    pub silence: Duration,
    /// How long it may take altogether.
    pub deadline: Duration,
}

impl Default for Bounds {
    /// Twice the largest body that any of our servers accepts.
    fn default() -> Self {
        Self {
            most: 32 * 1024 * 1024,
            silence: Duration::from_secs(1),
            deadline: Duration::from_secs(5),
        }
    }
}

/// Whether the body of the last request has not been read to its end. Cloning shares the answer.
#[derive(Debug, Clone, Default)]
pub struct Unread(Arc<AtomicBool>);

impl Unread {
    /// For a connection of which nothing is read.
    pub fn all() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// Notes how far the body of `request` is read.
    pub fn watch(&self, request: Request<Incoming>) -> Request<Watched> {
        self.note(request.body());
        let unread = self.clone();
        request.map(|body| Watched { body, unread })
    }

    fn note(&self, body: &Incoming) {
        self.0.store(!body.is_end_stream(), Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The body of a request.
pub struct Watched {
    body: Incoming,
    unread: Unread,
}

impl Body for Watched {
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

/// A stream that, when it is shut down, first reads what its peer still sends; and that brings in no
/// more than its [`ReadLimit`] allows.
pub struct Lingering<S> {
    stream: S,
    read_limit: ReadLimit,
    unread: Unread,
    bounds: Bounds,
    draining: Option<Draining>,
}

struct Draining {
    left: usize,
    end: Instant,
    silence: Pin<Box<Sleep>>,
}

impl<S> Lingering<S> {
    pub fn new(stream: S, read_limit: ReadLimit, unread: Unread, bounds: Bounds) -> Self {
        Self {
            stream,
            read_limit,
            unread,
            bounds,
            draining: None,
        }
    }
}

impl<S: AsyncRead + Unpin> Lingering<S> {
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Bounds {
            most,
            silence,
            deadline,
        } = self.bounds;
        let draining = self.draining.get_or_insert_with(|| Draining {
            left: most,
            end: Instant::now() + deadline,
            silence: Box::pin(tokio::time::sleep(silence)),
        });
        let mut scrap = [0; 16 * 1024];
        loop {
            let mut scrap = ReadBuf::new(&mut scrap);
            match Pin::new(&mut self.stream).poll_read(context, &mut scrap) {
                Poll::Pending => return draining.silence.as_mut().poll(context),
                Poll::Ready(read) => {
                    let count = scrap.filled().len();
                    if read.is_err() || count == 0 || count >= draining.left {
                        return Poll::Ready(());
                    }
                    draining.left -= count;
                    let next = draining.end.min(Instant::now() + silence);
                    draining.silence.as_mut().reset(next);
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
        Poll::Ready(self.read_limit.take(buffer.filled().len() - before))
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

    /// Tells the peer that nothing more comes, then reads on.
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

    const BOUNDS: Bounds = Bounds {
        most: 100_000,
        silence: Duration::from_millis(50),
        deadline: Duration::from_millis(200),
    };

    fn lingering(unread: Unread) -> (Lingering<DuplexStream>, DuplexStream) {
        let (ours, client) = duplex(1000);
        let ours = Lingering::new(ours, ReadLimit::default(), unread, BOUNDS);
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
    async fn a_client_is_read_within_bounds_only() {
        // It sends nothing, without leaving.
        let (mut ours, _client) = lingering(Unread::all());
        let began = Instant::now();
        ours.shutdown().await.unwrap();
        assert!(began.elapsed() >= BOUNDS.silence && began.elapsed() < BOUNDS.deadline);

        // It sends for ever, slowly.
        let (mut ours, mut client) = lingering(Unread::all());
        let dripping = tokio::spawn(async move {
            while client.write_all(&[0]).await.is_ok() {
                tokio::time::sleep(BOUNDS.silence / 5).await;
            }
        });
        let began = Instant::now();
        ours.shutdown().await.unwrap();
        assert!(began.elapsed() >= BOUNDS.deadline);
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
        assert!(began.elapsed() < BOUNDS.silence);
    }
}
