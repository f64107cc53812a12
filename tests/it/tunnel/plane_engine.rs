//! `tunnel_id` in a tool entry: the engine of a gateway through the control plane of the same gateway.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::support::tunnel_gateway::{GATEWAY_KEY, TunnelGateway};
use crate::support::{Gateway, Mcp, McpCli, assert_is_event, assert_is_response, dice_server};

/// A tunnel client of a few lines: it polls, posts each message to a server, and posts what came of it.
fn client(gateway: &TunnelGateway, id: &str, server: &str) -> AbortOnDropHandle<()> {
    let (gateway, id, server) = (gateway.clone(), id.to_owned(), server.to_owned());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            for command in gateway.poll(&id, "").await {
                let method = match command["command_type"].as_str().unwrap() {
                    "jsonrpc" => http::Method::POST,
                    _ => http::Method::DELETE,
                };
                let mut request = http.request(method, &server);
                for (name, values) in command["headers"].as_object().unwrap() {
                    for value in values.as_array().unwrap() {
                        request = request.header(name, value.as_str().unwrap());
                    }
                }
                let is_request = command["jsonrpc"]["id"].is_u64();
                let request = request.header("content-type", "application/json");
                let request = request.body(command["jsonrpc"].to_string());
                let response = request.send().await.unwrap();
                let mut answer = json!({"resp_code": response.status().as_u16()});
                for name in ["mcp-session-id", "www-authenticate"] {
                    if let Some(value) = response.headers().get(name) {
                        answer["resp_headers"][name] = json!([value.to_str().unwrap()]);
                    }
                }
                let message = serde_json::from_str(&response.text().await.unwrap());
                match (command["jsonrpc"].is_null(), is_request) {
                    (true, _) => answer["resp_type"] = "session_termination_response".into(),
                    (false, false) => answer["resp_type"] = "notify_ack".into(),
                    (false, true) => {
                        answer["resp_json"] = message.unwrap_or_else(|_| {
                            json!({"jsonrpc": "2.0", "id": command["jsonrpc"]["id"],
                                "error": {"code": -32603, "message": "Bad Gateway"}})
                        });
                    }
                }
                assert_eq!(gateway.post(&id, &command, &answer).await.status, 200);
            }
        }
    }))
}

fn request(id: &str, stream: bool) -> Value {
    json!({"input": "Roll 2 dice", "stream": stream, "tools": [{
        "type": "mcp", "server_label": "dice", "tunnel_id": id, "require_approval": "never",
        "authorization": "token-for-the-server", "headers": {"X-Custom": "1"},
    }]})
}

/// The events of a streamed response.
fn events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = data.map(|it| serde_json::from_str(it).unwrap()).collect();
    events.iter().for_each(assert_is_event);
    events
}

async fn respond(gateway: &TunnelGateway, request: &Value) -> (u16, String) {
    let request = gateway.request("POST", "/v1/responses", &request.to_string());
    let request = request.header("content-type", "application/json");
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn a_model_calls_a_server_that_only_polls() {
    let gateway = TunnelGateway::start();
    let id = gateway.connected().await;
    let server = Mcp::start(|_| None);
    let _client = client(&gateway, &id, &server.url);
    let (status, text) = respond(&gateway, &request(&id, false)).await;
    assert_eq!(status, 200, "{text}");
    let response: Value = serde_json::from_str(&text).unwrap();
    assert_is_response(&response);
    assert_eq!(response["tools"][0]["tunnel_id"], id);
    assert!(!text.contains("token-for-the-server"), "{text}");
    let output = response["output"].as_array().unwrap();
    let types: Vec<_> = output
        .iter()
        .map(|it| it["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["mcp_list_tools", "mcp_call", "message"]);
    let called = server.asked("tools/call").remove(0);
    assert_eq!(
        called.headers["authorization"],
        "Bearer token-for-the-server"
    );
    assert_eq!(called.headers["x-custom"], "1");
    assert!(!format!("{:?}", called.headers).contains(GATEWAY_KEY));
}

#[tokio::test]
async fn a_session_survives_the_tunnel() {
    let gateway = TunnelGateway::start();
    let id = gateway.connected().await;
    let server = Mcp::start(|asked| {
        let with_session = |answer: axum::response::Response| {
            let (mut head, body) = answer.into_parts();
            head.headers
                .insert("mcp-session-id", "session-1".parse().unwrap());
            Some(axum::response::Response::from_parts(head, body))
        };
        let result = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo":
            {"name": "s", "version": "1"}});
        match (&*asked.method, asked.session.as_deref()) {
            ("initialize", _) => with_session(asked.result(&result)),
            ("server/discover", _) | (_, Some("session-1")) => None,
            _ => Some(axum::response::IntoResponse::into_response(
                http::StatusCode::NOT_FOUND,
            )),
        }
    });
    let _client = client(&gateway, &id, &server.url);
    let (status, text) = respond(&gateway, &request(&id, false)).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(server.asked("tools/call").len(), 1);
    assert_eq!(server.asked("notifications/initialized").len(), 1);
}

#[tokio::test]
async fn a_tunnel_without_a_client_is_a_failed_list_of_tools() {
    let gateway = TunnelGateway::start();
    let other = "tunnel_0123456789abcdef0123456789abcdef";
    for (id, why) in [
        (
            &*gateway.create().await,
            "No tunnel client has polled this tunnel recently. (tunnel_client_not_seen)",
        ),
        (other, "There is no tunnel with this id. (tunnel_not_found)"),
    ] {
        let (status, text) = respond(&gateway, &request(id, false)).await;
        assert_eq!(status, 424);
        let error = json!({"error": {
            "message": "Error retrieving tool list from MCP server: 'dice'. Http status code: 404 (Not Found)",
            "type": "external_connector_error", "param": "tools", "code": "http_error"}});
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), error);

        let (status, text) = respond(&gateway, &request(id, true)).await;
        assert_eq!(status, 200);
        let events = events(&text);
        let types: Vec<_> = events
            .iter()
            .map(|it| it["type"].as_str().unwrap())
            .collect();
        let last = &types[types.len() - 3..];
        assert!(
            types.contains(&"response.mcp_list_tools.failed"),
            "{types:?}"
        );
        assert_eq!(last[1..], ["error", "response.failed"]);
        assert!(text.contains(why), "{text}");
    }
    let (status, text) = respond(&gateway, &request("tunnel_x", false)).await;
    assert_eq!(status, 400);
    assert!(
        text.contains("The 'tunnel_id' of MCP server 'dice' is not the id of a tunnel."),
        "{text}"
    );
}

