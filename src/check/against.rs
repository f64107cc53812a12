//! A list of tools that was recorded, and the one that is there now.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::words::{few, member, quoted, tools as counted};
use super::{Complaint, Outcome, Step};
use crate::responses::{Item, McpListTools, McpListToolsTool};

/// The `mcp_list_tools` of the server `label`: in a response, an item, an array of items, or an array
/// of events. The last successful list counts.
///
/// Without a `label`, the server is the one that there is: lists of several servers are nothing.
pub fn read(json: &Value, label: Option<&str>) -> Option<Vec<McpListToolsTool>> {
    let mut lists = Vec::new();
    find(json, &mut lists);
    let mut lists: Vec<McpListTools> = lists
        .into_iter()
        .filter(|list| label.is_none_or(|label| list.server_label == label))
        .collect();
    let last = lists.pop()?;
    let is_of_one = lists
        .iter()
        .all(|list| list.server_label == last.server_label);
    is_of_one.then_some(last.tools)
}

fn find(json: &Value, lists: &mut Vec<McpListTools>) {
    match json {
        Value::Array(values) => values.iter().for_each(|value| find(value, lists)),
        Value::Object(fields) => match fields.get("type").and_then(Value::as_str) {
            Some("mcp_list_tools") => {
                if let Ok(Item::McpListTools(list)) = serde_json::from_value(json.clone())
                    && list.error.is_none()
                {
                    lists.push(list);
                }
            }
            // An item that is added has no tools yet (Responses API, streaming events).
            Some("response.output_item.added") => {}
            _ => {
                let within = ["response", "output", "item"].into_iter();
                within
                    .filter_map(|name| fields.get(name))
                    .for_each(|value| find(value, lists));
            }
        },
        _ => {}
    }
}

/// The differences between a recorded list of tools and the live one, of which only those count that
/// the same `allowed_tools` lets through.
///
/// A tool that is gone, or has another schema, fails: a conversation that goes on from the recorded
/// list would call what is not there. Any other difference is a warning.
pub fn compare(recorded: &[McpListToolsTool], live: &[McpListToolsTool]) -> Step {
    let (before, now) = (by_name(recorded), by_name(live));
    let added = missing(&now, &before);
    let removed = missing(&before, &now);
    let changed = changed(&before, &now);
    let breaks_calls = !removed.is_empty()
        || changed
            .iter()
            .any(|(_, changes)| changes.iter().any(Change::breaks_calls));

    let changed: Vec<String> = changed
        .iter()
        .map(|(name, changes)| {
            let changes: Vec<String> = changes.iter().map(Change::text).collect();
            format!("{} ({})", quoted(name), changes.join(", "))
        })
        .collect();
    let differences = [("added", added), ("removed", removed), ("changed", changed)];
    let differences: Vec<String> = differences
        .iter()
        .filter(|(_, tools)| !tools.is_empty())
        .map(|(what, tools)| format!("{what}: {}", few(tools, ", ")))
        .collect();
    let complaint = Complaint {
        cause: differences.join("; "),
        hint: Some(
            "OpenAI does not list again while the recorded list is in context: begin a new conversation"
                .to_owned(),
        ),
    };
    Step {
        id: "against",
        title: "the tools match the recorded list".to_owned(),
        outcome: match (differences.is_empty(), breaks_calls) {
            (true, _) => Outcome::Pass(Some(counted(now.len()))),
            (false, true) => Outcome::Fail(complaint),
            (false, false) => Outcome::Warn(complaint),
        },
        duration: Duration::ZERO,
    }
}

type ByName<'a> = BTreeMap<&'a str, &'a McpListToolsTool>;

fn by_name(tools: &[McpListToolsTool]) -> ByName<'_> {
    tools.iter().map(|it| (it.name.as_str(), it)).collect()
}

/// Those of `tools` that are not among `others`.
fn missing(tools: &ByName, others: &ByName) -> Vec<String> {
    let missing = tools.keys().filter(|name| !others.contains_key(*name));
    missing.map(|name| quoted(name)).collect()
}

fn changed<'a>(before: &ByName<'a>, now: &ByName) -> Vec<(&'a str, Vec<Change>)> {
    before
        .iter()
        .filter_map(|(name, before)| Some((*name, changes(before, now.get(name)?))))
        .filter(|(_, changes)| !changes.is_empty())
        .collect()
}

