use std::io::Write;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Answer, Api, Desk, Events, Gateway, KEY, McpCli, Serving, dice_server, dice_server_with_auth,
};

fn dice(url: &str) -> Value {
    json!({"type": "mcp", "server_label": "dice_server", "server_url": url, "require_approval": "never"})
}

pub fn ring(desk: &Desk) -> Value {
    json!({"input": "Ring the bell", "tools": [{"type": "mcp", "server_label": "desk",
           "server_url": desk.url, "require_approval": "never"}]})
}

pub fn with(mut request: Value, field: &str, value: Value) -> Value {
    request[field] = value;
    request
}

#[test]
fn a_response_comes_whole_or_event_by_event() {
    let server = dice_server();
    let gateway = Gateway::start(&[]);
    let request = json!({"model": "gpt-4.1", "input": "Roll 3 dice", "tools": [dice(&server.url)]});
    let response = gateway.create(&request);
    assert_eq!(response["model"], "gpt-4.1");
    assert_eq!(response["status"], "completed");

    let events: Vec<Value> = gateway
        .stream(&with(request, "stream", json!(true)))
        .collect();
    assert_eq!(events[0]["type"], "response.created");
    assert_eq!(events.last().unwrap()["type"], "response.completed");
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
}

#[test]
fn each_event_is_written_as_it_happens() {
    let desk = Desk::start();
    let gateway = Gateway::start(&[]);
    desk.hold();
    let mut events = gateway.stream(&with(ring(&desk), "stream", json!(true)));
    events.until("response.mcp_call_arguments.done");
    // The call has not come back: all that was told until now was told before.
    desk.wait_for_call();
    desk.release();
    events.until("response.mcp_call.completed");
    events.until("response.completed");
}

#[test]
fn a_client_that_leaves_cancels_the_call() {
    for stream in [true, false] {
        let desk = Desk::start();
        let gateway = Gateway::start(&[]);
        desk.hold();
        let request = with(ring(&desk), "stream", json!(stream)).to_string();
        let mut connection = gateway.serving.connect();
        let head = format!(
            "POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{request}",
            request.len()
        );
        connection.write_all(head.as_bytes()).unwrap();
        desk.wait_for_call();
        drop(connection);
        desk.wait_for_leaving();
    }
}

#[test]
fn a_server_that_gives_no_list_is_the_424_of_openai_and_an_error_in_a_stream() {
    let (server, _) = dice_server_with_auth(&[]);
    let gateway = Gateway::start(&[]);
    let request = json!({"input": "Roll a few dice!", "tools": [dice(&server.url)]});
    let reply = gateway.post("/responses", &request);
    assert_eq!(reply.status(), 424);
    assert_eq!(
        reply.json(),
        json!({"error": {
            "message": "Error retrieving tool list from MCP server: 'dice_server'. Http status code: 401 (Unauthorized)",
            "type": "external_connector_error", "param": "tools", "code": "http_error"}})
    );
    let events: Vec<Value> = gateway
        .stream(&with(request, "stream", json!(true)))
        .collect();
    let types: Vec<&str> = events
        .iter()
        .map(|it| it["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types[2..],
        [
            "response.output_item.added",
            "response.mcp_list_tools.in_progress",
            "response.mcp_list_tools.failed",
            "response.output_item.done",
            "error",
            "response.failed"
        ]
    );
    // The code of a response is one of a list.
    assert_eq!(events[7]["response"]["error"]["code"], "server_error");
}

#[test]
fn who_has_not_the_key_is_told_so() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("key.txt");
    std::fs::write(&file, "sk-of-the-house\n").unwrap();
    let file = file.to_str().unwrap();
    let gateway = Serving::start(McpCli::new(&["gateway", "-p", "0", "--api-key-file", file]));
    for (header, status) in [
        ("", 401),
        ("\nauthorization: Bearer sk-of-another", 401),
        ("\nauthorization: Bearer sk-of-the-house2", 401),
        ("\nauthorization: Basic sk-of-the-house", 401),
        (
            "\nauthorization: Bearer sk-of-the-house\nauthorization: Bearer x",
            401,
        ),
        ("\napi-key: sk-of-the-house", 401),
        ("\nauthorization: Bearer sk-of-the-house", 200),
        ("\nauthorization: bearer  sk-of-the-house", 200),
    ] {
        for path in ["/v1/models", "/v1/models/rules"] {
            let reply = gateway.send(&format!("GET {path} HTTP/1.1{header}"), b"");
            assert_eq!(reply.status(), status, "{header:?}: {}", reply.text);
            assert!(!reply.text.contains("sk-of"), "{}", reply.text);
        }
    }
    let refused = gateway
        .send("GET /v1/models HTTP/1.1\nauthorization: Bearer no", b"")
        .json();
    assert_eq!(refused["error"]["code"], "invalid_api_key");
    // Who watches whether it lives has no key.
    assert_eq!(gateway.send("GET /healthz HTTP/1.1", b"").status(), 200);
}

