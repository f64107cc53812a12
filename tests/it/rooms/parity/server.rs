//! `Recorded`: a real MCP server that answers as one was recorded to answer.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderMap, HeaderName, StatusCode};
use mcp_cli::http::{self as serving, ServerOptions};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, InitializeResult,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};

use super::recording::Turn;
use crate::support::{Server, http_server};

/// A server with the tools that were listed, which answers as it was recorded to answer.
#[derive(Clone)]
pub struct Recorded {
    tools: Vec<Tool>,
    /// The headers that each message must have.
    credentials: HeaderMap,
    /// The calls that were made, with what came of them.
    calls: Arc<Vec<Value>>,
}

impl Recorded {
    pub fn new(turns: &[Turn], entry: &Value) -> Self {
        let label = &entry["server_label"];
        let items = || turns.iter().flat_map(Turn::output);
        let of_server = |kind: &'static str| {
            items().filter(move |it| it["type"] == kind && it["server_label"] == *label)
        };
        let listed = of_server("mcp_list_tools").flat_map(|it| it["tools"].as_array().unwrap());
        let mut tools: Vec<Tool> = listed.map(offered).collect();
        // What is not allowed is on offer nevertheless.
        if !entry["allowed_tools"].is_null() {
            tools.push(offered(&json!({"name": "not_allowed", "input_schema": {}})));
        }
        Self {
            tools,
            credentials: credentials(entry),
            calls: Arc::new(of_server("mcp_call").cloned().collect()),
        }
    }

    fn call(&self, name: &str, arguments: &Value) -> Option<&Value> {
        let mut calls = self.calls.iter();
        calls.find(|call| call["name"] == *name && arguments_of(call) == *arguments)
    }

    pub fn start(self) -> Server {
        let fails = self.clone();
        let options = ServerOptions {
            only_answers: true,
            ..ServerOptions::default()
        };
        let router = Router::new().route("/mcp", serving::rmcp_endpoint(self, &options));
        http_server(router.layer(middleware::from_fn(move |request, next| {
            let fails = fails.clone();
            async move { fails.or_else(request, next).await }
        })))
    }

    /// Who has no credentials is refused, and a call that was recorded to fail in HTTP does so; all
    /// else is MCP.
    async fn or_else(&self, request: Request, next: Next) -> Response {
        let (head, body) = request.into_parts();
        let mut credentials = self.credentials.iter();
        if !credentials.all(|(name, value)| head.headers.get(name) == Some(value)) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let message: Value = serde_json::from_slice(&body).unwrap_or_default();
        let params = &message["params"];
        let call = params["name"]
            .as_str()
            .and_then(|name| self.call(name, &params["arguments"]));
        match call.map(|call| &call["error"]["code"]) {
            Some(code) if code == 500 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Some(code) if code == 424 => Html("<html>").into_response(),
            _ => next.run(Request::from_parts(head, Body::from(body))).await,
        }
    }
}

impl ServerHandler for Recorded {
    fn get_info(&self) -> InitializeResult {
        InitializeResult::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.clone()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let call = self.call(&request.name, &arguments);
        let output = call.and_then(|call| call["output"].as_str());
        let output = output
            .ok_or_else(|| ErrorData::invalid_params(format!("not recorded: {arguments}"), None))?;
        Ok(CallToolResult::success(vec![ContentBlock::text(output)]).into())
    }
}

/// What a tool entry has its server told with each message.
fn credentials(entry: &Value) -> HeaderMap {
    let headers = entry["headers"].as_object().into_iter().flatten();
    let headers = headers.map(|(name, value)| (name.as_str(), value.as_str().unwrap().to_owned()));
    let token = entry["authorization"].as_str();
    let token = token.map(|token| ("authorization", format!("Bearer {token}")));
    let headers = headers.chain(token);
    headers
        .map(|(name, value)| (HeaderName::try_from(name).unwrap(), value.parse().unwrap()))
        .collect()
}

/// The tool of a server that is listed so.
fn offered(listed: &Value) -> Tool {
    let tool = json!({
        "name": listed["name"],
        "description": listed["description"],
        "inputSchema": listed["input_schema"],
        "annotations": {"readOnlyHint": listed["annotations"]["read_only"]},
    });
    serde_json::from_value(tool).unwrap()
}

fn arguments_of(call: &Value) -> Value {
    serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap()
}
