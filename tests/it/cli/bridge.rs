use mcp_cli::auth::Claims;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Answer, Api, KEY, McpCli, Server, dice_server, dice_server_with_auth};

fn bridge(api: &Api) -> McpCli {
    McpCli::new(&["ask", "--bridge", "--base-url", &api.base_url]).env("OPENAI_API_KEY", KEY)
}

fn bridge_to(api: &Api, server: &Server) -> McpCli {
    bridge(api).args(&["--server-url", &server.url, "--server-label", "dice"])
}

fn call(function: &str, arguments: &str) -> Value {
    json!({"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": function,
           "arguments": arguments, "status": "completed"})
}

fn reasoning() -> Value {
    json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "secret thoughts"})
}

fn message(text: &str) -> Value {
    json!({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
           "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": text}]})
}

/// The types of a request's input, without what only some of them have.
fn input_types(request: &Value) -> Vec<&str> {
    let items = request["input"].as_array().unwrap().iter();
    items.map(|item| item["type"].as_str().unwrap()).collect()
}

#[test]
fn a_model_elsewhere_calls_a_server_that_only_this_machine_can_reach() {
    let (server, keys) = dice_server_with_auth(&[]);
    let claims = Claims {
        audience: vec!["dice-server".to_owned()],
        ..Claims::default()
    };
    let token = keys.token(&claims, std::time::Duration::ZERO);
    let api = Api::start([
        Answer::streamed(&json!([reasoning(), call("roll_dice", r#"{"n_dice":3}"#)])),
        Answer::streamed(&json!([message("You rolled three dice.")])),
    ]);
    let run = bridge_to(&api, &server)
        .args(&[
            "--require-approval",
            "never",
            "-s",
            "Be brief",
            "Roll 3 dice",
        ])
        .args(&["--server-description", "Dice of the house"])
        .args(&["-H", "X-Canary: header-canary"])
        .env("MCP_AUTHORIZATION", &token)
        .run();
    insta::assert_snapshot!(run, @r#"
    exit: 0
    ----- stdout -----
    You rolled three dice.
    ----- stderr -----
    dice offers roll_dice (N ms)
    reasoning (N ms)
    dice.roll_dice {"n_dice":3} -> [3,1,1] (N ms)
    "#);

    let [first, second] = &api.requests()[..] else {
        panic!("not two requests");
    };
    let mut tool = first["tools"][0].clone();
    assert_eq!(tool["parameters"].take()["required"], json!(["n_dice"]));
    assert_eq!(
        tool,
        json!({"type": "function", "name": "roll_dice", "parameters": null, "strict": false,
               "description": "Roll `n_dice` 6-sided dice and return the results.\n\nDice of the house"})
    );
    assert_eq!(first["store"], false);
    assert_eq!(first["instructions"], "Be brief");
    assert_eq!(input_types(first), ["message"]);
    assert_eq!(
        input_types(second),
        [
            "message",
            "reasoning",
            "function_call",
            "function_call_output"
        ]
    );
    assert_eq!(second["input"][1], reasoning());
    assert_eq!(second["input"][3]["output"], "[3,1,1]");
    assert_eq!(second["input"][2]["call_id"], second["input"][3]["call_id"]);
    for request in [first, second] {
        let request = request.to_string();
        for secret in [&token, "header-canary", "127.0.0.1", "X-Canary"] {
            assert!(!request.contains(secret), "{secret} went upstream");
        }
    }
}

#[test]
fn the_final_response_is_one_that_openai_might_have_sent() {
    let server = dice_server();
    let api = Api::start([
        Answer::whole(&json!([call("roll_dice", r#"{"n_dice":3}"#)])),
        Answer::whole(&json!([message("Done.")])),
    ]);
    let run = bridge_to(&api, &server)
        .args(&[
            "--require-approval",
            "never",
            "--no-stream",
            "--json",
            "Roll 3 dice",
        ])
        .run();
    assert_eq!(run.exit, Some(0), "{run}");
    let response: Value = serde_json::from_str(&run.stdout).unwrap();
    crate::support::assert_is_response(&response);
    let types: Vec<&Value> = response["output"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["type"])
        .collect();
    assert_eq!(types, ["mcp_list_tools", "mcp_call", "message"]);
    assert_eq!(response["output"][2]["content"][0]["text"], "Done.");
    assert_eq!(response["usage"]["total_tokens"], 24, "of both steps");
    assert_eq!(
        response["usage"]["input_tokens_details"]["cached_tokens"],
        6
    );
    assert_eq!(api.requests()[0]["stream"], false);
}

#[test]
fn a_server_that_is_started_answers_a_model_elsewhere() {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("mcp.json");
    let server = json!({"command": env!("CARGO_BIN_EXE_mcp-cli"), "args": ["serve", "-t", "stdio", "--seed", "7"],
        "env": {"CANARY": "env-canary"}});
    std::fs::write(&config, json!({"mcpServers": {"dice": server}}).to_string()).unwrap();
    let api = Api::start([
        Answer::streamed(&json!([call("roll_dice", r#"{"n_dice":2}"#)])),
        Answer::streamed(&json!([message("Done.")])),
    ]);
    let run = bridge(&api)
        .args(&["--require-approval", "never", "Roll 2 dice", "--mcp-config"])
        .arg(&config)
        .run();
    insta::assert_snapshot!(run, @r#"
    exit: 0
    ----- stdout -----
    Done.
    ----- stderr -----
    dice offers roll_dice (N ms)
    dice.roll_dice {"n_dice":2} -> [3,1] (N ms)
    "#);
    let requests = json!(api.requests()).to_string();
    for secret in ["env-canary", "stdio", "mcp-cli"] {
        assert!(!requests.contains(secret), "{secret} went upstream");
    }
}

#[test]
fn a_call_that_waits_for_approval_is_made_in_the_next_run() {
    let home = TempDir::new().unwrap();
    let server = dice_server();
    let api = Api::start([
        Answer::streamed(&json!([reasoning(), call("roll_dice", r#"{"n_dice":1}"#)])),
        Answer::streamed(&json!([message("A three.")])),
    ]);
    let run = bridge_to(&api, &server)
        .args(&["Roll"])
        .home(home.path())
        .run();
    assert_eq!(run.exit, Some(7), "{run}");
    let run = bridge_to(&api, &server)
        .args(&["-c", "--approve", "all"])
        .home(home.path())
        .run();
    insta::assert_snapshot!(run, @r#"
    exit: 0
    ----- stdout -----
    A three.
    ----- stderr -----
    dice.roll_dice {"n_dice":1} approved
    dice.roll_dice {"n_dice":1} -> [3] (N ms)
    "#);
    assert_eq!(
        input_types(&api.requests()[1]),
        [
            "message",
            "reasoning",
            "function_call",
            "function_call_output"
        ]
    );
}

#[test]
fn a_model_hears_that_a_call_was_denied() {
    let server = dice_server();
    let api = Api::start([
        Answer::streamed(&json!([call("roll_dice", r#"{"n_dice":1}"#)])),
        Answer::streamed(&json!([message("As you wish.")])),
    ]);
    let run = bridge_to(&api, &server)
        .args(&["--approve", "none", "Roll"])
        .run();
    assert_eq!(run.exit, Some(7), "{run}");
    assert_eq!(run.stdout, "As you wish.\n");
    let second = &api.requests()[1];
    assert_eq!(second["input"][2]["output"], "The call was denied.");
}

#[test]
fn tools_of_one_name_on_two_servers_are_two_functions() {
    let (one, two) = (dice_server(), dice_server());
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("mcp.json");
    let servers = json!({"one": {"url": one.url}, "two": {"url": two.url}});
    std::fs::write(&config, json!({"mcpServers": servers}).to_string()).unwrap();
    let api = Api::start([
        Answer::streamed(&json!([call("two__roll_dice", "{\"n_dice\":1}")])),
        Answer::streamed(&json!([call("nobody_has_it", "")])),
        Answer::streamed(&json!([call("roll_dice", "not JSON")])),
        Answer::streamed(&json!([message("Done.")])),
    ]);
    let run = bridge(&api)
        .args(&["--require-approval", "never", "Roll", "--mcp-config"])
        .arg(&config)
        .run();
    assert_eq!(run.exit, Some(0), "{run}");
    // Which server lists first is left to chance.
    let calls: Vec<&str> = run.stderr.lines().skip(2).collect();
    let calls: Vec<&str> = calls
        .iter()
        .map(|it| it.split(" (").next().unwrap())
        .collect();
    assert_eq!(
        calls,
        [
            r#"two.roll_dice {"n_dice":1} -> [3]"#,
            "one.nobody_has_it {} failed: Unknown tool: nobody_has_it",
            "one.roll_dice not JSON failed: the arguments are not a JSON object",
        ]
    );
    let request = &api.requests()[0];
    let functions: Vec<&Value> = request["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["name"])
        .collect();
    assert_eq!(functions, ["roll_dice", "two__roll_dice"]);
}

#[test]
fn a_call_is_demanded_once() {
    let server = dice_server();
    let api = Api::start([
        Answer::streamed(&json!([call("roll_dice", r#"{"n_dice":1}"#)])),
        Answer::streamed(&json!([message("Done.")])),
    ]);
    let run = bridge_to(&api, &server)
        .args(&[
            "--require-approval",
            "never",
            "--tool-choice",
            "dice/roll_dice",
            "Roll",
        ])
        .run();
    assert_eq!(run.exit, Some(0), "{run}");
    let [first, second] = &api.requests()[..] else {
        panic!("not two requests");
    };
    assert_eq!(first["tool_choice"], "required");
    assert_eq!(second.get("tool_choice"), None);
}

#[test]
fn what_the_endpoint_refuses_is_told_as_without_a_bridge() {
    let server = dice_server();
    let busy = json!({"error": {"message": "Too fast.", "type": "requests", "code": "rate_limit_exceeded", "param": null}});
    let api = Api::start([
        Answer::json(429, &busy).header("retry-after", "0"),
        Answer::streamed(&json!([call("roll_dice", r#"{"n_dice":1}"#)])),
        Answer::json(
            400,
            &json!({"error": {"message": "No such model.", "type": "invalid_request_error",
            "param": "model", "code": "model_not_found"}}),
        ),
    ]);
    let run = bridge_to(&api, &server)
        .args(&["--require-approval", "never", "Roll"])
        .run();
    insta::assert_snapshot!(run, @r#"
    exit: 3
    ----- stdout -----
    ----- stderr -----
    dice offers roll_dice (N ms)
    note: Error code: 429 - Too fast.; trying again in 0s
    dice.roll_dice {"n_dice":1} -> [3] (N ms)
    error: Error code: 400 - No such model.
      type: invalid_request_error, param: model, code: model_not_found
    cause: the API knows the request as req_1
    "#);

    let run = bridge_to(&api, &server)
        .env("OPENAI_API_KEY", "wrong")
        .args(&["Roll"])
        .run();
    insta::assert_snapshot!(run, @"
    exit: 3
    ----- stdout -----
    ----- stderr -----
    dice offers roll_dice (N ms)
    error: Error code: 401 - Incorrect API key provided.
      type: invalid_request_error, code: invalid_api_key
    hint: check OPENAI_API_KEY
    ");
}

#[test]
fn what_was_said_before_the_end_of_the_tokens_is_not_lost() {
    let server = dice_server();
    let mut response: Value =
        crate::support::json("recordings/dotnet-MCPToolWorks.1.response.json");
    response["output"] = json!([message("You rolled")]);
    response["status"] = "incomplete".into();
    response["incomplete_details"] = json!({"reason": "max_output_tokens"});
    let api = Api::start([Answer::json(200, &response)]);
    let run = bridge_to(&api, &server).args(&["Roll"]).run();
    insta::assert_snapshot!(run, @"
    exit: 5
    ----- stdout -----
    You rolled
    ----- stderr -----
    dice offers roll_dice (N ms)
    error: the response is incomplete: max_output_tokens
    hint: raise it with --max-output-tokens
    ");
}

#[test]
fn a_bridge_keeps_no_response_and_reaches_no_connector() {
    for (args, words) in [
        (
            &["--previous-response-id", "resp_1", "Roll"][..],
            "this machine stores none",
        ),
        (
            &["--connector-id", "connector_gmail", "Read"],
            "a connector cannot be used",
        ),
        (
            &["--server-url", "http://a/", "--defer-loading", "Read"],
            "loaded later cannot be used",
        ),
        (&["--local", "Roll"], "cannot be used with '--local'"),
        (&["--model", "rules", "Roll"], "is a local model"),
        (&["--print-request", "curl", "Roll"], "cannot be used with"),
    ] {
        let run = McpCli::new(&["ask", "--bridge"])
            .env("OPENAI_API_KEY", KEY)
            .args(args)
            .run();
        assert_eq!(run.exit, Some(2), "{args:?}: {run}");
        assert!(run.stderr.contains(words), "{args:?}: {run}");
    }
}

#[test]
fn a_model_without_reasoning_is_not_asked_for_it_twice() {
    let server = dice_server();
    let refusal = json!({"error": {"message": "Encrypted content is not supported with this model.",
        "type": "invalid_request_error", "param": "include", "code": null}});
    let api = Api::start([
        Answer::json(400, &refusal),
        Answer::streamed(&json!([call("roll_dice", r#"{"n_dice":1}"#)])),
        Answer::streamed(&json!([message("Done.")])),
    ]);
    let run = bridge_to(&api, &server)
        .args(&["--require-approval", "never", "Roll"])
        .args(&["--retries", "0"])
        .run();
    assert_eq!(run.exit, Some(0), "{run}");
    let included: Vec<Value> = api
        .requests()
        .iter()
        .map(|it| it["include"].clone())
        .collect();
    assert_eq!(
        included,
        [json!(["reasoning.encrypted_content"]), json!([]), json!([])]
    );
}

fn failure() -> Value {
    json!({"error": {"message": "Later.", "type": "server_error", "param": null, "code": null}})
}

#[test]
fn a_call_that_was_made_is_not_made_again_when_the_model_fails_after_it() {
    let home = TempDir::new().unwrap();
    let server = dice_server();
    let api = Api::start([
        Answer::streamed(&json!([reasoning(), call("roll_dice", r#"{"n_dice":1}"#)])),
        Answer::json(500, &failure()),
        Answer::streamed(&json!([message("A three.")])),
    ]);
    let ask = |args: &[&str]| bridge_to(&api, &server).args(args).home(home.path()).run();
    assert_eq!(ask(&["Roll"]).exit, Some(7));
    let failed = ask(&["-c", "--approve", "all"]);
    assert_eq!(failed.exit, Some(3), "{failed}");
    assert!(failed.stderr.contains("-> [3]"), "{failed}");
    let run = ask(&["-c", "--approve", "all", "What was it?"]);
    assert_eq!(run.stdout, "A three.\n", "{run}");
    assert!(!run.stderr.contains("->"), "{run}");
    assert_eq!(
        input_types(&api.requests()[2]),
        [
            "message",
            "reasoning",
            "function_call",
            "function_call_output",
            "message"
        ]
    );
}

#[test]
fn a_call_that_is_approved_with_a_new_question_stays_where_it_was_asked_for() {
    let home = TempDir::new().unwrap();
    let server = dice_server();
    let api = Api::start([
        Answer::streamed(&json!([reasoning(), call("roll_dice", r#"{"n_dice":1}"#)])),
        Answer::streamed(&json!([message("A three, and then some.")])),
    ]);
    let ask = |args: &[&str]| bridge_to(&api, &server).args(args).home(home.path()).run();
    assert_eq!(ask(&["Roll"]).exit, Some(7));
    let run = ask(&["-c", "--approve", "all", "And then?"]);
    assert_eq!(run.exit, Some(0), "{run}");
    assert_eq!(
        input_types(&api.requests()[1]),
        [
            "message",
            "reasoning",
            "function_call",
            "function_call_output",
            "message"
        ]
    );
}

#[test]
fn a_denial_ends_a_demanded_call_and_ids_may_come_again() {
    let home = TempDir::new().unwrap();
    let server = dice_server();
    let api = Api::start([
        Answer::streamed(&json!([reasoning(), call("roll_dice", r#"{"n_dice":1}"#)])),
        Answer::streamed(&json!([reasoning(), message("As you wish.")])),
        Answer::streamed(&json!([reasoning(), message("Still here.")])),
    ]);
    let ask = |args: &[&str]| bridge_to(&api, &server).args(args).home(home.path()).run();
    let run = ask(&["--approve", "none", "--tool-choice", "required", "Roll"]);
    assert_eq!(run.exit, Some(7), "{run}");
    let demanded: Vec<Value> = api
        .requests()
        .iter()
        .map(|it| it["tool_choice"].clone())
        .collect();
    assert_eq!(demanded, [json!("required"), Value::Null]);
    let run = ask(&["-c", "And now?"]);
    assert_eq!(run.stdout, "Still here.\n", "{run}");
}

#[test]
fn where_a_server_is_stays_here_when_it_does_not_answer() {
    let home = TempDir::new().unwrap();
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("secret-program");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mcp-cli"), &program).unwrap();
    let config = folder.path().join("mcp.json");
    let server = json!({"command": program, "args": ["serve", "-t", "stdio"]});
    std::fs::write(&config, json!({"mcpServers": {"dice": server}}).to_string()).unwrap();
    let api = Api::start([
        Answer::streamed(&json!([call("roll_dice", r#"{"n_dice":1}"#)])),
        Answer::streamed(&json!([message("It is gone.")])),
    ]);
    let ask = |args: &[&str]| {
        let cli = bridge(&api).args(args).arg("--mcp-config").arg(&config);
        cli.home(home.path()).run()
    };
    assert_eq!(ask(&["Roll"]).exit, Some(7));
    std::fs::remove_file(&program).unwrap();
    let run = ask(&["-c", "--approve", "all"]);
    assert_eq!(run.exit, Some(0), "{run}");
    assert!(
        run.stderr.contains("secret-program"),
        "the user is told: {run}"
    );
    let requests = json!(api.requests()).to_string();
    assert!(!requests.contains("secret-program"), "{requests}");
    assert!(
        requests.contains("the tool's server did not answer"),
        "{requests}"
    );
}

#[test]
fn items_without_a_number_are_streamed_as_well() {
    let server = dice_server();
    let response =
        json!({"id": "resp_1", "object": "response", "status": "completed", "output": []});
    let item = json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "Hello"}]});
    let body: String = [
        json!({"type": "response.output_item.added", "item": {"type": "message", "id": "msg_1",
            "role": "assistant", "content": []}}),
        json!({"type": "response.output_text.delta", "item_id": "msg_1", "delta": "Hello"}),
        json!({"type": "response.output_item.done", "item": item}),
        json!({"type": "response.completed", "response": response}),
    ]
    .map(|event| format!("data: {event}\n\n"))
    .concat();
    for from_here in [&["--bridge"][..], &[]] {
        let api = Api::start([Answer::raw(200, "text/event-stream", &body)]);
        let run = McpCli::new(&[
            "ask",
            "--base-url",
            &api.base_url,
            "Hi",
            "--format",
            "jsonl",
        ])
        .args(&["--server-url", &server.url])
        .args(from_here)
        .env("OPENAI_API_KEY", KEY)
        .run();
        assert_eq!(run.exit, Some(0), "{run}");
        assert!(run.stdout.contains(r#""delta":"Hello""#), "{run}");
    }
}

#[test]
fn the_text_of_a_response_that_failed_is_told() {
    let server = dice_server();
    let mut response: Value =
        crate::support::json("recordings/dotnet-MCPToolWorks.1.response.json");
    response["output"] = json!([message("partial text")]);
    response["status"] = "failed".into();
    response["error"] = json!({"code": "server_error", "message": "No."});
    let api = Api::start([Answer::json(200, &response)]);
    let run = bridge_to(&api, &server).args(&["Roll"]).run();
    assert_eq!(
        (run.exit, run.stdout.as_str()),
        (Some(5), "partial text\n"),
        "{run}"
    );
}
