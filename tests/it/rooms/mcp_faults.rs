//! MCP servers that do what no healthy one does: each is the right item or error, and never a hang.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use http::StatusCode;
use mcp_cli::budget::Budget;
use mcp_cli::engine::model::Model;
use mcp_cli::engine::{Bounds, Engine, Store};
use mcp_cli::mcp::{ClientPool, PoolOptions};
use serde_json::{Value, json};

use crate::support::{Asked, Faulty, Mcp, Step, assert_is_event, event_stream, roll_dice};

/// An engine that waits a second for a server.
pub fn engine() -> Engine {
    engine_with(PoolOptions {
        list_timeout: Duration::from_secs(1),
        call_timeout: Duration::from_secs(1),
        ..PoolOptions::default()
    })
}

pub fn engine_with(options: PoolOptions) -> Engine {
    let store = Store::in_memory(Bounds::default());
    let budget = Budget::unlimited();
    Engine::shared(Model::Rules, ClientPool::new(options), None, store, budget)
}

/// The items of the answer to `Roll 3 dice`; with `headers`, so that each asks as somebody else.
pub async fn items_as(engine: &Engine, url: &str, headers: Value) -> Vec<Value> {
    let request = json!({"input": "Roll 3 dice", "tools": [{"type": "mcp", "headers": headers,
        "server_label": "dice", "server_url": url, "require_approval": "never"}]});
    let events = engine.create_stream(serde_json::from_value(request).unwrap());
    let events = events.await.unwrap().map(|event| {
        let event = Value::Object(event.unwrap().into_data());
        assert_is_event(&event);
        event
    });
    let events: Vec<Value> = tokio::time::timeout(Duration::from_secs(30), events.collect())
        .await
        .expect("it hangs");
    let done = events
        .iter()
        .filter(|it| it["type"] == "response.output_item.done");
    let mut items: Vec<Value> = done.map(|it| it["item"].clone()).collect();
    items.extend(events.into_iter().filter(|it| it["type"] == "error"));
    items
}

async fn items(engine: &Engine, url: &str) -> Vec<Value> {
    items_as(engine, url, json!({})).await
}

/// The status and the reason with which a list fails.
pub async fn failed_list(engine: &Engine, url: &str) -> (String, String) {
    let items = items(engine, url).await;
    let [list, error] = &items[..] else {
        panic!("{items:#?}");
    };
    let message = error["error"]["message"].as_str().unwrap();
    let (_, status) = message.split_once("Http status code: ").unwrap();
    let reason = list["error"].as_str().unwrap();
    (status.to_owned(), reason.to_owned())
}

