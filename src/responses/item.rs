//! The items of a conversation: what goes into a response and what comes out of it.

use serde::de::DeserializeOwned;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::words::{Role, Status};
use crate::budget::{members_size, value_size};

/// One item (Responses API, input and output items). What this program does not act on, or cannot
/// read, is carried as it came.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    Message(Message),
    McpListTools(McpListTools),
    McpCall(McpCall),
    McpApprovalRequest(McpApprovalRequest),
    McpApprovalResponse(McpApprovalResponse),
    Other(Map<String, Value>),
}

impl Item {
    /// The item's id, for the items that have one.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Message(message) => message.id.as_deref(),
            Self::McpListTools(list) => Some(&list.id),
            Self::McpCall(call) => Some(&call.id),
            Self::McpApprovalRequest(request) => Some(&request.id),
            Self::McpApprovalResponse(response) => response.id.as_deref(),
            Self::Other(item) => item.get("id").and_then(Value::as_str),
        }
    }

    /// Gives the item another id.
    pub fn set_id(&mut self, id: String) {
        match self {
            Self::Message(message) => message.id = Some(id),
            Self::Other(item) if item.contains_key("id") => {
                item.insert("id".to_owned(), id.into());
            }
            Self::Other(item) => {
                item.shift_insert(0, "id".to_owned(), id.into());
            }
            Self::McpListTools(list) => list.id = id,
            Self::McpCall(call) => call.id = id,
            Self::McpApprovalRequest(request) => request.id = id,
            Self::McpApprovalResponse(response) => response.id = Some(id),
        }
    }

    /// The item's `type`; an input message may leave it out.
    pub fn kind(&self) -> &str {
        match self {
            Self::Message(_) => "message",
            Self::McpListTools(_) => "mcp_list_tools",
            Self::McpCall(_) => "mcp_call",
            Self::McpApprovalRequest(_) => "mcp_approval_request",
            Self::McpApprovalResponse(_) => "mcp_approval_response",
            Self::Other(fields) => {
                let kind = fields.get("type").and_then(Value::as_str);
                kind.unwrap_or_default()
            }
        }
    }

    /// An estimate of the bytes that the item takes in memory.
    pub fn size(&self) -> u64 {
        let text = |text: &str| text.len() as u64;
        match self {
            Self::Message(message) => {
                let content = match &message.content {
                    Content::Text(it) => text(it),
                    Content::Parts(parts) => parts.iter().map(value_size).sum(),
                };
                content + members_size(&message.rest)
            }
            Self::McpListTools(list) => {
                let tools = list.tools.iter().map(|tool| {
                    let description = tool.description.as_deref().map_or(0, text);
                    description + value_size(&tool.input_schema) + members_size(&tool.rest)
                });
                tools.sum::<u64>() + members_size(&list.rest)
            }
            Self::McpCall(call) => {
                let output = call.output.as_deref().map_or(0, text);
                output + text(&call.arguments) + members_size(&call.rest)
            }
            Self::McpApprovalRequest(request) => {
                text(&request.arguments) + members_size(&request.rest)
            }
            Self::McpApprovalResponse(response) => members_size(&response.rest),
            Self::Other(fields) => members_size(fields),
        }
    }

    /// Whether this is a `reasoning` item, of a model that thinks before it speaks.
    pub fn is_reasoning(&self) -> bool {
        self.kind() == "reasoning"
    }

    /// Whether the model waits for what only the client can do, such as to call its function.
    pub fn waits_for_client(&self) -> bool {
        matches!(
            self.kind(),
            "function_call"
                | "custom_tool_call"
                | "computer_call"
                | "local_shell_call"
                | "shell_call"
                | "apply_patch_call"
        )
    }
}

impl Serialize for Item {
    /// With `id` before `type`, as OpenAI was recorded. What can be large is not copied for it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let item = match self {
            Self::Message(message) => return TypedMessage::of(message).serialize(serializer),
            Self::McpListTools(list) => return TypedList::of(list).serialize(serializer),
            Self::McpCall(call) => return TypedCall::of(call).serialize(serializer),
            Self::Other(item) => return item.serialize(serializer),
            Self::McpApprovalRequest(request) => serde_json::to_value(request),
            Self::McpApprovalResponse(response) => serde_json::to_value(response),
        };
        let mut item = item.map_err(S::Error::custom)?;
        if let Value::Object(fields) = &mut item {
            fields.shift_insert(0, "type".to_owned(), self.kind().into());
            if let Some(id) = fields.shift_remove("id") {
                fields.shift_insert(0, "id".to_owned(), id);
            }
        }
        item.serialize(serializer)
    }
}

