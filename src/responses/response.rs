//! The response object, as it came or as the engine makes it.

use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::item::Item;
use super::words::Status;
use crate::budget::members_size;

/// A response object (Responses API), whole and as it came. Reading a field never fails: one that
/// is missing or has another shape reads as empty.
///
/// A clone shares everything, and a response that changes shares its first form with the one before:
/// the events of a response copy none of it.
#[derive(Debug, Clone)]
pub struct Response {
    base: Arc<Map<String, Value>>,
    changes: Arc<Changes>,
}

/// What has changed since the first form of a response.
#[derive(Debug, Clone, Default)]
struct Changes {
    fields: Map<String, Value>,
    /// The output, in place of the field `output`: items that are shared with events.
    output: Option<Vec<Arc<Item>>>,
}

impl Serialize for Response {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Changes { fields, output } = &*self.changes;
        let mut object = serializer.serialize_map(None)?;
        for (name, value) in &*self.base {
            match output {
                Some(items) if name == "output" => object.serialize_entry(name, items)?,
                _ => object.serialize_entry(name, fields.get(name).unwrap_or(value))?,
            }
        }
        for (name, value) in fields {
            if !self.base.contains_key(name) {
                object.serialize_entry(name, value)?;
            }
        }
        if let (Some(items), false) = (output, self.base.contains_key("output")) {
            object.serialize_entry("output", items)?;
        }
        object.end()
    }
}

impl<'de> Deserialize<'de> for Response {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(Self::new)
    }
}

impl PartialEq for Response {
    fn eq(&self, other: &Self) -> bool {
        json!(self) == json!(other)
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
        Self {
            base: Arc::new(object),
            changes: Arc::default(),
        }
    }

    /// The response with other values in these fields, and with this output.
    pub(crate) fn with<const N: usize>(
        &self,
        fields: [(&str, Value); N],
        output: Vec<Arc<Item>>,
    ) -> Self {
        let mut changed = self.clone();
        let changes = Arc::make_mut(&mut changed.changes);
        let fields = fields.map(|(name, value)| (name.to_owned(), value));
        changes.fields.extend(fields);
        changes.output = Some(output);
        changed
    }

    /// A field, but for the output.
    pub fn get(&self, field: &str) -> Option<&Value> {
        let changed = self.changes.fields.get(field);
        changed.or_else(|| self.base.get(field))
    }

    /// `resp_...`, or nothing.
    pub fn id(&self) -> &str {
        self.get("id").and_then(Value::as_str).unwrap_or("")
    }

    /// The status, if there is one.
    pub fn status(&self) -> Option<Status> {
        self.get("status").and_then(Value::as_str).map(Status::from)
    }

    /// The response as one that failed.
    pub fn failed(&self, error: &ApiError) -> Self {
        let error = json!({"code": "server_error", "message": error.message});
        let fields = [("status", json!(Status::Failed)), ("error", error)];
        self.with(fields, self.output())
    }

    /// Whether it is still to be made, or being made.
    pub fn is_open(&self) -> bool {
        self.status().is_some_and(|it| it.is_open())
    }

    /// Whether it was made in the background.
    pub fn is_background(&self) -> bool {
        self.get("background") == Some(&Value::Bool(true))
    }

    /// The response that this one goes on from.
    pub fn previous_response_id(&self) -> Option<&str> {
        self.get("previous_response_id")?.as_str()
    }

    /// Whether it is kept for a later request, as it is unless `store` is false.
    pub fn is_stored(&self) -> bool {
        self.get("store") != Some(&Value::Bool(false))
    }

    /// The items of the answer, in order.
    pub fn output(&self) -> Vec<Arc<Item>> {
        if let Some(items) = &self.changes.output {
            return items.clone();
        }
        let items = self.output_as_it_came().iter();
        let items = items.filter_map(|item| Item::deserialize(item).ok());
        items.map(Arc::new).collect()
    }

    /// The items of a response that was read, as they came.
    pub fn output_as_it_came(&self) -> &[Value] {
        let output = self.base.get("output").and_then(Value::as_array);
        output.map_or(&[], Vec::as_slice)
    }

    /// An estimate of the bytes that the response takes in memory.
    pub fn size(&self) -> u64 {
        let items = self.changes.output.iter().flatten();
        let items: u64 = items.map(|item| item.size()).sum();
        members_size(&self.base) + members_size(&self.changes.fields) + items
    }

    /// Why the response failed.
    pub fn error(&self) -> Option<ApiError> {
        self.get("error")?.as_object().map(ApiError::read)
    }

    /// Why the response is incomplete, such as `max_output_tokens`.
    pub fn incomplete_reason(&self) -> Option<&str> {
        self.get("incomplete_details")?.get("reason")?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_that_changes_keeps_the_order_of_its_fields() {
        let object = json!({"id": "resp_1", "status": "in_progress", "output": [], "usage": null});
        let begun = Response::read(object.as_object().unwrap().clone()).unwrap();
        let item = Item::Other(
            json!({"type": "reasoning", "id": "rs_1"})
                .as_object()
                .unwrap()
                .clone(),
        );
        let done = begun.with([("status", json!(Status::Completed))], vec![Arc::new(item)]);

        assert_eq!(
            serde_json::to_string(&done).unwrap(),
            r#"{"id":"resp_1","status":"completed","output":[{"type":"reasoning","id":"rs_1"}],"usage":null}"#
        );
        assert_eq!(json!(begun), object);
        assert_eq!(done.failed(&ApiError::default()).output().len(), 1);
    }
}
