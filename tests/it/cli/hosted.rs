use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::{Answer, Api, KEY, McpCli, json, recordings};

fn ask(api: &Api) -> McpCli {
    McpCli::new(&[
        "ask",
        "--base-url",
        &api.base_url,
        "--server-url",
        "https://dmcp-server.deno.dev/sse",
        "--server-label",
        "dmcp",
    ])
    .env("OPENAI_API_KEY", KEY)
}

/// All text of a recorded response: each message on lines of its own.
fn output_text(response: &Value) -> String {
    let items = response["output"].as_array().unwrap();
    let messages = items.iter().filter(|item| item["type"] == "message");
    let texts = messages.map(|item| -> String {
        let parts = item["content"].as_array().unwrap();
        parts
            .iter()
            .map(|part| part["text"].as_str().unwrap())
            .collect()
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn recorded_stream_response(name: &str) -> Value {
    let path = crate::support::fixture("recordings").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let last = text
        .lines()
        .rfind(|line| line.starts_with("data: "))
        .unwrap();
    serde_json::from_str::<Value>(&last[6..]).unwrap()["response"].clone()
}

#[test]
fn a_recorded_stream_is_told_as_it_happened() {
    let api = Api::start([Answer::recorded("dotnet-MCPToolStreamingWorks.1.sse")]);
    let run = ask(&api)
        .args(&["--require-approval", "never", "Roll 2d4+1"])
        .run();
    insta::assert_snapshot!(run, @r#"
    exit: 0
    ----- stdout -----
    4
    ----- stderr -----
    dmcp offers roll (N ms)
    reasoning (N ms)
    dmcp.roll {"diceRollExpression":"2d4 + 1"} -> 4 (N ms)
    "#);

    let [request] = &api.requests()[..] else {
        panic!("not one request");
    };
    assert_eq!(
        *request,
        json!({
            "model": "gpt-5",
            "input": "Roll 2d4+1",
            "tools": [{"type": "mcp", "server_label": "dmcp", "require_approval": "never",
                       "server_url": "https://dmcp-server.deno.dev/sse"}],
            "stream": true,
        })
    );
}

#[test]
fn the_text_of_every_recording_is_printed_whole_and_every_step_is_told() {
    for (ending, option) in [(".sse", None), (".response.json", Some("--no-stream"))] {
        for name in recordings(ending) {
            let file = format!("{name}{ending}");
            let response = match option {
                None => recorded_stream_response(&file),
                Some(_) => json(&format!("recordings/{file}")),
            };
            let approvals = response["output"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|item| item["type"] == "mcp_approval_request")
                .count();
            // A response that waits for approval is gone on with; here with one that says nothing.
            let end =
                json!({"id": "resp_2", "object": "response", "status": "completed", "output": []});
            let api = Api::start([Answer::recorded(&file), Answer::json(200, &end)]);
            let run = ask(&api)
                .args(option.as_slice())
                .args(&["--approve", "all", "Go"])
                .run();

            assert_eq!(
                run.stdout.trim_end(),
                output_text(&response).trim_end(),
                "{file}"
            );
            assert_eq!(run.exit, Some(0), "{file}: {run}");
            assert_eq!(api.requests().len(), 1 + approvals.min(1), "{file}");
            for item in response["output"].as_array().unwrap() {
                let told = match item["type"].as_str().unwrap() {
                    "mcp_list_tools" => {
                        format!("{} offers ", item["server_label"].as_str().unwrap())
                    }
                    "mcp_call" | "mcp_approval_request" => format!(
                        "{}.{} ",
                        item["server_label"].as_str().unwrap(),
                        item["name"].as_str().unwrap()
                    ),
                    "message" => continue,
                    other => other.to_owned(),
                };
                assert!(
                    run.stderr.contains(&told),
                    "{file} does not tell of {told:?}: {run}"
                );
            }
        }
    }
}

#[test]
fn an_approval_is_sent_as_openai_was_sent_it() {
    let turn = "dotnet-MCPToolAlwaysRequiresApproval_True";
    let api = Api::start([
        Answer::recorded(&format!("{turn}.1.response.json")),
        Answer::recorded(&format!("{turn}.2.response.json")),
    ]);
    let run = ask(&api)
        .args(&[
            "--no-stream",
            "--require-approval",
            "always",
            "--approve",
            "roll",
        ])
        .args(&["--authorization", "secret-token", "Roll 2d4+1"])
        .run();
    insta::assert_snapshot!(run, @r#"
    exit: 0
    ----- stdout -----
    4
    ----- stderr -----
    dmcp offers roll
    reasoning
    dmcp.roll {"diceRollExpression":"2d4+1"} approved
    dmcp.roll {"diceRollExpression":"2d4+1"} -> 4
    "#);

    let requests = api.requests();
    let recorded = json(&format!("recordings/{turn}.2.request.json"));
    assert_eq!(
        requests[1]["previous_response_id"],
        recorded["previous_response_id"]
    );
    assert_eq!(requests[1]["input"], recorded["input"]);
    assert_eq!(
        requests[1]["tools"], requests[0]["tools"],
        "credentials are sent again"
    );
    assert_eq!(requests[1]["tools"][0]["authorization"], "secret-token");
}

#[test]
fn the_424_of_the_page_is_explained() {
    let body = json!({"error": {
        "message": "Error retrieving tool list from MCP server: 'dice_server'. Http status code: 401 (Unauthorized)",
        "type": "external_connector_error", "param": "tools", "code": "http_error"}});
    let api = Api::start([Answer::json(424, &body)]);
    let run = ask(&api).arg("Roll a few dice!").run();
    insta::assert_snapshot!(run, @"
    exit: 6
    ----- stdout -----
    ----- stderr -----
    error: Error code: 424 - Error retrieving tool list from MCP server: 'dice_server'. Http status code: 401 (Unauthorized)
      type: external_connector_error, param: tools, code: http_error
    cause: the MCP server refused the credentials that were sent with this request
    hint: pass a token that the server accepts with --authorization @FILE
    ");
    assert_eq!(api.requests().len(), 1);
}

#[test]
fn a_424_inside_a_stream_is_the_same() {
    let stream = "event: error\ndata: {\"type\":\"error\",\"sequence_number\":5,\"error\":{\"type\":\"external_connector_error\",\
        \"code\":\"http_error\",\"message\":\"Error retrieving tool list from MCP server: 'dice_server'. Http status code: 404 (Not Found)\",\
        \"param\":\"tools\"}}\n\n";
    let api = Api::start([Answer::raw(200, "text/event-stream", stream)]);
    let run = ask(&api).arg("Roll a few dice!").run();
    insta::assert_snapshot!(run, @"
    exit: 6
    ----- stdout -----
    ----- stderr -----
    error: Error code: 424 - Error retrieving tool list from MCP server: 'dice_server'. Http status code: 404 (Not Found)
      type: external_connector_error, param: tools, code: http_error
    cause: the MCP server has nothing at this path, or does not know the session
    hint: check the path: many servers distinguish `/mcp` from `/mcp/`
    ");
}

#[test]
fn what_goes_wrong_has_its_exit_status_and_its_words() {
    let incomplete = json!({"id": "r", "object": "response", "status": "incomplete", "output": [],
        "incomplete_details": {"reason": "max_output_tokens"}});
    let failed = json!({"id": "r", "object": "response", "status": "failed", "output": [],
        "error": {"code": "server_error", "message": "Something broke."}});
    let half = "data: {\"type\":\"response.output_text.delta\",\"item_id\":\"m\",\"output_index\":0,\
        \"content_index\":0,\"delta\":\"Half an ans\"}\n\n";
    let refused = json!({"error": {"message": "No such model.", "type": "invalid_request_error",
        "param": "model", "code": "model_not_found"}});
    for (answer, exit, stdout, words) in [
        (
            Answer::json(404, &refused),
            3,
            "",
            "Error code: 404 - No such model.",
        ),
        (
            Answer::json(429, &json!({"error": "slow down"})),
            3,
            "",
            "Error code: 429 - slow down",
        ),
        (
            Answer::raw(502, "text/html", "<h1>Bad Gateway</h1>"),
            3,
            "",
            "502 Bad Gateway, with text/html: <h1>Bad Gateway</h1>",
        ),
        (
            Answer::raw(500, "text/plain", ""),
            3,
            "",
            "500 Internal Server Error, without a body",
        ),
        (
            Answer::json(200, &incomplete),
            5,
            "",
            "the response is incomplete: max_output_tokens",
        ),
        (
            Answer::json(200, &failed),
            5,
            "",
            "the response failed: Something broke.",
        ),
        (
            Answer::raw(200, "text/event-stream", half),
            5,
            "Half an ans",
            "the stream ended before the response did",
        ),
        (
            Answer::raw(200, "text/event-stream", "data: nonsense\n\n"),
            5,
            "",
            "an event of the stream is not a JSON object: nonsense",
        ),
        (
            Answer::raw(200, "text/html", "<p>Hello"),
            5,
            "",
            "the answer is not a response: HTTP 200, with text/html: <p>Hello",
        ),
        (
            Answer::raw(200, "application/json", "[]"),
            5,
            "",
            "the answer is not a response",
        ),
    ] {
        let api = Api::start([answer]);
        let run = ask(&api).args(&["--retries", "0", "Go"]).run();
        assert_eq!(run.exit, Some(exit), "{run}");
        assert_eq!(run.stdout.trim_end(), stdout, "{run}");
        assert!(run.stderr.contains(words), "{words:?} is not in {run}");
        assert!(!run.stderr.contains(KEY), "the key was shown");
        assert_eq!(api.requests().len(), 1);
    }
}

#[test]
fn only_what_cannot_have_run_is_sent_again_when_the_server_says() {
    let end = json!({"id": "resp_1", "object": "response", "status": "completed", "output": []});
    let busy = |status| Answer::json(status, &json!({"error": "busy"})).header("retry-after", "0");
    for (status, options, exit, requests) in [
        (429, &[][..], 0, 2),
        (408, &[], 0, 2),
        (409, &[], 0, 2),
        (500, &[], 3, 1),
        (503, &["--retry-5xx"], 0, 2),
        (400, &["--retry-5xx"], 3, 1),
        (429, &["--retries", "0"], 3, 1),
    ] {
        let api = Api::start([busy(status), Answer::json(200, &end)]);
        let run = ask(&api).args(options).arg("Go").run();
        assert_eq!(run.exit, Some(exit), "{status}: {run}");
        assert_eq!(api.requests().len(), requests, "{status}: {run}");
        let noted = run.stderr.contains("busy; trying again in 0s");
        assert_eq!(noted, requests == 2, "{status}: {run}");
    }
    let api = Api::start([busy(429), busy(429), busy(429), busy(429)]);
    let run = ask(&api).arg("Go").run();
    assert_eq!((run.exit, api.requests().len()), (Some(3), 3), "{run}");
}

#[test]
fn a_refusal_of_the_model_is_told_even_when_all_else_is_quiet() {
    let parts = json!([{"type": "refusal", "refusal": "I will not roll those."}]);
    let refused = json!({"id": "resp_1", "object": "response", "status": "completed", "output": [
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": parts}]});
    let api = Api::start([Answer::json(200, &refused)]);
    let run = ask(&api).args(&["-q", "Go"]).run();
    assert_eq!(run.stderr, "refused: I will not roll those.\n");
}

#[test]
fn a_response_that_has_not_completed_is_not_taken_for_one_that_has() {
    for (response, words) in [
        (
            json!({"object": "response", "status": "queued", "output": []}),
            "the response is queued",
        ),
        (
            json!({"object": "response", "status": "cancelled", "output": []}),
            "the response is cancelled",
        ),
        (
            json!({"object": "response", "output": []}),
            "the response is without a status",
        ),
    ] {
        let api = Api::start([Answer::json(200, &response)]);
        let run = ask(&api).arg("Go").run();
        assert_eq!(run.exit, Some(5), "{run}");
        assert!(run.stderr.contains(words), "{run}");
    }
}

#[test]
fn without_a_store_the_approval_brings_everything_along() {
    let turn = "dotnet-MCPToolAlwaysRequiresApproval_True";
    let api = Api::start([
        Answer::recorded(&format!("{turn}.1.response.json")),
        Answer::recorded(&format!("{turn}.2.response.json")),
    ]);
    let run = ask(&api)
        .args(&["--no-store", "--approve", "all", "Roll 2d4+1"])
        .run();
    assert_eq!(run.exit, Some(0), "{run}");
    let second = &api.requests()[1];
    assert_eq!(second.get("previous_response_id"), None);
    assert_eq!(second["store"], false);
    let types: Vec<&Value> = second["input"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["type"])
        .collect();
    assert_eq!(
        types,
        [
            "message",
            "mcp_list_tools",
            "reasoning",
            "mcp_approval_request",
            "mcp_approval_response"
        ]
    );
}

#[test]
fn json_is_one_document_however_many_rounds_it_took() {
    let turn = "dotnet-MCPToolAlwaysRequiresApproval_True";
    let api = Api::start([
        Answer::recorded(&format!("{turn}.1.response.json")),
        Answer::recorded(&format!("{turn}.2.response.json")),
    ]);
    let run = ask(&api)
        .args(&["--json", "--approve", "all", "Roll 2d4+1"])
        .run();
    let printed: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        printed,
        json(&format!("recordings/{turn}.2.response.json")),
        "it is as it came"
    );
}

#[test]
fn what_waits_for_approval_can_be_continued() {
    let turn = "dotnet-MCPToolAlwaysRequiresApproval_True";
    let api = Api::start([
        Answer::recorded(&format!("{turn}.1.response.json")),
        Answer::recorded(&format!("{turn}.2.response.json")),
        Answer::recorded(&format!("{turn}.2.response.json")),
    ]);
    let home = tempfile::TempDir::new().unwrap();
    let first = ask(&api).home(home.path()).arg("Roll 2d4+1").run();
    assert_eq!(first.exit, Some(7), "{first}");
    let second = ask(&api)
        .home(home.path())
        .args(&["-c", "--approve", "all"])
        .run();
    assert_eq!(
        (second.exit, second.stdout.as_str()),
        (Some(0), "4\n"),
        "{second}"
    );
    let third = ask(&api)
        .home(home.path())
        .args(&["-c", "And again?"])
        .run();
    assert_eq!(third.exit, Some(0), "{third}");

    let requests = api.requests();
    let recorded = json(&format!("recordings/{turn}.2.request.json"));
    assert_eq!(requests[1]["input"], recorded["input"]);
    assert_eq!(
        requests[1]["previous_response_id"],
        recorded["previous_response_id"]
    );
    assert_eq!(requests[2]["input"], "And again?");
    let answered = json(&format!("recordings/{turn}.2.response.json"));
    assert_eq!(requests[2]["previous_response_id"], answered["id"]);

    let state = home
        .path()
        .join(".local/state/mcp-cli/last-conversation.json");
    let permissions = std::fs::metadata(&state).unwrap().permissions();
    assert_eq!(permissions.mode() & 0o777, 0o600);
    let none = ask(&api).args(&["-c", "Go"]).run();
    assert_eq!(none.exit, Some(2), "{none}");
}

#[test]
fn a_conversation_goes_on_wherever_it_is_kept() {
    let answered = |id: &str, status: &str| {
        json!({"id": id, "object": "response", "status": status, "output": [
            {"type": "message", "id": format!("msg_{id}"), "role": "assistant", "content": id}]})
    };
    let api = Api::start([
        Answer::json(200, &answered("resp_1", "completed")),
        Answer::json(200, &answered("resp_2", "completed")),
        Answer::json(200, &answered("resp_3", "completed")),
        Answer::json(200, &answered("resp_4", "incomplete")),
        Answer::json(200, &answered("resp_5", "completed")),
    ]);
    let home = tempfile::TempDir::new().unwrap();
    let ask = |args: &[&str]| ask(&api).home(home.path()).args(args).run();
    ask(&["One"]);
    ask(&["-c", "--no-store", "Two"]);
    ask(&["-c", "--no-store", "Three"]);
    // What was kept before nothing was kept is still known to the API; the rest is sent again.
    let third = &api.requests()[2];
    assert_eq!(third["previous_response_id"], "resp_1");
    let said: Vec<&Value> = third["input"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["content"])
        .collect();
    assert_eq!(said, ["Two", "resp_2", "Three"]);

    let incomplete = ask(&["Four"]);
    assert_eq!(incomplete.exit, Some(5), "{incomplete}");
    ask(&["-c", "Go on"]);
    assert_eq!(api.requests()[4]["previous_response_id"], "resp_4");
    let local = ask(&["--local", "-c", "Go on"]);
    assert_eq!(local.exit, Some(2), "{local}");
    assert!(local.stderr.contains("is stored at an API"), "{local}");
}

#[test]
fn a_key_on_stdin_is_no_part_of_the_question() {
    let end = json!({"id": "resp_1", "object": "response", "status": "completed", "output": []});
    let api = Api::start([Answer::json(200, &end)]);
    let run = McpCli::new(&[
        "ask",
        "--base-url",
        &api.base_url,
        "--api-key",
        "-",
        "Hello",
    ])
    .stdin(KEY)
    .run();
    assert_eq!(run.exit, Some(0), "{run}");
    assert_eq!(api.requests()[0]["input"], "Hello");
    let two = McpCli::new(&["ask", "--api-key", "-", "--authorization", "-", "Hello"])
        .args(&["--server-url", "https://a.example/"])
        .stdin(KEY)
        .run();
    assert_eq!(two.exit, Some(2), "{two}");
}

#[test]
fn the_environment_names_a_server_until_something_else_does() {
    let end = json!({"id": "resp_1", "object": "response", "status": "completed", "output": []});
    for (args, field, value) in [
        (&[][..], "server_url", "https://of.environment/mcp"),
        (
            &["--server-url", "https://of.flag/mcp"],
            "server_url",
            "https://of.flag/mcp",
        ),
        (
            &["--connector-id", "connector_gmail"],
            "connector_id",
            "connector_gmail",
        ),
    ] {
        let api = Api::start([Answer::json(200, &end)]);
        let run = McpCli::new(&["ask", "--base-url", &api.base_url, "Go"])
            .args(args)
            .env("OPENAI_API_KEY", KEY)
            .env("MCP_SERVER_URL", "https://of.environment/mcp")
            .env("MCP_SERVER_LABEL", "")
            .env("MCP_AUTHORIZATION", "")
            .run();
        assert_eq!(run.exit, Some(0), "{run}");
        let tools = &api.requests()[0]["tools"];
        assert_eq!(tools.as_array().unwrap().len(), 1);
        assert_eq!(tools[0][field], value);
    }
    let two = McpCli::new(&[
        "ask",
        "--server-url",
        "https://a/",
        "--tunnel-id",
        "t",
        "--api-key",
        "k",
        "Go",
    ])
    .run();
    assert_eq!(two.exit, Some(2), "{two}");
}

#[test]
fn a_call_is_approved_for_the_server_that_it_waits_for() {
    let turn = "dotnet-MCPToolAlwaysRequiresApproval_True";
    let api = Api::start([Answer::recorded(&format!("{turn}.1.response.json"))]);
    let home = tempfile::TempDir::new().unwrap();
    assert_eq!(ask(&api).home(home.path()).arg("Roll").run().exit, Some(7));
    let elsewhere = McpCli::new(&["ask", "--base-url", &api.base_url, "-c", "--approve", "all"])
        .args(&["--server-url", "https://other.example/mcp"])
        .env("OPENAI_API_KEY", KEY)
        .home(home.path())
        .run();
    assert_eq!(elsewhere.exit, Some(2), "{elsewhere}");
    assert!(
        elsewhere.stderr.contains("`dmcp.roll` waits for approval"),
        "{elsewhere}"
    );
    let printed = ask(&api)
        .home(home.path())
        .args(&["-c", "--approve", "all", "--print-request", "json"])
        .run();
    let printed: Value = serde_json::from_str(&printed.stdout).unwrap();
    let recorded = json(&format!("recordings/{turn}.2.request.json"));
    assert_eq!(printed["input"], recorded["input"]);
}

#[test]
fn a_server_that_only_this_machine_can_reach_is_noted() {
    // Nothing is sent: the name does not resolve.
    let run = McpCli::new(&[
        "ask",
        "--base-url",
        "http://api.invalid/v1",
        "--retries",
        "0",
    ])
    .args(&[
        "--server-url",
        "http://user:canary@127.0.0.1:8000/mcp?key=canary",
        "Go",
    ])
    .env("OPENAI_API_KEY", KEY)
    .run();
    assert_eq!(run.exit, Some(4), "{run}");
    let note = "note: http://127.0.0.1:8000/mcp can be reached from here only; use --bridge, --local or a tunnel";
    assert!(run.stderr.contains(note), "{run}");
    assert!(!run.stderr.contains("canary"), "{run}");
}

#[test]
fn the_refusals_that_mcp_requests_meet_have_a_hint() {
    for (message, hint) in [
        (
            "The following MCP approval requests have approval responses but weren't passed as input: mcpr_1.",
            "answer it once",
        ),
        (
            "Duplicate item found with id mcpr_1. Remove duplicate items from your input and try again.",
            "send only the answer",
        ),
        (
            "Invalid 'tools[0].function.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]{1,128}$'.",
            "rename the tool",
        ),
        (
            "Invalid schema for function 'a': In context=(), object schema missing properties.",
            "add `properties`",
        ),
        (
            "Invalid schema: 'additionalProperties' is required to be supplied and to be false.",
            "additionalProperties",
        ),
    ] {
        let body = json!({"error": {"message": message, "type": "invalid_request_error", "param": "input", "code": null}});
        let api = Api::start([Answer::json(400, &body)]);
        let run = ask(&api).arg("Go").run();
        assert_eq!(run.exit, Some(3), "{run}");
        let (_, told) = run.stderr.split_once("hint: ").unwrap();
        assert!(told.contains(hint), "{run}");
    }
}

#[test]
fn every_status_of_a_424_has_a_cause_and_a_hint() {
    for (status, reason, cause, hint) in [
        (
            401,
            "Unauthorized",
            "refused the credentials",
            "pass a token that the server accepts",
        ),
        (
            403,
            "Forbidden",
            "do not suffice",
            "pass a token with the scopes",
        ),
        (404, "Not Found", "nothing at this path", "check the path"),
        (
            400,
            "Bad Request",
            "only its own machine can reach",
            "or a tunnel",
        ),
        (
            405,
            "Method Not Allowed",
            "does not take a POST",
            "check the path",
        ),
        (
            406,
            "Not Acceptable",
            "strict about `Accept`",
            "accept JSON and SSE",
        ),
        (
            415,
            "Unsupported Media Type",
            "does not take a POST",
            "accept JSON and SSE",
        ),
        (
            421,
            "Misdirected Request",
            "does not know the name",
            "allowed hosts",
        ),
        (
            424,
            "Failed Dependency",
            "no answer in HTTP",
            "check that the server runs",
        ),
        (307, "Temporary Redirect", "redirects", "without a redirect"),
        (308, "Permanent Redirect", "redirects", "without a redirect"),
        (500, "Internal Server Error", "the MCP server failed", "log"),
        (504, "Gateway Timeout", "the MCP server failed", "log"),
    ] {
        let message = format!(
            "Error retrieving tool list from MCP server: 'a'. Http status code: {status} ({reason})"
        );
        let body = json!({"error": {"message": message, "type": "external_connector_error",
            "param": "tools", "code": "http_error"}});
        let api = Api::start([Answer::json(424, &body)]);
        let run = ask(&api).arg("Go").run();
        assert_eq!(run.exit, Some(6), "{run}");
        let (told, hinted) = run.stderr.split_once("hint: ").unwrap();
        assert!(
            told.contains(&message) && told.contains(cause) && hinted.contains(hint),
            "{run}"
        );
    }
}

#[test]
fn a_wrong_key_is_refused_and_not_shown() {
    let api = Api::start([]);
    let run = ask(&api)
        .env("OPENAI_API_KEY", "sk-wrong-canary")
        .args(&["-vv", "Go"])
        .run();
    assert_eq!(run.exit, Some(3));
    assert!(!run.stderr.contains("canary"), "{run}");
    assert!(
        run.stderr
            .contains("Error code: 401 - Incorrect API key provided."),
        "{run}"
    );
}

#[test]
fn every_flag_sets_the_field_of_its_name() {
    let end = json!({"id": "resp_1", "object": "response", "status": "completed", "output": []});
    let folder = tempfile::TempDir::new().unwrap();
    let schema = folder.path().join("schema.json");
    std::fs::write(&schema, r#"{"type": "object"}"#).unwrap();
    let headers = folder.path().join("headers");
    std::fs::write(&headers, "X-From-File: 1\n\nX-Other: 2\n").unwrap();

    let api = Api::start([Answer::json(200, &end)]);
    let run = ask(&api)
        .args(&[
            "-m",
            "gpt-x",
            "-s",
            "Be brief.",
            "--tool-choice",
            "dmcp/roll",
            "--max-tool-calls",
            "3",
        ])
        .args(&[
            "--max-output-tokens",
            "99",
            "--temperature",
            "0.5",
            "--top-p",
            "0.9",
        ])
        .args(&[
            "--reasoning-effort",
            "low",
            "--metadata",
            "a=1",
            "--metadata",
            "b=x=y",
            "--no-store",
        ])
        .args(&[
            "--previous-response-id",
            "resp_0",
            "--no-stream",
            "-H",
            "X-Key: v",
            "--header-file",
        ])
        .arg(&headers)
        .arg("--schema")
        .arg(&schema)
        .args(&[
            "--server-description",
            "Dice",
            "--authorization",
            "tok",
            "--allowed-tools",
            "roll,peek",
        ])
        .args(&[
            "--read-only",
            "--require-approval",
            r#"{"never":{"tool_names":["roll"]}}"#,
        ])
        .args(&["--defer-loading", "Go"])
        .run();
    assert_eq!(run.exit, Some(0), "{run}");
    assert_eq!(
        api.requests(),
        [json!({
            "model": "gpt-x",
            "previous_response_id": "resp_0",
            "instructions": "Be brief.",
            "input": "Go",
            "tools": [{
                "type": "mcp", "server_label": "dmcp", "server_description": "Dice",
                "server_url": "https://dmcp-server.deno.dev/sse",
                "allowed_tools": {"read_only": true, "tool_names": ["roll", "peek"]},
                "authorization": "tok",
                "headers": {"X-From-File": "1", "X-Other": "2", "X-Key": "v"},
                "require_approval": {"never": {"tool_names": ["roll"]}},
                "defer_loading": true,
            }],
            "tool_choice": {"type": "mcp", "server_label": "dmcp", "name": "roll"},
            "max_tool_calls": 3,
            "max_output_tokens": 99,
            "temperature": 0.5,
            "top_p": 0.9,
            "metadata": {"a": "1", "b": "x=y"},
            "store": false,
            "stream": false,
            "include": ["reasoning.encrypted_content"],
            "reasoning": {"effort": "low"},
            "text": {"format": {"type": "json_schema", "name": "answer", "strict": true,
                                "schema": {"type": "object"}}},
        })]
    );
}

#[test]
fn a_connector_and_a_tunnel_take_the_place_of_a_url() {
    let end = json!({"id": "resp_1", "object": "response", "status": "completed", "output": []});
    for (flag, field, id) in [
        ("--connector-id", "connector_id", "connector_gmail"),
        (
            "--tunnel-id",
            "tunnel_id",
            "tunnel_0123456789abcdef0123456789abcdef",
        ),
    ] {
        let api = Api::start([Answer::json(200, &end)]);
        let run = McpCli::new(&["ask", "--base-url", &api.base_url, flag, id, "Go"])
            .env("OPENAI_API_KEY", KEY)
            .run();
        assert_eq!(run.exit, Some(0), "{run}");
        let tool = &api.requests()[0]["tools"][0];
        assert_eq!(tool[field], id);
        assert_eq!(tool["server_label"], id);
    }
}
