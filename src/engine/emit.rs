//! `Emitter`: items to events; the only maker of ids, indexes and sequence numbers.

use futures::channel::mpsc::UnboundedSender;
use serde_json::{Map, Value, json};

use super::ids::{Ids, unix_now};
use super::response::{Draft, End, Usage};
use crate::responses::{
    Content, Error, Event, EventKind, Item, McpApprovalRequest, McpCall, McpListTools,
    McpListToolsTool, Message, Response,
};

/// Sends the events of one response, in the order and with the keys that OpenAI was recorded with.
pub struct Emitter {
    sender: UnboundedSender<Result<Event, Error>>,
    draft: Draft,
    sequence_number: u64,
    has_begun: bool,
    /// The output so far: done items, and the first state of those that are not.
    output: Vec<Item>,
    /// What upstream models took, if any was asked.
    usage: Option<Usage>,
    ids: Ids,
}

/// An item that was added and is not done.
#[derive(Debug, Clone)]
pub struct Open {
    output_index: usize,
    pub id: String,
}

impl Emitter {
    pub fn new(sender: UnboundedSender<Result<Event, Error>>, mut draft: Draft) -> Self {
        let ids = Ids::new();
        draft.id = ids.next("resp");
        draft.created_at = unix_now();
        Self {
            sender,
            draft,
            sequence_number: 0,
            has_begun: false,
            output: Vec::new(),
            usage: None,
            ids,
        }
    }

    /// What gives the response and its items their ids.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Whether anything was told of the response.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The response as it is first told of.
    pub fn begun(&self) -> Response {
        self.draft.begun()
    }

    /// The items of the response so far.
    pub fn output(&self) -> &[Item] {
        &self.output
    }

