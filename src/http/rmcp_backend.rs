//! A backend that is written with rmcp: Streamable HTTP, in both eras of the protocol.
//!
//! rmcp speaks the protocol. This file adds what rmcp leaves open: invalid messages, an unknown
//! version of the protocol, sessions with limits and owners. [`super::fast_path`] comes first.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::MethodRouter;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use rmcp::model::{CallToolRequestParams, ProtocolVersion};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, ServerHandler};
use serde_json::Value;

use super::endpoint::{Received, endpoint};
use super::fast_path::FastPath;
use super::headers::{PROTOCOL_VERSION, is_json};
use super::message::{Message, why_no_message};
use super::options::ServerOptions;
use super::response;
use super::sessions::Sessions;

/// An MCP server as the handler of all methods of a route.
pub fn rmcp_endpoint<H>(handler: H, options: &ServerOptions) -> MethodRouter
where
    H: ServerHandler + Clone,
{
    let backend = Arc::new(RmcpBackend::new(handler, options));
    let answer = move |received| {
        let backend = Arc::clone(&backend);
        async move { backend.answer(received).await }
    };
    endpoint(answer, options)
}

struct RmcpBackend<H: ServerHandler> {
    fast_path: Option<FastPath<H>>,
    service: Service<H>,
}

enum Service<H> {
    Stateless(StreamableHttpService<H, NeverSessionManager>),
    WithSessions {
        service: StreamableHttpService<H, LocalSessionManager>,
        manager: Arc<LocalSessionManager>,
        sessions: Sessions,
    },
}

impl<H: ServerHandler + Clone> RmcpBackend<H> {
    fn new(handler: H, options: &ServerOptions) -> Self {
        let keeps_sessions = options.sessions.is_some();
        let config = StreamableHttpServerConfig::default()
            .disable_allowed_hosts()
            .with_legacy_session_mode(keeps_sessions)
            // A server that only answers has nothing to stream.
            .with_json_response(!keeps_sessions || options.only_answers);
        let fast_path = options
            .only_answers
            .then(|| FastPath::new(handler.clone(), !keeps_sessions));
        let factory = move || Ok(handler.clone());
        let service = match options.sessions {
            Some(caller_from) => {
                let manager = Arc::new(LocalSessionManager::default());
                Service::WithSessions {
                    service: StreamableHttpService::new(factory, Arc::clone(&manager), config),
                    manager,
                    sessions: Sessions::new(caller_from),
                }
            }
            None => {
                let manager = Arc::new(NeverSessionManager::default());
                Service::Stateless(StreamableHttpService::new(factory, manager, config))
            }
        };
        Self { fast_path, service }
    }

    async fn answer(&self, received: Received) -> Response {
        let (head, message) = match received {
            Received::Message(head, message) => (head, message),
            Received::Other(request) => return Box::pin(self.pass(request, None)).await,
        };
        let fast_path = self.fast_path.as_ref();
        match fast_path.and_then(|it| it.answer(&head, &message)) {
            Some(answer) => answer.await,
            // In a box, because its future is large and every call would move it.
            None => Box::pin(self.ask_rmcp(head, &message)).await,
        }
    }

    /// The answer of rmcp, or the one of MCP where rmcp has another.
    async fn ask_rmcp(&self, head: Parts, message: &Message) -> Response {
        // rmcp answers a known method with invalid parameters as an unknown method.
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
        let request = Request::from_parts(head, Body::from(message.body.clone()));
        let answer = self.pass(request, Some(message)).await;
        let is_text = !is_json(answer.headers());
        match (answer.status(), unknown) {
            // To rmcp, a body that is not a message is of an unsupported media type.
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, _) => {
                let error = why_no_message(&message.body);
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

    async fn pass(&self, request: Request, message: Option<&Message>) -> Response {
        match &self.service {
            Service::Stateless(service) => service.handle(request).await.map(Body::new),
            Service::WithSessions {
                service,
                manager,
                sessions,
            } => {
                let service = service.clone();
                let handle = |request| async move { service.handle(request).await.map(Body::new) };
                let open_ids = || async {
                    let open = manager.sessions.read().await;
                    open.keys().map(|id| id.to_string()).collect()
                };
                sessions.answer(request, message, handle, open_ids).await
            }
        }
    }
}

/// The version of the protocol that the headers name, if it is an unknown one.
fn unknown_version(headers: &HeaderMap) -> Option<ProtocolVersion> {
    let said = headers.get(PROTOCOL_VERSION)?.to_str().ok()?;
    let mut known = ProtocolVersion::KNOWN_VERSIONS.iter();
    let is_unknown = known.all(|version| version.as_str() != said);
    is_unknown.then(|| serde_json::from_value(said.into()).ok())?
}
