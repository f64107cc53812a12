//! The control plane towards connectors.

use std::time::Duration;

use serde_json::json;

use crate::support::tunnel_gateway::{TunnelGateway, note, result};

const LIST: &str = r#"{"jsonrpc": "2.0", "id":"a", "method":"tools/list", "params":{"big":12345678901234567890123}}"#;
const BOTH: (&str, &str) = ("accept", "application/json, text/event-stream");

#[tokio::test]
async fn a_request_passes_and_its_answer_comes_back() {
    let gateway = TunnelGateway::start();
    let id = gateway.connected().await;
    let sent = [
        BOTH,
        ("mcp-session-id", "s"),
        ("x-custom", "1"),
        ("x-custom", "2"),
        ("cookie", "c"),
        ("user-agent", "u"),
        ("connection", "x-gone"),
        ("x-gone", "1"),
        ("content-type", "application/json"),
    ];
    let asked = gateway.connect(&id, &sent, LIST);
    let path = format!("/v1/tunnels/{id}/poll");
    let polled = gateway.send("GET", &path, "").await;
    // Byte for byte.
    assert!(
        polled.text.contains(&format!("\"jsonrpc\":{LIST}")),
        "{}",
        polled.text
    );
    let command = polled.json()["commands"][0].clone();
    // The key of the gateway is not for the server.
    assert_eq!(
        command["headers"],
        json!({"accept": [BOTH.1], "mcp-session-id": ["s"], "x-custom": ["1", "2"]})
    );
    assert_eq!(command["channel"], "main");
    let timeout = command["response_timeout"].as_str().unwrap();
    let timeout: u64 = timeout.strip_suffix("ms").unwrap().parse().unwrap();
    assert!((30_000..60_000).contains(&timeout), "{timeout}");
    let answer = json!({
        "resp_json": {"jsonrpc": "2.0", "id": "a", "error": {"code": -32003, "message": "m"}},
        "resp_code": 401,
        "resp_headers": {
            "Www-Authenticate": ["Bearer resource_metadata=\"http://10.0.0.1/x\", scope=\"s\""],
            "Mcp-Session-Id": ["s2"],
            "Content-Length": ["7"],
            "Content-Type": ["text/event-stream"],
        },
    });
    assert_eq!(gateway.post(&id, &command, &answer).await.status, 200);
    let answered = asked.await.unwrap();
    assert_eq!(answered.status, 401);
    assert_eq!(answered.headers["www-authenticate"], "Bearer scope=\"s\"");
    assert_eq!(answered.headers["mcp-session-id"], "s2");
    assert_eq!(answered.headers["content-type"], "application/json");
    assert_eq!(answered.json(), answer["resp_json"]);
}

#[tokio::test]
async fn notes_reach_a_connector_that_takes_events_before_the_answer() {
    let gateway = TunnelGateway::start();
    let id = gateway.connected().await;
    let request = gateway.request("POST", &format!("/v1/mcp/{id}"), LIST);
    let sent = tokio::spawn(request.header(BOTH.0, BOTH.1).send());
    let command = gateway.next(&id).await;
    assert_eq!(gateway.post(&id, &command, &note(1)).await.status, 200);
    let mut response = sent.await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-cache");
    let event = |posted: serde_json::Value| format!("data: {}\n\n", posted["resp_json"]);
    assert_eq!(response.chunk().await.unwrap().unwrap(), event(note(1)));
    // A message over several lines is one event.
    let lines = r#"{"request_id":ID,"resp_code":200,"resp_json":{"jsonrpc":"2.0",
        "id":"a","result":{}}}"#;
    let lines = lines.replace("ID", &command["request_id"].to_string());
    assert_eq!(gateway.post_text(&id, &command, &lines).await.status, 200);
    let rest = response.text().await.unwrap();
    let data = rest
        .strip_prefix("data: ")
        .unwrap()
        .strip_suffix("\n\n")
        .unwrap();
    assert!(!data.contains('\n'), "{rest}");
    let answer: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(answer, result(200)["resp_json"]);

    let asked = gateway.connect(&id, &[("accept", "application/json")], LIST);
    let command = gateway.next(&id).await;
    gateway.post(&id, &command, &note(1)).await;
    gateway.post(&id, &command, &result(201)).await;
    let answered = asked.await.unwrap();
    assert_eq!(
        (answered.status, answered.json()),
        (201, result(200)["resp_json"].clone())
    );
}

