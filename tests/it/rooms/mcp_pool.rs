//! The pool of MCP clients: where it connects, what it keeps, when it connects again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Redirect};
use axum::routing::any;
use futures::{StreamExt, stream};
use mcp_cli::engine::Engine;
use mcp_cli::engine::model::Model;
use mcp_cli::mcp::{Command, EgressPolicy, PoolOptions};
use serde_json::json;

use super::mcp_faults::{MapType, call, engine, engine_with, failed_list, items_as, text};
use crate::support::{Mcp, dice_router, event_stream, http_server};

/// A server that gives out sessions.
struct Sessions {
    server: Mcp,
    started_again: Arc<AtomicBool>,
}

impl Sessions {
    /// A server that knows no session of before once it was started again; `status` tells so.
    fn start(status: u16) -> Self {
        let started_again = Arc::new(AtomicBool::new(false));
        let is_new = Arc::clone(&started_again);
        let server = Mcp::start(move |asked| {
            let known = if is_new.load(Ordering::SeqCst) {
                "new"
            } else {
                "old"
            };
            match (asked.method.as_str(), asked.session.as_deref()) {
                ("initialize", _) => {
                    let mut answer = asked.result(&json!({"protocolVersion": "2025-11-25",
                        "capabilities": {}, "serverInfo": {"name": "stand-in", "version": "1"}}));
                    let id = known.parse().unwrap();
                    answer.headers_mut().insert("mcp-session-id", id);
                    Some(answer)
                }
                ("server/discover", _) => None,
                (_, Some(session)) if session == known => None,
                _ => Some(text(status, None)),
            }
        });
        Self {
            server,
            started_again,
        }
    }
}

#[tokio::test]
async fn a_server_that_was_started_again_is_connected_to_again() {
    for status in [404, 400] {
        let sessions = Sessions::start(status);
        let engine = engine();
        let url = &sessions.server.url;
        assert_eq!(call(&engine, url).await["output"], "[4]");
        sessions.started_again.store(true, Ordering::SeqCst);
        assert_eq!(call(&engine, url).await["output"], "[4]");
        assert_eq!(sessions.server.asked("initialize").len(), 2);
        assert_eq!(sessions.server.asked("tools/call").len(), 2);
    }
}

#[tokio::test]
async fn a_call_that_a_new_server_does_not_know_is_made_once_more() {
    let sessions = Sessions::start(404);
    let engine = engine();
    let tool = json!({"type": "mcp", "server_label": "dice", "server_url": sessions.server.url,
        "require_approval": "never"});
    let request = json!({"input": "Roll 3 dice", "tools": [tool]});
    let events = engine.create_stream(serde_json::from_value(request).unwrap());
    let last = events
        .await
        .unwrap()
        .collect::<Vec<_>>()
        .await
        .pop()
        .unwrap();
    let id = last.unwrap().into_data()["response"]["id"].clone();
    sessions.started_again.store(true, Ordering::SeqCst);

    // The list is in context, so the call is the first that the server hears.
    let request = json!({"input": "Roll 2 dice", "tools": [tool], "previous_response_id": id});
    let events = engine.create_stream(serde_json::from_value(request).unwrap());
    let last = events
        .await
        .unwrap()
        .collect::<Vec<_>>()
        .await
        .pop()
        .unwrap();
    let response = last.unwrap().into_data()["response"].clone();
    assert_eq!(response["output"][0]["output"], "[4]", "{response:#}");
    let calls = sessions.server.asked("tools/call");
    let told: Vec<_> = calls
        .iter()
        .map(|it| it.session.as_deref().unwrap())
        .collect();
    assert_eq!(told, ["old", "old", "new"]);
}

#[tokio::test]
async fn a_list_on_a_connection_that_breaks_is_made_once_more() {
    let breaks = Arc::new(AtomicBool::new(false));
    let once = Arc::clone(&breaks);
    let server = Mcp::start(move |asked| {
        let is_broken = asked.method == "tools/list" && once.swap(false, Ordering::SeqCst);
        is_broken.then(|| {
            let broken = stream::iter([Err::<String, _>(std::io::Error::other("gone"))]);
            Body::from_stream(broken)
                .into_response()
                .map_type(Some("application/json"))
        })
    });
    let engine = engine();
    call(&engine, &server.url).await;
    breaks.store(true, Ordering::SeqCst);
    assert_eq!(call(&engine, &server.url).await["output"], "[4]");
    assert_eq!(server.asked("tools/list").len(), 3);
}

