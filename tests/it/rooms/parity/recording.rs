//! `Turn`: a recorded request, what came of it, and the script that says the same.

use serde_json::{Value, json};

use crate::support::{fixture, json as read_json, recordings};

/// The recorded conversations: each `.1.`, and the turn that goes on from it.
pub fn conversations() -> Vec<Vec<Turn>> {
    let names = recordings(".request.json");
    let first = names.iter().filter_map(|name| name.strip_suffix(".1"));
    first
        .map(|name| {
            let turns = (1..).map(|turn| format!("{name}.{turn}"));
            let turns = turns.take_while(|turn| names.contains(turn));
            turns.map(|turn| Turn::read(&turn)).collect()
        })
        .collect()
}

/// One recorded turn.
pub struct Turn {
    pub name: String,
    pub request: Value,
    /// The events; of a response that was not streamed, one that holds it.
    pub events: Vec<Value>,
    pub is_stream: bool,
}

impl Turn {
    fn read(name: &str) -> Self {
        let request = read_json(&format!("recordings/{name}.request.json"));
        let stream = fixture(&format!("recordings/{name}.sse"));
        let is_stream = stream.exists();
        let events = if is_stream {
            let text = std::fs::read_to_string(stream).unwrap();
            let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
            data.map(|data| serde_json::from_str(data).unwrap())
                .collect()
        } else {
            let response = read_json(&format!("recordings/{name}.response.json"));
            vec![whole(&response)]
        };
        Self {
            name: name.to_owned(),
            request,
            events,
            is_stream,
        }
    }

    fn response(&self) -> &Value {
        &self.events.last().unwrap()["response"]
    }

    pub fn output(&self) -> &[Value] {
        self.response()["output"].as_array().unwrap()
    }

    /// The tool entries of the request.
    pub fn entries(&self) -> &[Value] {
        self.request["tools"].as_array().unwrap()
    }

    pub fn created_at(&self) -> u64 {
        self.response()["created_at"].as_u64().unwrap()
    }

    /// The cassettes of pydantic-ai have JSON bodies with their keys sorted.
    pub fn is_sorted(&self) -> bool {
        !self.is_stream && self.name.starts_with("pydantic-")
    }

    /// The pieces that the text of a message came in.
    fn pieces(&self, output_index: usize) -> Vec<&Value> {
        if !self.is_stream {
            return vec![&self.output()[output_index]["content"][0]["text"]];
        }
        let of_item = self
            .events
            .iter()
            .filter(|it| it["output_index"] == output_index);
        let deltas = of_item.filter(|it| it["type"] == "response.output_text.delta");
        deltas.map(|it| &it["delta"]).collect()
    }

    /// The steps of a model that says and calls what the recorded one did.
    pub fn script(&self) -> Vec<Value> {
        let mut steps = vec![json!({})];
        let output = self.output();
        for (index, item) in output.iter().enumerate() {
            let step = steps.last_mut().unwrap();
            match item["type"].as_str().unwrap() {
                // These are the engine's doing.
                "mcp_list_tools" => {}
                "mcp_call" if item["approval_request_id"].is_string() => {}
                "reasoning" if item.get("encrypted_content").is_none() => {
                    step["reasoning"] = json!("");
                }
                "message" if output.get(index + 1).is_none() => {
                    step["say"] = json!(self.pieces(index));
                }
                "reasoning" | "message" => {
                    assert!(step.get("item").is_none(), "a step has one item");
                    let mut item = item.clone();
                    item.as_object_mut().unwrap().shift_remove("id");
                    step["item"] = item;
                }
                "mcp_call" | "mcp_approval_request" => {
                    step["calls"] = json!([{"server_label": item["server_label"],
                        "name": item["name"], "arguments": item["arguments"]}]);
                    steps.push(json!({}));
                }
                other => panic!("a script cannot say {other}"),
            }
        }
        steps.retain(|step| step != &json!({}));
        steps
    }
}

/// A response that was not streamed, as the one event that it amounts to.
pub fn whole(response: &Value) -> Value {
    json!({"type": "response.completed", "response": response})
}