#[tokio::test]
async fn a_notification_and_the_end_of_a_session_are_acknowledged_without_a_body() {
    let gateway = TunnelGateway::start();
    let id = gateway.connected().await;
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    for (answer, status) in [
        (json!({"resp_type": "notify_ack", "resp_code": 202}), 202),
        (json!({"resp_type": "notify_ack", "resp_code": 502}), 502),
        // The official client answers a notification so that an HTTP error refused.
        (
            json!({"resp_code": 500, "resp_json": {"jsonrpc": "2.0", "error": {"code": -32603, "message": "m"}}}),
            500,
        ),
    ] {
        let told = gateway.connect(&id, &[], initialized);
        let command = gateway.next(&id).await;
        assert_eq!(gateway.post(&id, &command, &answer).await.status, 200);
        let told = told.await.unwrap();
        assert_eq!(told.status, status);
        assert_eq!(
            told.text.is_empty(),
            answer["resp_json"].is_null(),
            "{}",
            told.text
        );
    }

    let path = format!("/v1/mcp/{id}");
    let refused = gateway.send("DELETE", &path, "").await;
    assert_eq!(
        refused.refusal(),
        (400, "missing_mcp_session_id".to_owned())
    );
    for status in [204, 200, 404, 405] {
        let ended = gateway
            .request("DELETE", &path, "")
            .header("mcp-session-id", "s");
        let ended = tokio::spawn(ended.send());
        let command = gateway.next(&id).await;
        assert_eq!(command["command_type"], "session_termination");
        assert_eq!(command["headers"]["mcp-session-id"], json!(["s"]));
        assert_eq!(command.get("jsonrpc"), None);
        let answer = json!({"resp_type": "session_termination_response", "resp_code": status});
        assert_eq!(gateway.post(&id, &command, &answer).await.status, 200);
        assert_eq!(ended.await.unwrap().unwrap().status(), status);
    }
}

#[tokio::test]
async fn what_is_no_message_is_refused_before_anybody_gets_it() {
    let gateway = TunnelGateway::start();
    let id = gateway.connected().await;
    let path = format!("/v1/mcp/{id}");
    for body in [
        "",
        "[]",
        "{",
        r#"[{"jsonrpc":"2.0","id":1,"method":"x"}]"#,
        r#"{"a":1}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#,
        // An answer to a request of the server, which no client passes on.
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":"\ud83c"}}"#,
    ] {
        let refused = gateway.send("POST", &path, body).await;
        assert_eq!(
            refused.refusal(),
            (400, "invalid_json_payload".to_owned()),
            "{body}"
        );
    }
    for method in ["GET", "PUT"] {
        let refused = gateway.send(method, &path, "").await;
        assert_eq!(
            (refused.status, &refused.headers["allow"]),
            (405, &"POST, DELETE".parse().unwrap())
        );
    }
    let refused = gateway.send("POST", &format!("{path}/b%20ad"), LIST).await;
    assert_eq!(
        refused.refusal(),
        (400, "invalid_channel_format".to_owned())
    );
    assert!(gateway.poll(&id, "timeout_ms=1").await.is_empty());
}

#[tokio::test]
async fn channels_are_polled_apart() {
    let gateway = TunnelGateway::start();
    let id = gateway.connected().await;
    let asked = gateway.connect(&format!("{id}/Tools"), &[], LIST);
    assert!(
        gateway
            .poll(&id, "channel=main&timeout_ms=100")
            .await
            .is_empty()
    );
    let commands = gateway.poll(&id, "channel=main&channel=tools").await;
    assert_eq!(commands[0]["channel"], "tools");
    gateway.post(&id, &commands[0], &result(200)).await;
    assert_eq!(asked.await.unwrap().status, 200);
}

#[tokio::test]
async fn without_a_client_a_connector_is_refused_at_once() {
    let forgotten = Duration::ZERO;
    let remembered = Duration::from_secs(300);
    for (connected, seen, code) in [
        (forgotten, remembered, "tunnel_client_not_connected"),
        (forgotten, forgotten, "tunnel_client_not_seen"),
    ] {
        let gateway = TunnelGateway::start_with(|options| {
            options.connected = connected;
            options.seen = seen;
        });
        let id = gateway.create().await;
        let path = format!("/v1/mcp/{id}");
        let never = gateway.send("POST", &path, LIST).await;
        assert_eq!(never.refusal(), (404, "tunnel_client_not_seen".to_owned()));
        gateway.poll(&id, "timeout_ms=1").await;
        let stopped = gateway.send("POST", &path, LIST).await;
        assert_eq!(stopped.refusal(), (404, code.to_owned()));
    }
    // A client that comes back soon finds what was asked meanwhile.
    let gateway = TunnelGateway::start();
    let id = gateway.connected().await;
    let asked = gateway.connect(&id, &[], LIST);
    while gateway.budget.used() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let command = gateway.next(&id).await;
    gateway.post(&id, &command, &result(200)).await;
    assert_eq!(asked.await.unwrap().status, 200);
}

