//! Which tools of a server a tool entry offers to the model, and which calls need approval.

use crate::responses::{
    MCPTool, MCPToolAllowedTools, MCPToolApprovalSetting, MCPToolFilter, MCPToolRequireApproval,
    McpListToolsTool,
};

/// Whether `allowed_tools` of a tool entry lets the model see this tool.
pub fn allows(entry: &MCPTool, tool: &McpListToolsTool) -> bool {
    match &entry.allowed_tools {
        None => true,
        Some(MCPToolAllowedTools::List(names)) => names.contains(&tool.name),
        Some(MCPToolAllowedTools::Filter(filter)) => matches(filter, tool),
    }
}

/// Whether a filter names the tool: every condition that is set must hold, and one must be set.
fn matches(filter: &MCPToolFilter, tool: &McpListToolsTool) -> bool {
    let by_name = filter
        .tool_names
        .as_ref()
        .map(|names| names.contains(&tool.name));
    let by_hint = filter
        .read_only
        .map(|read_only| tool.is_read_only() == read_only);
    match (by_name, by_hint) {
        (None, None) => false,
        (by_name, by_hint) => by_name.unwrap_or(true) && by_hint.unwrap_or(true),
    }
}

/// Whether a call of this tool needs approval; a tool in neither filter does (recorded).
pub fn needs_approval(entry: &MCPTool, tool: &McpListToolsTool) -> bool {
    match &entry.require_approval {
        None => true,
        Some(MCPToolRequireApproval::ApprovalSetting(setting)) => {
            *setting == MCPToolApprovalSetting::Always
        }
        Some(MCPToolRequireApproval::Filter(filter)) => {
            let named =
                |it: &Option<MCPToolFilter>| it.as_ref().is_some_and(|it| matches(it, tool));
            named(&filter.always) || !named(&filter.never)
        }
    }
}