#[tokio::test]
async fn a_refusal_of_the_server_is_told_with_its_own_status() {
    let gateway = TunnelGateway::start();
    let id = gateway.connected().await;
    let server = Mcp::start(|asked| {
        let mut refused = asked.error(-32003, "no");
        *refused.status_mut() = http::StatusCode::UNAUTHORIZED;
        let challenge = "Bearer error_description=\"token expired\""
            .parse()
            .unwrap();
        refused.headers_mut().insert("www-authenticate", challenge);
        Some(refused)
    });
    let _client = client(&gateway, &id, &server.url);
    let (status, text) = respond(&gateway, &request(&id, true)).await;
    assert_eq!(status, 200);
    assert!(
        text.contains("Http status code: 401 (Unauthorized)"),
        "{text}"
    );
    assert!(text.contains("token expired"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ask_calls_the_dice_server_by_the_id_of_its_tunnel() {
    let gateway = TunnelGateway::start();
    let id = gateway.create().await;
    let base_url = format!("{}/v1", gateway.url);
    let ask = || {
        let ask = [
            "ask",
            "--base-url",
            &base_url,
            "--tunnel-id",
            &id,
            "--server-label",
            "dice",
        ];
        let ask = McpCli::new(&ask).args(&["--require-approval", "never", "Roll 2 dice"]);
        let ask = ask.env("OPENAI_API_KEY", GATEWAY_KEY);
        tokio::task::spawn_blocking(move || ask.run())
    };
    let alone = ask().await.unwrap();
    assert_eq!(alone.exit, Some(6), "{alone}");
    let cause =
        "cause: no tunnel client polls the tunnel, so the MCP server behind it cannot be reached";
    assert!(alone.stderr.contains(cause), "{alone}");
    assert!(alone.stderr.contains("(tunnel_client_not_seen)"), "{alone}");
    let server = dice_server();
    let _client = client(&gateway, &id, &server.url);
    gateway.poll(&id, "timeout_ms=1").await;
    let asked = ask().await.unwrap();
    insta::assert_snapshot!(asked, @r#"
    exit: 0
    ----- stdout -----
    You rolled 2 dice and got the following results: 3 and 1!
    ----- stderr -----
    dice offers roll_dice (N ms)
    dice.roll_dice {"n_dice":2} -> [3,1] (N ms)
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_mcp_lists_tools_at_the_address_of_a_tunnel() {
    let gateway = TunnelGateway::start();
    let id = gateway.connected().await;
    let server = dice_server();
    let _client = client(&gateway, &id, &server.url);
    let url = format!("{}/v1/mcp/{id}", gateway.url);
    let list = McpCli::new(&["tools", "list", &url, "--authorization", GATEWAY_KEY]);
    let listed = tokio::task::spawn_blocking(|| list.run()).await.unwrap();
    assert_eq!(listed.exit, Some(0), "{listed}");
    assert!(listed.stdout.contains("roll_dice"), "{listed}");
}

#[test]
fn a_gateway_with_an_open_poll_ends_when_it_is_told_to() {
    let gateway = Gateway::start(&[]);
    let created = gateway.post("/tunnels", &json!({})).json();
    let id = created["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/tunnels/{id}/poll");
    let mut poll = gateway.serving.connect();
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    poll.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let began = Instant::now();
    let (status, _) = gateway.serving.terminate();
    assert_eq!(status, Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    let mut answer = String::new();
    poll.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
}
