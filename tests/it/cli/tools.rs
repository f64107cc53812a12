//! `mcp-cli tools`: what a server offers, and a call of it without a model.

use std::process::Command;
use std::time::{Duration, Instant};

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use rexpect::session::spawn_command;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Asked, Faulty, Mcp, McpCli, Run, Step, dice_server, dice_server_with_auth, roll_dice,
};

fn list(url: &str, args: &[&str]) -> Run {
    let named = [
        "tools",
        "list",
        "--server-url",
        url,
        "--server-label",
        "dice",
    ];
    McpCli::new(&named).args(args).run()
}

fn calling(url: &str, args: &[&str]) -> McpCli {
    let named = [
        "tools",
        "call",
        "--server-url",
        url,
        "--server-label",
        "dice",
    ];
    McpCli::new(&named).args(args)
}

fn call(url: &str, args: &[&str]) -> Run {
    calling(url, args).run()
}

/// A server with these tools, which answers a call with this result.
fn server(tools: Value, result: Value) -> Mcp {
    Mcp::start(move |asked| match asked.method.as_str() {
        "tools/list" => Some(asked.result(&json!({"tools": tools}))),
        "tools/call" => Some(asked.result(&result)),
        _ => None,
    })
}

fn arguments(asked: &[Asked]) -> Vec<&Value> {
    asked
        .iter()
        .map(|it| &it.message["params"]["arguments"])
        .collect()
}