#[test]
fn a_key_that_nobody_gave_is_made_and_printed_for_a_shell() {
    let mut gateway = Serving::start(McpCli::new(&["gateway", "-p", "0"]));
    let printed = gateway.stdout_lines(2);
    let value = |name: &str| {
        let start = format!("export {name}=");
        printed
            .iter()
            .find_map(|line| line.strip_prefix(&start))
            .unwrap()
            .to_owned()
    };
    assert_eq!(value("OPENAI_BASE_URL"), gateway.url);
    let key = value("OPENAI_API_KEY");
    let head = format!("GET /v1/models HTTP/1.1\nauthorization: Bearer {key}");
    assert_eq!(gateway.send(&head, b"").status(), 200);
    assert_eq!(gateway.send("GET /v1/models HTTP/1.1", b"").status(), 401);
}

#[test]
fn what_is_no_request_is_refused_in_the_words_of_the_api() {
    let gateway = Gateway::start(&[]);
    let send = |head: &str, body: &str| gateway.serving.send(head, body.as_bytes());
    let json = "POST /v1/responses HTTP/1.1\ncontent-type: application/json";
    for (head, body, status) in [
        ("POST /v1/responses HTTP/1.1", "{}", 415),
        (
            "POST /v1/responses HTTP/1.1\ncontent-type: text/plain",
            "{}",
            415,
        ),
        (json, "", 400),
        (json, "[]", 400),
        (json, "{\"input\": 1}", 400),
        (json, "{\"input\": \"Hi\", \"tools\": {}}", 400),
        (
            json,
            "{\"input\": \"Hi\", \"tools\": [{\"type\": \"mcp\"}]}",
            400,
        ),
        (
            json,
            "{\"input\": \"Hi\", \"conversation\": \"conv_1\"}",
            400,
        ),
        (
            json,
            "{\"input\": \"Hi\", \"background\": true, \"store\": false}",
            400,
        ),
        (json, r#"{"input": "Hi", "background": "yes"}"#, 400),
        (
            json,
            "{\"input\": \"Hi\", \"previous_response_id\": \"resp_none\"}",
            400,
        ),
        (
            json,
            "{\"input\": \"Hi\", \"tool_choice\": \"banana\"}",
            400,
        ),
        ("GET /v1/responses HTTP/1.1", "", 400),
        ("GET /v1/responses/resp_none HTTP/1.1", "", 404),
        ("DELETE /v1/responses/resp_none HTTP/1.1", "", 404),
        ("POST /v1/responses/resp_none/cancel HTTP/1.1", "", 404),
        ("GET /v1/responses/resp_none/input_items HTTP/1.1", "", 404),
        ("GET /v1/models/none HTTP/1.1", "", 404),
        // What is no text is the id of nothing.
        ("GET /v1/responses/%FF HTTP/1.1", "", 404),
        ("DELETE /v1/responses/%FF HTTP/1.1", "", 404),
        ("POST /v1/responses/%FF/cancel HTTP/1.1", "", 404),
        ("GET /v1/responses/%FF/input_items HTTP/1.1", "", 404),
        ("GET /v1/models/%FF HTTP/1.1", "", 404),
        ("POST /v1/chat/completions HTTP/1.1", "{}", 404),
        ("PUT /v1/models HTTP/1.1", "", 405),
        (
            "GET /v1/models HTTP/1.1\norigin: https://evil.example",
            "",
            403,
        ),
        (
            "POST /v1/responses HTTP/1.1\ncontent-type: application/json\norigin: null",
            "{}",
            403,
        ),
    ] {
        let reply = send(head, body);
        assert_eq!(reply.status(), status, "{head} {body}: {}", reply.text);
        let error = &reply.json()["error"];
        assert_eq!(error["type"], "invalid_request_error", "{}", reply.text);
        assert!(
            !error["message"].as_str().unwrap().is_empty(),
            "{}",
            reply.text
        );
        assert!(
            reply.text.contains("x-request-id: req_") || status == 403,
            "{}",
            reply.text
        );
    }
    let foreign = "GET /v1/models HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    assert_eq!(gateway.serving.raw(foreign.as_bytes()).status(), 403);
    let endless = "POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n";
    assert_eq!(gateway.serving.raw(endless.as_bytes()).status(), 413);
    // What is not known is not refused.
    gateway.create(&json!({"input": "Hi", "brand_new": {"a": 1}, "conversation": null}));
}

#[test]
fn headers_of_the_connection_are_not_for_a_client_to_set() {
    let desk = Desk::start();
    let gateway = Gateway::start(&[]);
    for (name, value) in [
        ("Content-Length", "3"),
        ("Transfer-Encoding", "chunked"),
        ("Host", "evil.example"),
    ] {
        let mut request = ring(&desk);
        request["tools"][0]["headers"] = json!({name: value});
        let refused = gateway.post("/responses", &request);
        assert_eq!(refused.status(), 400, "{name}: {}", refused.text);
        assert_eq!(refused.json()["error"]["param"], "tools");
    }
    assert_eq!(desk.called(), 0);
}

#[test]
fn as_many_items_can_be_referred_to_as_a_response_has() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("responses.redb");
    for args in [&[][..], &["--store", file.to_str().unwrap()][..]] {
        let gateway = Gateway::start(args);
        let id = |number: usize| format!("msg_{number}");
        let input: Vec<Value> = (0..4000)
            .map(|it| json!({"type": "message", "id": id(it), "role": "user", "content": "Hi"}))
            .collect();
        gateway.create(&json!({"input": input}));
        let references: Vec<Value> = (0..4000)
            .map(|it| json!({"type": "item_reference", "id": id(it)}))
            .collect();
        let response = gateway.create(&json!({"input": references}));
        let path = format!(
            "/responses/{}/input_items",
            response["id"].as_str().unwrap()
        );
        let newest = gateway.send("GET", &path).json()["data"][0].clone();
        assert_eq!(newest["id"], id(3999));
        assert_eq!(newest["content"][0]["text"], "Hi");
    }
}

