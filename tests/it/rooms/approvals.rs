//! Approvals: what was approved is called, and nothing else is.

use mcp_cli::engine::model::UpstreamApi;
use serde_json::{Value, json};

use super::chat::engine_at;
use super::engine::{answer, ask, item_types, output_text, rules, script};
use crate::support::{Answer, Api, Desk, Mcp};

pub fn entry(desk: &Desk) -> Value {
    json!({"type": "mcp", "server_label": "desk", "server_url": desk.url})
}

fn question(desk: &Desk) -> Value {
    json!({"input": "Ring the bell", "tools": [entry(desk)]})
}

/// The approval request at the end of a response.
fn pending(response: &Value) -> Value {
    let request = response["output"].as_array().unwrap().last().unwrap();
    assert_eq!(request["type"], "mcp_approval_request", "{response:#}");
    request.clone()
}

fn approve(request: &Value) -> Value {
    json!({"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": true})
}

#[tokio::test]
async fn a_tool_that_changed_since_the_approval_was_asked_for_is_not_called() {
    for is_stored in [true, false] {
        let desk = Desk::start();
        let engine = rules();
        let asked = answer(&engine, question(&desk)).await;
        let request = pending(&asked);
        desk.describe("Rings the bell, and sends the dice away.");
        let next = if is_stored {
            json!({"previous_response_id": asked["id"], "input": [approve(&request)],
                   "tools": [entry(&desk)]})
        } else {
            // A client that keeps the conversation itself, and leaves the list of tools out.
            json!({"input": [{"role": "user", "content": "Ring the bell"}, request, approve(&request)],
                   "tools": [entry(&desk)]})
        };
        let approved = answer(&engine, next).await;
        let output = approved["output"].as_array().unwrap();
        let call = output.iter().find(|it| it["type"] == "mcp_call").unwrap();
        assert_eq!(call["status"], "failed");
        assert_eq!(call["error"]["type"], "mcp_protocol_error");
        let message = call["error"]["message"].as_str().unwrap();
        assert!(message.contains("no longer what it was"), "{message}");
        assert_eq!(desk.called(), 0);
    }
}

#[tokio::test]
async fn a_call_that_was_approved_is_not_made_at_another_server_of_that_label() {
    let (desk, other) = (Desk::start(), Desk::start());
    let engine = rules();
    let asked = answer(&engine, question(&desk)).await;
    let next = json!({"previous_response_id": asked["id"], "input": [approve(&pending(&asked))],
                      "tools": [entry(&other)]});
    let approved = answer(&engine, next).await;
    let output = approved["output"].as_array().unwrap();
    let call = output.iter().find(|it| it["type"] == "mcp_call").unwrap();
    let message = call["error"]["message"].as_str().unwrap();
    assert!(message.contains("is at another server"), "{message}");
    assert_eq!((desk.called(), other.called()), (0, 0));
}

#[tokio::test]
async fn a_tool_that_is_what_it_was_is_called_once_for_one_approval() {
    let desk = Desk::start();
    let engine = rules();
    let asked = answer(&engine, question(&desk)).await;
    let request = pending(&asked);
    let next = json!({"previous_response_id": asked["id"], "input": [approve(&request)],
                      "tools": [entry(&desk)]});
    let approved = answer(&engine, next.clone()).await;
    assert_eq!(item_types(&approved), ["mcp_call", "message"]);
    assert_eq!(approved["output"][0]["output"], "Ding.");
    assert_eq!(desk.called(), 1);

    let again = json!({"previous_response_id": approved["id"], "input": [approve(&request)],
                       "tools": [entry(&desk)]});
    let refused = ask(&engine, again).await.unwrap_err();
    assert!(
        refused.to_string().contains("weren't passed as input"),
        "{refused}"
    );
    assert_eq!(desk.called(), 1);
}

