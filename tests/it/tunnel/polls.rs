//! How a control plane is polled, and what happens when it fails.

use std::time::{Duration, Instant};

use axum::Router;
use mcp_cli::tunnel::openai::{Event, Fault};
use serde_json::{Value, json};

use super::calls::result;
use crate::support::{Behind, Call, ControlPlane, Reply, TunnelClient, command, request};

fn echo() -> Behind {
    Behind::new(async |call: Call| result(&call, &json!({})))
}

fn ping(id: &str, more: Value) -> Value {
    command(id, &request(json!(id), "ping", json!({})), more)
}

fn ids(plane: &ControlPlane) -> Vec<String> {
    let posts = plane.posts();
    let ids = posts
        .iter()
        .map(|it| it.body["request_id"].as_str().unwrap().to_owned());
    let mut ids: Vec<String> = ids.collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn every_request_says_who_asks() {
    let plane = ControlPlane::start();
    let client = TunnelClient::start_with(&plane, echo().router, |options| {
        options.organization = Some("org-1".parse().unwrap());
        options.channels = vec!["tools".parse().unwrap(), "main".parse().unwrap()];
    });
    plane.send(ping("r1", json!({})));
    plane.wait_for_posts(1).await;
    plane.wait_for_polls(2).await;
    let instance = client.told(|event| match event {
        Event::Started { instance_id } => Some(instance_id.clone()),
        _ => None,
    });
    let instance = instance.await;
    let metadata = client.told(|event| match event {
        Event::Metadata(metadata) => Some(metadata.clone()),
        _ => None,
    });
    assert_eq!(metadata.await.name, "Test");
    client
        .told(|event| matches!(event, Event::Connected).then_some(()))
        .await;
    client.stop().await;
    let seen = [plane.metadata(), plane.polls(), plane.posts()].concat();
    for request in &seen {
        assert_eq!(request.header("x-tunnel-client-instance-id"), instance);
        assert_eq!(request.header("openai-organization"), "org-1");
        let info = request.header("x-tunnel-mcp-server-info");
        assert_eq!(info, r#"{"version":1,"channels":[{"name":"main"}]}"#);
        assert!(!request.headers.contains_key("x-tunnel-client-capabilities"));
    }
    let polls = plane.polls();
    let query = &polls[0].query;
    assert_eq!(query["channel"], ["main", "tools"]);
    // The first poll is short, because it says whether the tunnel works.
    assert_eq!(query["timeout_ms"], ["50"]);
    assert_eq!(polls[1].query["timeout_ms"], ["300"]);
    assert_eq!(query["limit"], ["20"]);
}

#[tokio::test]
async fn no_poll_asks_for_more_than_25_commands_or_than_there_is_room_for() {
    let hang = Behind::new(async |_| std::future::pending().await);
    let plane = ControlPlane::start();
    let client = TunnelClient::start_with(&plane, hang.router.clone(), |options| {
        options.limits.queue = 30;
        options.limits.workers = 1;
        options.limits.shutdown_grace = Duration::ZERO;
    });
    for index in 0..40 {
        plane.send(ping(&format!("r{index}"), json!({})));
    }
    hang.wait_for_calls(1).await;
    let polls = plane.wait_for_polls(2).await;
    // Long enough for a poll that must not come.
    tokio::time::sleep(Duration::from_millis(250)).await;
    let limits: Vec<u64> = plane
        .polls()
        .iter()
        .map(|it| it.query["limit"][0].parse().unwrap())
        .collect();
    assert_eq!(limits[0], 25);
    assert!(limits.iter().all(|it| *it <= 25), "{limits:?}");
    // One is with the server, 30 wait.
    assert!(polls.len() <= 4, "{limits:?}");
    assert!(
        (31..=32).contains(&limits.iter().sum::<u64>()),
        "{limits:?}"
    );
    client.stop().await;
}

#[tokio::test]
async fn commands_beyond_the_limit_are_carried_out() {
    let plane = ControlPlane::start();
    let client = TunnelClient::start_with(&plane, echo().router, |options| {
        options.limits.queue = 1;
        options.limits.workers = 1;
    });
    plane.send_all(&[
        ping("a", json!({})),
        ping("b", json!({})),
        ping("c", json!({})),
    ]);
    plane.wait_for_posts(3).await;
    client.stop().await;
    assert_eq!(plane.polls()[0].query["limit"], ["1"]);
    assert_eq!(ids(&plane), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_bad_command_does_not_take_the_others_with_it() {
    let plane = ControlPlane::start();
    let client = TunnelClient::start(&plane, echo().router);
    plane.send_all(&[
        ping("type", json!({"command_type": "oauth_discovery"})),
        ping("channel", json!({"channel": "a b"})),
        ping("payload", json!({"jsonrpc": {"no": "message"}})),
        json!(7),
        ping("good", json!({"unknown": [], "trace_context": false})),
    ]);
    plane.wait_for_posts(1).await;
    client.stop().await;
    assert_eq!(ids(&plane), ["good"]);
}

#[tokio::test]
async fn an_empty_list_and_204_are_followed_by_the_next_poll() {
    let plane = ControlPlane::start();
    plane.script_polls([Reply::with(200, r#"{"commands":[]}"#), Reply::with(204, "")]);
    let client = TunnelClient::start(&plane, echo().router);
    plane.wait_for_polls(3).await;
    plane.send(ping("r1", json!({})));
    plane.wait_for_posts(1).await;
    assert!(!client.has_told(|event| matches!(event, Event::PollFailed { .. })));
    client.stop().await;
}

#[tokio::test]
async fn an_empty_answer_that_comes_at_once_does_not_make_a_tight_loop() {
    let plane = ControlPlane::start();
    plane.script_polls((0..1000).map(|_| Reply::with(204, "")));
    let client = TunnelClient::start(&plane, echo().router);
    tokio::time::sleep(Duration::from_millis(200)).await;
    client.stop().await;
    assert!(plane.polls().len() < 20, "{}", plane.polls().len());
}

#[tokio::test]
async fn a_poll_that_fails_is_repeated_later_and_told() {
    for reply in [
        Reply::status(500),
        Reply::status(409),
        Reply::status(302),
        Reply::Drop,
        Reply::with(200, "<html>"),
        Reply::with(200, r#"{"commands":["#),
    ] {
        let plane = ControlPlane::start();
        plane.script_polls([reply.clone(), reply]);
        let client = TunnelClient::start(&plane, echo().router);
        plane.send(ping("r1", json!({})));
        plane.wait_for_posts(1).await;
        let delay = client.told(|event| match event {
            Event::PollFailed { retry_in, .. } => Some(*retry_in),
            _ => None,
        });
        assert_eq!(delay.await, Duration::from_millis(20));
        client
            .told(|event| matches!(event, Event::Connected).then_some(()))
            .await;
        plane.script_polls([Reply::status(503)]);
        let recovered = client.told(|event| match event {
            Event::Recovered { failures } => Some(*failures),
            _ => None,
        });
        assert_eq!(recovered.await, 1);
        client.stop().await;
    }
}

#[tokio::test]
async fn a_refused_key_is_shown_with_a_remedy_and_asked_for_less_often() {
    let plane = ControlPlane::start();
    let body =
        r#"{"error": {"message": "No use of sk-runtime-canary.", "code": "tunnel_use_forbidden"}}"#;
    plane.script_polls([Reply::with(401, body), Reply::with(403, body)]);
    let client = TunnelClient::start(&plane, echo().router);
    plane.send(ping("r1", json!({})));
    plane.wait_for_posts(1).await;
    let shown = client.told(|event| match event {
        Event::PollFailed { fault, retry_in } => Some((
            fault.to_string(),
            fault.remedy().unwrap(),
            fault.needs_a_person(),
            *retry_in,
        )),
        _ => None,
    });
    let (text, remedy, needs_a_person, retry_in) = shown.await;
    assert_eq!(
        text,
        "the control plane answered HTTP 401 tunnel_use_forbidden: No use of [redacted]."
    );
    assert!(remedy.contains("Tunnels Read and Use") && needs_a_person);
    assert_eq!(retry_in, Duration::from_millis(150));
    let polls = plane.polls();
    for pair in polls.windows(2).take(2) {
        assert!(pair[1].at - pair[0].at >= Duration::from_millis(150));
    }
    client.stop().await;
}

#[tokio::test]
async fn retry_after_of_a_poll_is_respected() {
    let plane = ControlPlane::start();
    plane.script_polls([Reply::retry_after(429, "60")]);
    let client = TunnelClient::start_with(&plane, echo().router, |options| {
        options.limits.longest_retry_after = Duration::from_millis(200);
    });
    let polls = plane.wait_for_polls(2).await;
    assert!(polls[1].at - polls[0].at >= Duration::from_millis(200));
    client.stop().await;
}

#[tokio::test]
async fn a_shutdown_ends_a_poll_at_once_and_lets_a_call_end() {
    let plane = ControlPlane::start();
    let client = TunnelClient::start_with(&plane, echo().router, |options| {
        options.limits.poll_wait = Duration::from_secs(60);
    });
    plane.wait_for_polls(1).await;
    let begun = Instant::now();
    client.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5));

    let slow = Behind::new(async |call: Call| {
        tokio::time::sleep(Duration::from_millis(100)).await;
        result(&call, &json!({}))
    });
    let plane = ControlPlane::start();
    let client = TunnelClient::start_with(&plane, slow.router.clone(), |options| {
        options.limits.workers = 1;
    });
    plane.send_all(&[ping("r1", json!({})), ping("r2", json!({}))]);
    slow.wait_for_calls(1).await;
    client.stop().await;
    assert_eq!(ids(&plane), ["r1", "r2"]);
}

#[tokio::test]
async fn a_control_plane_that_is_down_at_first_is_tried_again() {
    // A port where nothing listens.
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let plane = ControlPlane::start();
    let client = TunnelClient::start_with(&plane, Router::new(), |options| {
        options.base_url = format!("http://{address}/v1").parse().unwrap();
    });
    let failed = client.told(|event| match event {
        Event::PollFailed { fault, .. } => Some(matches!(fault, Fault::Unreachable(_))),
        _ => None,
    });
    assert!(failed.await);
    assert!(client.has_told(|event| matches!(event, Event::NoMetadata(_))));
    client.stop().await;
}

#[tokio::test]
async fn without_a_right_to_read_metadata_polling_goes_on() {
    let plane = ControlPlane::start();
    plane.script_metadata(Reply::status(403));
    let client = TunnelClient::start(&plane, echo().router);
    plane.send(ping("r1", json!({})));
    plane.wait_for_posts(1).await;
    client
        .told(|event| matches!(event, Event::NoMetadata(_)).then_some(()))
        .await;
    client.stop().await;
}

#[tokio::test]
async fn requests_that_hang_end_at_their_deadline_and_metadata_delays_no_poll() {
    let plane = ControlPlane::start();
    plane.script_metadata(Reply::Hang);
    plane.script_polls([Reply::Hang]);
    let client = TunnelClient::start_with(&plane, echo().router, |options| {
        options.limits.poll_wait = Duration::from_millis(20);
        options.limits.poll_guardrail = Duration::from_millis(80);
    });
    let timed_out = client.told(|event| match event {
        Event::PollFailed { fault, .. } => Some(matches!(fault, Fault::TimedOut(_))),
        _ => None,
    });
    assert!(timed_out.await);
    plane.send(ping("r1", json!({})));
    plane.wait_for_posts(1).await;
    client.stop().await;
}

#[tokio::test]
async fn nothing_is_polled_while_its_commands_might_not_fit_in_memory() {
    let hang = Behind::new(async |_| std::future::pending().await);
    let plane = ControlPlane::start();
    let client = TunnelClient::start_with(&plane, hang.router.clone(), |options| {
        options.limits.max_poll_body = 2000;
        options.limits.memory = 4000;
        options.limits.shutdown_grace = Duration::ZERO;
    });
    let large = json!({"x": "x".repeat(1200)});
    plane.send_all(&[ping("r1", large.clone())]);
    hang.wait_for_calls(1).await;
    plane.send_all(&[ping("r2", large)]);
    hang.wait_for_calls(2).await;
    let polls = plane.polls().len();
    // Long enough for a poll that must not come.
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(plane.polls().len(), polls);
    client.stop().await;
}

#[tokio::test]
async fn two_clients_of_one_tunnel_share_its_commands() {
    let plane = ControlPlane::start();
    let behind = echo();
    let first = TunnelClient::start(&plane, behind.router.clone());
    let second = TunnelClient::start(&plane, behind.router.clone());
    for index in 0..6 {
        plane.send(ping(&format!("r{index}"), json!({})));
        plane.wait_for_polls(index + 2).await;
    }
    plane.wait_for_posts(6).await;
    first.stop().await;
    second.stop().await;
    assert_eq!(ids(&plane), ["r0", "r1", "r2", "r3", "r4", "r5"]);
    assert_eq!(behind.calls().len(), 6);
}
