//! Commands that expire before they begin, while the server works, and while the answer is posted.

use std::time::Duration;

use axum::response::IntoResponse;
use mcp_cli::tunnel::openai::Options;
use serde_json::{Value, json};

use super::calls::result;
use crate::support::{Behind, Call, ControlPlane, Reply, TunnelClient, command, request};

/// Answers all but `hang`.
fn server() -> Behind {
    Behind::new(async |call: Call| match call.message["method"].as_str() {
        Some("hang") => std::future::pending().await,
        Some(_) => result(&call, &json!({})),
        None => http::StatusCode::BAD_REQUEST.into_response(),
    })
}

fn ping(id: &str, more: Value) -> Value {
    command(id, &request(json!(id), "ping", json!({})), more)
}

fn hang(id: &str, more: Value) -> Value {
    command(id, &request(json!(id), "hang", json!({})), more)
}

fn one_worker(options: &mut Options) {
    options.limits.workers = 1;
}

#[tokio::test]
async fn a_command_that_has_expired_is_neither_carried_out_nor_answered() {
    let behind = server();
    let plane = ControlPlane::start();
    let client = TunnelClient::start(&plane, behind.router.clone());
    plane.send_all(&[
        ping("expired", json!({"response_timeout": "0s"})),
        ping("malformed", json!({"response_timeout": "0s "})),
        ping("number", json!({"response_timeout": 30})),
        ping("long", json!({"response_timeout": "30s"})),
    ]);
    plane.wait_for_posts(3).await;
    client.stop().await;
    let answered: Vec<_> = plane
        .posts()
        .iter()
        .map(|it| it.body["request_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((answered.len(), behind.calls().len()), (3, 3));
    assert!(!answered.contains(&"expired".to_owned()));
}

#[tokio::test]
async fn a_call_that_expires_is_cancelled_and_the_next_one_is_served() {
    let behind = server();
    let plane = ControlPlane::start();
    let client = TunnelClient::start_with(&plane, behind.router.clone(), one_worker);
    plane.send_all(&[
        hang("r1", json!({"response_timeout": "60ms"})),
        // It expires while it waits for the worker.
        ping("r2", json!({"response_timeout": "50ms"})),
        ping("r3", json!({})),
    ]);
    let posts = plane.wait_for_posts(1).await;
    assert_eq!(posts[0].body["request_id"], "r3");
    client.stop().await;
    assert_eq!(plane.posts().len(), 1);
    assert_eq!(behind.calls().len(), 2);
}

#[tokio::test]
async fn a_post_that_expires_is_cancelled() {
    let plane = ControlPlane::start();
    let client = TunnelClient::start_with(&plane, server().router, one_worker);
    plane.script_posts([Reply::Hang]);
    plane.send_all(&[
        ping("r1", json!({"response_timeout": "100ms"})),
        ping("r2", json!({})),
    ]);
    let posts = plane.wait_for_posts(2).await;
    assert_eq!(posts[1].body["request_id"], "r2");
    client.stop().await;
    assert_eq!(plane.posts().len(), 2);
}

#[tokio::test]
async fn without_a_deadline_a_call_ends_at_the_limit_and_nothing_is_posted() {
    let plane = ControlPlane::start();
    let client = TunnelClient::start_with(&plane, server().router, |options| {
        options.limits.workers = 1;
        options.limits.max_answer_time = Duration::from_millis(50);
    });
    plane.send_all(&[hang("r1", json!({})), ping("r2", json!({}))]);
    let posts = plane.wait_for_posts(1).await;
    assert_eq!(posts[0].body["request_id"], "r2");
    client.stop().await;
    assert_eq!(plane.posts().len(), 1);
}
