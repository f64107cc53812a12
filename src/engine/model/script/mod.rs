//! A model that plays the steps of a file.

mod play;
mod step;

use serde::Deserialize;
use serde_json::Value;

use super::{ToolCall, View};
use step::{End, ScriptStep, is_of_model};

pub use play::Playing;

/// The steps of a script: a JSON array, which may have `//` comments. A step is what the model does
/// when it is asked once, an object with any of these fields, played in this order:
///
/// - `delay`: waits before all else, such as `"250ms"` or `"2s"`. The stream has begun by then,
///   unless the step refuses.
/// - `event`: an event of any type, numbered like the others.
/// - `reasoning`: a reasoning item with this summary; `""` is one without, as recorded.
/// - `item`: an output item of any type, added and done, or a `function_call` with the events that
///   it has. It gets an `id` where it has none.
/// - `say`: a message of one text, or of the pieces of a list, with `pause` between them.
/// - One end: `calls`, after which the next step is asked for, or one of the faults below. With
///   none, the answer is complete.
///
/// A call has the `name` of a tool and its `arguments`: an object, or a text that stands for what a
/// language model may write instead of one. It may name its `server_label`; without, the first
/// listed tool of that name is used. The faults:
///
/// - `fail`: `code` and `message` of an `error` event, followed by `response.failed`. A message that
///   the step began is left open.
/// - `refuse`: `status`, `message`, and maybe `type`, `param` and `code` of an HTTP refusal. It is
///   one only where nothing was sent before, no list of tools either.
/// - `incomplete`: the reason of a `response.incomplete`, such as `"max_output_tokens"`.
/// - `cut`: `true` ends the stream without a last event, in the middle of what is said.
///
/// ```json
/// [
///   // Two dice, and an answer in three pieces.
///   {"delay": "1s", "calls": [{"name": "roll_dice", "arguments": {"n_dice": 2}}]},
///   {"event": {"type": "response.brand_new"}, "say": ["That", " is", " it."], "pause": "100ms"},
///   // The next question.
///   {"reasoning": "It asks for the weather.", "item": {"type": "function_call",
///    "call_id": "call_1", "name": "get_weather", "arguments": "{}"}},
///   {"say": ["It ra"], "cut": true},
///   {"refuse": {"status": 429, "message": "Slow down.", "code": "rate_limit_exceeded"}}
/// ]
/// ```
///
/// Which step is next follows from the conversation, so a script goes on after an approval and in
/// the next question. A step is over once its message, its calls and an `item` that is a message or
/// a call are in the conversation. A step without any of these is never over: it is played each time
/// that the conversation comes to it, and so is a step whose answer the client does not send back.
/// After its last step a script says nothing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Script {
    steps: Vec<ScriptStep>,
}

