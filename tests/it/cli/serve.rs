use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{BOTH_FORMS, McpCli, POST, Serving, http_server};

#[test]
fn it_says_where_it_listens_and_stops_when_told_to() {
    let serving = Serving::start(McpCli::new(&["serve", "-p", "0"]));
    assert!(
        serving.url.starts_with("http://127.0.0.1:"),
        "{}",
        serving.url
    );
    assert!(serving.url.ends_with("/mcp"), "{}", serving.url);
    assert!(
        serving
            .ask(&["Roll 2 dice"])
            .stdout
            .starts_with("You rolled 2 dice")
    );
    let (exit, _) = serving.terminate();
    assert_eq!(exit, Some(0));
}

#[test]
fn with_and_without_a_slash_it_is_the_same_and_below_it_there_is_nothing() {
    let serving = Serving::start(McpCli::new(&["serve", "-p", "0"]));
    for (suffix, exit) in [("", 0), ("/", 0), ("/x", 6)] {
        let url = format!("{}{suffix}", serving.url);
        let run = McpCli::new(&[
            "ask",
            "--local",
            "--require-approval",
            "never",
            "--server-url",
            &url,
        ])
        .arg("Roll 2 dice")
        .run();
        assert_eq!(run.exit, Some(exit), "{url}: {run}");
    }
}

#[test]
fn a_seed_gives_the_same_dice() {
    let rolled = || {
        let serving = Serving::start(McpCli::new(&["serve", "-p", "0", "--seed", "42"]));
        serving.ask(&["Roll 20 dice"]).stdout
    };
    assert_eq!(rolled(), rolled());
}

#[test]
fn the_printed_token_opens_the_server() {
    let mut serving = Serving::start(McpCli::new(&[
        "serve",
        "-p",
        "0",
        "--auth",
        "--print-token",
    ]));
    let mut stdout = BufReader::new(serving.child.stdout.take().unwrap());
    let token = loop {
        let mut line = String::new();
        assert_ne!(
            stdout.read_line(&mut line).unwrap(),
            0,
            "no token was printed"
        );
        if line.starts_with("ey") {
            break line.trim_end().to_owned();
        }
    };
    let without = serving.ask(&["Roll 2 dice"]);
    assert_eq!(without.exit, Some(6), "{without}");
    let with = serving.ask(&["--authorization", &token, "Roll 2 dice"]);
    assert!(with.stdout.starts_with("You rolled 2 dice"), "{with}");
}

#[test]
fn a_key_set_at_a_url_opens_the_server() {
    let home = TempDir::new().unwrap();
    let print = |args: &[&str]| McpCli::new(args).home(home.path()).run().stdout;
    let jwks = print(&["token", "public-key", "--format", "jwks", "--kid", "k1"]);
    let token = print(&["token", "--audience", "dice-server", "--kid", "k1"]);
    let issuer = http_server(Router::new().route("/", get(async || jwks)));

    let serving = Serving::start(McpCli::new(&[
        "serve",
        "-p",
        "0",
        "--auth",
        "--jwks",
        &issuer.url,
    ]));

    let without = serving.ask(&["Roll 2 dice"]);
    assert_eq!(without.exit, Some(6), "{without}");
    let with = serving.ask(&["--authorization", token.trim_end(), "Roll 2 dice"]);
    assert!(with.stdout.starts_with("You rolled 2 dice"), "{with}");
}

#[test]
fn a_port_in_use_is_one_line_and_exit_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = McpCli::new(&["serve", "-p", &port]).run();
    insta::assert_snapshot!(run, @"
    exit: 1
    ----- stdout -----
    ----- stderr -----
    error: cannot listen on 127.0.0.1:PORT
    cause: Address already in use (os error 98)
    hint: another program listens there; use another port, or -p 0 for a free one
    ");
}

#[test]
fn over_stdio_it_ends_with_its_client_and_when_told_to() {
    let left = McpCli::new(&["serve", "-t", "stdio"]).run();
    assert_eq!((left.exit, left.stderr.as_str()), (Some(0), ""), "{left}");

    let (mut child, _home) = McpCli::new(&["serve", "-t", "stdio"]).spawn();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let kill = std::process::Command::new("kill")
        .arg(child.id().to_string())
        .status()
        .unwrap();
    assert!(kill.success());
    assert_eq!(
        child.wait().unwrap().code(),
        Some(0),
        "it waits for stdin to close"
    );
}

