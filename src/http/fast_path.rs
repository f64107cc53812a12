//! A fast path for a plain `tools/call` or `tools/list`, which needs no task and no channel.
//!
//! For each request, rmcp starts a service with channels in both directions, since a tool may send
//! requests to its client. A server that only answers needs none of that, and it took half of the time
//! of a call. Only unambiguous requests take this path: a known version, and headers that agree with
//! the body. Everything else, errors in particular, is left to rmcp.

use std::sync::OnceLock;

use axum::response::Response;
use futures::{sink, stream};
use http::header::ACCEPT;
use http::request::Parts;
use http::{HeaderMap, HeaderName, StatusCode};
use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientRequest, Implementation,
    InitializeRequestParams, JsonRpcResponse, JsonRpcVersion2_0, ListToolsRequest,
    PaginatedRequestParams, ProtocolVersion, Request, RequestId, RequestMetaObject, ServerResult,
};
use rmcp::service::{
    RequestContext, RunningService, RxJsonRpcMessage, Service, TxJsonRpcMessage, serve_directly,
};
use rmcp::{ErrorData, RoleServer, ServerHandler};

use super::headers::{PROTOCOL_VERSION, one};
use super::message::Message;
use super::response;

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// The handler, and for each version of the protocol a client that rmcp can name as the caller.
pub struct FastPath<H: ServerHandler> {
    handler: H,
    /// Made with the first request, because they need a runtime.
    clients: OnceLock<Vec<(ProtocolVersion, RunningService<RoleServer, H>)>>,
    /// Whether requests older than MCP 2026-07-28 need no session.
    is_stateless: bool,
}

impl<H: ServerHandler + Clone> FastPath<H> {
    pub fn new(handler: H, is_stateless: bool) -> Self {
        Self {
            handler,
            clients: OnceLock::new(),
            is_stateless,
        }
    }

    /// The answer, if the message can take this path.
    pub fn answer<'a>(
        &'a self,
        head: &Parts,
        message: &Message,
    ) -> Option<impl Future<Output = Response> + use<'a, H>> {
        let plain = Plain::read(message).filter(|_| accepts_both_forms(&head.headers))?;
        let version = self.version(&head.headers, &plain)?;
        let mut clients = self.clients().iter();
        let (_, client) = clients.find(|(known, _)| *known == version)?;
        let mut context = RequestContext::new(plain.id.clone(), client.peer().clone());
        context.meta = plain.meta;
        Some(async move {
            let result = Service::handle_request(&self.handler, plain.request, context).await;
            to_response(plain.id, result)
        })
    }

    fn clients(&self) -> &[(ProtocolVersion, RunningService<RoleServer, H>)] {
        self.clients.get_or_init(|| {
            let versions = ProtocolVersion::KNOWN_VERSIONS.iter().cloned();
            versions
                .map(|version| {
                    let handler = self.handler.clone();
                    (version.clone(), silent_client(handler, version))
                })
                .collect()
        })
    }

    /// The version of the request, if its headers are unambiguous.
    fn version(&self, headers: &HeaderMap, plain: &Plain) -> Option<ProtocolVersion> {
        let said = match text(headers, PROTOCOL_VERSION)? {
            // MCP 2025-06-18, transports, protocol version header.
            None => ProtocolVersion::V_2025_03_26,
            Some(said) => {
                let mut known = ProtocolVersion::KNOWN_VERSIONS.iter();
                known.find(|version| version.as_str() == said)?.clone()
            }
        };
        let agrees = if said == ProtocolVersion::V_2026_07_28 {
            let is_param = |it: &HeaderName| it.as_str().starts_with("mcp-param-");
            plain.meta.protocol_version().as_ref() == Some(&said)
                && plain.meta.missing_required_keys(&said).is_empty()
                && text(headers, METHOD)? == Some(plain.method)
                && text(headers, NAME)? == plain.name.as_deref()
                && !headers.keys().any(is_param)
        } else {
            self.is_stateless && plain.meta.protocol_version().is_none()
        };
        agrees.then_some(said)
    }
}

/// A request of one of the two methods.
struct Plain {
    id: RequestId,
    method: &'static str,
    /// The tool that is called.
    name: Option<String>,
    request: ClientRequest,
    meta: RequestMetaObject,
}

impl Plain {
    fn read(message: &Message) -> Option<Self> {
        if !message.is_request() {
            return None;
        }
        let id = message.request_id()?;
        Some(match message.method.as_deref()? {
            "tools/call" => {
                let mut params: CallToolRequestParams = message.params()?;
                Self {
                    id,
                    method: "tools/call",
                    name: Some(params.name.to_string()),
                    meta: params.meta.take().unwrap_or_default(),
                    request: ClientRequest::CallToolRequest(Request::new(params)),
                }
            }
            "tools/list" => {
                let mut params = match message.has_params() {
                    true => message.params::<PaginatedRequestParams>()?,
                    false => PaginatedRequestParams::default(),
                };
                Self {
                    id,
                    method: "tools/list",
                    name: None,
                    meta: params.meta.take().unwrap_or_default(),
                    request: ClientRequest::ListToolsRequest(ListToolsRequest::with_param(params)),
                }
            }
            _ => return None,
        })
    }
}

/// Whether the client accepts JSON and event streams (MCP, Streamable HTTP). Weights are ignored.
fn accepts_both_forms(headers: &HeaderMap) -> bool {
    let accepted = text(headers, ACCEPT).flatten().unwrap_or_default();
    let accepts = |form: &str| accepted.split(',').any(|it| it.trim() == form);
    accepts("application/json") && accepts("text/event-stream")
}

/// The text of the header, `Some(None)` without one. Duplicates and other bytes are left to rmcp.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<Option<&str>> {
    match one(headers, name).ok()? {
        None => Some(None),
        Some(value) => value.to_str().ok().map(Some),
    }
}

fn to_response(id: RequestId, result: Result<ServerResult, ErrorData>) -> Response {
    match result {
        Ok(result) => {
            let jsonrpc = JsonRpcVersion2_0;
            response::json(
                StatusCode::OK,
                &JsonRpcResponse {
                    jsonrpc,
                    id,
                    result,
                },
            )
        }
        // An error of the handler is an answer; errors of the protocol were left to rmcp.
        Err(error) => response::error(StatusCode::OK, Some(id), error),
    }
}

/// A client of that version that never sends anything and that discards what it is sent.
fn silent_client<H: ServerHandler>(
    handler: H,
    version: ProtocolVersion,
) -> RunningService<RoleServer, H> {
    let client =
        InitializeRequestParams::new(ClientCapabilities::default(), Implementation::default());
    let incoming = stream::pending::<RxJsonRpcMessage<RoleServer>>();
    let outgoing = sink::drain::<TxJsonRpcMessage<RoleServer>>();
    let client = client.with_protocol_version(version);
    serve_directly(handler, (outgoing, incoming), Some(client))
}
