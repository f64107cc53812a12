//! Chat Completions at the stand-in: what it refuses, and the answers that it gives.

use regex::Regex;
use serde_json::{Value, json};

use super::Answer;

/// What OpenAI, Ollama, llama.cpp or vLLM refuses in a request.
pub fn assert_is_chat_request(request: &Value) {
    const FIELDS: [&str; 17] = [
        "model",
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "response_format",
        "reasoning_effort",
        "stream",
        "stream_options",
        "frequency_penalty",
        "presence_penalty",
        "safety_identifier",
        "user",
    ];
    for (field, value) in request.as_object().unwrap() {
        assert!(FIELDS.contains(&field.as_str()), "{field} is unknown");
        assert!(!value.is_null(), "{field} is null");
    }
    assert_is_chat(request["messages"].as_array().unwrap());
    let name = Regex::new("^[a-zA-Z0-9_-]{1,64}$").unwrap();
    let mut names = std::collections::HashSet::new();
    let tools = request.get("tools").map(|it| it.as_array().unwrap());
    for tool in tools.into_iter().flatten() {
        assert_eq!(tool["type"], "function");
        let function = tool["function"]["name"].as_str().unwrap();
        assert!(name.is_match(function), "{function}");
        assert!(names.insert(function), "{function} is there twice");
        assert_eq!(tool["function"]["parameters"]["type"], "object", "{tool}");
    }
    assert!(!names.is_empty() || (tools.is_none() && request.get("tool_choice").is_none()));
}

/// Every call has its result right behind the message that makes it, and there is no other result.
fn assert_is_chat(messages: &[Value]) {
    let mut waiting: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap();
        if role == "tool" {
            let id = message["tool_call_id"].as_str().unwrap();
            let call = waiting.iter().position(|it| *it == id);
            waiting.remove(call.unwrap_or_else(|| panic!("{id} has no call: {messages:#?}")));
            assert!(message["content"].is_string(), "{message}");
            continue;
        }
        assert!(waiting.is_empty(), "{waiting:?}: {messages:#?}");
        assert!(["system", "user", "assistant"].contains(&role), "{role}");
        assert!(role != "system" || index == 0, "{messages:#?}");
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let id = call["id"].as_str().unwrap();
            assert!(id.len() <= 40, "{id}");
            waiting.push(id);
            let arguments = call["function"]["arguments"].as_str().unwrap();
            let arguments: Value = serde_json::from_str(arguments).unwrap();
            assert!(arguments.is_object(), "{call}");
        }
        let has_calls = !waiting.is_empty();
        assert!(has_calls || !message["content"].is_null(), "{message}");
    }
    assert!(waiting.is_empty(), "{waiting:?}: {messages:#?}");
}

/// A chunk with this delta, and a `finish_reason` in the last.
pub fn chunk(delta: &Value, finish_reason: Option<&str>) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
           "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})
}

/// A stream of these chunks and `[DONE]`.
pub fn streamed_chunks(chunks: &[Value]) -> Answer {
    let body: String = chunks.iter().map(|it| format!("data: {it}\n\n")).collect();
    Answer::raw(200, "text/event-stream", &(body + "data: [DONE]\n\n"))
}

/// A completion with this message that was not streamed.
pub fn completion(message: &Value, finish_reason: &str) -> Answer {
    Answer::json(
        200,
        &json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}}),
    )
}