#[test]
fn a_response_is_read_listed_gone_on_from_and_deleted() {
    let gateway = Gateway::start(&[]);
    let input: Vec<Value> = (0..25)
        .map(|it| json!({"role": "user", "content": it.to_string()}))
        .collect();
    let response = gateway.create(&json!({"input": input}));
    let id = response["id"].as_str().unwrap();
    assert_eq!(gateway.retrieve(&response["id"]), response);

    let page = |query: &str| {
        gateway
            .send("GET", &format!("/responses/{id}/input_items{query}"))
            .json()
    };
    let texts = |page: &Value| -> Vec<String> {
        let items = page["data"].as_array().unwrap().iter();
        items
            .map(|it| it["content"][0]["text"].as_str().unwrap().to_owned())
            .collect()
    };
    let newest = page("");
    assert_eq!(texts(&newest)[..2], ["24", "23"]);
    assert_eq!(
        (texts(&newest).len(), &newest["has_more"]),
        (20, &json!(true))
    );
    let rest = page(&format!("?after={}", newest["last_id"].as_str().unwrap()));
    assert_eq!(texts(&rest), ["4", "3", "2", "1", "0"]);
    assert_eq!(rest["has_more"], false);
    assert_eq!(texts(&page("?order=asc&limit=2&include[]=x")), ["0", "1"]);
    for bad in [
        "?limit=0",
        "?limit=101",
        "?limit=x",
        "?order=up",
        "?after=none",
    ] {
        assert!(page(bad)["error"]["message"].is_string(), "{bad}");
    }

    gateway.create(&json!({"input": "And now?", "previous_response_id": id}));
    let deleted = gateway.send("DELETE", &format!("/responses/{id}"));
    assert_eq!(
        deleted.json(),
        json!({"id": id, "object": "response", "deleted": true})
    );
    assert_eq!(
        gateway.send("GET", &format!("/responses/{id}")).status(),
        404
    );
    let gone = gateway.post(
        "/responses",
        &json!({"input": "And now?", "previous_response_id": id}),
    );
    assert_eq!(gone.json()["error"]["code"], "previous_response_not_found");

    let unstored = gateway.create(&json!({"input": "Hi", "store": false}));
    let path = format!("/responses/{}", unstored["id"].as_str().unwrap());
    assert_eq!(gateway.send("GET", &path).status(), 404);
}

