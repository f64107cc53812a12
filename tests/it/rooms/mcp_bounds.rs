//! What an MCP server may send before its answer, and what its answers may take of the memory that
//! all requests share.

use std::time::Duration;

use axum::body::Body;
use futures::{StreamExt, stream};
use mcp_cli::budget::Budget;
use mcp_cli::engine::Engine;
use mcp_cli::mcp::PoolOptions;
use mcp_cli::responses::Error;
use serde_json::{Value, json};

use super::mcp_faults::{call, engine_with, failed_list};
use crate::support::{Asked, Mcp, event_stream, roll_dice};

fn event(message: &Value) -> String {
    format!("data: {message}\n\n")
}

fn request(id: usize, method: &str) -> String {
    event(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {}}))
}

/// A stream of these events, and no end of it.
fn open_stream(events: impl Iterator<Item = String> + Send + 'static) -> axum::response::Response {
    let events = stream::iter(events).map(Ok::<_, std::io::Error>);
    event_stream(Body::from_stream(events.chain(stream::pending())))
}

/// What the client answered to requests of the server's own.
fn replies(server: &Mcp) -> Vec<Value> {
    let posts = server.asked("POST").into_iter();
    posts.map(|it| it.message).collect()
}

#[tokio::test]
async fn a_server_that_asks_in_place_of_an_answer_is_refused_a_few_times_and_given_up() {
    let words = "too much: 17 requests of its own, the last of them \"sampling/createMessage\"";
    let asks = |_: &Asked| open_stream((0..).map(|id| request(id, "sampling/createMessage")));
    for answered in ["initialize", "tools/list"] {
        let server = Mcp::failing(answered, asks);
        let engine = engine_with(PoolOptions::default());
        let (told, reason) = failed_list(&engine, &server.url).await;
        assert_eq!(told, "424 (Failed Dependency)");
        assert!(reason.contains(words), "{answered}: {reason}");
        assert!(replies(&server).len() <= 16, "{answered}");
    }
    let server = Mcp::failing("tools/call", asks);
    let call = call(&engine_with(PoolOptions::default()), &server.url).await;
    let why = call["error"]["message"].as_str().unwrap();
    assert!(why.contains(words), "{why}");
}

#[tokio::test]
async fn pings_in_place_of_an_answer_are_answered_and_counted() {
    let server = Mcp::failing("tools/list", |_| {
        open_stream((0..).map(|id| request(id, "ping")))
    });
    let engine = engine_with(PoolOptions::default());
    let (_, reason) = failed_list(&engine, &server.url).await;
    assert!(reason.contains("too much: 257 pings"), "{reason}");
    assert!(replies(&server).len() <= 256);
}

#[tokio::test]
async fn a_server_that_asks_and_then_answers_has_its_answer_taken() {
    let server = Mcp::failing("tools/call", |asked| {
        let answer = event(&asked.fields(&json!({"result":
            {"content": [{"type": "text", "text": "[6]"}]}})));
        // An event of another name is not a message, and is skipped.
        let asks = "event: ping\ndata: ping\n\n".to_owned()
            + &request(1, "ping")
            + &request(2, "roots/list");
        let answered = stream::once(async { asks }).chain(stream::once(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            answer
        }));
        event_stream(Body::from_stream(answered.map(Ok::<_, std::io::Error>)))
    });
    let engine = engine_with(PoolOptions::default());
    assert_eq!(call(&engine, &server.url).await["output"], "[6]");
    let mut replies = replies(&server);
    replies.sort_by_key(|it| it["id"].as_u64());
    assert_eq!(replies[0], json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
    assert_eq!(replies[1]["id"], 2);
    assert_eq!(replies[1]["error"]["code"], -32601);
    assert_eq!(replies.len(), 2);
}

#[tokio::test]
async fn notifications_in_place_of_an_answer_are_counted_and_weighed() {
    let note = |size: usize| {
        event(
            &json!({"jsonrpc": "2.0", "method": "notifications/message", "params": "x".repeat(size)}),
        )
    };
    let server = Mcp::failing("tools/list", move |_| {
        open_stream(std::iter::repeat(note(1024 * 1024)))
    });
    let engine = engine_with(PoolOptions::default());
    let (_, reason) = failed_list(&engine, &server.url).await;
    assert_eq!(
        reason,
        "the MCP server sent too much: notifications of more than 32 MiB and no answer"
    );
}

