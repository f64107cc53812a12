//! Clients that let a server wait, on real sockets: each wait has a deadline, which is short here.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use mcp_cli::budget::Budget;
use mcp_cli::dice::DiceServer;
use mcp_cli::engine::model::Model;
use mcp_cli::engine::{Bounds, Engine, Store};
use mcp_cli::gateway::{self, Gateway, GatewayOptions};
use mcp_cli::http::{self, BodyLimits, ServerOptions};
use mcp_cli::mcp::{ClientPool, PoolOptions};

use crate::support::{Server, http_server_with};

const SHORT: Duration = Duration::from_millis(500);

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"roll_dice","arguments":{"n_dice":3}}}"#;

/// The dice server with short deadlines.
fn dice_server() -> Server {
    let options = ServerOptions {
        head_timeout: SHORT,
        body: BodyLimits {
            timeout: SHORT,
            ..BodyLimits::default()
        },
        only_answers: true,
        ..ServerOptions::default()
    };
    let endpoint = http::rmcp_endpoint(DiceServer::default(), &options);
    http_server_with(http::at("/mcp", endpoint), options)
}

fn connect(server: &Server) -> TcpStream {
    let address = server.url.strip_prefix("http://").unwrap();
    let stream = TcpStream::connect(address).unwrap();
    let limit = Some(Duration::from_secs(10));
    stream.set_read_timeout(limit).unwrap();
    stream
}

fn call() -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{CALL}",
        CALL.len()
    )
}

/// Whether the server closes the connection within 10 s, whatever it sends until then.
fn is_closed(stream: &mut TcpStream, received: &mut Vec<u8>) -> bool {
    let began = Instant::now();
    let mut chunk = vec![0; 64 * 1024];
    while began.elapsed() < Duration::from_secs(10) {
        match stream.read(&mut chunk) {
            Ok(0) => return true,
            Ok(count) => received.extend_from_slice(&chunk[..count]),
            Err(error) => return error.kind() == ErrorKind::ConnectionReset,
        }
    }
    false
}

#[test]
fn slow_clients_are_closed_while_others_are_served() {
    let server = dice_server();
    let starts: [&[u8]; 4] = [
        b"",
        b"POST /mcp HTTP/1.1\r\nhost: local",
        b"PRI * HT",
        b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
    ];
    let slow: Vec<TcpStream> = (0..200)
        .map(|number| {
            let mut stream = connect(&server);
            stream.write_all(starts[number % starts.len()]).unwrap();
            stream
        })
        .collect();
    let began = Instant::now();
    let mut answered = 0;
    while began.elapsed() < SHORT {
        let mut honest = connect(&server);
        honest.write_all(call().as_bytes()).unwrap();
        let mut answer = String::new();
        honest.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        answered += 1;
    }
    assert!(answered >= 5, "{answered} calls were answered");
    for mut stream in slow {
        assert!(is_closed(&mut stream, &mut Vec::new()));
    }
}

#[test]
fn a_client_that_does_not_read_is_disconnected() {
    // More than all buffers on the way can hold, so that the server waits for its reader.
    const SIZE: usize = 64 << 20;
    let options = ServerOptions {
        write_timeout: SHORT,
        ..ServerOptions::default()
    };
    let router = Router::new().route("/", get(async || vec![0; SIZE]));
    let server = http_server_with(router, options);
    let mut stream = connect(&server);
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    std::thread::sleep(SHORT * 3);
    let mut answer = Vec::new();
    assert!(
        is_closed(&mut stream, &mut answer),
        "the server still waits"
    );
    assert!(
        !answer.is_empty() && answer.len() < SIZE,
        "{}",
        answer.len()
    );
}

fn gateway_server(options: GatewayOptions) -> Server {
    let store = Store::in_memory(Bounds::default());
    let clients = ClientPool::new(PoolOptions::default());
    let budget = Budget::new(64 * 1024 * 1024);
    let engine = Engine::shared(Model::Rules, clients, None, store, budget);
    let router = gateway::router(Gateway::new(engine, options), Router::new(), None);
    http_server_with(router, ServerOptions::default())
}

/// A WebSocket below the level of frames: nothing answers a ping.
fn web_socket(server: &Server) -> TcpStream {
    let mut stream = connect(server);
    let handshake = "GET /v1/responses HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(handshake.as_bytes()).unwrap();
    stream
}

#[test]
fn a_silent_web_socket_is_closed_after_some_pings() {
    let server = gateway_server(GatewayOptions {
        ping_interval: SHORT / 5,
        max_silence: SHORT,
        ..GatewayOptions::default()
    });
    let mut stream = web_socket(&server);
    let began = Instant::now();
    let mut received = Vec::new();
    assert!(is_closed(&mut stream, &mut received));
    assert!(began.elapsed() >= SHORT, "{:?}", began.elapsed());
    assert!(received.starts_with(b"HTTP/1.1 101 "));
    let end = received
        .windows(4)
        .position(|it| it == b"\r\n\r\n")
        .unwrap();
    let frames = &received[end + 4..];
    // Empty pings, then a close (RFC 6455 section 5.2).
    assert!(
        frames.starts_with(&[0x89, 0, 0x89, 0, 0x89, 0]),
        "{frames:?}"
    );
    assert!(frames.contains(&0x88), "{frames:?}");
}

#[test]
fn a_web_socket_that_answers_pings_stays_open() {
    let server = gateway_server(GatewayOptions {
        ping_interval: SHORT / 5,
        max_silence: SHORT,
        ..GatewayOptions::default()
    });
    let url = server.url.replace("http://", "ws://") + "/v1/responses";
    let (mut socket, _) = tungstenite::client(url, connect(&server)).unwrap();
    let began = Instant::now();
    while began.elapsed() < SHORT * 2 {
        // Reading answers the ping that it returns.
        let message = socket.read().unwrap();
        assert!(message.is_ping(), "{message:?}");
    }
}

#[test]
fn a_web_socket_over_the_limit_is_rejected_until_another_is_closed() {
    let server = gateway_server(GatewayOptions {
        max_sockets: 1,
        ..GatewayOptions::default()
    });
    let url = server.url.replace("http://", "ws://") + "/v1/responses";
    let (mut first, _) = tungstenite::client(&url, connect(&server)).unwrap();
    let status = |stream: &mut TcpStream| {
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[9..]).into_owned()
    };
    assert_eq!(status(&mut web_socket(&server)), "503");
    first.close(None).unwrap();
    while first.read().is_ok() {}
    let began = Instant::now();
    while status(&mut web_socket(&server)) != "101" {
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
