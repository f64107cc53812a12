//! Transports as servers use them: HTTP+SSE, streams that are read on, and requests of the server's own.

use std::sync::Mutex;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use http::StatusCode;
use mcp_cli::mcp::{ClientPool, Credential, Endpoint, PoolOptions, Server};
use serde_json::{Map, Value, json};

use crate::support::{Asked, Mcp, event_stream};

fn pool() -> ClientPool {
    ClientPool::new(PoolOptions {
        list_timeout: Duration::from_secs(10),
        call_timeout: Duration::from_secs(10),
        ..PoolOptions::default()
    })
}

fn server(url: &str) -> Server {
    Server {
        endpoint: Endpoint::Http(url.parse().unwrap()),
        credential: Credential::token("secret-token-1").unwrap(),
        headers: http::HeaderMap::new(),
    }
}

/// The text of the result of a call.
async fn call(pool: &ClientPool, url: &str) -> Result<String, String> {
    let called = pool.call(&server(url), "roll_dice", &Map::new()).await;
    let called = called.map_err(|error| error.with_causes())?;
    Ok(called.result.content()[0]["text"]
        .as_str()
        .unwrap()
        .to_owned())
}

/// A stream that begins with `first` and goes on with what is sent.
fn open_stream(first: String) -> (UnboundedSender<String>, Response) {
    let (sender, events) = unbounded();
    sender.unbounded_send(first).unwrap();
    let body = Body::from_stream(events.map(|it| Ok::<_, std::io::Error>(Bytes::from(it))));
    (sender, event_stream(body))
}

/// A server of HTTP+SSE whose stream leads to `endpoint`.
fn older(endpoint: &'static str) -> Mcp {
    let stream = Mutex::<Option<UnboundedSender<String>>>::default();
    Mcp::start(move |asked| {
        assert_eq!(asked.headers["authorization"], "Bearer secret-token-1");
        let mut stream = stream.lock().unwrap();
        if asked.method == "GET" {
            let first = format!(": hello\r\nevent: endpoint\r\ndata: {endpoint}\r\n\r\n");
            let (sender, response) = open_stream(first);
            let ping = json!({"jsonrpc": "2.0", "id": "p", "method": "ping"});
            sender.unbounded_send(format!("data: {ping}\n\n")).unwrap();
            *stream = Some(sender);
            return Some(response);
        }
        let Some(sender) = &*stream else {
            return Some(StatusCode::METHOD_NOT_ALLOWED.into_response());
        };
        if let Some(answer) = asked.healthy() {
            sender
                .unbounded_send(format!("event: message\ndata: {answer}\n\n"))
                .unwrap();
        }
        Some((StatusCode::ACCEPTED, "Accepted").into_response())
    })
}

#[tokio::test]
async fn a_server_of_http_sse_is_posted_to_first_then_read() {
    let server_of_old = older("/mcp?session=1");
    let pool = pool();
    let list = pool.list(&server(&server_of_old.url)).await.unwrap();
    assert_eq!(list.tools[0].name(), "roll_dice");
    let (one, other) = tokio::join!(
        call(&pool, &server_of_old.url),
        call(&pool, &server_of_old.url)
    );
    assert_eq!(
        (one.unwrap(), other.unwrap()),
        ("[4]".to_owned(), "[4]".to_owned())
    );
    pool.close().await;

    // Discovery and `initialize` at first, and `initialize` again on the stream.
    assert_eq!(server_of_old.asked("server/discover").len(), 1);
    assert_eq!(server_of_old.asked("initialize").len(), 2);
    assert_eq!(server_of_old.asked("GET").len(), 1);
    let replies = server_of_old.asked("POST");
    assert_eq!(
        replies[0].message,
        json!({"jsonrpc": "2.0", "id": "p", "result": {}})
    );
}

#[tokio::test]
async fn a_stream_that_leads_to_another_origin_is_not_followed() {
    for endpoint in [
        "http://127.0.0.1:1/mcp",
        "//localhost/mcp",
        "https://127.0.0.1/mcp",
    ] {
        let server_of_old = older(endpoint);
        let error = call(&pool(), &server_of_old.url).await.unwrap_err();
        assert!(error.contains("HTTP 405"), "{error}");
    }
}

