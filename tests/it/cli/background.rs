//! Responses in the background: whether or not anybody reads them, they are made, and end.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::gateway::{ring, with};
use crate::support::{Desk, Gateway};

/// A bell that rings in the background, without approval.
fn ring_in_background(desk: &Desk) -> Value {
    with(ring(desk), "background", json!(true))
}

/// The path of a response below `/v1`, and what follows it.
fn path(response: &Value, rest: &str) -> String {
    format!("/responses/{}{rest}", response["id"].as_str().unwrap())
}

/// A folder, and the path of a store in it.
fn store() -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("responses.redb");
    let file = file.to_str().unwrap().to_owned();
    (folder, file)
}

/// Asks for the bell, and returns the request that approves it, in the background.
fn approved_in_background(gateway: &Gateway, desk: &Desk) -> Value {
    let mut question = ring(desk);
    question["tools"][0]["require_approval"] = "always".into();
    let asked = gateway.create(&question);
    let request = asked["output"].as_array().unwrap().last().unwrap();
    let response = json!({"type": "mcp_approval_response", "approve": true,
                          "approval_request_id": request["id"]});
    json!({"previous_response_id": asked["id"], "input": [response], "background": true,
           "tools": question["tools"]})
}

#[test]
fn a_response_is_made_and_read_whenever_one_likes() {
    let desk = Desk::start();
    let gateway = Gateway::start(&[]);
    desk.hold();
    let queued = gateway.create(&with(ring(&desk), "background", json!(true)));
    assert_eq!(
        (&queued["status"], &queued["background"]),
        (&json!("queued"), &json!(true))
    );
    desk.wait_for_call();
    let running = gateway.retrieve(&queued["id"]);
    assert_eq!(running["status"], "in_progress");
    assert_eq!(running["output"][1]["status"], "in_progress");

    let mut events = gateway.stream_again(&queued["id"], 1);
    assert_eq!(events.next().unwrap()["type"], "response.in_progress");
    desk.release();
    let completed = events.until("response.completed");
    assert_eq!(gateway.retrieve(&queued["id"]), completed["response"]);
    let last = completed["sequence_number"].as_u64().unwrap();
    assert_eq!(gateway.stream_again(&queued["id"], last).count(), 0);
    // Cancelled too late, it stays what it is.
    let path = format!("/responses/{}/cancel", queued["id"].as_str().unwrap());
    assert_eq!(
        gateway.post(&path, &json!({})).json()["status"],
        "completed"
    );
}

#[test]
fn a_response_can_be_cancelled_and_a_client_may_leave() {
    let desk = Desk::start();
    let gateway = Gateway::start(&[]);
    desk.hold();
    let request = with(
        with(ring(&desk), "background", json!(true)),
        "stream",
        json!(true),
    );
    let mut events = gateway.stream(&request);
    let id = events.next().unwrap()["response"]["id"].clone();
    assert_eq!(events.next().unwrap()["type"], "response.queued");
    drop(events);
    desk.wait_for_call();

    let path = format!("/responses/{}/cancel", id.as_str().unwrap());
    let cancelled = gateway.send("POST", &path).json();
    assert_eq!(cancelled["status"], "cancelled");
    desk.wait_for_leaving();
    assert_eq!(gateway.retrieve(&id)["status"], "cancelled");

    let whole = gateway.create(&json!({"input": "Hi"}));
    let path = format!("/responses/{}/cancel", whole["id"].as_str().unwrap());
    let refused = gateway.send("POST", &path).json();
    assert_eq!(
        refused["error"]["message"],
        "Cannot cancel a synchronous response."
    );
    assert_eq!(gateway.stream_refused(&whole["id"]), 400);
}

#[test]
fn nothing_goes_on_from_a_response_that_is_not_done() {
    let desk = Desk::start();
    let gateway = Gateway::start(&[]);
    let approved = approved_in_background(&gateway, &desk);
    desk.hold();
    let running = gateway.create(&approved);
    desk.wait_for_call();
    let next = json!({"previous_response_id": running["id"], "input": "And?",
                      "tools": approved["tools"]});
    let refused = gateway.post("/responses", &next);
    assert_eq!(refused.status(), 400);
    let error = &refused.json()["error"];
    assert_eq!(error["param"], "previous_response_id");
    let message = error["message"].as_str().unwrap();
    assert!(message.ends_with(" is not done."), "{message}");

    desk.release();
    let mut events = gateway.stream_again(&running["id"], 0);
    events.until("response.completed");
    gateway.create(&next);
    assert_eq!(desk.called(), 1);
}

#[test]
fn a_call_that_was_made_when_the_gateway_was_killed_is_not_made_again() {
    let desk = Desk::start();
    let (_folder, file) = store();
    let gateway = Gateway::start(&["--store", &file]);
    let approved = approved_in_background(&gateway, &desk);
    desk.hold();
    let running = gateway.create(&approved);
    desk.wait_for_call();
    drop(gateway);
    desk.release();

    let gateway = Gateway::start(&["--store", &file]);
    assert_eq!(gateway.retrieve(&running["id"])["status"], "failed");
    let next = json!({"previous_response_id": running["id"], "input": "And?",
                      "tools": approved["tools"]});
    gateway.create(&next);
    assert_eq!(desk.called(), 1);
}