    /// The response has begun: `response.created`, `response.in_progress`. Goes out by itself before
    /// anything else is told; until then a failure of the upstream is a refusal, not an event.
    pub fn begin(&mut self) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        let mut response = self.draft.begun();
        self.send(EventKind::Created {
            response: response.clone(),
        });
        if self.draft.is_background() {
            self.send(EventKind::Queued { response });
            response = self.draft.in_progress();
        }
        self.send(EventKind::InProgress { response });
    }

    /// The list of a server's tools is asked for.
    pub fn list_tools_started(&mut self, server_label: &str) -> Open {
        let open = self.add("mcpl", |id| {
            Item::McpListTools(McpListTools {
                id,
                server_label: server_label.to_owned(),
                tools: Vec::new(),
                error: None,
                rest: Map::new(),
            })
        });
        self.send(EventKind::McpListToolsInProgress {
            output_index: open.output_index,
            item_id: open.id.clone(),
        });
        open
    }

    /// The list of a server's tools is there, or why it is not.
    pub fn list_tools_ended(
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
        });
        self.done(open, Item::McpListTools(list));
    }

    /// A call goes out. Returns the item as it stands, for [`Self::call_ended`].
    pub fn call_started(
        &mut self,
        server_label: &str,
        name: &str,
        arguments: &str,
        approval_request_id: Option<&str>,
    ) -> (Open, McpCall) {
        let call = McpCall {
            id: String::new(),
            status: Some("in_progress".to_owned()),
            approval_request_id: approval_request_id.map(str::to_owned),
            arguments: String::new(),
            error: None,
            name: name.to_owned(),
            output: None,
            server_label: server_label.to_owned(),
            rest: Map::new(),
        };
        let open = self.add("mcp", |id| Item::McpCall(McpCall { id, ..call.clone() }));
        let (output_index, item_id) = (open.output_index, open.id.clone());
        let in_progress = EventKind::McpCallInProgress {
            output_index,
            item_id: item_id.clone(),
        };
        self.send(in_progress.clone());
        self.send(EventKind::McpCallArgumentsDelta {
            output_index,
            item_id: item_id.clone(),
            delta: arguments.to_owned(),
            obfuscation: String::new(),
        });
        // Recorded so: a call that was approved is announced a second time.
        if approval_request_id.is_some() {
            self.send(in_progress);
        }
        self.send(EventKind::McpCallArgumentsDone {
            output_index,
            item_id,
            arguments: arguments.to_owned(),
        });
        let call = McpCall {
            id: open.id.clone(),
            arguments: arguments.to_owned(),
            ..call
        };
        (open, call)
    }

    /// A call came back; `call` has its output, or its error and the status `failed`.
    pub fn call_ended(&mut self, open: &Open, call: McpCall) {
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
        });
        self.done(open, Item::McpCall(call));
    }

    /// A call that waits for approval.
    pub fn approval_request(
        &mut self,
        server_label: &str,
        name: &str,
        arguments: &str,
    ) -> McpApprovalRequest {
        let request = |id| McpApprovalRequest {
            id,
            arguments: arguments.to_owned(),
            name: name.to_owned(),
            server_label: server_label.to_owned(),
            rest: Map::new(),
        };
        let open = self.add("mcpr", |id| Item::McpApprovalRequest(request(id)));
        let request = request(open.id.clone());
        self.done(&open, Item::McpApprovalRequest(request.clone()));
        request
    }

    /// A message of one text.
    pub fn message(&mut self, text: &str) {
        let open = self.text_started();
        self.text_delta(&open, 0, text);
        self.text_ended(&open, text, "completed");
    }

    /// An item of an upstream response begins. A message gets an id of this response; what else
    /// there is keeps its own, by which the upstream knows it.
    pub fn relay_added(&mut self, item: Item) -> Open {
        match item {
            Item::Message(message) => self.add("msg", |id| {
                let id = Some(id);
                Item::Message(Message { id, ..message })
            }),
            other => self.push(other.id().unwrap_or_default().to_owned(), other),
        }
    }

    /// An event about an item of an upstream response, such as a part of its text.
    pub fn relay(&mut self, open: &Open, mut data: Map<String, Value>) {
        self.begin();
        data.insert("output_index".to_owned(), open.output_index.into());
        if let Some(item_id) = data.get_mut("item_id") {
            *item_id = open.id.as_str().into();
        }
        data.insert("sequence_number".to_owned(), self.sequence_number.into());
        self.sequence_number += 1;
        self.pass(Ok(Event::read(data)));
    }

    /// An item of an upstream response is done.
    pub fn relay_done(&mut self, open: &Open, item: Item) {
        let item = match item {
            Item::Message(message) => Item::Message(Message {
                id: Some(open.id.clone()),
                ..message
            }),
            other => other,
        };
        self.done(open, item);
    }

    /// An item that was not streamed, from its beginning to its end: with the events that a message or
    /// a `function_call` has. An id that is not given is made.
    pub fn whole(&mut self, item: Item) {
        match item {
            Item::Message(message) => self.whole_message(message),
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
                    self.whole_function_call(fields);
                } else {
                    self.added_and_done(Item::Other(fields));
                }
            }
            item => self.added_and_done(item),
        }
    }

    fn added_and_done(&mut self, item: Item) {
        let open = self.relay_added(item.clone());
        self.relay_done(&open, item);
    }

    fn whole_message(&mut self, whole: Message) {
        let Content::Parts(parts) = &whole.content else {
            return self.added_and_done(Item::Message(whole));
        };
        let open = self.relay_added(message(String::new(), "in_progress", Vec::new()));
        for (content_index, part) in parts.iter().enumerate() {
            self.part(&open, content_index, part);
        }
        self.relay_done(&open, Item::Message(whole));
    }

    fn whole_function_call(&mut self, mut call: Map<String, Value>) {
        let call_id = || self.ids.next("call").into();
        call.entry("call_id").or_insert_with(call_id);
        call.entry("status").or_insert_with(|| "completed".into());
        let mut added = call.clone();
        added.insert("status".to_owned(), "in_progress".into());
        added.insert("arguments".to_owned(), "".into());
        let open = self.relay_added(Item::Other(added));
        let (name, arguments) = (call.get("name"), call.get("arguments"));
        for event in [
            json!({"type": "response.function_call_arguments.delta", "item_id": open.id,
                   "output_index": open.output_index, "delta": arguments}),
            json!({"type": "response.function_call_arguments.done", "item_id": open.id,
                   "output_index": open.output_index, "name": name, "arguments": arguments}),
        ] {
            self.event(object(event));
        }
        self.relay_done(&open, Item::Other(call));
    }

    fn part(&mut self, open: &Open, content_index: usize, part: &Value) {
        match text_of(part) {
            Some(text) => {
                self.part_added(open, content_index, output_text(""));
                self.text_delta(open, content_index, text);
            }
            None => self.part_added(open, content_index, part.clone()),
        }
        self.part_ended(open, content_index, part);
    }

    /// An upstream model took that much.
    pub fn used(&mut self, usage: Usage) {
        self.usage = Some(self.usage.unwrap_or_default() + usage);
    }

    /// What upstream models took, if any was asked.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// The response as it ends.
    pub fn ended(&self, end: &End) -> Response {
        self.draft.ended(&self.output, end, unix_now())
    }

    /// `response.completed`, `response.incomplete`, or `error` and `response.failed`.
    pub fn end(&mut self, end: End, response: Response) {
        match end {
            End::Completed(_) => self.send(EventKind::Completed { response }),
            End::Incomplete { .. } => self.send(EventKind::Incomplete { response }),
            End::Failed(error) => {
                self.send(EventKind::Error { error });
                self.send(EventKind::Failed { response });
            }
        }
    }

    /// The upstream gave no response: the stream ends as its own would have.
    pub fn broke_off(&mut self, error: Error) {
        self.pass(Err(error));
    }

    fn add(&mut self, prefix: &str, item: impl FnOnce(String) -> Item) -> Open {
        let id = self.ids.next(prefix);
        let item = item(id.clone());
        self.push(id, item)
    }

    fn push(&mut self, id: String, item: Item) -> Open {
        let output_index = self.output.len();
        self.output.push(item.clone());
        self.send(EventKind::OutputItemAdded { output_index, item });
        Open { output_index, id }
    }

    fn done(&mut self, open: &Open, item: Item) {
        self.output[open.output_index] = item.clone();
        self.send(EventKind::OutputItemDone {
            output_index: open.output_index,
            item,
        });
    }

    fn send(&mut self, kind: EventKind) {
        self.begin();
        let event = Event::new(self.sequence_number, kind);
        self.sequence_number += 1;
        self.pass(Ok(event));
    }

    fn pass(&self, event: Result<Event, Error>) {
        // Nobody listens any more: the turn is about to be dropped.
        let _ = self.sender.unbounded_send(event);
    }

    /// The stream ends here, with no last event: what is sent after this, nobody gets.
    pub fn cut(&self) {
        self.sender.close_channel();
    }

    /// An event of any `type`, numbered like the others.
    pub fn event(&mut self, mut data: Map<String, Value>) {
        self.begin();
        let after_type = data.len().min(1);
        let number = self.sequence_number.into();
        data.shift_insert(after_type, "sequence_number".to_owned(), number);
        self.sequence_number += 1;
        self.pass(Ok(Event::read(data)));
    }

    /// A message begins, whose text comes in pieces.
    pub fn text_started(&mut self) -> Open {
        let open = self.relay_added(message(String::new(), "in_progress", Vec::new()));
        self.part_added(&open, 0, output_text(""));
        open
    }

    /// A piece of a part of a message.
    pub fn text_delta(&mut self, open: &Open, content_index: usize, delta: &str) {
        self.send(EventKind::OutputTextDelta {
            item_id: open.id.clone(),
            output_index: open.output_index,
            content_index,
            delta: delta.to_owned(),
            logprobs: Vec::new(),
            obfuscation: String::new(),
        });
    }

    /// A message that came in pieces is done; `text` is all of it, `status` is `completed` or
    /// `incomplete`.
    pub fn text_ended(&mut self, open: &Open, text: &str, status: &str) {
        let part = output_text(text);
        self.part_ended(open, 0, &part);
        self.relay_done(open, message(String::new(), status, vec![part]));
    }

    fn part_added(&mut self, open: &Open, content_index: usize, part: Value) {
        self.send(EventKind::ContentPartAdded {
            item_id: open.id.clone(),
            output_index: open.output_index,
            content_index,
            part,
        });
    }

    fn part_ended(&mut self, open: &Open, content_index: usize, part: &Value) {
        let (item_id, output_index) = (&open.id, open.output_index);
        if let Some(text) = text_of(part) {
            self.send(EventKind::OutputTextDone {
                item_id: item_id.clone(),
                output_index,
                content_index,
                text: text.to_owned(),
                logprobs: Vec::new(),
            });
        }
        self.send(EventKind::ContentPartDone {
            item_id: item_id.clone(),
            output_index,
            content_index,
            part: part.clone(),
        });
    }

    /// A reasoning item with a summary of one part, or of none where there is no text.
    pub fn reasoning(&mut self, summary: &str) {
        let reasoning = |id: &str, parts: &[Value]| {
            Item::Other(object(
                json!({"id": id, "type": "reasoning", "summary": parts}),
            ))
        };
        let part = |text: &str| json!({"type": "summary_text", "text": text});
        let id = self.ids.next("rs");
        let open = self.relay_added(reasoning(&id, &[]));
        if summary.is_empty() {
            return self.relay_done(&open, reasoning(&id, &[]));
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
            })));
        }
        self.relay_done(&open, reasoning(&id, &[part(summary)]));
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => unreachable!("an object was written, not {other}"),
    }
}

fn message(id: String, status: &str, parts: Vec<Value>) -> Item {
    Item::Message(Message {
        id: Some(id),
        status: Some(status.to_owned()),
        content: Content::Parts(parts),
        role: "assistant".to_owned(),
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
