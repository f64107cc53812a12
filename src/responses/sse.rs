//! Bytes of `text/event-stream` to events: bounded, and a missing terminal event is an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{Stream, StreamExt};
use serde_json::Value;
use sse_stream::SseStream;
use tokio::time::timeout;

use super::EventStream;
use super::error::Error;
use super::event::{Event, EventKind};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long what follows an `error` event is waited for.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// How much is read of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of all of it.
    pub max_bytes: usize,
    /// Bytes of one event, and of the comments before it.
    pub max_event: usize,
}

/// Reads the events of a streamed response out of `bytes`, within `bounds`.
///
/// The stream ends after the event that ends the response; when the bytes end before, the last
/// item is [`Error::Truncated`].
pub fn events<S, E>(bytes: S, bounds: Bounds) -> EventStream
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<BoxError>,
{
    let since_event = Arc::new(AtomicUsize::new(0));
    let bytes = bounded(bytes, bounds, Arc::clone(&since_event));
    let frames = SseStream::from_bytes_stream(bytes).boxed();
    // Whether an `error` event came: nothing has to follow it, though `response.failed` may.
    let state = Some((frames, false));
    futures::stream::unfold((state, since_event), |(state, since_event)| async move {
        let (mut frames, had_error) = state?;
        loop {
            let frame = match had_error {
                false => frames.next().await,
                // `response.failed` comes with the error or not at all.
                true => timeout(AFTER_ERROR, frames.next()).await.unwrap_or(None),
            };
            let event = match frame {
                None | Some(Err(_)) if had_error => return None,
                None => Err(Error::Truncated),
                Some(Err(error)) => Err(of_frame(error)),
                Some(Ok(frame)) => match frame.data.as_deref().map(str::trim) {
                    // Comments and other frames without data, and the end marker of other APIs.
                    None | Some("" | "[DONE]") => continue,
                    Some(data) => read(data),
                },
            };
            let next = match event.as_ref().map(Event::kind) {
                Err(_) => None,
                Ok(
                    EventKind::Completed { .. }
                    | EventKind::Failed { .. }
                    | EventKind::Incomplete { .. },
                ) => None,
                Ok(EventKind::Error { .. }) => Some((frames, true)),
                Ok(_) => Some((frames, had_error)),
            };
            since_event.store(0, Ordering::Relaxed);
            return Some((event, (next, since_event)));
        }
    })
    .boxed()
}

fn read(data: &str) -> Result<Event, Error> {
    match serde_json::from_str(data) {
        Ok(Value::Object(data)) => Ok(Event::read(data)),
        _ => Err(Error::NotAnEvent {
            start: data.chars().take(80).collect(),
        }),
    }
}

#[derive(Debug, thiserror::Error)]
enum BytesError {
    #[error("more than {0} bytes")]
    TooLarge(usize),
    #[error(transparent)]
    Transport(BoxError),
}

/// The bytes, until there are too many; `since_event` counts those of the event that is under way.
fn bounded<S, E>(
    bytes: S,
    bounds: Bounds,
    since_event: Arc<AtomicUsize>,
) -> impl Stream<Item = Result<Bytes, BytesError>> + Send + 'static
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<BoxError>,
{
    bytes.scan(0, move |all: &mut usize, chunk| {
        let chunk = chunk
            .map_err(|error| BytesError::Transport(error.into()))
            .and_then(|chunk| {
                *all += chunk.len();
                let of_event = since_event.fetch_add(chunk.len(), Ordering::Relaxed) + chunk.len();
                if *all > bounds.max_bytes {
                    Err(BytesError::TooLarge(bounds.max_bytes))
                } else if of_event > bounds.max_event {
                    Err(BytesError::TooLarge(bounds.max_event))
                } else {
                    Ok(chunk)
                }
            });
        std::future::ready(Some(chunk))
    })
}

/// Why bytes came no more.
pub fn broken_off(source: BoxError) -> Error {
    match source.downcast_ref::<reqwest::Error>() {
        Some(error) if error.is_timeout() => Error::Idle,
        _ => Error::BrokenOff(source),
    }
}

