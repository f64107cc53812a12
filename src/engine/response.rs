//! The response object of the engine, with the keys that OpenAI was recorded with.

use std::io;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::redact;
use crate::responses::{ApiError, CreateResponse, Item, Response, Status};

/// The response while it is made: what it says of its request, and of itself before it has an end.
pub struct Draft {
    response: Response,
}

/// How many tokens a turn took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    pub input_tokens: u64,
    /// Of them, those that the model had seen before.
    pub cached_tokens: u64,
    pub cache_write_tokens: u64,
    pub output_tokens: u64,
    /// The reasoning tokens among them.
    pub reasoning_tokens: u64,
}

impl Usage {
    /// What a response says that it took; what it does not say is nothing.
    pub fn of(response: &Response) -> Self {
        let usage = response.get("usage").unwrap_or(&Value::Null);
        let tokens = |of: &Value| of.as_u64().unwrap_or(0);
        let input = &usage["input_tokens_details"];
        Self {
            input_tokens: tokens(&usage["input_tokens"]),
            cached_tokens: tokens(&input["cached_tokens"]),
            cache_write_tokens: tokens(&input["cache_write_tokens"]),
            output_tokens: tokens(&usage["output_tokens"]),
            reasoning_tokens: tokens(&usage["output_tokens_details"]["reasoning_tokens"]),
        }
    }

    fn object(self) -> Value {
        json!({
            "input_tokens": self.input_tokens,
            "input_tokens_details": {
                "cached_tokens": self.cached_tokens,
                "cache_write_tokens": self.cache_write_tokens,
            },
            "output_tokens": self.output_tokens,
            "output_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
            "total_tokens": self.input_tokens.saturating_add(self.output_tokens),
        })
    }
}

impl std::ops::Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            cached_tokens: self.cached_tokens.saturating_add(other.cached_tokens),
            cache_write_tokens: self
                .cache_write_tokens
                .saturating_add(other.cache_write_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            reasoning_tokens: self.reasoning_tokens.saturating_add(other.reasoning_tokens),
        }
    }
}

impl Draft {
    /// A draft of the answer to `request` under `id`, created at `now` in seconds since 1970; `model`
    /// is named where the request names none.
    pub fn new(request: &CreateResponse, model: &str, id: &str, now: u64) -> Self {
        let given = |field: &str, default: Value| match request.rest.get(field) {
            None | Some(Value::Null) => default,
            Some(value) => value.clone(),
        };
        // An object of which only some fields are given has the others all the same.
        let completed = |field: &str, mut default: Value| {
            if let (Some(Value::Object(given)), Some(fields)) =
                (request.rest.get(field), default.as_object_mut())
            {
                fields.extend(given.clone());
            }
            default
        };
        let tools: Vec<Value> = request.tools.iter().flatten().map(redact::echo).collect();
        let is_background = request.is_background();
        let status = match is_background {
            true => Status::Queued,
            false => Status::InProgress,
        };
        let tool_choice = request.tool_choice.as_ref();
        let metadata = request.metadata.as_ref();
        let fields = [
            ("id", id.into()),
            ("object", "response".into()),
            ("created_at", now.into()),
            ("status", json!(status)),
            ("background", is_background.into()),
            ("billing", json!({"payer": "developer"})),
            ("completed_at", Value::Null),
            ("error", Value::Null),
            ("frequency_penalty", given("frequency_penalty", 0.0.into())),
            ("incomplete_details", Value::Null),
            ("instructions", json!(request.instructions)),
            ("max_output_tokens", json!(request.max_output_tokens)),
            ("max_tool_calls", json!(request.max_tool_calls)),
            ("model", request.model.as_deref().unwrap_or(model).into()),
            ("moderation", Value::Null),
            ("output", Value::Array(Vec::new())),
            (
                "parallel_tool_calls",
                request.parallel_tool_calls.unwrap_or(true).into(),
            ),
            ("presence_penalty", given("presence_penalty", 0.0.into())),
            ("previous_response_id", json!(request.previous_response_id)),
            ("prompt_cache_key", given("prompt_cache_key", Value::Null)),
            (
                "prompt_cache_retention",
                given("prompt_cache_retention", Value::Null),
            ),
            (
                "reasoning",
                completed(
                    "reasoning",
                    json!({"context": null, "effort": null, "summary": null}),
                ),
            ),
            ("safety_identifier", given("safety_identifier", Value::Null)),
            ("service_tier", given("service_tier", "auto".into())),
            ("store", request.store.unwrap_or(true).into()),
            ("temperature", json!(request.temperature.unwrap_or(1.0))),
            (
                "text",
                completed(
                    "text",
                    json!({"format": {"type": "text"}, "verbosity": "medium"}),
                ),
            ),
            (
                "tool_choice",
                tool_choice.map_or_else(|| "auto".into(), |it| json!(it)),
            ),
            ("tools", Value::Array(tools)),
            ("top_logprobs", given("top_logprobs", 0.into())),
            ("top_p", json!(request.top_p.unwrap_or(1.0))),
            ("truncation", given("truncation", "disabled".into())),
            ("usage", Value::Null),
            ("user", given("user", Value::Null)),
            (
                "metadata",
                metadata.map_or_else(|| json!({}), |it| json!(it)),
            ),
        ];
        let mut object = Map::with_capacity(fields.len());
        object.extend(fields.map(|(name, value): (&str, Value)| (name.to_owned(), value)));
        // A streamed response does not say who pays (recorded).
        if request.stream == Some(true) {
            object.shift_remove("billing");
        }
        Self {
            response: Response::new(object),
        }
    }

