//! The one budget of a gateway: what counts, what happens beyond it, and that all is given back.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use mcp_cli::budget::Budget;
use mcp_cli::engine::model::{Model, Script};
use mcp_cli::engine::{Bounds, Engine, Store};
use mcp_cli::gateway::{self, Gateway, GatewayOptions};
use mcp_cli::mcp::{ClientPool, PoolOptions};
use serde_json::{Value, json};
use tower::ServiceExt;
use tungstenite::{Message, WebSocket};

use crate::support::{Mcp, http_server, roll_dice};

const MIB: u64 = 1024 * 1024;

fn gateway_of(budget: &Budget, model: Model) -> Router {
    let clients = ClientPool::new(PoolOptions {
        budget: budget.clone(),
        ..PoolOptions::default()
    });
    let store = Store::in_memory(Bounds::default());
    let engine = Engine::shared(model, clients, None, store, budget.clone());
    gateway::router(
        Gateway::new(engine, GatewayOptions::default()),
        Router::new(),
        None,
    )
}

async fn send(gateway: &Router, method: &str, path: &str, body: Body) -> Response<Body> {
    let request = Request::builder()
        .method(method)
        .uri(format!("/v1{path}"))
        .header("content-type", "application/json")
        .body(body)
        .unwrap();
    gateway.clone().oneshot(request).await.unwrap()
}

