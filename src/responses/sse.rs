//! Bytes of `text/event-stream` to events: bounded, and a missing terminal event is an error.

use bytes::Bytes;
use futures::stream::{Stream, StreamExt};
use serde_json::Value;
use sse_stream::SseStream;

use super::EventStream;
use super::error::Error;
use super::event::{Event, EventKind};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Reads the events of a streamed response out of `bytes`, of which at most `max_bytes` are read.
///
/// The stream ends after the event that ends the response; when the bytes end before, the last
/// item is [`Error::Truncated`].
pub fn events<S, E>(bytes: S, max_bytes: usize) -> EventStream
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<BoxError>,
{
    let frames = SseStream::from_bytes_stream(bounded(bytes, max_bytes)).boxed();
    // Whether an `error` event came: nothing has to follow it, though `response.failed` may.
    let state = Some((frames, false));
    futures::stream::unfold(state, |state| async move {
        let (mut frames, had_error) = state?;
        loop {
            let event = match frames.next().await {
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
            return Some((event, next));
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

fn bounded<S, E>(
    bytes: S,
    max_bytes: usize,
) -> impl Stream<Item = Result<Bytes, BytesError>> + Send + 'static
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<BoxError>,
{
    bytes.scan(0, move |seen: &mut usize, chunk| {
        let chunk = match chunk {
            Err(error) => Err(BytesError::Transport(error.into())),
            Ok(chunk) => {
                *seen = seen.saturating_add(chunk.len());
                if *seen > max_bytes {
                    Err(BytesError::TooLarge(max_bytes))
                } else {
                    Ok(chunk)
                }
            }
        };
        std::future::ready(Some(chunk))
    })
}

fn of_frame(error: sse_stream::Error) -> Error {
    match error {
        sse_stream::Error::Body(source) => match source.downcast() {
            Ok(error) => match *error {
                BytesError::TooLarge(max_bytes) => Error::TooLarge(max_bytes),
                BytesError::Transport(source) => Error::BrokenOff(source),
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

    async fn read_all(body: &[u8], chunk: usize, max_bytes: usize) -> Vec<Result<Event, Error>> {
        let chunks: Vec<Result<Bytes, Infallible>> = body
            .chunks(chunk.max(1))
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
            .collect();
        events(futures::stream::iter(chunks), max_bytes)
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
                let events = read_all(&body, chunk, usize::MAX).await;
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
            let events = read_all(body.as_bytes(), 3, usize::MAX).await;
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
        let events = read_all(body.as_bytes(), 5, usize::MAX).await;
        assert!(matches!(events[..], [Ok(_), Err(Error::Truncated)]));
        assert!(matches!(
            read_all(b"", 1, 1).await[..],
            [Err(Error::Truncated)]
        ));
    }

    #[tokio::test]
    async fn nothing_is_read_after_the_terminal_event_and_not_too_much_before_it() {
        let body = format!("{COMPLETED}data: not json\n\n");
        assert_eq!(read_all(body.as_bytes(), 9, usize::MAX).await.len(), 1);

        let endless = format!("data: {}", "a".repeat(100_000));
        let events = read_all(endless.as_bytes(), 1000, 10_000).await;
        assert!(matches!(events[..], [Err(Error::TooLarge(10_000))]));
    }

    #[tokio::test]
    async fn an_error_event_may_end_a_stream_or_be_followed_by_the_failed_response() {
        let error = "data: {\"type\":\"error\",\"error\":{\"message\":\"no\"}}\n\n";
        let failed =
            "data: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\"}}\n\n";
        for (body, events) in [(error.to_owned(), 1), (format!("{error}{failed}"), 2)] {
            let read = read_all(body.as_bytes(), 8, usize::MAX).await;
            assert_eq!(read.len(), events);
            assert!(read.iter().all(Result::is_ok), "{read:?}");
        }
    }

    #[tokio::test]
    async fn an_event_that_is_no_object_is_named() {
        for data in ["nonsense", "[1]", "\"text\""] {
            let body = format!("data: {data}\n\n");
            let events = read_all(body.as_bytes(), 100, usize::MAX).await;
            assert!(
                matches!(&events[..], [Err(Error::NotAnEvent { start })] if start == data),
                "{events:?}"
            );
        }
    }
}
