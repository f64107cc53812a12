//! `serve URL` and `serve -- COMMAND`: a server of the user's own behind the door.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{BOTH_FORMS, Mcp, McpCli, POST, Serving};

/// A server over stdio that knows MCP 2025-06-18 alone, one request at a time. `crash` ends it, `ask` asks its
/// client for something, `pid` tells which process it is, `wait` never answers, `flood` writes without an end, `stay`
/// makes it ignore SIGTERM and the end of its input.
const OLDER: &str = r#"
say() { printf '%s\n' "$1"; }
text() { say '{"jsonrpc":"2.0","id":'"$id"',"result":{"content":[{"type":"text","text":"'"$1"'"}]}}'; }
while read -r line; do
  printf '%s\n' "$line" >> "$0.log"
  id=$(printf %s "$line" | sed -n 's/.*"id":\("[^"]*"\|[0-9]*\).*/\1/p')
  case $line in
    *'"initialize"'*) say '{"jsonrpc":"2.0","id":'"$id"',"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{},"x":1},"serverInfo":{"name":"older","version":"7"},"instructions":"be nice"}}';;
    *'"tools/list"'*) say '{"jsonrpc":"2.0","id":'"$id"',"result":{"tools":[{"name":"pid","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true},"extra":[1]},{"name":"crash","inputSchema":{"type":"object"}}]}}';;
    *'"name":"crash"'*) echo "out of cheese" >&2; exit 3;;
    *'"name":"pid"'*) text $$;;
    *'"name":"wait"'*) ;;
    *'"name":"flood"'*) yes "of no lines" | tr -d '\n';;
    *'"name":"stay"'*) trap '' TERM; stay=1; text $$;;
    *'"name":"progress"'*)
      token=$(printf %s "$line" | sed -n 's/.*"progressToken":\([0-9]*\).*/\1/p')
      say '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":'"$token"',"progress":1}}'
      text done;;
    *'"name":"ask"'*)
      call=$id
      say '{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"Name?","requestedSchema":{"type":"object","properties":{}}}}'
      read -r answer
      id=$call
      text "$(printf %s "$answer" | tr -d '"')";;
    *'"id":'*) say '{"jsonrpc":"2.0","id":'"$id"',"error":{"code":-32601,"message":"unknown"}}';;
  esac
done
while [ -n "$stay" ]; do sleep 0.1; done
"#;

/// The script in a folder of its own, and the log that it writes.
struct Older {
    folder: TempDir,
}

impl Older {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("older.sh"), OLDER).unwrap();
        Self { folder }
    }

    fn path(&self) -> String {
        self.folder.path().join("older.sh").display().to_string()
    }

    /// The server behind `serve` with these flags.
    fn serve(&self, flags: &[&str]) -> Serving {
        let path = self.path();
        let args = [&["serve", "-p", "0"], flags, &["--", "sh", &path]].concat();
        Serving::start(McpCli::new(&args))
    }

    /// What it was sent so far.
    fn log(&self) -> String {
        std::fs::read_to_string(format!("{}.log", self.path())).unwrap_or_default()
    }

    /// Waits until it was sent this.
    fn wait_for(&self, text: &str) {
        let started = Instant::now();
        while !self.log().contains(text) {
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn meta(capabilities: &Value) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    })
}

/// Sends a request of MCP 2026-07-28 and returns the message that came back.
fn modern(server: &Serving, method: &str, mut params: Value, capabilities: &Value) -> Value {
    for (name, value) in meta(capabilities).as_object().unwrap() {
        params["_meta"][name] = value.clone();
    }
    let name = params["name"].as_str();
    let name = name.map_or(String::new(), |name| format!("\nmcp-name: {name}"));
    let head = format!(
        "{POST}\n{BOTH_FORMS}\nmcp-protocol-version: 2026-07-28\nmcp-method: {method}{name}"
    );
    let message = json!({"jsonrpc": "2.0", "id": "é", "method": method, "params": params});
    let reply = server.send(&head, message.to_string().as_bytes());
    last_message(&reply.text)
}

/// Sends a request of an older client.
fn older(server: &Serving, headers: &str, message: &Value) -> String {
    let head = format!("{POST}\n{BOTH_FORMS}\n{headers}");
    server
        .send(head.trim(), message.to_string().as_bytes())
        .text
}

