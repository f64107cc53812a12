//! A tool as a person reads a signature: `roll_dice(n_dice: int)`, and a list of them.

use std::collections::HashSet;

use console::measure_text_width;
use serde_json::Value;

use super::sanitize::one_line;
use crate::mcp::Tool;
use crate::schema::{TooLarge, Type, Work, shortened};

/// How wide the column of signatures gets; one that is wider stands out of it.
const WIDEST_COLUMN: usize = 40;
/// The least room that is worth a description, in columns.
const LEAST_ROOM: usize = 20;

/// The keywords of a schema that are told beside its type, each with its word.
const KEYWORDS: [(&str, &str); 8] = [
    ("minimum", "at least"),
    ("maximum", "at most"),
    ("exclusiveMinimum", "more than"),
    ("exclusiveMaximum", "less than"),
    ("minLength", "length at least"),
    ("maxLength", "length at most"),
    ("pattern", "pattern"),
    ("default", "default"),
];

/// Tools as lines, and the names of those whose `inputSchema` is too large to be shown whole.
pub struct Table {
    pub lines: Vec<String>,
    pub too_large: Vec<String>,
}

/// The tool with its parameters, in the order of its `inputSchema`. `?` or a default stands at
/// those that may be left out. An error has the signature as far as `work` allows.
fn signature(tool: &Tool, work: &mut Work) -> Result<String, String> {
    let root = Value::Object(tool.input_schema().clone());
    let required = root["required"].as_array().into_iter().flatten();
    let required: HashSet<&str> = required.filter_map(Value::as_str).collect();
    let properties = root["properties"].as_object().into_iter().flatten();
    let mut parameters = Vec::new();
    let read = || -> Result<(), TooLarge> {
        for (name, schema) in properties {
            let is_required = required.contains(name.as_str());
            parameters.push(parameter(name, schema, is_required, &root, work)?);
        }
        Ok(())
    };
    let is_whole = read().is_ok();
    if !is_whole {
        parameters.push("...".to_owned());
    }
    let signature = format!("{}({})", one_line(tool.name()), parameters.join(", "));
    match is_whole {
        true => Ok(signature),
        false => Err(signature),
    }
}

fn parameter(
    name: &str,
    schema: &Value,
    is_required: bool,
    root: &Value,
    work: &mut Work,
) -> Result<String, TooLarge> {
    work.copy(name.len())?;
    let kind = Type::read(schema, root, work)?;
    let default = schema.get("default").filter(|_| !is_required);
    let mark = match is_required || default.is_some() {
        true => "",
        false => "?",
    };
    let default = default.map_or(String::new(), |it| format!(" = {}", shortened(it)));
    Ok(one_line(&format!("{name}{mark}: {kind}{default}")))
}