#[tokio::test]
async fn a_call_on_a_connection_that_breaks_is_not_made_again() {
    let server = Mcp::failing("tools/call", |_| {
        let broken = stream::iter([Err::<String, _>(std::io::Error::other("gone"))]);
        Body::from_stream(broken)
            .into_response()
            .map_type(Some("application/json"))
    });
    let engine = engine();
    for calls in 1..3 {
        let call = call(&engine, &server.url).await;
        assert_eq!(call["error"]["code"], 424, "{call}");
        assert_eq!(server.asked("tools/call").len(), calls);
    }
}

#[tokio::test]
async fn a_server_on_stdio_that_has_ended_is_started_again() {
    // It hears of one discovery, one list and one call.
    let three_lines = r#"for i in 1 2 3; do IFS= read -r line; printf '%s\n' "$line"; done"#;
    let binary = env!("CARGO_BIN_EXE_mcp-cli");
    let server = format!("{three_lines} | {binary} serve --transport stdio");
    let command = Command {
        program: "sh".to_owned(),
        arguments: vec!["-c".to_owned(), server],
        ..Command::default()
    };
    let commands = HashMap::from([("dice".to_owned(), command)]);
    let engine = Engine::new(Model::Rules, commands);
    for _ in 0..2 {
        let tool = json!({"type": "mcp", "server_label": "dice", "require_approval": "never"});
        let request = json!({"input": "Roll 3 dice", "tools": [tool]});
        let events = engine.create_stream(serde_json::from_value(request).unwrap());
        let last = events
            .await
            .unwrap()
            .collect::<Vec<_>>()
            .await
            .pop()
            .unwrap();
        let response = last.unwrap().into_data()["response"].clone();
        assert_eq!(response["output"][1]["status"], "completed", "{response:#}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    engine.close().await;
}

#[tokio::test]
async fn a_list_that_fails_is_not_the_last_one_that_did_not() {
    let is_broken = Arc::new(AtomicBool::new(false));
    let broken = Arc::clone(&is_broken);
    let server = Mcp::start(move |asked| {
        let fails = asked.method == "tools/list" && broken.load(Ordering::SeqCst);
        fails.then(|| text(401, None))
    });
    let engine = engine();
    call(&engine, &server.url).await;
    is_broken.store(true, Ordering::SeqCst);
    let (told, _) = failed_list(&engine, &server.url).await;
    assert_eq!(told, "401 (Unauthorized)");
}

#[tokio::test]
async fn a_stranger_is_not_connected_to_what_only_this_machine_reaches() {
    let server = Mcp::start(|_| None);
    let strict = || {
        engine_with(PoolOptions {
            egress: EgressPolicy::Guarded {
                allow_private: false,
                allow_loopback: true,
            },
            ..PoolOptions::default()
        })
    };
    for url in [
        "http://169.254.169.254/latest/meta-data",
        "http://2852039166/mcp",
        "http://[::ffff:a9fe:a9fe]/mcp",
        "http://10.0.0.1/mcp",
        "http://metadata.google.internal/mcp",
        &server.url.replace("http://", "http://user:canary@"),
    ] {
        let (told, reason) = failed_list(&strict(), url).await;
        assert_eq!(told, "400 (Bad Request)", "{url}");
        assert!(!reason.contains("canary"), "{reason}");
    }
    assert_eq!(call(&strict(), &server.url).await["output"], "[4]");
    let by_name = server.url.replace("127.0.0.1", "localhost");
    assert_eq!(call(&strict(), &by_name).await["output"], "[4]");
}

#[tokio::test]
async fn a_redirect_to_another_path_of_the_server_is_followed() {
    let redirect = any(async || Redirect::temporary("/moved/mcp"));
    let router = Router::new().route("/mcp", redirect);
    let server = http_server(router.nest("/moved", dice_router()));
    let url = format!("{}/mcp", server.url);
    assert_eq!(call(&engine(), &url).await["status"], "completed");
}

#[tokio::test]
async fn a_redirect_leads_nowhere_else() {
    let elsewhere = Mcp::start(|_| None);
    let target = elsewhere.url.clone();
    let server = Mcp::start(move |_| {
        let mut answer = text(307, None);
        answer
            .headers_mut()
            .insert("location", target.parse().unwrap());
        Some(answer)
    });
    let (told, _) = failed_list(&engine(), &server.url).await;
    assert!(told.starts_with("307"), "{told}");
    assert!(elsewhere.asked("server/discover").is_empty());
}

/// Waits until `is_so`, for a few seconds.
async fn soon(is_so: impl Fn() -> bool) -> bool {
    for _ in 0..100 {
        if is_so() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

#[tokio::test]
async fn a_pool_keeps_no_more_clients_than_it_may_and_closes_the_oldest() {
    let sessions = Sessions::start(404);
    let server = &sessions.server;
    let engine = engine_with(PoolOptions {
        most_clients: 2,
        ..PoolOptions::default()
    });
    for caller in ["a", "b", "a", "c", "a"] {
        items_as(&engine, &server.url, json!({"X-Caller": caller})).await;
    }
    // `a` was connected once, for it was used all the time.
    assert_eq!(server.asked("initialize").len(), 3);
    assert!(soon(|| server.asked("DELETE").len() == 1).await);
    engine.close().await;
    assert_eq!(server.asked("DELETE").len(), 3);
}

#[tokio::test]
async fn when_all_clients_are_in_use_the_next_one_waits() {
    let server = Mcp::start(|_| None);
    let engine = engine_with(PoolOptions {
        most_clients: 1,
        ..PoolOptions::default()
    });
    let callers = (0..20).map(|caller| {
        let (engine, url) = (engine.clone(), server.url.clone());
        async move { items_as(&engine, &url, json!({"X-Caller": caller.to_string()})).await }
    });
    for items in futures::future::join_all(callers).await {
        assert_eq!(items[1]["output"], "[4]", "{items:#?}");
    }
}

#[tokio::test]
async fn a_client_that_nobody_uses_is_closed() {
    let sessions = Sessions::start(404);
    let engine = engine_with(PoolOptions {
        idle_timeout: Duration::from_millis(200),
        ..PoolOptions::default()
    });
    call(&engine, &sessions.server.url).await;
    assert!(soon(|| sessions.server.asked("DELETE").len() == 1).await);
    call(&engine, &sessions.server.url).await;
    assert_eq!(sessions.server.asked("initialize").len(), 2);
}

#[tokio::test]
async fn a_client_in_use_is_not_closed_for_its_age() {
    let server = Mcp::failing("tools/call", |asked| {
        let answer =
            asked.fields(&json!({"result": {"content": [{"type": "text", "text": "[6]"}]}}));
        let late = stream::once(async move {
            tokio::time::sleep(Duration::from_millis(600)).await;
            Ok::<_, std::io::Error>(format!("data: {answer}\n\n"))
        });
        event_stream(Body::from_stream(late))
    });
    let engine = engine_with(PoolOptions {
        idle_timeout: Duration::from_millis(50),
        ..PoolOptions::default()
    });
    assert_eq!(call(&engine, &server.url).await["output"], "[6]");
}

#[tokio::test]
async fn a_pool_that_is_closed_ends_what_is_under_way() {
    let server = Mcp::failing("tools/call", |_| {
        event_stream(Body::from_stream(stream::pending::<
            Result<String, std::io::Error>,
        >()))
    });
    let engine = engine_with(PoolOptions::default());
    let (asking, url) = (engine.clone(), server.url.clone());
    let asked = tokio::spawn(async move { call(&asking, &url).await });
    assert!(soon(|| !server.asked("tools/call").is_empty()).await);
    tokio::time::timeout(Duration::from_secs(4), engine.close())
        .await
        .unwrap();
    let call = asked.await.unwrap();
    assert_eq!(call["status"], "failed");
    assert_eq!(call["error"]["code"], 424, "{call}");
}
