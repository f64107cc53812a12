//! What a request goes on from: a response, an item of one, a connection's own memory.

use mcp_cli::responses::CreateResponse;
use serde_json::{Value, json};

use super::engine::{answer, ask, entry, item_types, output_text, rules};
use crate::support::dice_server;

#[tokio::test]
async fn an_item_of_any_response_can_be_referred_to() {
    let server = dice_server();
    let engine = rules();
    let tools = json!([entry(&server.url, "always")]);
    let asked = answer(&engine, json!({"input": "Roll 2 dice", "tools": tools})).await;
    let request = &asked["output"][1];
    // As Vercel's SDK goes on: by references, and without the response that they are of.
    let approved = answer(
        &engine,
        json!({"tools": tools, "input": [
            {"role": "user", "content": "Roll 2 dice"},
            {"type": "item_reference", "id": request["id"]},
            {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": true},
        ]}),
    )
    .await;
    assert_eq!(
        item_types(&approved),
        ["mcp_list_tools", "mcp_call", "message"]
    );
    assert!(output_text(&approved).starts_with("You rolled 2 dice"));

    let unknown = json!({"input": [{"type": "item_reference", "id": "msg_none"}]});
    let refused = ask(&engine, unknown).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("Error code: 404 - Item with id 'msg_none' not found."),
        "{refused}"
    );
}

#[tokio::test]
async fn what_is_not_stored_is_remembered_by_its_connection_alone() {
    let engine = rules();
    let connection = engine.of_connection();
    let first = answer(&connection, json!({"input": "Hello", "store": false})).await;
    let next = json!({"previous_response_id": first["id"], "input": "Hello again", "store": false});
    assert_eq!(
        item_types(&answer(&connection, next.clone()).await),
        ["message"]
    );

    for elsewhere in [engine.of_connection(), engine.clone()] {
        let refused = ask(&elsewhere, next.clone()).await.unwrap_err();
        assert!(
            refused.to_string().contains("Previous response with id"),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_turn_that_fails_is_forgotten_by_its_connection_with_what_it_went_on_from() {
    let connection = rules().of_connection();
    let first = answer(&connection, json!({"input": "Hello", "store": false})).await;
    let nobody =
        json!({"type": "mcp", "server_label": "gone", "server_url": "http://127.0.0.1:1/mcp"});
    let fails = json!({"previous_response_id": first["id"], "input": "Roll", "store": false,
                       "tools": [nobody]});
    let failed = answer(&connection, fails).await;
    assert_eq!(failed["status"], "failed");
    let next = json!({"previous_response_id": first["id"], "input": "Hello again", "store": false});
    let refused = ask(&connection, next).await.unwrap_err();
    assert!(refused.to_string().contains("not found"), "{refused}");
}

#[tokio::test]
async fn a_response_can_be_made_without_an_answer_to_go_on_from() {
    let server = dice_server();
    let engine = rules();
    let tools = json!([entry(&server.url, "never")]);
    let warm = json!({"input": "You are a dealer.", "tools": tools, "generate": false});
    let warm = answer(&engine, warm).await;
    assert_eq!(item_types(&warm), ["mcp_list_tools"]);
    let next = json!({"previous_response_id": warm["id"], "input": "Roll 2 dice", "tools": tools});
    assert_eq!(
        item_types(&answer(&engine, next).await),
        ["mcp_call", "message"]
    );
}

#[tokio::test]
async fn an_input_is_kept_with_an_id_and_in_parts() {
    let engine = rules();
    let input = json!([
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Two"},
        {"type": "brand_new_item", "x": 1},
        {"type": "message", "id": "msg_mine", "role": "user",
         "content": [{"type": "input_text", "text": "Three"}]},
    ]);
    let response = answer(&engine, json!({"input": input})).await;
    let id = response["id"].as_str().unwrap();
    let record = engine.record(id, &mut engine.budget().empty()).await;
    let record = record.unwrap().unwrap();
    let kept: Vec<Value> = record.input.iter().map(|it| json!(it)).collect();
    assert!(
        kept[0]["id"].as_str().unwrap().starts_with("msg_"),
        "{kept:#?}"
    );
    assert_eq!(
        kept[0]["content"],
        json!([{"type": "input_text", "text": "One"}])
    );
    assert_eq!(kept[1]["content"][0]["type"], "output_text");
    assert_eq!(kept[2]["x"], 1);
    assert!(kept[2]["id"].is_string());
    assert_eq!(kept[3]["id"], "msg_mine");

    let none: CreateResponse =
        serde_json::from_value(json!({"input": "Hi", "store": false})).unwrap();
    let response = answer(&engine, json!(none)).await;
    let id = response["id"].as_str().unwrap();
    let record = engine.record(id, &mut engine.budget().empty()).await;
    assert!(record.unwrap().is_none());
}

#[tokio::test]
async fn what_is_stored_may_go_on_from_what_a_connection_remembers() {
    let connection = rules().of_connection();
    let first = answer(&connection, json!({"input": "One", "store": false})).await;
    let second = json!({"input": "Two", "previous_response_id": first["id"]});
    let second = answer(&connection, second).await;
    let third = json!({"input": "Three", "previous_response_id": second["id"]});
    assert_eq!(item_types(&answer(&connection, third).await), ["message"]);
}
