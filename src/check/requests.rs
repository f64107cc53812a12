//! `Requests`: requests as the connector makes them, but for the one thing that a step looks at.

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use url::Url;

use super::shown;
use super::variations::told;
use crate::mcp::{self, OnWire, Probe, ProbeResult, Request, WireEvent};

/// The versions of MCP that are asked for, as `mcp::ClientPool` does.
pub const MODERN: &str = "2026-07-28";
pub const LEGACY: &str = "2025-11-25";

pub const BOTH_FORMS: &str = "application/json, text/event-stream";
const EVENT_STREAM: &str = "text/event-stream";

/// The timeout of a request that varies the connector's.
const SIDE_LIMIT: Duration = Duration::from_secs(5);

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");

/// A message, and the version of MCP that its header names.
#[derive(Debug, Clone)]
pub struct Message {
    method: &'static str,
    params: Value,
    version: Option<HeaderValue>,
}

impl Message {
    /// MCP 2026-07-28, lifecycle.
    pub fn discover() -> Self {
        let params = json!({"_meta": {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": client_info(),
            "io.modelcontextprotocol/clientCapabilities": {},
        }});
        Self {
            method: "server/discover",
            params,
            version: Some(HeaderValue::from_static(MODERN)),
        }
    }

    /// MCP 2025-11-25, lifecycle.
    pub fn initialize() -> Self {
        let params =
            json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client_info()});
        Self {
            method: "initialize",
            params,
            version: None,
        }
    }

    /// MCP 2025-11-25, tools/list, of a server that answered `initialize` with this version.
    pub fn list_tools(version: &str) -> Self {
        Self {
            method: "tools/list",
            params: json!({}),
            version: HeaderValue::try_from(version).ok(),
        }
    }

    fn body(&self) -> Value {
        json!({"jsonrpc": "2.0", "id": 1, "method": self.method, "params": self.params})
    }
}

fn client_info() -> Value {
    json!({"name": "mcp-cli", "version": env!("CARGO_PKG_VERSION")})
}

/// Asks one server.
pub struct Requests {
    probe: Probe,
    url: Url,
    /// What the server is shown, credentials included.
    given: HeaderMap,
    limit: Duration,
    server: mcp::Server,
    on_wire: Option<OnWire>,
}

/// A request without its message.
#[derive(Debug, Clone)]
pub struct Form {
    pub url: Url,
    pub headers: HeaderMap,
    pub accept: &'static str,
    pub host: Option<&'static str>,
    /// How long the answer may take.
    pub limit: Duration,
}

impl Requests {
    /// Asks the server at `url`; the answers that all depends on may take as long as `limit`.
    pub fn new(
        url: &Url,
        server: &mcp::Server,
        limit: Duration,
        on_wire: Option<OnWire>,
    ) -> Result<Self, mcp::Error> {
        let mut given = server.headers.clone();
        let authorization = server.credential.authorization().cloned();
        given.extend(authorization.map(|value| (AUTHORIZATION, value)));
        Ok(Self {
            probe: Probe::new(url)?,
            url: url.clone(),
            given,
            limit,
            server: server.clone(),
            on_wire: on_wire.filter(|it| it.exchanges),
        })
    }

    /// The form that all depends on: the connector's own.
    pub fn plain(&self) -> Form {
        Form {
            url: self.url.clone(),
            headers: self.given.clone(),
            accept: BOTH_FORMS,
            host: None,
            limit: self.limit,
        }
    }

    /// The same, for a request that varies the connector's.
    pub fn side(&self) -> Form {
        Form {
            limit: self.limit.min(SIDE_LIMIT),
            ..self.plain()
        }
    }

    /// What was given as `Authorization`.
    pub fn authorization(&self) -> Option<&str> {
        self.given.get(AUTHORIZATION)?.to_str().ok()
    }

    pub async fn post(&self, form: Form, message: &Message) -> ProbeResult {
        let mut headers = form.headers;
        headers.insert(ACCEPT, HeaderValue::from_static(form.accept));
        if let Some(host) = form.host {
            headers.insert(HOST, HeaderValue::from_static(host));
        }
        if let Some(version) = &message.version {
            headers.insert(PROTOCOL_VERSION, version.clone());
        }
        if message.version.as_ref().is_some_and(|it| it == MODERN) {
            headers.insert(METHOD, HeaderValue::from_static(message.method));
        }
        let request = Request {
            url: form.url,
            headers,
            message: Some(message.body()),
            limit: form.limit,
        };
        let result = self.probe.send(&request).await;
        self.tell(message, &result);
        result
    }

    /// Tells of a request as `mcp` tells of its own.
    fn tell(&self, message: &Message, result: &ProbeResult) {
        let Some(on_wire) = &self.on_wire else {
            return;
        };
        let answer = match &result.answer {
            Ok(answer) => match &answer.message {
                Some(message) => Ok(message.to_string()),
                None => Err(shown(answer)),
            },
            Err(error) => Err(told(error)),
        };
        let request = message.body().to_string();
        let event = WireEvent::exchange(message.method, request, answer, result.took);
        on_wire.tell(event, &self.server);
    }

    /// A GET for a stream of events (MCP 2025-11-25, listening for messages from the server).
    pub async fn get(&self) -> ProbeResult {
        let form = self.side();
        let mut headers = form.headers;
        headers.insert(ACCEPT, HeaderValue::from_static(EVENT_STREAM));
        headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(LEGACY));
        let request = Request {
            url: form.url,
            headers,
            message: None,
            limit: form.limit,
        };
        self.probe.send(&request).await
    }

    /// Ends the sessions that the server opened meanwhile.
    pub async fn close(&self) {
        self.probe.close().await;
    }
}
