//! The events of a streamed response: within limits, and a missing terminal event is an error.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt};
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::EventStream;
use super::error::Error;
use super::event::Event;
use super::fields::Fields;
use super::indexes::Indexes;
use super::limits::Items;
use crate::budget::{Held, parsed_size};
use crate::sse::{self, Decoder};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long is waited for what may follow but does not have to.
const A_MOMENT: Duration = Duration::from_secs(1);
/// How many characters are shown of data that is no event.
const MOST_SHOWN: usize = 80;

/// How much is read of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of all of it.
    pub max_bytes: usize,
    /// Bytes of one event, and of the comments before it.
    pub max_event: usize,
    pub max_events: usize,
    /// Bytes that one event takes in memory.
    pub max_memory: usize,
}

/// The data of each event, within bounds.
pub struct Frames {
    bytes: BoxStream<'static, Result<Bytes, BoxError>>,
    bounds: Bounds,
    bytes_read: usize,
    events_read: usize,
    /// What the bytes that were not given out take, and the event that was given out last.
    held: Held,
    decoder: Decoder,
    /// The data of events that are whole and have not been given out.
    decoded: VecDeque<sse::Event>,
}

impl Frames {
    pub fn new<S, E>(bytes: S, bounds: Bounds, held: Held) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self {
            bytes: bytes.map(|chunk| chunk.map_err(Into::into)).boxed(),
            bounds,
            bytes_read: 0,
            events_read: 0,
            held,
            decoder: Decoder::default(),
            decoded: VecDeque::new(),
        }
    }

    /// The data of the next event; nothing when the bytes end.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if let Some(event) = self.decoded.pop_front() {
                self.count(&event.data)?;
                return Ok(Some(event.data));
            }
            let Some(chunk) = self.bytes.next().await else {
                return Ok(None);
            };
            let chunk = chunk.map_err(broken_off)?;
            self.bytes_read += chunk.len();
            self.decoder.push(&chunk, &mut self.decoded);
            let too_large = [
                (self.bytes_read, self.bounds.max_bytes),
                (self.decoder.unfinished(), self.bounds.max_event),
            ];
            if let Some((_, most)) = too_large.into_iter().find(|(size, most)| size > most) {
                return Err(Error::TooLarge(most));
            }
            self.hold(0)?;
        }
    }

    /// Counts an event, before it is read: many small values take many times their length.
    fn count(&mut self, data: &[u8]) -> Result<(), Error> {
        self.events_read += 1;
        if self.events_read > self.bounds.max_events {
            return Err(Error::TooMany {
                what: "events",
                most: self.bounds.max_events,
            });
        }
        let size = parsed_size(data);
        if size > self.bounds.max_memory as u64 {
            return Err(Error::TooLarge(self.bounds.max_memory));
        }
        self.hold(data.len() as u64 + size)
    }

    /// Holds what has come of the next event, and `event` bytes.
    fn hold(&mut self, event: u64) -> Result<(), Error> {
        let bytes = event + self.decoder.unfinished() as u64;
        Ok(self.held.resize(bytes)?)
    }

    /// The same where all that has to come has come: no more than a moment is waited, and it is no
    /// failure when nothing follows.
    pub async fn next_if_any(&mut self) -> Option<Vec<u8>> {
        timeout(A_MOMENT, self.next()).await.ok()?.ok()?
    }
}

/// Reads the events of a streamed response.
///
/// The stream ends after the event that ends the response; when the bytes end before, the last
/// item is [`Error::Truncated`].
pub fn events(frames: Frames, max_items: usize) -> EventStream {
    let reader = Reader {
        frames,
        items: Items::up_to(max_items),
        indexes: Indexes::default(),
        had_error: false,
    };
    futures::stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        let event = reader.next().await?;
        let is_last = match &event {
            Err(_) => true,
            Ok(event) => {
                reader.had_error |= event.name() == "error";
                event.is_terminal()
            }
        };
        if !is_last {
            return Some((event, Some(reader)));
        }
        if event.is_ok() {
            sse::drain(reader.frames.bytes);
        }
        Some((event, None))
    })
    .boxed()
}

struct Reader {
    frames: Frames,
    items: Items,
    indexes: Indexes,
    /// Whether an `error` event came: nothing has to follow it, though `response.failed` may.
    had_error: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            let data = if self.had_error {
                self.frames.next_if_any().await?
            } else {
                match self.frames.next().await {
                    Ok(Some(data)) => data,
                    Ok(None) => return Some(Err(Error::Truncated)),
                    Err(error) => return Some(Err(error)),
                }
            };
            if !is_done(&data) {
                return Some(self.read(data));
            }
        }
    }

    fn read(&mut self, data: Vec<u8>) -> Result<Event, Error> {
        let event = Event::read_in(fields(data)?, &mut self.indexes);
        self.items.count(&event)?;
        Ok(event)
    }
}

/// Whether this is the marker that other APIs end with.
pub fn is_done(data: &[u8]) -> bool {
    data.trim_ascii() == b"[DONE]"
}

/// The data of an event as the JSON object that it has to be.
fn fields(data: Vec<u8>) -> Result<Fields, Error> {
    let text = String::from_utf8(data).map_err(|error| not_an_event(error.as_bytes()))?;
    Fields::read(text).map_err(|text| not_an_event(text.as_bytes()))
}

