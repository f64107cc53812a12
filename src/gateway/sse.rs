//! Events on their way to a client (Responses API, streaming; WHATWG HTML, server-sent events).

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures::stream::{Stream, StreamExt};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::{Map, Value};

/// One event as a frame. JSON has no line ends, so it is one line.
pub fn frame(event: &Map<String, Value>) -> Bytes {
    let mut frame = Vec::with_capacity(512);
    let kind = event.get("type").and_then(Value::as_str);
    if let Some(kind) = kind.filter(|kind| !kind.contains(['\r', '\n'])) {
        frame.extend_from_slice(b"event: ");
        frame.extend_from_slice(kind.as_bytes());
        frame.push(b'\n');
    }
    frame.extend_from_slice(b"data: ");
    if serde_json::to_writer(&mut frame, event).is_err() {
        unreachable!("JSON with string keys is written to memory");
    }
    frame.extend_from_slice(b"\n\n");
    frame.into()
}

/// The frames, each written as it comes.
pub fn answer(frames: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let mut response = Response::new(Body::from_stream(frames.map(Ok::<_, Infallible>)));
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static("text/event-stream; charset=utf-8");
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
