//! `Mcp`: a stand-in for an MCP server before 2026-07-28, healthy but for what a test says.

use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use super::Server;

/// What a test has a server answer; with none, the answer is that of a healthy one.
type Fault = dyn Fn(&Asked) -> Option<Response> + Send + Sync;

/// One request, as it came.
#[derive(Clone)]
pub struct Asked {
    /// The method of MCP, or that of HTTP where there is no message.
    pub method: String,
    pub session: Option<String>,
    pub headers: HeaderMap,
    pub message: Value,
}

/// The server, until it is dropped.
pub struct Mcp {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    _server: Server,
}

#[derive(Clone)]
struct Shared {
    fault: Arc<Fault>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Mcp {
    pub fn start(fault: impl Fn(&Asked) -> Option<Response> + Send + Sync + 'static) -> Self {
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let shared = Shared {
            fault: Arc::new(fault),
            asked: Arc::clone(&asked),
        };
        let router = Router::new().route("/mcp", any(answer)).with_state(shared);
        let server = super::http_server(router);
        Self {
            url: format!("{}/mcp", server.url),
            asked,
            _server: server,
        }
    }

    /// A server that does this when it is asked for `method`.
    pub fn failing(
        method: &'static str,
        fault: impl Fn(&Asked) -> Response + Send + Sync + 'static,
    ) -> Self {
        Self::start(move |asked| (asked.method == method).then(|| fault(asked)))
    }

    /// The requests so far for `method`.
    pub fn asked(&self, method: &str) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|it| it.method == method)
            .cloned()
            .collect()
    }
}

impl Asked {
    /// What a healthy server answers, if this is a request.
    pub fn healthy(&self) -> Option<Value> {
        let result = match self.method.as_str() {
            "initialize" => json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                "serverInfo": {"name": "stand-in", "version": "1"}}),
            "tools/list" => json!({"tools": [roll_dice()]}),
            "tools/call" => json!({"content": [{"type": "text", "text": "[4]"}]}),
            _ if self.message["id"].is_null() => return None,
            _ => {
                let error = json!({"code": -32601, "message": "Method not found"});
                return Some(self.fields(&json!({"error": error})));
            }
        };
        Some(self.fields(&json!({"result": result})))
    }

    /// The answer with this result.
    pub fn result(&self, result: &Value) -> Response {
        self.message(&json!({"result": result}))
    }

    /// The answer with this error.
    pub fn error(&self, code: i64, message: &str) -> Response {
        self.message(&json!({"error": {"code": code, "message": message}}))
    }

    /// An answer with these fields next to `jsonrpc` and `id`.
    pub fn message(&self, fields: &Value) -> Response {
        Json(self.fields(fields)).into_response()
    }

    pub fn fields(&self, fields: &Value) -> Value {
        let mut message = json!({"jsonrpc": "2.0", "id": self.message["id"]});
        let fields = fields.as_object().unwrap().clone();
        message.as_object_mut().unwrap().extend(fields);
        message
    }
}

/// A stream of events with this body.
pub fn event_stream(body: impl Into<Body>) -> Response {
    ([("content-type", "text/event-stream")], body.into()).into_response()
}

/// The tool of a healthy server.
pub fn roll_dice() -> Value {
    json!({"name": "roll_dice", "description": "Roll dice", "inputSchema":
        {"type": "object", "properties": {"n_dice": {"type": "integer"}}, "required": ["n_dice"]}})
}

async fn answer(
    State(shared): State<Shared>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let session = headers.get("mcp-session-id");
    let asked = Asked {
        method: message["method"]
            .as_str()
            .unwrap_or(method.as_str())
            .to_owned(),
        session: session.map(|it| it.to_str().unwrap().to_owned()),
        headers,
        message,
    };
    shared.asked.lock().unwrap().push(asked.clone());
    (shared.fault)(&asked).unwrap_or_else(|| healthy(&asked))
}

fn healthy(asked: &Asked) -> Response {
    match asked.healthy() {
        Some(answer) => Json(answer).into_response(),
        None => StatusCode::ACCEPTED.into_response(),
    }
}
