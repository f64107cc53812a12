//! Bytes of `text/event-stream` to events (HTML, server-sent events).
//!
//! The one reader of the program: for the Responses API, for other model servers, and for MCP. It
//! takes line ends of all three kinds, chunks that end anywhere, and fields that it does not know.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::stream::{Stream, StreamExt};
use tokio::time::timeout;

/// The most bytes of an id that is kept: it outlives its event, and is sent back in a header.
const MAX_ID: usize = 4096;

/// An event that has data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Its `event` field; empty if it has none, which means `message`.
    pub name: Vec<u8>,
    /// Its `data` fields, joined by line feeds.
    pub data: Vec<u8>,
}

/// Turns chunks of bytes into events. It keeps the event that is not finished, however large: the
/// caller compares [`Decoder::unfinished`] with its limit.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The line that is not finished.
    line: Vec<u8>,
    event: Event,
    /// The id that the lines since the last event have given, if any.
    id: Option<Vec<u8>>,
    last_id: Vec<u8>,
    retry: Option<Duration>,
    /// The bytes since the last event.
    bytes: usize,
    has_begun: bool,
    /// The last byte was a CR: an LF after it belongs to the same line end.
    after_cr: bool,
}

impl Decoder {
    /// Reads a chunk, and appends the events that end in it to `events`. Events without data, such as
    /// comments that keep a connection open, are left out.
    pub fn push(&mut self, mut chunk: &[u8], events: &mut VecDeque<Event>) {
        if self.after_cr && !chunk.is_empty() {
            self.after_cr = false;
            chunk = chunk.strip_prefix(b"\n").unwrap_or(chunk);
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', chunk) {
            self.line.extend_from_slice(&chunk[..end]);
            self.bytes += end + 1;
            self.end_line(events);
            let is_cr = chunk[end] == b'\r';
            chunk = &chunk[end + 1..];
            if is_cr {
                self.after_cr = chunk.is_empty();
                chunk = chunk.strip_prefix(b"\n").unwrap_or(chunk);
            }
        }
        self.line.extend_from_slice(chunk);
        self.bytes += chunk.len();
    }

    /// The bytes since the last event, comments included.
    pub fn unfinished(&self) -> usize {
        self.bytes
    }

    /// The id of the last event that has one, those without data included: where a stream is read on
    /// from (`Last-Event-ID`). Empty if there is none.
    pub fn last_id(&self) -> &[u8] {
        &self.last_id
    }

    /// The stream is what comes after the event with this id.
    pub fn go_on_from(&mut self, id: &[u8]) {
        self.last_id = id.to_vec();
    }

    /// How long to wait before the stream is read on, as the server wants it.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn end_line(&mut self, events: &mut VecDeque<Event>) {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        let mut line = self.line.as_slice();
        if !self.has_begun {
            self.has_begun = true;
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if let Some(id) = self.id.take() {
                self.last_id = id;
            }
            if !event.data.trim_ascii().is_empty() {
                events.push_back(event);
                self.bytes = 0;
            }
        } else if let Some(value) = value_of(b"data", line) {
            if self.event.data.is_empty() {
                // The data of an event is mostly one line, which is not copied.
                let start = self.line.len() - value.len();
                let next = Vec::with_capacity(self.line.len().min(1024));
                self.event.data = std::mem::replace(&mut self.line, next);
                self.event.data.drain(..start);
            } else {
                self.event.data.push(b'\n');
                self.event.data.extend_from_slice(value);
            }
        } else if let Some(name) = value_of(b"event", line) {
            self.event.name = name.to_vec();
        } else if let Some(id) = value_of(b"id", line)
            && !id.contains(&0)
            && id.len() <= MAX_ID
        {
            self.id = Some(id.to_vec());
        } else if let Some(retry) = value_of(b"retry", line)
            && retry.iter().all(u8::is_ascii_digit)
        {
            let millis = str::from_utf8(retry).ok().and_then(|it| it.parse().ok());
            self.retry = millis.map(Duration::from_millis).or(self.retry);
        }
        self.line.clear();
    }
}

/// Reads the rest of a body whose last event has come, so that its connection can be used again: here if
/// it has come too, in the background otherwise. A rest that is long or late is given up.
pub fn drain<E>(mut body: impl Stream<Item = Result<Bytes, E>> + Unpin + Send + 'static) {
    const MOST: usize = 64 * 1024;
    const LATEST: Duration = Duration::from_secs(1);
    let mut draining = Box::pin(async move {
        let mut left = MOST;
        while let Some(Ok(chunk)) = body.next().await
            && chunk.len() <= left
        {
            left -= chunk.len();
        }
    });
    if (&mut draining).now_or_never().is_none() {
        tokio::spawn(timeout(LATEST, draining));
    }
}

/// The value of a line if it is of this field; a field without a colon has an empty value.
fn value_of<'a>(field: &[u8], line: &'a [u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(field)? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        // The name of another field begins the same.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str, chunk: usize) -> Vec<(String, String)> {
        let mut decoder = Decoder::default();
        let mut events = VecDeque::new();
        for chunk in text.as_bytes().chunks(chunk) {
            decoder.push(chunk, &mut events);
        }
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let events = events.into_iter();
        events.map(|it| (text(it.name), text(it.data))).collect()
    }

    #[test]
    fn an_event_has_its_name_and_all_lines_of_its_data() {
        let stream = "\u{feff}event: a\nid: 7\nretry: soon\ndatabase: x\ndata: 1\ndata:2\ndata\n\n\
            : comment\n\nevent: empty\n\ndata: 3\r\n\r\ndata: 4\revent\r\rdata: unfinished\n";
        for chunk in [1, 2, 7, 1000] {
            let read = events(stream, chunk);
            let read: Vec<(&str, &str)> =
                read.iter().map(|(name, data)| (&**name, &**data)).collect();
            assert_eq!(read, [("a", "1\n2\n"), ("", "3"), ("", "4")], "{chunk}");
        }
    }

    #[test]
    fn the_last_id_and_the_pause_are_kept_within_bounds() {
        let mut decoder = Decoder::default();
        let mut push = |text: &str| {
            decoder.push(text.as_bytes(), &mut VecDeque::new());
            let id = String::from_utf8(decoder.last_id().to_vec()).unwrap();
            (id.len(), decoder.retry().map(|it| it.as_millis()))
        };
        assert_eq!(push("id: 12\n"), (0, None));
        assert_eq!(push("\n"), (2, None));
        assert_eq!(push("id: 1\0\nretry: soon\n\n"), (2, None));
        assert_eq!(
            push("retry: 50\nretry: 99999999999999999999\n\n"),
            (2, Some(50))
        );
        assert_eq!(
            push(&format!("id: {}\n\n", "x".repeat(MAX_ID))),
            (MAX_ID, Some(50))
        );
        assert_eq!(
            push(&format!("id: {}\n\n", "x".repeat(MAX_ID + 1))),
            (MAX_ID, Some(50))
        );
        assert_eq!(push("id\ndata: 1\n\n"), (0, Some(50)));
    }

    #[test]
    fn what_is_unfinished_is_counted() {
        let mut decoder = Decoder::default();
        let mut events = VecDeque::new();
        decoder.push(b": comment\n\ndata: 1\n", &mut events);
        assert_eq!(decoder.unfinished(), 19);
        decoder.push(b"\ndata: 2", &mut events);
        assert_eq!((events.len(), decoder.unfinished()), (1, 7));
    }
}
