//! What is echoed of a tool entry: names kept, secrets gone.

use serde_json::{Map, Value, json};

use crate::address;
use crate::responses::{
    MCPTool, MCPToolAllowedTools, MCPToolFilter, MCPToolRequireApproval, ToolEntry,
};

const REDACTED: &str = "<redacted>";

/// The entry as a response repeats it (recorded: unset fields are null, filters name both keys).
pub fn echo(entry: &ToolEntry) -> Value {
    match entry {
        ToolEntry::Mcp(tool) => echo_mcp(tool),
        ToolEntry::Other(tool) => Value::Object(tool.clone()),
    }
}

fn echo_mcp(tool: &MCPTool) -> Value {
    let allowed_tools = match &tool.allowed_tools {
        None => Value::Null,
        Some(MCPToolAllowedTools::List(names)) => json!(names),
        Some(MCPToolAllowedTools::Filter(it)) => filter(it),
    };
    let require_approval = match &tool.require_approval {
        None => json!("always"),
        Some(MCPToolRequireApproval::ApprovalSetting(setting)) => json!(setting),
        Some(MCPToolRequireApproval::Filter(it)) => json!({
            "always": it.always.as_ref().map(filter),
            "never": it.never.as_ref().map(filter),
        }),
    };
    let mut echo = json!({
        "type": "mcp",
        "allowed_tools": allowed_tools,
        "headers": tool.headers.as_ref().map(redacted_values),
        "require_approval": require_approval,
        "server_description": tool.server_description,
        "server_label": tool.server_label,
        "server_url": tool.server_url.as_deref().map(shown),
    });
    if tool.authorization.is_some() {
        echo["authorization"] = json!(REDACTED);
    }
    // An id is no secret: who uses it needs the key as well. That OpenAI repeats it is not verified.
    if let Some(id) = &tool.tunnel_id {
        echo["tunnel_id"] = json!(id);
    }
    echo
}

fn filter(filter: &MCPToolFilter) -> Value {
    json!({"read_only": filter.read_only, "tool_names": filter.tool_names})
}

fn redacted_values(headers: &Value) -> Value {
    let names = headers.as_object().into_iter().flat_map(Map::keys);
    names
        .map(|name| (name.clone(), json!(REDACTED)))
        .collect::<Map<_, _>>()
        .into()
}

/// The URL without what can be a secret: a user, a password, a query. The path is shown, as OpenAI
/// has done since November 2025.
fn shown(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(parsed) if has_secrets(&parsed) => address::shown(&parsed),
        // As it was written: parsing may add a slash.
        _ => url.to_owned(),
    }
}

fn has_secrets(url: &url::Url) -> bool {
    let has_user = !url.username().is_empty() || url.password().is_some();
    has_user || url.query().is_some() || url.fragment().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::responses::CreateResponse;

    #[test]
    fn a_recorded_request_is_echoed_as_openai_echoed_it() {
        for name in [
            "dotnet-MCPToolWithAllowedTools.1",
            "pydantic-mcp_server_tool.1",
            "dotnet-MCPToolNeverRequiresApproval_False.1",
            "dotnet-MCPToolAlwaysRequiresApproval_True.1",
        ] {
            let recorded = |what: &str| -> Value {
                let (_, body) = crate::responses::fixtures(&format!("{name}.{what}")).remove(0);
                serde_json::from_slice(&body).unwrap()
            };
            let request: CreateResponse = serde_json::from_value(recorded("request.json")).unwrap();
            let mut expected = recorded("response.json")["tools"][0].clone();
            // Until October 2025 the path of the URL was hidden too.
            expected["server_url"] = recorded("request.json")["tools"][0]["server_url"].take();
            assert_eq!(echo(&request.tools.unwrap()[0]), expected, "{name}");
        }
    }

    #[test]
    fn no_secret_is_echoed() {
        let entry: ToolEntry = serde_json::from_value(json!({
            "type": "mcp",
            "server_label": "dice",
            "server_url": "https://user:canary@example.com/mcp?key=canary#canary",
            "authorization": "canary",
            "headers": {"X-Key": "canary"},
        }))
        .unwrap();
        let echo = echo(&entry);
        assert!(!echo.to_string().contains("canary"), "{echo}");
        assert_eq!(echo["headers"], json!({"X-Key": "<redacted>"}));
        assert_eq!(echo["server_url"], "https://example.com/mcp");
    }
}
