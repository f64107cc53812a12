//! `Emitter`: items to events; the only maker of ids, indexes and sequence numbers.

mod handover;
mod items;
mod mcp;

use std::sync::Arc;

use serde_json::{Map, Value};

use handover::Sender;
pub use handover::handover;

use super::ids::{Ids, unix_now};
use super::response::{Draft, End, Usage};
use crate::budget::{Budget, Held};
use crate::responses::{CreateResponse, Error, Event, EventKind, Item, Response};

/// An item is in the output, in the response that ends it, and in what is kept.
const COPIES: u64 = 3;

/// Sends the events of one response, in the order and with the keys that OpenAI was recorded with.
/// Each is waited for until somebody has read it.
pub struct Emitter {
    sender: Sender,
    draft: Draft,
    sequence_number: u64,
    has_begun: bool,
    /// The output so far: done items, and the first state of those that are not.
    output: Vec<Arc<Item>>,
    /// What upstream models took, if any was asked.
    usage: Option<Usage>,
    /// What the items of upstream models take in memory.
    held: Option<Held>,
    ids: Ids,
}

/// An item that was added and is not done.
#[derive(Debug, Clone)]
pub struct Open {
    output_index: usize,
    pub id: String,
}

impl Emitter {
    /// An emitter of the events of the answer to `request`, by a model with this name.
    pub fn new(sender: Sender, request: &CreateResponse, model: &str) -> Self {
        let ids = Ids::new();
        let draft = Draft::new(request, model, &ids.next("resp"), unix_now());
        Self {
            sender,
            draft,
            sequence_number: 0,
            has_begun: false,
            output: Vec::new(),
            usage: None,
            held: None,
            ids,
        }
    }

    /// What gives the response and its items their ids.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Whether any event of the response was sent.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The response as the first event has it.
    pub fn begun(&self) -> Response {
        self.draft.begun()
    }

    /// The items of the response so far.
    pub fn output(&self) -> &[Arc<Item>] {
        &self.output
    }

    /// The response has begun: `response.created`, `response.in_progress`. Goes out by itself before
    /// anything else is sent; until then a failure of the upstream is a refusal, not an event.
    pub async fn begin(&mut self) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        let mut response = self.draft.begun();
        let created = response.clone();
        self.number(EventKind::Created { response: created }).await;
        if self.draft.is_background() {
            self.number(EventKind::Queued { response }).await;
            response = self.draft.in_progress();
        }
        self.number(EventKind::InProgress { response }).await;
    }

    /// Begins an item whose content follows in deltas.
    pub fn added(&mut self, item: Item) -> impl Future<Output = Open> {
        self.push(item.id().unwrap_or_default().to_owned(), item)
    }

    /// An event about an item that has begun, such as a part of its text.
    pub async fn relay(&mut self, open: &Open, event: Event) {
        let event = event.renumbered(self.sequence_number, open.output_index, &open.id);
        self.sequence_number += 1;
        self.pass(Ok(event)).await;
    }

    /// An item that has begun is done.
    pub async fn done(&mut self, open: &Open, mut item: Item) {
        item.set_id(open.id.clone());
        let item = Arc::new(item);
        let output_index = open.output_index;
        self.output[output_index] = Arc::clone(&item);
        self.send(EventKind::OutputItemDone { output_index, item })
            .await;
    }

    async fn added_and_done(&mut self, item: Item) {
        let open = self.added(item.clone()).await;
        self.done(&open, item).await;
    }

    /// The items of an upstream model take `bytes` more, of which the response may have `most`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::NoMemory`].
    pub fn hold(&mut self, bytes: u64, most: usize, budget: &Budget) -> Result<(), Error> {
        let held = self.held.get_or_insert_with(|| budget.empty());
        held.grow(bytes.saturating_mul(COPIES))?;
        match held.bytes() > (most as u64).saturating_mul(COPIES) {
            true => Err(Error::TooLarge(most)),
            false => Ok(()),
        }
    }

    /// An upstream model took that much.
    pub fn used(&mut self, usage: Usage) {
        self.usage = Some(self.usage.unwrap_or_default() + usage);
    }

    /// What upstream models took, if any was asked.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// The response as it ends, with all output.
    pub fn ended(&mut self, end: &End) -> Response {
        let output = std::mem::take(&mut self.output);
        self.draft.ended(output, end, unix_now())
    }

    /// `response.completed`, `response.incomplete`, or `error` and `response.failed`.
    pub async fn end(&mut self, end: End, response: Response) {
        match end {
            End::Completed(_) => self.send(EventKind::Completed { response }).await,
            End::Incomplete { .. } => self.send(EventKind::Incomplete { response }).await,
            End::Failed(error) => {
                self.send(EventKind::Error { error }).await;
                self.send(EventKind::Failed { response }).await;
            }
        }
    }

    /// The upstream gave no response: the stream ends as its own would have.
    pub async fn broke_off(&mut self, error: Error) {
        self.pass(Err(error)).await;
    }

    fn add(
        &mut self,
        prefix: &str,
        item: impl FnOnce(String) -> Item,
    ) -> impl Future<Output = Open> {
        let id = self.ids.next(prefix);
        let item = item(id.clone());
        self.push(id, item)
    }

    async fn push(&mut self, id: String, item: Item) -> Open {
        let output_index = self.output.len();
        let item = Arc::new(item);
        self.output.push(Arc::clone(&item));
        self.send(EventKind::OutputItemAdded { output_index, item })
            .await;
        Open { output_index, id }
    }

    async fn send(&mut self, kind: EventKind) {
        self.begin().await;
        self.number(kind).await;
    }

    async fn number(&mut self, kind: EventKind) {
        let event = Event::new(self.sequence_number, kind);
        self.sequence_number += 1;
        self.pass(Ok(event)).await;
    }

    async fn pass(&mut self, event: Result<Event, Error>) {
        self.sender.send(event).await;
    }

    /// Ends the stream here, without a last event: later events are discarded.
    pub fn cut(&mut self) {
        self.sender.cut();
    }

    /// An event of any `type`, numbered like the others.
    pub async fn event(&mut self, mut data: Map<String, Value>) {
        self.begin().await;
        let after_type = data.len().min(1);
        let number = self.sequence_number.into();
        data.shift_insert(after_type, "sequence_number".to_owned(), number);
        self.sequence_number += 1;
        self.pass(Ok(Event::read(&data))).await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use futures::{FutureExt, StreamExt};

    use super::*;

    #[test]
    fn an_event_waits_until_the_one_before_it_is_read() {
        let (sender, receiver) = handover();
        let mut emitter = Emitter::new(sender, &CreateResponse::default(), "m");
        let has_ended = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&has_ended);
        let turn = async move {
            emitter.message("Hello".to_owned()).await;
            ends.store(true, Relaxed);
        };
        let mut events = pin!(receiver.events_of(turn));
        let mut told = Vec::new();
        while let Some(event) = events.next().now_or_never().unwrap() {
            assert!(!has_ended.load(Relaxed), "it goes on by itself");
            told.push(
                event.unwrap().into_data()["type"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            );
        }
        assert!(has_ended.load(Relaxed));
        let of_item = [
            "output_item.added",
            "content_part.added",
            "output_text.delta",
        ];
        let ends = ["output_text.done", "content_part.done", "output_item.done"];
        let names = ["created", "in_progress"]
            .into_iter()
            .chain(of_item)
            .chain(ends);
        let names: Vec<String> = names.map(|it| format!("response.{it}")).collect();
        assert_eq!(told, names);
    }
}