#[tokio::test]
async fn nobody_waits_longer_than_the_deadline_and_progress_does_not_extend_it() {
    let gateway = TunnelGateway::start_with(|options| {
        options.answer_timeout = Duration::from_millis(1500);
    });
    let id = gateway.connected().await;
    let late = (504, "tunnel_response_timeout".to_owned());
    let asked = gateway.connect(&id, &[], LIST);
    let command = gateway.next(&id).await;
    assert_eq!(asked.await.unwrap().refusal(), late);
    let answered = gateway.post(&id, &command, &result(200)).await;
    assert_eq!(
        answered.refusal(),
        (404, "pending_request_not_found".to_owned())
    );

    // In a stream, its end is an error in JSON-RPC.
    let asked = gateway.connect(&id, &[BOTH], LIST);
    let command = gateway.next(&id).await;
    gateway.post(&id, &command, &note(1)).await;
    let events = asked.await.unwrap().text;
    assert!(
        events.ends_with(
            "data: {\"jsonrpc\":\"2.0\",\"id\":\"a\",\"error\":{\"code\":-32603,\"message\":\"Gateway Timeout\"}}\n\n"
        ),
        "{events}"
    );

    // What nobody polled in time is not handed out.
    let asked = gateway.connect(&id, &[], LIST);
    assert_eq!(asked.await.unwrap().refusal(), late);
    assert!(gateway.poll(&id, "timeout_ms=1").await.is_empty());
}

#[tokio::test]
async fn a_connector_that_leaves_takes_its_command_along() {
    let gateway = TunnelGateway::start();
    let id = gateway.connected().await;
    let asked = gateway.connect(&id, &[], LIST);
    while gateway.budget.used() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    asked.abort();
    while gateway.budget.used() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(gateway.poll(&id, "timeout_ms=1").await.is_empty());
    // Also where a client has it already.
    let asked = gateway.connect(&id, &[], LIST);
    let command = gateway.next(&id).await;
    asked.abort();
    while gateway.post(&id, &command, &note(1)).await.status == 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(gateway.post(&id, &command, &result(200)).await.status, 404);
}

#[tokio::test]
async fn a_queue_that_is_full_takes_no_more() {
    let gateway = TunnelGateway::start_with(|options| options.max_queue = 1);
    let id = gateway.connected().await;
    let first = gateway.connect(&id, &[], LIST);
    while gateway.budget.used() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let refused = gateway.send("POST", &format!("/v1/mcp/{id}"), LIST).await;
    assert_eq!(refused.refusal(), (503, "tunnel_queue_full".to_owned()));
    let command = gateway.next(&id).await;
    gateway.post(&id, &command, &result(200)).await;
    assert_eq!(first.await.unwrap().status, 200);
}

#[tokio::test]
async fn an_answer_that_cannot_be_decoded_ends_the_call_with_an_error_of_the_gateway() {
    let gateway = TunnelGateway::start();
    let id = gateway.connected().await;
    let asked = gateway.connect(&id, &[BOTH], LIST);
    let command = gateway.next(&id).await;
    let request_id = &command["request_id"];
    let post = |kind: &str| {
        format!(
            r#"{{"request_id":{request_id},"resp_code":200,"resp_type":"{kind}","resp_json":{{"a":"\ud83c"}}}}"#
        )
    };
    let malformed = (400, "invalid_json_payload".to_owned());
    let refused = gateway
        .post_text(&id, &command, &post("jsonrpc_notify"))
        .await;
    assert_eq!(refused.refusal(), malformed);
    let refused = gateway
        .post_text(&id, &command, &post("jsonrpc_response"))
        .await;
    assert_eq!(refused.refusal(), malformed);
    let answered = asked.await.unwrap();
    assert_eq!(answered.status, 502);
    let error =
        json!({"jsonrpc": "2.0", "id": "a", "error": {"code": -32603, "message": "Bad Gateway"}});
    assert_eq!(answered.json(), error);
}
