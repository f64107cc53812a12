//! Healthy servers behind a tunnel: calls, sessions, progress, headers.

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures::stream;
use http::{Method, StatusCode};
use mcp_cli::dice::{DiceServer, Roller};
use mcp_cli::http::{self as server, ServerOptions};
use serde_json::{Value, json};

use crate::support::{
    Behind, Call, ControlPlane, Reply, TunnelClient, dice_router, event_stream, request,
};

/// An answer with this result.
pub fn result(call: &Call, result: &Value) -> Response {
    let answer = json!({"jsonrpc": "2.0", "id": call.message["id"], "result": result});
    axum::Json(answer).into_response()
}

fn initialize() -> Value {
    request(
        json!("init-1"),
        "initialize",
        json!({"protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "connector", "version": "1"}}),
    )
}

#[tokio::test]
async fn a_session_of_the_dice_server_goes_through_the_tunnel() {
    let options = ServerOptions {
        sessions: Some(|_| None),
        ..ServerOptions::default()
    };
    let dice = server::rmcp_endpoint(DiceServer::new(Roller::seeded(7)), &options);
    let plane = ControlPlane::start();
    let client = TunnelClient::start(&plane, server::at("/mcp", dice));

    plane.send_message("r1", &initialize(), json!({"headers": {}}));
    let posts = plane.wait_for_posts(1).await;
    let (kind, code, answer) = posts[0].answer();
    assert_eq!((kind, code), ("jsonrpc_response", 200));
    assert_eq!(answer["id"], "init-1");
    assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");
    let session = posts[0].body["resp_headers"]["Mcp-Session-Id"][0].clone();
    assert!(session.is_string(), "{}", posts[0].body);
    let headers = json!({"headers": {"mcp-session-id": [session],
        "mcp-protocol-version": ["2025-11-25"]}});

    let initialized = request(Value::Null, "notifications/initialized", json!({}));
    plane.send_message("r2", &initialized, headers.clone());
    let posts = plane.wait_for_posts(2).await;
    assert_eq!(posts[1].answer(), ("notify_ack", 202, &Value::Null));

    let call = json!({"name": "roll_dice", "arguments": {"n_dice": 3}});
    plane.send_message(
        "r3",
        &request(json!(7), "tools/call", call),
        headers.clone(),
    );
    let posts = plane.wait_for_posts(3).await;
    let (kind, code, answer) = posts[2].answer();
    assert_eq!((kind, code), ("jsonrpc_response", 200));
    assert_eq!(answer["id"], 7);
    assert_eq!(
        answer["result"]["structuredContent"]["result"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    // The server has answered in a stream, and there was no progress in it.
    assert_eq!(
        posts[2].body["resp_headers"]["Content-Type"],
        json!(["application/json"])
    );

    let end = json!({"request_id": "r4", "shard_token": "s4", "channel": "main",
        "command_type": "session_termination", "created_at": "2026-01-01T00:00:00Z",
        "headers": headers["headers"]});
    plane.send(end);
    let posts = plane.wait_for_posts(4).await;
    let (kind, code, answer) = posts[3].answer();
    assert_eq!(
        (kind, answer),
        ("session_termination_response", &Value::Null)
    );
    assert!((200..300).contains(&code), "{code}");

    // The connector has to learn that the session is gone.
    plane.send_message("r5", &request(json!(8), "tools/list", json!({})), headers);
    let posts = plane.wait_for_posts(5).await;
    assert_eq!(posts[4].answer().1, 404);
    client.stop().await;
}

#[tokio::test]
async fn server_discover_is_answered_as_json() {
    let plane = ControlPlane::start();
    let _client = TunnelClient::start(&plane, dice_router());
    let meta = json!({"_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "connector", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {}}});
    let discover = request(json!("openai-mcp-discover"), "server/discover", meta);
    let headers = json!({"headers": {"Mcp-Protocol-Version": ["2026-07-28"],
        "Mcp-Method": ["server/discover"], "Accept": ["application/json, text/event-stream"]}});
    plane.send_message("r1", &discover, headers);
    let posts = plane.wait_for_posts(1).await;
    let (kind, code, answer) = posts[0].answer();
    assert_eq!((kind, code), ("jsonrpc_response", 200), "{answer}");
    assert!(answer["result"]["supportedVersions"].is_array(), "{answer}");
    assert_eq!(
        posts[0].body["resp_headers"]["Content-Type"],
        json!(["application/json"])
    );
}

#[tokio::test]
async fn progress_is_posted_before_the_answer_and_pings_are_not() {
    let behind = Behind::new(async |_| {
        event_stream(
            ": hello\n\nevent: ping\ndata: {}\n\nid: 1\ndata:\n\n\
             data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progress\":1}}\n\n\
             : keep-alive\n\n\
             data: {\"jsonrpc\":\"2.0\",\"id\":1,\ndata: \"result\":{\"ok\":true}}\n\n\
             data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{}}\n\n",
        )
    });
    let plane = ControlPlane::start();
    let client = TunnelClient::start(&plane, behind.router);
    plane.send_message("r1", &request(json!(1), "tools/call", json!({})), json!({}));
    let posts = plane.wait_for_posts(2).await;
    let (kind, code, note) = posts[0].answer();
    assert_eq!((kind, code), ("jsonrpc_notify", 200));
    assert_eq!(note["params"]["progress"], 1);
    let (kind, code, answer) = posts[1].answer();
    assert_eq!((kind, code), ("jsonrpc_response", 200));
    assert_eq!(answer["result"]["ok"], true);
    for post in &posts {
        let content_type = &post.body["resp_headers"]["Content-Type"];
        assert_eq!(content_type, &json!(["text/event-stream"]));
    }
    client.stop().await;
    assert_eq!(plane.posts().len(), 2);
}

#[tokio::test]
async fn a_large_answer_passes_byte_for_byte() {
    let answer = format!(
        r#"{{"result": {{"z": 12345678901234567890123.10, "a": "\u00e9{}"}},
            "jsonrpc": "2.0", "id": "\u0061"}}"#,
        "x".repeat(6 * 1024 * 1024)
    );
    let sent = answer.clone();
    let behind = Behind::new(move |_| {
        let chunks: Vec<_> = sent
            .as_bytes()
            .chunks(100_000)
            .map(|it| Ok::<_, std::io::Error>(Bytes::copy_from_slice(it)))
            .collect();
        let body = Body::from_stream(stream::iter(chunks));
        std::future::ready(([("content-type", "application/json")], body).into_response())
    });
    let plane = ControlPlane::start();
    let client = TunnelClient::start(&plane, behind.router.clone());
    let text = r#"{"method": "m", "id": "a",  "jsonrpc": "2.0", "params": {"n": 1e400, "b": 1.0}}"#;
    let poll = format!(
        r#"{{"commands": [{{"request_id": "r", "shard_token": "s", "command_type": "jsonrpc",
            "created_at": "x", "jsonrpc": {text}}}]}}"#
    );
    plane.know("r", "s");
    plane.script_polls([Reply::with(200, &poll)]);
    let posts = plane.wait_for_posts(1).await;
    let posted = str::from_utf8(&posts[0].raw).unwrap();
    assert!(posted.contains(&answer), "the answer was changed");
    assert_eq!(behind.calls()[0].body, text);
    client.stop().await;
}