/// The call of an answer that came to its end.
pub async fn call(engine: &Engine, url: &str) -> Value {
    let items = items(engine, url).await;
    let types: Vec<&str> = items
        .iter()
        .map(|it| it["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        ["mcp_list_tools", "mcp_call", "message"],
        "{items:#?}"
    );
    let call = items[1].clone();
    let is_failed = call["status"] == "failed";
    assert_eq!(is_failed, call["output"].is_null(), "{call}");
    assert_eq!(is_failed, !call["error"].is_null(), "{call}");
    call
}

pub fn text(status: u16, challenge: Option<&'static str>) -> Response {
    let mut response = (StatusCode::from_u16(status).unwrap(), "no").into_response();
    if let Some(challenge) = challenge {
        let headers = response.headers_mut();
        headers.insert("www-authenticate", challenge.parse().unwrap());
    }
    response
}

const STATUSES: [u16; 11] = [400, 401, 403, 404, 405, 406, 415, 429, 500, 502, 503];

#[tokio::test]
async fn a_list_that_http_refuses_has_the_status_of_the_refusal() {
    for status in STATUSES {
        for method in ["initialize", "tools/list"] {
            let server = Mcp::failing(method, move |_| text(status, None));
            let (told, _) = failed_list(&engine(), &server.url).await;
            assert!(told.starts_with(&status.to_string()), "{method}: {told}");
        }
        // The same as a JSON-RPC error of a server that speaks it.
        let server = Mcp::failing("tools/list", move |asked| {
            let status = StatusCode::from_u16(status).unwrap();
            (status, asked.error(-32000, "no")).into_response()
        });
        let (told, _) = failed_list(&engine(), &server.url).await;
        assert!(told.starts_with(&status.to_string()), "{told}");
    }
    let challenge = r#"Bearer error="invalid_token", error_description="it has expired""#;
    let server = Mcp::failing("tools/list", move |_| text(401, Some(challenge)));
    let (told, reason) = failed_list(&engine(), &server.url).await;
    assert_eq!(told, "401 (Unauthorized)");
    assert!(reason.ends_with("it has expired"), "{reason}");
}

#[tokio::test]
async fn a_call_that_http_refuses_is_an_http_error_and_the_turn_goes_on() {
    for status in STATUSES {
        for challenge in [None, Some("Bearer realm=\"dice\"")] {
            let server = Mcp::failing("tools/call", move |_| text(status, challenge));
            let call = call(&engine(), &server.url).await;
            assert_eq!(call["error"]["type"], "http_error", "{call}");
            assert_eq!(call["error"]["code"], status);
        }
    }
}

#[tokio::test]
async fn an_error_of_json_rpc_is_told_with_its_code() {
    for (status, code, message) in [
        (200, -32020, "Header mismatch"),
        (400, -32020, "Header mismatch"),
        (200, -32022, "Unsupported protocol version"),
        (400, -32022, "Unsupported protocol version"),
        (200, 32600, "Session terminated"),
        (200, -32602, "Unknown tool"),
        (500, -32603, "Internal error"),
    ] {
        let answer = move |asked: &Asked| {
            let status = StatusCode::from_u16(status).unwrap();
            (status, asked.error(code, message)).into_response()
        };
        let server = Mcp::failing("tools/call", answer);
        assert_eq!(
            call(&engine(), &server.url).await["error"],
            json!({"type": "mcp_protocol_error", "code": code, "message": message})
        );
        let server = Mcp::failing("tools/list", answer);
        let (told, _) = failed_list(&engine(), &server.url).await;
        let expected = if status == 200 { 424 } else { status };
        assert!(told.starts_with(&expected.to_string()), "{told}");
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_told_at_once() {
    type Answer = fn(&Asked) -> Response;
    let answers: [(&str, Answer); 15] = [
        ("not to the request", |it| {
            axum::Json(json!({"jsonrpc": "2.0", "id": 4711, "result": it.message})).into_response()
        }),
        ("not to the request", |_| {
            axum::Json(json!({"jsonrpc": "2.0", "method": "ping", "id": 1})).into_response()
        }),
        ("unrecognized JSON-RPC message", |it| {
            it.message(&json!({"result": {"tools": [], "content": []},
                "error": {"code": -1, "message": "no"}}))
        }),
        ("", |it| it.message(&json!({}))),
        ("", |it| {
            axum::Json(json!([it.fields(&json!({"result": {"tools": []}}))])).into_response()
        }),
        ("", |_| axum::Json(json!([])).into_response()),
        ("", |_| axum::Json(json!(null)).into_response()),
        ("no content type", |_| "".into_response().map_type(None)),
        ("text/html", |_| {
            "<html>".into_response().map_type(Some("text/html"))
        }),
        ("no content type", |_| StatusCode::ACCEPTED.into_response()),
        ("no content type", |_| {
            StatusCode::NO_CONTENT.into_response()
        }),
        ("", |_| {
            event_stream("data: {\"jsonrpc\": \"2.0\", \"id\": 4711, \"result\": {}}\n\n")
        }),
        ("", |_| event_stream("")),
        ("", |_| event_stream("data: {\"jsonrpc\": \"2.0\", \"id\"")),
        ("", |it| {
            let answer = it.fields(&json!({"result": {"tools": []}})).to_string();
            let cut = answer[..answer.len() / 2].to_owned();
            event_stream(format!(
                "id: 1\nretry: 100000\ndata:\n\nid: 2\ndata: {cut}\n\n"
            ))
        }),
    ];
    for (words, answer) in answers {
        for method in ["initialize", "tools/list", "tools/call"] {
            let server = Mcp::failing(method, answer);
            let engine = engine_with(PoolOptions::default());
            let asked = Instant::now();
            let reason = if method == "tools/call" {
                let call = call(&engine, &server.url).await;
                assert_eq!(call["error"]["type"], "http_error", "{call}");
                assert_eq!(call["error"]["code"], 424);
                call["error"]["message"].as_str().unwrap().to_owned()
            } else {
                let (told, reason) = failed_list(&engine, &server.url).await;
                assert_eq!(told, "424 (Failed Dependency)");
                reason
            };
            assert!(reason.contains(words), "{method}: {reason}");
            assert!(
                asked.elapsed() < Duration::from_secs(5),
                "{method}: {words}"
            );
        }
    }
}

pub trait MapType {
    fn map_type(self, content_type: Option<&'static str>) -> Response;
}

impl MapType for Response {
    fn map_type(mut self, content_type: Option<&'static str>) -> Response {
        self.headers_mut().remove("content-type");
        if let Some(content_type) = content_type {
            let value = content_type.parse().unwrap();
            self.headers_mut().insert("content-type", value);
        }
        self
    }
}

#[tokio::test]
async fn an_error_without_an_id_is_the_answer_to_what_was_asked() {
    let server = Mcp::failing("tools/call", |_| {
        axum::Json(json!({"jsonrpc": "2.0", "id": null, "error":
            {"code": -32700, "message": "Parse error"}}))
        .into_response()
    });
    let call = call(&engine(), &server.url).await;
    assert_eq!(call["error"]["code"], -32700, "{call}");
}

#[tokio::test]
async fn a_server_that_never_comes_to_an_end_is_given_up() {
    let silent = Faulty::start([Step::Hang]);
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{".to_vec();
    let dripping = Faulty::start([Step::Drip(head, Duration::from_millis(50)), Step::Hang]);
    for faulty in [silent, dripping] {
        let url = format!("http://{}/mcp", faulty.address);
        let (told, reason) = failed_list(&engine(), &url).await;
        assert_eq!(told, "424 (Failed Dependency)");
        assert_eq!(reason, "the MCP server did not answer within 1 s");
    }
    type Answer = fn(&Asked) -> Response;
    let drip = |_: &Asked| {
        let bytes = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Some((Ok::<_, std::io::Error>(" "), ()))
        });
        Body::from_stream(bytes)
    };
    let never: [Answer; 3] = [
        |_| {
            event_stream(Body::from_stream(stream::pending::<
                Result<String, std::io::Error>,
            >()))
        },
        |_| {
            let body = Body::from_stream(stream::pending::<Result<String, std::io::Error>>());
            body.into_response().map_type(Some("application/json"))
        },
        |_| event_stream(": still there\n\n".repeat(3)),
    ];
    for answer in never {
        let server = Mcp::failing("tools/call", answer);
        let call = call(&engine(), &server.url).await;
        assert_eq!(call["error"]["code"], 424, "{call}");
    }
    let server = Mcp::failing("tools/call", move |it| {
        drip(it).into_response().map_type(Some("application/json"))
    });
    let call = call(&engine(), &server.url).await;
    let message = call["error"]["message"].as_str().unwrap();
    assert_eq!(message, "424: the MCP server did not answer within 1 s");
}

#[tokio::test]
async fn a_flood_of_progress_is_waited_through() {
    const MOST: usize = 100_000;
    let server = Mcp::failing("tools/call", |asked| {
        let token = &asked.message["params"]["_meta"]["progressToken"];
        let mut body = String::new();
        for progress in 0..MOST {
            let note = json!({"jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": token, "progress": progress}});
            body.push_str(&format!("data: {note}\n\n"));
        }
        let answer =
            asked.fields(&json!({"result": {"content": [{"type": "text", "text": "[6]"}]}}));
        event_stream(format!("{body}data: {answer}\n\n"))
    });
    let engine = engine_with(PoolOptions::default());
    assert_eq!(call(&engine, &server.url).await["output"], "[6]");
}

#[tokio::test]
async fn a_list_has_all_pages_and_all_that_is_in_them() {
    let server = Mcp::failing("tools/list", |asked| {
        let page: usize = asked.message["params"]["cursor"]
            .as_str()
            .map_or(0, |it| it.parse().unwrap());
        let name = |number: usize| {
            json!({"name": format!("tool_{page}_{number}"),
            "inputSchema": {"type": "object"}})
        };
        let mut tools: Vec<Value> = (0..1000).map(name).collect();
        if page == 9 {
            tools.extend([roll_dice(), roll_dice()]);
            return asked.result(&json!({"tools": tools}));
        }
        asked.result(&json!({"tools": tools, "nextCursor": (page + 1).to_string()}))
    });
    let engine = engine_with(PoolOptions::default());
    let items = items(&engine, &server.url).await;
    assert_eq!(items[0]["tools"].as_array().unwrap().len(), 10_002);
    // Of two tools with one name, neither is lost, and either is that one.
    assert_eq!(items[1]["name"], "roll_dice");
    assert_eq!(items[1]["output"], "[4]");
}

#[tokio::test]
async fn a_tool_may_have_any_name() {
    for name in [
        "roll\r\nX-Injected: 1".to_owned(),
        "\u{1b}[31mroll\u{1b}[0m".to_owned(),
        "roll ".repeat(256 * 1024 / 5),
        "\u{202e}roll\u{0}".to_owned(),
    ] {
        let listed = name.clone();
        let server = Mcp::failing("tools/list", move |asked| {
            let mut tool = roll_dice();
            tool["name"] = listed.clone().into();
            tool["annotations"] = json!({"readOnlyHint": true});
            asked.result(&json!({"tools": [tool]}))
        });
        let call = call(&engine_with(PoolOptions::default()), &server.url).await;
        assert_eq!(call["name"], name);
        assert_eq!(call["status"], "completed");
        let asked = server.asked("tools/call");
        assert_eq!(asked[0].message["params"]["name"], name);
    }
}

#[tokio::test]
async fn a_schema_is_read_and_nothing_else() {
    let elsewhere = Faulty::start([Step::Hang]);
    let remote = json!({"$ref": format!("http://{}/schema.json", elsewhere.address)});
    for schema in [
        json!({"type": "object", "properties": {"n_dice": remote, "b": {"allOf": [remote]}},
            "required": ["n_dice"]}),
        json!({"type": "object", "properties": {"n_dice": {"$ref": "#"}}, "required": ["n_dice"]}),
        json!({"type": "object", "properties": {"n_dice": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}},
            "$ref": "#"}),
        json!({"type": "object", "description": "x".repeat(1024 * 1024),
            "properties": {"n_dice": {"type": "integer"}}}),
        json!({"type": "object", "$id": remote["$ref"], "$schema": remote["$ref"]}),
    ] {
        let listed = schema.clone();
        let server = Mcp::failing("tools/list", move |asked| {
            let tool = json!({"name": "roll_dice", "inputSchema": listed});
            asked.result(&json!({"tools": [tool]}))
        });
        let items = items(&engine_with(PoolOptions::default()), &server.url).await;
        assert_eq!(items[0]["tools"][0]["input_schema"], schema);
        assert_eq!(items.last().unwrap()["type"], "message");
    }
    assert_eq!(elsewhere.requests(), 0);
}

#[tokio::test]
async fn of_a_result_without_bounds_no_more_is_read_than_the_limit() {
    const CHUNK: usize = 1024 * 1024;
    for (content_type, start) in [
        ("application/json", "{\"jsonrpc\": \"2.0\", \"x\": \""),
        ("text/event-stream", "data: "),
    ] {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sent);
        let server = Mcp::failing("tools/call", move |_| {
            let counted = Arc::clone(&counted);
            let rest = stream::repeat_with(move || {
                counted.fetch_add(1, Ordering::SeqCst);
                "x".repeat(CHUNK)
            });
            let body = stream::iter([start.to_owned()]).chain(rest.take(200));
            let body = Body::from_stream(body.map(Ok::<_, std::io::Error>));
            body.into_response().map_type(Some(content_type))
        });
        let call = call(&engine_with(PoolOptions::default()), &server.url).await;
        assert_eq!(call["error"]["type"], "http_error", "{call}");
        let sent = sent.load(Ordering::SeqCst);
        assert!((64..100).contains(&sent), "{sent} MiB were read");
    }
}