fn call(id: u32, name: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": name, "arguments": {}}})
}

/// The last message in a body, of JSON or of events.
fn last_message(text: &str) -> Value {
    let lines = text.lines().rev();
    let mut messages = lines.filter_map(|it| it.strip_prefix("data: ").or(Some(it)));
    let found = messages.find_map(|it| {
        let message: Option<Value> = serde_json::from_str(it.trim()).ok();
        message.filter(Value::is_object)
    });
    found.unwrap_or_else(|| panic!("{text}"))
}

fn text_of(message: &Value) -> &str {
    let text = &message["result"]["content"][0]["text"];
    text.as_str().unwrap_or_else(|| panic!("{message}"))
}

#[test]
fn a_server_over_stdio_answers_clients_of_both_eras() {
    let script = Older::new();
    let server = script.serve(&[]);
    let discovered = modern(&server, "server/discover", json!({}), &json!({}));
    let result = &discovered["result"];
    assert_eq!(result["capabilities"], json!({"tools": {}, "x": 1}));
    assert_eq!(result["instructions"], "be nice");
    assert_eq!(
        result["_meta"]["io.modelcontextprotocol/serverInfo"],
        json!({"name": "older", "version": "7"})
    );
    let listed = modern(&server, "tools/list", json!({}), &json!({}));
    assert_eq!(listed["id"], "é");
    assert_eq!(listed["result"]["resultType"], "complete");
    assert_eq!(listed["result"]["tools"][0]["extra"], json!([1]));
    assert_eq!(
        modern(&server, "tools/other", json!({}), &json!({}))["error"]["code"],
        -32601
    );

    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let initialized = older(&server, "", &initialize);
    assert!(!initialized.contains("\nmcp-session-id:"), "{initialized}");
    let initialized = last_message(&initialized);
    assert_eq!(initialized["result"]["protocolVersion"], "2025-03-26");
    assert_eq!(initialized["result"]["serverInfo"]["name"], "older");
    let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"});
    assert_eq!(
        last_message(&older(&server, "", &ping))["result"],
        json!({})
    );

    let log = script.log();
    assert_eq!(log.matches("\"initialize\"").count(), 1, "{log}");
    assert!(!log.contains("ping"), "{log}");
    // What says who sends a request is for servers of that era.
    let list = log.lines().find(|it| it.contains("tools/list")).unwrap();
    assert!(!list.contains("io.modelcontextprotocol"), "{list}");
}

#[test]
fn a_program_asks_through_it_as_if_it_was_not_there() {
    let program = env!("CARGO_BIN_EXE_mcp-cli");
    let args = ["serve", "-p", "0", "--", program, "serve", "-t", "stdio"];
    let server = Serving::start(McpCli::new(&args));
    let run = server.ask(&["Roll 2 dice"]);
    assert!(run.stdout.starts_with("You rolled 2 dice"), "{run}");
}

#[test]
fn a_crash_is_the_error_of_its_call_and_the_next_call_works() {
    let script = Older::new();
    let server = script.serve(&[]);
    let before = text_of(&last_message(&older(&server, "", &call(1, "pid")))).to_owned();
    let crashed = older(&server, "", &call(2, "crash"));
    assert!(crashed.starts_with("HTTP/1.1 502"), "{crashed}");
    let error = last_message(&crashed);
    assert_eq!(error["id"], 2);
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("exit status 3"), "{message}");
    assert!(message.contains("out of cheese"), "{message}");
    let after = text_of(&last_message(&older(&server, "", &call(3, "pid")))).to_owned();
    assert_ne!(before, after);
}

#[test]
fn a_flood_is_the_error_of_its_call_and_the_next_call_works() {
    let script = Older::new();
    let server = script.serve(&[]);
    let before = text_of(&last_message(&older(&server, "", &call(1, "pid")))).to_owned();
    let flooded = older(&server, "", &call(2, "flood"));
    assert!(flooded.starts_with("HTTP/1.1 502"), "{flooded}");
    assert!(flooded.len() < 10_000, "{}", flooded.len());
    let after = text_of(&last_message(&older(&server, "", &call(3, "pid")))).to_owned();
    assert_ne!(before, after);
    // With what it started.
    wait_for_end(&before);
}

