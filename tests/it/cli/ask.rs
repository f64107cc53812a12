use std::time::Duration;

use mcp_cli::auth::Claims;
use regex::Regex;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{McpCli, Server, dice_server, dice_server_with_auth};

/// The line of the issue's newcomer, against a server of ours.
fn ask(server: &Server) -> McpCli {
    McpCli::new(&[
        "ask",
        "--local",
        "--server-url",
        &server.url,
        "--server-label",
        "dice_server",
        "--require-approval",
        "never",
    ])
}

#[test]
fn asking_locally_needs_nothing_at_all() {
    let run = McpCli::new(&["ask", "--local", "Roll a few dice!"]).run();
    let sentence = r"^You rolled 3 dice and got the following results: [1-6], [1-6], and [1-6]!\n$";
    assert!(Regex::new(sentence).unwrap().is_match(&run.stdout), "{run}");
    assert_eq!(run.exit, Some(0));
}

#[test]
fn the_answer_is_on_stdout_and_the_steps_are_on_stderr() {
    let server = dice_server();
    let run = ask(&server).arg("Roll 5 dice").run();
    insta::assert_snapshot!(run, @r#"
    exit: 0
    ----- stdout -----
    You rolled 5 dice and got the following results: 3, 1, 1, 2, and 1!
    ----- stderr -----
    note: the built-in model follows rules; it is not a language model
    dice_server offers roll_dice (N ms)
    dice_server.roll_dice {"n_dice":5} -> [3,1,1,2,1] (N ms)
    "#);
}

#[test]
fn quiet_leaves_the_answer_alone() {
    let server = dice_server();
    let run = ask(&server).arg("-q").arg("Roll 5 dice").run();
    assert_eq!(run.stderr, "");
    assert!(run.stdout.starts_with("You rolled 5 dice"), "{run}");
}

#[test]
fn call_is_another_name_for_ask() {
    let run = McpCli::new(&["call", "--local", "Roll a die"]).run();
    assert!(
        run.stdout
            .starts_with("You rolled 1 die and got the following result: "),
        "{run}"
    );
}

#[test]
fn the_question_may_be_piped_in_behind_the_argument() {
    let server = dice_server();
    let piped = ask(&server).stdin("Roll 2 dice\n").run();
    assert!(piped.stdout.starts_with("You rolled 2 dice"), "{piped}");
    let both = ask(&server)
        .arg("Please do this:")
        .stdin("Roll 4 dice\n")
        .run();
    assert!(both.stdout.starts_with("You rolled 4 dice"), "{both}");
    let dash = ask(&server).arg("-").stdin("Roll 6 dice").run();
    assert!(dash.stdout.starts_with("You rolled 6 dice"), "{dash}");
}

#[test]
fn without_a_token_the_server_is_a_424_as_on_the_page() {
    let (server, _) = dice_server_with_auth(&[]);
    let run = ask(&server).arg("Roll 5 dice").run();
    insta::assert_snapshot!(run, @r#"
    exit: 6
    ----- stdout -----
    ----- stderr -----
    note: the built-in model follows rules; it is not a language model
    dice_server gave no list of tools: the MCP server answered HTTP 401 Unauthorized (realm "mcp-cli") (N ms)
    error: Error code: 424 - Error retrieving tool list from MCP server: 'dice_server'. Http status code: 401 (Unauthorized)
      type: external_connector_error, param: tools, code: http_error
    cause: the MCP server refused the credentials that were sent with this request
    hint: mint a token with `mcp-cli token --audience dice-server` and pass it with --authorization @FILE
    run: mcp-cli check --server-url http://127.0.0.1:PORT/mcp --server-label dice_server
    "#);
}

#[test]
fn a_token_opens_the_server_from_an_argument_a_file_the_environment_and_stdin() {
    let (server, keys) = dice_server_with_auth(&[]);
    let claims = Claims {
        audience: vec!["dice-server".to_owned()],
        ..Claims::default()
    };
    let token = keys.token(&claims, Duration::ZERO);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("token.jwt");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let at_file = format!("@{}", file.display());
    let header = format!("Authorization: Bearer {token}");
    for run in [
        ask(&server).arg("--authorization").arg(&token),
        ask(&server).arg("--authorization").arg(&at_file),
        ask(&server).arg("--authorization").arg("-").stdin(&token),
        ask(&server).env("MCP_AUTHORIZATION", &token),
        ask(&server).arg("-H").arg(&header),
    ] {
        let run = run.arg("-vv").arg("Roll 5 dice").run();
        assert!(run.stdout.starts_with("You rolled 5 dice"), "{run}");
        assert_eq!(run.exit, Some(0));
        assert!(!run.stderr.contains(&token), "the token was shown");
    }
}

#[test]
fn an_expired_token_and_one_for_somebody_else_are_refused_without_being_shown() {
    let (server, keys) = dice_server_with_auth(&[]);
    let hour_ago = Duration::from_secs(7200);
    let good = Claims {
        audience: vec!["dice-server".to_owned()],
        ..Claims::default()
    };
    let other = Claims {
        audience: vec!["other".to_owned()],
        ..Claims::default()
    };
    for token in [
        keys.token(&good, hour_ago),
        keys.token(&other, Duration::ZERO),
        "canary".to_owned(),
    ] {
        let run = ask(&server)
            .arg("--authorization")
            .arg(&token)
            .arg("-vvv")
            .arg("Roll 5 dice")
            .run();
        assert_eq!(run.exit, Some(6), "{run}");
        assert!(
            run.stderr.contains("Http status code: 401 (Unauthorized)"),
            "{run}"
        );
        assert!(!run.stderr.contains(&token), "the token was shown");
    }
}

#[test]
fn a_missing_scope_is_a_403() {
    let (server, keys) = dice_server_with_auth(&["dice:roll"]);
    let claims = Claims {
        audience: vec!["dice-server".to_owned()],
        ..Claims::default()
    };
    let token = keys.token(&claims, Duration::ZERO);
    let run = ask(&server)
        .arg("--authorization")
        .arg(token)
        .arg("Roll 5 dice")
        .run()
        .to_string();
    let expires = Regex::new("exp in .*").unwrap();
    insta::assert_snapshot!(expires.replace(&run, "exp in TIME"), @r#"
    exit: 6
    ----- stdout -----
    ----- stderr -----
    note: the built-in model follows rules; it is not a language model
    dice_server gave no list of tools: the MCP server answered HTTP 403 Forbidden (realm "mcp-cli"): the token lacks the scope dice:roll (N ms)
    error: Error code: 424 - Error retrieving tool list from MCP server: 'dice_server'. Http status code: 403 (Forbidden)
      type: external_connector_error, param: tools, code: http_error
    cause: the MCP server knows the credentials and they do not suffice, or it does not serve this host name
    cause: the MCP server answered HTTP 403 Forbidden (realm "mcp-cli"): the token lacks the scope dice:roll
    cause: the token says: alg "RS256", iss "https://fastmcp.example.com", aud "dice-server", exp in TIME
    hint: pass a token with the scopes that the server demands, or let the server allow this Host
    run: mcp-cli check --server-url http://127.0.0.1:PORT/mcp --server-label dice_server
    "#);
}

#[test]
fn a_server_that_is_not_there_is_named_with_its_cause() {
    let run = McpCli::new(&[
        "ask",
        "--local",
        "--server-url",
        "http://127.0.0.1:1/mcp",
        "--server-label",
        "nobody",
        "Roll",
    ])
    .run();
    insta::assert_snapshot!(run, @"
    exit: 6
    ----- stdout -----
    ----- stderr -----
    note: the built-in model follows rules; it is not a language model
    nobody gave no list of tools: the MCP server could not be reached: Connection refused (os error 111) (N ms)
    error: Error code: 424 - Error retrieving tool list from MCP server: 'nobody'. Http status code: 424 (Failed Dependency)
      type: external_connector_error, param: tools, code: http_error
    cause: the MCP server could not be reached: Connection refused (os error 111)
    hint: check that the server runs, that its name resolves, and that the URL is that of its MCP endpoint
    run: mcp-cli check --server-url http://127.0.0.1:PORT/mcp --server-label nobody
    ");
}

#[test]
fn a_424_ends_with_the_check_of_the_same_server_and_no_secret_is_in_it() {
    let (server, _) = dice_server_with_auth(&[]);
    let folder = TempDir::new().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let token = path("the token.jwt", "canary");
    let headers = path("headers", "X-Key: canary");
    let config = path(
        "mcp.json",
        &format!(
            r#"{{"mcpServers": {{"dice": {{"url": "{}"}}}}}}"#,
            server.url
        ),
    );
    let at_token = format!("@{token}");
    let url = server.url.replace("http://", "http://user:canary@") + "?key=canary";
    let of_url = format!("mcp-cli check --server-url {}", server.url);
    for (args, env, expected) in [
        (
            vec!["--server-url", &url, "--authorization", &at_token],
            None,
            format!("{of_url} --authorization '{at_token}'"),
        ),
        (
            vec!["--server-url", &url, "--authorization", "canary"],
            None,
            of_url.clone(),
        ),
        (
            vec![
                "--server-url",
                &url,
                "-H",
                "X-A: canary",
                "--header-file",
                &headers,
            ],
            Some("canary"),
            format!("{of_url} --header-file {headers}"),
        ),
        (
            vec!["--mcp-config", &config, "--authorization", &at_token],
            None,
            format!(
                "mcp-cli check --mcp-config {config} --server dice --authorization '{at_token}'"
            ),
        ),
    ] {
        let cli = McpCli::new(&["ask", "--local", "Roll"]).args(&args);
        let run = match env {
            Some(token) => cli.env("MCP_AUTHORIZATION", token).run(),
            None => cli.run(),
        };
        let last = run.stderr.lines().last().unwrap();
        assert_eq!(last, format!("run: {expected}"), "{run}");
        assert!(!run.stderr.contains("canary"), "{run}");
    }
}

#[test]
fn a_proxy_is_not_asked_for_what_is_on_this_machine() {
    let run = McpCli::new(&["ask", "--local", "Roll 2 dice"])
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("http_proxy", "http://127.0.0.1:9")
        .run();
    assert_eq!(run.exit, Some(0), "{run}");
}

#[test]
fn a_local_conversation_can_be_continued() {
    let server = dice_server();
    let home = TempDir::new().unwrap();
    let ask = |args: &[&str]| {
        McpCli::new(&[
            "ask",
            "--local",
            "--server-url",
            &server.url,
            "--server-label",
            "dice",
        ])
        .home(home.path())
        .args(args)
        .run()
    };
    let first = ask(&["Roll 3 dice"]);
    assert_eq!(first.exit, Some(7), "{first}");
    let second = ask(&["-c", "--approve", "read-only"]);
    assert!(second.stdout.starts_with("You rolled 3 dice"), "{second}");
    assert!(
        !second.stderr.contains("offers"),
        "nothing is listed again: {second}"
    );
}

#[test]
fn an_answer_that_takes_too_long_is_given_up() {
    use axum::routing::post;

    let hangs = || async {
        std::future::pending::<()>().await;
    };
    let server = crate::support::http_server(axum::Router::new().route("/mcp", post(hangs)));
    let url = format!("{}/mcp", server.url);
    let run = McpCli::new(&[
        "ask",
        "--local",
        "--timeout",
        "300ms",
        "--server-url",
        &url,
        "Go",
    ])
    .run();
    assert_eq!(run.exit, Some(4), "{run}");
    assert!(
        run.stderr
            .contains("the answer was not complete within 300ms"),
        "{run}"
    );
}

#[test]
fn a_call_nobody_can_approve_is_not_made() {
    let server = dice_server();
    let run = McpCli::new(&[
        "ask",
        "--local",
        "--server-url",
        &server.url,
        "--server-label",
        "dice",
    ])
    .arg("Roll 3 dice")
    .run();
    insta::assert_snapshot!(run, @r#"
    exit: 7
    ----- stdout -----
    ----- stderr -----
    note: the built-in model follows rules; it is not a language model
    dice offers roll_dice (N ms)
    dice.roll_dice {"n_dice":3} needs approval
    error: `dice.roll_dice` needs approval and there is no terminal to ask
    hint: pass `--approve all`, `--approve none` or `--approve dice/roll_dice`, now or with -c and the same server
    "#);
}

#[test]
fn the_policy_approves_by_name_by_hint_and_by_word() {
    let server = dice_server();
    for (policy, exit) in [
        ("all", 0),
        ("read-only", 0),
        ("roll_dice", 0),
        ("roll_dice,server_127_0_0_1/roll_dice", 0),
        ("none", 7),
        ("flip_coin", 2),
        ("flip_coin,roll_dice", 2),
    ] {
        let run = McpCli::new(&[
            "ask",
            "--local",
            "--server-url",
            &server.url,
            "--approve",
            policy,
        ])
        .arg("Roll 3 dice")
        .run();
        assert_eq!(run.exit, Some(exit), "--approve {policy}: {run}");
        let rolled = run.stdout.starts_with("You rolled 3 dice");
        assert_eq!(rolled, exit == 0, "--approve {policy}: {run}");
    }
}

#[test]
fn json_is_the_final_response_and_jsonl_every_event() {
    let server = dice_server();
    let json = ask(&server).arg("--json").arg("Roll 2 dice").run();
    let response: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(response["status"], "completed");
    assert_eq!(json.stderr, "");

    let jsonl = ask(&server)
        .args(&["--format", "jsonl"])
        .arg("Roll 2 dice")
        .run();
    let events: Vec<Value> = jsonl
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events[0]["type"], "response.created");
    assert_eq!(events.last().unwrap()["type"], "response.completed");
    assert_eq!(jsonl.stderr, "");
}

#[test]
fn with_json_a_failure_is_one_line_of_json() {
    let (server, _) = dice_server_with_auth(&[]);
    let run = ask(&server).arg("--json").arg("Roll 2 dice").run();
    assert_eq!(run.exit, Some(6));
    let lines: Vec<&str> = run.stderr.lines().collect();
    let [line] = lines[..] else {
        panic!("not one line: {run}");
    };
    let failure: Value = serde_json::from_str(line).unwrap();
    insta::assert_snapshot!(format!("{failure:#}"), @r#"
    {
      "error": {
        "kind": "mcp_server",
        "exit": 6,
        "status": 424,
        "message": "Error retrieving tool list from MCP server: 'dice_server'. Http status code: 401 (Unauthorized)",
        "type": "external_connector_error",
        "param": "tools",
        "code": "http_error",
        "server_label": "dice_server",
        "causes": [
          "the MCP server refused the credentials that were sent with this request"
        ],
        "hint": "mint a token with `mcp-cli token --audience dice-server` and pass it with --authorization @FILE"
      }
    }
    "#);
}

#[test]
fn a_script_plays_its_steps() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("script.json");
    let steps = r#"[{"say": "Let me see.", "calls": [{"name": "roll_dice", "arguments": {"n_dice": 2}}]},
                    {"say": "There."}]"#;
    std::fs::write(&file, steps).unwrap();
    let server = dice_server();
    let run = ask(&server)
        .arg("-m")
        .arg(format!("script:{}", file.display()))
        .arg("Go")
        .run();
    insta::assert_snapshot!(run, @r#"
    exit: 0
    ----- stdout -----
    Let me see.
    There.
    ----- stderr -----
    note: the built-in model follows rules; it is not a language model
    dice_server offers roll_dice (N ms)
    dice_server.roll_dice {"n_dice":2} -> [3,1] (N ms)
    "#);
}

#[test]
fn the_built_in_model_says_so_when_it_cannot_help() {
    let server = dice_server();
    let run = ask(&server).arg("What is the capital of France?").run();
    insta::assert_snapshot!(run, @"
    exit: 0
    ----- stdout -----
    None of the tools I was given matches the words of the question. I can call `roll_dice`.
    ----- stderr -----
    note: the built-in model follows rules; it is not a language model
    dice_server offers roll_dice (N ms)
    ");
}