async fn post(gateway: &Router, request: Value) -> (StatusCode, Value) {
    let response = send(gateway, "POST", "/responses", request.to_string().into()).await;
    let status = response.status();
    if status == 503 {
        assert_eq!(response.headers()["retry-after"], "2");
    }
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

fn many_items(count: usize) -> Value {
    json!({"input": vec![json!({"role": "user", "content": "a"}); count]})
}

/// Waits until nothing is held: tasks end a little after the answer.
async fn until_all_is_given_back(budget: &Budget) {
    let began = Instant::now();
    while budget.used() > 0 {
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{}",
            budget.used()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_budget_are_rejected_until_there_is_room_again() {
    let budget = Budget::new(8 * MIB);
    let gateway = gateway_of(&budget, Model::Rules);
    let (status, first) = post(&gateway, many_items(2000)).await;
    assert_eq!(status, 200);
    until_all_is_given_back(&budget).await;

    let others = budget.hold(7 * MIB).unwrap();
    let id = first["id"].as_str().unwrap();
    let next = json!({"input": "Hi", "previous_response_id": first["id"]});
    let long = json!({"input": "a".repeat(MIB as usize)});
    for request in [many_items(2000), next.clone(), long] {
        for path in ["/responses", "/responses/input_tokens"] {
            let body = request.to_string();
            let refused = send(&gateway, "POST", path, body.into()).await;
            assert_eq!(refused.status(), 503, "{path}");
        }
        let (status, refused) = post(&gateway, request).await;
        assert_eq!(status, 503);
        assert_eq!(refused["error"]["code"], "rate_limit_exceeded");
    }
    for path in ["", "/input_items"] {
        let path = format!("/responses/{id}{path}");
        let refused = send(&gateway, "GET", &path, Body::empty()).await;
        assert_eq!(refused.status(), 503, "{path}");
    }
    assert_eq!(budget.used(), others.bytes());
    drop(others);
    assert_eq!(post(&gateway, next).await.0, 200);
    until_all_is_given_back(&budget).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_not_fit_if_it_were_alone_is_too_large() {
    let budget = Budget::new(8 * MIB);
    let gateway = gateway_of(&budget, Model::Rules);
    let metadata: Value = (0..20_000).map(|it| (it.to_string(), json!("v"))).collect();
    for request in [
        many_items(20_000),
        json!({"input": "Hi", "metadata": metadata}),
    ] {
        let (status, refused) = post(&gateway, request).await;
        assert_eq!(status, 413);
        assert_eq!(refused["error"]["type"], "invalid_request_error");
    }
    assert_eq!(budget.used(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_never_fits_is_a_failed_list_and_one_that_does_not_fit_now_is_retried() {
    let server = Mcp::failing("tools/list", |asked| {
        let mut tool = roll_dice();
        tool["description"] = "x".repeat(MIB as usize).into();
        asked.result(&json!({"tools": [tool]}))
    });
    let request = json!({"input": "Hi", "tools": [{"type": "mcp", "server_label": "large",
        "server_url": server.url, "require_approval": "never"}]});
    for (limit, held, expected) in [(4, 0, 424), (24, 20, 503), (24, 0, 200)] {
        let budget = Budget::new(limit * MIB);
        let gateway = gateway_of(&budget, Model::Rules);
        let others = budget.hold(held * MIB).unwrap();
        let (status, answer) = post(&gateway, request.clone()).await;
        assert_eq!(status, expected, "{limit} {held}: {answer}");
        drop(others);
        until_all_is_given_back(&budget).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_counts_as_it_comes_and_an_answer_until_it_is_read() {
    let budget = Budget::new(8 * MIB);
    let gateway = gateway_of(&budget, Model::Rules);
    let (sender, mut chunks) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let chunks = futures::stream::poll_fn(move |context| chunks.poll_recv(context));
    let slow = tokio::spawn({
        let gateway = gateway.clone();
        async move { send(&gateway, "POST", "/responses", Body::from_stream(chunks)).await }
    });
    let text = vec![b'a'; MIB as usize];
    for part in [br#"{"input": ""#, &text[..], br#""}"#] {
        sender.send(Ok(part.to_vec())).await.unwrap();
    }
    while budget.used() < MIB {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(sender);
    let answer = slow.await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(budget.used() > 0 && budget.used() < MIB);
    answer.into_body().collect().await.unwrap();
    assert_eq!(budget.used(), 0);

    // A client that leaves in the midst of a stream gives it back as well.
    let mut request = many_items(100);
    request["stream"] = true.into();
    let mut stream = send(&gateway, "POST", "/responses", request.to_string().into()).await;
    stream.body_mut().frame().await.unwrap().unwrap();
    assert!(budget.used() > 0);
    drop(stream);
    assert_eq!(budget.used(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_in_the_background_fails_when_its_events_do_not_fit() {
    let budget = Budget::new(8 * MIB);
    let script: Script =
        serde_json::from_value(json!([{"say": "a".repeat(MIB as usize)}])).unwrap();
    let gateway = gateway_of(&budget, Model::Script(script));
    let background = json!({"input": "Hi", "background": true});
    let get = async |id: &Value| {
        let path = format!("/responses/{}", id.as_str().unwrap());
        let response = send(&gateway, "GET", &path, Body::empty()).await;
        let body = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice::<Value>(&body).unwrap()
    };
    let until_ended = async |id: &Value| loop {
        let response = get(id).await;
        if !matches!(response["status"].as_str(), Some("queued" | "in_progress")) {
            break response;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let others = budget.hold(7 * MIB).unwrap();
    let (status, run) = post(&gateway, background.clone()).await;
    assert_eq!(status, 200, "{run}");
    let failed = until_ended(&run["id"]).await;
    assert_eq!(failed["status"], "failed");
    let message = "Too many large requests are being answered.";
    assert_eq!(failed["error"]["message"], message);
    drop(others);
    let (_, run) = post(&gateway, background).await;
    assert_eq!(until_ended(&run["id"]).await["status"], "completed");
}

fn socket_to(url: &str) -> WebSocket<TcpStream> {
    let address = url.strip_prefix("http://").unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let url = format!("ws://{address}/v1/responses");
    tungstenite::client(url, stream).unwrap().0
}

fn read(socket: &mut WebSocket<TcpStream>) -> Value {
    loop {
        if let Message::Text(text) = socket.read().unwrap() {
            break serde_json::from_str(&text).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_wait_on_a_websocket_count_and_so_does_one_that_never_ends() {
    let budget = Budget::new(8 * MIB);
    // The first answer of a lane takes long, so that the others wait.
    let script: Script = serde_json::from_value(json!([{"say": "Hi", "delay": "60s"}])).unwrap();
    let server = http_server(gateway_of(&budget, Model::Script(script)));
    let (url, counted) = (server.url.clone(), budget.clone());
    let client = tokio::task::spawn_blocking(move || {
        let mut socket = socket_to(&url);
        let text = |size| json!({"type": "response.create", "input": "a".repeat(size)}).to_string();
        // Short ones count as well.
        for _ in 0..10 {
            socket.send(Message::text(text(1000))).unwrap();
        }
        until(|| counted.used() > 10_000);
        // A message that never becomes whole, with pings in its midst.
        let before = counted.used();
        let stream = socket.get_mut();
        let head = |size: u64| [&[0x01, 0xff][..], &size.to_be_bytes(), &[0; 4]].concat();
        std::io::Write::write_all(stream, &head(2 * MIB)).unwrap();
        std::io::Write::write_all(stream, &vec![b'a'; 2 * MIB as usize]).unwrap();
        std::io::Write::write_all(stream, &[0x89, 0x80, 0, 0, 0, 0]).unwrap();
        until(|| counted.used() >= before + MIB);
        std::thread::sleep(Duration::from_millis(50));
        assert!(counted.used() >= before + MIB, "{}", counted.used());
        drop(socket);
        until(|| counted.used() == 0);

        // What is to be a word is not read as anything else.
        let mut socket = socket_to(&url);
        for field in ["type", "stream_id"] {
            let nested = vec![json!([0]); 10_000];
            let mut frame = json!({"type": "response.create", "input": "Hi"});
            frame[field] = json!(nested);
            socket.send(Message::text(frame.to_string())).unwrap();
            assert_eq!(read(&mut socket)["status"], 400, "{field}");
        }

        // Without room, the client is told so.
        let mut socket = socket_to(&url);
        let others = counted.hold(8 * MIB - 200_000).unwrap();
        socket.send(Message::text(text(150_000))).unwrap();
        let refused = read(&mut socket);
        assert_eq!(
            (&refused["type"], &refused["status"]),
            (&json!("error"), &json!(503))
        );
        assert_eq!(refused["error"]["code"], "rate_limit_exceeded");
        // The socket goes on, until not even the message fits.
        socket.send(Message::text(text(10))).unwrap();
        assert_ne!(read(&mut socket)["type"], "error");
        let _ = socket.send(Message::text(text(3 * MIB as usize)));
        let refused = loop {
            let frame = read(&mut socket);
            if frame["type"] == "error" {
                break frame;
            }
        };
        assert_eq!(refused["status"], 503);
        drop(socket);
        until(|| counted.used() == others.bytes());
    });
    client.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_connection_remembers_counts_and_what_does_not_fit_is_not_remembered() {
    let budget = Budget::new(32 * MIB);
    let server = http_server(gateway_of(&budget, Model::Rules));
    let (url, counted) = (server.url.clone(), budget.clone());
    let client = tokio::task::spawn_blocking(move || {
        let mut socket = socket_to(&url);
        let mut create = |mut request: Value| {
            request["type"] = "response.create".into();
            request["store"] = false.into();
            socket.send(Message::text(request.to_string())).unwrap();
            loop {
                let frame = read(&mut socket);
                match frame["type"].as_str().unwrap() {
                    "response.completed" => break frame["response"]["id"].clone(),
                    "error" => break frame["error"]["code"].clone(),
                    _ => {}
                }
            }
        };
        let id = create(json!({"input": "a".repeat(500_000)}));
        until(|| (500_000..600_000).contains(&counted.used()));
        let next = create(json!({"input": "Hi", "previous_response_id": id}));
        assert!(next.as_str().unwrap().starts_with("resp_"), "{next}");
        // 5 MiB is more than a connection remembers.
        let id = create(json!({"input": "a".repeat(2_000_000)}));
        let next = create(json!({"input": "a".repeat(2_300_000), "previous_response_id": id}));
        assert!(next.as_str().unwrap().starts_with("resp_"), "{next}");
        let refused = create(json!({"input": "Hi", "previous_response_id": next}));
        assert_eq!(refused, "previous_response_not_found");
        drop(socket);
        until(|| counted.used() == 0);
    });
    client.await.unwrap();
}

/// Waits for what other threads do.
fn until(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(2));
    }
}
