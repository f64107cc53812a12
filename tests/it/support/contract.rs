//! The schema that all recorded traffic passes, and the check that what we send does too.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Value, json};

static DEFINITIONS: LazyLock<Value> = LazyLock::new(|| {
    let mut definitions = super::json("contract/responses.wire.schema.json")["$defs"].take();
    // A word of JSON Schema 2019-09, which a validator of 2020-12 refuses.
    definitions["CompoundFilter"]
        .as_object_mut()
        .unwrap()
        .remove("$recursiveAnchor");
    definitions
});

/// The name of the schema of each event, by the event's `type`.
static EVENTS: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
    let definitions = DEFINITIONS.as_object().unwrap();
    definitions
        .iter()
        .filter(|(name, _)| name.ends_with("Event"))
        .filter_map(|(name, schema)| {
            let kind = schema["properties"]["type"]["enum"][0].as_str()?;
            Some((kind.to_owned(), name.clone()))
        })
        .collect()
});

pub fn assert_is_request(request: &Value) {
    assert_is("CreateResponse", request);
}

pub fn assert_is_response(response: &Value) {
    assert_is("Response", response);
}

pub fn assert_is_event(event: &Value) {
    let kind = event["type"].as_str().unwrap();
    // The recorded form of `error` is not the documented one.
    if kind == "error" {
        assert!(event["error"]["message"].is_string(), "{event}");
        return;
    }
    let name = EVENTS
        .get(kind)
        .unwrap_or_else(|| panic!("no event has the type {kind}"));
    assert_is(name, event);
}

/// The events that tell of one item: `message`, `function_call`, or one without parts.
pub fn events_of(output_index: usize, item: &Value) -> Vec<Value> {
    let id = &item["id"];
    let event = |kind: &str, mut fields: Value| {
        fields["type"] = format!("response.{kind}").into();
        fields["output_index"] = output_index.into();
        fields
    };
    let about = |kind: &str, mut fields: Value| {
        fields["item_id"] = id.clone();
        event(kind, fields)
    };
    let mut added = item.clone();
    let parts = match item["type"].as_str().unwrap() {
        "message" => {
            added["content"] = json!([]);
            let part = &item["content"][0];
            let text = part["text"].as_str().unwrap();
            let (first, second) = text.split_at(text.len() / 2);
            let delta = |delta: &str| json!({"content_index": 0, "delta": delta, "logprobs": [], "obfuscation": "x"});
            vec![
                about(
                    "content_part.added",
                    json!({"content_index": 0, "part":
                    {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}}),
                ),
                about("output_text.delta", delta(first)),
                about("output_text.delta", delta(second)),
                about(
                    "output_text.done",
                    json!({"content_index": 0, "text": text, "logprobs": []}),
                ),
                about(
                    "content_part.done",
                    json!({"content_index": 0, "part": part}),
                ),
            ]
        }
        "function_call" => {
            added["arguments"] = "".into();
            let (name, arguments) = (&item["name"], &item["arguments"]);
            vec![
                about("function_call_arguments.delta", json!({"delta": arguments})),
                about(
                    "function_call_arguments.done",
                    json!({"name": name, "arguments": arguments}),
                ),
            ]
        }
        _ => Vec::new(),
    };
    let added = event("output_item.added", json!({"item": added}));
    let done = event("output_item.done", json!({"item": item}));
    [vec![added], parts, vec![done]].concat()
}

/// The schemas that were compiled so far, by name.
#[derive(Default)]
struct Contract {
    schemas: Schemas,
    compiled: HashMap<String, SchemaIndex>,
}

fn assert_is(name: &str, instance: &Value) {
    static CONTRACT: LazyLock<Mutex<Contract>> = LazyLock::new(Mutex::default);
    let mut contract = CONTRACT.lock().unwrap();
    let Contract { schemas, compiled } = &mut *contract;
    let index = compiled.entry(name.to_owned()).or_insert_with(|| {
        let schema = json!({"$ref": format!("#/$defs/{name}"), "$defs": &*DEFINITIONS});
        let url = format!("http://contract.test/{name}");
        let mut compiler = Compiler::new();
        compiler.add_resource(&url, schema).unwrap();
        compiler.compile(&url, schemas).unwrap()
    });
    if let Err(complaints) = schemas.validate(instance, *index) {
        panic!("not a {name}: {complaints:#}\n{instance:#}");
    }
}

#[test]
fn all_recorded_traffic_passes_the_schema() {
    for name in super::recordings(".request.json") {
        assert_is_request(&super::json(&format!("recordings/{name}.request.json")));
    }
    for name in super::recordings(".response.json") {
        assert_is_response(&super::json(&format!("recordings/{name}.response.json")));
    }
    for name in super::recordings(".sse") {
        let path = super::fixture(&format!("recordings/{name}.sse"));
        let text = std::fs::read_to_string(path).unwrap();
        for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
            assert_is_event(&serde_json::from_str(data).unwrap());
        }
    }
}