#[tokio::test]
async fn headers_pass_in_both_directions_but_for_those_of_a_connection() {
    let behind = Behind::new(async |call: Call| {
        let headers = [
            ("set-cookie", "a=b"),
            ("server", "secret"),
            ("connection", "mcp-protocol-version"),
            ("mcp-protocol-version", "2025-11-25"),
            ("mcp-session-id", "s-1"),
        ];
        (headers, result(&call, &json!({}))).into_response()
    });
    let plane = ControlPlane::start();
    let _client = TunnelClient::start(&plane, behind.router.clone());
    let headers = json!({"headers": {
        "Host": ["evil.example"], "Content-Length": ["1"], "Transfer-Encoding": ["chunked"],
        "Content-Type": ["text/plain"], "Connection": ["x-hop"], "X-Hop": ["1"],
        "X-Two": ["1", "2"], "Authorization": ["Bearer connector"], "X-Request-Id": ["c-1"]}});
    plane.send_message("r1", &request(json!(1), "ping", json!({})), headers);
    let posts = plane.wait_for_posts(1).await;
    assert_eq!(posts[0].header("x-client-request-id"), "c-1");
    assert_eq!(
        posts[0].body["resp_headers"],
        json!({"Content-Type": ["application/json"], "Mcp-Session-Id": ["s-1"]})
    );
    let call = &behind.calls()[0];
    assert_eq!(call.headers["host"], "localhost");
    assert_eq!(call.headers["content-type"], "application/json");
    assert_eq!(
        call.headers["accept"],
        "application/json, text/event-stream"
    );
    assert_eq!(call.headers["authorization"], "Bearer connector");
    let two: Vec<_> = call.headers.get_all("x-two").iter().collect();
    assert_eq!(two, ["1", "2"]);
    for absent in ["x-hop", "connection", "transfer-encoding"] {
        assert!(!call.headers.contains_key(absent), "{absent}");
    }
    assert_eq!(call.message["method"], "ping");
}