    /// Whether the response is made whether or not anybody waits for it.
    pub fn is_background(&self) -> bool {
        self.response.is_background()
    }

    /// The response as the first event has it.
    pub fn begun(&self) -> Response {
        self.response.clone()
    }

    /// The response that is being made.
    pub fn in_progress(&self) -> Response {
        let status = json!(Status::InProgress);
        self.response.with([("status", status)], Vec::new())
    }

    /// The response with all its output, as it ends at `now`, in seconds since 1970.
    pub fn ended(&self, output: Vec<Arc<Item>>, end: &End, now: u64) -> Response {
        // While it was made, this was the tier that was asked for.
        let service_tier = ("service_tier", json!("default"));
        match end {
            End::Completed(usage) => {
                let fields = [
                    ("status", json!(Status::Completed)),
                    ("completed_at", now.into()),
                    ("usage", usage.object()),
                    service_tier,
                ];
                self.response.with(fields, output)
            }
            End::Incomplete { reason, usage } => {
                let fields = [
                    ("status", json!(Status::Incomplete)),
                    ("incomplete_details", json!({"reason": reason})),
                    ("usage", usage.object()),
                    service_tier,
                ];
                self.response.with(fields, output)
            }
            End::Failed(error) => {
                let code = code_of_response(error.code.as_deref());
                let fields = [
                    ("status", json!(Status::Failed)),
                    ("error", json!({"code": code, "message": error.message})),
                    service_tier,
                ];
                self.response.with(fields, output)
            }
        }
    }
}

/// How a response ends.
#[derive(Debug)]
pub enum End {
    Completed(Usage),
    /// It is cut short, for a reason such as `max_output_tokens`.
    Incomplete {
        reason: Option<String>,
        usage: Usage,
    },
    Failed(ApiError),
}

/// The code of a failed response is one of a list, which `http_error` is not on (Responses API,
/// ResponseErrorCode): that stands in the `error` event alone.
fn code_of_response(code: Option<&str>) -> &str {
    match code {
        None | Some("http_error") => "server_error",
        Some(code) => code,
    }
}

/// How many tokens a request has, with all that was said before it.
pub fn input_tokens(request: &CreateResponse, context: &[Item]) -> u64 {
    let instructions = request.instructions.as_deref().unwrap_or_default();
    tokens_of(context) + tokens(instructions.len())
}

/// How many tokens items are.
pub fn tokens_of(items: &[impl Serialize]) -> u64 {
    let mut length = Length(0);
    // What is counted is the length alone; a conversation can be long.
    match serde_json::to_writer(&mut length, items) {
        Ok(()) => tokens(length.0),
        Err(_) => 0,
    }
}

/// How many bytes were written.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// There is no tokenizer here: four bytes count as a token.
fn tokens(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}
