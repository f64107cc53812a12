//! MCP to the Responses API and back: which server, which tools, whether to ask, what came of it.

use std::collections::HashMap;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use rmcp::model::{CallToolResult, ContentBlock, Tool};
use serde_json::{Map, Value, json};
use url::Url;

use crate::mcp;
use crate::responses::{
    Error, FailedDependency, MCPTool, MCPToolAllowedTools, MCPToolApprovalSetting, MCPToolFilter,
    MCPToolRequireApproval, McpCallError, McpListToolsTool,
};
use crate::secret::Secret;

/// The most bytes that a tool entry puts into each request to its server. Servers refuse a head of
/// more, and a connection keeps them for as long as it lasts.
const MOST_OF_REQUEST: usize = 64 * 1024;

/// A tool entry of a request that this machine can serve.
#[derive(Clone)]
pub struct Server {
    pub entry: MCPTool,
    pub server: mcp::Server,
}

impl Server {
    /// Reads an `mcp` tool entry; what it says must be usable before anything is connected.
    ///
    /// `commands` are the servers that are started on this machine, by label.
    pub fn read(entry: &MCPTool, commands: &HashMap<String, mcp::Command>) -> Result<Self, Error> {
        let refuse = |message: String| Error::bad_request("tools", None, message);
        let label = &entry.server_label;
        let endpoint = match (&entry.server_url, commands.get(label)) {
            (Some(url), _) => Url::parse(url)
                .ok()
                .filter(|url| matches!(url.scheme(), "http" | "https"))
                .map(mcp::Endpoint::Http)
                .ok_or_else(|| {
                    refuse(format!(
                        "The 'server_url' of MCP server '{label}' is not an http or https URL."
                    ))
                })?,
            (None, Some(command)) => mcp::Endpoint::Stdio(command.clone()),
            (None, None) => {
                return Err(refuse(format!(
                    "MCP server '{label}' has no 'server_url'; connectors and tunnels exist at OpenAI only."
                )));
            }
        };
        let headers = read_headers(entry.headers.as_ref())
            .map_err(|why| refuse(format!("The 'headers' of MCP server '{label}' {why}.")))?;
        if let Some(token) = &entry.authorization {
            if HeaderValue::from_str(token).is_err() {
                return Err(refuse(format!(
                    "The 'authorization' of MCP server '{label}' cannot be sent in an HTTP header."
                )));
            }
            if headers.contains_key(AUTHORIZATION) {
                return Err(refuse(format!(
                    "MCP server '{label}' has an 'authorization' and an Authorization header: leave one of them out."
                )));
            }
        }
        let token = entry.authorization.as_ref().map_or(0, String::len);
        let url = entry.server_url.as_ref().map_or(0, String::len);
        let names = headers
            .iter()
            .map(|(name, it)| name.as_str().len() + it.len());
        if token + url + names.sum::<usize>() > MOST_OF_REQUEST {
            return Err(refuse(format!(
                "The 'server_url', the 'headers' and the 'authorization' of MCP server '{label}' have more than {MOST_OF_REQUEST} bytes together."
            )));
        }
        Ok(Self {
            server: mcp::Server {
                endpoint,
                authorization: entry.authorization.clone().map(Secret::from),
                headers,
            },
            entry: entry.clone(),
        })
    }

    pub fn label(&self) -> &str {
        &self.entry.server_label
    }

    /// What it is to the Responses API that this server gave no list of its tools.
    pub fn list_failure(&self, error: &mcp::Error) -> FailedDependency {
        list_failure(self.label(), error)
    }

    /// What came of a call: the output for the model, or the error in its place. A server may repeat
    /// the credentials that it was shown: they are for neither the model nor the store.
    pub fn outcome(
        &self,
        result: Result<CallToolResult, mcp::Error>,
    ) -> Result<String, McpCallError> {
        match result {
            Ok(result) if result.is_error == Some(true) => {
                let mut content = json!(result.content);
                self.server.secrets().redact_value(&mut content);
                Err(McpCallError::McpToolExecutionError { content })
            }
            Ok(result) => Ok(self.output(&result)),
            Err(error) => Err(call_error(&error)),
        }
    }

    /// The text of a result: its text blocks, any other block as JSON. A result that has structured
    /// content alone is given as that.
    fn output(&self, result: &CallToolResult) -> String {
        let secrets = self.server.secrets();
        let json = |mut value: Value| {
            secrets.redact_value(&mut value);
            value.to_string()
        };
        if let (true, Some(structured)) = (result.content.is_empty(), &result.structured_content) {
            return json(structured.clone());
        }
        let blocks: Vec<String> = result
            .content
            .iter()
            .map(|block| match block {
                ContentBlock::Text(text) => secrets.redact(text.text.clone()),
                other => json(json!(other)),
            })
            .collect();
        blocks.join("\n")
    }