#[test]
fn over_stdio_it_speaks_both_eras() {
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {}});
    let old = [
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call",
               "params": {"name": "roll_dice", "arguments": {"n_dice": 3}}}),
    ];
    let new = [
        json!({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": meta}}),
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call",
               "params": {"name": "roll_dice", "arguments": {"n_dice": 3}, "_meta": meta}}),
    ];
    for messages in [&old[..], &new[..]] {
        let (mut child, _home) = McpCli::new(&["serve", "-t", "stdio", "--seed", "1"]).spawn();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut last = Value::Null;
        for message in messages {
            writeln!(stdin, "{message}").unwrap();
            if message.get("id").is_some() {
                let mut line = String::new();
                stdout.read_line(&mut line).unwrap();
                last = serde_json::from_str(&line).unwrap();
                assert_eq!(last["id"], message["id"], "{last}");
            }
        }
        let dice = last["result"]["structuredContent"]["result"]
            .as_array()
            .unwrap();
        assert_eq!(dice.len(), 3, "{last}");
        assert_eq!(
            last["result"]["content"][0]["text"],
            Value::from(dice.clone()).to_string()
        );
        drop(stdin);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn with_v_a_person_sees_who_calls() {
    let serving = Serving::start(McpCli::new(&["serve", "-p", "0", "-v", "--no-banner"]));
    assert_eq!(serving.ask(&["Roll 2 dice"]).exit, Some(0));
    serving.send(
        "GET /mcp HTTP/1.1\nuser-agent: curl/8\norigin: https://evil.example",
        b"",
    );
    let (_, told) = serving.terminate();
    let told: Vec<String> = told.lines().map(without_time).collect();
    let version = env!("CARGO_PKG_VERSION");
    let us = format!("mcp-cli {version}  2026-07-28");
    assert_eq!(
        told,
        [
            format!("server/discover  200  N ms  {us}"),
            format!("tools/list  200  N ms  {us}"),
            format!("tools/call roll_dice  200  N ms  {us}"),
            "GET /mcp  403  N ms  curl/8".to_owned(),
        ]
    );
}

fn without_time(line: &str) -> String {
    let time = regex::Regex::new(r"\d+\.\d ms").unwrap();
    time.replace(line, "N ms").into_owned()
}

#[test]
fn the_log_has_what_is_needed_and_nothing_that_says_who_it_was() {
    let home = TempDir::new().unwrap();
    let args = [
        "token",
        "-q",
        "--audience",
        "dice-server",
        "--subject",
        "canary-subject",
        "--kid",
        "canary-kid",
    ];
    let token = McpCli::new(&args).home(home.path()).run().stdout;
    let token = token.trim();
    for format in ["json", "text"] {
        let args = [
            "serve",
            "-p",
            "0",
            "--auth",
            "--log-format",
            format,
            "--log-level",
            "trace",
        ];
        let serving = Serving::start(McpCli::new(&args).home(home.path()));
        assert_eq!(
            serving.ask(&["--authorization", token, "Roll 2 dice"]).exit,
            Some(0)
        );
        assert_eq!(
            serving
                .ask(&["--authorization", &token[..token.len() - 9], "Roll"])
                .exit,
            Some(6)
        );
        let origin = "GET /mcp HTTP/1.1\norigin: https://canary-origin.example\nuser-agent: a\tb";
        assert_eq!(serving.send(origin, b"").status(), 403);
        let (_, log) = serving.terminate();
        for canary in ["canary", token, &token[..30], "Bearer ey"] {
            assert!(!log.contains(canary), "{format}: {canary} in {log}");
        }
        if format == "json" {
            let lines = log
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap());
            let requests: Vec<Value> = lines.filter(|line| line["message"] == "request").collect();
            let call = requests
                .iter()
                .find(|it| it["method"] == "tools/call")
                .unwrap();
            assert_eq!(call["status"], 200);
            assert_eq!(call["protocol_version"], "2026-07-28");
            assert!(call["user_agent"].as_str().unwrap().starts_with("mcp-cli/"));
            assert!(call["duration_ms"].as_f64().unwrap() > 0.0);
            assert_eq!(
                requests.iter().filter(|it| it["status"] == 401).count(),
                1,
                "{log}"
            );
        }
    }
}

