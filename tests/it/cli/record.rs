//! `--record FILE`, and `show`.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Gateway, McpCli, Serving, dice_server};

/// The lines of a recording.
fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect()
}

fn methods(lines: &[Value], direction: &str) -> Vec<String> {
    let of_direction = lines.iter().filter(|it| it["direction"] == direction);
    let methods = of_direction.filter_map(|it| it["body"]["method"].as_str());
    methods.map(str::to_owned).collect()
}

#[test]
fn tools_check_and_ask_record_what_they_send_and_get() {
    let server = dice_server();
    let folder = TempDir::new().unwrap();
    for (name, args) in [
        ("tools", &["tools", "list"][..]),
        ("check", &["check"]),
        (
            "ask",
            &[
                "ask",
                "--local",
                "Roll 2 dice",
                "--require-approval",
                "never",
            ],
        ),
    ] {
        let path = folder.path().join(name);
        let run = McpCli::new(args)
            .args(&[
                "--server-url",
                &server.url,
                "--authorization",
                "sesame-sesame",
            ])
            .args(&["--record", path.to_str().unwrap()])
            .run();
        assert_eq!(run.exit, Some(0), "{name}: {run}");
        let lines = lines(&path);
        assert_eq!(lines[0]["mcp_cli_record"], 1, "{name}");
        assert!(
            methods(&lines, "out").contains(&"tools/list".to_owned()),
            "{name}"
        );
        let answered = lines
            .iter()
            .any(|it| it["direction"] == "in" && it["body"]["result"]["tools"].is_array());
        assert!(answered, "{name}");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("sesame"), "{name}: {text}");
    }
}

#[test]
fn serve_records_both_sides_without_the_tokens() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("serve");
    let program = env!("CARGO_BIN_EXE_mcp-cli");
    let home = TempDir::new().unwrap();
    let token = McpCli::new(&["token", "-q", "--audience", "dice-server"])
        .home(home.path())
        .run()
        .stdout;
    let args = [
        "serve",
        "-p",
        "0",
        "--auth",
        "--record",
        path.to_str().unwrap(),
        "--",
    ];
    let server = Serving::start(
        McpCli::new(&args)
            .args(&[program, "serve", "-t", "stdio"])
            .home(home.path()),
    );
    let asked = server.ask(&["Roll 2 dice", "--authorization", token.trim()]);
    assert_eq!(asked.exit, Some(0), "{asked}");
    let (exit, _) = server.terminate();
    assert_eq!(exit, Some(0));

    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains(token.trim()), "{text}");
    let lines = lines(&path);
    assert_eq!(
        methods(&lines, "in"),
        ["server/discover", "tools/list", "tools/call"]
    );
    assert_eq!(
        methods(&lines, "out"),
        ["server/discover", "tools/list", "tools/call"]
    );
    let call = lines
        .iter()
        .find(|it| it["direction"] == "in" && it["body"]["method"] == "tools/call");
    let call = call.unwrap();
    assert_eq!(call["headers"]["authorization"], "Bearer [redacted]");
    assert_eq!(call["headers"]["mcp-name"], "roll_dice");
    assert_eq!(call["http"], "POST /mcp");

    let shown = McpCli::new(&["show", path.to_str().unwrap()]).run();
    assert_eq!(shown.exit, Some(0), "{shown}");
    assert_eq!(shown.stdout.lines().count(), 12, "{shown}");
    assert!(
        shown
            .stdout
            .contains("<- client  POST /mcp  tools/call roll_dice"),
        "{shown}"
    );
    assert!(!shown.stdout.contains('\u{1b}'), "{shown}");
}

#[test]
fn the_gateway_records_requests_and_events_without_the_credentials_of_tool_entries() {
    let server = dice_server();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("gateway");
    let gateway = Gateway::start(&["--record", path.to_str().unwrap()]);
    let request = json!({"model": "m", "input": "Roll 2 dice", "stream": true, "tools": [{
        "type": "mcp", "server_label": "dice", "server_url": format!("{}?key=sesame-sesame", server.url),
        "require_approval": "never", "headers": {"X-Key": "sesame-sesame"}}]});
    let mut events = gateway.stream(&request);
    events.until("response.completed");
    drop(events);
    let (exit, _) = gateway.serving.terminate();
    assert_eq!(exit, Some(0));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("sesame"), "{text}");
    let lines = lines(&path);
    let is_event = |it: &&Value| it["direction"] == "out" && it["body"]["type"].is_string();
    assert!(lines.iter().filter(is_event).count() > 10, "{text}");
    let completed = lines
        .iter()
        .any(|it| it["body"]["type"] == "response.completed");
    assert!(completed, "{text}");
}

#[test]
fn a_recording_is_never_overwritten_and_what_is_none_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("there");
    std::fs::write(&path, "mine").unwrap();
    let path = path.to_str().unwrap();
    let run = McpCli::new(&["tools", "list", "--record", path, "--", "true"]).run();
    assert_eq!(run.exit, Some(1), "{run}");
    assert!(run.stderr.contains("exists already"), "{run}");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "mine");
    let run = McpCli::new(&["show", path]).run();
    assert_eq!(run.exit, Some(2), "{run}");
    assert!(run.stderr.contains("is not a recording"), "{run}");
}