#[test]
fn a_store_in_a_file_outlives_the_gateway_and_has_no_secrets() {
    let desk = Desk::start();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("responses.redb");
    let file = file.to_str().unwrap();
    let mut request = ring(&desk);
    request["tools"][0]["server_url"] = format!("{}?token=canary-query", desk.url).into();
    request["tools"][0]["authorization"] = "canary-token".into();
    request["tools"][0]["headers"] = json!({"X-Key": "canary-header"});

    let gateway = Gateway::start(&["--store", file]);
    let first = gateway.create(&request);
    desk.hold();
    let queued = gateway.create(&with(request.clone(), "background", json!(true)));
    // A second gateway has no business with the file of the first.
    let second = McpCli::new(&["gateway", "-p", "0", "--store", file]).run();
    assert_eq!(second.exit, Some(1), "{second}");
    drop(gateway);
    let bytes = std::fs::read(file).unwrap();
    assert!(
        !bytes.windows(6).any(|it| it == b"canary"),
        "a secret is in the store"
    );

    let gateway = Gateway::start(&["--store", file]);
    assert_eq!(gateway.retrieve(&first["id"])["output"], first["output"]);
    let killed = gateway.retrieve(&queued["id"]);
    assert_eq!(killed["status"], "failed");
    assert_eq!(killed["error"]["code"], "server_error");
    desk.release();
    let next = with(request, "previous_response_id", first["id"].clone());
    assert_eq!(gateway.create(&next)["output"][0]["type"], "mcp_call");
}

#[test]
fn a_failing_upstream_is_what_a_client_of_openai_would_see() {
    let refusals = [
        (
            429,
            json!({"message": "Slow down.", "type": "tokens", "param": null, "code": "rate_limit_exceeded"}),
            429,
        ),
        (
            400,
            json!({"message": "No such thing.", "type": "invalid_request_error", "param": "text", "code": null}),
            400,
        ),
        (
            500,
            json!({"message": "Oops.", "type": "server_error", "param": null, "code": null}),
            500,
        ),
        (
            401,
            json!({"message": "Incorrect API key provided: sk-te**ry", "type": "invalid_request_error"}),
            502,
        ),
    ];
    for stream in [false, true] {
        for (status, error, expected) in &refusals {
            let api = Api::start([Answer::json(*status, &json!({"error": error}))]);
            let gateway = upstream(&api, &[]);
            let reply = gateway.post(
                "/responses",
                &json!({"model": "gpt-5", "input": "Hi", "stream": stream}),
            );
            assert_eq!(reply.status(), *expected, "{}", reply.text);
            if status == expected {
                assert_eq!(reply.json()["error"], *error);
            } else {
                assert!(!reply.text.contains("sk-te"), "{}", reply.text);
            }
        }
    }
}

/// A gateway before a stand-in for OpenAI.
fn upstream(api: &Api, args: &[&str]) -> Gateway {
    let cli = McpCli::new(&["gateway", "-p", "0", "--no-auth", "--model", "upstream"])
        .args(&["--upstream-url", &api.base_url])
        .args(args)
        .env("OPENAI_API_KEY", KEY);
    Gateway {
        serving: Serving::start(cli),
    }
}

fn message(text: &str) -> Value {
    json!({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
           "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": text}]})
}

fn call(call_id: &str, function: &str, arguments: &str) -> Value {
    json!({"type": "function_call", "id": format!("fc_{call_id}"), "call_id": call_id, "name": function,
           "arguments": arguments, "status": "completed"})
}

#[test]
fn an_upstream_that_breaks_off_ends_the_stream_as_a_failure() {
    let cut = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\
        \"response\":{\"id\":\"resp_u\",\"object\":\"response\",\"output\":[]}}\n\n";
    let answer = || Answer::raw(200, "text/event-stream", cut);
    let api = Api::start([answer(), answer()]);
    let gateway = upstream(&api, &[]);
    let request = json!({"model": "gpt-5", "input": "Hi"});
    let events: Vec<Value> = gateway
        .stream(&with(request.clone(), "stream", json!(true)))
        .collect();
    let types: Vec<&str> = events
        .iter()
        .map(|it| it["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "response.created",
            "response.in_progress",
            "error",
            "response.failed"
        ]
    );
    assert_eq!(
        gateway.retrieve(&events[0]["response"]["id"])["status"],
        "failed"
    );
    assert_eq!(gateway.post("/responses", &request).status(), 502);
}

