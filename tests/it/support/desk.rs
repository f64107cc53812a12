//! `Desk`: a real MCP server of one tool, which a test changes, holds up and counts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use mcp_cli::http::{self, ServerOptions};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, InitializeResult,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::json;
use tokio::sync::watch;

use super::{Server, http_server};

/// The server, until it is dropped. Its tool is `ring`, which takes nothing and changes nothing.
pub struct Desk {
    pub url: String,
    handler: Handler,
    _server: Server,
}

#[derive(Clone)]
struct Handler {
    description: Arc<Mutex<&'static str>>,
    is_held: Arc<watch::Sender<bool>>,
    are_lists_held: Arc<watch::Sender<bool>>,
    listed: Arc<AtomicUsize>,
    called: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
}

impl Desk {
    pub fn start() -> Self {
        let handler = Handler {
            description: Arc::new(Mutex::new("Rings the bell.")),
            is_held: Arc::new(watch::Sender::new(false)),
            are_lists_held: Arc::new(watch::Sender::new(false)),
            listed: Arc::default(),
            called: Arc::default(),
            left: Arc::default(),
        };
        let options = ServerOptions {
            only_answers: true,
            ..ServerOptions::default()
        };
        let endpoint = http::rmcp_endpoint(handler.clone(), &options);
        let server = http_server(Router::new().route("/mcp", endpoint));
        Self {
            url: format!("{}/mcp", server.url),
            handler,
            _server: server,
        }
    }

    /// From now on, the tool says this of itself.
    pub fn describe(&self, description: &'static str) {
        *self.handler.description.lock().unwrap() = description;
    }

    /// From now on, calls wait for [`Self::release`].
    pub fn hold(&self) {
        self.handler.is_held.send_replace(true);
    }

    /// From now on, whoever asks for the tools waits for [`Self::release`].
    pub fn hold_lists(&self) {
        self.handler.are_lists_held.send_replace(true);
    }

    pub fn release(&self) {
        self.handler.is_held.send_replace(false);
        self.handler.are_lists_held.send_replace(false);
    }

    /// How many calls have come.
    pub fn called(&self) -> usize {
        self.handler.called.load(Ordering::SeqCst)
    }

    /// Waits until somebody has asked for the tools.
    pub fn wait_for_list(&self) {
        wait_until("a request for the tools", || {
            self.handler.listed.load(Ordering::SeqCst) > 0
        });
    }

    /// Waits until a call has come.
    pub fn wait_for_call(&self) {
        self.wait_for_calls(1);
    }

    /// Waits until so many calls have come.
    pub fn wait_for_calls(&self, calls: usize) {
        wait_until("a call", || self.called() >= calls);
    }

    /// Waits until a caller has left before there was an answer.
    pub fn wait_for_leaving(&self) {
        wait_until("a caller that leaves", || {
            self.handler.left.load(Ordering::SeqCst) > 0
        });
    }
}

fn wait_until(what: &str, mut is_there: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_there() {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{what} did not come"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Counts who leaves before the answer.
struct Waiting(Option<Arc<AtomicUsize>>);

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(left) = &self.0 {
            left.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn released(is_held: &watch::Sender<bool>) {
    let mut is_held = is_held.subscribe();
    is_held.wait_for(|is_held| !is_held).await.unwrap();
}

impl ServerHandler for Handler {
    fn get_info(&self) -> InitializeResult {
        InitializeResult::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.listed.fetch_add(1, Ordering::SeqCst);
        released(&self.are_lists_held).await;
        let schema = json!({"type": "object", "properties": {}});
        let schema = schema.as_object().unwrap().clone();
        let description = *self.description.lock().unwrap();
        Ok(ListToolsResult::with_all_items(vec![Tool::new(
            "ring",
            description,
            Arc::new(schema),
        )]))
    }

    async fn call_tool(
        &self,
        _: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let mut waiting = Waiting(Some(Arc::clone(&self.left)));
        self.called.fetch_add(1, Ordering::SeqCst);
        released(&self.is_held).await;
        waiting.0 = None;
        Ok(CallToolResult::success(vec![ContentBlock::text("Ding.")]).into())
    }
}
