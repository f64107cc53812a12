//! Servers that are started: how they end, and what they are given of this program's environment.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::McpCli;

/// A configuration file with one server, which is this script.
fn config(script: &str, env: &Value) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("mcp.json");
    let server = json!({"command": "sh", "args": ["-c", script], "env": env});
    std::fs::write(&file, json!({"mcpServers": {"s": server}}).to_string()).unwrap();
    let path = file.to_str().unwrap().to_owned();
    (folder, path)
}

fn list(path: &str) -> McpCli {
    McpCli::new(&["tools", "list", "--mcp-config", path]).env("PATH", "/usr/bin:/bin")
}

/// The dice server, as a command of a shell.
fn dice() -> String {
    format!("{} serve -t stdio", env!("CARGO_BIN_EXE_mcp-cli"))
}

#[test]
fn a_server_that_stays_is_ended_with_all_that_it_started() {
    // All of them have our stderr: a run is over for its reader when the last one is gone.
    let script = format!("trap '' TERM; sleep 60 & {}; sleep 60; sleep 60", dice());
    let (_folder, path) = config(&script, &json!({}));
    let started = Instant::now();
    let run = list(&path).run();
    assert_eq!(run.exit, Some(0), "{run}");
    assert!(run.stdout.contains("roll_dice"), "{run}");
    assert!(started.elapsed() < Duration::from_secs(5), "{run}");
}

#[test]
fn a_server_that_was_never_connected_to_is_ended_too() {
    let script = "trap '' TERM; sleep 60 & echo '{\"jsonrpc\": \"2.0\", \"id\": 0}'; sleep 60";
    let (_folder, path) = config(script, &json!({}));
    let started = Instant::now();
    let run = list(&path).run();
    assert_eq!(run.exit, Some(6), "{run}");
    assert!(started.elapsed() < Duration::from_secs(5), "{run}");
}

#[test]
fn a_server_gets_the_secrets_that_its_configuration_names_and_no_others() {
    let script = format!("env >&2; exec {}", dice());
    let env = json!({"NAMED_TOKEN": "${NAMED_TOKEN}", "ANTHROPIC_API_KEY": "of the file"});
    let (_folder, path) = config(&script, &env);
    let run = list(&path)
        .env("NAMED_TOKEN", "named")
        .env("OPENAI_API_KEY", "canary")
        .env("ANTHROPIC_API_KEY", "canary")
        .env("GITHUB_TOKEN", "canary")
        .env("aws_secret_access_key", "canary")
        .env("PGPASSWORD", "canary")
        .env("DATABASE_URL", "postgres://user:canary@localhost")
        .env("SOME_SETTING", "kept")
        .run();
    assert_eq!(run.exit, Some(0), "{run}");
    assert!(!run.stderr.contains("canary"), "{run}");
    for line in [
        "NAMED_TOKEN=named",
        "ANTHROPIC_API_KEY=of the file",
        "SOME_SETTING=kept",
    ] {
        assert!(run.stderr.contains(line), "{line}: {run}");
    }
}

#[test]
fn a_server_that_asks_in_place_of_an_answer_is_told_with_what_it_asked() {
    let asks = r#"read line; yes '{"jsonrpc": "2.0", "id": 1, "method": "roots/list"}'"#;
    let (_folder, path) = config(asks, &json!({}));
    let run = list(&path).run();
    assert_eq!(run.exit, Some(6), "{run}");
    assert!(
        run.stderr
            .contains("17 requests of its own, the last of them \"roots/list\""),
        "{run}"
    );
}
