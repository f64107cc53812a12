//! `Emitter`: items to events; the only maker of ids, indexes and sequence numbers.

use std::sync::Arc;

use futures::SinkExt;
use futures::channel::mpsc::Sender;
use serde_json::{Map, Value, json};

use super::ids::{Ids, unix_now};
use super::response::{Draft, End, Usage};
use crate::budget::{Budget, Held};
use crate::responses::{
    Content, CreateResponse, Error, Event, EventKind, Item, McpApprovalRequest, McpCall,
    McpListTools, McpListToolsTool, Message, Response, Role, Status,
};

/// An item is in the output, in the response that ends it, and in what is kept.
const COPIES: u64 = 3;

/// Sends the events of one response, in the order and with the keys that OpenAI was recorded with.
/// Each is waited for until somebody has read it.
pub struct Emitter {
    sender: Sender<Result<Event, Error>>,
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
    pub fn new(
        sender: Sender<Result<Event, Error>>,
        request: &CreateResponse,
        model: &str,
    ) -> Self {
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
    /// anything else is told; until then a failure of the upstream is a refusal, not an event.
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

    /// The list of a server's tools is asked for.
    pub async fn list_tools_started(&mut self, server_label: &str) -> Open {
        let open = self
            .add("mcpl", |id| {
                Item::McpListTools(McpListTools {
                    id,
                    server_label: server_label.to_owned(),
                    tools: Vec::new(),
                    error: None,
                    rest: Map::new(),
                })
            })
            .await;
        self.send(EventKind::McpListToolsInProgress {
            output_index: open.output_index,
            item_id: open.id.clone(),
        })
        .await;
        open
    }

    /// The list of a server's tools is there, or why it is not.
    pub async fn list_tools_ended(
        &mut self,
        open: &Open,
        server_label: &str,
        tools: Result<Vec<McpListToolsTool>, String>,
    ) {
        let (output_index, item_id) = (open.output_index, open.id.clone());
        let (tools, error) = match tools {
            Ok(tools) => (tools, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let list = McpListTools {
            id: item_id.clone(),
            server_label: server_label.to_owned(),
            tools,
            error,
            rest: Map::new(),
        };
        self.send(if list.error.is_some() {
            EventKind::McpListToolsFailed {
                output_index,
                item_id,
            }
        } else {
            EventKind::McpListToolsCompleted {
                output_index,
                item_id,
            }
        })
        .await;
        self.done(open, Item::McpListTools(list)).await;
    }

    /// A call goes out. Returns the item as it stands, for [`Self::call_ended`].
    pub async fn call_started(
        &mut self,
        server_label: &str,
        name: &str,
        arguments: &str,
        approval_request_id: Option<&str>,
    ) -> (Open, McpCall) {
        let call = McpCall {
            id: String::new(),
            status: Some(Status::InProgress),
            approval_request_id: approval_request_id.map(str::to_owned),
            arguments: String::new(),
            error: None,
            name: name.to_owned(),
            output: None,
            server_label: server_label.to_owned(),
            rest: Map::new(),
        };
        let open = self
            .add("mcp", |id| Item::McpCall(McpCall { id, ..call.clone() }))
            .await;
        let (output_index, item_id) = (open.output_index, open.id.clone());
        let in_progress = EventKind::McpCallInProgress {
            output_index,
            item_id: item_id.clone(),
        };
        self.send(in_progress.clone()).await;
        self.send(EventKind::McpCallArgumentsDelta {
            output_index,
            item_id: item_id.clone(),
            delta: arguments.to_owned(),
            obfuscation: String::new(),
        })
        .await;
        // Recorded so: a call that was approved is announced a second time.
        if approval_request_id.is_some() {
            self.send(in_progress).await;
        }
        self.send(EventKind::McpCallArgumentsDone {
            output_index,
            item_id,
            arguments: arguments.to_owned(),
        })
        .await;
        let call = McpCall {
            id: open.id.clone(),
            arguments: arguments.to_owned(),
            ..call
        };
        (open, call)
    }

    /// A call came back; `call` has its output, or its error and the status `failed`.
    pub async fn call_ended(&mut self, open: &Open, call: McpCall) {
        let (output_index, item_id) = (open.output_index, open.id.clone());
        self.send(if call.error.is_some() {
            EventKind::McpCallFailed {
                output_index,
                item_id,
            }
        } else {
            EventKind::McpCallCompleted {
                output_index,
                item_id,
            }
        })
        .await;
        self.done(open, Item::McpCall(call)).await;
    }

    /// A call that needs approval. No event is sent yet.
    pub fn new_approval_request(
        &self,
        server_label: &str,
        name: &str,
        arguments: &str,
    ) -> McpApprovalRequest {
        McpApprovalRequest {
            id: self.ids.next("mcpr"),
            arguments: arguments.to_owned(),
            name: name.to_owned(),
            server_label: server_label.to_owned(),
            rest: Map::new(),
        }
    }

    /// A call waits for approval.
    pub async fn approval_request(&mut self, request: McpApprovalRequest) {
        self.added_and_done(Item::McpApprovalRequest(request)).await;
    }

    /// A message of one text.
    pub async fn message(&mut self, text: &str) {
        let open = self.text_started().await;
        self.text_delta(&open, 0, text).await;
        self.text_ended(&open, text, Status::Completed).await;
    }

    /// Begins an item whose content follows in deltas.
    pub fn added(&mut self, item: Item) -> impl Future<Output = Open> {
        self.push(item.id().unwrap_or_default().to_owned(), item)
    }

    /// An event about an item that has begun, such as a part of its text.
    pub async fn relay(&mut self, open: &Open, mut data: Map<String, Value>) {
        data.insert("output_index".to_owned(), open.output_index.into());
        if let Some(item_id) = data.get_mut("item_id") {
            *item_id = open.id.as_str().into();
        }
        data.insert("sequence_number".to_owned(), self.sequence_number.into());
        self.sequence_number += 1;
        self.pass(Ok(Event::read(data))).await;
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

    /// An item that was not streamed, from its beginning to its end: with the events that a message or
    /// a `function_call` has. An id that is not given is made, and so is that of a message.
    pub async fn whole(&mut self, item: Item) {
        match item {
            Item::Message(message) => self.whole_message(message).await,
            Item::Other(mut fields) => {
                let kind = fields.get("type").and_then(Value::as_str);
                let is_call = kind == Some("function_call");
                if !fields.contains_key("id") {
                    let prefix = match kind {
                        Some("function_call") => "fc",
                        Some("reasoning") => "rs",
                        _ => "item",
                    };
                    let id = self.ids.next(prefix);
                    fields.shift_insert(0, "id".to_owned(), id.into());
                }
                if is_call {
                    self.whole_function_call(fields).await;
                } else {
                    self.added_and_done(Item::Other(fields)).await;
                }
            }
            item => self.added_and_done(item).await,
        }
    }

    async fn added_and_done(&mut self, item: Item) {
        let open = self.added(item.clone()).await;
        self.done(&open, item).await;
    }

    async fn whole_message(&mut self, whole: Message) {
        let Content::Parts(parts) = &whole.content else {
            let id = Some(self.ids.next("msg"));
            return self
                .added_and_done(Item::Message(Message { id, ..whole }))
                .await;
        };
        let open = self.message_added().await;
        for (content_index, part) in parts.iter().enumerate() {
            self.part(&open, content_index, part).await;
        }
        self.done(&open, Item::Message(whole)).await;
    }

    async fn whole_function_call(&mut self, mut call: Map<String, Value>) {
        let call_id = || self.ids.next("call").into();
        call.entry("call_id").or_insert_with(call_id);
        call.entry("status").or_insert_with(|| "completed".into());
        let mut added = call.clone();
        added.insert("status".to_owned(), "in_progress".into());
        added.insert("arguments".to_owned(), "".into());
        let open = self.added(Item::Other(added)).await;
        let (name, arguments) = (call.get("name"), call.get("arguments"));
        for event in [
            json!({"type": "response.function_call_arguments.delta", "item_id": open.id,
                   "output_index": open.output_index, "delta": arguments}),
            json!({"type": "response.function_call_arguments.done", "item_id": open.id,
                   "output_index": open.output_index, "name": name, "arguments": arguments}),
        ] {
            self.event(object(event)).await;
        }
        self.done(&open, Item::Other(call)).await;
    }

    async fn part(&mut self, open: &Open, content_index: usize, part: &Value) {
        match text_of(part) {
            Some(text) => {
                self.part_added(open, content_index, output_text("")).await;
                self.text_delta(open, content_index, text).await;
            }
            None => self.part_added(open, content_index, part.clone()).await,
        }
        self.part_ended(open, content_index, part).await;
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
        // Nobody listens any more: the turn is about to be dropped.
        let _ = self.sender.send(event).await;
    }

    /// The stream ends here, with no last event: what is sent after this, nobody gets.
    pub fn cut(&mut self) {
        self.sender.close_channel();
    }

    /// An event of any `type`, numbered like the others.
    pub async fn event(&mut self, mut data: Map<String, Value>) {
        self.begin().await;
        let after_type = data.len().min(1);
        let number = self.sequence_number.into();
        data.shift_insert(after_type, "sequence_number".to_owned(), number);
        self.sequence_number += 1;
        self.pass(Ok(Event::read(data))).await;
    }

    /// A message begins, whose text comes in pieces.
    pub async fn text_started(&mut self) -> Open {
        let open = self.message_added().await;
        self.part_added(&open, 0, output_text("")).await;
        open
    }

    fn message_added(&mut self) -> impl Future<Output = Open> {
        self.add("msg", |id| message(id, Status::InProgress, Vec::new()))
    }

    /// A piece of a part of a message.
    pub async fn text_delta(&mut self, open: &Open, content_index: usize, delta: &str) {
        self.send(EventKind::OutputTextDelta {
            item_id: open.id.clone(),
            output_index: open.output_index,
            content_index,
            delta: delta.to_owned(),
            logprobs: Vec::new(),
            obfuscation: String::new(),
        })
        .await;
    }

    /// A message that came in pieces is done; `text` is all of it, `status` is `completed` or
    /// `incomplete`.
    pub async fn text_ended(&mut self, open: &Open, text: &str, status: Status) {
        let part = output_text(text);
        self.part_ended(open, 0, &part).await;
        self.done(open, message(String::new(), status, vec![part]))
            .await;
    }

    async fn part_added(&mut self, open: &Open, content_index: usize, part: Value) {
        self.send(EventKind::ContentPartAdded {
            item_id: open.id.clone(),
            output_index: open.output_index,
            content_index,
            part,
        })
        .await;
    }

    async fn part_ended(&mut self, open: &Open, content_index: usize, part: &Value) {
        let (item_id, output_index) = (&open.id, open.output_index);
        if let Some(text) = text_of(part) {
            self.send(EventKind::OutputTextDone {
                item_id: item_id.clone(),
                output_index,
                content_index,
                text: text.to_owned(),
                logprobs: Vec::new(),
            })
            .await;
        }
        self.send(EventKind::ContentPartDone {
            item_id: item_id.clone(),
            output_index,
            content_index,
            part: part.clone(),
        })
        .await;
    }

    /// A reasoning item with a summary of one part, or of none where there is no text.
    pub async fn reasoning(&mut self, summary: &str) {
        let reasoning = |id: &str, parts: &[Value]| {
            Item::Other(object(
                json!({"id": id, "type": "reasoning", "summary": parts}),
            ))
        };
        let part = |text: &str| json!({"type": "summary_text", "text": text});
        let id = self.ids.next("rs");
        let open = self.added(reasoning(&id, &[])).await;
        if summary.is_empty() {
            return self.done(&open, reasoning(&id, &[])).await;
        }
        for (name, field, value) in [
            ("reasoning_summary_part.added", "part", part("")),
            ("reasoning_summary_text.delta", "delta", summary.into()),
            ("reasoning_summary_text.done", "text", summary.into()),
            ("reasoning_summary_part.done", "part", part(summary)),
        ] {
            self.event(object(json!({
                "type": format!("response.{name}"),
                "item_id": id,
                "output_index": open.output_index,
                "summary_index": 0,
                field: value,
            })))
            .await;
        }
        self.done(&open, reasoning(&id, &[part(summary)])).await;
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => unreachable!("an object was written, not {other}"),
    }
}

fn message(id: String, status: Status, parts: Vec<Value>) -> Item {
    Item::Message(Message {
        id: Some(id),
        status: Some(status),
        content: Content::Parts(parts),
        role: Role::Assistant,
        rest: Map::new(),
    })
}

/// The text of a part that is `output_text`.
fn text_of(part: &Value) -> Option<&str> {
    part["text"]
        .as_str()
        .filter(|_| part["type"] == "output_text")
}

fn output_text(text: &str) -> Value {
    json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text})
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc;
    use futures::{FutureExt, StreamExt};

    use super::*;

    #[test]
    fn an_event_waits_until_the_one_before_it_is_read() {
        let (sender, mut events) = mpsc::channel(0);
        let mut emitter = Emitter::new(sender, &CreateResponse::default(), "m");
        let mut said = Box::pin(emitter.message("Hello"));
        let mut told = Vec::new();
        while (&mut said).now_or_never().is_none() {
            assert!((&mut said).now_or_never().is_none(), "it goes on by itself");
            let event = events.next().now_or_never().unwrap().unwrap().unwrap();
            told.push(event.into_data()["type"].as_str().unwrap().to_owned());
            assert!(events.next().now_or_never().is_none());
        }
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
