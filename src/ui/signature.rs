//! A tool as a person reads a signature: `roll_dice(n_dice: int)`, and a list of them.

use std::collections::HashSet;

use console::measure_text_width;
use rmcp::model::{Tool, ToolAnnotations};
use serde_json::Value;

use super::sanitize::one_line;
use super::types::{Type, shown};

/// How wide the column of signatures gets; one that is wider stands out of it.
const WIDEST_COLUMN: usize = 40;
/// The least room that is worth a description, in columns.
const LEAST_ROOM: usize = 20;

/// The tool with its parameters, in the order of its `inputSchema`. `?` or a default stands at
/// those that may be left out.
pub fn signature(tool: &Tool) -> String {
    let root = Value::Object((*tool.input_schema).clone());
    let required = root["required"].as_array().into_iter().flatten();
    let required: HashSet<&str> = required.filter_map(Value::as_str).collect();
    let parameters: Vec<String> = root["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, schema)| {
            let is_required = required.contains(name.as_str());
            let default = schema.get("default").filter(|_| !is_required);
            let mark = if is_required || default.is_some() {
                ""
            } else {
                "?"
            };
            let default = default.map_or(String::new(), |it| format!(" = {}", shown(it)));
            format!(
                "{}{mark}: {}{default}",
                one_line(name),
                Type::read(schema, &root)
            )
        })
        .collect();
    format!("{}({})", one_line(&tool.name), parameters.join(", "))
}

/// The tools, aligned. In a pipe, which has no `width`, each is one line; on a terminal of that
/// many columns what a tool is for is cut to the width, and stands below a signature that is wide.
pub fn table(tools: &[Tool], width: Option<usize>) -> Vec<String> {
    let rows: Vec<(String, String)> = tools
        .iter()
        .map(|it| (signature(it), purpose(it)))
        .collect();
    let widths = rows
        .iter()
        .map(|(signature, _)| measure_text_width(signature));
    let column = widths.filter(|it| *it <= WIDEST_COLUMN).max().unwrap_or(0);
    rows.iter()
        .map(|(signature, purpose)| row(signature, purpose, column, width))
        .collect()
}

fn row(signature: &str, purpose: &str, column: usize, width: Option<usize>) -> String {
    let taken = measure_text_width(signature);
    if purpose.is_empty() {
        return signature.to_owned();
    }
    let gap = " ".repeat(column.saturating_sub(taken) + 2);
    let Some(width) = width else {
        return format!("{signature}{gap}{purpose}");
    };
    let is_wide = taken > column || column + 2 + LEAST_ROOM > width;
    let (gap, begin) = match is_wide {
        true => ("\n    ".to_owned(), 4),
        false => (gap, column + 2),
    };
    let purpose = console::truncate_str(purpose, width.saturating_sub(begin), "...");
    format!("{signature}{gap}{purpose}")
}

/// What the tool does to the world, as its server says, and the first line of its description.
fn purpose(tool: &Tool) -> String {
    let hint = tool.annotations.as_ref().and_then(hint);
    let description = tool.description.as_deref().or(tool.title.as_deref());
    let first = description.unwrap_or_default().trim().lines().next();
    let first = first.map(|line| one_line(line.trim_end()));
    let parts = hint.map(str::to_owned).into_iter().chain(first);
    parts.collect::<Vec<_>>().join(" ")
}

fn hint(annotations: &ToolAnnotations) -> Option<&'static str> {
    match (annotations.read_only_hint, annotations.destructive_hint) {
        (Some(true), _) => Some("[read-only]"),
        // Not said, it is true to MCP; what is said of every tool is not worth reading.
        (_, Some(true)) => Some("[destructive]"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(value: Value) -> Tool {
        serde_json::from_value(value).unwrap()
    }

    fn tools() -> [Tool; 4] {
        [
            tool(
                json!({"name": "roll_dice", "description": "Roll dice.\nSlowly.", "inputSchema":
                {"properties": {"n_dice": {"type": "integer"}}, "required": ["n_dice"]}}),
            ),
            tool(
                json!({"name": "draw", "title": "Draw a card", "inputSchema": {"properties": {
                "suit": {"enum": ["hearts", "spades"]}, "seed": {"type": "integer", "default": 7},
                "options": {"type": "object", "properties": {"a": {}}}}, "required": ["suit"]},
                "annotations": {"readOnlyHint": true}}),
            ),
            tool(
                json!({"name": "wipe\u{1b}[2J", "description": "\u{202e}x", "inputSchema": {},
                "annotations": {"destructiveHint": true}}),
            ),
            tool(json!({"name": "bare", "inputSchema": {"type": "object"}})),
        ]
    }

    #[test]
    fn in_a_pipe_a_tool_is_a_line() {
        insta::assert_snapshot!(table(&tools(), None).join("\n"), @r#"
        roll_dice(n_dice: int)  Roll dice.
        draw(suit: "hearts" | "spades", seed: int = 7, options?: object)  [read-only] Draw a card
        wipe\u{1b}[2J()         [destructive] \u{202e}x
        bare()
        "#);
    }

    #[test]
    fn on_a_terminal_what_a_tool_is_for_is_cut_and_its_signature_is_not() {
        let long = tool(
            json!({"name": "a", "description": "\u{9ab0}\u{5b50} ".repeat(30), "inputSchema": {}}),
        );
        let [first, second, ..] = tools();
        let lines = table(&[long, first, second], Some(60));
        insta::assert_snapshot!(lines.join("\n"), @r#"
        a()                     骰子 骰子 骰子 骰子 骰子 骰子 骰...
        roll_dice(n_dice: int)  Roll dice.
        draw(suit: "hearts" | "spades", seed: int = 7, options?: object)
            [read-only] Draw a card
        "#);
        for line in lines
            .iter()
            .flat_map(|it| it.lines())
            .filter(|it| !it.starts_with("draw"))
        {
            assert!(measure_text_width(line) <= 60, "{line}");
        }
    }
}
