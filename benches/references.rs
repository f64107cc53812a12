//! What the benches measure the program against. Usage: references axum|rmcp|relay
//!
//! `axum` answers every POST with the bytes that a roll of three dice takes, and `rmcp` is the dice
//! server as rmcp alone serves it, without sessions (`benches/serve.py`). `relay` is the least that a
//! turn can cost with the gateway's own libraries (`benches/gateway.py`): it reads a list of requests,
//! sends one after the other, and streams what is answered, without looking into it. Each prints
//! where it listens.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use mcp_cli::dice::DiceServer;
use reqwest::Client;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde::Deserialize;

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
        Some("relay") => Router::new().route("/mcp", post(relay).with_state(Client::new())),
        _ => return Err(std::io::Error::other("usage: references axum|rmcp|relay")),
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

/// One request of a turn.
#[derive(Deserialize)]
struct Part {
    url: String,
    headers: HashMap<String, String>,
    body: String,
}

async fn relay(State(client): State<Client>, Json(parts): Json<Vec<Part>>) -> Response {
    let answers = stream::iter(parts).then(move |part| {
        let headers = HeaderMap::try_from(&part.headers).unwrap_or_default();
        let request = client.post(part.url).headers(headers).body(part.body);
        async { Ok(request.send().await?.bytes_stream()) }
    });
    let head = [(CONTENT_TYPE, "text/event-stream")];
    let body: BoxStream<'_, reqwest::Result<Bytes>> = answers.try_flatten().boxed();
    (head, Body::from_stream(body)).into_response()
}