fn of_frame(error: sse_stream::Error) -> Error {
    match error {
        sse_stream::Error::Body(source) => match source.downcast() {
            Ok(error) => match *error {
                BytesError::TooLarge(max_bytes) => Error::TooLarge(max_bytes),
                BytesError::Transport(source) => broken_off(source),
            },
            Err(source) => Error::BrokenOff(source),
        },
        other => Error::BrokenOff(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const COMPLETED: &str = "event: response.completed\ndata: {\"type\":\"response.completed\",\
        \"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"completed\",\"output\":[]}}\n\n";

    const UNBOUNDED: Bounds = Bounds {
        max_bytes: usize::MAX,
        max_event: usize::MAX,
    };

    async fn read_all(body: &[u8], chunk: usize, bounds: Bounds) -> Vec<Result<Event, Error>> {
        let chunks: Vec<Result<Bytes, Infallible>> = body
            .chunks(chunk.max(1))
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
            .collect();
        events(futures::stream::iter(chunks), bounds)
            .collect()
            .await
    }

    #[tokio::test]
    async fn every_recorded_stream_is_read_whatever_the_chunks() {
        for (name, body) in crate::responses::fixtures("sse") {
            let data: Vec<Value> = String::from_utf8_lossy(&body)
                .lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .map(|data| serde_json::from_str(data).unwrap())
                .collect();
            for chunk in [1, 7, 4096, usize::MAX] {
                let events = read_all(&body, chunk, UNBOUNDED).await;
                let read: Vec<Value> = events
                    .into_iter()
                    .map(|event| Value::Object(event.unwrap().data().clone()))
                    .collect();
                assert_eq!(read, data, "{name} in chunks of {chunk}");
            }
        }
    }

    #[tokio::test]
    async fn a_byte_order_mark_comments_and_other_line_ends_do_no_harm() {
        for body in [
            format!("\u{feff}{COMPLETED}"),
            format!(": ping\n\n: ping\n\n{COMPLETED}"),
            COMPLETED.replace('\n', "\r\n"),
            format!("data: [DONE]\n\n{COMPLETED}"),
        ] {
            let events = read_all(body.as_bytes(), 3, UNBOUNDED).await;
            assert_eq!(events.len(), 1, "{body:?}");
            assert!(matches!(
                events[0].as_ref().unwrap().kind(),
                EventKind::Completed { .. }
            ));
        }
    }

    #[tokio::test]
    async fn a_stream_that_ends_early_is_an_error() {
        let body = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n";
        let events = read_all(body.as_bytes(), 5, UNBOUNDED).await;
        assert!(matches!(events[..], [Ok(_), Err(Error::Truncated)]));
        assert!(matches!(
            read_all(b"", 1, UNBOUNDED).await[..],
            [Err(Error::Truncated)]
        ));
    }

    #[tokio::test]
    async fn nothing_is_read_after_the_terminal_event_and_not_too_much_before_it() {
        let body = format!("{COMPLETED}data: not json\n\n");
        assert_eq!(read_all(body.as_bytes(), 9, UNBOUNDED).await.len(), 1);

        let endless = format!("data: {}", "a".repeat(100_000));
        let comments = ": ping\n\n".repeat(20_000);
        let of_all = Bounds {
            max_bytes: 10_000,
            ..UNBOUNDED
        };
        let of_event = Bounds {
            max_event: 10_000,
            ..UNBOUNDED
        };
        for (body, bounds) in [
            (&endless, of_all),
            (&endless, of_event),
            (&comments, of_event),
        ] {
            let events = read_all(body.as_bytes(), 1000, bounds).await;
            assert!(matches!(events[..], [Err(Error::TooLarge(10_000))]));
        }
        let many = "data: {\"type\":\"ping\"}\n\n".repeat(1000) + COMPLETED;
        assert_eq!(read_all(many.as_bytes(), 1000, of_event).await.len(), 1001);
    }

    #[tokio::test]
    async fn an_error_event_may_end_a_stream_or_be_followed_by_the_failed_response() {
        let error = "data: {\"type\":\"error\",\"error\":{\"message\":\"no\"}}\n\n";
        let failed =
            "data: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\"}}\n\n";
        for (body, events) in [(error.to_owned(), 1), (format!("{error}{failed}"), 2)] {
            let read = read_all(body.as_bytes(), 8, UNBOUNDED).await;
            assert_eq!(read.len(), events);
            assert!(read.iter().all(Result::is_ok), "{read:?}");
        }
    }

    #[tokio::test]
    async fn an_event_that_is_no_object_is_named() {
        for data in ["nonsense", "[1]", "\"text\""] {
            let body = format!("data: {data}\n\n");
            let events = read_all(body.as_bytes(), 100, UNBOUNDED).await;
            assert!(
                matches!(&events[..], [Err(Error::NotAnEvent { start })] if start == data),
                "{events:?}"
            );
        }
    }
}
