//! The control plane, against the contract of its clients.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use mcp_cli::tunnel::plane::{self, Limits, Plane};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::tunnel_contract::validate;

const LIST: &str =
    r#"{"jsonrpc":"2.0","id":"a","method":"tools/list","params":{"big":12345678901234567890}}"#;

/// What came back.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{}", self.text))
    }

    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }
}

/// The control plane.
#[derive(Clone)]
struct Desk {
    router: Router,
}

impl Desk {
    fn new() -> Self {
        Self::with(Limits {
            queue: 3,
            ..Limits::default()
        })
    }

    fn with(limits: Limits) -> Self {
        Self {
            router: plane::for_connectors(Plane::new("key", limits)),
        }
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Reply {
            status: head.status,
            headers: head.headers,
            text: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn tunnel(&self) -> String {
        let made = self
            .send("POST", "/v1/tunnels", &[], r#"{"name":"mine","x":1}"#)
            .await;
        assert_eq!(made.json()["name"], "mine");
        assert_eq!(made.json().get("x"), None);
        made.json()["id"].as_str().unwrap().to_owned()
    }

    async fn poll(&self, id: &str, query: &str) -> Vec<Value> {
        let polled = self
            .send("GET", &format!("/v1/tunnels/{id}/poll?{query}"), &[], "")
            .await;
        if polled.status == StatusCode::NO_CONTENT {
            return Vec::new();
        }
        assert_eq!(polled.status, StatusCode::OK, "{}", polled.text);
        validate("/components/schemas/PolledCommandList", &polled.json()).unwrap();
        polled.json()["commands"].as_array().unwrap().clone()
    }

    async fn post(&self, id: &str, command: &Value, answer: &Value) -> Reply {
        let mut answer = answer.clone();
        answer["request_id"] = command["request_id"].clone();
        let token = command["shard_token"].as_str().unwrap();
        let headers = [
            ("x-tunnel-shard-token", token),
            ("content-type", "application/json"),
        ];
        let path = format!("/v1/tunnels/{id}/response");
        self.send("POST", &path, &headers, &answer.to_string())
            .await
    }

    /// Asks as a connector, in the background.
    fn connect(
        &self,
        id: &str,
        method: &'static str,
        headers: &'static [(&str, &str)],
        body: &'static str,
    ) -> tokio::task::JoinHandle<Reply> {
        let (desk, path) = (self.clone(), format!("/v1/mcp/{id}"));
        tokio::spawn(async move { desk.send(method, &path, headers, body).await })
    }
}

fn result(code: u16) -> Value {
    json!({"resp_json": {"jsonrpc": "2.0", "id": "a", "result": {}}, "resp_code": code})
}

#[tokio::test]
async fn ids_are_those_that_were_made_here() {
    let desk = Desk::new();
    let id = desk.tunnel().await;
    let shown = desk
        .send("GET", &format!("/v1/tunnels/{id}"), &[], "")
        .await;
    validate("/components/schemas/TunnelClientMetadata", &shown.json()).unwrap();
    let other = "tunnel_0123456789abcdef0123456789abcdef";
    for (id, status, code) in [
        ("nonsense", 400, "invalid_tunnel_id_format"),
        (other, 404, "tunnel_not_found"),
    ] {
        for path in ["", "/poll"] {
            let reply = desk
                .send("GET", &format!("/v1/tunnels/{id}{path}"), &[], "")
                .await;
            assert_eq!(
                (reply.status.as_u16(), &*reply.code()),
                (status, code),
                "{id}{path}"
            );
        }
        let reply = desk.send("POST", &format!("/v1/mcp/{id}"), &[], LIST).await;
        assert_eq!(reply.status.as_u16(), status);
    }
    // One that was started again with the same key knows the id.
    let again = Desk::new();
    assert_eq!(again.poll(&id, "timeout_ms=1").await, [] as [Value; 0]);
    desk.send("DELETE", &format!("/v1/tunnels/{id}"), &[], "")
        .await;
    let gone = desk
        .send("GET", &format!("/v1/tunnels/{id}"), &[], "")
        .await;
    assert_eq!(gone.status, 404);
}

#[tokio::test]
async fn a_request_passes_and_its_answer_comes_back() {
    let desk = Desk::new();
    let id = desk.tunnel().await;
    let nobody = desk.send("POST", &format!("/v1/mcp/{id}"), &[], LIST).await;
    assert_eq!(
        (nobody.status.as_u16(), &*nobody.code()),
        (404, "tunnel_client_not_seen")
    );
    desk.poll(&id, "timeout_ms=1").await;
    let asked = desk.connect(
        &id,
        "POST",
        &[
            ("authorization", "Bearer key-of-the-plane"),
            ("mcp-session-id", "s"),
            ("x-custom", "1"),
            ("cookie", "c"),
            ("user-agent", "u"),
            ("connection", "x-gone"),
            ("x-gone", "1"),
            ("content-type", "application/json"),
        ],
        LIST,
    );
    let commands = desk.poll(&id, "timeout_ms=10000").await;
    let [command] = commands.as_slice() else {
        panic!("{commands:?}");
    };
    assert_eq!(command["command_type"], "jsonrpc");
    assert_eq!(command["channel"], "main");
    assert_eq!(
        command["headers"],
        json!({"mcp-session-id": ["s"], "x-custom": ["1"]})
    );
    assert_eq!(command["response_timeout"], "60000ms");
    let posted = desk.post(&id, command, &json!({
        "resp_json": {"jsonrpc": "2.0", "id": "a", "result": {"n": 1}}, "resp_code": 401,
        "resp_headers": {"Www-Authenticate": ["Bearer x"], "Content-Length": ["7"], "Mcp-Session-Id": ["s2"]},
        "resp_timing": "nonsense",
    })).await;
    assert_eq!(
        (posted.status.as_u16(), posted.json()),
        (200, json!({"status": "ok"}))
    );
    let answer = asked.await.unwrap();
    assert_eq!(answer.status, 401);
    assert_eq!(answer.headers["www-authenticate"], "Bearer x");
    assert_eq!(answer.headers["mcp-session-id"], "s2");
    assert_eq!(answer.json()["result"], json!({"n": 1}));
    let second = desk.post(&id, command, &result(200)).await;
    assert_eq!(
        (second.status.as_u16(), &*second.code()),
        (404, "pending_request_not_found")
    );
}

#[tokio::test]
async fn each_command_goes_to_one_client_in_order() {
    let desk = Desk::new();
    let id = desk.tunnel().await;
    assert_eq!(desk.poll(&id, "timeout_ms=1").await.len(), 0);
    for limit in ["0", "26", "x"] {
        let reply = desk
            .send(
                "GET",
                &format!("/v1/tunnels/{id}/poll?limit={limit}"),
                &[],
                "",
            )
            .await;
        assert_eq!(reply.status, 400, "{limit}");
    }
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked.push(desk.connect(&id, "POST", &[], LIST));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let full = desk.send("POST", &format!("/v1/mcp/{id}"), &[], LIST).await;
    assert_eq!(
        (full.status.as_u16(), &*full.code()),
        (503, "tunnel_queue_full")
    );
    let (one, two) = tokio::join!(
        desk.poll(&id, "limit=2&timeout_ms=10000"),
        desk.poll(&id, "limit=2&timeout_ms=10000")
    );
    assert_eq!((one.len(), two.len()), (2, 1));
    for command in one.iter().chain(&two) {
        let mut wrong = command.clone();
        wrong["shard_token"] = "x".into();
        assert_eq!(desk.post(&id, &wrong, &result(200)).await.status, 400);
        let mut unknown = result(200);
        unknown["resp_type"] = "x".into();
        assert_eq!(desk.post(&id, command, &unknown).await.status, 400);
        assert_eq!(desk.post(&id, command, &result(200)).await.status, 200);
    }
    for asked in asked {
        assert_eq!(asked.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn notes_come_before_the_answer_to_those_who_take_a_stream() {
    let desk = Desk::new();
    let id = desk.tunnel().await;
    desk.poll(&id, "timeout_ms=1").await;
    let note = json!({"resp_type": "jsonrpc_notify", "resp_code": 200,
        "resp_json": {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}});
    for (headers, lines) in [
        (&[("accept", "application/json, text/event-stream")][..], 17),
        (&[("accept", "application/json")], 1),
    ] {
        let asked = desk.connect(&id, "POST", headers, LIST);
        let commands = desk.poll(&id, "timeout_ms=10000").await;
        // More notes than are kept; the end has a place in any case.
        for _ in 0..40 {
            assert_eq!(desk.post(&id, &commands[0], &note).await.status, 200);
        }
        assert_eq!(desk.post(&id, &commands[0], &result(200)).await.status, 200);
        let answer = asked.await.unwrap();
        let messages = answer.text.matches("jsonrpc").count();
        assert!(messages >= lines && messages <= 41, "{}", answer.text);
        assert!(
            answer.text.trim_end().ends_with(r#""result":{}}"#),
            "{}",
            answer.text
        );
    }
}

#[tokio::test]
async fn a_notification_and_the_end_of_a_session_are_acknowledged() {
    let desk = Desk::new();
    let id = desk.tunnel().await;
    desk.poll(&id, "timeout_ms=1").await;
    let told = desk.connect(
        &id,
        "POST",
        &[],
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    );
    let commands = desk.poll(&id, "timeout_ms=10000").await;
    desk.post(
        &id,
        &commands[0],
        &json!({"resp_type": "notify_ack", "resp_code": 202}),
    )
    .await;
    let told = told.await.unwrap();
    assert_eq!((told.status.as_u16(), told.text.as_str()), (202, ""));

    let without = desk.send("DELETE", &format!("/v1/mcp/{id}"), &[], "").await;
    assert_eq!(
        (without.status.as_u16(), &*without.code()),
        (400, "missing_mcp_session_id")
    );
    let ended = desk.connect(&id, "DELETE", &[("mcp-session-id", "s")], "");
    let commands = desk.poll(&id, "timeout_ms=10000").await;
    assert_eq!(commands[0]["command_type"], "session_termination");
    let answer = json!({"resp_type": "session_termination_response", "resp_code": 204});
    desk.post(&id, &commands[0], &answer).await;
    assert_eq!(ended.await.unwrap().status, 204);

    let listening = desk.send("GET", &format!("/v1/mcp/{id}"), &[], "").await;
    assert_eq!(listening.status, 405);
    assert_eq!(listening.headers["allow"], "POST, DELETE");
    for body in ["", "[]", "{", r#"{"a":1}"#] {
        let reply = desk.send("POST", &format!("/v1/mcp/{id}"), &[], body).await;
        assert_eq!(
            (reply.status.as_u16(), &*reply.code()),
            (400, "invalid_json_payload"),
            "{body}"
        );
    }
    let reply = desk
        .send("POST", &format!("/v1/mcp/{id}/b%20ad"), &[], LIST)
        .await;
    assert_eq!(reply.code(), "invalid_channel_format");
}

#[tokio::test]
async fn nobody_waits_longer_than_the_deadline() {
    let desk = Desk::with(Limits {
        answer: Duration::from_millis(400),
        ..Limits::default()
    });
    let id = desk.tunnel().await;
    desk.poll(&id, "timeout_ms=1").await;
    let asked = desk.connect(&id, "POST", &[], LIST);
    let commands = desk.poll(&id, "timeout_ms=10000").await;
    let late = asked.await.unwrap();
    assert_eq!(
        (late.status.as_u16(), &*late.code()),
        (504, "tunnel_response_timeout")
    );
    assert_eq!(desk.post(&id, &commands[0], &result(200)).await.status, 404);

    // A connector that leaves takes its command along.
    let asked = desk.connect(&id, "POST", &[], LIST);
    tokio::time::sleep(Duration::from_millis(50)).await;
    asked.abort();
    let _ = asked.await;
    assert_eq!(desk.poll(&id, "timeout_ms=1").await.len(), 0);
}

#[tokio::test]
async fn channels_are_polled_apart() {
    let desk = Desk::new();
    let id = desk.tunnel().await;
    desk.poll(&id, "timeout_ms=1").await;
    let (other, path) = (desk.clone(), format!("/v1/mcp/{id}/Tools"));
    let asked = tokio::spawn(async move { other.send("POST", &path, &[], LIST).await });
    assert_eq!(desk.poll(&id, "channel=main&timeout_ms=50").await.len(), 0);
    let commands = desk
        .poll(&id, "channel=main&channel=tools&timeout_ms=10000")
        .await;
    assert_eq!(commands[0]["channel"], "tools");
    desk.post(&id, &commands[0], &result(200)).await;
    assert_eq!(asked.await.unwrap().status, 200);
}
