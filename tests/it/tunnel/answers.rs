//! Servers behind a tunnel that do not answer as they should.

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use http::StatusCode;
use serde_json::{Value, json};

use super::calls::result;
use crate::support::{Behind, Call, ControlPlane, Seen, TunnelClient, event_stream, request};

/// What is posted when a server answers the request `1` so.
async fn posts(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> Vec<Seen> {
    let behind = Behind::new(move |_| std::future::ready(answer()));
    let plane = ControlPlane::start();
    let client = TunnelClient::start(&plane, behind.router);
    plane.send_message("r1", &request(json!(1), "tools/call", json!({})), json!({}));
    plane.wait_for_posts(1).await;
    client.stop().await;
    plane.posts()
}

async fn failure(
    answer: impl Fn() -> Response + Clone + Send + Sync + 'static,
) -> (u64, String, String, String, Option<u64>) {
    let posts = posts(answer).await;
    let (kind, code, message) = posts[0].answer();
    assert_eq!((posts.len(), kind), (1, "jsonrpc_response"));
    assert_eq!(message["id"], 1);
    assert_eq!(message["error"]["code"], -32603);
    assert_eq!(
        posts[0].body["resp_headers"]["Content-Type"],
        json!(["application/json"])
    );
    assert!(!String::from_utf8_lossy(&posts[0].raw).contains("canary"));
    let (source, kind, status) = posts[0].failure();
    let message = message["error"]["message"].as_str().unwrap();
    (
        code,
        message.to_owned(),
        source.to_owned(),
        kind.to_owned(),
        status,
    )
}

fn whole(status: u16, body: impl Into<Body>) -> Response {
    let mut response = ([("content-type", "application/json")], body.into()).into_response();
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

#[tokio::test]
async fn a_refusal_that_is_not_an_error_of_mcp_is_classified_and_not_repeated() {
    let error = r#""error":{"code":-32001,"message":"canary"}"#;
    for (status, body, reason, source, kind) in [
        (
            503,
            "canary".to_owned(),
            "Service Unavailable",
            "target_http",
            "malformed_json",
        ),
        (
            500,
            String::new(),
            "Internal Server Error",
            "target_http",
            "response_body_missing",
        ),
        (
            404,
            "x".repeat(100 * 1024 + 1),
            "Not Found",
            "target_http",
            "response_body_too_large",
        ),
        (
            400,
            format!("[{{{error}}}]"),
            "Bad Request",
            "target_http",
            "invalid_mcp_error",
        ),
        (
            400,
            format!(r#"{{"jsonrpc":"2.0","id":"1",{error}}}"#),
            "Bad Request",
            "target_http",
            "invalid_mcp_error",
        ),
        (
            400,
            r#"{"jsonrpc":"2.0","id":1,"result":{"canary":1}}"#.to_owned(),
            "Bad Request",
            "target_http",
            "invalid_mcp_error",
        ),
        (
            302,
            String::new(),
            "Found",
            "protocol",
            "response_body_missing",
        ),
    ] {
        let got = failure(move || whole(status, body.clone())).await;
        let upstream = (source == "target_http").then_some(u64::from(status));
        let expected = (
            status.into(),
            reason.into(),
            source.into(),
            kind.into(),
            upstream,
        );
        assert_eq!(got, expected);
    }
    let broken = failure(|| {
        let error = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        whole(
            502,
            Body::from_stream(stream::iter([Err::<Bytes, _>(error)])),
        )
    });
    let (code, _, source, kind, _) = broken.await;
    assert_eq!(
        (code, &*source, &*kind),
        (502, "target_http", "response_body_unreadable")
    );
}

#[tokio::test]
async fn an_answer_that_is_missing_or_not_mcp_is_a_bad_gateway() {
    fn reset(start: &'static str) -> Body {
        let error = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        Body::from_stream(stream::iter([Ok(Bytes::from(start)), Err(error)]))
    }
    type Case = (fn() -> Response, &'static str, &'static str);
    let cases: [Case; 11] = [
        (
            || StatusCode::ACCEPTED.into_response(),
            "transport_closed",
            "eof",
        ),
        (
            || event_stream(": nothing\n\n"),
            "transport_closed",
            "unexpected_eof",
        ),
        (
            || event_stream(reset("data: {")),
            "transport_closed",
            "connection_reset",
        ),
        (
            || whole(200, reset("{")),
            "transport_closed",
            "connection_reset",
        ),
        (|| whole(200, "{canary"), "protocol", "malformed_json"),
        (
            || "<html>canary".into_response(),
            "protocol",
            "non_protocol_response",
        ),
        (|| whole(200, "[]"), "protocol", "invalid_protocol_response"),
        (
            || event_stream("data: canary\n\n"),
            "protocol",
            "malformed_json",
        ),
        (
            || event_stream("data: {\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"roots/list\"}\n\n"),
            "protocol",
            "invalid_protocol_response",
        ),
        (
            || whole(200, r#"{"jsonrpc":"2.0","id":"1","result":{}}"#),
            "protocol",
            "invalid_protocol_response",
        ),
        (
            || {
                whole(
                    200,
                    r#"{"jsonrpc":"2.0","error":{"code":1,"message":"canary"}}"#,
                )
            },
            "protocol",
            "invalid_protocol_response",
        ),
    ];
    for (answer, source, kind) in cases {
        let got = failure(answer).await;
        let expected = (502, "Bad Gateway".into(), source.into(), kind.into(), None);
        assert_eq!(got, expected);
    }
}

#[tokio::test]
async fn an_error_of_mcp_passes_byte_for_byte_with_its_status_and_challenge() {
    const ERROR: &str = r#"{"error": {"data": [], "code": -32003, "message": "log in"}, "id": 1, "jsonrpc": "2.0"}"#;
    let posts = posts(|| {
        let mut response = whole(401, ERROR);
        let challenge = "Bearer resource_metadata=\"x\"".parse().unwrap();
        response.headers_mut().insert("www-authenticate", challenge);
        response
    })
    .await;
    let (kind, code, _) = posts[0].answer();
    assert_eq!((kind, code), ("jsonrpc_response", 401));
    assert!(String::from_utf8_lossy(&posts[0].raw).contains(ERROR));
    assert_eq!(
        posts[0].body["resp_headers"]["Www-Authenticate"],
        json!(["Bearer resource_metadata=\"x\""])
    );
}

#[tokio::test]
async fn an_error_inside_a_success_is_an_ordinary_answer() {
    let posts = posts(|| {
        whole(
            200,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}"#,
        )
    })
    .await;
    assert_eq!(posts[0].answer().1, 200);
    assert_eq!(posts[0].answer().2["error"]["code"], -32601);
}

#[tokio::test]
async fn a_server_that_panics_fails_its_call_and_no_other() {
    let behind = Behind::new(async |call: Call| match call.message["method"].as_str() {
        Some("panic") => std::panic::resume_unwind(Box::new("a bug")),
        _ => result(&call, &json!({})),
    });
    let plane = ControlPlane::start();
    let client = TunnelClient::start(&plane, behind.router);
    plane.send_message("r1", &request(json!(1), "panic", json!({})), json!({}));
    let posts = plane.wait_for_posts(1).await;
    assert_eq!(posts[0].answer().1, 502);
    assert_eq!(posts[0].failure(), ("client_internal", "unknown", None));
    plane.send_message("r2", &request(json!(2), "ping", json!({})), json!({}));
    assert_eq!(plane.wait_for_posts(2).await[1].answer().1, 200);
    client.stop().await;
}

#[tokio::test]
async fn how_a_server_takes_a_notification_is_in_its_acknowledgement() {
    let behind = Behind::new(async |call: Call| match call.message["method"].as_str() {
        Some("gone") => StatusCode::NOT_FOUND.into_response(),
        Some("stream") => event_stream(Body::from_stream(
            stream::pending::<Result<Bytes, std::io::Error>>().boxed(),
        )),
        _ => StatusCode::ACCEPTED.into_response(),
    });
    let plane = ControlPlane::start();
    let client = TunnelClient::start(&plane, behind.router.clone());
    for (index, (method, status)) in [("gone", 404), ("stream", 200), ("fine", 202)]
        .into_iter()
        .enumerate()
    {
        let note = request(Value::Null, method, json!({}));
        plane.send_message(method, &note, json!({}));
        let posts = plane.wait_for_posts(index + 1).await;
        assert_eq!(posts[index].answer(), ("notify_ack", status, &Value::Null));
    }
    // An answer to a request of the server's own is delivered like a notification.
    let answer = json!({"jsonrpc": "2.0", "id": 9, "result": {}});
    plane.send_message("answer", &answer, json!({}));
    let posts = plane.wait_for_posts(4).await;
    assert_eq!(posts[3].answer(), ("notify_ack", 202, &Value::Null));
    assert_eq!(behind.calls()[3].message, answer);
    client.stop().await;
}

#[tokio::test]
async fn answers_that_take_too_much_memory_fail_alone() {
    let behind = Behind::new(async |call: Call| {
        let size = call.message["params"]["size"].as_u64().unwrap();
        result(&call, &json!("x".repeat(usize::try_from(size).unwrap())))
    });
    let plane = ControlPlane::start();
    let client = TunnelClient::start_with(&plane, behind.router, |options| {
        options.limits.max_answer = 10_000;
    });
    for (index, (size, code)) in [(10_000, 502), (9_000, 200)].into_iter().enumerate() {
        let id = format!("r{index}");
        plane.send_message(
            &id,
            &request(json!(1), "x", json!({"size": size})),
            json!({}),
        );
        let posts = plane.wait_for_posts(index + 1).await;
        assert_eq!(posts[index].answer().1, code);
    }
    assert_eq!(
        plane.posts()[0].failure(),
        ("protocol", "response_body_too_large", None)
    );
    client.stop().await;
}
