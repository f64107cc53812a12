//! A model that plays the steps of a file.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Step, ToolCall, View};
use crate::responses::Item;

/// The steps of a script: a JSON array, each step an object with `say`, `calls` or both.
///
/// ```json
/// [
///   {"calls": [{"name": "roll_dice", "arguments": {"n_dice": 2}}]},
///   {"say": "Done."}
/// ]
/// ```
///
/// A call may name its `server_label`; without, the first listed tool of that name is meant. Which
/// step is next follows from the conversation, so a script goes on after an approval and in the
/// next question; after its last step it says nothing.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Script {
    steps: Vec<ScriptStep>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptStep {
    say: Option<String>,
    #[serde(default)]
    calls: Vec<ScriptCall>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptCall {
    server_label: Option<String>,
    name: String,
    #[serde(default)]
    arguments: Map<String, Value>,
}

/// Why a script cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    #[error("the script cannot be read")]
    Unreadable(#[source] std::io::Error),
    #[error("the script is not a list of steps")]
    NotAScript(#[source] serde_json::Error),
}

impl Script {
    /// Reads a script file.
    pub fn load(path: &Path) -> Result<Self, ScriptError> {
        let text = std::fs::read(path).map_err(ScriptError::Unreadable)?;
        serde_json::from_slice(&text).map_err(ScriptError::NotAScript)
    }

    pub(super) fn step(&self, view: &View<'_>) -> Step {
        let mut played = view.items.iter().filter(|item| is_of_model(item)).count();
        for step in &self.steps {
            let size = step.calls.len() + usize::from(step.say.is_some());
            if played < size {
                return step.resolve(view);
            }
            played -= size;
        }
        Step::default()
    }
}

impl ScriptStep {
    fn resolve(&self, view: &View<'_>) -> Step {
        let calls = self.calls.iter().map(|call| ToolCall {
            server_label: call.server_label.clone().unwrap_or_else(|| {
                let listed = view.tools.iter().find(|it| it.tool.name == call.name);
                listed.map_or_else(String::new, |it| it.server_label.clone())
            }),
            name: call.name.clone(),
            arguments: Value::Object(call.arguments.clone()).to_string(),
        });
        Step {
            text: self.say.clone(),
            calls: calls.collect(),
        }
    }
}

/// Whether an item stands for something that the model said or asked for, counted once: a call
/// that was approved is the same as its approval request.
fn is_of_model(item: &Item) -> bool {
    match item {
        Item::Message(message) => message.role == "assistant",
        Item::McpCall(call) => call.approval_request_id.is_none(),
        Item::McpApprovalRequest(_) => true,
        Item::McpListTools(_) | Item::McpApprovalResponse(_) | Item::Other(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::responses::CreateResponse;

    fn step(script: &Script, items: &Value) -> Step {
        let items: Vec<Item> = serde_json::from_value(items.clone()).unwrap();
        let items: Vec<&Item> = items.iter().collect();
        script.step(&View {
            request: &CreateResponse::default(),
            items: &items,
            tools: &[],
            must_call: false,
        })
    }

    #[test]
    fn the_conversation_says_which_step_is_next() {
        let script: Script = serde_json::from_value(json!([
            {"say": "Rolling.", "calls": [{"name": "roll", "server_label": "dice"}]},
            {"say": "Rolled."},
        ]))
        .unwrap();
        let mut items = json!([{"role": "user", "content": "Go"}]);
        let first = step(&script, &items);
        assert_eq!(first.text.as_deref(), Some("Rolling."));
        assert_eq!(first.calls[0].name, "roll");

        let said = items.as_array_mut().unwrap();
        said.push(json!({"type": "message", "role": "assistant", "content": "Rolling."}));
        said.push(
            json!({"type": "mcp_approval_request", "id": "mcpr_1", "name": "roll",
                         "arguments": "{}", "server_label": "dice"}),
        );
        said.push(
            json!({"type": "mcp_approval_response", "approval_request_id": "mcpr_1",
                         "approve": true}),
        );
        said.push(
            json!({"type": "mcp_call", "id": "mcp_1", "name": "roll", "arguments": "{}",
                         "server_label": "dice", "approval_request_id": "mcpr_1"}),
        );
        assert_eq!(step(&script, &items).text.as_deref(), Some("Rolled."));

        let said = items.as_array_mut().unwrap();
        said.push(json!({"type": "message", "role": "assistant", "content": "Rolled."}));
        assert_eq!(step(&script, &items), Step::default());
    }

    #[test]
    fn a_misspelt_step_is_refused() {
        let read = serde_json::from_value::<Script>(json!([{"says": "Hello"}]));
        assert!(read.is_err());
    }
}