#[test]
fn a_server_that_goes_on_whatever_it_is_told_ends_with_serve() {
    let script = Older::new();
    let server = script.serve(&[]);
    let process = text_of(&last_message(&older(&server, "", &call(1, "stay")))).to_owned();
    let (exit, _) = server.terminate();
    assert_eq!(exit, Some(0));
    wait_for_end(&process);
}

#[test]
fn a_server_that_does_not_start_is_named_before_anything_is_served() {
    for (command, cause) in [
        (&["no-such-program"][..], "not found in PATH"),
        (&["sh", "-c", "echo gone >&2; exit 4"], "gone"),
    ] {
        let args = [&["serve", "-p", "0", "--"], command].concat();
        let run = McpCli::new(&args).run();
        assert_eq!(run.exit, Some(6), "{run}");
        assert!(run.stderr.contains(cause), "{run}");
        assert!(run.stderr.contains("hint: "), "{run}");
    }
    let silent = [
        "serve",
        "-p",
        "0",
        "--start-timeout",
        "300ms",
        "--",
        "sleep",
        "30",
    ];
    let run = McpCli::new(&silent).run();
    assert_eq!(run.exit, Some(6), "{run}");
    assert!(run.stderr.contains("did not start within 300ms"), "{run}");
}

#[test]
fn the_token_of_a_caller_stays_at_the_door() {
    let upstream = Mcp::start(|_| None);
    let home = TempDir::new().unwrap();
    let minted = McpCli::new(&["token", "-q", "--audience", "dice-server"]);
    let token = minted.home(home.path()).run().stdout;
    let args = [
        "serve",
        "-p",
        "0",
        "--auth",
        "--upstream-authorization",
        "sesame-sesame",
        "--upstream-header",
        "X-Team: blue",
        &upstream.url,
    ];
    let server = Serving::start(McpCli::new(&args).home(home.path()));
    let refused = older(&server, "", &call(1, "roll_dice"));
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    let authorization = format!("authorization: Bearer {}", token.trim());
    let listed = older(
        &server,
        &authorization,
        &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
    );
    assert!(listed.contains("roll_dice"), "{listed}");
    for asked in upstream.asked("tools/list") {
        assert_eq!(asked.headers["authorization"], "Bearer sesame-sesame");
        assert_eq!(asked.headers["x-team"], "blue");
    }
    assert!(!upstream.asked("tools/list").is_empty());
}

#[test]
fn only_the_tools_that_are_allowed_pass() {
    let script = Older::new();
    for flags in [&["--read-only"][..], &["--allowed-tools", "pid,other"]] {
        let server = script.serve(flags);
        // Nothing was listed yet.
        let refused = last_message(&older(&server, "", &call(1, "crash")));
        assert_eq!(
            refused["error"]["message"], "Unknown tool: crash",
            "{flags:?}"
        );
        text_of(&last_message(&older(&server, "", &call(2, "pid"))));
        let listed = modern(&server, "tools/list", json!({}), &json!({}));
        let tools = listed["result"]["tools"].as_array().unwrap();
        assert_eq!(tools.len(), 1, "{flags:?}: {listed}");
        assert_eq!(tools[0]["name"], "pid");
    }
    let nameless =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": ["crash"]}});
    let server = script.serve(&["--read-only"]);
    let refused = last_message(&older(&server, "", &nameless));
    assert!(refused["error"].is_object(), "{refused}");
    text_of(&last_message(&older(&server, "", &call(2, "pid"))));
}

#[test]
fn what_an_older_server_asks_reaches_a_modern_caller() {
    let script = Older::new();
    let server = script.serve(&[]);
    let offered = json!({"elicitation": {}});
    let params = json!({"name": "ask", "arguments": {}});
    let asked = modern(&server, "tools/call", params.clone(), &offered);
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let requests = asked["result"]["inputRequests"].as_object().unwrap();
    let (name, request) = requests.iter().next().unwrap();
    assert_eq!(request["method"], "elicitation/create");
    assert_eq!(request["params"]["message"], "Name?");

    let mut again = params;
    again["requestState"] = asked["result"]["requestState"].clone();
    again["inputResponses"] = json!({name: {"action": "accept", "content": {"name": "Ada"}}});
    let answered = modern(&server, "tools/call", again.clone(), &offered);
    assert!(text_of(&answered).contains("name:Ada"), "{answered}");
    // What was answered is over.
    let gone = modern(&server, "tools/call", again, &json!({}));
    assert!(text_of(&gone).contains("code:-32601"), "{gone}");
}

