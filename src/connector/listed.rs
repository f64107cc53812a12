//! An MCP tool as the Responses API lists it.

use serde_json::{Map, json};

use crate::mcp::Tool;
use crate::responses::McpListToolsTool;

/// An MCP tool as `mcp_list_tools` shows it. Of its annotations, only the derived `read_only` is.
pub fn listed(tool: Tool) -> McpListToolsTool {
    let read_only = tool.hint("readOnlyHint");
    let is_destructive = tool.hint("destructiveHint") == Some(true);
    let (name, description, input_schema) = tool.into_parts();
    McpListToolsTool {
        annotations: json!({"read_only": read_only.unwrap_or(false)}),
        description,
        input_schema,
        name,
        is_annotated_as_acting: read_only == Some(false) || is_destructive,
        rest: Map::new(),
    }
}
