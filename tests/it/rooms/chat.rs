//! Models that speak Chat Completions, each in the form of its server, and the client's own
//! functions, over both APIs.

use std::collections::HashMap;

use futures::StreamExt;
use mcp_cli::engine::Engine;
use mcp_cli::engine::model::{Model, Upstream, UpstreamApi};
use mcp_cli::responses::{Client, CreateResponse, Error, Limits, Retries};
use mcp_cli::secret::Secret;
use serde_json::{Value, json};

use crate::support::{
    Answer, Api, Faulty, KEY, Step, assert_is_event, assert_is_response, chunk, completion,
    dice_server, streamed_chunks,
};

pub fn engine_at(base_url: &str, api: UpstreamApi) -> Engine {
    let limits = Limits {
        max_bytes: 100_000,
        ..Limits::default()
    };
    engine_within(limits, base_url, api)
}

/// The same, with answers that may bring as much as this.
pub fn engine_within(limits: Limits, base_url: &str, api: UpstreamApi) -> Engine {
    let limits = Limits {
        idle_timeout: std::time::Duration::from_millis(500),
        ..limits
    };
    let client = Client::new(
        &base_url.parse().unwrap(),
        &Secret::from(KEY.to_owned()),
        limits,
        Retries::default(),
        Box::new(|_| {}),
    );
    let upstream = Upstream::new(client.unwrap(), api);
    Engine::new(Model::Upstream(upstream), HashMap::new())
}

fn chat(api: &Api) -> Engine {
    engine_at(&api.base_url, UpstreamApi::Chat)
}

/// Asks the engine, checks every event against the schema, and returns them, and why there are no
/// more if that is not their end.
pub async fn ask(engine: &Engine, request: Value) -> (Vec<Value>, Option<Error>) {
    let (seen, error) = events(engine, request).await;
    for (number, event) in seen.iter().enumerate() {
        assert_is_event(event);
        assert_eq!(event["sequence_number"], number);
    }
    if error.is_some() {
        return (seen, error);
    }
    let response = &seen.last().unwrap()["response"];
    assert_is_response(response);
    // What was told bit by bit is what is there in the end.
    for (index, item) in response["output"].as_array().unwrap().iter().enumerate() {
        let done = seen.iter().find(|event| {
            event["type"] == "response.output_item.done" && event["output_index"] == index
        });
        assert_eq!(&done.unwrap()["item"], item);
    }
    (seen, None)
}

/// The events that the engine answers with, and why there are no more if that is not their end.
pub async fn events(engine: &Engine, request: Value) -> (Vec<Value>, Option<Error>) {
    let request: CreateResponse = serde_json::from_value(request).unwrap();
    let mut events = engine.create_stream(request).await.unwrap();
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => seen.push(Value::Object(event.into_data())),
            Err(error) => return (seen, Some(error)),
        }
    }
    (seen, None)
}

pub async fn answer(engine: &Engine, request: Value) -> Value {
    let (events, error) = ask(engine, request).await;
    assert!(error.is_none(), "{error:?}");
    events.last().unwrap()["response"].clone()
}

/// A question to the dice server that streams.
fn question(url: &str) -> Value {
    json!({"model": "m", "input": "Roll 3 dice", "stream": true, "instructions": "Be brief",
           "tools": [{"type": "mcp", "server_label": "dice", "server_url": url,
                      "require_approval": "never"}]})
}

fn types(items: &Value) -> Vec<&str> {
    let items = items.as_array().unwrap().iter();
    items.map(|item| item["type"].as_str().unwrap()).collect()
}

fn deltas(events: &[Value], kind: &str) -> Vec<String> {
    let events = events.iter().filter(|event| event["type"] == kind);
    let deltas = events.map(|event| event["delta"].as_str().unwrap().to_owned());
    deltas.collect()
}

fn call(index: Option<u64>, id: &str, arguments: &Value) -> Value {
    let mut call =
        json!({"type": "function", "function": {"name": "roll_dice", "arguments": arguments}});
    if let Some(index) = index {
        call["index"] = index.into();
    }
    if !id.is_empty() {
        call["id"] = id.into();
    }
    call
}

fn more(index: u64, arguments: &str) -> Value {
    json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})
}