#[tokio::test]
async fn a_stream_of_http_sse_that_ends_fails_the_call_and_the_next_one_opens_another() {
    let stream = Mutex::<Option<UnboundedSender<String>>>::default();
    let calls = Mutex::new(0);
    let server_of_old = Mcp::start(move |asked| {
        let mut stream = stream.lock().unwrap();
        if asked.method == "GET" {
            let (sender, response) = open_stream("event: endpoint\ndata: /mcp\n\n".to_owned());
            *stream = Some(sender);
            return Some(response);
        }
        let Some(sender) = &*stream else {
            return Some(StatusCode::NOT_FOUND.into_response());
        };
        if asked.method == "tools/call" {
            let mut calls = calls.lock().unwrap();
            *calls += 1;
            if *calls == 1 {
                *stream = None;
                return Some(StatusCode::ACCEPTED.into_response());
            }
        }
        if let Some(answer) = asked.healthy() {
            sender
                .unbounded_send(format!("data: {answer}\n\n"))
                .unwrap();
        }
        Some(StatusCode::ACCEPTED.into_response())
    });
    let pool = pool();
    let error = call(&pool, &server_of_old.url).await.unwrap_err();
    assert!(error.contains("closed the connection"), "{error}");
    assert_eq!(call(&pool, &server_of_old.url).await.unwrap(), "[4]");
    assert_eq!(server_of_old.asked("tools/call").len(), 2);
}

#[tokio::test]
async fn a_stream_that_the_server_ends_is_read_on_where_it_says() {
    let called = Mutex::<Option<Value>>::default();
    let polling = Mcp::start(move |asked| match asked.method.as_str() {
        "tools/call" => {
            *called.lock().unwrap() = Some(asked.healthy().unwrap());
            Some(event_stream("id: 1\nretry: 5\ndata:\n\n"))
        }
        "GET" => {
            let last = asked
                .headers
                .get("last-event-id")?
                .to_str()
                .unwrap()
                .to_owned();
            Some(match last.as_str() {
                // It ends twice, once without an event.
                "1" => event_stream(": not yet\n\nid: 2\n\n"),
                "2" => {
                    let answer = called.lock().unwrap().take().unwrap();
                    event_stream(format!("id: 3\ndata: {answer}\n\n"))
                }
                other => panic!("{other}"),
            })
        }
        _ => None,
    });
    assert_eq!(call(&pool(), &polling.url).await.unwrap(), "[4]");
    assert_eq!(polling.asked("tools/call").len(), 1);
    assert_eq!(polling.asked("GET").len(), 2);
}

#[tokio::test]
async fn a_stream_without_an_id_or_that_cannot_be_read_on_is_an_error() {
    let without = Mcp::failing("tools/call", |_| event_stream("retry: 1\ndata:\n\n"));
    let error = call(&pool(), &without.url).await.unwrap_err();
    assert!(
        error.contains("the stream ended before the answer"),
        "{error}"
    );
    assert_eq!(without.asked("GET").len(), 0);

    let refusing = Mcp::start(|asked| match asked.method.as_str() {
        "tools/call" => Some(event_stream("id: 1\nretry: 1\ndata:\n\n")),
        "GET" => Some(StatusCode::METHOD_NOT_ALLOWED.into_response()),
        _ => None,
    });
    let error = call(&pool(), &refusing.url).await.unwrap_err();
    assert!(error.contains("HTTP 405"), "{error}");

    // As often as it likes, but not for ever.
    let endless = Mcp::start(|asked| match asked.method.as_str() {
        "tools/call" | "GET" => Some(event_stream("id: 1\nretry: 0\ndata:\n\n")),
        _ => None,
    });
    let error = call(&pool(), &endless.url).await.unwrap_err();
    assert!(
        error.contains("the stream ended before the answer"),
        "{error}"
    );
    assert_eq!(endless.asked("GET").len(), 100);
}

