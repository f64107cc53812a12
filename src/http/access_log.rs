//! The access log: what each request was, for a log and for a person who waits for a client.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::header::USER_AGENT;
use http::{Extensions, HeaderMap, HeaderName, StatusCode};

use super::headers::PROTOCOL_VERSION;
use super::message::Message;

/// A request that was answered, as it described itself. Everything but the status and the duration
/// comes from the client; none of it is a credential or identifies the caller.
#[derive(Debug)]
pub struct Exchange {
    /// The method of MCP, such as `tools/call`, or the method of HTTP if there was no message.
    pub method: String,
    /// `method` is one of HTTP.
    pub is_http: bool,
    /// The path, without the query.
    pub path: String,
    /// The tool that was called.
    pub tool: Option<String>,
    /// The name and the version of the client, if it sent them.
    pub client: Option<String>,
    pub user_agent: Option<String>,
    /// `MCP-Protocol-Version`.
    pub protocol_version: Option<String>,
    pub status: StatusCode,
    pub duration: Duration,
}

/// Calls a function with each exchange.
#[derive(Clone)]
pub struct AccessLog(Arc<dyn Fn(&Exchange) + Send + Sync>);

impl AccessLog {
    pub fn new(write: impl Fn(&Exchange) + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }

    /// Logs every request to `router`, rejected ones included.
    pub fn log(self, router: Router) -> Router {
        router.layer(from_fn_with_state(self, log))
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessLog")
    }
}

/// Marks a request that is logged: only for those are the parameters of the message read again.
#[derive(Clone)]
struct Logged;

/// What the message of a request says, which the endpoint leaves in the extensions of the answer.
#[derive(Clone)]
pub struct MessageSummary {
    method: String,
    tool: Option<String>,
    client: Option<String>,
}

impl MessageSummary {
    /// What the message says, if the request with these extensions is logged.
    pub fn for_log(message: &Message, extensions: &Extensions) -> Option<Self> {
        extensions.get::<Logged>()?;
        let mut described = message.described();
        let method = message.method.as_deref().unwrap_or("response");
        let tool = described.name.take().filter(|_| method == "tools/call");
        Some(Self {
            tool: tool.as_deref().map(cut),
            client: described.client().as_deref().map(cut),
            method: cut(method),
        })
    }
}

async fn log(State(access_log): State<AccessLog>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    request.extensions_mut().insert(Logged);
    let http_method = request.method().to_string();
    let path = cut(request.uri().path());
    let user_agent = text(request.headers(), USER_AGENT);
    let protocol_version = text(request.headers(), PROTOCOL_VERSION);
    let mut answer = next.run(request).await;
    let summary = answer.extensions_mut().remove::<MessageSummary>();
    let is_http = summary.is_none();
    let (method, tool, client) = match summary {
        Some(summary) => (summary.method, summary.tool, summary.client),
        None => (http_method, None, None),
    };
    (access_log.0)(&Exchange {
        method,
        is_http,
        path,
        tool,
        client,
        user_agent,
        protocol_version,
        status: answer.status(),
        duration: began.elapsed(),
    });
    answer
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(cut)
}

/// The start of a text, so that a line of the log stays short.
fn cut(text: &str) -> String {
    text.chars().take(120).collect()
}
