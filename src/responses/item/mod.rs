//! The items of a conversation: what goes into a response and what comes out of it.

mod mcp;
mod message;

use serde::de::DeserializeOwned;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::words::{Role, Status};
use crate::budget::{members_size, value_size};

pub use mcp::{
    McpApprovalRequest, McpApprovalResponse, McpCall, McpCallError, McpListTools, McpListToolsTool,
};
pub use message::{Content, Message};

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
        let mut item = Map::deserialize(deserializer)?;
        let read: fn(&mut Map<String, Value>) -> Option<Self> =
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
        Ok(read(&mut item).unwrap_or(Self::Other(item)))
    }
}

/// The fields beside `type`. An item with other fields stays as it is.
fn read<T: DeserializeOwned>(item: &mut Map<String, Value>) -> Option<T> {
    const TYPE: &str = "type";
    let place = item.keys().position(|name| name == TYPE);
    let kind = item.shift_remove(TYPE);
    let read = T::deserialize(&*item).ok();
    if let (None, Some(place), Some(kind)) = (&read, place, kind) {
        item.shift_insert(place, TYPE.to_owned(), kind);
    }
    read
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
