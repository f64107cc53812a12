//! `tool_choice`: which tools it leaves to the model, and whether one of them must be called.

use serde_json::{Map, Value};

use crate::responses::{
    AllowedTool, CreateResponse, Error, ToolChoice, ToolChoiceMcp, ToolChoiceMode, ToolEntry,
};

/// Refuses a choice of what is not among the request's tools (recorded: HTTP 400).
pub fn refuse_unknown(request: &CreateResponse) -> Result<(), Error> {
    let unknown = match &request.tool_choice {
        None | Some(ToolChoice::Mode(_)) => None,
        Some(ToolChoice::Mcp(choice)) => unknown_server(request, choice),
        Some(ToolChoice::AllowedTools(choice)) => choice.tools.iter().find_map(|tool| match tool {
            AllowedTool::Mcp(tool) => unknown_server(request, tool),
            AllowedTool::Other(tool) => unknown_tool(request, |field| tool.get(field)?.as_str()),
        }),
        Some(ToolChoice::Other(choice)) => match choice.as_str() {
            Some(word) => Some(word.to_owned()),
            None => unknown_tool(request, |field| choice.get(field)?.as_str()),
        },
    };
    match unknown {
        None => Ok(()),
        Some(name) => Err(Error::bad_request(
            "tool_choice",
            None,
            format!("Tool choice '{name}' not found in 'tools' parameter."),
        )),
    }
}

fn unknown_server(request: &CreateResponse, choice: &ToolChoiceMcp) -> Option<String> {
    let label = &choice.server_label;
    let is_known = request.mcp_tools().any(|it| it.server_label == *label);
    (!is_known).then(|| label.clone())
}

/// The name of a tool that is chosen and not there: that of a function, or the type of another.
fn unknown_tool<'a>(
    request: &CreateResponse,
    chosen: impl Fn(&str) -> Option<&'a str>,
) -> Option<String> {
    let kind = chosen("type").unwrap_or_default();
    let name = chosen("name");
    let is_chosen = |entry: &ToolEntry| match entry {
        ToolEntry::Mcp(_) => false,
        ToolEntry::Other(fields) => {
            let field = |field: &str| fields.get(field).and_then(|it| it.as_str());
            field("type") == Some(kind) && name.is_none_or(|it| field("name") == Some(it))
        }
    };
    let is_known = request.tools.iter().flatten().any(is_chosen);
    (!is_known).then(|| name.unwrap_or(kind).to_owned())
}

/// Whether a call is demanded.
pub fn demands_call(choice: Option<&ToolChoice>) -> bool {
    match choice {
        None => false,
        Some(ToolChoice::Mode(mode)) => *mode == ToolChoiceMode::Required,
        Some(ToolChoice::AllowedTools(choice)) => choice.mode == ToolChoiceMode::Required,
        Some(ToolChoice::Mcp(_) | ToolChoice::Other(_)) => true,
    }
}

/// Whether the tool `name` of the server `label` is left to the model.
pub fn leaves(choice: Option<&ToolChoice>, label: &str, name: &str) -> bool {
    let names = |it: &ToolChoiceMcp| {
        it.server_label == label && it.name.as_ref().is_none_or(|it| it == name)
    };
    match choice {
        None => true,
        Some(ToolChoice::Mode(mode)) => *mode != ToolChoiceMode::None,
        Some(ToolChoice::Mcp(choice)) => names(choice),
        Some(ToolChoice::AllowedTools(choice)) => choice
            .tools
            .iter()
            .any(|tool| matches!(tool, AllowedTool::Mcp(tool) if names(tool))),
        // A tool of another type must be called, and so none of a server can be.
        Some(ToolChoice::Other(_)) => false,
    }
}