#[tokio::test]
async fn a_session_is_ended_with_the_headers_of_the_command() {
    let behind = Behind::new(async |_| StatusCode::NO_CONTENT.into_response());
    let plane = ControlPlane::start();
    let client = TunnelClient::start(&plane, behind.router.clone());
    let end = |id: &str, headers: Value| {
        json!({"request_id": id, "shard_token": "s", "command_type": "session_termination",
            "created_at": "2026-01-01T00:00:00Z", "headers": headers})
    };
    plane.send(end("without-session", json!({})));
    plane.send(end(
        "r1",
        json!({"MCP-SESSION-ID": ["s-1"], "Mcp-Protocol-Version": ["2025-11-25"],
            "Authorization": ["Bearer connector"]}),
    ));
    let posts = plane.wait_for_posts(1).await;
    assert_eq!(posts[0].body["request_id"], "r1");
    assert_eq!(
        posts[0].answer(),
        ("session_termination_response", 204, &Value::Null)
    );
    let calls = behind.calls();
    assert_eq!((calls.len(), &calls[0].method), (1, &Method::DELETE));
    assert_eq!(calls[0].headers["mcp-session-id"], "s-1");
    assert_eq!(calls[0].headers["mcp-protocol-version"], "2025-11-25");
    assert_eq!(calls[0].headers["authorization"], "Bearer connector");
    client.stop().await;
}

#[tokio::test]
async fn a_channel_that_is_not_served_is_told_so() {
    let behind = Behind::new(async |call: Call| result(&call, &json!({})));
    let plane = ControlPlane::start();
    let client = TunnelClient::start(&plane, behind.router.clone());
    for (id, channel) in [("r1", "tools"), ("r2", "harpoon")] {
        let ping = request(json!(id), "ping", json!({}));
        plane.send_message(id, &ping, json!({"channel": channel}));
    }
    let end = json!({"request_id": "r3", "shard_token": "s", "channel": "tools",
        "command_type": "session_termination", "created_at": "2026-01-01T00:00:00Z",
        "headers": {"Mcp-Session-Id": ["s-1"]}});
    plane.send(end);
    let mut posts = plane.wait_for_posts(3).await;
    posts.sort_by_key(|it| it.body["request_id"].to_string());
    let (kind, code, answer) = posts[0].answer();
    assert_eq!((kind, code), ("jsonrpc_response", 400));
    assert_eq!(posts[0].body["channel"], "tools");
    assert_eq!(
        answer,
        &json!({"jsonrpc": "2.0", "id": "r1", "error": {"code": -32603,
            "message": "Bad Request: unsupported channel \"tools\""}})
    );
    assert_eq!(posts[1].answer().1, 400);
    assert_eq!(
        posts[2].answer(),
        ("session_termination_response", 400, &Value::Null)
    );
    assert!(behind.calls().is_empty());
    client.stop().await;
}