/// The same, with all its values.
pub fn object(data: &[u8]) -> Result<Map<String, Value>, Error> {
    serde_json::from_slice(data).map_err(|_| not_an_event(data))
}

fn not_an_event(data: &[u8]) -> Error {
    let text = String::from_utf8_lossy(data);
    Error::NotAnEvent {
        start: text.trim().chars().take(MOST_SHOWN).collect(),
    }
}

/// Why bytes came no more.
pub fn broken_off(source: BoxError) -> Error {
    match source.downcast_ref::<reqwest::Error>() {
        Some(error) if error.is_timeout() => Error::Idle,
        _ => Error::BrokenOff(source),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::budget::Budget;
    use crate::responses::EventKind;

    const COMPLETED: &str = "event: response.completed\ndata: {\"type\":\"response.completed\",\
        \"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"completed\",\"output\":[]}}\n\n";

    const UNBOUNDED: Bounds = Bounds {
        max_bytes: usize::MAX,
        max_event: usize::MAX,
        max_events: usize::MAX,
        max_memory: usize::MAX,
    };

    async fn read_all(body: &[u8], chunk: usize, bounds: Bounds) -> Vec<Result<Event, Error>> {
        let chunks: Vec<Result<Bytes, Infallible>> = body
            .chunks(chunk.max(1))
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
            .collect();
        let held = Budget::unlimited().empty();
        let frames = Frames::new(futures::stream::iter(chunks), bounds, held);
        events(frames, 1000).collect().await
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
                    .map(|event| Value::Object(event.unwrap().into_data()))
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
    async fn small_events_small_values_and_many_items_have_an_end_too() {
        let of_count = Bounds {
            max_events: 100,
            ..UNBOUNDED
        };
        let of_memory = Bounds {
            max_memory: 10_000,
            ..UNBOUNDED
        };
        let ping = "data: {\"type\":\"ping\"}\n\n";
        let pings = ping.repeat(100) + COMPLETED;
        let lists = format!(
            "{ping}data: {{\"type\":\"x\",\"x\":[{}0]}}\n\n",
            "[],".repeat(30)
        );
        let deltas: String = (0..1001)
            .map(|index| format!("data: {{\"type\":\"x\",\"output_index\":{index}}}\n\n"))
            .collect();
        for (body, bounds, read, message) in [
            (&pings, of_count, 100, "more than 100 events"),
            (&lists, of_memory, 1, "larger than 10000 bytes"),
            (&deltas, UNBOUNDED, 1000, "more than 1000 items"),
        ] {
            let mut events = read_all(body.as_bytes(), 1000, bounds).await;
            let error = events.pop().unwrap().unwrap_err().to_string();
            assert!(error.ends_with(message), "{error}");
            assert_eq!(events.len(), read);
        }
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

    /// The events of a stream as the specification has them read (HTML, server-sent events), as
    /// simply as it can be done: whole lines, `data` alone.
    fn reference(body: &str) -> Vec<Value> {
        let body = body.strip_prefix('\u{feff}').unwrap_or(body);
        let body = body.replace("\r\n", "\n").replace('\r', "\n");
        let mut events = Vec::new();
        let mut data: Vec<&str> = Vec::new();
        for line in body.split('\n') {
            match line.split_once(':').unwrap_or((line, "")) {
                ("", "") => {
                    let text = data.join("\n");
                    data.clear();
                    let text = text.trim();
                    if !text.is_empty() && text != "[DONE]" {
                        events.push(serde_json::from_str(text).unwrap());
                    }
                }
                ("data", value) => data.push(value.strip_prefix(' ').unwrap_or(value)),
                _ => {}
            }
        }
        events
    }

    proptest::proptest! {
        #[test]
        fn any_stream_in_any_chunks_is_read_as_the_specification_says(
            lines in proptest::collection::vec(
                proptest::sample::select(vec![
                    "data: {\"type\":\"a\",\"n\":1}", "data:{\"type\":\"\u{e9}\u{1f3b2}\"}",
                    "data: {\"type\":", "data: \"b\"}", "data", "data: [DONE]", ": comment", "event: x",
                    "id: 1", "retry: 10", "retry: x", "unknown: y", "", "", "",
                ]),
                0..30,
            ),
            end in proptest::sample::select(vec!["\n", "\r\n", "\r"]),
            chunk in 1_usize..40,
        ) {
            // Only events that are whole are comparable: each begins after a blank line.
            let blocks: Vec<String> = lines
                .split(|line| line.is_empty())
                .filter(|block| {
                    let data: Vec<&str> = block.iter().filter_map(|it| it.strip_prefix("data")).collect();
                    let text: Vec<&str> = data.iter().map(|it| it.trim_start_matches(':').trim()).collect();
                    let text = text.join("\n");
                    let text = text.trim();
                    text.is_empty() || text == "[DONE]" || serde_json::from_str::<Map<_, Value>>(text).is_ok()
                })
                .map(|block| block.join(end) + end)
                .collect();
            let body = blocks.join(end) + end + &COMPLETED.replace('\n', end);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let read = runtime.block_on(read_all(body.as_bytes(), chunk, UNBOUNDED));
            let read: Vec<Value> = read.into_iter().map(|it| Value::Object(it.unwrap().into_data())).collect();
            proptest::prop_assert_eq!(read, reference(&body));
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
