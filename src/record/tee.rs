//! Requests to a server of this program and its answers, recorded as they pass.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::body::{Frame, SizeHint};

use super::{Direction, Line, MAX_BODY, Recorder, tool_entries};

/// Headers whose values are secrets, or stand for a session.
const SECRET: [&str; 6] = [
    "authorization",
    "cookie",
    "set-cookie",
    "mcp-session-id",
    "proxy-authorization",
    "x-api-key",
];
const REDACTED: &str = "[redacted]";

/// Takes a caller's credentials out of what is recorded: some servers repeat them.
struct Redact(Vec<String>);

impl Redact {
    fn of(headers: &HeaderMap) -> Self {
        let values = SECRET.iter().flat_map(|name| headers.get_all(*name));
        let values = values.filter_map(|it| it.to_str().ok());
        let parts = values.map(|it| it.rsplit(' ').next().unwrap_or(it).to_owned());
        Self(parts.filter(|it| it.len() >= 6).collect())
    }

    fn apply(&self, text: Vec<u8>) -> Vec<u8> {
        let text = tool_entries(&text).unwrap_or(text);
        if self.0.is_empty() {
            return text;
        }
        let mut text = String::from_utf8_lossy(&text).into_owned();
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), REDACTED);
            }
        }
        text.into_bytes()
    }
}

/// Records every request to `router` and every answer. Bodies pass as they come.
pub fn tee(router: Router, recorder: Recorder) -> Router {
    router.layer(from_fn_with_state(recorder, record))
}

async fn record(State(recorder): State<Recorder>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let first = format!("{} {}", request.method(), request.uri().path());
    let asked = Arc::new(request.headers().clone());
    let (recorded, headers) = (recorder.clone(), Arc::clone(&asked));
    let request = request.map(|body| {
        copied(body, false, move |body, size| {
            let (time, first, headers) = (SystemTime::now(), first.clone(), Arc::clone(&headers));
            recorded.record(body.len() + size_of(&headers), move || {
                let body = Redact::of(&headers).apply(body);
                let mut line = Line::new(time, Direction::In, "client", "http", &body);
                line.http = Some(first);
                line.headers = shown(&headers);
                line.cut_from = (size > MAX_BODY).then_some(size);
                line
            });
        })
    });
    let answer = next.run(request).await;
    let status = answer.status();
    let headers = Arc::new(answer.headers().clone());
    let kind = headers.get(CONTENT_TYPE);
    let is_stream = kind.is_some_and(|it| it.as_bytes().starts_with(b"text/event-stream"));
    answer.map(|body| {
        copied(body, is_stream, move |body, size| {
            let (time, took) = (SystemTime::now(), began.elapsed());
            let (asked, headers) = (Arc::clone(&asked), Arc::clone(&headers));
            recorder.record(
                body.len() + size_of(&asked) + size_of(&headers),
                move || {
                    let body = Redact::of(&asked).apply(body);
                    let mut line = Line::new(time, Direction::Out, "client", "http", &body);
                    line.http = Some(status.as_u16().to_string());
                    line.headers = shown(&headers);
                    line.took_ms = Some(took.as_secs_f64() * 1000.0);
                    line.cut_from = (size > MAX_BODY).then_some(size);
                    line
                },
            );
        })
    })
}

/// How many bytes the headers hold while their line waits.
fn size_of(headers: &HeaderMap) -> usize {
    let sizes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    sizes.sum()
}

/// The headers as they may be shown.
fn shown(headers: &HeaderMap) -> BTreeMap<String, String> {
    let shown = headers.iter().map(|(name, value)| {
        let is_secret = value.is_sensitive() || SECRET.contains(&name.as_str());
        let value = match (is_secret, name == AUTHORIZATION) {
            (true, true) => format!("Bearer {REDACTED}"),
            (true, false) => REDACTED.to_owned(),
            (false, _) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        };
        (name.to_string(), value)
    });
    shown.collect()
}

/// The body, of which `keep` gets a copy when it ends, also if nobody reads it to its end. Of a stream of
/// events, it gets the data of each event as it passes.
fn copied(body: Body, by_events: bool, keep: impl FnMut(Vec<u8>, usize) + Send + 'static) -> Body {
    Body::new(Copied {
        body,
        copy: Copy {
            kept: Vec::new(),
            size: 0,
            by_events,
            was_told: false,
            keep: Box::new(keep),
        },
    })
}

/// A body whose size is still known: without it, an answer would be sent in chunks because it is recorded.
struct Copied {
    body: Body,
    copy: Copy,
}

impl HttpBody for Copied {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(chunk) = frame.data_ref()
        {
            self.copy.take(chunk);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct Copy {
    kept: Vec<u8>,
    size: usize,
    by_events: bool,
    was_told: bool,
    keep: Box<dyn FnMut(Vec<u8>, usize) + Send>,
}

impl Copy {
    fn take(&mut self, chunk: &Bytes) {
        self.size += chunk.len();
        let space = MAX_BODY.saturating_sub(self.kept.len());
        self.kept
            .extend_from_slice(&chunk[..chunk.len().min(space)]);
        if !self.by_events {
            return;
        }
        while let Some(end) = memchr::memmem::find(&self.kept, b"\n\n") {
            let event: Vec<u8> = self.kept.drain(..end + 2).collect();
            let data = data_of(&event);
            if !data.is_empty() {
                self.was_told = true;
                let size = data.len();
                (self.keep)(data, size);
            }
            self.size = self.kept.len();
        }
    }
}

/// The data of an event.
fn data_of(event: &[u8]) -> Vec<u8> {
    let lines = event.split(|it| *it == b'\n');
    let data = lines.filter_map(|it| it.strip_prefix(b"data:"));
    let data: Vec<&[u8]> = data.map(|it| it.strip_prefix(b" ").unwrap_or(it)).collect();
    data.join(&b'\n')
}

impl Drop for Copy {
    fn drop(&mut self) {
        // An answer without a body is one too.
        if !self.was_told || !self.kept.is_empty() {
            let (kept, size) = (std::mem::take(&mut self.kept), self.size);
            (self.keep)(kept, size);
        }
    }
}