#[tokio::test]
async fn what_a_tool_returns_is_told_whatever_its_blocks_are() {
    let image = json!({"type": "image", "data": "AAAA", "mimeType": "image/png"});
    let resource = json!({"type": "resource", "resource":
        {"uri": "file:///a", "mimeType": "text/plain", "text": "a"}});
    let link = json!({"type": "resource_link", "uri": "file:///a", "name": "a"});
    let said = |text: &str| json!({"type": "text", "text": text});
    for (result, output) in [
        (
            json!({"content": [said("a"), said("b")]}),
            "a\nb".to_owned(),
        ),
        (
            json!({"content": [said("a"), image]}),
            format!("a\n{image}"),
        ),
        (json!({"content": [resource]}), resource.to_string()),
        (json!({"content": [link]}), link.to_string()),
        (
            json!({"content": [], "structuredContent": {"dice": [4]}}),
            r#"{"dice":[4]}"#.to_owned(),
        ),
        (
            json!({"structuredContent": {"dice": [4]}}),
            r#"{"dice":[4]}"#.to_owned(),
        ),
        (json!({"content": []}), String::new()),
    ] {
        let told = result.clone();
        let server = Mcp::failing("tools/call", move |asked| asked.result(&told));
        let call = call(&engine(), &server.url).await;
        assert_eq!(call["output"], output, "{result}: {call}");
    }
    let blocks = json!([said("a"), image, resource]);
    let told = blocks.clone();
    let server = Mcp::failing("tools/call", move |asked| {
        asked.result(&json!({"content": told, "isError": true}))
    });
    assert_eq!(
        call(&engine(), &server.url).await["error"],
        json!({"type": "mcp_tool_execution_error", "content": blocks})
    );
}

