//! Posts that the control plane does not take at once.

use std::time::{Duration, Instant};

use mcp_cli::tunnel::openai::Event;
use serde_json::{Value, json};

use super::calls::result;
use crate::support::{
    Behind, Call, ControlPlane, Reply, Seen, TunnelClient, command, event_stream, request,
};

const FIRST: Duration = Duration::from_millis(20);

fn ping(id: &str) -> Value {
    command(id, &request(json!(id), "ping", json!({})), json!({}))
}

fn echo() -> Behind {
    Behind::new(async |call: Call| result(&call, &json!({})))
}

/// What is posted for one command if the posts are answered so, and then the next command.
async fn posts(replies: impl IntoIterator<Item = Reply>) -> Vec<Seen> {
    let behind = echo();
    let plane = ControlPlane::start();
    let client = TunnelClient::start_with(&plane, behind.router.clone(), |options| {
        options.limits.workers = 1;
        options.limits.longest_retry_after = Duration::from_millis(150);
    });
    plane.script_posts(replies);
    plane.send_all(&[ping("r1"), ping("last")]);
    loop {
        let posts = plane.posts();
        if posts
            .last()
            .is_some_and(|it| it.body["request_id"] == "last")
        {
            client.stop().await;
            assert_eq!(behind.calls().len(), 2);
            return posts;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn waits(posts: &[Seen]) -> Vec<Duration> {
    posts.windows(2).map(|it| it[1].at - it[0].at).collect()
}

#[tokio::test]
async fn a_post_whose_connection_broke_is_repeated_as_it_was() {
    let posts = posts([Reply::Drop]).await;
    assert_eq!(posts.len(), 3);
    assert_eq!(posts[0].raw, posts[1].raw);
    assert_eq!(posts[0].headers, posts[1].headers);
    assert!(waits(&posts)[0] >= FIRST);
}

#[tokio::test]
async fn a_post_is_tried_three_times_and_the_next_command_is_served() {
    for status in [408, 429, 502, 503, 504] {
        let posts = posts([
            Reply::status(status),
            Reply::status(status),
            Reply::status(status),
        ]);
        assert_eq!(posts.await.len(), 4, "{status}");
    }
}

#[tokio::test]
async fn a_post_that_was_refused_for_good_is_not_repeated() {
    for status in [201, 204, 302, 400, 401, 403, 404, 409, 500] {
        assert_eq!(posts([Reply::status(status)]).await.len(), 2, "{status}");
    }
}

#[tokio::test]
async fn retry_after_is_respected_up_to_a_limit_and_ignored_if_it_is_malformed() {
    for (value, is_long) in [
        ("3600", true),
        ("abc", false),
        ("Tue, 01 Sep 2020 12:00:00 GMT", false),
    ] {
        let posts = posts([Reply::retry_after(503, value)]).await;
        let wait = waits(&posts)[0];
        assert!(wait >= FIRST);
        assert_eq!(
            wait >= Duration::from_millis(150),
            is_long,
            "{value}: {wait:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_replaced_by_an_error() {
    let posts = posts([Reply::status(413)]).await;
    assert_eq!(posts.len(), 3);
    assert_eq!(posts[1].body["request_id"], "r1");
    assert_eq!(posts[1].answer().1, 502);
    assert_eq!(
        posts[1].failure(),
        ("client_internal", "response_body_too_large", None)
    );
}

#[tokio::test]
async fn a_person_is_told_of_answers_that_nobody_gets() {
    let plane = ControlPlane::start();
    let client = TunnelClient::start(&plane, echo().router);
    plane.script_posts([Reply::status(404)]);
    plane.send(ping("r1"));
    let unclaimed = client.told(|event| match event {
        Event::Unclaimed { request_id } => Some(request_id.clone()),
        _ => None,
    });
    assert_eq!(unclaimed.await, "r1");
    plane.script_posts([Reply::with(
        400,
        r#"{"error": {"message": "No.", "code": "invalid_json_payload"}}"#,
    )]);
    plane.send(ping("r2"));
    let failed = client.told(|event| match event {
        Event::PostFailed { request_id, fault } => {
            Some((request_id.clone(), fault.to_string(), fault.remedy()))
        }
        _ => None,
    });
    let (request_id, why, remedy) = failed.await;
    assert_eq!(request_id, "r2");
    assert_eq!(
        why,
        "the control plane answered HTTP 400 invalid_json_payload: No."
    );
    assert!(remedy.unwrap().contains("Unicode"));
    client.stop().await;
}

/// A server that reports progress twice.
fn chatty() -> Behind {
    Behind::new(async |_| {
        let note = |step| {
            format!("data: {{\"jsonrpc\":\"2.0\",\"method\":\"n\",\"params\":[{step}]}}\n\n")
        };
        let answer = "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n";
        event_stream(format!("{}{}{answer}", note(1), note(2)))
    })
}

async fn notes(replies: impl IntoIterator<Item = Reply>) -> Vec<(String, Value, Value)> {
    let plane = ControlPlane::start();
    let client = TunnelClient::start(&plane, chatty().router);
    plane.script_posts(replies);
    plane.send_message("r1", &request(json!(1), "tools/call", json!({})), json!({}));
    let begun = Instant::now();
    while !plane
        .posts()
        .iter()
        .any(|it| it.answer().0 == "jsonrpc_response")
    {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    client.stop().await;
    let posts = plane.posts();
    let parts = posts.iter().map(|it| {
        let content_type = it.body["resp_headers"]["Content-Type"][0].clone();
        let (kind, _, message) = it.answer();
        (kind.to_owned(), message["params"][0].clone(), content_type)
    });
    parts.collect()
}

#[tokio::test]
async fn a_note_that_was_rejected_unread_is_repeated() {
    let stream = json!("text/event-stream");
    let note = |step: u8| ("jsonrpc_notify".to_owned(), json!(step), stream.clone());
    let answer = ("jsonrpc_response".to_owned(), Value::Null, stream.clone());
    assert_eq!(
        notes([Reply::status(429)]).await,
        [note(1), note(1), note(2), answer]
    );
}

#[tokio::test]
async fn after_a_note_that_may_have_been_taken_only_the_answer_is_posted() {
    for reply in [Reply::status(503), Reply::status(404), Reply::Drop] {
        let posted = notes([reply]).await;
        assert_eq!(posted.len(), 2);
        assert_eq!(posted[0].0, "jsonrpc_notify");
        // No note has arrived, so that the answer is not part of a stream.
        let json = json!("application/json");
        assert_eq!(
            posted[1],
            ("jsonrpc_response".to_owned(), Value::Null, json)
        );
    }
}
