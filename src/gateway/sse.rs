//! Events on their way to a client (Responses API, streaming; WHATWG HTML, server-sent events).

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures::stream::{Stream, StreamExt};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::responses::Event;

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

/// The frames, each written as it comes.
pub fn answer(frames: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let mut response = Response::new(Body::from_stream(frames.map(Ok::<_, Infallible>)));
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static("text/event-stream; charset=utf-8");
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