fn usage() -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [], "usage":
        {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12,
         "prompt_tokens_details": {"cached_tokens": 3},
         "completion_tokens_details": {"reasoning_tokens": 2}}})
}

fn role() -> Value {
    chunk(&json!({"role": "assistant", "content": ""}), None)
}

fn end(reason: &str) -> Value {
    chunk(&json!({}), Some(reason))
}

/// Two calls of `roll_dice`, as each server streams them.
fn calls_of_every_server() -> Vec<(&'static str, Vec<Value>)> {
    let say = |delta: Value| chunk(&delta, None);
    vec![
        (
            "OpenAI",
            vec![
                chunk(
                    &json!({"role": "assistant", "content": null, "refusal": null,
                           "tool_calls": [call(Some(0), "call_a", &json!(""))]}),
                    None,
                ),
                say(more(0, "{\"n_di")),
                say(more(0, "ce\":3}")),
                say(json!({"tool_calls": [call(Some(1), "call_b", &json!(""))]})),
                say(more(1, "{\"n_dice\":2}")),
                end("tool_calls"),
                usage(),
            ],
        ),
        (
            "Ollama",
            vec![
                say(json!({"role": "assistant", "content": "", "reasoning": "Two rolls."})),
                say(json!({"role": "assistant", "content": "", "tool_calls": [
                    call(Some(0), "call_a", &json!("{\"n_dice\":3}")),
                    call(Some(0), "call_b", &json!("{\"n_dice\":2}"))]})),
                chunk(&json!({"role": "assistant", "content": ""}), Some("stop")),
                usage(),
            ],
        ),
        (
            "llama.cpp",
            vec![
                say(json!({"role": "assistant", "content": null})),
                say(json!({"reasoning_content": "Two "})),
                say(json!({"reasoning_content": "rolls."})),
                say(json!({"tool_calls": [call(Some(0), "abc", &json!("{"))]})),
                say(more(0, "\"n_dice\":")),
                say(more(0, "3}")),
                say(json!({"tool_calls": [call(Some(1), "def", &json!("{\"n_dice\":2"))]})),
                say(more(1, "}")),
                end("tool_calls"),
                usage(),
            ],
        ),
        (
            "vLLM",
            vec![
                role(),
                say(json!({"reasoning": "Two rolls.", "reasoning_content": "Two rolls."})),
                say(json!({"content": "\n\n"})),
                say(json!({"tool_calls": [call(Some(0), "chatcmpl-tool-a", &Value::Null)]})),
                say(more(0, "{\"n_dice\": 3}")),
                say(json!({"tool_calls": [call(Some(1), "chatcmpl-tool-b", &Value::Null)]})),
                say(more(1, "{\"n_dice\": 2}")),
                chunk(&json!({"content": ""}), Some("tool_calls")),
                usage(),
            ],
        ),
        (
            "one that leaves out what it can",
            vec![
                say(json!({"tool_calls": [call(None, "", &json!({"n_dice": 3}))]})),
                say(json!({"tool_calls": [call(None, "", &json!({"n_dice": 2}))]})),
                usage(),
            ],
        ),
    ]
}