    /// Where the server is, or how it is started: what an approval is for.
    pub fn place(&self) -> String {
        match &self.server.endpoint {
            mcp::Endpoint::Http(url) => url.to_string(),
            mcp::Endpoint::Stdio(command) => {
                json!([command.program, command.arguments]).to_string()
            }
        }
    }

    /// Whether `allowed_tools` lets the model see this tool.
    pub fn allows(&self, tool: &McpListToolsTool) -> bool {
        allows(&self.entry, tool)
    }

    /// Whether a call of this tool needs a yes; a tool in neither filter does (recorded).
    pub fn needs_approval(&self, tool: &McpListToolsTool) -> bool {
        match &self.entry.require_approval {
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
}

/// The headers of a tool entry, or why they cannot be sent. No value is repeated: it can be a secret.
fn read_headers(headers: Option<&Value>) -> Result<HeaderMap, String> {
    let headers = match headers {
        None | Some(Value::Null) => return Ok(HeaderMap::new()),
        Some(Value::Object(headers)) => headers,
        Some(_) => return Err("are not an object".to_owned()),
    };
    let mut read = HeaderMap::new();
    for (name, value) in headers {
        let parsed = HeaderName::try_from(name).map_err(|_| {
            // What is not a name may be a whole line, value included.
            "have a name that no HTTP header can have".to_owned()
        })?;
        if mcp::is_reserved(&parsed) {
            return Err(format!(
                "set {name}, which the MCP client sets itself: leave it out"
            ));
        }
        let value = value.as_str().and_then(|it| HeaderValue::from_str(it).ok());
        let mut value =
            value.ok_or_else(|| format!("have a value of {name} that no HTTP header can carry"))?;
        value.set_sensitive(true);
        read.append(parsed, value);
    }
    Ok(read)
}

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

/// What a failed `tools/list` is to the Responses API: HTTP 424.
pub fn list_failure(server_label: &str, error: &mcp::Error) -> FailedDependency {
    FailedDependency::listing(server_label, http_status(error), error.with_causes())
}

/// The status that the API reports: the server's own, 424 where it did not answer in HTTP.
fn http_status(error: &mcp::Error) -> StatusCode {
    match error {
        mcp::Error::Refused { status, .. } => *status,
        // As OpenAI reports a server that it will not connect to.
        mcp::Error::Forbidden(_) => StatusCode::BAD_REQUEST,
        // It is this machine that has no room for the answer; later it may.
        mcp::Error::Exhausted(exhausted) if exhausted.needed <= exhausted.limit => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        mcp::Error::Protocol { .. }
        | mcp::Error::Unreachable(_)
        | mcp::Error::NotStarted { .. }
        | mcp::Error::Excess(_)
        | mcp::Error::Exhausted(_)
        | mcp::Error::NotMcp(_)
        | mcp::Error::Timeout(_)
        | mcp::Error::Setup(_) => StatusCode::FAILED_DEPENDENCY,
    }
}

/// What a call that brought no result is to the Responses API.
pub fn call_error(error: &mcp::Error) -> McpCallError {
    match error {
        mcp::Error::Protocol { code, message } => McpCallError::McpProtocolError {
            code: *code,
            message: message.clone(),
        },
        mcp::Error::Refused { status, .. } => McpCallError::HttpError {
            code: status.as_u16().into(),
            message: "An unknown error occurred while executing the tool.".to_owned(),
        },
        error => {
            let code = http_status(error).as_u16();
            McpCallError::HttpError {
                code: code.into(),
                message: format!("{code}: {}", error.with_causes()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(entry: Value) -> Result<Server, Error> {
        let mut entry = entry;
        entry["server_label"] = json!("dice");
        Server::read(&serde_json::from_value(entry).unwrap(), &HashMap::new())
    }

    fn tool(name: &str, read_only: bool) -> McpListToolsTool {
        McpListToolsTool {
            annotations: json!({"read_only": read_only}),
            description: None,
            input_schema: json!({}),
            name: name.to_owned(),
            is_annotated_as_acting: false,
            rest: Map::new(),
        }
    }

    #[test]
    fn a_tool_is_annotated_as_acting_only_if_its_server_says_so() {
        for (annotations, says) in [
            (json!(null), None),
            (json!({"title": "Get"}), None),
            (json!({"destructiveHint": false}), None),
            (json!({"readOnlyHint": false}), Some(false)),
            (json!({"destructiveHint": true}), Some(false)),
            (json!({"readOnlyHint": true}), Some(true)),
        ] {
            let tool = json!({"name": "get", "inputSchema": {}, "annotations": annotations});
            let listed = listed(serde_json::from_value(tool).unwrap());
            assert_eq!(listed.says_read_only(), says, "{annotations}");
            let shown = json!({"read_only": says == Some(true)});
            assert_eq!(json!(listed)["annotations"], shown);
            assert_eq!(json!(listed).as_object().unwrap().len(), 3);
        }
    }

    #[test]
    fn allowed_tools_names_tools_or_what_they_do() {
        for (allowed_tools, roll, peek) in [
            (json!(null), true, true),
            (json!([]), false, false),
            (json!(["roll"]), true, false),
            (json!({"read_only": true}), false, true),
            (
                json!({"tool_names": ["roll"], "read_only": true}),
                false,
                false,
            ),
        ] {
            let server = server(json!({"server_url": "http://a/", "allowed_tools": allowed_tools}));
            let server = server.unwrap();
            assert_eq!(server.allows(&tool("roll", false)), roll, "{allowed_tools}");
            assert_eq!(server.allows(&tool("peek", true)), peek, "{allowed_tools}");
        }
    }

    #[test]
    fn a_call_needs_approval_unless_it_is_said_that_it_does_not() {
        for (require_approval, roll, peek) in [
            (json!(null), true, true),
            (json!("always"), true, true),
            (json!("never"), false, false),
            (json!({"never": {"tool_names": ["roll"]}}), false, true),
            (json!({"never": {"read_only": true}}), true, false),
            (json!({"always": {"tool_names": ["roll"]}}), true, true),
            (
                json!({"always": {"tool_names": ["roll"]}, "never": {"tool_names": ["roll", "peek"]}}),
                true,
                false,
            ),
            (json!({"never": {}}), true, true),
        ] {
            let server =
                server(json!({"server_url": "http://a/", "require_approval": require_approval}));
            let server = server.unwrap();
            assert_eq!(
                server.needs_approval(&tool("roll", false)),
                roll,
                "{require_approval}"
            );
            assert_eq!(
                server.needs_approval(&tool("peek", true)),
                peek,
                "{require_approval}"
            );
        }
    }

    #[test]
    fn a_reserved_header_is_refused_by_its_name_and_no_value_is_repeated() {
        for (headers, message) in [
            (
                json!({"Accept": "canary"}),
                "The 'headers' of MCP server 'dice' set Accept, which the MCP client sets itself: leave it out.",
            ),
            (
                json!({"X-Key": "canary\n"}),
                "The 'headers' of MCP server 'dice' have a value of X-Key that no HTTP header can carry.",
            ),
            (
                json!({"X-Key: canary": ""}),
                "The 'headers' of MCP server 'dice' have a name that no HTTP header can have.",
            ),
        ] {
            let entry = json!({"server_url": "http://a/", "headers": headers});
            let Err(Error::Refused { error, .. }) = server(entry) else {
                panic!("{headers} was accepted");
            };
            assert_eq!(error.message, message);
        }
    }

    #[test]
    fn an_entry_that_cannot_be_served_is_refused() {
        for entry in [
            json!({}),
            json!({"connector_id": "connector_gmail"}),
            json!({"server_url": "ftp://example.com/mcp"}),
            json!({"server_url": "not a url"}),
            json!({"server_url": "http://a/", "headers": {"bad name": "x"}}),
            json!({"server_url": "http://a/", "headers": {"X": "line\nbreak"}}),
            json!({"server_url": "http://a/", "headers": {"X": 1}}),
            json!({"server_url": "http://a/", "headers": {"content-length": "3"}}),
            json!({"server_url": "http://a/", "headers": {"Transfer-Encoding": "chunked"}}),
            json!({"server_url": "http://a/", "headers": "X: y"}),
            json!({"server_url": "http://a/", "authorization": "line\nbreak"}),
            json!({"server_url": "http://a/", "authorization": "a".repeat(70_000)}),
            json!({"server_url": "http://a/", "headers": {"X": "a".repeat(70_000)}}),
            json!({"server_url": format!("http://a/{}", "a".repeat(70_000))}),
            json!({"server_url": "http://a/", "authorization": "a", "headers": {"authorization": "b"}}),
        ] {
            let Err(Error::Refused {
                status: 400, error, ..
            }) = server(entry.clone())
            else {
                panic!("{entry} was accepted");
            };
            assert_eq!(error.param.as_deref(), Some("tools"));
        }
    }
}
