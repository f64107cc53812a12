//! A response while it is made: its events, each of them one that clients understand, and the
//! response as they tell it.

use std::collections::{HashSet, VecDeque};

use futures::stream::{self, BoxStream, StreamExt};
use serde_json::{Map, Value, json};

use super::refusal::told;
use crate::responses::{ApiError, Error, Event, EventKind, EventStream, Response};

/// The events of a response, once it has begun; until then a failure is a refusal.
///
/// A stream that breaks off ends as a failed response does: with `error` and `response.failed`.
pub async fn begun(mut events: EventStream) -> Result<BoxStream<'static, Event>, Error> {
    let first = events.next().await.unwrap_or(Err(Error::Truncated))?;
    let mut snapshot = Snapshot::default();
    snapshot.take(&first);
    let rest = Rest {
        events,
        snapshot,
        last_words: VecDeque::new(),
    };
    let rest = stream::unfold(rest, async |mut rest| Some((rest.next().await?, rest)));
    Ok(stream::once(async { first }).chain(rest).boxed())
}

struct Rest {
    events: EventStream,
    snapshot: Snapshot,
    /// What is still told after the stream broke off.
    last_words: VecDeque<Event>,
}

impl Rest {
    async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.last_words.pop_front() {
            return Some(event);
        }
        match self.events.next().await? {
            Ok(event) => {
                self.snapshot.take(&event);
                Some(event)
            }
            Err(error) => {
                let (_, error) = told(&error);
                self.last_words = self.snapshot.last_words(&error);
                self.last_words.pop_front()
            }
        }
    }
}

/// The response as its events tell it.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    response: Map<String, Value>,
    output: Vec<Value>,
    /// The items that are done, by their index.
    done: HashSet<usize>,
    next_number: u64,
}

impl Snapshot {
    /// Takes in the next event.
    pub fn take(&mut self, event: &Event) {
        let data = event.data();
        let number = data.get("sequence_number").and_then(Value::as_u64);
        self.next_number = number.map_or(self.next_number, |it| it + 1);
        if let Some(Value::Object(response)) = data.get("response") {
            self.response = response.clone();
        }
        if let (Some(index), Some(item)) = (event.output_index(), data.get("item")) {
            // An index of nowhere, as a script may send, is of no item.
            if index == self.output.len() {
                self.output.push(Value::Null);
            }
            if let Some(place) = self.output.get_mut(index) {
                place.clone_from(item);
            }
            if matches!(event.kind(), EventKind::OutputItemDone { .. }) {
                self.done.insert(index);
            }
        }
        let item = event.output_index().and_then(|it| self.output.get_mut(it));
        if let (Some(Value::Object(item)), Some(arguments)) = (item, data.get("arguments")) {
            item.insert("arguments".to_owned(), arguments.clone());
        }
    }

    /// The id of the response.
    pub fn id(&self) -> &str {
        let id = self.response.get("id").and_then(Value::as_str);
        id.unwrap_or_default()
    }

    /// The response as it is now.
    pub fn response(&self) -> Map<String, Value> {
        let mut response = self.response.clone();
        if !self.is_done() {
            response.insert("output".to_owned(), self.output.clone().into());
        }
        response
    }

    /// Whether no more events will come.
    pub fn is_done(&self) -> bool {
        let status = self.response.get("status").and_then(Value::as_str);
        !matches!(status, Some("queued" | "in_progress"))
    }

    /// The response is cancelled as it is now, and what is not done will never be.
    pub fn cancel(&mut self) {
        for (index, item) in self.output.iter_mut().enumerate() {
            let is_open = !self.done.contains(&index);
            if is_open && item.get("status").is_some() {
                item["status"] = "incomplete".into();
            }
            // An open list would be taken for an empty one.
            if is_open && item["type"] == "mcp_list_tools" {
                item["error"] = "the response was cancelled".into();
            }
        }
        self.response = self.response();
        let status = "cancelled".into();
        self.response.insert("status".to_owned(), status);
    }

    /// The events of a response that fails here.
    pub fn last_words(&self, error: &ApiError) -> VecDeque<Event> {
        let number = self.next_number;
        let words = [
            json!({"type": "error", "sequence_number": number, "error": error}),
            json!({"type": "response.failed", "sequence_number": number + 1,
                   "response": Response::new(self.response()).failed(error)}),
        ];
        let words = words.into_iter().filter_map(|word| match word {
            Value::Object(data) => Some(Event::read(data)),
            _ => None,
        });
        words.collect()
    }
}
