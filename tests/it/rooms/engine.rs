use std::collections::HashMap;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use futures::StreamExt;
use mcp_cli::auth::Claims;
use mcp_cli::engine::Engine;
use mcp_cli::engine::model::{Model, Script, Upstream, UpstreamApi};
use mcp_cli::responses::{Client, CreateResponse, Error, Limits, Retries};
use mcp_cli::secret::Secret;
use serde_json::{Value, json};

use crate::support::{
    Answer, Api, Desk, KEY, assert_is_event, assert_is_response, dice_server,
    dice_server_with_auth, http_server, recordings,
};

/// Asks the engine, checks every event against the schema, and returns them.
pub async fn ask(engine: &Engine, request: Value) -> Result<Vec<Value>, Error> {
    let request: CreateResponse = serde_json::from_value(request).unwrap();
    let events: Vec<Value> = engine
        .create_stream(request)
        .await?
        .map(|event| Value::Object(event.unwrap().into_data()))
        .collect()
        .await;
    for (number, event) in events.iter().enumerate() {
        assert_is_event(event);
        assert_eq!(event["sequence_number"], number);
    }
    Ok(events)
}

pub async fn answer(engine: &Engine, request: Value) -> Value {
    let events = ask(engine, request).await.unwrap();
    let response = events.last().unwrap()["response"].clone();
    assert_is_response(&response);
    response
}

pub fn rules() -> Engine {
    Engine::new(Model::Rules, HashMap::new())
}

pub fn script(steps: Value) -> Engine {
    let script: Script = serde_json::from_value(steps).unwrap();
    Engine::new(Model::Script(script), HashMap::new())
}