#[test]
fn the_query_of_a_servers_url_is_not_kept() {
    let desk = Desk::start();
    let gateway = Gateway::start(&[]);
    let mut request = ring(&desk);
    request["tools"][0]["server_url"] = format!("{}?key=canary", desk.url).into();
    let whole = gateway.create(&request);
    let queued = gateway.create(&with(request, "background", json!(true)));
    let mut events = gateway.stream_again(&queued["id"], 0);
    events.until("response.completed");
    for response in [whole, queued] {
        let kept = gateway.retrieve(&response["id"]).to_string();
        assert!(!kept.contains("canary"), "{kept}");
    }
}

#[test]
fn a_response_that_is_deleted_while_it_is_made_does_not_come_back() {
    let (_folder, file) = store();
    for args in [&[][..], &["--store", &file][..]] {
        let desk = Desk::start();
        let gateway = Gateway::start(args);
        desk.hold();
        let mut deleted = Vec::new();
        for number in 0..20 {
            let queued = gateway.create(&ring_in_background(&desk));
            // Some are deleted in the middle of a call, some as soon as they are there.
            if number % 2 == 0 {
                let mut events = gateway.stream_again(&queued["id"], 0);
                events.until("response.mcp_call.in_progress");
                let input = gateway.send("GET", &path(&queued, "/input_items"));
                assert_eq!(input.status(), 200, "{}", input.text);
            }
            let reply = gateway.send("DELETE", &path(&queued, ""));
            assert_eq!(reply.status(), 200, "{}", reply.text);
            deleted.push(queued);
        }
        let is_gone = |gateway: &Gateway| {
            for response in &deleted {
                let reply = gateway.send("GET", &path(response, ""));
                assert_eq!(reply.status(), 404, "{}", reply.text);
            }
        };
        is_gone(&gateway);
        if !args.is_empty() {
            // A gateway that has ended has written all that it ever will.
            assert_eq!(gateway.serving.terminate().0, Some(0));
            is_gone(&Gateway::start(args));
        }
    }
}

#[test]
fn a_list_that_was_not_there_at_the_cancellation_is_asked_for_again() {
    let desk = Desk::start();
    let gateway = Gateway::start(&[]);
    desk.hold_lists();
    let queued = gateway.create(&ring_in_background(&desk));
    desk.wait_for_list();
    let cancelled = gateway.send("POST", &path(&queued, "/cancel")).json();
    assert_eq!(cancelled["status"], "cancelled");
    desk.release();
    let next = with(ring(&desk), "previous_response_id", queued["id"].clone());
    let next = gateway.create(&next);
    assert_eq!(next["output"][0]["type"], "mcp_list_tools");
    assert_eq!(next["output"][1]["output"], "Ding.");
}

#[test]
fn a_response_that_is_being_made_when_the_gateway_stops_is_cancelled() {
    let desk = Desk::start();
    let (_folder, file) = store();
    let gateway = Gateway::start(&["--store", &file]);
    desk.hold();
    let queued = gateway.create(&ring_in_background(&desk));
    desk.wait_for_call();
    assert_eq!(gateway.serving.terminate().0, Some(0));
    desk.wait_for_leaving();

    let gateway = Gateway::start(&["--store", &file]);
    let cancelled = gateway.retrieve(&queued["id"]);
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(cancelled["output"][1]["status"], "incomplete");
}

#[test]
fn an_item_of_nowhere_does_not_keep_a_response_from_its_end() {
    let item = json!({"type": "message", "id": "msg_1", "role": "assistant",
                      "status": "in_progress", "content": []});
    let event = json!({"type": "response.output_item.added", "item": item,
                       "output_index": 1_000_000_000_000_000_000_u64});
    let gateway = Gateway::playing(&json!([{"event": event, "say": "Done."}]));
    let queued = gateway.create(&json!({"input": "Hi", "background": true}));
    let mut events = gateway.stream_again(&queued["id"], 0);
    events.until("response.completed");
    let completed = gateway.retrieve(&queued["id"]);
    assert_eq!(completed["output"][0]["content"][0]["text"], "Done.");
}

#[test]
fn more_responses_at_once_than_there_is_room_for_are_told_to_come_again() {
    let desk = Desk::start();
    let gateway = Gateway::start(&[]);
    desk.hold();
    let request = ring_in_background(&desk);
    let (mut begun, mut refused) = (Vec::new(), 0);
    for _ in 0..200 {
        let reply = gateway.post("/responses", &request);
        match reply.status() {
            200 => begun.push(reply.json()),
            429 => {
                assert_eq!(reply.json()["error"]["code"], "rate_limit_exceeded");
                refused += 1;
            }
            _ => panic!("{}", reply.text),
        }
    }
    assert_eq!((begun.len(), refused), (128, 72));
    desk.release();
    for queued in &begun {
        let mut events = gateway.stream_again(&queued["id"], 0);
        events.until("response.completed");
    }
    // There is room again.
    gateway.create(&request);
}
