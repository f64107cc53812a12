//! The items of MCP: lists of tools, calls, and their approvals.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::responses::words::Status;

/// `mcp_list_tools`: the tools that a server offers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct McpListTools {
    pub id: String,
    pub server_label: String,
    #[serde(default)]
    pub tools: Vec<McpListToolsTool>,
    /// Why the list could not be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The fields that this program does not know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// One tool of an `mcp_list_tools` item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct McpListToolsTool {
    #[serde(default)]
    pub annotations: Value,
    /// Omitted if there is no error: clients reject a null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default)]
    pub input_schema: Value,
    pub name: String,
    /// Whether the server annotates the tool as one that changes something. The API's annotations
    /// cannot say it, so it is known only in the process that listed the tools.
    #[serde(skip)]
    pub is_annotated_as_acting: bool,
    /// The fields that this program does not know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl McpListToolsTool {
    /// Whether the server says that the tool changes nothing.
    pub fn is_read_only(&self) -> bool {
        self.annotations["read_only"] == Value::Bool(true)
    }

    /// Whether the server says that the tool changes nothing, or something, if it says either.
    pub fn says_read_only(&self) -> Option<bool> {
        match self.is_read_only() {
            true => Some(true),
            false => self.is_annotated_as_acting.then_some(false),
        }
    }
}

/// `mcp_call`: a tool was called, or is being called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct McpCall {
    pub id: String,
    /// `in_progress`, `completed`, `incomplete`, `calling` or `failed`; older responses have none.
    #[serde(default)]
    pub status: Option<Status>,
    #[serde(default)]
    pub approval_request_id: Option<String>,
    /// A JSON object, as text.
    pub arguments: String,
    #[serde(default)]
    pub error: Option<McpCallError>,
    pub name: String,
    #[serde(default)]
    pub output: Option<String>,
    pub server_label: String,
    /// The fields that this program does not know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl McpCall {
    /// Whether the call brought a result.
    pub fn has_succeeded(&self) -> bool {
        let has_failed = matches!(self.status, Some(Status::Failed | Status::Incomplete));
        self.error.is_none() && !has_failed
    }
}

/// Why a call gave no output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum McpCallError {
    /// The server answered with a JSON-RPC error.
    McpProtocolError { code: i64, message: String },
    /// The tool itself failed: the content of a result with `isError`.
    McpToolExecutionError { content: Value },
    /// The server answered with an HTTP error, or not at all (424).
    HttpError { code: i64, message: String },
    #[serde(untagged)]
    Other(Value),
}

impl McpCallError {
    /// The error as a person reads it; text that a tool wrote is given as it wrote it.
    pub fn text(&self) -> String {
        match self {
            Self::McpProtocolError { code, message } => format!("{message} (MCP error {code})"),
            Self::McpToolExecutionError { content } | Self::Other(content) => text_of(content),
            Self::HttpError { code, message } => match message.strip_prefix("424: ") {
                Some("") => "no answer from the MCP server".to_owned(),
                Some(cause) => format!("no answer from the MCP server: {cause}"),
                None => format!("{message} (HTTP {code})"),
            },
        }
    }
}

/// The text in MCP content: a string, a block with `text`, or a list of such blocks.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().map(text_of).collect::<Vec<_>>().join("\n"),
        Value::Object(block) => match block.get("text").or_else(|| block.get("message")) {
            Some(Value::String(text)) => text.clone(),
            _ => content.to_string(),
        },
        other => other.to_string(),
    }
}

/// `mcp_approval_request`: a call that waits for a yes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct McpApprovalRequest {
    pub id: String,
    /// A JSON object, as text.
    pub arguments: String,
    pub name: String,
    pub server_label: String,
    /// The fields that this program does not know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// `mcp_approval_response`: the yes or the no.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct McpApprovalResponse {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub approval_request_id: String,
    pub approve: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The fields that this program does not know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}
