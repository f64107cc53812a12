//! What `benches/serve.py` measures the dice server against. Usage: references axum|rmcp
//!
//! `axum` answers every POST with the bytes that a roll of three dice takes, and `rmcp` is the dice
//! server as rmcp alone serves it, without sessions. Both print where they listen.

use std::io::Write;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use axum::serve::ListenerExt;
use http::header::CONTENT_TYPE;
use mcp_cli::dice::DiceServer;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};

const ANSWER: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"[3,1,1]"}],"structuredContent":{"result":[3,1,1]},"isError":false}}"#;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let router = match std::env::args().nth(1).as_deref() {
        Some("axum") => {
            let answer = async |_: Bytes| ([(CONTENT_TYPE, "application/json")], ANSWER);
            Router::new().route("/mcp", post(answer))
        }
        Some("rmcp") => {
            let config = StreamableHttpServerConfig::default()
                .with_legacy_session_mode(false)
                .with_json_response(true);
            let server = DiceServer::default();
            let factory = move || Ok(server.clone());
            let sessions = Arc::new(NeverSessionManager::default());
            let service = StreamableHttpService::new(factory, sessions, config);
            Router::new().route_service("/mcp", service)
        }
        _ => return Err(std::io::Error::other("usage: references axum|rmcp")),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    writeln!(
        std::io::stdout(),
        "listening on http://{}/mcp",
        listener.local_addr()?
    )?;
    let listener = listener.tap_io(|connection| {
        let _ = connection.set_nodelay(true);
    });
    axum::serve(listener, router).await
}
