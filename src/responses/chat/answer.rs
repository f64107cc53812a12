//! The answer: chunks of a completion as events of a response.

use std::borrow::Cow;
use std::mem;

use serde_json::{Map, Value, json};

use super::calls::{Call, Calls};
use super::kind::Kind;
use crate::responses::limits::too_many_items;
use crate::responses::{ApiError, Error, Event};

/// A completion, as far as it came, and the events that tell of it.
#[derive(Default)]
pub struct Answer {
    max_items: usize,
    events: Vec<Event>,
    sequence_number: u64,
    /// How many items have begun.
    items: usize,
    speech: Option<Speech>,
    /// Spaces and line ends before anything was said: between thoughts and calls they are no
    /// message.
    blank: String,
    calls: Calls,
    call_items: Vec<CallItem>,
    finish_reason: Option<String>,
    usage: Value,
}

/// Where an item is.
struct Place {
    output_index: usize,
    id: String,
}

/// The item of a call.
struct CallItem {
    place: Place,
    call_id: String,
}

/// An item that is being spoken; it has one part.
struct Speech {
    kind: Kind,
    place: Place,
    text: String,
}

impl Answer {
    /// An answer of which nothing has come, and which may have that many items.
    pub fn up_to(max_items: usize) -> Self {
        Self {
            max_items,
            ..Self::default()
        }
    }

    /// Takes a chunk, or a whole completion. Returns whether nothing can follow, as after an error.
    ///
    /// # Errors
    /// [`Error::TooMany`] if there are more items than allowed.
    pub fn take(&mut self, chunk: &Map<String, Value>) -> Result<bool, Error> {
        let is_error = chunk.get("object") == Some(&"error".into());
        if is_error || chunk.get("error").is_some_and(|it| !it.is_null()) {
            self.end_items("incomplete");
            let error = failure(chunk);
            self.send(json!({"type": "error", "error": error}));
            return Ok(true);
        }
        if let Some(usage) = chunk.get("usage").filter(|it| it.is_object()) {
            self.usage = usage.clone();
        }
        // The last chunk of OpenAI and vLLM has the usage, and no choice.
        let Some(choice) = chunk.get("choices").and_then(|it| it.get(0)) else {
            return Ok(false);
        };
        let said = choice.get("delta").or_else(|| choice.get("message"));
        self.take_delta(said.unwrap_or(&Value::Null))?;
        let reason = choice["finish_reason"].as_str().unwrap_or_default();
        if !reason.is_empty() {
            self.finish_reason = Some(reason.to_owned());
        }
        Ok(false)
    }

    fn take_delta(&mut self, delta: &Value) -> Result<(), Error> {
        // vLLM has been sending the same thoughts under both names.
        let names = ["reasoning_content", "reasoning"];
        let thoughts = names.map(|name| text(&delta[name]));
        if let Some(thought) = thoughts.iter().find(|it| !it.is_empty()) {
            self.speak(Kind::Reasoning, thought)?;
        }
        self.speak(Kind::Text, &text(&delta["content"]))?;
        self.speak(Kind::Refusal, &text(&delta["refusal"]))?;
        let mut pieces = delta["tool_calls"].as_array().into_iter().flatten();
        pieces.try_for_each(|piece| self.take_call(piece))
    }

    /// How many bytes are kept of what is being said and asked for.
    pub fn size(&self) -> usize {
        let speech = self.speech.as_ref().map_or(0, |it| it.text.len());
        speech + self.blank.len() + self.calls.size()
    }

    /// Whether the model came to an end; the usage may follow.
    pub fn is_finished(&self) -> bool {
        self.finish_reason.is_some()
    }

    /// The events since they were last taken.
    pub fn events(&mut self) -> impl Iterator<Item = Event> + use<> {
        mem::take(&mut self.events).into_iter()
    }

    /// Ends all that has not ended, and the response with it.
    pub fn end(&mut self) {
        let incomplete_reason = match self.finish_reason.as_deref() {
            Some("length") => Some("max_output_tokens"),
            Some("content_filter") => Some("content_filter"),
            _ => None,
        };
        let status = incomplete_reason.map_or("completed", |_| "incomplete");
        self.end_items(status);
        let response = json!({
            "object": "response",
            "status": status,
            "incomplete_details": incomplete_reason.map(|reason| json!({"reason": reason})),
            // Every item was sent.
            "output": [],
            "usage": usage(&self.usage),
        });
        self.send(json!({"type": format!("response.{status}"), "response": response}));
    }

    fn end_items(&mut self, status: &str) {
        self.end_speech(status);
        for (index, item) in mem::take(&mut self.call_items).iter().enumerate() {
            self.end_call(index, item, status);
        }
    }

    fn speak(&mut self, kind: Kind, delta: &str) -> Result<(), Error> {
        if delta.is_empty() {
            return Ok(());
        }
        if self.speech.as_ref().is_none_or(|it| it.kind != kind) {
            if delta.trim().is_empty() {
                self.blank.push_str(delta);
                return Ok(());
            }
            let blank = mem::take(&mut self.blank);
            self.begin_speech(kind)?;
            self.say(&(blank + delta));
        } else {
            self.say(delta);
        }
        Ok(())
    }

    fn begin_speech(&mut self, kind: Kind) -> Result<(), Error> {
        self.end_speech("completed");
        let place = self.next_place(kind.id_prefix())?;
        self.add(&place, kind.item(&place.id, "in_progress", Vec::new()));
        self.tell_part("content_part.added", &place, json!({"part": kind.part("")}));
        self.speech = Some(Speech {
            kind,
            place,
            text: String::new(),
        });
        Ok(())
    }