#[derive(Serialize)]
struct TypedMessage<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a Status>,
    content: &'a Content,
    role: &'a Role,
    #[serde(flatten)]
    rest: &'a Map<String, Value>,
}

impl<'a> TypedMessage<'a> {
    fn of(message: &'a Message) -> Self {
        Self {
            id: message.id.as_deref(),
            r#type: "message",
            status: message.status.as_ref(),
            content: &message.content,
            role: &message.role,
            rest: &message.rest,
        }
    }
}

#[derive(Serialize)]
struct TypedList<'a> {
    id: &'a str,
    r#type: &'static str,
    server_label: &'a str,
    tools: &'a [McpListToolsTool],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(flatten)]
    rest: &'a Map<String, Value>,
}

impl<'a> TypedList<'a> {
    fn of(list: &'a McpListTools) -> Self {
        Self {
            id: &list.id,
            r#type: "mcp_list_tools",
            server_label: &list.server_label,
            tools: &list.tools,
            error: list.error.as_deref(),
            rest: &list.rest,
        }
    }
}

#[derive(Serialize)]
struct TypedCall<'a> {
    id: &'a str,
    r#type: &'static str,
    status: Option<&'a Status>,
    approval_request_id: Option<&'a str>,
    arguments: &'a str,
    error: Option<&'a McpCallError>,
    name: &'a str,
    output: Option<&'a str>,
    server_label: &'a str,
    #[serde(flatten)]
    rest: &'a Map<String, Value>,
}

impl<'a> TypedCall<'a> {
    fn of(call: &'a McpCall) -> Self {
        Self {
            id: &call.id,
            r#type: "mcp_call",
            status: call.status.as_ref(),
            approval_request_id: call.approval_request_id.as_deref(),
            arguments: &call.arguments,
            error: call.error.as_ref(),
            name: &call.name,
            output: call.output.as_deref(),
            server_label: &call.server_label,
            rest: &call.rest,
        }
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let item = Map::deserialize(deserializer)?;
        let read: fn(&Map<String, Value>) -> Option<Self> =
            match item.get("type").map_or(Some("message"), Value::as_str) {
                // An input message may leave its type out (Responses API, EasyInputMessage).
                Some("message") => {
                    return Ok(Message::read(item).map_or_else(Self::Other, Self::Message));
                }
                Some("mcp_list_tools") => |item| read(item).map(Self::McpListTools),
                Some("mcp_call") => |item| read(item).map(Self::McpCall),
                Some("mcp_approval_request") => |item| read(item).map(Self::McpApprovalRequest),
                Some("mcp_approval_response") => |item| read(item).map(Self::McpApprovalResponse),
                Some(_) | None => return Ok(Self::Other(item)),
            };
        Ok(read(&item).unwrap_or(Self::Other(item)))
    }
}

/// The fields beside `type`.
fn read<T: DeserializeOwned>(item: &Map<String, Value>) -> Option<T> {
    let mut fields = item.clone();
    fields.shift_remove("type");
    serde_json::from_value(Value::Object(fields)).ok()
}

