//! The fixtures of the official conformance suite behind this program's HTTP; for `run`, never shipped.
//!
//! It listens on a free port and prints its URL. `--sessions` keeps sessions and streams its answers, as
//! MCP 2025-11-25 needs for what a server asks of its client; without it each request stands alone.

mod fixtures;
mod input_required;
mod prompts;
mod resources;
mod tasks;
mod tools;

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::any;
use mcp_cli::http;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::fixtures::Fixtures;

#[tokio::main]
async fn main() -> io::Result<()> {
    let sessions = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--sessions") => true,
        Some(other) => return Err(io::Error::other(format!("what is `{other}`?"))),
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let origin = format!("http://{}", listener.local_addr()?);
    say(&format!("{origin}/mcp"));

    let stop = CancellationToken::new();
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(sessions)
        .with_json_response(!sessions)
        .with_cancellation_token(stop.clone())
        // The suite's DNS rebinding scenario calls as a page of this very server would.
        .with_allowed_origins([origin])
        .enforce_origin_validation();
    let fixtures = Fixtures::new();
    let service = StreamableHttpService::new(
        move || Ok(fixtures.clone()),
        Arc::new(LocalSessionManager::default()),
        config,
    );
    let endpoint = any(move |request: Request| {
        let service = service.clone();
        async move { service.handle(request).await.map(Body::new) }
    });
    http::serve(listener, Router::new().route("/mcp", endpoint), stop).await
}

#[expect(
    clippy::print_stdout,
    reason = "whoever starts this server reads its URL"
)]
fn say(url: &str) {
    println!("{url}");
}
