//! The conversation: items as messages.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use crate::responses::{Content, CreateResponse, Item, Message, Role};

/// The messages that say what the instructions and the input of `request` say. Each call is
/// followed by what came of it, and calls in a row are of one message.
pub fn messages(request: &CreateResponse) -> Vec<Value> {
    let items = request.input.clone().into_items();
    let mut messages = Messages {
        outputs: items.iter().filter_map(output).collect(),
        ..Messages::default()
    };
    if let Some(instructions) = &request.instructions {
        messages.system(instructions);
    }
    for item in &items {
        match item {
            Item::Message(message) => messages.message(message),
            Item::Other(fields) => match fields.get("type").and_then(Value::as_str) {
                Some("function_call") => messages.calls.push(fields),
                // It stands behind its call.
                Some("function_call_output") => {}
                // Of reasoning there is no field that all servers take; other items have no
                // message that would say them.
                _ => messages.end_calls(),
            },
            // No tool of a server is known upstream by another form than a function.
            Item::McpListTools(_)
            | Item::McpCall(_)
            | Item::McpApprovalRequest(_)
            | Item::McpApprovalResponse(_) => {}
        }
    }
    messages.end_calls();
    messages.said
}

#[derive(Default)]
struct Messages<'a> {
    said: Vec<Value>,
    /// The calls that are to be of one message.
    calls: Vec<&'a Map<String, Value>>,
    /// What came of the calls, by `call_id`.
    outputs: HashMap<&'a str, &'a Value>,
    /// How many calls were said.
    count: usize,
}

impl<'a> Messages<'a> {
    fn message(&mut self, message: &Message) {
        self.end_calls();
        match &message.role {
            // Only OpenAI knows developers.
            Role::System | Role::Developer => self.system(&message.text()),
            Role::Assistant => {
                let refusal = || message.refusal().unwrap_or_default();
                let text = Some(message.text()).filter(|text| !text.is_empty());
                let content = text.unwrap_or_else(refusal);
                self.said
                    .push(json!({"role": "assistant", "content": content}));
            }
            role => {
                let content = content(message);
                self.said.push(json!({"role": role, "content": content}));
            }
        }
    }

    /// Many chat templates take one system message, and only at the beginning.
    fn system(&mut self, text: &str) {
        if let Some(last) = self.said.last_mut().filter(|it| it["role"] == "system")
            && let Some(before) = last["content"].as_str()
        {
            last["content"] = format!("{before}\n\n{text}").into();
            return;
        }
        self.said.push(json!({"role": "system", "content": text}));
    }

    fn end_calls(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let mut tool_calls = Vec::new();
        let mut results = Vec::new();
        for call in std::mem::take(&mut self.calls) {
            self.count += 1;
            // Nine letters and digits are what the templates of Mistral demand, and nobody refuses;
            // OpenAI takes no more than 40 characters.
            let id = format!("call{:05}", self.count);
            let text = |field| call.get(field).and_then(Value::as_str).unwrap_or_default();
            tool_calls.push(json!({"id": id, "type": "function", "function": {
                "name": text("name"), "arguments": arguments(text("arguments"))}}));
            if let Some(output) = self.outputs.get(text("call_id")) {
                let content = output_text(output);
                results.push(json!({"role": "tool", "tool_call_id": id, "content": content}));
            }
        }
        // What the model said before it called is of the same message.
        match self.said.last_mut() {
            Some(last) if last["role"] == "assistant" && last.get("tool_calls").is_none() => {
                last["tool_calls"] = tool_calls.into();
            }
            _ => self
                .said
                .push(json!({"role": "assistant", "content": null, "tool_calls": tool_calls})),
        }
        self.said.extend(results);
    }
}

fn output(item: &Item) -> Option<(&str, &Value)> {
    match item {
        Item::Other(fields) if fields.get("type") == Some(&"function_call_output".into()) => {
            Some((fields.get("call_id")?.as_str()?, fields.get("output")?))
        }
        _ => None,
    }
}

/// Servers read the arguments of past calls again, and refuse a request over any that are not an
/// object. What came of such a call says that they were none.
fn arguments(text: &str) -> &str {
    match serde_json::from_str::<Object>(text) {
        Ok(Object) => text,
        Err(_) => "{}",
    }
}

