//! `serve --sessions`: whose they are, how many, and how they end with the server.

use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{BOTH_FORMS, McpCli, POST, Serving};

fn initialize() -> String {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"}}})
    .to_string()
}

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

/// A header with a token for `subject`, of the key pair in `home`.
fn token_of(home: &TempDir, subject: &str) -> String {
    let args = [
        "token",
        "-q",
        "--audience",
        "dice-server",
        "--subject",
        subject,
    ];
    let run = McpCli::new(&args).home(home.path()).run();
    format!("authorization: Bearer {}", run.stdout.trim())
}

/// Opens a session and returns its id.
fn open(server: &Serving, headers: &str) -> String {
    let head = format!("{POST}\n{BOTH_FORMS}\n{headers}");
    let reply = server.send(head.trim(), initialize().as_bytes());
    assert_eq!(reply.status(), 200, "{}", reply.text);
    let line = reply
        .text
        .lines()
        .find_map(|it| it.strip_prefix("mcp-session-id: "));
    let id = line.unwrap().to_owned();
    let initialized = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let head = format!("{head}\nmcp-session-id: {id}");
    let reply = server.send(&head.replace("\n\n", "\n"), initialized);
    assert_eq!(reply.status(), 202, "{}", reply.text);
    id
}

fn list(server: &Serving, headers: &str) -> u16 {
    let head = format!("{POST}\n{BOTH_FORMS}\n{headers}");
    server.send(head.trim(), LIST.as_bytes()).status()
}

#[test]
fn a_session_belongs_to_the_caller_that_opened_it() {
    let home = TempDir::new().unwrap();
    let token = |subject: &str| token_of(&home, subject);
    let (alice, bob) = (token("alice"), token("bob"));
    let args = ["serve", "-p", "0", "--auth", "--sessions"];
    let server = Serving::start(McpCli::new(&args).home(home.path()));
    let id = open(&server, &alice);
    let session = format!("mcp-session-id: {id}");
    assert_eq!(list(&server, &format!("{alice}\n{session}")), 200);
    assert_eq!(
        list(&server, &format!("{}\n{session}", token("alice"))),
        200,
        "a newer token"
    );
    assert_eq!(list(&server, &format!("{bob}\n{session}")), 404);
    assert_eq!(list(&server, &session), 401);
    assert_eq!(list(&server, &alice), 400, "without its session");

    let end = |authorization: &str| {
        let head = format!("DELETE /mcp HTTP/1.1\n{authorization}\n{session}");
        server.send(&head, b"").status()
    };
    assert_eq!(end(&bob), 404);
    assert_eq!(end(&alice), 204);
    assert_eq!(end(&alice), 404, "it is over");
    assert_eq!(list(&server, &format!("{alice}\n{session}")), 404);
}

#[test]
fn there_are_only_so_many_sessions() {
    let server = Serving::start(McpCli::new(&["serve", "-p", "0", "--sessions"]));
    let body = initialize();
    let first = open(&server, "");
    let opened = (1..600)
        .take_while(|_| server.post(body.as_bytes()).status() == 200)
        .count();
    assert_eq!(opened, 499, "beside the first");
    let reply = server.post(body.as_bytes());
    assert_eq!(reply.status(), 503, "{}", reply.text);
    assert!(reply.text.contains("retry-after: "), "{}", reply.text);

    // Who needs no session is not kept out, and a session that ends makes room.
    let head = format!(
        "{POST}\n{BOTH_FORMS}\nmcp-protocol-version: 2026-07-28\nmcp-method: server/discover"
    );
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}});
    let discover =
        json!({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": meta}});
    assert_eq!(
        server.send(&head, discover.to_string().as_bytes()).status(),
        200
    );
    let end = format!("DELETE /mcp HTTP/1.1\nmcp-session-id: {first}");
    assert_eq!(server.send(&end, b"").status(), 204);
    assert_eq!(server.post(body.as_bytes()).status(), 200);
}

#[test]
fn every_request_of_a_session_is_answered_whatever_its_id() {
    let server = Serving::start(McpCli::new(&["serve", "-p", "0", "--sessions"]));
    let session = format!("mcp-session-id: {}", open(&server, ""));
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..40)
            .map(|_| scope.spawn(|| list(&server, &session)))
            .collect();
        asked.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert!(
        statuses.iter().all(|it| matches!(it, 200 | 400)),
        "{statuses:?}"
    );
    assert_eq!(list(&server, &session), 200, "the id may come again");
}

