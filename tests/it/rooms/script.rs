use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use mcp_cli::engine::Engine;
use mcp_cli::engine::model::{Model, Script};
use mcp_cli::responses::{CreateResponse, Error, EventStream, read_to_end};
use serde_json::{Value, json};

use crate::support::{assert_is_event, assert_is_response, dice_server};

fn engine(steps: Value) -> Engine {
    let script: Script = serde_json::from_value(steps).unwrap();
    Engine::new(Model::Script(script), HashMap::new())
}

async fn stream(engine: &Engine, request: Value) -> EventStream {
    let request: CreateResponse = serde_json::from_value(request).unwrap();
    engine.create_stream(request).await.unwrap()
}

/// The events of an answer, which are numbered without a gap, and the error that it broke off with.
async fn play(engine: &Engine, request: Value) -> (Vec<Value>, Option<Error>) {
    let mut told = Vec::new();
    let mut broke_off = None;
    let mut events = stream(engine, request).await;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => told.push(Value::Object(event.into_data())),
            Err(error) => broke_off = Some(error),
        }
    }
    for (number, event) in told.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
        if !event.to_string().contains("brand_new") {
            assert_is_event(event);
        }
    }
    (told, broke_off)
}

/// The events of a whole answer, between the two that it begins with and the one that it ends with.
async fn told(engine: &Engine, request: Value) -> Vec<Value> {
    let (mut events, broke_off) = play(engine, request).await;
    assert!(broke_off.is_none());
    assert_eq!(types(&events[..2]), ["created", "in_progress"]);
    assert_eq!(types(&[events.pop().unwrap()]), ["completed"]);
    events.split_off(2)
}

fn types(events: &[Value]) -> Vec<&str> {
    let types = events.iter().map(|event| event["type"].as_str().unwrap());
    types.map(|it| it.trim_start_matches("response.")).collect()
}

const MESSAGE_BEGINS: [&str; 2] = ["output_item.added", "content_part.added"];
const MESSAGE_ENDS: [&str; 3] = ["output_text.done", "content_part.done", "output_item.done"];

#[tokio::test]
async fn a_text_comes_in_the_pieces_and_at_the_times_of_the_script() {
    let step = json!({"delay": "200ms", "say": ["Roll", "", "ing."], "pause": "40ms"});
    let begun = Instant::now();
    let mut events = stream(&engine(json!([step])), json!({"input": "Go"})).await;
    let mut times = HashMap::new();
    let mut told = Vec::new();
    while let Some(event) = events.next().await {
        let event = event.unwrap().into_data();
        let kind = event["type"].as_str().unwrap().to_owned();
        times.insert(kind, begun.elapsed());
        told.push(Value::Object(event));
    }
    let kinds = types(&told);
    let delta = "output_text.delta";
    assert_eq!(kinds[2..4], MESSAGE_BEGINS);
    assert_eq!(kinds[4..7], [delta; 3]);
    assert_eq!(kinds[7..10], MESSAGE_ENDS);
    assert_eq!(told[6]["delta"], "ing.");
    assert_eq!(told[7]["text"], "Rolling.");
    assert_eq!(
        told[10]["response"]["output"][0]["content"][0]["text"],
        "Rolling."
    );
    let waited = times["response.output_item.added"] - times["response.in_progress"];
    assert!(waited > Duration::from_millis(100), "{waited:?}");
    assert!(times["response.output_text.delta"] >= Duration::from_millis(280));
}

#[tokio::test]
async fn events_and_items_that_no_client_knows_stand_between_those_that_it_knows() {
    let engine = engine(json!([{
        "event": {"type": "response.brand_new", "more": [1]},
        "item": {"type": "brand_new_item", "x": {"y": 1}},
        "say": "Hello.",
    }]));
    let events = told(&engine, json!({"input": "Go"})).await;
    assert_eq!(
        types(&events)[..4],
        [
            "brand_new",
            "output_item.added",
            "output_item.done",
            "output_item.added"
        ]
    );
    assert_eq!(
        events[0].to_string(),
        r#"{"type":"response.brand_new","sequence_number":2,"more":[1]}"#
    );
    let (added, done) = (&events[1]["item"], &events[2]["item"]);
    assert_eq!(added, done);
    assert_eq!(done["x"], json!({"y": 1}));
    assert!(done["id"].as_str().unwrap().starts_with("item_"));
    assert_eq!(events[3]["output_index"], 1);
}

