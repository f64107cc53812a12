//! Whatever is sent to the dice server is answered as HTTP and MCP have it, and nothing panics.

#![no_main]

use std::sync::LazyLock;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderName, HeaderValue, Method, Request};
use libfuzzer_sys::fuzz_target;
use mcp_cli::dice::{DiceServer, Roller};
use mcp_cli::http::{self, HostPolicy, ServerOptions};
use tokio::runtime::Runtime;
use tower::ServiceExt;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime")
});

static SERVER: LazyLock<Router> = LazyLock::new(|| {
    let options = ServerOptions {
        only_answers: true,
        ..ServerOptions::default()
    };
    let server = DiceServer::new(Roller::seeded(1));
    let router = http::at("/mcp", http::rmcp_endpoint(server, &options));
    HostPolicy::default().protect(router, options.body.max_bytes)
});

/// What a server may say to a request; a defect of ours would be a 500.
const ANSWERS: [u16; 9] = [200, 202, 400, 403, 404, 405, 406, 413, 415];

/// A head of lines such as `accept: */*`, an empty line, and a body. What a client of MCP always
/// sends is there unless the first line says `bare`.
fn request(input: &[u8]) -> Option<Request<Body>> {
    let end = input.windows(2).position(|it| it == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (&b""[..], input),
    };
    let mut request = Request::new(Body::from(body.to_vec()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = "/mcp".parse().expect("a path");
    let mut lines = head.split(|byte| *byte == b'\n').peekable();
    let headers = request.headers_mut();
    headers.insert("host", HeaderValue::from_static("localhost"));
    if lines.next_if_eq(&&b"bare"[..]).is_none() {
        let both = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert("accept", both);
        headers.insert("content-type", HeaderValue::from_static("application/json"));
    }
    for line in lines.filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        headers.append(name, value);
    }
    Some(request)
}

fuzz_target!(|input: &[u8]| {
    let Some(request) = request(input) else {
        return;
    };
    RUNTIME.block_on(async {
        let Ok(answer) = SERVER.clone().oneshot(request).await;
        let status = answer.status().as_u16();
        assert!(ANSWERS.contains(&status), "{status}");
        let is_json = answer.headers().get("content-type")
            == Some(&"application/json".parse().expect("a value"));
        let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
        if is_json {
            let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(body["jsonrpc"], "2.0", "{body}");
        }
    });
});