/// Whether a tool of another type, such as a function of the client, is left to the model.
pub fn leaves_other(choice: Option<&ToolChoice>, entry: &Map<String, Value>) -> bool {
    let same = |one: &Map<String, Value>, field: &str| one.get(field) == entry.get(field);
    match choice {
        Some(ToolChoice::AllowedTools(choice)) => choice.tools.iter().any(
            |tool| matches!(tool, AllowedTool::Other(it) if same(it, "type") && same(it, "name")),
        ),
        None | Some(ToolChoice::Mode(_) | ToolChoice::Mcp(_) | ToolChoice::Other(_)) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(tool_choice: &Value) -> CreateResponse {
        serde_json::from_value(json!({
            "input": "Go",
            "tools": [
                {"type": "mcp", "server_label": "dice", "server_url": "http://a/"},
                {"type": "mcp", "server_label": "cards", "server_url": "http://a/"},
                {"type": "function", "name": "toss", "parameters": {}},
                {"type": "web_search"},
            ],
            "tool_choice": tool_choice,
        }))
        .unwrap()
    }

    #[test]
    fn every_form_of_a_choice_says_what_may_and_what_must_be_called() {
        let allowed = |mode: &str, tools: Value| json!({"type": "allowed_tools", "mode": mode, "tools": tools});
        let dice = json!({"type": "mcp", "server_label": "dice"});
        let roll = json!({"type": "mcp", "server_label": "dice", "name": "roll"});
        let toss = json!({"type": "function", "name": "toss"});
        // Whether a call is demanded, and whether dice.roll, dice.peek and cards.draw may be it.
        for (choice, demanded, left) in [
            (json!(null), false, [true, true, true]),
            (json!("auto"), false, [true, true, true]),
            (json!("none"), false, [false, false, false]),
            (json!("required"), true, [true, true, true]),
            (dice.clone(), true, [true, true, false]),
            (roll.clone(), true, [true, false, false]),
            (
                json!({"type": "mcp", "server_label": "dice", "name": null}),
                true,
                [true, true, false],
            ),
            (toss.clone(), true, [false, false, false]),
            (json!({"type": "web_search"}), true, [false, false, false]),
            (allowed("auto", json!([dice])), false, [true, true, false]),
            (
                allowed("required", json!([roll, toss])),
                true,
                [true, false, false],
            ),
            (allowed("required", json!([])), true, [false, false, false]),
        ] {
            let request = request(&choice);
            assert!(refuse_unknown(&request).is_ok(), "{choice}");
            let read = request.tool_choice.as_ref();
            assert_eq!(demands_call(read), demanded, "{choice}");
            let tools = [("dice", "roll"), ("dice", "peek"), ("cards", "draw")];
            let is_left = tools.map(|(label, name)| leaves(read, label, name));
            assert_eq!(is_left, left, "{choice}");
        }
    }

    #[test]
    fn allowed_tools_are_those_of_the_client_too() {
        let choice = json!({"type": "allowed_tools", "mode": "auto", "tools": [
            {"type": "function", "name": "toss"}, {"type": "web_search"}]});
        let request = request(&choice);
        for (entry, is_left) in [
            (
                json!({"type": "function", "name": "toss", "parameters": {}}),
                true,
            ),
            (json!({"type": "function", "name": "flip"}), false),
            (json!({"type": "web_search"}), true),
            (json!({"type": "file_search"}), false),
        ] {
            let fields = entry.as_object().unwrap();
            assert_eq!(
                leaves_other(request.tool_choice.as_ref(), fields),
                is_left,
                "{entry}"
            );
            assert!(leaves_other(None, fields));
        }
    }

    #[test]
    fn a_choice_of_what_is_not_there_is_refused_by_its_name() {
        for (choice, name) in [
            (json!("banana"), "banana"),
            (json!({"type": "mcp", "server_label": "coins"}), "coins"),
            (json!({"type": "function", "name": "roll"}), "roll"),
            (json!({"type": "file_search"}), "file_search"),
            (
                json!({"type": "allowed_tools", "mode": "auto", "tools": [
                {"type": "mcp", "server_label": "dice"}, {"type": "mcp", "server_label": "coins"}]}),
                "coins",
            ),
        ] {
            let Err(Error::Refused {
                status: 400, error, ..
            }) = refuse_unknown(&request(&choice))
            else {
                panic!("{choice} was accepted");
            };
            assert_eq!(
                error.message,
                format!("Tool choice '{name}' not found in 'tools' parameter.")
            );
            assert_eq!(error.param.as_deref(), Some("tool_choice"));
        }
    }
}
