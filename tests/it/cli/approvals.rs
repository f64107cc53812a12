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

/// The lines of a state file that an mcp-cli of before wrote.
fn without_servers(home: &Home) {
    let file = home
        .0
        .path()
        .join(".local/state/mcp-cli/last-conversation.json");
    let kept = std::fs::read_to_string(&file).unwrap();
    let mut kept: Value = serde_json::from_str(&kept).unwrap();
    assert!(kept.as_object_mut().unwrap().remove("servers").is_some());
    std::fs::write(file, kept.to_string()).unwrap();
}

#[test]
fn a_call_that_waits_is_made_at_the_server_that_asked_and_at_no_other() {
    let (server_a, server_b) = (server(&["look"]), server(&["look"]));
    let home = Home::playing(&json!([{"name": "look"}]));
    let label = ["--server-label", "dice_server"];
    let at = |mcp: &Mcp, query: &str| format!("{}?key={query}canary", mcp.url);
    let (a, b) = (at(&server_a, "1"), at(&server_b, "1"));
    let run = home.ask(&[&label[..], &["--server-url", &a, "Go"]].concat());
    assert_eq!(run.exit, Some(7), "{run}");

    let config = json!({"mcpServers": {"dice_server": {"command": "echo"}}});
    let config_path = home.0.path().join("mcp.json");
    std::fs::write(&config_path, config.to_string()).unwrap();
    let config = config_path.to_str().unwrap();
    for (args, named) in [
        (&["--server-url", &b][..], server_b.url.as_str()),
        (
            &["--server-url", &at(&server_a, "2")],
            "with other parameters",
        ),
        (
            &["--mcp-config", config],
            "another server: echo (called with --local)",
        ),
        // The bundled server has the same label.
        (&[], "another server: the bundled dice server"),
    ] {
        let run = home.ask(&[&label[..], &["-c", "--approve", "all"], args].concat());
        assert_eq!(run.exit, Some(2), "{args:?}: {run}");
        let asked = format!(
            "error: `dice_server.look` waits for approval at {} (called with --local), \
             but dice_server is now another server: ",
            server_a.url
        );
        assert!(run.stderr.contains(&asked), "{args:?}: {run}");
        assert!(run.stderr.contains(named), "{args:?}: {run}");
        assert!(!run.stderr.contains("canary"), "{args:?}: {run}");
    }
    let calls = |mcp: &Mcp| mcp.asked("tools/call").len();
    assert_eq!((calls(&server_a), calls(&server_b)), (0, 0));

    let go_on = [&label[..], &["-c", "--approve", "all", "--server-url", &a]].concat();
    let run = home.ask(&go_on);
    assert_eq!(
        (run.exit, run.stdout.as_str()),
        (Some(0), "said\n"),
        "{run}"
    );
    assert_eq!((calls(&server_a), calls(&server_b)), (1, 0));
}

#[test]
fn a_conversation_that_names_no_servers_goes_on_where_nothing_waits() {
    let server = server(&["look"]);
    let home = Home::playing(&json!([{"name": "look"}]));
    let args = ["--server-url", &server.url, "--server-label", "s"];
    assert_eq!(home.ask(&[&args[..], &["Go"]].concat()).exit, Some(7));
    without_servers(&home);
    let run = home.ask(&[&args[..], &["-c", "--approve", "all"]].concat());
    assert_eq!(run.exit, Some(2), "{run}");
    let told = "`s.look` waits for approval at an unknown server";
    assert!(run.stderr.contains(told), "{run}");
    assert!(server.asked("tools/call").is_empty());

    let approved = ["--approve", "all", "Go"];
    assert_eq!(home.ask(&[&args[..], &approved].concat()).exit, Some(0));
    without_servers(&home);
    let run = home.ask(&[&args[..], &["-c", "Go on"]].concat());
    assert_eq!(run.exit, Some(0), "{run}");
    assert!(run.stderr.contains("s offers look"), "{run}");
}

#[test]
fn the_tools_of_another_server_are_listed_again() {
    let (server_a, server_b) = (server(&["look"]), server(&["look", "listen"]));
    let home = Home::playing(&json!([{"name": "look"}]));
    let ask = |server: &Mcp, args: &[&str]| {
        let to = ["--server-label", "s", "--server-url", &server.url];
        home.ask(&[&to[..], &["--approve", "all"], args].concat())
    };
    assert_eq!(ask(&server_a, &["Go"]).exit, Some(0));
    let run = ask(&server_b, &["-c", "Go on"]);
    assert_eq!(run.exit, Some(0), "{run}");
    assert!(
        run.stderr.contains("note: s is another server than before"),
        "{run}"
    );
    assert!(run.stderr.contains("s offers look, listen"), "{run}");
}

#[test]
fn a_name_of_approve_is_for_the_one_tool_that_it_means() {
    let (good, evil) = (server(&["look", "roll"]), server(&["look", "r\u{43e}ll"]));
    let config = json!({"mcpServers": {"good": {"url": good.url}, "evil": {"url": evil.url}}});
    let refused = "--approve names the tool";
    for (label, name, approve, exit, told) in [
        ("good", "look", "good/look", 0, "good.look {} approved"),
        ("good", "roll", "roll", 0, "good.roll {} approved"),
        ("evil", "look", "good/look", 7, "evil.look {} denied"),
        ("evil", "look", "look", 2, refused),
        ("evil", "r\u{43e}ll", "roll", 7, "denied"),
        ("good", "look", "good/look,missing", 2, refused),
        ("good", "look", "evil/roll", 2, refused),
    ] {
        let calls = json!([{"server_label": label, "name": name}]);
        let home = Home::playing(&calls);
        let path = home.0.path().join("mcp.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let path = path.to_str().unwrap();
        let called = || good.asked("tools/call").len() + evil.asked("tools/call").len();
        let before = called();
        let run = home.ask(&["--mcp-config", path, "--approve", approve, "Go"]);
        assert_eq!(run.exit, Some(exit), "{label}/{name} {approve}: {run}");
        assert!(run.stderr.contains(told), "{label}/{name} {approve}: {run}");
        let is_called = called() > before;
        assert_eq!(is_called, exit == 0, "{label}/{name} {approve}");
    }
}

#[test]
fn a_name_that_approve_gets_wrong_is_refused_where_no_call_needs_approval_too() {
    let server = server(&["look"]);
    let home = Home::playing(&json!([{"name": "look"}]));
    let mut args = vec!["--server-url", &server.url, "--require-approval", "never"];
    args.extend(["--approve", "lok", "Go"]);
    for stream in [true, false] {
        if !stream {
            args.push("--no-stream");
        }
        let run = home.ask(&args);
        assert_eq!(run.exit, Some(2), "{run}");
        assert!(run.stderr.contains("hint: did you mean `look`?"), "{run}");
        assert!(server.asked("tools/call").is_empty(), "stream: {stream}");
    }
}
