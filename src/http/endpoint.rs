//! An MCP server at a path: Streamable HTTP, in both eras of the protocol.
//!
//! rmcp speaks the protocol. Around it stands what it leaves open: a body that is no message, a
//! client that accepts anything, sessions that are too many or somebody else's, streams that
//! outlive the server. In front of it stands [`super::fast_path`], for speed.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{MethodRouter, any};
use futures::StreamExt;
use http::header::{ACCEPT, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rmcp::model::{CallToolRequestParams, ProtocolVersion};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, ServerHandler};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::access_log::MessageSummary;
use super::body::read_body;
use super::fast_path::FastPath;
use super::headers::{PROTOCOL_VERSION, is_json};
use super::host_policy::MAX_BODY;
use super::message::{Message, what_is_wrong};
use super::response::{self, last_refusal};
use super::sessions::{CallerFrom, Sessions};
use crate::budget::{Budget, Held, parsed_size};

const BOTH_FORMS: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

/// The most bytes that a message takes once it is parsed; arguments of a tool take far less.
const MOST_PARSED: u64 = 1024 * 1024;
/// The same for `initialize`, of which a session keeps what the client says of itself.
const MOST_PARSED_OF_SESSION: u64 = 32 * 1024;
/// The most bytes that the messages that are being answered take together once they are parsed.
const MEMORY: u64 = 64 * 1024 * 1024;
/// How many times rmcp holds a message: it is read as one shape after the other.
const COPIES: u64 = 3;
/// So many parsed bytes are not counted: as many as there are connections do no harm.
const UNCOUNTED: u64 = 16 * 1024;

/// How an MCP server is offered.
#[derive(Debug, Clone, Default)]
pub struct EndpointOptions {
    /// The server sends nothing but its answers, and so can be asked without a channel back.
    pub only_answers: bool,
    /// Keep sessions for clients older than MCP 2026-07-28, each for the caller that this names.
    pub sessions: Option<CallerFrom>,
    /// Cancelled when the server stops: whoever only listens need not be waited for.
    pub stop: CancellationToken,
}

/// An MCP server as the handler of all methods of a route.
///
/// `Host` and `Origin` are not its business but the [`super::HostPolicy`]'s.
pub fn endpoint<H: ServerHandler + Clone>(handler: H, options: EndpointOptions) -> MethodRouter {
    let endpoint = Arc::new(Endpoint::new(handler, options));
    any(move |request: Request| {
        let endpoint = Arc::clone(&endpoint);
        async move { endpoint.answer(request).await }
    })
}

struct Endpoint<H: ServerHandler> {
    fast_path: Option<FastPath<H>>,
    service: Service<H>,
    stop: CancellationToken,
    budget: Budget,
}

enum Service<H> {
    Stateless(StreamableHttpService<H, NeverSessionManager>),
    WithSessions(Sessions<H>),
}

impl<H: ServerHandler + Clone> Endpoint<H> {
    fn new(handler: H, options: EndpointOptions) -> Self {
        let keeps_sessions = options.sessions.is_some();
        let config = StreamableHttpServerConfig::default()
            .disable_allowed_hosts()
            .with_legacy_session_mode(keeps_sessions)
            // Who only answers has nothing to stream.
            .with_json_response(!keeps_sessions || options.only_answers);
        let fast_path = options
            .only_answers
            .then(|| FastPath::new(handler.clone(), !keeps_sessions));
        let factory = move || Ok(handler.clone());
        let service = match options.sessions {
            Some(caller_of) => Service::WithSessions(Sessions::new(factory, config, caller_of)),
            None => {
                let sessions = Arc::new(NeverSessionManager::default());
                Service::Stateless(StreamableHttpService::new(factory, sessions, config))
            }
        };
        Self {
            fast_path,
            service,
            stop: options.stop,
            budget: Budget::new(MEMORY),
        }
    }