#[test]
fn a_caller_that_serves_nothing_is_not_asked() {
    let script = Older::new();
    let server = script.serve(&[]);
    let answered = last_message(&older(&server, "", &call(1, "ask")));
    assert!(text_of(&answered).contains("code:-32601"), "{answered}");
    // Nor is one that does, while the call of another is in flight: it may be that one's.
    let _waiting = begin_call(&server, "", &call(2, "wait"));
    script.wait_for("\"wait\"");
    let params = json!({"name": "ask", "arguments": {}});
    let answered = modern(&server, "tools/call", params, &json!({"elicitation": {}}));
    assert!(text_of(&answered).contains("code:-32601"), "{answered}");
}

#[test]
fn what_an_older_server_asks_reaches_the_session_of_an_older_caller() {
    let script = Older::new();
    let server = script.serve(&[]);
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "t", "version": "1"}}});
    let opened = older(&server, "", &initialize);
    let session = opened.lines().find(|it| it.starts_with("mcp-session-id: "));
    let session = session.unwrap_or_else(|| panic!("{opened}"));

    let mut message = begin_call(&server, session, &call(5, "ask"));
    let asked = message();
    assert_eq!(asked["method"], "elicitation/create");
    let reply = json!({"jsonrpc": "2.0", "id": asked["id"],
        "result": {"action": "accept", "content": {"name": "Bob"}}});
    // Without the session it is nobody's answer.
    assert!(older(&server, "", &reply).starts_with("HTTP/1.1 202"));
    assert!(!script.log().contains("Bob"));
    assert!(older(&server, session, &reply).starts_with("HTTP/1.1 202"));
    let answered = message();
    assert_eq!(answered["id"], 5);
    assert!(text_of(&answered).contains("name:Bob"), "{answered}");
}

/// A server that knows MCP 2026-07-28 alone, and asks for a name before it answers a call.
fn modern_only() -> Mcp {
    Mcp::start(|asked| {
        match asked.method.as_str() {
        "initialize" => Some(asked.error(-32601, "initialize")),
        "server/discover" => Some(asked.result(&json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "newer", "version": "1"}}}))),
        "tools/call" => {
            let params = &asked.message["params"];
            assert_eq!(asked.headers["mcp-method"], "tools/call");
            assert_eq!(asked.headers["mcp-name"], "greet");
            assert_eq!(asked.headers["mcp-protocol-version"], "2026-07-28");
            let version = &params["_meta"]["io.modelcontextprotocol/protocolVersion"];
            assert_eq!(version, "2026-07-28");
            let name = &params["inputResponses"]["who"]["content"]["name"];
            Some(asked.result(&match name.as_str() {
                None => json!({"resultType": "input_required", "requestState": "s", "inputRequests": {
                    "who": {"method": "elicitation/create", "params": {"message": "Who?"}}}}),
                Some(name) => {
                    assert_eq!(params["requestState"], "s");
                    json!({"resultType": "complete", "content": [{"type": "text", "text": name}]})
                }
            }))
        }
        _ => None,
    }
    })
}

#[test]
fn a_server_of_the_new_era_answers_an_older_caller_and_asks_it() {
    let upstream = modern_only();
    let server = Serving::start(McpCli::new(&["serve", "-p", "0", &upstream.url]));
    let initialize = |capabilities: Value| {
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": capabilities,
        "clientInfo": {"name": "t", "version": "1"}}})
    };
    let without = last_message(&older(&server, "", &initialize(json!({}))));
    assert_eq!(without["result"]["serverInfo"]["name"], "newer");
    let refused = last_message(&older(&server, "", &call(2, "greet")));
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("elicitation/create"), "{message}");

    let opened = older(&server, "", &initialize(json!({"elicitation": {}})));
    let session = opened.lines().find(|it| it.starts_with("mcp-session-id: "));
    let session = session.unwrap_or_else(|| panic!("{opened}"));
    let mut messages = begin_call(&server, session, &call(5, "greet"));
    let asked = messages();
    assert_eq!(asked["params"]["message"], "Who?");
    let reply = json!({"jsonrpc": "2.0", "id": asked["id"],
        "result": {"action": "accept", "content": {"name": "Eve"}}});
    assert!(older(&server, session, &reply).starts_with("HTTP/1.1 202"));
    let answered = messages();
    assert_eq!((&answered["id"], text_of(&answered)), (&json!(5), "Eve"));
}