#[test]
fn one_caller_leaves_room_for_others() {
    let home = TempDir::new().unwrap();
    let token = |subject: &str| token_of(&home, subject);
    let args = ["serve", "-p", "0", "--auth", "--sessions"];
    let server = Serving::start(McpCli::new(&args).home(home.path()));
    let open = |authorization: &str| {
        let head = format!("{POST}\n{BOTH_FORMS}\n{authorization}");
        server.send(&head, initialize().as_bytes()).status()
    };
    let (alice, bob) = (token("alice"), token("bob"));
    assert!((0..50).all(|_| open(&bob) == 200));
    assert_eq!((open(&bob), open(&alice)), (503, 200));
}

#[test]
fn a_client_that_listens_does_not_keep_the_server_from_ending() {
    let server = Serving::start(McpCli::new(&["serve", "-p", "0", "--sessions"]));
    let id = open(&server, "");
    let mut listening = server.connect();
    let head = format!(
        "GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\nmcp-session-id: {id}\r\n\r\n"
    );
    listening.write_all(head.as_bytes()).unwrap();
    let mut status = String::new();
    BufReader::new(&listening).read_line(&mut status).unwrap();
    assert!(status.starts_with("HTTP/1.1 200"), "{status}");
    // So is one that has said nothing yet, and one that waits for its next request.
    let _idle = server.connect();

    let began = Instant::now();
    let (exit, _) = server.terminate();
    assert_eq!(exit, Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_request_on_its_way_is_waited_for_and_a_second_signal_waits_for_nobody() {
    let server = Serving::start(McpCli::new(&["serve", "-p", "0"]));
    let head = format!(
        "{POST}\nhost: localhost\n{BOTH_FORMS}\ncontent-length: {}\n\n",
        LIST.len()
    );
    let head = head.replace('\n', "\r\n");
    let (start, end) = LIST.split_at(10);

    let mut slow = server.connect();
    slow.write_all(format!("{head}{start}").as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    server.signal();
    std::thread::sleep(Duration::from_millis(200));
    assert!(
        std::net::TcpStream::connect(server.address()).is_err(),
        "it still accepts"
    );
    slow.write_all(end.as_bytes()).unwrap();
    let mut status = String::new();
    BufReader::new(&slow).read_line(&mut status).unwrap();
    assert!(status.starts_with("HTTP/1.1 200"), "{status:?}");
    assert_eq!(server.wait(), Some(0));

    let server = Serving::start(McpCli::new(&["serve", "-p", "0"]));
    let mut slow = server.connect();
    slow.write_all(format!("{head}{start}").as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    server.signal();
    std::thread::sleep(Duration::from_millis(200));
    server.signal();
    assert_eq!(server.wait(), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn one_caller_cannot_pass_the_bound_by_opening_sessions_at_the_same_time() {
    let home = TempDir::new().unwrap();
    let args = ["serve", "-p", "0", "--auth", "--sessions"];
    let alice = token_of(&home, "alice");
    let server = Serving::start(McpCli::new(&args).home(home.path()));
    let head = format!("{POST}\n{BOTH_FORMS}\n{alice}");
    let body = initialize();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let open = || server.send(&head, body.as_bytes()).status();
        let opening: Vec<_> = (0..80).map(|_| scope.spawn(open)).collect();
        opening.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let count = |status: u16| statuses.iter().filter(|it| **it == status).count();
    assert_eq!((count(200), count(503)), (50, 30), "{statuses:?}");
}
