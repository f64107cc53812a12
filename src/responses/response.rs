//! The response object, as it came.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::item::Item;

/// A response object (Responses API), whole and as it came. Reading a field never fails: one that
/// is missing or has another shape is read as empty. Cloning shares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Response(Arc<Map<String, Value>>);

impl Serialize for Response {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Response {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(Self::new)
    }
}

impl Response {
    /// Takes a JSON object for a response if it says that it is one.
    pub fn read(object: Map<String, Value>) -> Option<Self> {
        let is_response = object.get("object") == Some(&"response".into());
        let is_response = is_response || object.get("output").is_some_and(Value::is_array);
        is_response.then(|| Self::new(object))
    }

    pub(crate) fn new(object: Map<String, Value>) -> Self {
        Self(Arc::new(object))
    }

    /// `resp_...`, or nothing.
    pub fn id(&self) -> &str {
        self.text("id")
    }

    /// `completed`, `failed`, `in_progress`, `cancelled`, `queued` or `incomplete`.
    pub fn status(&self) -> &str {
        self.text("status")
    }

    /// The response as one that failed.
    pub fn failed(mut self, error: &ApiError) -> Self {
        self.insert("status", "failed".into());
        let error = json!({"code": "server_error", "message": error.message});
        self.insert("error", error);
        self
    }

    /// Whether it is still to be made, or being made.
    pub fn is_open(&self) -> bool {
        matches!(self.status(), "queued" | "in_progress")
    }

    /// The response that this one goes on from.
    pub fn previous_response_id(&self) -> Option<&str> {
        self.0.get("previous_response_id")?.as_str()
    }

    /// Whether it is kept for a later request, as it is unless `store` is false.
    pub fn is_stored(&self) -> bool {
        self.0.get("store") != Some(&Value::Bool(false))
    }

    /// The items of the answer, in order.
    pub fn output(&self) -> Vec<Item> {
        let Some(Value::Array(items)) = self.0.get("output") else {
            return Vec::new();
        };
        items
            .iter()
            .filter_map(|item| Item::deserialize(item).ok())
            .collect()
    }

    /// Why the response failed.
    pub fn error(&self) -> Option<ApiError> {
        self.0.get("error")?.as_object().map(ApiError::read)
    }

    /// Why the response is incomplete, such as `max_output_tokens`.
    pub fn incomplete_reason(&self) -> Option<&str> {
        self.0.get("incomplete_details")?.get("reason")?.as_str()
    }

    /// The whole object.
    pub fn object(&self) -> &Map<String, Value> {
        &self.0
    }

    pub(crate) fn insert(&mut self, field: &str, value: Value) {
        Arc::make_mut(&mut self.0).insert(field.to_owned(), value);
    }

    fn text(&self, field: &str) -> &str {
        self.0.get(field).and_then(Value::as_str).unwrap_or("")
    }
}
