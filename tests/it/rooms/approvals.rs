//! Approvals: what was approved is called, and nothing else is.

use serde_json::{Value, json};

use super::engine::{answer, ask, item_types, output_text, rules, script};
use crate::support::Desk;

fn entry(desk: &Desk) -> Value {
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