/// The tools, aligned. In a pipe, which has no `width`, each is one line; on a terminal of that
/// many columns descriptions are cut to the width, and stand below a signature that is wide.
pub fn table(tools: &[Tool], width: Option<usize>) -> Table {
    let mut work = Work::of_list();
    let mut too_large = Vec::new();
    let mut rows = Vec::with_capacity(tools.len());
    for tool in tools {
        work.next_schema();
        let signature = signature(tool, &mut work).unwrap_or_else(|signature| {
            too_large.push(tool.name().to_owned());
            signature
        });
        rows.push((signature, purpose(tool)));
    }
    let widths = rows
        .iter()
        .map(|(signature, _)| measure_text_width(signature));
    let column = widths.filter(|it| *it <= WIDEST_COLUMN).max().unwrap_or(0);
    let lines = rows
        .iter()
        .map(|(signature, purpose)| row(signature, purpose, column, width))
        .collect();
    Table { lines, too_large }
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

/// All that there is to say of a tool: its signature, its description, each parameter, what comes back,
/// and its annotations.
pub fn whole(tool: &Tool) -> String {
    let mut work = Work::of_schema();
    let signature = signature(tool, &mut work).unwrap_or_else(|cut| cut);
    let mut lines = vec![signature];
    let title = tool.title().filter(|it| !it.is_empty());
    lines.extend(title.map(|title| format!("  {}", one_line(title))));
    let description = tool.description().unwrap_or_default().trim();
    lines.extend(
        description
            .lines()
            .map(|line| format!("  {}", one_line(line))),
    );
    let input = Value::Object(tool.input_schema().clone());
    section("parameters", properties(&input, &mut work), &mut lines);
    let output = tool.get("outputSchema").unwrap_or(&Value::Null);
    section("returns", properties(output, &mut work), &mut lines);
    let fields = |field: &str| {
        let fields = tool.get(field).and_then(Value::as_object);
        let fields = fields.into_iter().flatten();
        fields.map(|(name, value)| format!("{}: {}", one_line(name), one_line(&shortened(value))))
    };
    section("annotations", fields("annotations").collect(), &mut lines);
    section("execution", fields("execution").collect(), &mut lines);
    section("_meta", fields("_meta").collect(), &mut lines);
    lines.join("\n")
}

fn section(title: &str, content: Vec<String>, lines: &mut Vec<String>) {
    if !content.is_empty() {
        lines.push(title.to_owned());
        lines.extend(content.into_iter().map(|line| format!("  {line}")));
    }
}

/// Each property of an object: its name, its type, whether it may be left out, and what it is.
fn properties(root: &Value, work: &mut Work) -> Vec<String> {
    let required = root["required"].as_array().into_iter().flatten();
    let required: HashSet<&str> = required.filter_map(Value::as_str).collect();
    let properties = root["properties"].as_object().into_iter().flatten();
    let lines = properties.map(|(name, schema)| {
        let kind =
            Type::read(schema, root, work).map_or_else(|_| "...".to_owned(), |it| it.to_string());
        let mut line = format!("{}: {}", one_line(name), one_line(&kind));
        if !required.contains(name.as_str()) {
            line.push_str(", optional");
        }
        for (keyword, word) in KEYWORDS {
            if let Some(value) = schema.get(keyword) {
                line.push_str(&format!(", {word} {}", one_line(&shortened(value))));
            }
        }
        if let Some(description) = schema["description"].as_str() {
            line.push_str(&format!(". {}", one_line(description.trim())));
        }
        line
    });
    lines.collect()
}

/// What the tool does to the world, as its server says, and the first line of its description.
fn purpose(tool: &Tool) -> String {
    let hint = hint(tool);
    let description = tool.description().or(tool.title());
    let first = description.unwrap_or_default().trim().lines().next();
    let first = first.map(|line| one_line(line.trim_end()));
    let parts = hint.map(str::to_owned).into_iter().chain(first);
    parts.collect::<Vec<_>>().join(" ")
}

fn hint(tool: &Tool) -> Option<&'static str> {
    match (tool.hint("readOnlyHint"), tool.hint("destructiveHint")) {
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
    fn a_schema_that_is_too_large_is_named_and_shown_as_far_as_it_goes() {
        let parameters: serde_json::Map<String, Value> = (0..100_000)
            .map(|number| (format!("p{number}"), json!({"type": "integer"})))
            .collect();
        let large = tool(json!({"name": "large", "inputSchema": {"properties": parameters}}));
        let [small, ..] = tools();
        let table = table(&[large, small], None);
        assert!(table.lines[0].starts_with("large(p0?: int, p1?: int"));
        assert!(table.lines[0].ends_with(", ...)"));
        assert!(table.lines[1].starts_with("roll_dice(n_dice: int)"));
        assert_eq!(table.too_large, ["large"]);
    }

    #[test]
    fn what_a_server_puts_into_a_signature_cannot_drive_the_terminal() {
        let tool = tool(json!({"name": "draw", "inputSchema": {"properties": {
            "suit\u{1b}[2J": {"enum": ["\u{202e}"], "default": "\u{202e}"}}}}));
        let lines = table(&[tool], None).lines.join("\n");
        assert!(!lines.contains(['\u{1b}', '\u{202e}']), "{lines:?}");
    }

    #[test]
    fn in_a_pipe_a_tool_is_a_line() {
        insta::assert_snapshot!(table(&tools(), None).lines.join("\n"), @r#"
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
        let lines = table(&[long, first, second], Some(60)).lines;
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
