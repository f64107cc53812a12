//! The request: `CreateResponse` as `CreateChatCompletion`.

use serde_json::{Map, Value, json};

use super::messages::messages;
use crate::responses::{CreateResponse, ToolChoice, ToolEntry};

/// The fields that have the same name and meaning in both APIs.
const SHARED: [&str; 7] = [
    "frequency_penalty",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "user",
];

/// What `max_output_tokens` is called. No name is known to all: Ollama passes over the new one, and
/// the reasoning models of OpenAI refuse the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    MaxTokens,
    MaxCompletionTokens,
}

impl Limit {
    /// The name of the field.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// The body of `POST /chat/completions` that asks what `request` asks. Function tools go with it;
/// other tools, and all else that Chat Completions does not know, are left out.
pub fn body(request: &CreateResponse, limit: Limit) -> Map<String, Value> {
    let tools: Vec<Value> = request.tools.iter().flatten().filter_map(tool).collect();
    let reasoning = request.rest.get("reasoning").unwrap_or(&Value::Null);
    let text = request.rest.get("text").unwrap_or(&Value::Null);
    let mut body = object(json!({
        "model": request.model,
        "messages": messages(request),
        limit.name(): request.max_output_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "reasoning_effort": reasoning["effort"],
        "response_format": response_format(&text["format"]),
        "stream": request.stream,
    }));
    if request.stream == Some(true) {
        body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    // OpenAI refuses both where there are no tools.
    if !tools.is_empty() {
        let tool_choice = request.tool_choice.as_ref().and_then(tool_choice);
        body.insert("tools".to_owned(), tools.into());
        body.insert("tool_choice".to_owned(), json!(tool_choice));
        body.insert(
            "parallel_tool_calls".to_owned(),
            json!(request.parallel_tool_calls),
        );
    }
    for field in SHARED {
        let value = request.rest.get(field).unwrap_or(&Value::Null);
        body.insert(field.to_owned(), value.clone());
    }
    without_nulls(body)
}

fn tool(entry: &ToolEntry) -> Option<Value> {
    let ToolEntry::Other(fields) = entry else {
        return None;
    };
    let is_function = fields.get("type") == Some(&"function".into());
    is_function.then(|| {
        let function = ["name", "description", "parameters", "strict"]
            .into_iter()
            .filter_map(|field| Some((field.to_owned(), fields.get(field)?.clone())));
        json!({"type": "function", "function": without_nulls(function.collect())})
    })
}

fn tool_choice(choice: &ToolChoice) -> Option<Value> {
    match choice {
        ToolChoice::Mode(mode) => Some(json!(mode)),
        ToolChoice::Other(choice) if choice["type"] == "function" => {
            Some(json!({"type": "function", "function": {"name": choice["name"]}}))
        }
        // Of a tool that did not go with the request.
        ToolChoice::Mcp(_) | ToolChoice::AllowedTools(_) | ToolChoice::Other(_) => None,
    }
}

/// `text.format`: Chat Completions has what belongs to a schema one level further down.
fn response_format(format: &Value) -> Value {
    match format["type"].as_str() {
        Some("json_schema") => {
            let mut schema = object(format.clone());
            schema.shift_remove("type");
            json!({"type": "json_schema", "json_schema": without_nulls(schema)})
        }
        Some("json_object") => format.clone(),
        _ => Value::Null,
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn without_nulls(mut object: Map<String, Value>) -> Map<String, Value> {
    object.retain(|_, value| !value.is_null());
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(request: Value) -> Value {
        let request = serde_json::from_value(request).unwrap();
        Value::Object(body(&request, Limit::MaxTokens))
    }

    #[test]
    fn a_request_says_in_chat_what_it_said_in_responses() {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
        let body = body_of(json!({
            "model": "m", "input": "Roll", "instructions": "Be brief", "max_output_tokens": 9,
            "temperature": 0.5, "top_p": 0.9, "stream": true, "parallel_tool_calls": false,
            "metadata": {"a": "b"}, "store": false, "include": ["reasoning.encrypted_content"],
            "truncation": "auto", "user": "u", "service_tier": null, "frequency_penalty": 0.1,
            "reasoning": {"effort": "low", "summary": "auto"},
            "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "dice",
                "schema": schema, "strict": true, "description": null}},
            "tools": [{"type": "function", "name": "f", "description": null, "parameters": schema,
                       "strict": false}, {"type": "web_search"}],
            "tool_choice": {"type": "function", "name": "f"},
        }));
        assert_eq!(
            body,
            json!({
                "model": "m",
                "messages": [{"role": "system", "content": "Be brief"},
                             {"role": "user", "content": "Roll"}],
                "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "reasoning_effort": "low",
                "response_format": {"type": "json_schema", "json_schema": {
                    "name": "dice", "schema": schema, "strict": true}},
                "stream": true, "stream_options": {"include_usage": true},
                "tools": [{"type": "function", "function": {
                    "name": "f", "parameters": schema, "strict": false}}],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
                "parallel_tool_calls": false, "frequency_penalty": 0.1, "user": "u",
            })
        );
    }

    #[test]
    fn what_goes_only_with_tools_is_not_said_without_them() {
        let body = body_of(json!({
            "input": "Hello", "tools": [{"type": "web_search"}], "tool_choice": "required",
            "parallel_tool_calls": true, "text": {"format": {"type": "text"}},
        }));
        assert_eq!(
            body,
            json!({"messages": [{"role": "user", "content": "Hello"}]})
        );
    }
}
