//! `DiceServer`: the roll in MCP's terms, and as an axum router.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::{MethodRouter, any};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    InitializeResult, JsonObject, ListToolsResult, PaginatedRequestParams, ServerCapabilities,
    Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::SessionManager;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::roll::{N_DICE, Roller, n_dice};

/// The dice server: one tool, `roll_dice(n_dice: int) -> list[int]`. Cloning shares the roller.
#[derive(Debug, Clone, Default)]
pub struct DiceServer {
    roller: Arc<Roller>,
}

impl DiceServer {
    /// A dice server that rolls with `roller`.
    pub fn new(roller: Roller) -> Self {
        Self {
            roller: Arc::new(roller),
        }
    }

    fn roll_dice(&self, arguments: &JsonObject) -> CallToolResult {
        match n_dice(arguments) {
            Ok(n_dice) => CallToolResult::structured(json!({"result": self.roller.roll(n_dice)})),
            Err(refusal) => CallToolResult::error(vec![ContentBlock::text(refusal.to_string())]),
        }
    }
}

impl ServerHandler for DiceServer {
    fn get_info(&self) -> InitializeResult {
        InitializeResult::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new(
                "Dice Roller",
                env!("CARGO_PKG_VERSION"),
            ))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(vec![roll_dice_tool()]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if request.name != "roll_dice" {
            return Err(ErrorData::invalid_params(
                format!("Unknown tool: {}", request.name),
                None,
            ));
        }
        let mut result = self.roll_dice(&request.arguments.unwrap_or_default());
        // FastMCP's text of a wrapped result is the list alone; a model reads that with less noise.
        if let Some(dice) = result.structured_content.as_ref().map(|it| &it["result"]) {
            result.content = vec![ContentBlock::text(dice.to_string())];
        }
        Ok(result.into())
    }
}

fn roll_dice_tool() -> Tool {
    Tool::new(
        "roll_dice",
        "Roll `n_dice` 6-sided dice and return the results.",
        object(json!({
            "type": "object",
            "properties": {
                "n_dice": {
                    "type": "integer",
                    "minimum": N_DICE.start(),
                    "maximum": N_DICE.end(),
                },
            },
            "required": ["n_dice"],
            "additionalProperties": false,
        })),
    )
    .with_title("Roll Dice")
    .with_raw_output_schema(Arc::new(object(json!({
        "type": "object",
        "properties": {"result": {"type": "array", "items": {"type": "integer"}}},
        "required": ["result"],
    }))))
    .with_annotations(
        ToolAnnotations::new()
            .read_only(true)
            .destructive(false)
            .open_world(false),
    )
}

fn object(schema: Value) -> JsonObject {
    match schema {
        Value::Object(object) => object,
        other => unreachable!("the schemas above are objects, not {other}"),
    }
}

/// How the dice server is offered over Streamable HTTP.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Where it is mounted, such as `/mcp`. The path with a slash behind it answers as well.
    pub path: String,
    /// Hosts accepted beside loopback, with or without a port.
    pub allowed_hosts: Vec<String>,
    /// Origins that a browser may call from; none by default.
    pub allowed_origins: Vec<String>,
    /// Keep sessions for clients older than MCP 2026-07-28.
    pub sessions: bool,
    /// Cancelled when the server stops, so that open streams end.
    pub stop: CancellationToken,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            path: "/mcp".to_owned(),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            sessions: false,
            stop: CancellationToken::new(),
        }
    }
}

/// The dice server as a router: exactly `path` and `path/`, and 404 for the rest.
pub fn router(server: DiceServer, options: HttpOptions) -> Router {
    let mut config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(options.sessions)
        .with_json_response(true)
        .with_cancellation_token(options.stop)
        .with_allowed_origins(options.allowed_origins)
        .enforce_origin_validation();
    config.allowed_hosts.extend(options.allowed_hosts);

    let factory = move || Ok(server.clone());
    let endpoint = if options.sessions {
        let sessions = Arc::new(LocalSessionManager::default());
        endpoint(StreamableHttpService::new(factory, sessions, config))
    } else {
        let sessions = Arc::new(NeverSessionManager::default());
        endpoint(StreamableHttpService::new(factory, sessions, config))
    };

    // Two routes, not a nested service: nesting would also answer below the path.
    let path = options.path.trim_end_matches('/');
    let router = Router::new().route(&format!("{path}/"), endpoint.clone());
    match path {
        "" => router,
        path => router.route(path, endpoint),
    }
}

fn endpoint<S: SessionManager>(service: StreamableHttpService<DiceServer, S>) -> MethodRouter {
    any(move |request: Request| {
        let service = service.clone();
        async move { service.handle(request).await.map(Body::new) }
    })
}
