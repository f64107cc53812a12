//! The events of messages, of reasoning, and of items that come whole.

use serde_json::{Map, Value, json};

use super::{Emitter, Open};
use crate::responses::{Content, EventKind, Item, Message, Role, Status};

impl Emitter {
    /// A message of one text.
    pub async fn message(&mut self, text: String) {
        let open = self.text_started().await;
        self.text_delta(&open, 0, &text).await;
        self.text_ended(&open, text, Status::Completed).await;
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
                self.part_added(open, content_index, output_text(String::new()))
                    .await;
                self.text_delta(open, content_index, text).await;
            }
            None => self.part_added(open, content_index, part.clone()).await,
        }
        self.part_ended(open, content_index, part).await;
    }

    /// A message begins, whose text comes in pieces.
    pub async fn text_started(&mut self) -> Open {
        let open = self.message_added().await;
        self.part_added(&open, 0, output_text(String::new())).await;
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
    pub async fn text_ended(&mut self, open: &Open, text: String, status: Status) {
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

fn output_text(text: String) -> Value {
    let mut part = json!({"type": "output_text", "annotations": [], "logprobs": [], "text": null});
    // Moved, and not copied, as `json!` would do.
    part["text"] = Value::String(text);
    part
}