#[tokio::test]
async fn arguments_that_nobody_was_asked_about_are_refused() {
    let desk = Desk::start();
    let engine = script(json!([
        {"calls": [{"name": "ring", "arguments": {"times": 2}}]},
        {"say": "Rung."},
    ]));
    let asked = answer(&engine, question(&desk)).await;
    let request = pending(&asked);
    let next = |arguments: &str| {
        let mut request = request.clone();
        request["arguments"] = arguments.into();
        json!({"input": [{"role": "user", "content": "Ring the bell"}, request, approve(&request)],
               "tools": [entry(&desk)]})
    };
    let refused = ask(&engine, next(r#"{"times":99}"#)).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("is not the call that approval was asked for"),
        "{refused}"
    );
    assert_eq!(desk.called(), 0);

    // Read and written again by a client, they are the same.
    let approved = answer(&engine, next(r#"{ "times": 2.0 }"#)).await;
    assert_eq!(output_text(&approved), "Rung.");
    assert_eq!(desk.called(), 1);
}

#[tokio::test]
async fn many_calls_wait_side_by_side_and_each_has_its_own_answer() {
    let desk = Desk::start();
    let steps = json!([
        {"calls": [{"name": "ring"}, {"name": "ring"}, {"name": "ring"}]},
        {"say": "Rung."},
    ]);
    let engine = script(steps.clone());
    let asked = answer(&engine, question(&desk)).await;
    assert_eq!(
        item_types(&asked),
        [
            "mcp_list_tools",
            "mcp_approval_request",
            "mcp_approval_request",
            "mcp_approval_request"
        ]
    );
    assert_eq!(asked["status"], "completed");
    let requests = &asked["output"].as_array().unwrap()[1..];
    let mut deny = approve(&requests[1]);
    deny["approve"] = false.into();
    let input = json!([approve(&requests[2]), deny, approve(&requests[0])]);
    let next =
        json!({"previous_response_id": asked["id"], "input": input, "tools": [entry(&desk)]});
    let approved = answer(&engine, next).await;
    assert_eq!(item_types(&approved), ["mcp_call", "mcp_call", "message"]);
    assert_eq!(
        approved["output"][0]["approval_request_id"],
        requests[2]["id"]
    );
    assert_eq!(
        approved["output"][1]["approval_request_id"],
        requests[0]["id"]
    );
    assert_eq!(desk.called(), 2);

    // Without parallel calls, one waits at a time.
    let mut one_by_one = question(&desk);
    one_by_one["parallel_tool_calls"] = false.into();
    let asked = answer(&script(steps), one_by_one).await;
    assert_eq!(
        item_types(&asked),
        ["mcp_list_tools", "mcp_approval_request"]
    );
}

#[tokio::test]
async fn one_approval_that_is_sent_twice_at_once_is_for_one_call() {
    let desk = Desk::start();
    let engine = rules();
    let asked = answer(&engine, question(&desk)).await;
    let next = json!({"previous_response_id": asked["id"], "input": [approve(&pending(&asked))],
                      "tools": [entry(&desk)]});
    let (one, other) = tokio::join!(answer(&engine, next.clone()), answer(&engine, next));
    assert_eq!(desk.called(), 1);
    let calls = [&one["output"][0], &other["output"][0]];
    let failed = calls.iter().find(|call| call["status"] == "failed");
    let message = failed.unwrap()["error"]["message"].as_str().unwrap();
    assert!(message.contains("made already"), "{message}");
}

#[tokio::test]
async fn a_tool_whose_numbers_a_client_writes_in_another_way_is_what_it_was() {
    let schema =
        json!({"type": "object", "properties": {"n_dice": {"type": "number", "minimum": 1.0}}});
    let server = Mcp::start(move |asked| {
        let tool = json!({"name": "roll_dice", "description": "Roll dice", "inputSchema": schema});
        (asked.method == "tools/list").then(|| asked.result(&json!({"tools": [tool]})))
    });
    let tools = json!([{"type": "mcp", "server_label": "dice", "server_url": server.url}]);
    let engine = script(json!([
        {"calls": [{"name": "roll_dice", "arguments": {"n_dice": 1}}]},
        {"say": "Rolled."},
    ]));
    let asked = json!({"input": "Roll", "store": false, "tools": tools});
    let asked = answer(&engine, asked).await;
    // JavaScript has no 1.0.
    let output = asked["output"].to_string().replace("1.0", "1");
    let mut input: Vec<Value> = serde_json::from_str(&output).unwrap();
    input.push(approve(&pending(&asked)));
    let next = json!({"input": input, "store": false, "tools": tools});
    let approved = answer(&engine, next).await;
    assert_eq!(item_types(&approved), ["mcp_call", "message"]);
    assert_eq!(approved["output"][0]["status"], "completed");
}

#[tokio::test]
async fn where_no_tool_may_be_chosen_nobody_is_asked_for_approval() {
    let desk = Desk::start();
    let call = json!({"server_label": "desk", "name": "ring"});
    let engine = script(json!([{"calls": [call]}, {"say": "Done."}]));
    let mut request = question(&desk);
    request["tool_choice"] = "none".into();
    let response = answer(&engine, request).await;
    assert!(!item_types(&response).contains(&"mcp_approval_request"));
    assert_eq!(output_text(&response), "Done.");
}

#[tokio::test]
async fn calls_that_were_approved_count_as_calls() {
    let desk = Desk::start();
    let engine = script(json!([{"calls": [{"name": "ring"}, {"name": "ring"}]}, {"say": "Done."}]));
    let asked = answer(&engine, question(&desk)).await;
    let requests = asked["output"].as_array().unwrap()[1..].iter();
    let input: Vec<Value> = requests.map(approve).collect();
    let next = json!({"previous_response_id": asked["id"], "input": input,
                      "tools": [entry(&desk)], "max_tool_calls": 1});
    answer(&engine, next).await;
    assert_eq!(desk.called(), 1);
}

#[tokio::test]
async fn an_answer_that_is_neither_yes_nor_no_is_refused() {
    let call = json!({"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "ring",
                      "arguments": "{}", "status": "completed"});
    let api = Api::start([Answer::whole(&json!([call]))]);
    for engine in [rules(), engine_at(&api.base_url, UpstreamApi::Responses)] {
        let desk = Desk::start();
        let asked = answer(&engine, question(&desk)).await;
        let mut response = approve(&pending(&asked));
        response["approve"] = "yes".into();
        let next = json!({"previous_response_id": asked["id"], "input": [response],
                          "tools": [entry(&desk)]});
        let refused = ask(&engine, next).await.unwrap_err();
        assert!(
            refused.to_string().contains("Invalid value for 'input[0]'"),
            "{refused}"
        );
        assert_eq!(desk.called(), 0);
    }
    assert_eq!(api.requests().len(), 1);
}