#[test]
fn an_upstream_that_sends_too_much_is_a_failure_with_a_name() {
    let item = |index| json!({"type": "reasoning", "id": format!("rs_{index}"), "summary": []});
    let items: Value = (0..1001).map(item).collect();
    let api = Api::start([Answer::whole(&items), Answer::streamed(&items)]);
    let gateway = upstream(&api, &[]);
    let message = "The model's server sent too much: the answer has more than 1000 items.";
    let reply = gateway.post("/responses", &json!({"model": "m", "input": "Hi"}));
    assert_eq!(reply.status(), 502, "{}", reply.text);
    assert_eq!(reply.json()["error"]["message"], message);

    let mut events = gateway.stream(&json!({"model": "m", "input": "Hi", "stream": true}));
    assert_eq!(events.until("error")["error"]["message"], message);
    let failed = events.until("response.failed");
    assert_eq!(failed["response"]["error"]["message"], message);
    assert_eq!(failed["response"]["output"].as_array().unwrap().len(), 1000);
}

#[test]
fn an_upstream_gains_mcp_servers_and_sees_nothing_of_them() {
    let server = dice_server();
    let api = Api::start([
        Answer::streamed(&json!([call("call_1", "roll_dice", r#"{"n_dice":2}"#)])),
        Answer::streamed(&json!([message("Rolled.")])),
    ]);
    let gateway = upstream(&api, &[]);
    let mut tool = dice(&server.url);
    tool["headers"] = json!({"X-Key": "canary"});
    let request =
        json!({"model": "gpt-5", "input": "Roll 2 dice", "tools": [tool], "stream": true});
    let events: Vec<Value> = gateway.stream(&request).collect();
    let response = &events.last().unwrap()["response"];
    let types: Vec<&Value> = response["output"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["type"])
        .collect();
    assert_eq!(types, ["mcp_list_tools", "mcp_call", "message"]);
    for request in api.requests() {
        let text = request.to_string();
        assert!(
            !text.contains("canary") && !text.contains(&server.url),
            "{text}"
        );
    }
}

#[test]
fn where_a_server_is_that_cannot_be_called_is_not_told_to_an_upstream() {
    let api = Api::start([
        Answer::whole(&json!([call("call_1", "ring", "{}")])),
        Answer::whole(&json!([message("It could not be rung.")])),
    ]);
    let gateway = upstream(&api, &[]);
    let list = json!({"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "desk", "tools": [
        {"name": "ring", "annotations": null, "description": null,
         "input_schema": {"type": "object", "properties": {}}}]});
    let tool = json!({"type": "mcp", "server_label": "desk", "require_approval": "never",
                      "server_url": "http://10.255.255.1/canary"});
    let request = json!({"model": "gpt-5", "tools": [tool],
                         "input": [list, {"role": "user", "content": "Ring the bell"}]});
    let response = gateway.create(&request);
    assert_eq!(response["output"][0]["error"]["code"], 400);
    let sent = api.requests()[1].to_string();
    assert!(
        !sent.contains("10.255") && !sent.contains("canary"),
        "{sent}"
    );
}

#[test]
fn a_function_of_the_client_is_the_clients_to_call() {
    let server = dice_server();
    let toss = json!({"type": "function", "name": "toss", "parameters": {"type": "object", "properties": {}}});
    let api = Api::start([
        Answer::whole(&json!([
            call("call_1", "toss", "{}"),
            call("call_2", "roll_dice", r#"{"n_dice":2}"#)
        ])),
        Answer::whole(&json!([message("Heads, and two dice.")])),
    ]);
    let gateway = upstream(&api, &[]);
    let tools = json!([dice(&server.url), toss]);
    let response =
        gateway.create(&json!({"model": "gpt-5", "input": "Toss and roll", "tools": tools}));
    let types: Vec<&Value> = response["output"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["type"])
        .collect();
    assert_eq!(types, ["mcp_list_tools", "function_call", "mcp_call"]);

    let id = &response["id"];
    let unanswered = gateway.post(
        "/responses",
        &json!({"input": "Well?", "previous_response_id": id}),
    );
    assert_eq!(
        unanswered.json()["error"]["message"],
        "No tool output found for function call call_1."
    );
    let output = json!({"type": "function_call_output", "call_id": "call_1", "output": "heads"});
    let next =
        json!({"model": "gpt-5", "previous_response_id": id, "input": [output], "tools": tools});
    let next = gateway.create(&next);
    assert_eq!(
        next["output"][0]["content"][0]["text"],
        "Heads, and two dice."
    );
}

#[test]
fn a_script_tries_a_client_with_what_healthy_servers_do_not_do() {
    let gateway = Gateway::playing(&json!([
        {"refuse": {"status": 429, "message": "Slow down.", "type": "tokens", "code": "rate_limit_exceeded"}},
    ]));
    let request = json!({"input": "Hi", "stream": true});
    let refused = gateway.post("/responses", &request);
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded");

    let gateway = Gateway::playing(&json!([{"say": "Half an ans", "cut": true}]));
    let text = gateway.post("/responses", &request).text;
    assert!(
        text.contains("Half an ans") && !text.contains("response.completed"),
        "{text}"
    );

    let gateway = Gateway::playing(
        &json!([{"say": "No.", "fail": {"code": "server_error", "message": "Broken."}}]),
    );
    let mut events: Events = gateway.stream(&request);
    assert_eq!(events.until("error")["error"]["message"], "Broken.");
    events.until("response.failed");
    let whole = gateway.create(&json!({"input": "Hi"}));
    assert_eq!(
        (&whole["status"], &whole["error"]["message"]),
        (&json!("failed"), &json!("Broken."))
    );
}

#[test]
fn a_gateway_for_everybody_is_for_this_machine_alone() {
    for (args, exit, words) in [
        (
            vec!["--no-auth", "--host", "0.0.0.0"],
            2,
            "--no-auth on 0.0.0.0",
        ),
        (
            vec!["--model", "gpt-5"],
            2,
            "unknown gateway model: \"gpt-5\"",
        ),
        (
            vec!["--upstream-url", "http://localhost:1/v1"],
            2,
            "--upstream-url has no meaning without --model upstream",
        ),
        (vec!["--model", "upstream"], 3, "OPENAI_API_KEY is not set"),
        (
            vec!["--model", "upstream", "--upstream-url", "localhost"],
            2,
            "--upstream-url is not an http or https URL",
        ),
        (
            vec!["--model", "script:/nowhere.json"],
            2,
            "/nowhere.json cannot be read",
        ),
        (
            vec!["--store", "/nowhere/responses.redb"],
            1,
            "/nowhere/responses.redb cannot be used as a store",
        ),
        (
            vec!["--api-key-file", "/nowhere.txt"],
            2,
            "/nowhere.txt cannot be read",
        ),
        (
            vec!["--api-key-file", "x", "--no-auth"],
            2,
            "cannot be used with",
        ),
    ] {
        let run = McpCli::new(&["gateway", "-p", "0"]).args(&args).run();
        assert_eq!(run.exit, Some(exit), "{args:?}: {run}");
        assert!(run.stderr.contains(words), "{args:?}: {run}");
    }
}

#[test]
fn a_private_network_is_not_for_the_clients_of_a_gateway() {
    for (args, url, status) in [
        (&[][..], "http://10.255.255.1/mcp", 400),
        (&[][..], "http://169.254.169.254/latest/meta-data", 400),
        (
            &["--allow-private"][..],
            "http://169.254.169.254/latest/meta-data",
            400,
        ),
        (&["--allow-private"][..], "http://[::ffff:a9fe:a9fe]/", 400),
        (&[][..], "http://user:canary@127.0.0.1/mcp", 400),
        (&[][..], "http://127.0.0.1:1/mcp", 424),
    ] {
        let gateway = Gateway::start(args);
        let reply = gateway.post(
            "/responses",
            &json!({"input": "Roll", "tools": [dice(url)]}),
        );
        assert_eq!(reply.status(), 424, "{url}: {}", reply.text);
        let message = reply.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(
            message.contains(&format!("Http status code: {status} ")),
            "{url}: {message}"
        );
        assert!(!reply.text.contains("canary"), "{}", reply.text);
    }
}