#[test]
fn the_tools_of_a_server_are_read_as_signatures() {
    let server = dice_server();
    insta::assert_snapshot!(list(&server.url, &[]), @r"
    exit: 0
    ----- stdout -----
    roll_dice(n_dice: int)  [read-only] Roll `n_dice` 6-sided dice and return the results.
    ----- stderr -----
    ");
}

#[test]
fn as_json_a_tool_is_what_the_server_sent() {
    let sent = json!([{
        "name": "draw", "title": "Draw", "description": "Draw\ncards",
        "inputSchema": {"type": "object", "properties": {"z": {}, "a": {}}},
        "outputSchema": {"type": "object"}, "annotations": {"destructiveHint": true},
        "icons": [{"src": "https://a.example/i.png"}], "_meta": {"x": 1},
        "x-of-the-server": {"a": [1.50, null]},
    }]);
    let server = server(sent.clone(), json!({}));
    let run = list(&server.url, &["--json"]);
    assert_eq!(run.exit, Some(0), "{run}");
    assert_eq!(serde_json::from_str::<Value>(&run.stdout).unwrap(), sent);
}

#[test]
fn as_json_a_result_is_what_the_server_sent() {
    let sent = json!({
        "x-of-the-server": 1, "structuredContent": null, "_meta": {"x": 1},
        "content": [{"type": "text", "text": "a", "annotations": {"y": 2}}, {"type": "chart", "z": 3}],
    });
    let server = server(json!([roll_dice()]), sent.clone());
    let run = call(&server.url, &["roll_dice", "n_dice=1", "--json"]);
    assert_eq!(run.exit, Some(0), "{run}");
    assert_eq!(serde_json::from_str::<Value>(&run.stdout).unwrap(), sent);
    let run = call(&server.url, &["roll_dice", "n_dice=1"]);
    assert_eq!(run.stdout, "a\n{\"type\":\"chart\",\"z\":3}\n");
}

#[test]
fn annotated_arguments_are_sent_in_headers_too() {
    let server = Mcp::start(|asked| {
        let result = match asked.method.as_str() {
            "server/discover" => json!({"supportedVersions": ["2026-07-28"]}),
            "tools/list" => json!({"tools": [{"name": "get", "inputSchema": {"properties": {
                "city": {"type": "string", "x-mcp-header": "City"}, "days": {"type": "integer"}}}}]}),
            _ => json!({"content": [{"type": "text", "text": "sun"}]}),
        };
        Some(asked.result(&result))
    });
    let run = call(&server.url, &["get", "city=Bern", "days=2"]);
    assert_eq!(run.stdout, "sun\n", "{run}");
    let [asked] = &server.asked("tools/call")[..] else {
        panic!("it is called once");
    };
    let header = |name: &str| asked.headers.get(name).map(|it| it.to_str().unwrap());
    assert_eq!(header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(header("mcp-method"), Some("tools/call"));
    assert_eq!(header("mcp-name"), Some("get"));
    assert_eq!(header("mcp-param-city"), Some("Bern"));
    assert_eq!(header("mcp-param-days"), None);
    let meta = &asked.message["params"]["_meta"];
    assert_eq!(
        meta["io.modelcontextprotocol/protocolVersion"],
        "2026-07-28"
    );
}

#[test]
fn a_server_that_answers_discovery_oddly_is_initialized() {
    type Odd = fn(&Asked) -> Response;
    let odd: [Odd; 8] = [
        |asked| asked.result(&json!({})),
        |asked| asked.result(&Value::Null),
        |asked| asked.result(&json!({"protocolVersion": "2025-06-18", "capabilities": {}})),
        |_| StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        |_| StatusCode::NOT_IMPLEMENTED.into_response(),
        |_| StatusCode::ACCEPTED.into_response(),
        |_| "Method not found".into_response(),
        |asked| {
            let id = &asked.message["id"];
            Json(json!({"jsonrpc": "2.0", "id": id, "error": "unknown"})).into_response()
        },
    ];
    for (number, odd) in odd.into_iter().enumerate() {
        let server = Mcp::failing("server/discover", odd);
        let run = list(&server.url, &[]);
        assert_eq!(run.exit, Some(0), "{number}: {run}");
    }
}

#[test]
fn only_the_tools_that_are_allowed_are_listed_and_called() {
    let mut peek = roll_dice();
    peek["name"] = json!("peek");
    peek["annotations"] = json!({"readOnlyHint": true});
    let server = server(json!([roll_dice(), peek]), json!({"content": []}));
    let run = list(&server.url, &["--read-only"]);
    assert_eq!(run.stdout, "peek(n_dice: int)  [read-only] Roll dice\n");
    let run = list(&server.url, &["--allowed-tools", "roll_dice"]);
    assert_eq!(run.stdout, "roll_dice(n_dice: int)  Roll dice\n");
    let run = call(&server.url, &["--read-only", "roll_dice", "n_dice=1"]);
    assert_eq!(run.exit, Some(2), "{run}");
    assert!(server.asked("tools/call").is_empty());
    let run = list(&server.url, &["--allowed-tools", "none"]);
    insta::assert_snapshot!(run, @r"
    exit: 0
    ----- stdout -----
    ----- stderr -----
    note: dice offers no tools
    ");
}

#[test]
fn a_tool_is_called_with_arguments_as_its_schema_wants_them() {
    let server = server(
        json!([{"name": "find", "inputSchema": {"properties": {
            "text": {"type": "string"}, "most": {"type": "integer"}, "deep": {"type": "boolean"}}}}]),
        json!({"content": [{"type": "text", "text": "none\n"}]}),
    );
    let file = TempDir::new().unwrap();
    let path = file.path().join("input.json");
    std::fs::write(&path, r#"{"most": 1, "text": "of the file"}"#).unwrap();
    let path = format!("@{}", path.display());

    let typed = call(
        &server.url,
        &["find", "text=42", "most=42", "deep=true", "at:={\"x\":1}"],
    );
    let of_file = call(
        &server.url,
        &["find", "--input-json", &path, "text=of the flag"],
    );
    let of_stdin = calling(&server.url, &["find", "--input-json", "-"])
        .stdin(r#"{"deep": false}"#)
        .run();

    assert_eq!(
        arguments(&server.asked("tools/call")),
        [
            &json!({"text": "42", "most": 42, "deep": true, "at": {"x": 1}}),
            &json!({"most": 1, "text": "of the flag"}),
            &json!({"deep": false}),
        ]
    );
    insta::assert_snapshot!(typed, @r"
    exit: 0
    ----- stdout -----
    none
    ----- stderr -----
    note: the tool does not name `at`
    ");
    for run in [of_file, of_stdin] {
        assert_eq!((run.exit, run.stdout.as_str()), (Some(0), "none\n"));
    }
}

#[test]
fn what_does_not_fit_is_told_and_never_sent() {
    let server = server(json!([roll_dice()]), json!({"content": []}));
    for (args, complaint) in [
        (
            &["roll_dice", "n_dice=x"][..],
            "error: argument `n_dice` must be int\nhint: --no-validate sends it anyway\n",
        ),
        (
            &["roll_dice", "ndice=3"],
            "error: argument `n_dice` is missing: it must be int\nhint: `ndice` was given instead\n",
        ),
        (
            &["roll_dices", "n_dice=3"],
            "error: `dice` has no tool `roll_dices`\nhint: did you mean `roll_dice`?\n",
        ),
        (
            &["wipe"],
            "error: `dice` has no tool `wipe`\nhint: `mcp-cli tools list` with the same server lists its tools\n",
        ),
        (
            &["roll_dice", "3"],
            "error: \"3\" is not a KEY=VALUE argument\nhint: write key=value, or key:=json\n",
        ),
        (
            &["roll_dice", "n_dice=3", "n_dice=4"],
            "error: argument `n_dice` is given twice\nhint: write a list as 'key:=[1, 2]'\n",
        ),
        (
            &["roll_dice", "--input-json", "[3]"],
            "error: --input-json is not a JSON object\n",
        ),
        (
            &["roll_dice", "--input-json", "{"],
            "error: --input-json is not JSON\ncause: EOF while parsing an object at line 1 column 1\n",
        ),
        (
            &["roll_dice", "--input-json", "-", "--authorization", "-"],
            "error: two values are to be read from stdin\nhint: read one of them from a file, with @FILE\n",
        ),
    ] {
        let run = call(&server.url, args);
        assert_eq!((run.exit, run.stderr.as_str()), (Some(2), complaint));
    }
    assert!(server.asked("tools/call").is_empty());
}

#[test]
fn one_server_must_be_named_and_one_that_is_here() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("mcp.json");
    let command = json!({"command": env!("CARGO_BIN_EXE_mcp-cli"), "args": ["serve", "-t", "stdio", "--seed", "7"]});
    let servers = json!({"mcpServers": {"one": command, "two": command}});
    std::fs::write(&path, servers.to_string()).unwrap();
    let path = path.to_str().unwrap();
    let tools = |args: &[&str]| McpCli::new(&["tools"]).args(args).run();

    insta::assert_snapshot!(tools(&["list"]), @r"
    exit: 2
    ----- stdout -----
    ----- stderr -----
    error: no MCP server is named
    hint: name one by its URL, as -- COMMAND, or with --mcp-config FILE
    ");
    insta::assert_snapshot!(tools(&["list", "--mcp-config", path]), @r"
    exit: 0
    ----- stdout -----
    one: 1 tool
    roll_dice(n_dice: int)  [read-only] Roll `n_dice` 6-sided dice and return the results.
    two: 1 tool
    roll_dice(n_dice: int)  [read-only] Roll `n_dice` 6-sided dice and return the results.
    ----- stderr -----
    ");
    insta::assert_snapshot!(tools(&["show", "--mcp-config", path, "roll_dice"]), @r"
    exit: 2
    ----- stdout -----
    ----- stderr -----
    error: several MCP servers are named: one, two
    hint: pick one with --server NAME
    ");
    let connector = tools(&["list", "--connector-id", "connector_gmail"]);
    assert_eq!(connector.exit, Some(2));
    assert!(
        connector.stderr.contains("a connector cannot be used"),
        "{connector}"
    );

    let one = [
        "--mcp-config",
        path,
        "--server",
        "one",
        "roll_dice",
        "n_dice=5",
    ];
    insta::assert_snapshot!(tools(&[&["call"], &one[..]].concat()), @r"
    exit: 0
    ----- stdout -----
    [3,1,1,2,1]
    ----- stderr -----
    ");
}

#[test]
fn a_tool_that_fails_is_an_exit_status_of_its_own() {
    let failed =
        json!({"isError": true, "content": [{"type": "text", "text": "no dice\u{1b}[2J"}]});
    let server = server(json!([roll_dice()]), failed.clone());
    insta::assert_snapshot!(call(&server.url, &["roll_dice", "n_dice=1"]), @r"
    exit: 8
    ----- stdout -----
    ----- stderr -----
    error: `dice.roll_dice` failed: no dice\u{1b}[2J
    ");
    let run = call(&server.url, &["roll_dice", "n_dice=1", "--json"]);
    assert_eq!(run.exit, Some(8), "{run}");
    assert_eq!(serde_json::from_str::<Value>(&run.stdout).unwrap(), failed);
    let error: Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!(error["error"]["kind"], "tool_error");
    assert_eq!(error["error"]["exit"], 8);
}

#[test]
fn a_server_that_gives_no_list_is_explained_in_the_words_of_mcp() {
    let (server, _keys) = dice_server_with_auth(&[]);
    let run = call(&server.url, &["roll_dice", "n_dice=1"]);
    insta::assert_snapshot!(run, @r#"
    exit: 6
    ----- stdout -----
    ----- stderr -----
    error: dice gave no list of its tools
    cause: the MCP server answered HTTP 401 Unauthorized (realm "mcp-cli")
    hint: mint a token with `mcp-cli token --audience dice-server` and pass it with --authorization @FILE
    run: mcp-cli check --server-url http://127.0.0.1:PORT/mcp --server-label dice
    "#);

    let run = McpCli::new(&["tools", "list", "--server-url", "http://127.0.0.1:1/mcp"]).run();
    insta::assert_snapshot!(run, @r"
    exit: 6
    ----- stdout -----
    ----- stderr -----
    error: server_127_0_0_1 gave no list of its tools
    cause: the MCP server could not be reached
    cause: Connection refused (os error 111)
    hint: check that the server runs, and that the URL is right
    run: mcp-cli check --server-url http://127.0.0.1:PORT/mcp
    ");
}

#[test]
fn a_call_that_brings_no_result_says_why() {
    let refuses = Mcp::failing("tools/call", |asked| asked.error(-32603, "out of dice"));
    insta::assert_snapshot!(call(&refuses.url, &["roll_dice", "n_dice=1"]), @r"
    exit: 6
    ----- stdout -----
    ----- stderr -----
    error: `dice.roll_dice` could not be called
    cause: the MCP server answered with error -32603: out of dice
    ");
    let hangs = hanging();
    let args = ["roll_dice", "n_dice=1", "--timeout", "1s"];
    insta::assert_snapshot!(call(&hangs.url, &args), @r"
    exit: 6
    ----- stdout -----
    ----- stderr -----
    error: `dice.roll_dice` could not be called
    cause: the MCP server did not answer within 1 s
    hint: raise it with --timeout
    ");
}

/// A server that begins to answer a call, and never ends.
fn hanging() -> Mcp {
    Mcp::failing("tools/call", |_| {
        let never = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
        crate::support::event_stream(axum::body::Body::from_stream(never))
    })
}

#[test]
fn a_signal_ends_the_call_here_and_at_the_server() {
    for (signal, exit) in [("INT", 130), ("TERM", 143)] {
        let server = hanging();
        let (mut child, _home) = calling(&server.url, &["roll_dice", "n_dice=1"]).spawn();
        wait_until(|| !server.asked("tools/call").is_empty());
        let id = server.asked("tools/call")[0].message["id"].clone();

        let kill = Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());

        assert_eq!(child.wait().unwrap().code(), Some(exit));
        let cancelled = server.asked("notifications/cancelled");
        let [cancelled] = &cancelled[..] else {
            panic!("the server was not told: {}", cancelled.len());
        };
        assert_eq!(cancelled.message["params"]["requestId"], id);
    }
}

fn wait_until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_is_no_text_is_saved_and_nothing_is_overwritten() {
    let server = server(
        json!([{"name": "../chart", "inputSchema": {}}]),
        json!({"content": [
            {"type": "text", "text": "Two charts"},
            {"type": "image", "mimeType": "image/png", "data": "iVBORw=="},
            {"type": "image", "mimeType": "image/jpeg", "data": "/9j/"},
        ]}),
    );
    let folder = TempDir::new().unwrap();
    let charts = folder.path().join("charts");
    let args = ["../chart", "--output-dir", charts.to_str().unwrap()];
    for files in [["1.png", "2.jpg"], ["2.png", "3.jpg"]] {
        let [png, jpg] = files.map(|it| charts.join(format!("___chart-{it}")));
        let run = call(&server.url, &args);
        let told = format!(
            "Two charts\nimage/png, 4 bytes: {}\nimage/jpeg, 3 bytes: {}\n",
            png.display(),
            jpg.display()
        );
        assert_eq!((run.exit, &run.stdout), (Some(0), &told));
        assert_eq!(std::fs::read(png).unwrap(), b"\x89PNG");
    }
    let run = call(&server.url, &["../chart"]);
    assert_eq!(
        run.stdout,
        "Two charts\nimage/png, 4 bytes\nimage/jpeg, 3 bytes\n"
    );
    let calls = server.asked("tools/call").len();
    let run = call(&server.url, &["../chart", "--output-dir", "/dev/null/x"]);
    assert_eq!(run.exit, Some(1), "{run}");
    assert_eq!(server.asked("tools/call").len(), calls);
}

#[test]
fn a_schema_elsewhere_is_not_fetched_and_the_call_is_made() {
    let elsewhere = Faulty::start([Step::Hang]);
    let schema = json!({"$ref": format!("{}/schema", elsewhere.base_url())});
    let server = server(
        json!([{"name": "far", "inputSchema": schema}]),
        json!({"content": [{"type": "text", "text": "done"}]}),
    );
    let run = call(&server.url, &["far", "a=5"]);
    assert_eq!((run.exit, run.stdout.as_str()), (Some(0), "done\n"));
    assert!(
        run.stderr.contains("note: the arguments are not checked"),
        "{run}"
    );
    assert_eq!(arguments(&server.asked("tools/call")), [&json!({"a": "5"})]);
}

#[test]
fn on_a_terminal_nothing_of_a_server_drives_it() {
    let evil = "\u{1b}]0;evil\u{7}\u{9b}2J\u{202e}";
    let server = server(
        json!([{"name": "a", "description": format!("{evil}first\nsecond"), "inputSchema": {}}]),
        json!({"content": [{"type": "text", "text": format!("{evil}text")}]}),
    );
    for args in [
        &["tools", "list"][..],
        &["tools", "list", "--json"],
        &["tools", "call", "a"],
        &["tools", "call", "a", "--json"],
    ] {
        let home = TempDir::new().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-cli"));
        command
            .args(args)
            .args(["-q", "--server-url", &server.url])
            .env_clear()
            .env("HOME", home.path());
        let mut terminal = spawn_command(command, Some(10_000)).unwrap();
        let shown = terminal.exp_eof().unwrap();
        assert!(shown.contains("first") || shown.contains("text"), "{shown}");
        let drives = |it: char| it.is_control() && !matches!(it, '\r' | '\n');
        assert!(
            !shown.contains(drives) && !shown.contains('\u{202e}'),
            "{shown:?}"
        );
    }
}

#[test]
fn an_error_as_json_cannot_drive_a_terminal_and_is_itself_in_a_pipe() {
    let evil = "\u{9b}2J\u{202e}\u{200b}text";
    let result = json!({"content": [{"type": "text", "text": evil}], "isError": true});
    let server = server(json!([{"name": "a", "inputSchema": {}}]), result);
    let home = TempDir::new().unwrap();
    // Only stderr is the terminal.
    let line = "exec \"$0\" tools call a --json --server-url \"$1\" > \"$HOME/out\"";
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", line, env!("CARGO_BIN_EXE_mcp-cli"), &server.url])
        .env_clear()
        .env("HOME", home.path());
    let mut terminal = spawn_command(command, Some(10_000)).unwrap();
    let shown = terminal.exp_eof().unwrap();
    let escaped = "\\u009b2J\\u202e\\u200btext";
    assert!(
        shown.contains("{\"error\":") && shown.contains(escaped),
        "{shown:?}"
    );
    assert!(
        !shown.contains(['\u{9b}', '\u{202e}', '\u{200b}']),
        "{shown:?}"
    );
    let run = call(&server.url, &["a", "--json"]);
    assert_eq!(run.exit, Some(8), "{run}");
    assert!(run.stderr.contains(evil), "{run}");
}

#[test]
fn a_schema_of_any_size_makes_short_notes_and_short_errors() {
    let many: Vec<String> = (0..60_000).map(|it| format!("value{it}")).collect();
    let more = vec!["a"; 200_000];
    let server = server(
        json!([
            {"name": "enum", "inputSchema": {"properties": {"a": {"enum": many}}}},
            {"name": "required", "inputSchema": {"required": more}},
            {"name": "ref", "inputSchema": {"$ref": format!("http://h/{}", "x".repeat(240_000))}}
        ]),
        json!({"content": [{"type": "text", "text": "x".repeat(500_000)}], "isError": true}),
    );
    for (tool, exit, told) in [
        ("enum", 2, "value0"),
        ("required", 8, "inputSchema: it is too large"),
        ("ref", 8, "inputSchema: "),
    ] {
        for json in [&[][..], &["--json"]] {
            let run = call(&server.url, &[&[tool, "a=b"], json].concat());
            assert_eq!(run.exit, Some(exit), "{tool}");
            assert!(run.stderr.contains(told) || !json.is_empty(), "{run}");
            assert!(run.stderr.len() < 20_000, "{tool}: {}", run.stderr.len());
        }
    }
}

#[test]
fn data_that_is_not_base64_is_named_and_the_rest_is_saved() {
    let server = server(
        json!([{"name": "chart", "inputSchema": {}}]),
        json!({"content": [
            {"type": "image", "mimeType": "image/png", "data": "not Base64"},
            {"type": "image", "mimeType": "image/png", "data": "_-8"},
        ]}),
    );
    let folder = TempDir::new().unwrap();
    let args = ["chart", "--output-dir", folder.path().to_str().unwrap()];
    let run = call(&server.url, &args);
    assert_eq!(run.exit, Some(5), "{run}");
    let file = folder.path().join("chart-1.png");
    let told = format!(
        "image/png, 7 bytes\nimage/png, 2 bytes: {}\n",
        file.display()
    );
    assert_eq!(run.stdout, told);
    assert_eq!(std::fs::read(file).unwrap(), [0xff, 0xef]);
    let why = "error: data that is not Base64 was not saved: \
        content[0] (image/png): Invalid symbol 32, offset 3\n";
    assert!(run.stderr.ends_with(why), "{run}");
}
