//! An MCP tool as the Responses API lists it.

use rmcp::model::Tool;
use serde_json::{Map, Value, json};

use crate::responses::McpListToolsTool;

/// An MCP tool as `mcp_list_tools` shows it. Of its annotations, only the derived `read_only` is.
pub fn listed(tool: Tool) -> McpListToolsTool {
    let hints = tool.annotations.unwrap_or_default();
    let read_only = hints.read_only_hint;
    McpListToolsTool {
        annotations: json!({"read_only": read_only.unwrap_or(false)}),
        description: tool.description.map(Into::into),
        input_schema: Value::Object((*tool.input_schema).clone()),
        name: tool.name.into_owned(),
        is_annotated_as_acting: read_only == Some(false) || hints.destructive_hint == Some(true),
        rest: Map::new(),
    }
}