#[test]
fn a_log_has_none_of_what_clients_send() {
    let args = [
        "serve",
        "-p",
        "0",
        "--sessions",
        "--log-format",
        "json",
        "--log-level",
        "trace",
    ];
    let serving = Serving::start(McpCli::new(&args));
    let post = |headers: &str, message: Value| {
        let head = format!("{POST}\n{BOTH_FORMS}\n{headers}");
        serving.send(head.trim(), message.to_string().as_bytes())
    };
    let client = json!({"name": "canary-client", "version": "1"});
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
    let opened = post(
        "",
        json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}),
    );
    let mut lines = opened.text.lines();
    let session = lines
        .find_map(|it| it.strip_prefix("mcp-session-id: "))
        .unwrap()
        .to_owned();
    let headers = format!("mcp-session-id: {session}");
    let params = json!({"requestId": 9, "reason": "canary-reason"});
    post(
        &headers,
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
    );
    post(
        &headers,
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}),
    );
    let params = json!({"name": "named", "arguments": {"x": "canary-argument"}});
    let called = post(
        &headers,
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}),
    );
    assert_eq!(called.status(), 200, "{}", called.text);
    let (_, log) = serving.terminate();
    assert!(
        log.contains(r#""method":"tools/call","path":"/mcp","tool":"named""#),
        "{log}"
    );
    for secret in ["canary", &session] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
}

#[test]
fn it_can_be_stopped_as_soon_as_it_is_ready() {
    for _ in 0..20 {
        let serving = Serving::start(McpCli::new(&["serve", "-p", "0", "--no-banner"]));
        assert_eq!(serving.terminate().0, Some(0));
    }
}

#[test]
fn what_cannot_be_served_so_is_refused() {
    for args in [
        &["-t", "stdio", "--sessions"][..],
        &["--path", "/healthz"],
        &["--path", "/.well-known/oauth-protected-resource"],
        &["--path", "mcp"],
    ] {
        let run = McpCli::new(&["serve"]).args(args).run();
        assert_eq!(run.exit, Some(2), "{args:?}: {run}");
    }
}

#[test]
fn names_may_come_from_the_environment_and_none_may_be_there() {
    for (names, status) in [("", 403), ("my.example,other.example:8443", 401)] {
        let cli = McpCli::new(&["serve", "-p", "0", "--auth"]).env("MCP_ALLOWED_HOSTS", names);
        let serving = Serving::start(cli);
        let request = b"GET /mcp HTTP/1.1\r\nhost: my.example\r\nconnection: close\r\n\r\n";
        let reply = serving.raw(request);
        assert_eq!(reply.status(), status, "{names:?}: {}", reply.text);
    }
    let run = McpCli::new(&["serve", "--allowed-host", "https://my.example"]).run();
    assert_eq!(run.exit, Some(2), "{run}");
}

#[test]
fn a_client_without_a_token_is_told_who_gives_them_out() {
    let args = [
        "serve",
        "-p",
        "0",
        "--auth",
        "--issuer",
        "https://issuer.example",
    ];
    let serving = Serving::start(McpCli::new(&args).args(&["--allowed-host", "my.example"]));
    let challenged = |host: &str, forwarded: &str| {
        let request = format!(
            "POST /mcp HTTP/1.1\r\nhost: {host}\r\n{forwarded}content-length: 0\r\nconnection: close\r\n\r\n"
        );
        let reply = serving.raw(request.as_bytes());
        assert_eq!(reply.status(), 401);
        let (_, url) = reply.text.split_once("resource_metadata=\"").unwrap();
        url.split('"').next().unwrap().to_owned()
    };
    let path = "/.well-known/oauth-protected-resource/mcp";
    assert_eq!(
        challenged("my.example", ""),
        format!("https://my.example{path}")
    );
    assert_eq!(
        challenged("my.example", "x-forwarded-proto: http\r\n"),
        format!("http://my.example{path}")
    );
    let url = challenged(serving.address(), "");
    assert_eq!(url, format!("http://{}{path}", serving.address()));

    let reply = serving.raw(
        format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            serving.address()
        )
        .as_bytes(),
    );
    assert_eq!(reply.status(), 200, "{}", reply.text);
    assert_eq!(
        reply.json(),
        json!({"resource": serving.url, "authorization_servers": ["https://issuer.example"],
               "bearer_methods_supported": ["header"]})
    );
}