/// An object of JSON, of which nothing is kept.
struct Object;

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Object, A::Error> {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Object)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// A text, or the texts among the parts: a tool message has no other.
fn output_text(output: &Value) -> String {
    match output {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect(),
        other => other.to_string(),
    }
}

/// Text alone is a string, for not every server takes it in parts.
fn content(message: &Message) -> Value {
    match &message.content {
        Content::Parts(parts) if parts.iter().any(|part| !is_text(part)) => {
            parts.iter().map(part).collect()
        }
        _ => message.text().into(),
    }
}

fn is_text(part: &Value) -> bool {
    matches!(part["type"].as_str(), Some("input_text" | "output_text"))
}

fn part(part: &Value) -> Value {
    match part["type"].as_str() {
        Some("input_text" | "output_text") => json!({"type": "text", "text": part["text"]}),
        Some("input_image") if part["image_url"].is_string() => {
            let mut image = json!({"url": part["image_url"]});
            if part["detail"].is_string() {
                image["detail"] = part["detail"].clone();
            }
            json!({"type": "image_url", "image_url": image})
        }
        Some("input_file") => {
            let fields = ["filename", "file_data", "file_id"].into_iter();
            let file =
                fields.filter_map(|field| Some((field.to_owned(), part.get(field)?.clone())));
            json!({"type": "file", "file": file.collect::<Map<_, _>>()})
        }
        // What Chat Completions may not know either, its server refuses; it is not for us to drop.
        _ => part.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages_of(input: &Value) -> Value {
        let request = serde_json::from_value(json!({"input": input})).unwrap();
        messages(&request).into()
    }

    fn call(id: &str, arguments: &str) -> Value {
        json!({"type": "function_call", "call_id": id, "name": "f", "arguments": arguments})
    }

    fn output_of(id: &str, output: &str) -> Value {
        json!({"type": "function_call_output", "call_id": id, "output": output})
    }

    fn called(id: &str, arguments: &str) -> Value {
        json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}})
    }

    #[test]
    fn calls_are_of_one_message_with_what_was_said_before_and_their_results_behind() {
        let long = "x".repeat(60);
        let said = messages_of(&json!([
            {"role": "user", "content": "Roll"},
            {"role": "assistant", "content": [{"type": "output_text", "text": "Rolling."}]},
            call(&long, r#"{"n":1}"#),
            call("own", "nonsense"),
            output_of(&long, "4"),
            {"role": "user", "content": "Well?"},
            output_of("own", "5"),
            {"type": "reasoning", "id": "rs_1", "summary": []},
            call("next", ""),
            {"type": "function_call_output", "call_id": "next", "output":
             [{"type": "input_text", "text": "6"}, {"type": "input_text", "text": "7"}]},
        ]));
        assert_eq!(
            said,
            json!([
                {"role": "user", "content": "Roll"},
                {"role": "assistant", "content": "Rolling.", "tool_calls":
                 [called("call00001", r#"{"n":1}"#), called("call00002", "{}")]},
                {"role": "tool", "tool_call_id": "call00001", "content": "4"},
                {"role": "tool", "tool_call_id": "call00002", "content": "5"},
                {"role": "user", "content": "Well?"},
                {"role": "assistant", "content": null, "tool_calls": [called("call00003", "{}")]},
                {"role": "tool", "tool_call_id": "call00003", "content": "67"},
            ])
        );
    }

    #[test]
    fn developers_are_the_system_and_images_are_parts() {
        let said = messages_of(&json!([
            {"role": "system", "content": "Be brief"},
            {"role": "developer", "content": [{"type": "input_text", "text": "Be kind"}]},
            {"role": "user", "content": [{"type": "input_text", "text": "What"},
                                         {"type": "input_text", "text": " now?"}]},
            {"role": "user", "content": [
                {"type": "input_text", "text": "Look"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
                {"type": "input_image", "file_id": "file_1"}]},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        ]));
        assert_eq!(
            said,
            json!([
                {"role": "system", "content": "Be brief\n\nBe kind"},
                {"role": "user", "content": "What now?"},
                {"role": "user", "content": [
                    {"type": "text", "text": "Look"},
                    {"type": "image_url",
                     "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
                    {"type": "input_image", "file_id": "file_1"}]},
                {"role": "assistant", "content": "No."},
            ])
        );
    }
}