#[tokio::test]
async fn a_version_that_nobody_speaks_is_no_connection() {
    for version in ["9999-01-01", "nonsense", "", "1\r\nX: 1"] {
        let server = Mcp::failing("initialize", move |asked| {
            asked.result(&json!({"protocolVersion": version, "capabilities": {},
                "serverInfo": {"name": "stand-in", "version": "1"}}))
        });
        let (told, reason) = failed_list(&engine(), &server.url).await;
        assert_eq!(told, "424 (Failed Dependency)");
        assert!(reason.contains("version"), "{version:?}: {reason}");
    }
}

#[tokio::test]
async fn credentials_that_a_server_repeats_of_a_call_are_redacted() {
    const TOKEN: &str = "canary-token-0123456789";
    let result = |is_error: bool| {
        json!({"isError": is_error, "content": [{"type": "text", "text": format!("Bearer {TOKEN}")},
            {"type": "resource_link", "uri": format!("a://{TOKEN}"), "name": "a"}]})
    };
    for case in 0..4 {
        let server = Mcp::failing("tools/call", move |asked| match case {
            0 => asked.error(-32000, &format!("bad token {TOKEN}")),
            1 => asked.result(&result(true)),
            2 => asked.result(&result(false)),
            _ => {
                let message = asked.fields(&json!({"error": {"code": 1, "message": TOKEN}}));
                (StatusCode::BAD_REQUEST, axum::Json(message)).into_response()
            }
        });
        let engine = engine_with(PoolOptions::default());
        let entry = json!({"type": "mcp", "server_label": "s", "server_url": server.url,
            "authorization": TOKEN, "require_approval": "never"});
        let request = json!({"input": "Roll 3 dice", "tools": [entry]});
        let answer = super::engine::answer(&engine, request).await;
        assert_eq!(server.asked("tools/call").len(), 1);
        let text = answer.to_string();
        assert!(text.contains("[redacted]"), "{case}: {text}");
        assert!(!text.contains(TOKEN), "{case}: {text}");
    }
}
