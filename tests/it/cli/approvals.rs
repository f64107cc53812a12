//! `ask --approve`, and `-c` while calls wait for approval.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Mcp, McpCli, Run};

/// A server of these tools. A call of `broken` fails, any other brings `done`.
fn server(names: &'static [&'static str]) -> Mcp {
    Mcp::start(move |asked| match asked.method.as_str() {
        "tools/list" => {
            let tools = names
                .iter()
                .map(|name| json!({"name": name, "inputSchema": {"type": "object"}}));
            Some(asked.result(&json!({"tools": tools.collect::<Vec<_>>()})))
        }
        "tools/call" => {
            let is_broken = asked.message["params"]["name"] == "broken";
            let content = json!([{"type": "text", "text": "done"}]);
            Some(asked.result(&json!({"content": content, "isError": is_broken})))
        }
        _ => None,
    })
}

/// A home folder with a script in it, which makes these calls and then says `said`.
struct Home(TempDir);

impl Home {
    fn playing(calls: &Value) -> Self {
        let home = Self(TempDir::new().unwrap());
        let steps = json!([{"calls": calls}, {"say": "said"}]);
        std::fs::write(home.script(), steps.to_string()).unwrap();
        home
    }

    fn script(&self) -> PathBuf {
        self.0.path().join("script.json")
    }

    fn ask(&self, args: &[&str]) -> Run {
        let model = format!("script:{}", self.script().display());
        McpCli::new(&["ask", "--local", "-m", &model])
            .args(args)
            .home(self.0.path())
            .run()
    }
}

#[test]
fn a_denied_call_beside_one_that_fails_is_exit_7() {
    let needs_approval = json!({"never": {"tool_names": ["broken", "fine"]}}).to_string();
    let server = server(&["secret", "broken", "fine"]);
    for (other, exit) in [("broken", 7), ("fine", 0)] {
        let home = Home::playing(&json!([{"name": "secret"}, {"name": other}]));
        let run = home.ask(&[
            "--server-url",
            &server.url,
            "--require-approval",
            &needs_approval,
            "--approve",
            "none",
            "Go",
        ]);
        assert_eq!(run.exit, Some(exit), "{other}: {run}");
        let told = "a tool call was denied, and no other call succeeded";
        assert_eq!(run.stderr.contains(told), exit == 7, "{other}: {run}");
    }
}
