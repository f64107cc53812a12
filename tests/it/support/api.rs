//! `Api`: a stand-in for an endpoint of the Responses API. It answers from fixtures, keeps the
//! requests, and fails those that OpenAI would not take.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use mcp_cli::http::ServerOptions;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::chat_api::assert_is_chat_request;
use super::contract::assert_is_request;
use super::fixture;

/// The key that the stand-in takes.
pub const KEY: &str = "sk-test-canary";

pub struct Api {
    pub base_url: String,
    requests: Arc<Mutex<Vec<Value>>>,
    stop: CancellationToken,
}

/// One answer of the stand-in.
#[derive(Clone)]
pub struct Answer {
    status: u16,
    content_type: &'static str,
    header: Option<(&'static str, &'static str)>,
    body: Vec<u8>,
}

impl Answer {
    /// A recorded stream or response, by its file's name.
    pub fn recorded(name: &str) -> Self {
        Self {
            status: 200,
            content_type: if name.ends_with(".sse") {
                "text/event-stream; charset=utf-8"
            } else {
                "application/json"
            },
            header: None,
            body: std::fs::read(fixture("recordings").join(name)).unwrap(),
        }
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            content_type: "application/json",
            header: None,
            body: body.to_string().into_bytes(),
        }
    }

    /// A stream that tells of these items and completes.
    pub fn streamed(output: &Value) -> Self {
        let mut events =
            vec![json!({"type": "response.created", "response": response(&json!([]))})];
        for (index, item) in output.as_array().unwrap().iter().enumerate() {
            events.extend(super::contract::events_of(index, item));
        }
        events.push(json!({"type": "response.completed", "response": response(output)}));
        let mut body = String::new();
        for (number, mut event) in events.into_iter().enumerate() {
            event["sequence_number"] = number.into();
            super::contract::assert_is_event(&event);
            let kind = event["type"].as_str().unwrap();
            body.push_str(&format!("event: {kind}\ndata: {event}\n\n"));
        }
        Self::raw(200, "text/event-stream; charset=utf-8", &body)
    }

    /// A response of these items, whole.
    pub fn whole(output: &Value) -> Self {
        Self::json(200, &response(output))
    }

    /// With another header.
    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    pub fn raw(status: u16, content_type: &'static str, body: &str) -> Self {
        Self {
            status,
            content_type,
            header: None,
            body: body.as_bytes().to_vec(),
        }
    }
}

/// A completed response of these items, which took 12 tokens.
fn response(output: &Value) -> Value {
    let recorded = "recordings/dotnet-MCPToolWorks.1.response.json";
    let mut response = super::json(recorded);
    response["output"] = output.clone();
    response["usage"] = json!({"input_tokens": 7, "input_tokens_details":
        {"cached_tokens": 3, "cache_write_tokens": 0}, "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 12});
    response
}

#[derive(Clone)]
struct Shared {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    requests: Arc<Mutex<Vec<Value>>>,
}

impl Api {
    /// Starts a stand-in that gives these answers, one a request.
    pub fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let shared = Shared {
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            requests: Arc::default(),
        };
        let requests = Arc::clone(&shared.requests);
        let router = Router::new()
            .route("/v1/responses", post(responses))
            .route("/v1/chat/completions", post(chat_completions))
            .with_state(shared);
        let (address, stop) = super::servers::start(router, ServerOptions::default());
        Self {
            base_url: format!("http://{address}/v1"),
            requests,
            stop,
        }
    }

    /// The bodies of the requests so far.
    pub fn requests(&self) -> Vec<Value> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What the API refuses beyond the schema: a call without a result or the other way round, reasoning
/// without what it led to, a function without properties.
fn assert_is_conversation(request: &Value) {
    let none = Vec::new();
    let input = request["input"].as_array().unwrap_or(&none);
    let of_type = |kind: &str| -> Vec<&Value> {
        let items = input.iter().filter(|item| item["type"] == kind);
        let mut ids: Vec<&Value> = items.map(|item| &item["call_id"]).collect();
        ids.sort_by_key(|id| id.as_str());
        ids
    };
    assert_eq!(
        of_type("function_call"),
        of_type("function_call_output"),
        "{request:#}"
    );
    for (index, item) in input.iter().enumerate() {
        let next = &input.get(index + 1).unwrap_or(&Value::Null);
        let leads_somewhere = next["role"] == "assistant"
            || matches!(
                next["type"].as_str(),
                Some("function_call" | "mcp_call" | "mcp_approval_request")
            );
        assert!(
            item["type"] != "reasoning" || leads_somewhere,
            "{request:#}"
        );
    }
    for tool in request["tools"].as_array().unwrap_or(&none) {
        let parameters = &tool["parameters"];
        assert!(
            tool["type"] != "function" || parameters["properties"].is_object(),
            "{tool}"
        );
    }
}

async fn responses(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    answer(&shared, &headers, &body, |request| {
        assert_is_request(request);
        assert_is_conversation(request);
    })
}

async fn chat_completions(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(&shared, &headers, &body, assert_is_chat_request)
}

fn answer(shared: &Shared, headers: &HeaderMap, body: &[u8], check: fn(&Value)) -> Response {
    if headers.get("authorization").map(|it| it.as_bytes())
        != Some(format!("Bearer {KEY}").as_bytes())
    {
        let body = json!({"error": {"message": "Incorrect API key provided.", "type": "invalid_request_error",
            "param": null, "code": "invalid_api_key"}});
        return (StatusCode::UNAUTHORIZED, body.to_string()).into_response();
    }
    assert_eq!(headers["content-type"], "application/json");
    let request: Value = serde_json::from_slice(body).unwrap();
    check(&request);
    shared.requests.lock().unwrap().push(request);
    let answer = shared.answers.lock().unwrap().pop_front();
    let answer = answer.unwrap_or_else(|| {
        Answer::json(500, &json!({"error": {"message": "one request too many"}}))
    });
    let status = StatusCode::from_u16(answer.status).unwrap();
    let headers = [
        ("content-type", answer.content_type),
        ("x-request-id", "req_1"),
    ];
    let mut response = (status, headers, answer.body).into_response();
    if let Some((name, value)) = answer.header {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}
