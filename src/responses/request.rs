//! `responses.create`: the request, as it is sent and as the engine receives it.

use std::collections::BTreeMap;
use std::fmt;

use async_openai::types::mcp::MCPTool;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use super::item::{Content, Item, Message};
use super::words::Role;

/// A `responses.create` request (Responses API, create a model response). The fields that this
/// program decides on have types; every other field is carried as it came.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct CreateResponse {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_response_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    #[serde(default)]
    pub input: Input,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<ToolEntry>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tool_calls: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl CreateResponse {
    /// The `mcp` tool entries of the request, in order.
    pub fn mcp_tools(&self) -> impl Iterator<Item = &MCPTool> {
        self.tools.iter().flatten().filter_map(|entry| match entry {
            ToolEntry::Mcp(tool) => Some(&**tool),
            ToolEntry::Other(_) => None,
        })
    }

    /// Whether the response is to be made whether or not anybody waits for it.
    pub fn is_background(&self) -> bool {
        self.rest.get("background") == Some(&Value::Bool(true))
    }

    /// Whether the model is to answer; otherwise the response is only something to go on from
    /// (Responses API, WebSocket mode).
    pub fn generates(&self) -> bool {
        self.rest.get("generate") != Some(&Value::Bool(false))
    }
}

// A tool entry holds credentials, and a prompt is private.
impl fmt::Debug for CreateResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateResponse")
            .field("model", &self.model)
            .field("previous_response_id", &self.previous_response_id)
            .field("tools", &self.tools)
            .finish_non_exhaustive()
    }
}

/// What the model is asked: a text, or items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "'input' must be a text or a list of items, each a JSON object"
)]
pub enum Input {
    Text(String),
    Items(Vec<Item>),
}

impl Default for Input {
    fn default() -> Self {
        Self::Items(Vec::new())
    }
}

impl Input {
    /// The input as items: a text is a message of the user.
    pub fn into_items(self) -> Vec<Item> {
        match self {
            Self::Items(items) => items,
            Self::Text(text) => vec![Item::Message(Message {
                id: None,
                status: None,
                role: Role::User,
                content: Content::Text(text),
                rest: Map::new(),
            })],
        }
    }
}

/// One entry of `tools`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged, expecting = "each of 'tools' must be a JSON object")]
pub enum ToolEntry {
    Mcp(#[serde(with = "mcp")] Box<MCPTool>),
    /// Any other tool: carried, and never run here.
    Other(Map<String, Value>),
}

impl ToolEntry {
    /// The entry, if it is one of an MCP server.
    pub fn as_mcp(&self) -> Option<&MCPTool> {
        match self {
            Self::Mcp(tool) => Some(tool),
            Self::Other(_) => None,
        }
    }

    /// Where the entry's MCP server is, if it says so in a URL.
    pub fn server_url(&self) -> Option<Url> {
        Url::parse(self.as_mcp()?.server_url.as_ref()?).ok()
    }
}

// `Debug` of `MCPTool` prints the token.
impl fmt::Debug for ToolEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mcp(tool) => write!(f, "mcp {:?}", tool.server_label),
            Self::Other(tool) => write!(f, "{:?}", tool.get("type")),
        }
    }
}

/// `MCPTool` has no `type` of its own.
mod mcp {
    use async_openai::types::mcp::MCPTool;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    enum Type {
        #[serde(rename = "mcp")]
        Mcp,
    }

    #[derive(Deserialize)]
    struct Read {
        #[expect(dead_code, reason = "it is there to be checked")]
        r#type: Type,
        #[serde(flatten)]
        tool: Box<MCPTool>,
    }

    #[derive(Serialize)]
    struct Written<'a> {
        r#type: Type,
        #[serde(flatten)]
        tool: &'a MCPTool,
    }

    pub fn serialize<S: Serializer>(tool: &MCPTool, serializer: S) -> Result<S::Ok, S::Error> {
        let r#type = Type::Mcp;
        Written { r#type, tool }.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Box<MCPTool>, D::Error> {
        Read::deserialize(deserializer).map(|read| read.tool)
    }
}

/// Which tools the model may, or must, call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ToolChoice {
    Mode(ToolChoiceMode),
    Mcp(ToolChoiceMcp),
    AllowedTools(ToolChoiceAllowed),
    /// A tool of another type than `mcp`, such as a function of the client.
    Other(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolChoiceMode {
    None,
    Auto,
    Required,
}

/// The tools of one server, or one tool of it, must be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "mcp")]
pub struct ToolChoiceMcp {
    pub server_label: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Only these of the request's tools may, or must, be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "allowed_tools")]
pub struct ToolChoiceAllowed {
    pub mode: ToolChoiceMode,
    pub tools: Vec<AllowedTool>,
}

/// One tool of `allowed_tools`: a server or a tool of it, or a tool of another type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AllowedTool {
    Mcp(ToolChoiceMcp),
    Other(Map<String, Value>),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_read_and_written_unharmed() {
        let request = json!({
            "model": "gpt-5",
            "previous_response_id": "resp_1",
            "input": [{"type": "message", "role": "user",
                       "content": [{"type": "input_text", "text": "Roll 2d4+1"}]}],
            "tools": [
                {"type": "mcp", "server_label": "dice", "authorization": "secret",
                 "require_approval": {"never": {"tool_names": ["roll"]}},
                 "server_url": "https://example.com/mcp"},
                {"type": "web_search"},
            ],
            "tool_choice": {"type": "mcp", "server_label": "dice"},
            "stream": true,
            "brand_new": {"a": 1},
        });
        let read: CreateResponse = serde_json::from_value(request.clone()).unwrap();
        assert_eq!(read.mcp_tools().count(), 1);
        assert_eq!(serde_json::to_value(&read).unwrap(), request);
        assert!(!format!("{read:?}").contains("secret"));
    }

    #[test]
    fn every_recorded_request_is_read() {
        for (name, request) in crate::responses::fixtures("request.json") {
            let request: Value = serde_json::from_slice(&request).unwrap();
            let read: CreateResponse = serde_json::from_value(request.clone()).unwrap();
            assert_eq!(
                read.mcp_tools().count(),
                read.tools.as_ref().map_or(0, Vec::len),
                "{name}"
            );
        }
    }
}
