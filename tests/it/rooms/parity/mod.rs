//! Parity: what the engine answers to a recorded request is what OpenAI was recorded to answer.

mod comparison;
mod differences;
mod recording;
mod server;

use std::collections::HashMap;

use futures::StreamExt;
use mcp_cli::engine::Engine;
use mcp_cli::engine::model::{Model, Script};
use mcp_cli::responses::CreateResponse;
use serde_json::{Value, json};

use comparison::{Side, Used, compared, first_difference};
use differences::DIFFERENCES;
use recording::{Turn, conversations, whole};
use server::Recorded;

use crate::support::{Server, assert_is_event, assert_is_response};

#[tokio::test]
async fn every_recorded_request_is_answered_as_openai_answered_it() {
    let mut used = Used::new();
    let mut complaints = Vec::new();
    for turns in conversations() {
        let servers: HashMap<&str, Server> = turns[0]
            .entries()
            .iter()
            .map(|entry| (label(entry), Recorded::new(&turns, entry).start()))
            .collect();
        let steps: Vec<Value> = turns.iter().flat_map(Turn::script).collect();
        let script: Script = serde_json::from_value(json!(steps)).unwrap();
        let engine = Engine::new(Model::Script(script), HashMap::new());
        let mut before = None;
        for turn in &turns {
            let request = request(turn, &servers, before.as_ref());
            let ours = answer(&engine, &request, turn.is_stream).await;
            before = Some(ours.last().unwrap()["response"].clone());
            let ours = compared(turn, Side::Ours, ours, &mut used);
            let recorded = with_urls(turn, &request);
            let recorded = compared(turn, Side::Recorded, recorded, &mut used);
            let difference = first_difference(&ours, &recorded);
            complaints.extend(difference.map(|it| format!("{}: {it}", turn.name)));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
    let rows = DIFFERENCES.iter().enumerate();
    let keys = rows.flat_map(|(row, difference)| difference.at.iter().map(move |at| (row, *at)));
    let unmet: Vec<String> = keys
        .filter(|(row, at)| !used.contains(&(*row, (*at).to_owned())))
        .map(|(row, at)| format!("{at}: {}", DIFFERENCES[row].why))
        .collect();
    assert!(unmet.is_empty(), "no recording differs so: {unmet:#?}");
}

fn label(entry: &Value) -> &str {
    entry["server_label"].as_str().unwrap()
}

/// The recorded request, to the server that stands in, about the answer that we gave before.
fn request(turn: &Turn, servers: &HashMap<&str, Server>, before: Option<&Value>) -> Value {
    let mut request = turn.request.clone();
    for entry in request["tools"].as_array_mut().unwrap() {
        entry["server_url"] = json!(format!("{}/mcp", servers[label(entry)].url));
        entry.as_object_mut().unwrap().shift_remove("connector_id");
    }
    if request.get("previous_response_id").is_some() {
        let before = before.unwrap();
        request["previous_response_id"] = before["id"].clone();
        let asked = before["output"].as_array().unwrap().last().unwrap();
        request["input"][0]["approval_request_id"] = asked["id"].clone();
    }
    request
}

/// What the engine answers, in the form of [`Turn::events`].
async fn answer(engine: &Engine, request: &Value, is_stream: bool) -> Vec<Value> {
    let request: CreateResponse = serde_json::from_value(request.clone()).unwrap();
    let events = engine.create_stream(request).await.unwrap();
    let mut events: Vec<Value> = events
        .map(|event| Value::Object(event.unwrap().into_data()))
        .collect()
        .await;
    for (number, event) in events.iter().enumerate() {
        assert_is_event(event);
        assert_eq!(event["sequence_number"], number);
    }
    let response = &events.last().unwrap()["response"];
    assert_is_response(response);
    if !is_stream {
        events = vec![whole(response)];
    }
    events
}

/// The recorded events, with the URLs that we asked for where those were echoed whole.
fn with_urls(turn: &Turn, request: &Value) -> Vec<Value> {
    let mut events = turn.events.clone();
    let asked = |request: &Value| request["tools"].as_array().unwrap().clone();
    let (theirs, ours) = (asked(&turn.request), asked(request));
    for event in &mut events {
        let echoes = event
            .pointer_mut("/response/tools")
            .and_then(Value::as_array_mut);
        let entries = theirs.iter().zip(&ours);
        for (echo, (theirs, ours)) in echoes.into_iter().flatten().zip(entries) {
            if echo["server_url"] == theirs["server_url"] {
                echo["server_url"] = ours["server_url"].clone();
            }
        }
    }
    events
}