#[tokio::test]
async fn the_calls_of_every_server_are_made_and_their_results_told() {
    let server = dice_server();
    for (name, chunks) in calls_of_every_server() {
        let api = Api::start([
            streamed_chunks(&chunks),
            streamed_chunks(&[
                role(),
                chunk(&json!({"content": "\n\n"}), None),
                chunk(&json!({"content": "You "}), None),
                chunk(&json!({"content": "rolled."}), None),
                end("stop"),
                usage(),
            ]),
        ]);
        let (events, _) = ask(&chat(&api), question(&server.url)).await;
        let response = &events.last().unwrap()["response"];
        let mut said = types(&response["output"]);
        said.retain(|it| *it != "reasoning");
        assert_eq!(
            said,
            ["mcp_list_tools", "mcp_call", "mcp_call", "message"],
            "{name}: {response:#}"
        );
        assert_eq!(
            deltas(&events, "response.output_text.delta"),
            ["\n\nYou ", "rolled."]
        );
        let thoughts = deltas(&events, "response.reasoning_text.delta").concat();
        assert!(
            ["", "Two rolls."].contains(&&*thoughts),
            "{name}: {thoughts}"
        );
        let usage = &response["usage"];
        assert_eq!(usage["total_tokens"], 24, "{name}");
        assert_eq!(usage["input_tokens_details"]["cached_tokens"], 6);
        assert_eq!(usage["output_tokens_details"]["reasoning_tokens"], 4);

        let [first, second] = &api.requests()[..] else {
            panic!("{name}: not two requests");
        };
        assert_eq!(first["stream_options"], json!({"include_usage": true}));
        assert_eq!(first["tools"][0]["function"]["name"], "roll_dice");
        assert_eq!(
            first["tools"][0]["function"]["parameters"]["required"],
            json!(["n_dice"])
        );
        let messages = second["messages"].as_array().unwrap();
        let roles: Vec<&Value> = messages.iter().map(|it| &it["role"]).collect();
        assert_eq!(roles, ["system", "user", "assistant", "tool", "tool"]);
        let asked = messages[2]["tool_calls"].as_array().unwrap();
        let dice = asked.iter().zip(&messages[3..]).map(|(call, result)| {
            assert_eq!(call["id"], result["tool_call_id"], "{name}");
            let arguments = call["function"]["arguments"].as_str().unwrap();
            let arguments: Value = serde_json::from_str(arguments).unwrap();
            let rolled: Vec<u8> =
                serde_json::from_str(result["content"].as_str().unwrap()).unwrap();
            (arguments["n_dice"].as_u64().unwrap(), rolled.len() as u64)
        });
        assert_eq!(dice.collect::<Vec<_>>(), [(3, 3), (2, 2)], "{name}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_is_read_as_well() {
    let server = dice_server();
    let api = Api::start([
        completion(
            &json!({"role": "assistant", "content": null, "reasoning_content": "Hm.",
                   "tool_calls": [call(None, "a", &json!("{\"n_dice\":1}"))]}),
            "tool_calls",
        ),
        completion(
            &json!({"role": "assistant", "content": "Done.", "refusal": null}),
            "stop",
        ),
    ]);
    let mut request = question(&server.url);
    request["stream"] = false.into();
    let response = answer(&chat(&api), request).await;
    assert_eq!(
        types(&response["output"]),
        ["mcp_list_tools", "reasoning", "mcp_call", "message"]
    );
    assert_eq!(response["output"][3]["content"][0]["text"], "Done.");
    assert_eq!(response["usage"]["total_tokens"], 24);
    let first = &api.requests()[0];
    assert_eq!(first["stream"], false);
    assert_eq!(first.get("stream_options"), None);
}

#[tokio::test]
async fn an_answer_that_ends_early_or_is_refused_says_so() {
    for (chunks, status, reason, part) in [
        (
            vec![chunk(&json!({"content": "Well"}), Some("length"))],
            "incomplete",
            json!("max_output_tokens"),
            "output_text",
        ),
        (
            vec![
                chunk(&json!({"content": "Well"}), None),
                end("content_filter"),
            ],
            "incomplete",
            json!("content_filter"),
            "output_text",
        ),
        (
            vec![
                chunk(&json!({"refusal": "I "}), None),
                chunk(&json!({"refusal": "won't."}), Some("stop")),
            ],
            "completed",
            Value::Null,
            "refusal",
        ),
    ] {
        let api = Api::start([streamed_chunks(&chunks)]);
        let response = answer(&chat(&api), json!({"input": "Hello", "stream": true})).await;
        assert_eq!(response["status"], status);
        assert_eq!(response["incomplete_details"]["reason"], reason);
        let message = &response["output"][0];
        assert_eq!(message["status"], status);
        assert_eq!(message["content"][0]["type"], part);
    }
}

#[tokio::test]
async fn a_call_that_was_cut_off_is_not_made() {
    let server = dice_server();
    let api = Api::start([streamed_chunks(&[chunk(
        &json!({"tool_calls": [call(Some(0), "a", &json!("{\"n_dice\""))]}),
        Some("length"),
    )])]);
    let response = answer(&chat(&api), question(&server.url)).await;
    assert_eq!(response["status"], "incomplete");
    assert_eq!(types(&response["output"]), ["mcp_list_tools"]);
}

fn broken(error: &Error) -> &'static str {
    match error {
        Error::Truncated => "truncated",
        Error::BrokenOff(_) => "broken off",
        Error::Idle => "idle",
        Error::TooLarge(_) => "too large",
        Error::NotAnEvent { .. } => "not an event",
        Error::NotAResponse { .. } => "not a response",
        _ => "another error",
    }
}

#[tokio::test]
async fn a_stream_that_breaks_is_the_error_that_it_is() {
    let text = |text: &str| format!("data: {}\n\n", chunk(&json!({"content": text}), None));
    let finished = format!("{}data: {}\n\n", text("a"), end("stop"));
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
    let written = |head: &str, body: &str| Step::Write(format!("{head}{body}").into_bytes());
    for (steps, expected) in [
        (vec![written(head, &text("a"))], Some("truncated")),
        (vec![written(head, "")], Some("truncated")),
        (vec![written(head, &text("a")), Step::Hang], Some("idle")),
        (
            vec![
                written(head, ""),
                Step::Repeat(text("a").into_bytes(), 1000),
            ],
            Some("too large"),
        ),
        (
            vec![written(head, "data: nonsense\n\n")],
            Some("not an event"),
        ),
        (
            vec![written(json, "{\"object\":\"list\"}")],
            Some("not a response"),
        ),
        (vec![written(json, "<html>")], Some("not a response")),
        // What came after the model was done is not missed.
        (vec![written(head, &finished)], None),
        (vec![written(head, &finished), Step::Hang], None),
        (
            vec![written(head, &(text("a") + "data: [DONE]\n\n")), Step::Hang],
            None,
        ),
    ] {
        let faulty = Faulty::start(steps);
        let engine = engine_at(&faulty.base_url(), UpstreamApi::Chat);
        let (events, error) = ask(&engine, json!({"input": "Hello", "stream": true})).await;
        assert_eq!(error.as_ref().map(broken), expected, "{events:#?}");
        assert_eq!(faulty.requests(), 1);
    }
}

#[tokio::test]
async fn an_error_in_the_stream_fails_the_response() {
    for error in [
        json!({"error": {"message": "Out of memory", "type": "server_error", "code": 500}}),
        json!({"error": "Out of memory"}),
        json!({"object": "error", "message": "Out of memory", "type": "Internal", "code": 500}),
    ] {
        let api = Api::start([streamed_chunks(&[
            chunk(&json!({"content": "We"}), None),
            error,
        ])]);
        let response = answer(&chat(&api), json!({"input": "Hello", "stream": true})).await;
        assert_eq!(response["status"], "failed");
        assert_eq!(response["error"]["message"], "Out of memory");
        let message = &response["output"][0];
        assert_eq!(message["status"], "incomplete");
        assert_eq!(message["content"][0]["text"], "We");
    }
    let api = Api::start([Answer::json(200, &json!({"error": {"message": "Busy"}}))]);
    let response = answer(&chat(&api), json!({"input": "Hello"})).await;
    assert_eq!(response["status"], "failed");
    assert_eq!(
        response["error"],
        json!({"code": "server_error", "message": "Busy"})
    );
}

#[tokio::test]
async fn a_refusal_is_passed_on_whole_and_without_the_key() {
    for api_kind in [UpstreamApi::Responses, UpstreamApi::Chat] {
        for (body, content_type) in [
            (
                json!({"error": {"message": format!("Incorrect API key provided: {KEY}."),
                    "type": "invalid_request_error", "param": "p", "code": "invalid_api_key"}})
                .to_string(),
                "application/json",
            ),
            (format!("<h1>{KEY} is no key</h1>"), "text/html"),
        ] {
            let api = Api::start([Answer::raw(401, content_type, &body)]);
            let engine = engine_at(&api.base_url, api_kind);
            let (_, error) = ask(&engine, json!({"input": "Hello"})).await;
            let Some(Error::Refused {
                status,
                error,
                request_id,
            }) = error
            else {
                panic!("not a refusal: {error:?}");
            };
            assert_eq!((status, request_id.as_deref()), (401, Some("req_1")));
            assert!(error.message.contains("[redacted]"), "{error:?}");
            assert!(!format!("{error:?}").contains(KEY));
            if content_type == "application/json" {
                assert_eq!(error.message, "Incorrect API key provided: [redacted].");
                assert_eq!(error.kind.as_deref(), Some("invalid_request_error"));
                assert_eq!(error.param.as_deref(), Some("p"));
                assert_eq!(error.code.as_deref(), Some("invalid_api_key"));
            }
        }
    }
}

#[tokio::test]
async fn a_model_that_takes_no_max_tokens_is_asked_by_the_newer_name() {
    let refusal = json!({"error": {"message": "Unsupported parameter: 'max_tokens' is not \
        supported with this model. Use 'max_completion_tokens' instead.",
        "type": "invalid_request_error", "param": "max_tokens", "code": "unsupported_parameter"}});
    let hello = || completion(&json!({"role": "assistant", "content": "Hello."}), "stop");
    let api = Api::start([Answer::json(400, &refusal), hello(), hello()]);
    let engine = chat(&api);
    for _ in 0..2 {
        let request = json!({"input": "Hello", "max_output_tokens": 9});
        assert_eq!(answer(&engine, request).await["status"], "completed");
    }
    let limits: Vec<(Value, Value)> = api
        .requests()
        .iter()
        .map(|it| {
            (
                it["max_tokens"].clone(),
                it["max_completion_tokens"].clone(),
            )
        })
        .collect();
    let new = (Value::Null, json!(9));
    assert_eq!(limits, [(json!(9), Value::Null), new.clone(), new]);
}

/// A function of the client's, with the name of the dice server's tool.
fn own_function() -> Value {
    json!({"type": "function", "name": "roll_dice", "description": "Mine", "strict": false,
           "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}})
}

/// The model calls the client's function, by each API, streamed and whole.
fn own_calls() -> Vec<(UpstreamApi, bool, Answer)> {
    let function_call = json!([{"type": "function_call", "id": "fc_1", "call_id": "call_1",
        "name": "roll_dice", "arguments": "{\"n\":1}", "status": "completed"}]);
    let chat_call = |index| json!({"tool_calls": [call(index, "a", &json!("{\"n\":1}"))]});
    let mut message = chat_call(None);
    message["role"] = "assistant".into();
    vec![
        (
            UpstreamApi::Responses,
            true,
            Answer::streamed(&function_call),
        ),
        (UpstreamApi::Responses, false, Answer::whole(&function_call)),
        (
            UpstreamApi::Chat,
            true,
            streamed_chunks(&[chunk(&chat_call(Some(0)), Some("tool_calls"))]),
        ),
        (UpstreamApi::Chat, false, completion(&message, "tool_calls")),
    ]
}

fn last_message(api: UpstreamApi) -> Answer {
    match api {
        UpstreamApi::Responses => Answer::whole(&json!([{"type": "message", "id": "msg_1",
            "status": "completed", "role": "assistant", "content": [
                {"type": "output_text", "annotations": [], "logprobs": [], "text": "Done."}]}])),
        UpstreamApi::Chat => completion(&json!({"role": "assistant", "content": "Done."}), "stop"),
    }
}

#[tokio::test]
async fn a_call_of_the_clients_own_function_is_the_clients_to_answer() {
    let server = dice_server();
    for (api_kind, streams, called) in own_calls() {
        let api = Api::start([called, last_message(api_kind)]);
        let engine = engine_at(&api.base_url, api_kind);
        let mut request = question(&server.url);
        request["stream"] = streams.into();
        request["tools"]
            .as_array_mut()
            .unwrap()
            .push(own_function());
        let (events, error) = ask(&engine, request.clone()).await;
        assert!(error.is_none(), "{error:?}");
        let response = events.last().unwrap()["response"].clone();
        assert_eq!(
            types(&response["output"]),
            ["mcp_list_tools", "function_call"]
        );
        let function_call = &response["output"][1];
        assert_eq!(function_call["name"], "roll_dice");
        assert_eq!(function_call["arguments"], "{\"n\":1}");
        assert_eq!(function_call["status"], "completed");
        assert!(function_call["id"].as_str().unwrap().starts_with("fc_"));
        let about: Vec<&str> = events
            .iter()
            .filter(|event| event["output_index"] == 1)
            .map(|event| event["type"].as_str().unwrap())
            .collect();
        assert_eq!(
            about,
            [
                "response.output_item.added",
                "response.function_call_arguments.delta",
                "response.function_call_arguments.done",
                "response.output_item.done"
            ]
        );

        let output = json!({"type": "function_call_output", "output": "42",
            "call_id": function_call["call_id"]});
        request["previous_response_id"] = response["id"].clone();
        request["input"] = json!([output]);
        request["stream"] = false.into();
        assert_eq!(
            types(&answer(&engine, request).await["output"]),
            ["message"]
        );

        let [first, second] = &api.requests()[..] else {
            panic!("not two requests");
        };
        let tools = first["tools"].as_array().unwrap();
        let name = |tool: &Value| match api_kind {
            UpstreamApi::Responses => tool["name"].clone(),
            UpstreamApi::Chat => tool["function"]["name"].clone(),
        };
        let names: Vec<Value> = tools.iter().map(name).collect();
        assert_eq!(names, ["dice__roll_dice", "roll_dice"]);
        match api_kind {
            UpstreamApi::Responses => {
                assert_eq!(tools[1], own_function());
                let input = second["input"].as_array().unwrap();
                let mut as_it_was = function_call.clone();
                as_it_was["id"] = "fc_1".into();
                assert_eq!(input[1..], [as_it_was, output]);
            }
            UpstreamApi::Chat => {
                let messages = second["messages"].as_array().unwrap();
                assert_eq!(
                    messages[2]["tool_calls"][0]["function"]["name"],
                    "roll_dice"
                );
                assert_eq!(messages[3]["content"], "42");
            }
        }
    }
}

#[tokio::test]
async fn where_no_tool_may_be_chosen_the_clients_functions_are_not_either() {
    for (api_kind, _, _) in own_calls() {
        let api = Api::start([last_message(api_kind)]);
        let engine = engine_at(&api.base_url, api_kind);
        let request = json!({"input": "Hello", "tools": [own_function()], "tool_choice": "none"});
        answer(&engine, request).await;
        assert_eq!(api.requests()[0]["tool_choice"], "none");
    }
}

#[tokio::test]
async fn tools_of_one_name_are_told_apart_and_calls_without_a_result_say_why() {
    let list = |label: &str| {
        let tools: Vec<Value> = ["würfeln", "w rfeln", &"x".repeat(70)]
            .map(|name| json!({"name": name, "input_schema": {"type": "object"}}))
            .into();
        json!({"type": "mcp_list_tools", "id": format!("mcpl_{label}"), "server_label": label,
               "tools": tools})
    };
    let held = |id: &str| {
        json!({"type": "mcp_approval_request", "id": id, "server_label": "a", "name": "würfeln",
               "arguments": "{}"})
    };
    let entry = |label: &str| {
        json!({"type": "mcp", "server_label": label, "require_approval": "never",
               "server_url": "http://127.0.0.1:1/mcp"})
    };
    let mut called = call(Some(0), "x", &json!("{}"));
    called["function"]["name"] = "b__w_rfeln".into();
    let api = Api::start([
        streamed_chunks(&[chunk(&json!({"tool_calls": [called]}), Some("stop"))]),
        streamed_chunks(&[chunk(&json!({"content": "No."}), Some("stop"))]),
    ]);
    let request = json!({"stream": true, "tools": [entry("a"), entry("b")], "input": [
        {"role": "user", "content": "Roll"}, list("a"), list("b"), held("mcpr_1"), held("mcpr_2"),
        {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": false,
         "reason": "too late"},
    ]});
    let response = answer(&chat(&api), request).await;
    let made = &response["output"][0];
    assert_eq!(
        (&made["server_label"], &made["name"]),
        (&json!("b"), &json!("würfeln"))
    );
    assert_eq!(made["status"], "failed");

    let requests = api.requests();
    assert_eq!(requests[0]["tools"].as_array().unwrap().len(), 6);
    let results: Vec<&str> = requests[1]["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|message| message["role"] == "tool")
        .map(|message| message["content"].as_str().unwrap())
        .collect();
    assert_eq!(
        results,
        [
            "The call was denied: too late",
            "The call was not made: it waits for approval.",
            "Error: the tool's server did not answer"
        ]
    );
}