    async fn answer(&self, mut request: Request) -> Response {
        if accepts_anything(request.headers()) {
            request.headers_mut().insert(ACCEPT, BOTH_FORMS);
        }
        if request.method() == Method::GET {
            // A client may listen for as long as it likes; the server need not wait for it.
            let answer = self.pass(request, None).await;
            let stop = self.stop.clone().cancelled_owned();
            return answer.map(|body| Body::from_stream(body.into_data_stream().take_until(stop)));
        }
        if request.method() != Method::POST || !is_json(request.headers()) {
            return self.pass(request, None).await;
        }
        let (head, body) = request.into_parts();
        let body = match read_body(body, MAX_BODY).await {
            Ok(body) => body,
            Err(why) => return last_refusal(why.status(), &why.to_string()),
        };
        let message = match Message::read(&body) {
            Ok(message) => message,
            Err((status, error)) => return response::error(status, None, error),
        };
        // Until here, nothing of it was copied.
        let _held = match self.hold(&body) {
            Ok(held) => held,
            Err(refusal) => return *refusal,
        };
        if message.asks_for("initialize") && parsed_size(&body) > MOST_PARSED_OF_SESSION {
            return too_many_values();
        }
        let asked = MessageSummary::of(&message, &head.extensions);
        let quick = self.fast_path.as_ref();
        let mut answer = match quick.and_then(|it| it.take(&head, &message)) {
            Some(answer) => answer.await,
            None => self.ask_rmcp(head, &body, &message).await,
        };
        if let Some(asked) = asked {
            answer.extensions_mut().insert(asked);
        }
        answer
    }

    /// What a message takes of the memory for all of them: a short text can hold many small values.
    fn hold(&self, body: &[u8]) -> Result<Held, Box<Response>> {
        let size = parsed_size(body);
        if size > MOST_PARSED {
            return Err(Box::new(too_many_values()));
        }
        let counted = if size > UNCOUNTED { size * COPIES } else { 0 };
        self.budget.hold(counted).map_err(|_| {
            let message = "Too many large messages are being answered.";
            let mut refusal = response::refusal(StatusCode::SERVICE_UNAVAILABLE, message);
            let seconds = HeaderValue::from_static("2");
            refusal.headers_mut().insert(RETRY_AFTER, seconds);
            Box::new(refusal)
        })
    }

    /// The answer of rmcp, where that is one of MCP's.
    async fn ask_rmcp(&self, head: Parts, body: &Bytes, message: &Message<'_>) -> Response {
        // To rmcp, a method with parameters that it cannot have is no method at all.
        let is_readable = !message.has_params() || message.params::<Value>().is_some();
        if message.asks_for("tools/call")
            && is_readable
            && message.params::<CallToolRequestParams>().is_none()
        {
            let words = "tools/call takes a `name`, and `arguments` that are an object";
            let error = ErrorData::invalid_params(words, None);
            return response::error(StatusCode::OK, message.request_id(), error);
        }
        let unknown = unknown_version(&head.headers);
        let request = Request::from_parts(head, Body::from(body.clone()));
        let answer = self.pass(request, Some(message)).await;
        let is_text = !is_json(answer.headers());
        match (answer.status(), unknown) {
            // And what is no message is of the wrong media type.
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, _) => {
                let error = what_is_wrong(body);
                response::error(StatusCode::BAD_REQUEST, message.request_id(), error)
            }
            (StatusCode::BAD_REQUEST, Some(version)) if is_text => {
                let known = ProtocolVersion::KNOWN_VERSIONS;
                let error = ErrorData::unsupported_protocol_version(version, known);
                response::error(StatusCode::BAD_REQUEST, message.request_id(), error)
            }
            _ => answer,
        }
    }

    async fn pass(&self, request: Request, message: Option<&Message<'_>>) -> Response {
        match &self.service {
            Service::Stateless(service) => service.handle(request).await.map(Body::new),
            Service::WithSessions(sessions) => sessions.answer(request, message).await,
        }
    }
}

fn too_many_values() -> Response {
    response::refusal(StatusCode::BAD_REQUEST, "the message has too many values")
}

/// The version of the protocol that the headers name, if it is none that is known.
fn unknown_version(headers: &HeaderMap) -> Option<ProtocolVersion> {
    let said = headers.get(PROTOCOL_VERSION)?.to_str().ok()?;
    let mut known = ProtocolVersion::KNOWN_VERSIONS.iter();
    let is_unknown = known.all(|version| version.as_str() != said);
    is_unknown.then(|| serde_json::from_value(said.into()).ok())?
}

/// curl sends `*/*`, others send it among other forms, and who sends nothing means it as well
/// (RFC 9110 section 12.5.1).
fn accepts_anything(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter().peekable();
    let is_anything = |it: &str| it.split(';').next().unwrap_or_default().trim() == "*/*";
    accepted.peek().is_none()
        || accepted.any(|it| it.to_str().is_ok_and(|it| it.split(',').any(is_anything)))
}
