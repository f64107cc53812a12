//! Messages: what a person, a developer or the model said.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::responses::words::{Role, Status};

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
    /// Reads a message from the fields of an item. The content can be large, and is moved.
    ///
    /// # Errors
    /// The fields, unchanged, if they are not those of a message.
    pub(super) fn read(mut item: Map<String, Value>) -> Result<Self, Map<String, Value>> {
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