fn types(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

pub fn item_types(response: &Value) -> Vec<&str> {
    let items = response["output"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["type"].as_str().unwrap())
        .collect()
}

pub fn output_text(response: &Value) -> &str {
    let items = response["output"].as_array().unwrap();
    let message = items
        .iter()
        .rfind(|item| item["type"] == "message")
        .unwrap();
    message["content"][0]["text"].as_str().unwrap()
}

pub fn entry(url: &str, require_approval: &str) -> Value {
    json!({"type": "mcp", "server_label": "dice_server", "server_url": url,
           "require_approval": require_approval})
}

/// The types of a recorded stream's events, without those of items that only OpenAI's models make.
fn recorded_types(name: &str) -> Vec<String> {
    let path = crate::support::fixture("recordings").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str::<Value>(data).unwrap())
        .filter(|event| event["item"]["type"] != "reasoning")
        .map(|event| event["type"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_streamed_call_has_the_events_that_openai_was_recorded_with() {
    let server = dice_server();
    let request =
        json!({"input": "Roll 3 dice", "tools": [entry(&server.url, "never")], "stream": true});
    let events = ask(&rules(), request).await.unwrap();
    assert_eq!(
        types(&events),
        recorded_types("dotnet-MCPToolStreamingWorks.1.sse")
    );

    let call = &events[11]["item"];
    assert_eq!(call["name"], "roll_dice");
    assert_eq!(call["arguments"], r#"{"n_dice":3}"#);
    assert_eq!(call["status"], "completed");
    assert_eq!(call["error"], Value::Null);
    assert_eq!(call["approval_request_id"], Value::Null);
    let dice: Vec<u8> = serde_json::from_str(call["output"].as_str().unwrap()).unwrap();
    assert_eq!(dice.len(), 3);
}

#[tokio::test]
async fn a_response_has_the_keys_that_openai_was_recorded_with() {
    let server = dice_server();
    let response = answer(
        &rules(),
        json!({"input": "Roll 3 dice", "tools": [entry(&server.url, "never")], "stream": true}),
    )
    .await;
    let path = crate::support::fixture("recordings")
        .join("pydantic-mcp_list_tools_stream_backfills_missing_results.1.sse");
    let recorded = std::fs::read_to_string(path).unwrap();
    let last = recorded
        .lines()
        .rfind(|line| line.starts_with("data: "))
        .unwrap();
    let recorded: Value = serde_json::from_str(&last[6..]).unwrap();
    let keys = |response: &Value| -> Vec<String> {
        response.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(&response), keys(&recorded["response"]));
    assert_eq!(
        response["output"][0]["tools"][0]["annotations"],
        json!({"read_only": true})
    );
    assert_eq!(response["output"][0].get("error"), None);
    for item in response["output"].as_array().unwrap() {
        let (_, digits) = item["id"].as_str().unwrap().split_once('_').unwrap();
        assert_eq!(digits.len(), 50);
        assert!(digits.chars().all(|it| it.is_ascii_hexdigit()));
    }
}

#[tokio::test]
async fn a_call_that_needs_approval_waits_for_it() {
    let server = dice_server();
    let engine = rules();
    let tools = json!([entry(&server.url, "always")]);
    let events = ask(&engine, json!({"input": "Roll 2 dice", "tools": tools}))
        .await
        .unwrap();
    let held = events.last().unwrap()["response"].clone();
    assert_eq!(held["status"], "completed");
    assert_eq!(
        item_types(&held),
        ["mcp_list_tools", "mcp_approval_request"]
    );
    let request = held["output"][1].clone();
    assert_eq!(request["arguments"], r#"{"n_dice":2}"#);
    // Added and done are the same, with complete arguments.
    let told: Vec<&Value> = events
        .iter()
        .filter(|event| event["item"]["type"] == "mcp_approval_request")
        .map(|event| &event["item"])
        .collect();
    assert_eq!(told, [&request, &request]);

    let yes = json!({"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": true});
    let events = ask(
        &engine,
        json!({"previous_response_id": held["id"], "input": [yes], "tools": tools}),
    )
    .await
    .unwrap();
    let done = events.last().unwrap()["response"].clone();
    assert_eq!(
        item_types(&done),
        ["mcp_call", "message"],
        "nothing is listed twice"
    );
    assert_eq!(done["output"][0]["approval_request_id"], request["id"]);
    assert_eq!(done["output"][0]["status"], "completed");
    assert!(
        output_text(&done).starts_with("You rolled 2 dice"),
        "{done}"
    );
    assert_eq!(
        types(&events)[2..8],
        [
            "response.output_item.added",
            "response.mcp_call.in_progress",
            "response.mcp_call_arguments.delta",
            "response.mcp_call.in_progress",
            "response.mcp_call_arguments.done",
            "response.mcp_call.completed",
        ]
    );
}

#[tokio::test]
async fn a_call_that_is_denied_is_not_made() {
    let server = dice_server();
    let engine = rules();
    let tools = json!([entry(&server.url, "always")]);
    let held = answer(&engine, json!({"input": "Roll 2 dice", "tools": tools})).await;
    let no = json!({"type": "mcp_approval_response", "approve": false,
                    "approval_request_id": held["output"][1]["id"]});
    let done = answer(
        &engine,
        json!({"previous_response_id": held["id"], "input": [no], "tools": tools}),
    )
    .await;
    assert_eq!(item_types(&done), ["message"]);
    assert!(output_text(&done).contains("not approved"), "{done}");

    // A no stays a no.
    let yes = json!({"type": "mcp_approval_response", "approve": true,
                     "approval_request_id": held["output"][1]["id"]});
    let again = json!({"previous_response_id": done["id"], "input": [yes], "tools": tools});
    assert!(matches!(
        ask(&engine, again).await,
        Err(Error::Refused { status: 400, .. })
    ));
}

#[tokio::test]
async fn an_approval_works_without_a_store_when_the_items_are_sent_again() {
    let server = dice_server();
    let engine = rules();
    let tools = json!([entry(&server.url, "always")]);
    let held = answer(
        &engine,
        json!({"input": "Roll 2 dice", "tools": tools, "store": false}),
    )
    .await;
    let mut input = vec![json!({"role": "user", "content": "Roll 2 dice"})];
    input.extend(held["output"].as_array().unwrap().iter().cloned());
    input.push(json!({"type": "mcp_approval_response", "approve": true,
                      "approval_request_id": held["output"][1]["id"]}));
    let done = answer(
        &engine,
        json!({"input": input, "tools": tools, "store": false}),
    )
    .await;
    assert_eq!(item_types(&done), ["mcp_call", "message"]);

    let forgotten = ask(
        &engine,
        json!({"previous_response_id": held["id"], "input": "Again", "tools": tools}),
    )
    .await;
    let Err(Error::Refused {
        status: 400, error, ..
    }) = forgotten
    else {
        panic!("a response that was not stored was found");
    };
    assert_eq!(error.code.as_deref(), Some("previous_response_not_found"));
}

#[tokio::test]
async fn requests_that_no_turn_can_serve_are_refused_as_openai_refuses_them() {
    let server = dice_server();
    let engine = rules();
    let tool = entry(&server.url, "always");
    let held = answer(&engine, json!({"input": "Roll 2 dice", "tools": [tool]})).await;
    let request = held["output"][1].clone();
    for (body, param, message) in [
        (
            json!({"input": "a", "tools": [tool, tool]}),
            "tools",
            "Duplicate MCP server_label 'dice_server' found in 'tools' parameter.".to_owned(),
        ),
        (
            json!({"input": "a", "previous_response_id": "resp_x"}),
            "previous_response_id",
            "Previous response with id 'resp_x' not found.".to_owned(),
        ),
        (
            json!({"previous_response_id": held["id"], "input": [request], "tools": [tool]}),
            "input",
            format!(
                "Duplicate item found with id {}. Remove duplicate items from your input and try again.",
                request["id"].as_str().unwrap()
            ),
        ),
        (
            json!({"previous_response_id": held["id"], "tools": [tool], "input": [
                {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": false},
                {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": true}]}),
            "input",
            format!(
                "The following MCP approval requests have approval responses but weren't passed as input: {}.",
                request["id"].as_str().unwrap()
            ),
        ),
        (
            json!({"input": "a", "tools": [tool], "tool_choice": {"type": "mcp", "server_label": "x"}}),
            "tool_choice",
            "Tool choice 'x' not found in 'tools' parameter.".to_owned(),
        ),
        (
            json!({"input": "a", "tools": [{"type": "mcp", "authorization": "canary"}]}),
            "tools",
            "An 'mcp' tool has no 'server_label', or a field of the wrong type.".to_owned(),
        ),
        (
            json!({"input": "a", "tools": [{"type": "mcp", "server_label": "dice",
                   "require_approval": "alwyas", "authorization": "canary"}]}),
            "tools",
            "The 'require_approval' of MCP server 'dice' is not valid.".to_owned(),
        ),
        (
            json!({"previous_response_id": held["id"], "tools": [tool], "input": [
                {"type": "item_reference", "id": request["id"]},
                {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": true}]}),
            "input",
            format!(
                "Duplicate item found with id {}. Remove duplicate items from your input and try again.",
                request["id"].as_str().unwrap()
            ),
        ),
        (
            json!({"input": [{"type": "item_reference", "id": request["id"]},
                             {"id": request["id"]}]}),
            "input",
            format!(
                "Duplicate item found with id {}. Remove duplicate items from your input and try again.",
                request["id"].as_str().unwrap()
            ),
        ),
        (
            json!({"tools": [tool], "input": [{"type": "mcp_approval_response",
                   "approval_request_id": "mcpr_x", "approve": true}]}),
            "input",
            "The following MCP approval requests have approval responses but weren't passed as input: mcpr_x."
                .to_owned(),
        ),
    ] {
        let Err(Error::Refused { status, error, .. }) = ask(&engine, body.clone()).await else {
            panic!("{body} was served");
        };
        assert_eq!((status, error.param.as_deref()), (400, Some(param)));
        assert_eq!(error.message, message);
    }
}

#[tokio::test]
async fn only_allowed_tools_are_listed_and_called() {
    let server = dice_server();
    let mut tool = entry(&server.url, "never");
    tool["allowed_tools"] = json!([]);
    let engine = script(json!([
        {"calls": [{"server_label": "dice_server", "name": "roll_dice", "arguments": {"n_dice": 1}}]},
        {"say": "Done."},
    ]));
    let response = answer(&engine, json!({"input": "Roll", "tools": [tool]})).await;
    assert_eq!(response["output"][0]["tools"], json!([]));
    assert_eq!(response["output"][1]["status"], "failed");
    assert_eq!(response["output"][1]["error"]["type"], "mcp_protocol_error");
    assert_eq!(output_text(&response), "Done.");
}

#[tokio::test]
async fn a_tool_that_fails_is_told_to_the_model_and_the_turn_goes_on() {
    let server = dice_server();
    let response = answer(
        &rules(),
        json!({"input": "Roll 20000 dice", "tools": [entry(&server.url, "never")]}),
    )
    .await;
    let call = &response["output"][1];
    assert_eq!(call["status"], "failed");
    assert_eq!(call["output"], Value::Null);
    assert_eq!(
        call["error"],
        json!({"type": "mcp_tool_execution_error", "content": [
            {"type": "text", "text": "n_dice must be an integer from 1 to 10000, not 20000"}]})
    );
    assert_eq!(
        output_text(&response),
        "`roll_dice` failed: n_dice must be an integer from 1 to 10000, not 20000"
    );
}

#[tokio::test]
async fn credentials_open_the_server_however_they_are_sent() {
    let (server, keys) = dice_server_with_auth(&["dice:roll"]);
    let claims = Claims {
        audience: vec!["dice-server".to_owned()],
        scopes: vec!["dice:roll".to_owned()],
        ..Claims::default()
    };
    let token = keys.token(&claims, Duration::ZERO);
    for credentials in [
        json!({"authorization": token}),
        json!({"headers": {"Authorization": format!("Bearer {token}")}}),
    ] {
        let mut tool = entry(&server.url, "never");
        tool.as_object_mut()
            .unwrap()
            .extend(credentials.as_object().unwrap().clone());
        let events = ask(&rules(), json!({"input": "Roll 5 dice", "tools": [tool]}))
            .await
            .unwrap();
        let response = &events.last().unwrap()["response"];
        assert_eq!(response["status"], "completed", "{response:#}");
        assert!(output_text(response).starts_with("You rolled 5 dice"));
        let told = serde_json::to_string(&events).unwrap();
        assert!(!told.contains(&token), "the token was told");
        assert!(told.contains("<redacted>"));
    }
}

#[tokio::test]
async fn a_server_that_gives_no_list_is_a_424_with_its_own_status() {
    let (server, keys) = dice_server_with_auth(&["dice:roll"]);
    let without_scope = keys.token(
        &Claims {
            audience: vec!["dice-server".to_owned()],
            ..Claims::default()
        },
        Duration::ZERO,
    );
    let page = || async { ([("content-type", "text/html")], "<html>") };
    let html = http_server(Router::new().route("/mcp", post(page)));
    let error = |status: u16| {
        http_server(Router::new().route(
            "/mcp",
            post(move || async move { http::StatusCode::from_u16(status).unwrap() }),
        ))
    };
    let (not_allowed, broken) = (error(405), error(503));
    let at = |url: &str| entry(&format!("{url}/mcp"), "never");
    let mut forbidden = entry(&server.url, "never");
    forbidden["authorization"] = json!(without_scope);
    for (tool, status) in [
        (entry(&server.url, "never"), "401 (Unauthorized)"),
        (forbidden, "403 (Forbidden)"),
        (
            entry(&format!("{}/x", server.url), "never"),
            "404 (Not Found)",
        ),
        (
            entry(&server.url.replace("127.0.0.1", "127.0.0.2"), "never"),
            "424 (Failed Dependency)",
        ),
        (at(&html.url), "424 (Failed Dependency)"),
        (at(&not_allowed.url), "405 (Method Not Allowed)"),
        (at(&broken.url), "503 (Service Unavailable)"),
    ] {
        let events = ask(&rules(), json!({"input": "Roll 1 die", "tools": [tool]}))
            .await
            .unwrap();
        let message = format!(
            "Error retrieving tool list from MCP server: 'dice_server'. Http status code: {status}"
        );
        assert_eq!(
            types(&events)[2..],
            [
                "response.output_item.added",
                "response.mcp_list_tools.in_progress",
                "response.mcp_list_tools.failed",
                "response.output_item.done",
                "error",
                "response.failed",
            ],
            "{status}"
        );
        assert_eq!(
            events[6]["error"],
            json!({"message": message, "type": "external_connector_error", "param": "tools",
                   "code": "http_error"})
        );
        assert_eq!(events[7]["response"]["status"], "failed");
        assert_eq!(events[7]["response"]["error"]["message"], message);
    }
}

#[tokio::test]
async fn a_list_that_was_not_there_when_another_failed_is_asked_for_again() {
    let desk = Desk::start();
    let engine = rules();
    let mut gone = entry("http://127.0.0.1:1/mcp", "never");
    gone["server_label"] = "gone".into();
    let tool = entry(&desk.url, "never");
    desk.hold_lists();
    let failed = json!({"input": "Ring the bell", "tools": [tool, gone]});
    let failed = answer(&engine, failed).await;
    assert_eq!(failed["status"], "failed");
    assert_eq!(
        failed["output"][0]["error"],
        "the list of 'gone' failed first"
    );
    desk.release();
    let next = json!({"input": "Ring the bell", "previous_response_id": failed["id"],
                      "tools": [tool]});
    let next = answer(&engine, next).await;
    assert_eq!(item_types(&next), ["mcp_list_tools", "mcp_call", "message"]);
}

#[tokio::test]
async fn the_tokens_of_an_input_are_those_that_its_response_has() {
    let engine = rules();
    let request = json!({"input": "Hi", "instructions": "x".repeat(400)});
    let response = answer(&engine, request.clone()).await;
    let request: CreateResponse = serde_json::from_value(request).unwrap();
    let counted = engine.input_tokens(request).await.unwrap();
    assert_eq!(response["usage"]["input_tokens"], counted);
}

#[tokio::test]
async fn several_servers_are_listed_each_under_its_label() {
    let (one, two) = (dice_server(), dice_server());
    let mut second = entry(&two.url, "never");
    second["server_label"] = json!("more_dice");
    let response = answer(
        &script(json!([
            {"calls": [
                {"server_label": "more_dice", "name": "roll_dice", "arguments": {"n_dice": 1}},
                {"name": "roll_dice", "arguments": {"n_dice": 2}},
            ]},
            {"say": "Both."},
        ])),
        json!({"input": "Roll", "tools": [entry(&one.url, "never"), second]}),
    )
    .await;
    let labels: Vec<&Value> = response["output"].as_array().unwrap()[..4]
        .iter()
        .map(|item| &item["server_label"])
        .collect();
    assert_eq!(
        labels,
        ["dice_server", "more_dice", "more_dice", "dice_server"]
    );
    assert_eq!(output_text(&response), "Both.");
}

#[tokio::test]
async fn calls_beyond_max_tool_calls_are_not_made() {
    let server = dice_server();
    let call = json!({"name": "roll_dice", "arguments": {"n_dice": 1}});
    let response = answer(
        &script(json!([{"calls": [call, call, call]}, {"say": "Enough."}])),
        json!({"input": "Roll", "tools": [entry(&server.url, "never")], "max_tool_calls": 1}),
    )
    .await;
    assert_eq!(item_types(&response)[1..2], ["mcp_call"]);
    assert_eq!(
        item_types(&response)
            .iter()
            .filter(|it| **it == "mcp_call")
            .count(),
        1
    );
}

#[tokio::test]
async fn when_no_call_may_be_made_a_script_does_not_go_round() {
    let server = dice_server();
    let call = json!({"name": "roll_dice", "arguments": {"n_dice": 1}});
    for limit in [json!({"max_tool_calls": 0}), json!({"tool_choice": "none"})] {
        let mut request = json!({"input": "Roll", "tools": [entry(&server.url, "never")]});
        request
            .as_object_mut()
            .unwrap()
            .extend(limit.as_object().unwrap().clone());
        let engine = script(json!([{"say": "Rolling.", "calls": [call]}, {"say": "Done."}]));
        let response = answer(&engine, request).await;
        assert_eq!(response["status"], "completed");
        let made = response["output"].as_array().unwrap().iter();
        let made = made.filter(|item| item["type"] == "mcp_call" && item["status"] == "completed");
        assert_eq!(made.count(), 0, "{limit}");
    }
}

#[tokio::test]
async fn a_list_of_tools_without_an_end_is_given_up() {
    use axum::Json;

    let endless = |circle: bool| {
        move |Json(request): Json<Value>| async move {
            let cursor = request["params"]["cursor"]
                .as_str()
                .unwrap_or("0")
                .to_owned();
            let next = cursor.parse::<u64>().unwrap() + u64::from(!circle);
            let tool = json!({"name": format!("t{cursor}"), "inputSchema": {"type": "object"}});
            let result = match request["method"].as_str().unwrap() {
                "server/discover" => {
                    return Json(json!({"jsonrpc": "2.0", "id": request["id"],
                        "error": {"code": -32601, "message": "Method not found"}}));
                }
                "initialize" => {
                    json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                    "serverInfo": {"name": "endless", "version": "1"}})
                }
                _ => json!({"tools": vec![tool; 500], "nextCursor": next.to_string()}),
            };
            Json(json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
        }
    };
    for (circle, words) in [
        (true, "`nextCursor`"),
        (false, "a list of more than 20000 tools"),
    ] {
        let server = http_server(Router::new().route("/mcp", post(endless(circle))));
        let tool = entry(&format!("{}/mcp", server.url), "never");
        let events = ask(&rules(), json!({"input": "Roll", "tools": [tool]}))
            .await
            .unwrap();
        let error = events[5]["item"]["error"].as_str().unwrap();
        assert!(error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn dropping_the_stream_cancels_the_call() {
    use std::sync::Arc;
    use tokio::sync::Notify;

    struct Told(Arc<Notify>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let (started, cancelled) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (start, cancel) = (Arc::clone(&started), Arc::clone(&cancelled));
    let slow = http_server(Router::new().route(
        "/mcp",
        post(move || {
            let told = Told(Arc::clone(&cancel));
            let start = Arc::clone(&start);
            async move {
                start.notify_one();
                std::future::pending::<()>().await;
                drop(told);
            }
        }),
    ));
    let request =
        json!({"input": "Roll 1 die", "tools": [entry(&format!("{}/mcp", slow.url), "never")]});
    let mut events = rules()
        .create_stream(serde_json::from_value(request).unwrap())
        .await
        .unwrap();
    let reading = tokio::spawn(async move { while events.next().await.is_some() {} });
    started.notified().await;
    reading.abort();
    tokio::time::timeout(Duration::from_secs(5), cancelled.notified())
        .await
        .expect("the request goes on although nobody reads the answer");
}

#[tokio::test]
async fn what_an_upstream_model_says_is_passed_on_unharmed() {
    for name in recordings(".sse") {
        let file = format!("{name}.sse");
        let api = Api::start([Answer::recorded(&file)]);
        let client = Client::new(
            &api.base_url.parse().unwrap(),
            &Secret::from(KEY.to_owned()),
            Limits::default(),
            Retries::default(),
            Box::new(|_| {}),
        );
        let model = Model::Upstream(Upstream::new(client.unwrap(), UpstreamApi::Responses));
        let engine = Engine::new(model, HashMap::new());
        let request = json!({"model": "gpt-5", "input": "Roll", "stream": true});
        let passed_on = ask(&engine, request).await.unwrap();

        let path = crate::support::fixture("recordings").join(&file);
        let recorded = std::fs::read_to_string(path).unwrap();
        let recorded: Vec<Value> = recorded
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect();
        let count = |events: &[Value], kind: &str| {
            let events = events.iter().filter(|event| event["type"] == kind);
            events.count()
        };
        // Of MCP, the engine believes itself alone.
        let recorded = without_mcp(recorded);
        let (added, done) = ("response.output_item.added", "response.output_item.done");
        assert_eq!(count(&passed_on, added), count(&passed_on, done), "{file}");
        // Where the recording leaves an item open, the engine ends it.
        if count(&recorded, added) == count(&recorded, done) {
            assert_eq!(
                passed_on.iter().map(without_ids).collect::<Vec<_>>(),
                recorded.iter().map(without_ids).collect::<Vec<_>>(),
                "{file}"
            );
        }
    }
}

/// The events of a recording without those of MCP items, numbered anew.
fn without_mcp(recorded: Vec<Value>) -> Vec<Value> {
    let is_mcp = |item: &Value| item["type"].as_str().unwrap().starts_with("mcp_");
    let mut places = HashMap::new();
    for event in &recorded {
        let is_added = event["type"] == "response.output_item.added";
        if is_added && !is_mcp(&event["item"]) {
            let place = places.len();
            places.insert(event["output_index"].as_u64().unwrap(), place);
        }
    }
    let mut kept = Vec::new();
    for mut event in recorded {
        if let Some(index) = event["output_index"].as_u64() {
            let Some(place) = places.get(&index) else {
                continue;
            };
            event["output_index"] = (*place).into();
        }
        if let Some(Value::Array(output)) = event.pointer_mut("/response/output") {
            output.retain(|item| !is_mcp(item));
        }
        event["sequence_number"] = kept.len().into();
        kept.push(event);
    }
    kept
}

/// An event without what the engine gives it: the ids of items, and the response around the
/// output, of which the types are left.
fn without_ids(event: &Value) -> Value {
    let mut event = event.clone();
    if event.get("response").is_some() {
        let output = event["response"]["output"].as_array().unwrap().iter();
        // A recorded response has its reasoning encrypted anew.
        event["response"] = output.map(|item| item["type"].clone()).collect();
    }
    if event.get("item").is_some() {
        event["item"] = item_without_id(&event["item"]);
    }
    if event.get("item_id").is_some() {
        event["item_id"].take();
    }
    event
}

fn item_without_id(item: &Value) -> Value {
    let mut item = item.clone();
    let fields = item.as_object_mut().unwrap();
    fields.remove("id");
    // A call of 2025 has no status; ours says that there is none.
    if fields.get("status") == Some(&Value::Null) {
        fields.remove("status");
    }
    item
}

/// A turn whose model calls `ring` three times in one step.
fn three_rings(desk: &Desk, parallel_tool_calls: bool) -> (Engine, Value) {
    let ring = json!({"name": "ring", "arguments": {}});
    let engine = script(json!([{"calls": [ring, ring, ring]}, {"say": "Done."}]));
    let mut entry = entry(&desk.url, "never");
    entry["server_label"] = "desk".into();
    let request = json!({"input": "Ring three times", "tools": [entry],
                         "parallel_tool_calls": parallel_tool_calls});
    (engine, request)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_of_one_step_are_made_at_once() {
    let desk = Desk::start();
    desk.hold();
    let (engine, request) = three_rings(&desk, true);

    let turn = tokio::spawn(async move { ask(&engine, request).await.unwrap() });
    tokio::task::block_in_place(|| desk.wait_for_calls(3));
    desk.release();

    let events = turn.await.unwrap();
    let response = &events.last().unwrap()["response"];
    let outputs = response["output"].as_array().unwrap();
    let outputs = outputs.iter().filter(|item| item["type"] == "mcp_call");
    assert_eq!(outputs.filter(|item| item["output"] == "Ding.").count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_parallel_tool_calls_a_call_begins_when_the_one_before_has_ended() {
    let desk = Desk::start();
    let (engine, request) = three_rings(&desk, false);

    let events = ask(&engine, request).await.unwrap();

    let of_calls = [
        "response.mcp_call.in_progress",
        "response.mcp_call.completed",
    ];
    let of_calls: Vec<&str> = types(&events)
        .into_iter()
        .filter(|it| of_calls.contains(it))
        .collect();
    let [begun, ended] = [
        "response.mcp_call.in_progress",
        "response.mcp_call.completed",
    ];
    assert_eq!(of_calls, [begun, ended, begun, ended, begun, ended]);
}

#[tokio::test]
async fn a_model_that_calls_without_end_is_stopped_after_64_steps() {
    let desk = Desk::start();
    let ring = json!({"calls": [{"name": "ring", "arguments": {}}]});
    let engine = script(vec![ring; 70].into());
    let mut entry = entry(&desk.url, "never");
    entry["server_label"] = "desk".into();

    let response = answer(&engine, json!({"input": "Ring", "tools": [entry]})).await;

    assert_eq!(response["status"], "failed");
    assert_eq!(desk.called(), 64);
}