#[tokio::test]
async fn what_a_server_says_of_itself_is_short() {
    let server = Mcp::failing("initialize", |asked| {
        asked.result(&json!({"protocolVersion": "2025-11-25", "capabilities": {},
            "serverInfo": {"name": "stand-in", "version": "1"},
            "instructions": "x".repeat(2 * 1024 * 1024)}))
    });
    let engine = engine_with(PoolOptions::default());
    let (_, reason) = failed_list(&engine, &server.url).await;
    assert_eq!(
        reason,
        "the MCP server sent too much: an answer of more than 1 MiB"
    );
}

#[tokio::test]
async fn pages_without_tools_come_to_an_end() {
    let server = Mcp::failing("tools/list", |asked| {
        let page = asked.message["params"]["cursor"].as_str();
        let page: usize = page.map_or(0, |it| it.parse().unwrap());
        asked.result(&json!({"tools": [], "nextCursor": (page + 1).to_string()}))
    });
    let engine = engine_with(PoolOptions::default());
    let (_, reason) = failed_list(&engine, &server.url).await;
    assert!(
        reason.contains("a list of tools of more than 1000 pages"),
        "{reason}"
    );
}

/// An engine whose lists and results share so many bytes.
fn engine_of(budget: &Budget) -> Engine {
    engine_with(PoolOptions {
        budget: budget.clone(),
        ..PoolOptions::default()
    })
}

/// The end of the answer to `Roll 3 dice`.
async fn end(engine: &Engine, url: &str) -> Result<Value, Error> {
    let request = json!({"input": "Roll 3 dice", "tools": [{"type": "mcp", "server_label": "dice",
        "server_url": url, "require_approval": "never"}]});
    let events = engine.create_stream(serde_json::from_value(request).unwrap());
    let mut events = events.await.unwrap().collect::<Vec<_>>().await;
    let event = events.pop().unwrap()?;
    Ok(Value::Object(event.into_data()))
}

#[tokio::test]
async fn a_list_for_which_there_is_no_memory_is_refused_and_the_memory_given_back() {
    let server = Mcp::failing("tools/list", |asked| {
        let mut tool = roll_dice();
        tool["description"] = "x".repeat(100_000).into();
        asked.result(&json!({"tools": [tool]}))
    });
    // While it is read, when it is parsed, and when items are made of it.
    for bytes in [50_000, 150_000, 300_000] {
        let budget = Budget::new(2_000_000);
        let others = budget.hold(2_000_000 - bytes).unwrap();
        let refused = end(&engine_of(&budget), &server.url).await;
        assert!(
            matches!(refused, Err(Error::Refused { status: 503, .. })),
            "{refused:?}"
        );
        assert_eq!(budget.used(), others.bytes());
        // One that never fits is not worth another try.
        let budget = Budget::new(bytes);
        let failed = end(&engine_of(&budget), &server.url).await.unwrap();
        let message = &failed["response"]["error"]["message"];
        assert!(
            message
                .as_str()
                .unwrap()
                .contains("424 (Failed Dependency)"),
            "{message}"
        );
        assert_eq!(budget.used(), 0);
    }
    let budget = Budget::new(2_000_000);
    let engine = engine_of(&budget);
    for _ in 0..3 {
        let done = end(&engine, &server.url).await.unwrap();
        assert_eq!(done["type"], "response.completed");
        assert_eq!(budget.used(), 0);
    }
}

#[tokio::test]
async fn a_result_for_which_there_is_no_memory_is_a_failed_call() {
    let server = Mcp::failing("tools/call", |asked| {
        let text = json!({"type": "text", "text": "x".repeat(100_000)});
        asked.result(&json!({"content": [text]}))
    });
    for (limit, code) in [(100_000, 424), (2_000_000, 503)] {
        let budget = Budget::new(limit);
        let others = budget.hold(limit - 100_000).unwrap();
        let failed = call(&engine_of(&budget), &server.url).await;
        assert_eq!(failed["error"]["code"], code, "{failed}");
        assert_eq!(budget.used(), others.bytes());
    }
    let budget = Budget::new(2_000_000);
    let done = call(&engine_of(&budget), &server.url).await;
    assert_eq!(done["output"].as_str().unwrap().len(), 100_000);
    assert_eq!(budget.used(), 0);
}
