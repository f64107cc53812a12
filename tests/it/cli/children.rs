//! Servers that are started: how they end, and what they are given of this program's environment.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::signals::send;
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
    let answer = |id| format!(r#"read request; echo '{{"jsonrpc": "2.0", "id": {id}}}'"#);
    let script = format!(
        "trap '' TERM; sleep 60 & {}; {}; sleep 60",
        answer(1),
        answer(2)
    );
    let (_folder, path) = config(&script, &json!({}));
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
        .env("MYSQL_PWD", "canary")
        .env("GH_TOKEN_CI", "canary")
        .env("COOKIE", "canary")
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

/// A server that is told nothing by the end of its input or by a signal, and says nothing either;
/// the file is there once it runs.
fn stubborn(folder: &TempDir) -> (String, PathBuf) {
    let runs = folder.path().join("runs");
    let script = format!(
        "trap '' INT TERM HUP QUIT; : > {}; exec sleep 60",
        runs.display()
    );
    (script, runs)
}

fn wait_for(file: &Path) {
    let began = Instant::now();
    while !file.exists() {
        assert!(began.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn no_signal_of_a_terminal_or_a_shell_leaves_a_server_behind() {
    for (signal, exit) in [("HUP", 129), ("QUIT", 131), ("INT", 130), ("TERM", 143)] {
        let folder = TempDir::new().unwrap();
        let (script, runs) = stubborn(&folder);
        let (_config, path) = config(&script, &json!({}));
        let (child, _home) = list(&path).spawn();
        wait_for(&runs);
        let began = Instant::now();
        send(signal, &child);
        // The server has our stderr too: that ends with the last of them.
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(exit), "{signal}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{signal}");
        assert!(began.elapsed() < Duration::from_secs(5), "{signal}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_verb_that_nohup_started_is_not_stopped_by_the_end_of_its_terminal() {
    let folder = TempDir::new().unwrap();
    let (script, runs) = stubborn(&folder);
    let (_config, path) = config(&script, &json!({}));
    let mut child = Command::new("sh")
        .args([
            "-c",
            "trap '' HUP; exec \"$0\" tools list --mcp-config \"$1\"",
        ])
        .args([env!("CARGO_BIN_EXE_mcp-cli"), &path])
        .env("HOME", folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&runs);
    send("HUP", &child);
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none());
    send("QUIT", &child);
    assert_eq!(child.wait().unwrap().code(), Some(131));
}
