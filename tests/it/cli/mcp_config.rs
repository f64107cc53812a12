use serde_json::json;
use tempfile::TempDir;

use crate::support::{Answer, Api, KEY, McpCli, dice_server};

/// A configuration file with these servers.
fn config(key: &str, servers: &serde_json::Value) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("mcp.json");
    std::fs::write(&file, json!({ key: servers }).to_string()).unwrap();
    let path = file.to_str().unwrap().to_owned();
    (folder, path)
}

fn stdio_dice() -> serde_json::Value {
    json!({"command": env!("CARGO_BIN_EXE_mcp-cli"), "args": ["serve", "-t", "stdio", "--seed", "${SEED:-7}"]})
}

#[test]
fn a_server_that_is_started_is_asked_and_ended() {
    let (_folder, path) = config("mcpServers", &json!({"my dice": stdio_dice()}));
    let run = McpCli::new(&["ask", "--local", "--mcp-config", &path, "--approve", "all"])
        .arg("Roll 5 dice")
        .run();
    insta::assert_snapshot!(run, @r#"
    exit: 0
    ----- stdout -----
    You rolled 5 dice and got the following results: 3, 1, 1, 2, and 1!
    ----- stderr -----
    note: the built-in model follows rules; it is not a language model
    my_dice offers roll_dice (N ms)
    my_dice.roll_dice {"n_dice":5} approved
    my_dice.roll_dice {"n_dice":5} -> [3,1,1,2,1] (N ms)
    "#);
}

#[test]
fn several_servers_of_a_file_make_several_entries() {
    let server = dice_server();
    let (_folder, path) = config(
        "servers",
        &json!({"one": {"type": "http", "url": server.url}, "two": stdio_dice()}),
    );
    let ask = |args: &[&str]| {
        McpCli::new(&[
            "ask",
            "--local",
            "--mcp-config",
            &path,
            "--require-approval",
            "never",
        ])
        .args(args)
        .arg("Roll 2 dice")
        .run()
    };
    let both = ask(&[]);
    assert!(both.stderr.contains("one offers roll_dice"), "{both}");
    assert!(both.stderr.contains("two offers roll_dice"), "{both}");
    assert!(both.stdout.starts_with("You rolled 2 dice"), "{both}");
    let second = ask(&["--server", "two"]);
    assert!(!second.stderr.contains("one offers"), "{second}");
    assert!(second.stderr.contains("two.roll_dice"), "{second}");
}

#[test]
fn hosted_a_file_gives_urls_and_headers_and_no_command() {
    let servers = json!({
        "far": {"url": "https://a.example/mcp", "headers": {"X-Key": "${FAR_KEY}"}},
        "near": stdio_dice(),
    });
    let (_folder, path) = config("mcpServers", &servers);
    let end = json!({"id": "resp_1", "object": "response", "status": "completed", "output": []});
    let api = Api::start([Answer::json(200, &end)]);
    let ask = |args: &[&str]| {
        McpCli::new(&["ask", "--base-url", &api.base_url, "--mcp-config", &path])
            .env("OPENAI_API_KEY", KEY)
            .env("FAR_KEY", "canary")
            .args(args)
            .arg("Go")
            .run()
    };
    let refused = ask(&[]);
    insta::assert_snapshot!(refused, @r#"
    exit: 2
    ----- stdout -----
    ----- stderr -----
    error: server "near" is started on this machine, where OpenAI cannot reach it
    hint: add --bridge or --local, or serve it over HTTP behind a tunnel
    "#);
    let run = ask(&["--server", "far", "--authorization", "tok"]);
    assert_eq!(run.exit, Some(0), "{run}");
    assert_eq!(
        api.requests()[0]["tools"],
        json!([{"type": "mcp", "server_label": "far", "server_url": "https://a.example/mcp",
                "headers": {"x-key": "canary"}, "authorization": "tok"}])
    );
}

#[test]
fn servers_of_like_names_are_told_apart_and_get_no_keys_of_ours() {
    let printer = json!({"command": "sh", "args": ["-c", "env >&2; exit 1"]});
    let (_folder, path) = config(
        "mcpServers",
        &json!({"my-dice": stdio_dice(), "a.b": stdio_dice(), "a b": stdio_dice()}),
    );
    let run = McpCli::new(&[
        "ask",
        "--local",
        "--mcp-config",
        &path,
        "--require-approval",
        "never",
    ])
    .args(&["--tool-choice", "my-dice", "Roll 2 dice"])
    .run();
    for label in [
        "my-dice offers",
        "a_b offers",
        "a_b_2 offers",
        "my-dice.roll_dice",
    ] {
        assert!(run.stderr.contains(label), "{label}: {run}");
    }
    let (_folder, path) = config("mcpServers", &json!({"env": printer}));
    let run = McpCli::new(&["ask", "--local", "--mcp-config", &path, "Go"])
        .env("OPENAI_API_KEY", "canary")
        .env("MCP_AUTHORIZATION", "canary")
        .env("PATH", "/usr/bin:/bin")
        .run();
    assert_eq!(run.exit, Some(6), "{run}");
    assert!(
        run.stderr.contains("HOME="),
        "the server was not started: {run}"
    );
    assert!(!run.stderr.contains("canary"), "{run}");
}

#[test]
fn what_is_wrong_with_a_file_is_named() {
    let servers = json!({
        "a": {"url": "http://127.0.0.1:1/", "headers": {"X": "${NO_SUCH_VARIABLE}"}},
        "b": {"command": "/nowhere/canary"},
        "c": {"url": "http://127.0.0.1:1/"},
    });
    let (_folder, path) = config("mcpServers", &servers);
    for (args, exit, words) in [
        (
            &["--server", "a"][..],
            2,
            "server \"a\" needs the variable NO_SUCH_VARIABLE, which is not set\nhint: set it, or give it a default",
        ),
        (
            &["--server", "x"],
            2,
            "it has no server \"x\"; there is a, b, c",
        ),
        (
            &["--server", "b", "--server", "c", "--authorization", "t"],
            2,
            "but several are named",
        ),
        (
            &["--server", "b"],
            6,
            "cause: \"/nowhere/canary\" could not be started: No such file or directory",
        ),
    ] {
        let run = McpCli::new(&["ask", "--local", "--mcp-config", &path])
            .args(args)
            .arg("Go")
            .run();
        assert_eq!(run.exit, Some(exit), "{run}");
        assert!(run.stderr.contains(words), "{words:?} is not in {run}");
    }
    let missing = McpCli::new(&["ask", "--local", "--mcp-config", "/nowhere", "Go"]).run();
    assert_eq!(missing.exit, Some(2), "{missing}");
}

#[test]
fn inputs_of_vs_code_are_noted() {
    let server = dice_server();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("mcp.json");
    let text = json!({"inputs": [{"id": "key"}], "servers": {"dice": {"url": server.url}}});
    // VS Code allows comments.
    std::fs::write(&file, format!("// servers\n{text}")).unwrap();
    let run = McpCli::new(&["ask", "--local", "--approve", "all", "--mcp-config"])
        .arg(&file)
        .arg("Roll 2 dice")
        .run();
    assert!(run.stderr.contains("the inputs of "), "{run}");
    assert_eq!(run.exit, Some(0), "{run}");
}