#[tokio::test]
async fn a_function_of_the_client_is_called_and_its_output_leads_to_the_next_step() {
    let engine = engine(json!([
        {"item": {"type": "function_call", "name": "get_weather", "arguments": "{\"at\":\"here\"}"}},
        {"say": "It rains."},
    ]));
    let events = told(&engine, json!({"input": "Weather?"})).await;
    assert_eq!(
        types(&events),
        [
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done"
        ]
    );
    assert_eq!(events[0]["item"]["arguments"], "");
    assert_eq!(events[1]["delta"], events[2]["arguments"]);
    let call = &events[3]["item"];
    assert_eq!(call["arguments"], r#"{"at":"here"}"#);
    assert_eq!(call["status"], "completed");
    assert_eq!(events[1]["item_id"], call["id"]);

    let output =
        json!({"type": "function_call_output", "call_id": call["call_id"], "output": "Rain"});
    let input = json!([{"role": "user", "content": "Weather?"}, call, output]);
    let events = told(&engine, json!({"input": input})).await;
    assert_eq!(events[2]["delta"], "It rains.");
}

#[tokio::test]
async fn reasoning_is_told_with_and_without_a_summary() {
    let engine = engine(json!([{"reasoning": "Hm.", "say": "A."}, {"reasoning": "", "say": "B."}]));
    let events = told(&engine, json!({"input": "Go"})).await;
    let (added, done) = ("output_item.added", "output_item.done");
    let parts = ["part.added", "text.delta", "text.done", "part.done"];
    let parts = parts.map(|it| format!("reasoning_summary_{it}"));
    assert_eq!(types(&events)[0], added);
    assert_eq!(types(&events)[1..5], parts);
    assert_eq!(types(&events)[5], done);
    let summary = json!([{"type": "summary_text", "text": "Hm."}]);
    assert_eq!(events[5]["item"]["summary"], summary);

    let input = json!([{"role": "assistant", "content": "A."}]);
    let events = told(&engine, json!({"input": input})).await;
    assert_eq!(types(&events)[..2], [added, done]);
    assert_eq!(events[1]["item"]["summary"], json!([]));
}

#[tokio::test]
async fn a_failure_comes_in_the_middle_of_what_is_said_and_each_time_again() {
    let engine = engine(json!([
        {"say": ["I ca"], "fail": {"code": "server_error", "message": "Out of luck."}},
    ]));
    for _ in 0..2 {
        let (events, _) = play(&engine, json!({"input": "Go"})).await;
        assert_eq!(
            types(&events)[2..],
            [
                &MESSAGE_BEGINS[..],
                &["output_text.delta", "error", "failed"]
            ]
            .concat()
        );
        assert_eq!(events[5]["error"]["message"], "Out of luck.");
        let response = &events[6]["response"];
        assert_is_response(response);
        assert_eq!(
            response["error"],
            json!({"code": "server_error", "message": "Out of luck."})
        );
    }
}

#[tokio::test]
async fn a_refusal_comes_before_any_event_and_has_its_status() {
    let engine = engine(json!([{"delay": "5ms", "refuse": {
        "status": 429, "message": "Slow down.", "type": "requests", "code": "rate_limit_exceeded"}}]));
    let (events, broke_off) = play(&engine, json!({"input": "Go"})).await;
    assert!(events.is_empty());
    let Some(Error::Refused { status, error, .. }) = broke_off else {
        panic!("not refused: {broke_off:?}");
    };
    assert_eq!(status, 429);
    assert_eq!(error.message, "Slow down.");
    assert_eq!(error.kind.as_deref(), Some("requests"));
    assert_eq!(error.code.as_deref(), Some("rate_limit_exceeded"));
}

#[tokio::test]
async fn an_answer_that_is_incomplete_says_why_and_can_be_gone_on_with() {
    let engine = engine(json!([
        {"say": "Once upon a", "incomplete": "max_output_tokens"},
        {"say": "time."},
    ]));
    let (events, _) = play(&engine, json!({"input": "Go"})).await;
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    assert_is_response(&last["response"]);
    let reason = json!({"reason": "max_output_tokens"});
    assert_eq!(last["response"]["incomplete_details"], reason);
    assert_eq!(last["response"]["output"][0]["status"], "incomplete");

    let id = &last["response"]["id"];
    let events = told(
        &engine,
        json!({"input": "Go on", "previous_response_id": id}),
    )
    .await;
    assert_eq!(events[2]["delta"], "time.");
}

#[tokio::test]
async fn a_stream_that_is_cut_has_no_last_event() {
    let engine = engine(json!([{"say": ["It ra"], "cut": true}]));
    let (events, broke_off) = play(&engine, json!({"input": "Go"})).await;
    assert_eq!(types(&events).last(), Some(&"output_text.delta"));
    assert!(broke_off.is_none());

    let events = stream(&engine, json!({"input": "Go"})).await;
    let ended = read_to_end(events, |_| Ok::<(), Error>(())).await;
    assert!(matches!(ended, Err(Error::Truncated)), "{ended:?}");
}

#[tokio::test]
async fn arguments_that_are_no_object_reach_no_server_and_the_script_goes_on() {
    let server = dice_server();
    let engine = engine(json!([
        {"calls": [{"name": "roll_dice", "arguments": "{\"n_dice\": "},
                   {"name": "roll_dice", "arguments": "{\"n_dice\": 1}"}]},
        {"say": "Well."},
    ]));
    let tool = json!({"type": "mcp", "server_label": "dice_server", "server_url": server.url,
                      "require_approval": "never"});
    let (events, _) = play(&engine, json!({"input": "Go", "tools": [tool]})).await;
    let output = &events.last().unwrap()["response"]["output"];
    assert_eq!(output[1]["arguments"], r#"{"n_dice": "#);
    assert_eq!(output[1]["error"]["type"], "mcp_protocol_error");
    assert_eq!(output[2]["status"], "completed");
    assert_eq!(output[3]["content"][0]["text"], "Well.");
}

#[tokio::test]
async fn a_script_without_steps_says_nothing() {
    let nothing = told(&engine(json!([])), json!({"input": "Go"})).await;
    assert!(nothing.is_empty());
}
