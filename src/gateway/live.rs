//! A response while it is made: its events, each of them one that clients understand, and the
//! response as they tell it.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use serde_json::json;

use super::refusal::told;
use crate::responses::{ApiError, Error, Event, EventKind, EventStream, Item, Response, Status};

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
        last_events: VecDeque::new(),
    };
    let rest = stream::unfold(rest, async |mut rest| Some((rest.next().await?, rest)));
    Ok(stream::once(async { first }).chain(rest).boxed())
}

struct Rest {
    events: EventStream,
    snapshot: Snapshot,
    /// The events that are still to be sent after the stream broke off.
    last_events: VecDeque<Event>,
}

impl Rest {
    async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.last_events.pop_front() {
            return Some(event);
        }
        match self.events.next().await? {
            Ok(event) => {
                self.snapshot.take(&event);
                Some(event)
            }
            Err(error) => {
                let (_, error) = told(&error);
                self.last_events = self.snapshot.last_events(&error);
                self.last_events.pop_front()
            }
        }
    }
}

/// The response as its events tell it. It shares the response and its items with the events.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    response: Option<Response>,
    output: Vec<Arc<Item>>,
    /// The items that are done, by their index.
    done: HashSet<usize>,
    next_number: u64,
}

impl Snapshot {
    /// Takes in the next event.
    pub fn take(&mut self, event: &Event) {
        let number = event.sequence_number();
        self.next_number = number.map_or(self.next_number, |it| it + 1);
        if let Some(fields) = event.as_read() {
            // An event of an upstream or of a script is about a part of an item.
            let item = event.output_index().and_then(|it| self.output.get_mut(it));
            if let Some(item) = item
                && let Some(arguments) = fields.text("arguments")
            {
                set_arguments(Arc::make_mut(item), &arguments);
            }
            return;
        }
        match event.kind() {
            EventKind::OutputItemAdded { output_index, item } => self.place(*output_index, item),
            EventKind::OutputItemDone { output_index, item } => {
                self.place(*output_index, item);
                self.done.insert(*output_index);
            }
            EventKind::McpCallArgumentsDone {
                output_index,
                arguments,
                ..
            } => {
                if let Some(item) = self.output.get_mut(*output_index) {
                    set_arguments(Arc::make_mut(item), arguments);
                }
            }
            kind => {
                if let Some(response) = kind.response() {
                    self.response = Some(response.clone());
                }
            }
        }
    }

    fn place(&mut self, index: usize, item: &Arc<Item>) {
        if index == self.output.len() {
            self.output.push(Arc::clone(item));
        } else if let Some(place) = self.output.get_mut(index) {
            *place = Arc::clone(item);
        }
    }

    /// The id of the response.
    pub fn id(&self) -> &str {
        self.response.as_ref().map_or("", Response::id)
    }

    /// The response as it is now.
    pub fn response(&self) -> Response {
        let empty = || Response::new(serde_json::Map::new());
        let response = self.response.clone().unwrap_or_else(empty);
        match self.is_done() {
            true => response,
            false => response.with([], self.output.clone()),
        }
    }

    /// Whether no more events will come.
    pub fn is_done(&self) -> bool {
        !self.response.as_ref().is_some_and(Response::is_open)
    }

    /// The response is cancelled as it is now, and its open items stay incomplete.
    pub fn cancel(&mut self) {
        for (index, item) in self.output.iter_mut().enumerate() {
            if !self.done.contains(&index) {
                leave_incomplete(Arc::make_mut(item));
            }
        }
        let status = json!(Status::Cancelled);
        let cancelled = self
            .response()
            .with([("status", status)], self.output.clone());
        self.response = Some(cancelled);
    }

    /// The events of a response that fails here.
    pub fn last_events(&self, error: &ApiError) -> VecDeque<Event> {
        let failed = EventKind::Failed {
            response: self.response().failed(error),
        };
        let error = EventKind::Error {
            error: error.clone(),
        };
        let number = self.next_number;
        VecDeque::from([Event::new(number, error), Event::new(number + 1, failed)])
    }
}

fn set_arguments(item: &mut Item, arguments: &str) {
    match item {
        Item::McpCall(call) => arguments.clone_into(&mut call.arguments),
        Item::Other(fields) => {
            fields.insert("arguments".to_owned(), arguments.into());
        }
        _ => {}
    }
}

fn leave_incomplete(item: &mut Item) {
    match item {
        Item::McpCall(call) => call.status = Some(Status::Incomplete),
        Item::Message(message) if message.status.is_some() => {
            message.status = Some(Status::Incomplete);
        }
        // A list that is open would look like an empty one.
        Item::McpListTools(list) => list.error = Some("the response was cancelled".to_owned()),
        Item::Other(fields) if fields.contains_key("status") => {
            fields.insert("status".to_owned(), json!(Status::Incomplete));
        }
        _ => {}
    }
}