/// What is not as it was.
enum Change {
    Description,
    /// At these JSON pointers.
    InputSchema(Vec<String>),
    /// What `annotations.read_only` is now.
    ReadOnly(bool),
}

impl Change {
    fn breaks_calls(&self) -> bool {
        matches!(self, Self::InputSchema(_))
    }

    fn text(&self) -> String {
        match self {
            Self::Description => "description".to_owned(),
            Self::InputSchema(pointers) => format!("input_schema at {}", few(pointers, ", ")),
            Self::ReadOnly(now) => format!("read_only is now {now}"),
        }
    }
}

fn changes(before: &McpListToolsTool, now: &McpListToolsTool) -> Vec<Change> {
    let description = |tool: &McpListToolsTool| tool.description.clone().unwrap_or_default();
    let mut pointers = Vec::new();
    compare_schemas(&before.input_schema, &now.input_schema, "", &mut pointers);
    let read_only = now.is_read_only();
    // Lists of mid-2025 have null for the annotations, which says nothing.
    let was_said = !before.annotations.is_null();
    [
        (description(before) != description(now)).then_some(Change::Description),
        (!pointers.is_empty()).then_some(Change::InputSchema(pointers)),
        (was_said && before.is_read_only() != read_only).then_some(Change::ReadOnly(read_only)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Finds the JSON pointers to what is not the same, as far down as both have it.
fn compare_schemas(before: &Value, now: &Value, at: &str, found: &mut Vec<String>) {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
            for name in names {
                let at = member(at, name);
                match (before.get(name), now.get(name)) {
                    (Some(Value::Array(before)), Some(Value::Array(now)))
                        if name == "required" && is_same_set(before, now) => {}
                    (Some(before), Some(now)) => compare_schemas(before, now, &at, found),
                    _ => found.push(quoted(&at)),
                }
            }
        }
        (Value::Array(before), Value::Array(now)) if before.len() == now.len() => {
            for (index, (before, now)) in before.iter().zip(now).enumerate() {
                compare_schemas(before, now, &member(at, &index.to_string()), found);
            }
        }
        _ if before == now => {}
        _ if at.is_empty() => found.push("its root".to_owned()),
        _ => found.push(quoted(at)),
    }
}

/// Some servers list the required properties in another order each time.
fn is_same_set(before: &[Value], now: &[Value]) -> bool {
    let names = |values: &'_ [Value]| -> BTreeSet<String> {
        values.iter().map(ToString::to_string).collect()
    };
    names(before) == names(now)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn roll() -> Value {
        json!({
            "name": "roll",
            "description": "Roll dice.",
            "input_schema": {
                "type": "object",
                "properties": {"n_dice": {"type": "integer"}, "sides": {"enum": [6, 20]}},
                "required": ["n_dice", "sides"],
            },
            "annotations": {"read_only": false},
        })
    }

    fn tools(tools: Value) -> Vec<McpListToolsTool> {
        serde_json::from_value(tools).unwrap()
    }

    fn compared(recorded: Value, live: Value) -> (&'static str, String) {
        match compare(&tools(recorded), &tools(live)).outcome {
            Outcome::Pass(note) => ("pass", note.unwrap_or_default()),
            Outcome::Warn(complaint) => ("warn", complaint.cause),
            Outcome::Fail(complaint) => ("fail", complaint.cause),
            Outcome::Skip(why) => ("skip", why),
        }
    }

    #[test]
    fn the_same_list_passes_in_whatever_order() {
        let mut other = roll();
        other["input_schema"] = json!({
            "required": ["sides", "n_dice"],
            "properties": {"sides": {"enum": [6, 20]}, "n_dice": {"type": "integer"}},
            "type": "object",
        });
        let peek = json!({"name": "peek"});
        assert_eq!(
            compared(json!([roll(), peek]), json!([peek, other])),
            ("pass", "2 tools".to_owned())
        );
    }

    #[test]
    fn a_tool_more_is_a_warning_and_a_tool_less_fails() {
        let peek = json!({"name": "peek"});
        assert_eq!(
            compared(json!([roll()]), json!([roll(), peek])),
            ("warn", "added: `peek`".to_owned())
        );
        assert_eq!(
            compared(json!([roll(), peek]), json!([roll()])),
            ("fail", "removed: `peek`".to_owned())
        );
        assert_eq!(
            compared(json!([roll()]), json!([peek])),
            ("fail", "added: `peek`; removed: `roll`".to_owned())
        );
    }

    #[test]
    fn what_has_changed_is_named_with_where_it_is() {
        for (pointer, value, word, change) in [
            ("/description", json!("Roll two."), "warn", "description"),
            (
                "/annotations",
                json!({"read_only": true}),
                "warn",
                "read_only is now true",
            ),
            (
                "/input_schema/properties/n_dice/type",
                json!("string"),
                "fail",
                "input_schema at `/properties/n_dice/type`",
            ),
            (
                "/input_schema/properties/sides/enum/1",
                json!(12),
                "fail",
                "input_schema at `/properties/sides/enum/1`",
            ),
            (
                "/input_schema/properties",
                json!({"n_dice": {"type": "integer", "a/b": 1}}),
                "fail",
                "input_schema at `/properties/n_dice/a~1b`, `/properties/sides`",
            ),
            (
                "/input_schema/required",
                json!(["n_dice"]),
                "fail",
                "input_schema at `/required`",
            ),
            (
                "/input_schema",
                json!(null),
                "fail",
                "input_schema at its root",
            ),
        ] {
            let mut live = roll();
            *live.pointer_mut(pointer).unwrap() = value;
            assert_eq!(
                compared(json!([roll()]), json!([live])),
                (word, format!("changed: `roll` ({change})"))
            );
        }
    }

    #[test]
    fn what_the_recording_does_not_say_is_no_difference() {
        let mut recorded = roll();
        recorded["annotations"] = json!(null);
        recorded["new_field"] = json!(1);
        let mut live = roll();
        live["annotations"] = json!({"read_only": true});
        assert_eq!(compared(json!([recorded]), json!([live])).0, "pass");
        assert_eq!(
            compared(
                json!([{"name": "a", "description": null}]),
                json!([{"name": "a", "description": ""}])
            )
            .0,
            "pass"
        );
    }

    fn names(json: &Value, label: Option<&str>) -> Option<Vec<String>> {
        let tools = read(json, label)?;
        Some(tools.into_iter().map(|tool| tool.name).collect())
    }

    fn list(label: &str, tool: &str) -> Value {
        json!({"type": "mcp_list_tools", "id": "mcpl_1", "server_label": label,
               "tools": [{"name": tool, "input_schema": {}}]})
    }

    #[test]
    fn a_list_is_found_in_every_form_of_a_recording() {
        let item = list("dice", "roll");
        let message = json!({"type": "message", "role": "user", "content": "Roll"});
        let response = json!({"object": "response", "output": [item, message]});
        let added = json!({"type": "response.output_item.added", "item":
            {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "dice", "tools": []}});
        for recording in [
            item.clone(),
            json!([message, item]),
            response.clone(),
            json!([added, {"type": "response.output_item.done", "item": item}]),
            json!([added, {"type": "response.completed", "response": response}]),
            json!([{"type": "response.output_item.done", "item": item}, added]),
        ] {
            for label in [None, Some("dice")] {
                let found = names(&recording, label);
                assert_eq!(found, Some(vec!["roll".to_owned()]), "{recording}");
            }
            assert_eq!(names(&recording, Some("other")), None, "{recording}");
        }
    }

    #[test]
    fn of_several_lists_the_last_of_the_server_is_read() {
        let recording = json!([list("a", "old"), list("b", "b"), list("a", "new")]);
        assert_eq!(names(&recording, Some("a")), Some(vec!["new".to_owned()]));
        assert_eq!(names(&recording, None), None);
    }

    #[test]
    fn a_list_that_failed_is_none() {
        let mut failed = list("a", "roll");
        failed["error"] = json!("424");
        assert_eq!(names(&failed, Some("a")), None);
        for json in [json!(null), json!("mcp_list_tools"), json!({"output": 1})] {
            assert_eq!(names(&json, None), None);
        }
    }

    #[test]
    fn every_recorded_list_is_read_and_is_its_own_equal() {
        let mut lists = 0;
        for (name, body) in crate::responses::fixtures("response.json") {
            let response: Value = serde_json::from_slice(&body).unwrap();
            if let Some(tools) = read(&response, None) {
                lists += 1;
                let step = compare(&tools, &tools);
                assert!(matches!(step.outcome, Outcome::Pass(_)), "{name}: {step:?}");
            }
        }
        assert!(lists > 5, "{lists}");
    }
}