/// Sends a call whose answer is a stream, and returns what gives its messages one by one.
fn begin_call(server: &Serving, headers: &str, call: &Value) -> impl FnMut() -> Value + use<> {
    let mut stream = server.connect();
    let body = call.to_string();
    let head = format!("{POST}\n{BOTH_FORMS}\n{headers}");
    let head = head.trim().replace('\n', "\r\n");
    let head = format!(
        "{head}\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all(&[head.as_bytes(), body.as_bytes()].concat())
        .unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    move || {
        let mut data = lines
            .by_ref()
            .filter_map(|it| Some(it.strip_prefix("data: ")?.to_owned()));
        serde_json::from_str(&data.next().unwrap()).unwrap()
    }
}

#[test]
fn progress_comes_with_the_token_of_its_caller() {
    let script = Older::new();
    let server = script.serve(&[]);
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "progress", "arguments": {}, "_meta": {"progressToken": "mine", "kept": 1}}});
    let answered = older(&server, "", &message);
    assert!(answered.contains("text/event-stream"), "{answered}");
    assert!(answered.contains(r#""progressToken":"mine""#), "{answered}");
    assert_eq!(text_of(&last_message(&answered)), "done");
    let log = script.log();
    assert!(!log.contains("mine"), "{log}");
    assert!(log.contains(r#""kept":1"#), "{log}");
}

#[test]
fn a_caller_that_leaves_cancels_its_call() {
    let script = Older::new();
    let server = script.serve(&[]);
    let mut stream = server.connect();
    let body = call(1, "wait").to_string();
    let head = format!("{POST}\n{BOTH_FORMS}").replace('\n', "\r\n");
    let head = format!(
        "{head}\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all(&[head.as_bytes(), body.as_bytes()].concat())
        .unwrap();
    script.wait_for("\"wait\"");
    drop(stream);
    script.wait_for("notifications/cancelled");
    text_of(&last_message(&older(&server, "", &call(2, "pid"))));
}

#[test]
fn an_older_caller_cancels_with_a_notification() {
    let script = Older::new();
    let server = script.serve(&[]);
    let mut stream = server.connect();
    let body = call(77, "wait").to_string();
    let head = format!("{POST}\n{BOTH_FORMS}").replace('\n', "\r\n");
    let head = format!(
        "{head}\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all(&[head.as_bytes(), body.as_bytes()].concat())
        .unwrap();
    script.wait_for("\"wait\"");
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 77}});
    assert!(older(&server, "", &cancel).starts_with("HTTP/1.1 202"));
    script.wait_for("notifications/cancelled");
    // The id that the server is told is the one that it was asked with.
    assert!(!script.log().contains("77"), "{}", script.log());
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.any(|it| it.contains("the request was cancelled")));
}

#[test]
fn each_session_may_have_a_process_of_its_own() {
    let script = Older::new();
    let server = script.serve(&["--processes", "session", "--sessions"]);
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let open = || {
        let opened = older(&server, "", &initialize);
        let session = opened.lines().find(|it| it.starts_with("mcp-session-id: "));
        session.unwrap_or_else(|| panic!("{opened}")).to_owned()
    };
    let pid = |session: &str| {
        let called = older(&server, session, &call(2, "pid"));
        text_of(&last_message(&called)).to_owned()
    };
    let (one, two) = (open(), open());
    assert_eq!(pid(&one), pid(&one));
    assert_ne!(pid(&one), pid(&two));
    let process = pid(&one);
    let head = format!("DELETE /mcp HTTP/1.1\n{one}");
    assert_eq!(server.send(&head, b"").status(), 204);
    wait_for_end(&process);
}

#[test]
fn callers_have_processes_of_their_own_and_old_ones_make_room() {
    let script = Older::new();
    let home = TempDir::new().unwrap();
    let path = script.path();
    let args = ["serve", "-p", "0", "--auth", "--", "sh", &path];
    let server = Serving::start(McpCli::new(&args).home(home.path()));
    let mut processes = Vec::new();
    for number in 0..36 {
        let subject = number.to_string();
        let minted = McpCli::new(&[
            "token",
            "-q",
            "--audience",
            "dice-server",
            "--subject",
            &subject,
        ]);
        let token = minted.home(home.path()).run().stdout;
        let authorization = format!("authorization: Bearer {}", token.trim());
        let called = older(&server, &authorization, &call(1, "pid"));
        processes.push(text_of(&last_message(&called)).to_owned());
    }
    let mut distinct = processes.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 36);
    wait_for_end(&processes[0]);
    wait_for_end(&processes[3]);
    assert!(Path::new(&format!("/proc/{}", processes[35])).exists());
}