/// Why a script cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    #[error("the script is not JSON")]
    NotJson(#[source] jsonc_parser::errors::ParseError),
    #[error("the script is not a list of steps")]
    NotAScript(#[source] serde_json::Error),
}

impl Script {
    /// Reads the text of a script. An empty one is a script without steps.
    ///
    /// # Errors
    /// If the text is not JSON, or not a list of steps.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let steps: Value =
            jsonc_parser::parse_to_serde_value(text, &jsonc_parser::ParseOptions::default())
                .map_err(ScriptError::NotJson)?;
        let script: Option<Self> =
            serde_json::from_value(steps).map_err(ScriptError::NotAScript)?;
        Ok(script.unwrap_or_default())
    }

    /// The step that the conversation has come to, or nothing after the last.
    pub(super) fn playing(&self, view: &View<'_>) -> Option<Playing<'_>> {
        let mut played = view.items.iter().filter(|item| is_of_model(item)).count();
        let next = self.steps.iter().find(|step| {
            let size = step.size();
            let is_over = size > 0 && played >= size;
            if is_over {
                played -= size;
            }
            !is_over
        });
        next.map(|step| ready(step, view))
    }
}

/// The step, with the servers that its calls mean.
fn ready<'a>(step: &'a ScriptStep, view: &View<'_>) -> Playing<'a> {
    let calls = match &step.end {
        End::Calls(calls) => calls.as_slice(),
        End::Fail(_) | End::Refuse(_) | End::Incomplete(_) | End::Cut => &[],
    };
    let calls = calls.iter().map(|call| ToolCall {
        server_label: call.server_label.clone().unwrap_or_else(|| {
            let listed = view.tools.iter().find(|it| it.tool.name == call.name);
            listed.map_or_else(String::new, |it| it.server_label.to_owned())
        }),
        name: call.name.clone(),
        arguments: call.arguments.to_text(),
    });
    Playing {
        calls: calls.collect(),
        step,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::step::Pieces;
    use super::*;
    use crate::responses::{CreateResponse, Item};

    fn playing<'a>(script: &'a Script, items: &Value) -> Option<Playing<'a>> {
        let items: Vec<Item> = serde_json::from_value(items.clone()).unwrap();
        let items: Vec<&Item> = items.iter().collect();
        script.playing(&View {
            request: &CreateResponse::default(),
            items: &items,
            tools: &[],
            must_call: false,
        })
    }

    fn said(script: &Script, items: &Value) -> Option<String> {
        let say = playing(script, items)?.step.say.as_ref();
        say.map(|it| it.as_slice().concat())
    }

    #[test]
    fn the_conversation_says_which_step_is_next() {
        let script: Script = serde_json::from_value(json!([
            {"say": "Rolling.", "calls": [{"name": "roll", "server_label": "dice"}]},
            {"say": "Rolled."},
        ]))
        .unwrap();
        let mut items = vec![json!({"role": "user", "content": "Go"})];
        let first = playing(&script, &json!(items)).unwrap();
        assert_eq!(first.step.say, Some(Pieces::One("Rolling.".to_owned())));
        assert_eq!(first.calls[0].name, "roll");

        items.extend([
            json!({"type": "message", "role": "assistant", "content": "Rolling."}),
            json!({"type": "mcp_approval_request", "id": "mcpr_1", "name": "roll",
                   "arguments": "{}", "server_label": "dice"}),
            json!({"type": "mcp_approval_response", "approval_request_id": "mcpr_1",
                   "approve": true}),
            json!({"type": "mcp_call", "id": "mcp_1", "name": "roll", "arguments": "{}",
                   "server_label": "dice", "approval_request_id": "mcpr_1"}),
        ]);
        assert_eq!(said(&script, &json!(items)).as_deref(), Some("Rolled."));

        items.push(json!({"type": "message", "role": "assistant", "content": "Rolled."}));
        assert!(playing(&script, &json!(items)).is_none());
    }

    #[test]
    fn what_a_client_may_leave_out_of_the_conversation_is_not_counted() {
        let script: Script = serde_json::from_value(json!([
            {"reasoning": "Hm.", "item": {"type": "brand_new_item"}, "say": "One."},
            {"item": {"type": "function_call", "name": "f", "arguments": "{}"}},
            {"say": "Two."},
        ]))
        .unwrap();
        let items = json!([
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"role": "assistant", "content": "One."},
            {"role": "user", "content": "And?"},
            {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "2"},
        ]);
        assert_eq!(said(&script, &items).as_deref(), Some("Two."));
    }

    #[test]
    fn a_step_that_says_and_calls_nothing_is_never_over() {
        let script: Script =
            serde_json::from_value(json!([{"say": "Hello."}, {"delay": "1s"}, {"say": "No."}]))
                .unwrap();
        for further in 0..3 {
            let mut items = vec![json!({"role": "assistant", "content": "Hello."})];
            items.resize(1 + further, items[0].clone());
            let step = playing(&script, &json!(items)).unwrap().step;
            assert_eq!(step.delay.as_secs(), 1);
        }
    }

    #[test]
    fn a_step_that_cannot_be_played_is_refused() {
        for (step, reason) in [
            (json!({"says": "Hello"}), "unknown field `says`"),
            (json!({"say": 1}), "`say` is a text"),
            (json!({"delay": "soon"}), "expected number"),
            (json!({"event": {"x": 1}}), "an `event` has a `type`"),
            (json!({"item": {"x": 1}}), "an `item` has a `type`"),
            (
                json!({"cut": true, "calls": [{"name": "roll"}]}),
                "a step ends in one way",
            ),
            (
                json!({"calls": [{"name": "roll", "arguments": 1}]}),
                "`arguments` is an object or a text",
            ),
            (
                json!({"refuse": {"status": 200, "message": ""}}),
                "from 400 to 599",
            ),
            (
                json!({"say": "", "refuse": {"status": 429, "message": ""}}),
                "says nothing before it",
            ),
        ] {
            let refused = serde_json::from_value::<Script>(json!([step])).unwrap_err();
            assert!(refused.to_string().contains(reason), "{step}: {refused}");
        }
    }

    #[test]
    fn a_script_may_have_comments_and_no_steps() {
        let script = Script::parse("[\n  // First.\n  {\"say\": \"Hello.\"}\n]\n").unwrap();
        assert_eq!(said(&script, &json!([])).as_deref(), Some("Hello."));
        for empty in ["", "null", "[]"] {
            assert!(playing(&Script::parse(empty).unwrap(), &json!([])).is_none());
        }
        assert!(matches!(Script::parse("[{"), Err(ScriptError::NotJson(_))));
        assert!(matches!(
            Script::parse("{}"),
            Err(ScriptError::NotAScript(_))
        ));
    }
}
