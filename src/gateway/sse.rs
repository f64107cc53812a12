//! Events on their way to a client (Responses API, streaming; WHATWG HTML, server-sent events).

use std::convert::Infallible;
use std::task::Poll;

use axum::body::{Body, Bytes};
use axum::response::Response;
use bytes::BytesMut;
use futures::stream::{self, Stream, StreamExt};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::responses::Event;

/// How many bytes are enough to be written at once.
const CHUNK: usize = 16 * 1024;

/// One event as a frame. JSON has no line ends, so it is one line.
pub fn frame(event: &Event) -> Bytes {
    let json = event.to_json();
    let name = match event.as_read() {
        Some(_) => Some(event.name().as_bytes()),
        None => written_type(&json),
    };
    let name = name.filter(|it| !it.is_empty() && !it.iter().any(|it| matches!(it, b'\r' | b'\n')));
    let parts: &[&[u8]] = match name {
        Some(name) => &[b"event: ", name, b"\ndata: ", &json, b"\n\n"],
        None => &[b"data: ", &json, b"\n\n"],
    };
    parts.concat().into()
}

/// The type in the JSON of an event of ours, which begins with it.
fn written_type(json: &[u8]) -> Option<&[u8]> {
    let rest = json.strip_prefix(br#"{"type":""#)?;
    rest.split(|byte| *byte == b'"').next()
}

/// The frames, written as they come: those that are there together are one chunk.
pub fn answer(frames: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let chunks = together(frames).map(Ok::<_, Infallible>);
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static("text/event-stream; charset=utf-8");
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The frames, joined while more are ready and fewer than [`CHUNK`] bytes are.
fn together(frames: impl Stream<Item = Bytes> + Send + 'static) -> impl Stream<Item = Bytes> {
    let mut frames = Box::pin(frames.fuse());
    stream::poll_fn(move |context| {
        let mut chunk = BytesMut::new();
        while chunk.len() < CHUNK {
            match frames.as_mut().poll_next(context) {
                Poll::Ready(Some(frame)) if chunk.is_empty() => chunk = frame.into(),
                Poll::Ready(Some(frame)) => {
                    chunk.reserve(frame.len().max(CHUNK - chunk.len()));
                    chunk.extend_from_slice(&frame);
                }
                Poll::Pending if chunk.is_empty() => return Poll::Pending,
                Poll::Pending | Poll::Ready(None) => break,
            }
        }
        Poll::Ready((!chunk.is_empty()).then(|| chunk.freeze()))
    })
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::channel::mpsc;

    use super::*;

    #[test]
    fn frames_that_are_ready_are_one_chunk_of_no_more_than_is_worth_it() {
        let (sender, frames) = mpsc::unbounded();
        let mut chunks = Box::pin(together(frames));
        let mut next = || chunks.next().now_or_never();
        assert_eq!(next(), None);
        let send = |frame: &[u8]| {
            let sent = sender.unbounded_send(Bytes::copy_from_slice(frame));
            sent.unwrap();
        };
        send(b"a");
        send(b"b");
        assert_eq!(next(), Some(Some("ab".into())));
        assert_eq!(next(), None);
        let large = vec![b'x'; CHUNK];
        send(&large);
        send(b"c");
        assert_eq!(next(), Some(Some(large.into())));
        sender.close_channel();
        assert_eq!(next(), Some(Some("c".into())));
        assert_eq!(next(), Some(None));
    }
}
