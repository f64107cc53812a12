//! Signals: a verb whose threads are all busy obeys them too.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Mcp, McpCli, roll_dice};

pub fn send(signal: &str, child: &Child) {
    let kill = Command::new("kill")
        .args(["-s", signal, &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
}

/// A verb whose only thread is stuck: it writes more to a pipe than anybody reads.
fn stuck() -> (Child, tempfile::TempDir, Mcp) {
    let server = Mcp::failing("tools/list", |asked| {
        let mut tool = roll_dice();
        tool["description"] = "x".repeat(1024 * 1024).into();
        asked.result(&json!({"tools": [tool]}))
    });
    let list = ["tools", "list", "--json", "--server-url", &server.url];
    let (child, home) = McpCli::new(&list).spawn();
    let began = Instant::now();
    while server.asked("tools/list").is_empty() {
        assert!(began.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(5));
    }
    // It writes as soon as it has the list; a signal before that ends it as well.
    std::thread::sleep(Duration::from_millis(200));
    (child, home, server)
}

#[test]
fn a_second_signal_ends_a_verb_whose_thread_is_stuck() {
    for (signal, exit) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let (mut child, _home, _server) = stuck();
        send(signal, &child);
        std::thread::sleep(Duration::from_millis(100));
        assert!(child.try_wait().unwrap().is_none(), "it was not stuck");
        let began = Instant::now();
        send(signal, &child);
        assert_eq!(child.wait().unwrap().code(), Some(exit));
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "{:?}",
            began.elapsed()
        );
    }
}
