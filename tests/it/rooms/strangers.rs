//! An upstream that sends what no model does: what it brings is bounded, and what it says of others is
//! passed over.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::post;
use mcp_cli::budget::Budget;
use mcp_cli::engine::Engine;
use mcp_cli::engine::model::UpstreamApi;
use mcp_cli::responses::{Error, Limits};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::chat::{answer, ask, engine_within};
use super::engine::item_types;
use crate::support::{Answer, Api, Server, chunk, http_server, streamed_chunks};

fn upstream(api: &Api) -> Engine {
    engine_within(Limits::default(), &api.base_url, UpstreamApi::Responses)
}

fn message(role: &str, id: &str) -> Value {
    let part = json!({"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []});
    json!({"type": "message", "id": id, "role": role, "status": "completed", "content": [part]})
}

fn reasoning(id: &str) -> Value {
    json!({"type": "reasoning", "id": id, "summary": [], "encrypted_content": "thoughts"})
}

fn call(name: &str, id: &str) -> Value {
    json!({"type": "function_call", "id": id, "call_id": "call_1", "name": name,
           "arguments": "{}", "status": "completed"})
}

fn own_function() -> Value {
    json!({"type": "function", "name": "own",
           "parameters": {"type": "object", "properties": {}}})
}

fn request() -> Value {
    json!({"model": "m", "input": "Hi", "stream": true, "tools": [own_function()]})
}

fn frames(events: &[Value]) -> String {
    events.iter().map(|it| format!("data: {it}\n\n")).collect()
}

fn sse(events: &[Value]) -> Answer {
    Answer::raw(200, "text/event-stream", &frames(events))
}

fn about_item(kind: &str, index: u64, item: &Value) -> Value {
    json!({"type": format!("response.output_item.{kind}"), "output_index": index, "item": item})
}

fn added(index: u64, item: &Value) -> Value {
    about_item("added", index, item)
}

fn done(index: u64, item: &Value) -> Value {
    about_item("done", index, item)
}

fn ended(status: &str, output: &[&Value]) -> Value {
    json!({"type": format!("response.{status}"),
           "response": {"object": "response", "status": status, "output": output}})
}

/// The items that a response may not get from its upstream.
fn not_of_a_model() -> Vec<Value> {
    let mut without_a_type = message("assistant", "msg_n");
    without_a_type.as_object_mut().unwrap().remove("type");
    vec![
        message("system", "msg_s"),
        message("user", "msg_t"),
        message("developer", "msg_d"),
        without_a_type,
        json!({"type": "function_call_output", "id": "fco_1", "call_id": "call_1", "output": "1"}),
        json!({"type": "shell_call_output", "id": "sho_1", "call_id": "call_1", "output": []}),
        json!({"type": "item_reference", "id": "msg_1"}),
        json!({"type": "mcp_brand_new_call", "id": "mcp_1"}),
        json!({"id": "rs_1"}),
    ]
}

#[tokio::test]
async fn what_only_a_client_says_is_not_taken_from_an_upstream() {
    let foreign = not_of_a_model();
    let said = message("assistant", "msg_a");
    let mut streamed = Vec::new();
    for (index, item) in foreign.iter().enumerate() {
        let index = index as u64;
        let delta = json!({"type": "response.output_text.delta", "output_index": index,
                           "item_id": "x", "content_index": 0, "delta": "no", "logprobs": []});
        streamed.extend([added(index, item), delta, done(index, item)]);
    }
    streamed.extend([done(100, &said), ended("completed", &[])]);
    let whole = Value::Array(foreign.into_iter().chain([said.clone()]).collect());
    let api = Api::start([
        sse(&streamed),
        Answer::whole(&whole),
        Answer::whole(&json!([said])),
    ]);
    let engine = upstream(&api);
    let mut next = request();
    for _ in 0..2 {
        let response = answer(&engine, next.clone()).await;
        assert_eq!(item_types(&response), ["message"]);
        next["previous_response_id"] = response["id"].clone();
    }
    answer(&engine, next).await;
    let sent = api.requests()[2]["input"].clone();
    let roles: Vec<&Value> = sent
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["role"])
        .collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant", "user"]);
}

#[tokio::test]
async fn an_item_of_an_upstream_has_an_id_of_its_response_and_goes_back_under_its_own() {
    let output = json!([reasoning("rs_1"), call("own", "fc_1"), call("own", "fc_1")]);
    let api = Api::start([
        Answer::streamed(&json!([reasoning("rs_0"), call("own", "fc_1")])),
        Answer::whole(&output),
        Answer::whole(&json!([message("assistant", "msg_1")])),
    ]);
    let engine = upstream(&api);
    let first = answer(&engine, request()).await;
    let stem = &first["id"].as_str().unwrap()["resp_".len()..][..16];
    for item in first["output"].as_array().unwrap() {
        let id = item["id"].as_str().unwrap();
        assert!(id.split('_').nth(1).unwrap().starts_with(stem), "{id}");
    }

    let result = json!({"type": "function_call_output", "call_id": "call_1", "output": "1"});
    let next = json!({"model": "m", "input": [result], "previous_response_id": first["id"],
                      "tools": [own_function()]});
    let second = answer(&engine, next).await;
    let ids: HashSet<&str> = [&first, &second]
        .into_iter()
        .flat_map(|it| it["output"].as_array().unwrap())
        .map(|it| it["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 5, "no id is given twice");

    // Whoever sends the items themselves sends the ids of this response.
    let mut input = first["output"].as_array().unwrap().clone();
    input.push(result);
    answer(
        &engine,
        json!({"model": "m", "input": input, "tools": [own_function()]}),
    )
    .await;
    let requests = api.requests();
    for sent in [&requests[1]["input"][1], &requests[2]["input"][0]] {
        assert_eq!(*sent, reasoning("rs_0"));
    }
    assert_eq!(requests[2]["input"][1], call("own", "fc_1"));
}

#[tokio::test]
async fn an_upstream_cannot_put_an_item_in_the_place_of_another_responses() {
    let api = Api::start([
        Answer::whole(&json!([call("own", "fc_1")])),
        Answer::whole(&json!([message("assistant", "msg_1")])),
        Answer::whole(&json!([message("assistant", "msg_1")])),
    ]);
    let engine = upstream(&api);
    let first = answer(&engine, request()).await;
    let called = &first["output"][0];
    let fake = json!({"type": "reasoning", "id": called["id"], "summary": []});
    let liar = Api::start([Answer::whole(&json!([fake]))]);
    let also = upstream(&liar);
    assert_ne!(
        answer(&also, request()).await["output"][0]["id"],
        called["id"]
    );

    let reference = json!({"type": "item_reference", "id": called["id"]});
    let result = json!({"type": "function_call_output", "call_id": "call_1", "output": "1"});
    let next = json!({"model": "m", "input": [reference, result], "tools": [own_function()]});
    answer(&engine, next).await;
    assert_eq!(api.requests()[1]["input"][0], call("own", "fc_1"));
}

#[tokio::test]
async fn an_answer_has_a_number_of_items_parts_and_events() {
    let limits = Limits {
        max_items: 10,
        max_events: 500,
        ..Limits::default()
    };
    let each = |count: u64, of: &dyn Fn(u64) -> Vec<Value>| {
        let mut events: Vec<Value> = (0..count).flat_map(of).collect();
        events.push(ended("completed", &[]));
        events
    };
    let item = |index: u64| reasoning(&format!("rs_{index}"));
    let both = |index| vec![added(index, &item(index)), done(index, &item(index))];
    let items: Vec<Value> = (0..11).map(item).collect();
    let mut many_parts = reasoning("rs_1");
    many_parts["summary"] = vec![json!({"type": "summary_text", "text": ""}); 1001].into();
    let tool_call =
        |index: u64| json!({"index": index, "id": format!("{index}"), "function": {"name": "f"}});
    let called: Vec<Value> = (0..11).map(tool_call).collect();
    let thoughts = |index: u64| {
        let field = ["content", "reasoning"][index as usize % 2];
        chunk(&json!({field: "a"}), None)
    };
    let thoughts: Vec<Value> = (0..11).map(thoughts).collect();
    use UpstreamApi::{Chat, Responses};
    for (api, body, what) in [
        (Responses, sse(&each(11, &both)), "10 items"),
        (
            Responses,
            sse(&each(11, &|it| vec![done(it, &item(it))])),
            "10 items",
        ),
        (
            Responses,
            sse(&each(11, &|it| vec![added(it, &call("f", "fc"))])),
            "10 items",
        ),
        (
            Responses,
            sse(&[ended("completed", &items.iter().collect::<Vec<_>>())]),
            "10 items",
        ),
        (Responses, Answer::whole(&items.into()), "10 items"),
        (
            Responses,
            sse(&[done(0, &many_parts)]),
            "1000 parts in an item",
        ),
        (
            Responses,
            sse(&each(501, &|_| vec![json!({"type": "ping"})])),
            "500 events",
        ),
        (
            Chat,
            streamed_chunks(&[chunk(&json!({"tool_calls": called}), None)]),
            "10 items",
        ),
        (Chat, streamed_chunks(&thoughts), "10 items"),
    ] {
        let stand_in = Api::start([body]);
        let engine = engine_within(limits.clone(), &stand_in.base_url, api);
        let (events, error) = ask(&engine, request()).await;
        let error = error.expect(what);
        assert_eq!(
            error.to_string(),
            format!("the answer has more than {what}")
        );
        assert!(events.len() < 60, "{}", events.len());
    }
    let api = Api::start([sse(&each(10, &both))]);
    let engine = engine_within(limits, &api.base_url, Responses);
    assert_eq!(item_types(&answer(&engine, request()).await).len(), 10);
}

#[tokio::test]
async fn an_answer_takes_so_much_memory_and_all_answers_together_no_more_than_the_budget() {
    let mut nested = reasoning("rs_1");
    nested["summary"] = json!([vec![json!([]); 1000]]);
    let items: Vec<Value> = (0..10)
        .map(|it| done(it, &message("assistant", "m")))
        .collect();
    let answers = || {
        [
            sse(&[done(0, &nested)]),
            sse(&items),
            Answer::whole(&json!([nested])),
        ]
    };
    for max_memory in [20_000, usize::MAX] {
        let budget = Budget::new(20_000);
        let limits = Limits {
            max_memory,
            budget: budget.clone(),
            ..Limits::default()
        };
        let api = Api::start(answers());
        let engine = engine_within(limits, &api.base_url, UpstreamApi::Responses);
        for _ in answers() {
            let (_, error) = ask(&engine, request()).await;
            let error = error.unwrap();
            assert!(
                matches!(error, Error::TooLarge(_) | Error::NoMemory(_)),
                "{error}"
            );
            assert_eq!(budget.used(), 0);
        }
    }
}

#[tokio::test]
async fn an_item_that_is_not_done_as_it_began_fails_the_response() {
    let said = message("assistant", "msg_1");
    let own = call("own", "fc_1");
    for other in [
        reasoning("rs_1"),
        message("user", "msg_1"),
        call("roll", "fc_1"),
    ] {
        for first in [&said, &own] {
            let api = Api::start([sse(&[
                added(0, first),
                done(0, &other),
                ended("completed", &[&other]),
            ])]);
            let (events, error) = ask(&upstream(&api), request()).await;
            assert!(matches!(error, Some(Error::Truncated)), "{other} {error:?}");
            assert_eq!(events.len(), 3, "{events:?}");
        }
    }
}

#[tokio::test]
async fn an_item_is_told_once_however_the_upstream_numbers_it() {
    let (called, said) = (call("own", "fc_1"), message("assistant", "msg_1"));
    let twice = message("assistant", "msg_1");
    for events in [
        vec![
            added(7, &called),
            done(7, &called),
            done(u64::from(u32::MAX), &said),
        ],
        vec![
            added(0, &called),
            done(0, &called),
            done(0, &called),
            done(1, &said),
        ],
        vec![done(1, &called), added(1, &called)],
        vec![],
    ] {
        let end = ended("completed", &[&called, &said]);
        let api = Api::start([sse(&[events, vec![end]].concat())]);
        let response = answer(&upstream(&api), request()).await;
        assert_eq!(item_types(&response), ["function_call", "message"]);
    }
    let api = Api::start([Answer::whole(&json!([said, twice]))]);
    let response = answer(&upstream(&api), request()).await;
    assert_eq!(item_types(&response), ["message", "message"]);
}

/// A server that answers every request with the bytes that it was given last.
fn any_upstream() -> (Server, Arc<Mutex<String>>) {
    let body = Arc::new(Mutex::new(String::new()));
    let answers = Arc::clone(&body);
    let handler = post(async move || {
        let body = answers.lock().unwrap().clone();
        ([("content-type", "text/event-stream")], body)
    });
    (
        http_server(Router::new().route("/v1/responses", handler)),
        body,
    )
}

fn some_item() -> impl Strategy<Value = Value> {
    let of_model = [
        message("assistant", "msg_1"),
        message("assistant", "msg_2"),
        reasoning("rs_1"),
        call("own", "fc_1"),
        call("roll", "fc_1"),
        json!({"type": "brand_new_call", "id": "bnc_1"}),
        json!({"type": "message", "role": "assistant", "content": "text"}),
        json!({"type": "reasoning", "id": 7, "summary": null}),
    ];
    let others = [json!({}), json!(null), json!([1])];
    let items = of_model.into_iter().chain(not_of_a_model()).chain(others);
    select(items.collect::<Vec<_>>())
}

fn some_event() -> impl Strategy<Value = Value> {
    let index = || select(vec![0, 0, 1, 2, 3, u64::MAX]);
    let name = select(vec![
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.added",
        "response.function_call_arguments.delta",
        "response.mcp_call.completed",
        "response.created",
        "response.in_progress",
        "response.completed",
        "response.brand_new",
        "response.brand_new.delta",
        "error",
        "",
    ]);
    let field = select(vec!["x", "x", "response", "item", "error", "output_index"]);
    let value = select(vec![
        json!("a"),
        json!(3),
        json!({"id": "resp_1"}),
        json!([]),
    ]);
    prop_oneof![
        4 => (index(), some_item()).prop_map(|(index, item)| added(index, &item)),
        4 => (index(), some_item()).prop_map(|(index, item)| done(index, &item)),
        3 => (name, index(), field, value).prop_map(|(name, index, field, value)| {
            let mut event = json!({"type": name, "output_index": index, "item_id": "msg_1",
                                   "content_index": u64::MAX, "delta": "a", "sequence_number": 0});
            event[field] = value;
            event
        }),
        1 => some_item().prop_map(|item| added(0, &item)).prop_map(|mut event| {
            event.as_object_mut().unwrap().remove("output_index");
            event
        }),
    ]
}

fn some_stream() -> impl Strategy<Value = String> {
    let status = select(vec![
        "completed",
        "completed",
        "incomplete",
        "failed",
        "cancelled",
    ]);
    let output = prop::collection::vec(some_item(), 0..4);
    let end = (status, output)
        .prop_map(|(status, output)| ended(status, &output.iter().collect::<Vec<_>>()));
    let events = prop::collection::vec(some_event(), 0..20);
    let cut = prop::option::weighted(0.2, any::<Index>());
    (
        events,
        prop::collection::vec(end, 1..3),
        events_after(),
        cut,
    )
        .prop_map(|(events, ends, after, cut)| {
            let mut body = frames(&[events, ends, after].concat());
            if let Some(cut) = cut {
                body.truncate(cut.index(body.len() + 1));
            }
            body
        })
}

fn events_after() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(some_event(), 0..3)
}

/// What holds of every answer, whatever the upstream said.
fn assert_is_sound(events: &[Value], error: Option<&Error>) {
    let mut items: HashMap<u64, Value> = HashMap::new();
    let mut open: HashSet<u64> = HashSet::new();
    let mut stem = "";
    let is_ours = |id: &Value, stem: &str| {
        let id = id.as_str().unwrap();
        id.split('_').nth(1).is_some_and(|it| it.starts_with(stem))
    };
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
        let index = event["output_index"].as_u64();
        match event["type"].as_str().unwrap() {
            "response.created" => {
                assert_eq!(number, 0);
                stem = &event["response"]["id"].as_str().unwrap()["resp_".len()..][..16];
            }
            "response.output_item.added" => {
                assert_eq!(index, Some(items.len() as u64), "{event}");
                assert!(is_ours(&event["item"]["id"], stem), "{event}");
                open.insert(items.len() as u64);
                items.insert(items.len() as u64, event["item"].clone());
            }
            "response.output_item.done" => {
                let index = index.unwrap();
                assert!(open.remove(&index), "{event}");
                for field in ["id", "type"] {
                    assert_eq!(items[&index][field], event["item"][field]);
                }
                let kind = event["item"]["type"].as_str().unwrap();
                assert!(kind.ends_with("_call") || ["message", "reasoning"].contains(&kind));
                assert_ne!(kind, "mcp_brand_new_call");
                items.insert(index, event["item"].clone());
            }
            _ if event.get("response").is_some() => {
                assert!(is_ours(&event["response"]["id"], stem), "{event}");
            }
            "error" => {}
            _ => {
                let index = index.unwrap();
                assert!(open.contains(&index), "{event}");
                if let Some(id) = event.get("item_id") {
                    assert_eq!(*id, items[&index]["id"]);
                }
            }
        }
    }
    assert!(items.len() <= 6);
    let ids: HashSet<&str> = items
        .values()
        .map(|it| it["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), items.len(), "no id is given twice");
    let Some(last) = events.last().filter(|_| error.is_none()) else {
        return;
    };
    let status = last["response"]["status"].as_str().unwrap();
    let output = last["response"]["output"].as_array().unwrap();
    assert_eq!(output.len(), items.len());
    if status != "failed" {
        assert!(open.is_empty(), "{open:?}");
    }
    for (index, item) in output.iter().enumerate() {
        assert_eq!(*item, items[&(index as u64)]);
    }
}

#[test]
fn whatever_an_upstream_sends_a_response_is_sound() {
    let (server, body) = any_upstream();
    let limits = Limits {
        max_items: 6,
        ..Limits::default()
    };
    let base_url = format!("{}/v1", server.url);
    let engine = engine_within(limits, &base_url, UpstreamApi::Responses);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    proptest!(ProptestConfig::with_cases(200), |(stream in some_stream())| {
        *body.lock().unwrap() = stream;
        let mut request = request();
        // A step of its own for each call would not be of this stream alone.
        request["max_tool_calls"] = 0.into();
        let (events, error) = runtime.block_on(super::chat::events(&engine, request));
        assert_is_sound(&events, error.as_ref());
    });
}