#[tokio::test]
async fn a_request_on_the_stream_of_a_session_is_answered() {
    let in_session = Mcp::start(|asked: &Asked| match asked.method.as_str() {
        "initialize" => {
            let answer = axum::Json(asked.healthy().unwrap());
            Some(([("mcp-session-id", "s1")], answer).into_response())
        }
        "GET" => {
            assert_eq!(asked.session.as_deref(), Some("s1"));
            let ping = json!({"jsonrpc": "2.0", "id": 7, "method": "ping"});
            let (sender, response) = open_stream(format!("data: {ping}\n\n"));
            // It stays open.
            std::mem::forget(sender);
            Some(response)
        }
        _ => None,
    });
    let pool = pool();
    assert_eq!(call(&pool, &in_session.url).await.unwrap(), "[4]");
    let pong = async {
        loop {
            if let [pong, ..] = in_session.asked("POST").as_slice() {
                return pong.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let pong = tokio::time::timeout(Duration::from_secs(10), pong)
        .await
        .unwrap();
    assert_eq!(
        pong.message,
        json!({"jsonrpc": "2.0", "id": 7, "result": {}})
    );
    assert_eq!(pong.session.as_deref(), Some("s1"));
    pool.close().await;
    assert_eq!(in_session.asked("DELETE").len(), 1);
}

/// A server that is started, whose script reads and answers.
#[cfg(unix)]
fn started(script: &str) -> Server {
    Server {
        endpoint: Endpoint::Stdio(mcp_cli::mcp::Command {
            program: "sh".to_owned(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            ..mcp_cli::mcp::Command::default()
        }),
        credential: Credential::None,
        headers: http::HeaderMap::new(),
    }
}

#[cfg(unix)]
fn pool_that_waits(started_timeout: Duration) -> ClientPool {
    ClientPool::new(PoolOptions {
        started_timeout,
        child_grace: Duration::from_millis(50),
        ..PoolOptions::default()
    })
}

#[cfg(unix)]
fn answer(id: u32, result: &Value) -> String {
    format!(
        "echo '{}'",
        json!({"jsonrpc": "2.0", "id": id, "result": result})
    )
}

#[cfg(unix)]
#[tokio::test]
async fn a_command_that_does_not_answer_discovery_is_initialized_and_its_late_answer_ignored() {
    let initialized = json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
        "serverInfo": {"name": "slow", "version": "1"}});
    let unknown = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no"}});
    let tools = json!({"tools": [crate::support::roll_dice()]});
    let script = format!(
        "read discover; read initialize; {}; read initialized; echo '{unknown}'; read list; {}; cat",
        answer(2, &initialized),
        answer(3, &tools)
    );
    let pool = pool_that_waits(Duration::ZERO);
    let list = pool.list(&started(&script)).await.unwrap();
    assert_eq!(list.tools[0].name(), "roll_dice");
    pool.close().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_late_answer_to_discovery_counts_if_the_command_does_not_initialize() {
    let unknown = json!({"jsonrpc": "2.0", "id": 2, "error": {"code": -32601, "message": "no"}});
    let discovered = json!({"supportedVersions": ["2026-07-28"], "capabilities": {}});
    let script = format!(
        "read discover; read initialize; {}; echo '{unknown}'; read list; {}; cat",
        answer(1, &discovered),
        answer(
            3,
            &json!({"resultType": "complete", "tools": [crate::support::roll_dice()]})
        )
    );
    let pool = pool_that_waits(Duration::from_millis(100));
    assert_eq!(pool.list(&started(&script)).await.unwrap().tools.len(), 1);
    assert_eq!(pool.version(&started(&script)).await.unwrap(), "2026-07-28");
    pool.close().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_command_that_is_started_again_is_spoken_to_as_before() {
    let folder = tempfile::TempDir::new().unwrap();
    let log = folder.path().join("log");
    let initialized = json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
        "serverInfo": {"name": "old", "version": "1"}});
    // It ends after its first list.
    let script = format!(
        r#"while read -r line; do echo "$line" >> {log}
            id=$(echo "$line" | sed 's/.*"id":\([0-9]*\).*/\1/')
            case "$line" in
            *server/discover*) echo '{{"jsonrpc":"2.0","id":'$id',"error":{{"code":-32601,"message":"no"}}}}';;
            *'"initialize"'*) echo '{{"jsonrpc":"2.0","id":'$id',"result":{initialized}}}';;
            *tools/list*) echo '{{"jsonrpc":"2.0","id":'$id',"result":{{"tools":[]}}}}'; exit 3;;
            esac; done"#,
        log = log.display()
    );
    let pool = pool_that_waits(Duration::from_secs(10));
    let server = started(&script);
    pool.list(&server).await.unwrap();
    // The end of the process is seen some time later: until then, a list fails with it.
    while let Err(error) = pool.list(&server).await {
        let error = error.with_causes();
        assert!(error.contains("exit status 3"), "{error}");
    }
    pool.close().await;
    let said = std::fs::read_to_string(log).unwrap();
    assert_eq!(said.matches("server/discover").count(), 1, "{said}");
    assert!(said.matches(r#""initialize""#).count() > 1, "{said}");
}