#[test]
fn a_process_that_nobody_uses_ends_and_is_started_again() {
    let script = Older::new();
    let server = script.serve(&["--idle-exit", "200ms"]);
    let first = text_of(&last_message(&older(&server, "", &call(1, "pid")))).to_owned();
    wait_for_end(&first);
    let second = text_of(&last_message(&older(&server, "", &call(2, "pid")))).to_owned();
    assert_ne!(first, second);
    let (exit, _) = server.terminate();
    assert_eq!(exit, Some(0));
    wait_for_end(&second);
}

fn wait_for_end(process: &str) {
    let started = Instant::now();
    while Path::new(&format!("/proc/{process}")).exists() {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{process} goes on"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_remote_server_is_served_over_stdio() {
    let upstream = Mcp::start(|_| None);
    let program = env!("CARGO_BIN_EXE_mcp-cli");
    let args = [
        "serve",
        "-t",
        "stdio",
        "--upstream-authorization",
        "sesame-sesame",
        &upstream.url,
    ];
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut ask = |message: &Value| {
        writeln!(input, "{message}").unwrap();
        let line = lines.next().unwrap().unwrap();
        serde_json::from_str::<Value>(&line).unwrap()
    };
    let initialized = ask(
        &json!({"jsonrpc": "2.0", "id": "a", "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}),
    );
    assert_eq!(initialized["result"]["protocolVersion"], "2025-06-18");
    let listed = ask(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}));
    assert_eq!(listed["id"], 2);
    assert_eq!(listed["result"]["tools"][0]["name"], "roll_dice");
    let refused = ask(&json!([1]));
    assert_eq!(refused["error"]["code"], -32700);
    drop(input);
    assert!(child.wait().unwrap().success());
    assert_eq!(
        upstream.asked("tools/list")[0].headers["authorization"],
        "Bearer sesame-sesame"
    );
}

#[test]
fn each_server_of_a_file_has_a_path() {
    let folder = TempDir::new().unwrap();
    let program = env!("CARGO_BIN_EXE_mcp-cli");
    let config = folder.path().join("mcp.json");
    let servers = json!({"mcpServers": {
        "one": {"command": program, "args": ["serve", "-t", "stdio", "--seed", "1"]},
        "two.x": {"command": program, "args": ["serve", "-t", "stdio", "--seed", "2"]},
    }});
    std::fs::write(&config, servers.to_string()).unwrap();
    let args = ["serve", "-p", "0", "--mcp-config", config.to_str().unwrap()];
    let server = Serving::start(McpCli::new(&args));
    let origin = format!("http://{}", server.address());
    for (path, exit) in [("one", 0), ("two_x", 0), ("three", 6)] {
        let run = McpCli::new(&["tools", "list", &format!("{origin}/{path}/mcp")]).run();
        assert_eq!(run.exit, Some(exit), "{path}: {run}");
    }
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    for (args, part) in [
        (
            &["--allowed-tools", "a"][..],
            "--allowed-tools is for a server of your own",
        ),
        (
            &["--seed", "1", "localhost:1/mcp"],
            "--seed is for the dice server",
        ),
        (
            &["localhost:1/mcp", "--", "true"],
            "named in more than one way",
        ),
        (
            &["--upstream-authorization", "x", "--", "true"],
            "takes no headers and no token",
        ),
    ] {
        let run = McpCli::new(&[&["serve", "-p", "0"], args].concat()).run();
        assert_eq!(run.exit, Some(2), "{args:?}: {run}");
        assert!(run.stderr.contains(part), "{args:?}: {run}");
    }
}