    fn say(&mut self, delta: &str) {
        let Some(mut speech) = self.speech.take() else {
            return;
        };
        speech.text.push_str(delta);
        let kind = format!("{}.delta", speech.kind.name());
        let mut fields = json!({"delta": delta});
        if speech.kind == Kind::Text {
            fields["logprobs"] = json!([]);
        }
        self.tell_part(&kind, &speech.place, fields);
        self.speech = Some(speech);
    }

    fn end_speech(&mut self, status: &str) {
        self.blank.clear();
        let Some(Speech { kind, place, text }) = self.speech.take() else {
            return;
        };
        let part = kind.part(&text);
        let mut fields = json!({});
        fields[kind.field()] = text.into();
        if kind == Kind::Text {
            fields["logprobs"] = json!([]);
        }
        self.tell_part(&format!("{}.done", kind.name()), &place, fields);
        let mut fields = json!({});
        fields["part"] = part.clone();
        self.tell_part("content_part.done", &place, fields);
        self.done(&place, kind.item(&place.id, status, vec![part]));
    }

    fn take_call(&mut self, piece: &Value) -> Result<(), Error> {
        self.end_speech("completed");
        let added = self.calls.take(piece);
        if added.is_new {
            let place = self.next_place("fc")?;
            let call = CallItem {
                place,
                // The server's own need not be there, or be another one the next time.
                call_id: new_id("call"),
            };
            let name = &self.calls.get(added.call).name;
            let item = call.item(name, "", "in_progress");
            self.add(&call.place, item);
            self.call_items.push(call);
        }
        if !added.arguments.is_empty() {
            let fields = json!({"delta": added.arguments});
            let place = &self.call_items[added.call].place;
            let event = about("function_call_arguments.delta", place, fields);
            self.send(event);
        }
        Ok(())
    }

    fn end_call(&mut self, index: usize, item: &CallItem, status: &str) {
        let Call {
            name, arguments, ..
        } = self.calls.take_out(index);
        let kind = "function_call_arguments";
        // Some models write nothing where a function takes nothing.
        let arguments = if arguments.trim().is_empty() {
            let fields = json!({"delta": "{}"});
            self.send(about(&format!("{kind}.delta"), &item.place, fields));
            "{}".to_owned()
        } else {
            arguments
        };
        let fields = json!({"name": name, "arguments": arguments});
        self.send(about(&format!("{kind}.done"), &item.place, fields));
        self.done(&item.place, item.item(&name, &arguments, status));
    }

    fn next_place(&mut self, id_prefix: &str) -> Result<Place, Error> {
        if self.items == self.max_items {
            return Err(too_many_items(self.max_items));
        }
        self.items += 1;
        Ok(Place {
            output_index: self.items - 1,
            id: new_id(id_prefix),
        })
    }

    fn add(&mut self, place: &Place, item: Value) {
        let mut event = json!({"type": "response.output_item.added",
            "output_index": place.output_index});
        event["item"] = item;
        self.send(event);
    }

    fn done(&mut self, place: &Place, item: Value) {
        let mut event = json!({"type": "response.output_item.done",
            "output_index": place.output_index});
        event["item"] = item;
        self.send(event);
    }

    fn tell_part(&mut self, kind: &str, place: &Place, mut fields: Value) {
        fields["content_index"] = 0.into();
        self.send(about(kind, place, fields));
    }

    fn send(&mut self, mut event: Value) {
        event["sequence_number"] = self.sequence_number.into();
        self.sequence_number += 1;
        match event {
            Value::Object(event) => self.events.push(Event::read(&event)),
            _ => unreachable!("every event is an object"),
        }
    }
}

impl CallItem {
    fn item(&self, name: &str, arguments: &str, status: &str) -> Value {
        json!({"type": "function_call", "id": self.place.id, "call_id": self.call_id,
            "name": name, "arguments": arguments, "status": status})
    }
}

/// An event about the item at this place.
fn about(kind: &str, place: &Place, mut fields: Value) -> Value {
    fields["type"] = format!("response.{kind}").into();
    fields["output_index"] = place.output_index.into();
    fields["item_id"] = place.id.as_str().into();
    fields
}

/// An error of the stream. Servers say an HTTP status for a code, or none; a response that failed has
/// a code in words.
fn failure(chunk: &Map<String, Value>) -> ApiError {
    let error = ApiError::read(chunk);
    let in_words = |code: &String| code.parse::<u16>().is_err();
    let code = error.code.filter(in_words);
    ApiError {
        code: code.or_else(|| Some("server_error".to_owned())),
        ..error
    }
}

/// A text, or the texts of parts.
fn text(content: &Value) -> Cow<'_, str> {
    match content {
        Value::String(text) => text.into(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part["text"].as_str());
            texts.collect::<String>().into()
        }
        _ => "".into(),
    }
}

/// The usage as a response has it; nothing where the server does not say.
fn usage(usage: &Value) -> Value {
    if usage.is_null() {
        return Value::Null;
    }
    let tokens = |of: &Value| of.as_u64().unwrap_or(0);
    let input = tokens(&usage["prompt_tokens"]);
    let output = tokens(&usage["completion_tokens"]);
    json!({
        "input_tokens": input,
        "input_tokens_details": {
            "cached_tokens": tokens(&usage["prompt_tokens_details"]["cached_tokens"]),
            "cache_write_tokens": 0,
        },
        "output_tokens": output,
        "output_tokens_details": {
            "reasoning_tokens": tokens(&usage["completion_tokens_details"]["reasoning_tokens"]),
        },
        "total_tokens": input.saturating_add(output),
    })
}

/// `PREFIX_` and 48 hexadecimal digits of chance.
fn new_id(prefix: &str) -> String {
    let (first, second): (u128, u64) = (rand::random(), rand::random());
    format!("{prefix}_{first:032x}{second:016x}")
}
