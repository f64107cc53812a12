//! What is told of each request: for a log, and for a person who waits for a client to arrive.

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

/// A request that was answered, by what it said of itself. All of it comes from the client, but
/// nothing of it is a credential or says whose it was.
#[derive(Debug)]
pub struct Exchange {
    /// The method of MCP, such as `tools/call`, or that of HTTP where there was no message.
    pub method: String,
    /// The method is that of HTTP.
    pub is_http: bool,
    /// The path, without what follows a `?`.
    pub path: String,
    /// The tool that was called.
    pub tool: Option<String>,
    /// The name and the version of the client, if it told them.
    pub client: Option<String>,
    pub user_agent: Option<String>,
    /// `MCP-Protocol-Version`.
    pub protocol_version: Option<String>,
    pub status: StatusCode,
    pub duration: Duration,
}

/// Who is told.
#[derive(Clone)]
pub struct AccessLog(Arc<dyn Fn(&Exchange) + Send + Sync>);

impl AccessLog {
    pub fn new(tell: impl Fn(&Exchange) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Tells of every request to `router`, those that are refused included.
    pub fn watch(self, router: Router) -> Router {
        router.layer(from_fn_with_state(self, watch))
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessLog")
    }
}

/// That somebody watches: reading the message a second time is for them alone.
#[derive(Clone)]
struct Watched;

/// What the message of a request says, left on its answer.
#[derive(Clone)]
pub struct MessageSummary {
    method: String,
    tool: Option<String>,
    client: Option<String>,
}

impl MessageSummary {
    /// What the message says, if anybody wants to know.
    pub fn of(message: &Message<'_>, extensions: &Extensions) -> Option<Self> {
        extensions.get::<Watched>()?;
        let mut told = message.told();
        let method = message.method.as_deref().unwrap_or("response");
        let tool = told.name.take().filter(|_| method == "tools/call");
        Some(Self {
            tool: tool.as_deref().map(cut),
            client: told.client().as_deref().map(cut),
            method: cut(method),
        })
    }
}

async fn watch(State(watcher): State<AccessLog>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    request.extensions_mut().insert(Watched);
    let http_method = request.method().to_string();
    let path = cut(request.uri().path());
    let user_agent = text(request.headers(), USER_AGENT);
    let protocol_version = text(request.headers(), PROTOCOL_VERSION);
    let mut answer = next.run(request).await;
    let asked = answer.extensions_mut().remove::<MessageSummary>();
    let is_http = asked.is_none();
    let (method, tool, client) = match asked {
        Some(asked) => (asked.method, asked.tool, asked.client),
        None => (http_method, None, None),
    };
    (watcher.0)(&Exchange {
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

/// So much of a text that a line of a log stays one.
fn cut(text: &str) -> String {
    text.chars().take(120).collect()
}