/// What a person, a developer or the model said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    pub content: Content,
    pub role: Role,
    /// The fields that this program does not know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Message {
    /// Reads a message out of the fields of an item; gives them back if they are none. The content
    /// can be large, and is not copied.
    fn read(mut item: Map<String, Value>) -> Result<Self, Map<String, Value>> {
        let is_text = |field: &str| {
            item.get(field)
                .is_none_or(|it| it.is_string() || it.is_null())
        };
        let has_content = matches!(
            item.get("content"),
            Some(Value::String(_) | Value::Array(_))
        );
        let has_role = item.get("role").is_some_and(Value::is_string);
        if !has_content || !has_role || !is_text("id") || !is_text("status") {
            return Err(item);
        }
        let mut text = |field: &str| match item.shift_remove(field) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let (id, status) = (text("id"), text("status"));
        let role = text("role").unwrap_or_default();
        let (status, role) = (status.as_deref().map(Status::from), Role::from(&*role));
        let content = match item.shift_remove("content") {
            Some(Value::Array(parts)) => Content::Parts(parts),
            Some(Value::String(text)) => Content::Text(text),
            _ => Content::Parts(Vec::new()),
        };
        item.shift_remove("type");
        Ok(Self {
            id,
            status,
            content,
            role,
            rest: item,
        })
    }

    /// All text of the message: `input_text` and `output_text` parts, one after the other.
    pub fn text(&self) -> String {
        match &self.content {
            Content::Text(text) => text.clone(),
            Content::Parts(parts) => parts
                .iter()
                .filter(|part| matches!(part["type"].as_str(), Some("input_text" | "output_text")))
                .filter_map(|part| part["text"].as_str())
                .collect(),
        }
    }

    /// Why the model will not answer, if it says so instead of answering.
    pub fn refusal(&self) -> Option<String> {
        let Content::Parts(parts) = &self.content else {
            return None;
        };
        let refusals: Vec<&str> = parts
            .iter()
            .filter_map(|part| part["refusal"].as_str())
            .collect();
        (!refusals.is_empty()).then(|| refusals.concat())
    }
}

/// The content of a message: text alone, or parts such as `input_text` and `input_image`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    Text(String),
    Parts(Vec<Value>),
}

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
    /// Left out where there is none: clients refuse a null.
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(value: Value) -> Item {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn an_unknown_item_is_carried_unharmed() {
        let reasoning = json!({"type": "reasoning", "id": "rs_1", "summary": [], "new": [1.5]});
        let carried = item(reasoning.clone());
        assert_eq!(carried.id(), Some("rs_1"));
        assert_eq!(serde_json::to_value(carried).unwrap(), reasoning);
    }

    #[test]
    fn an_item_of_a_known_type_in_an_unknown_shape_is_carried_too() {
        let odd = json!({"type": "mcp_call", "id": 7});
        assert!(matches!(item(odd.clone()), Item::Other(map) if Value::Object(map.clone()) == odd));
    }

    #[test]
    fn a_known_item_keeps_the_fields_that_are_new() {
        for known in [
            json!({"type": "message", "role": "assistant", "content": "a", "phase": "final"}),
            json!({"type": "mcp_call", "id": "mcp_1", "status": null, "approval_request_id": null,
                   "arguments": "{}", "error": null, "name": "n", "output": "o", "server_label": "s",
                   "caller": {"type": "direct"}}),
            json!({"type": "mcp_approval_request", "id": "mcpr_1", "arguments": "{}", "name": "n",
                   "server_label": "s", "new": 1}),
            json!({"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "s", "new": 1, "tools": [
                   {"annotations": null, "description": "d", "input_schema": {}, "name": "n", "new": 2}]}),
        ] {
            let read = item(known.clone());
            assert!(!matches!(read, Item::Other(_)), "{known}");
            assert_eq!(serde_json::to_value(read).unwrap(), known);
        }
    }

    #[test]
    fn a_message_needs_no_type_and_may_have_parts() {
        let Item::Message(short) = item(json!({"role": "user", "content": "Roll"})) else {
            panic!("not a message");
        };
        assert_eq!(short.text(), "Roll");
        let Item::Message(long) = item(json!({
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "no"},
                        {"type": "output_text", "text": "b"}],
        })) else {
            panic!("not a message");
        };
        assert_eq!(long.text(), "ab");
    }

    #[test]
    fn every_shape_of_an_error_in_a_call_has_a_text() {
        for (error, expected) in [
            (
                json!({"type": "mcp_protocol_error", "code": 32600, "message": "Session terminated"}),
                "Session terminated (MCP error 32600)",
            ),
            (
                json!({"type": "mcp_tool_execution_error",
                       "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
                "a\nb",
            ),
            (
                json!({"type": "http_error", "code": 424, "message": "424: "}),
                "no answer from the MCP server",
            ),
            (
                json!({"type": "http_error", "code": 500, "message": "An unknown error"}),
                "An unknown error (HTTP 500)",
            ),
            (json!("plain"), "plain"),
            (json!({"type": "new_error", "message": "odd"}), "odd"),
        ] {
            let error: McpCallError = serde_json::from_value(error).unwrap();
            assert_eq!(error.text(), expected);
        }
    }
}
