//! The events of a streamed response (Responses API, streaming events).

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::ApiError;
use super::indexes::Indexes;
use super::item::Item;
use super::response::Response;

/// One event: as JSON, and as it is understood. Each form is made once, when somebody asks for it:
/// of the other one, a large text is no copy that nobody reads.
#[derive(Debug, Clone)]
pub struct Event {
    data: OnceLock<Map<String, Value>>,
    kind: OnceLock<EventKind>,
    /// Of an event of ours.
    sequence_number: u64,
    /// Of an event that was read.
    output_index: Option<usize>,
}

impl Event {
    /// Reads the `data` of an event. Nothing is refused: what is not known is `EventKind::Other`.
    pub fn read(data: Map<String, Value>) -> Self {
        Self::read_in(data, &mut Indexes::default())
    }

    /// The same for an event of a stream, of which `indexes` has followed the others.
    pub(crate) fn read_in(data: Map<String, Value>, indexes: &mut Indexes) -> Self {
        Self {
            output_index: indexes.of(&data),
            data: OnceLock::from(data),
            kind: OnceLock::new(),
            sequence_number: 0,
        }
    }

    /// An event of our own making.
    pub(crate) fn new(sequence_number: u64, kind: EventKind) -> Self {
        Self {
            data: OnceLock::new(),
            kind: OnceLock::from(kind),
            sequence_number,
            output_index: None,
        }
    }

    /// The one event of a response that was not streamed.
    pub(crate) fn whole(response: Response) -> Self {
        let kind = match response.status() {
            "completed" => EventKind::Completed { response },
            "failed" => EventKind::Failed { response },
            _ => EventKind::Incomplete { response },
        };
        Self::new(0, kind)
    }

    /// What the event says.
    pub fn kind(&self) -> &EventKind {
        self.kind.get_or_init(|| {
            let data = self.data();
            if data.contains_key("output_index") || self.output_index.is_none() {
                understood(data, EventKind::deserialize(data))
            } else {
                let numbered = numbered(data.clone(), self.output_index);
                understood(&numbered, EventKind::deserialize(&numbered))
            }
        })
    }

    /// What the event says, without a copy of it.
    pub fn into_kind(self) -> EventKind {
        match (self.kind.into_inner(), self.data.into_inner()) {
            (Some(kind), _) => kind,
            (None, Some(data)) if data.get("type") == Some(&"error".into()) => {
                understood(&data, EventKind::deserialize(&data))
            }
            (None, data) => {
                let data = numbered(data.unwrap_or_default(), self.output_index);
                let read = EventKind::deserialize(Value::Object(data));
                read.unwrap_or(EventKind::Other(Map::new()))
            }
        }
    }

    /// The `type` of an event that was read.
    pub fn name(&self) -> &str {
        let name = self.data().get("type").and_then(Value::as_str);
        name.unwrap_or_default()
    }

    /// The place in the response of the item that the event tells of.
    pub fn output_index(&self) -> Option<usize> {
        let said = || self.data().get("output_index")?.as_u64()?.try_into().ok();
        self.output_index.or_else(said)
    }

    /// The event as it came: a JSON object with `type`.
    pub fn data(&self) -> &Map<String, Value> {
        self.data.get_or_init(|| {
            let mut data = match serde_json::to_value(self.kind.get()) {
                Ok(Value::Object(data)) => data,
                other => unreachable!("every event is a JSON object, not {other:?}"),
            };
            let number = self.sequence_number.into();
            data.shift_insert(1, "sequence_number".to_owned(), number);
            data
        })
    }

    /// The same, to be changed.
    pub fn into_data(self) -> Map<String, Value> {
        self.data();
        self.data.into_inner().unwrap_or_default()
    }
}

/// The data with the place of the item that it tells of.
fn numbered(mut data: Map<String, Value>, output_index: Option<usize>) -> Map<String, Value> {
    if let Some(output_index) = output_index {
        data.insert("output_index".to_owned(), output_index.into());
    }
    data
}

fn understood(data: &Map<String, Value>, read: Result<EventKind, serde_json::Error>) -> EventKind {
    match read {
        // The documented shape of `error` is flat; the recorded one nests (`EventKind::Error`).
        Ok(EventKind::Other(_)) if data.get("type") == Some(&"error".into()) => EventKind::Error {
            error: ApiError::read(data),
        },
        Ok(kind) => kind,
        Err(_) => EventKind::Other(Map::new()),
    }
}

/// What an event says, for the events that this program acts on or makes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum EventKind {
    #[serde(rename = "response.created")]
    Created { response: Response },
    #[serde(rename = "response.queued")]
    Queued { response: Response },
    #[serde(rename = "response.in_progress")]
    InProgress { response: Response },
    #[serde(rename = "response.completed")]
    Completed { response: Response },
    #[serde(rename = "response.failed")]
    Failed { response: Response },
    #[serde(rename = "response.incomplete")]
    Incomplete { response: Response },

    #[serde(rename = "response.output_item.added")]
    OutputItemAdded { output_index: usize, item: Item },
    #[serde(rename = "response.output_item.done")]
    OutputItemDone { output_index: usize, item: Item },

    #[serde(rename = "response.mcp_list_tools.in_progress")]
    McpListToolsInProgress {
        output_index: usize,
        item_id: String,
    },
    #[serde(rename = "response.mcp_list_tools.completed")]
    McpListToolsCompleted {
        output_index: usize,
        item_id: String,
    },
    #[serde(rename = "response.mcp_list_tools.failed")]
    McpListToolsFailed {
        output_index: usize,
        item_id: String,
    },

    #[serde(rename = "response.mcp_call.in_progress")]
    McpCallInProgress {
        output_index: usize,
        item_id: String,
    },
    #[serde(rename = "response.mcp_call_arguments.delta")]
    McpCallArgumentsDelta {
        output_index: usize,
        item_id: String,
        delta: String,
        #[serde(default)]
        obfuscation: String,
    },
    #[serde(rename = "response.mcp_call_arguments.done")]
    McpCallArgumentsDone {
        output_index: usize,
        item_id: String,
        arguments: String,
    },
    #[serde(rename = "response.mcp_call.completed")]
    McpCallCompleted {
        output_index: usize,
        item_id: String,
    },
    #[serde(rename = "response.mcp_call.failed")]
    McpCallFailed {
        output_index: usize,
        item_id: String,
    },

    #[serde(rename = "response.content_part.added")]
    ContentPartAdded {
        item_id: String,
        output_index: usize,
        #[serde(default)]
        content_index: usize,
        part: Value,
    },
    #[serde(rename = "response.output_text.delta")]
    OutputTextDelta {
        item_id: String,
        output_index: usize,
        #[serde(default)]
        content_index: usize,
        delta: String,
        #[serde(default)]
        logprobs: Vec<Value>,
        #[serde(default)]
        obfuscation: String,
    },
    #[serde(rename = "response.output_text.done")]
    OutputTextDone {
        item_id: String,
        output_index: usize,
        #[serde(default)]
        content_index: usize,
        text: String,
        #[serde(default)]
        logprobs: Vec<Value>,
    },
    #[serde(rename = "response.content_part.done")]
    ContentPartDone {
        item_id: String,
        output_index: usize,
        #[serde(default)]
        content_index: usize,
        part: Value,
    },

    #[serde(rename = "error")]
    Error { error: ApiError },

    /// An event that this program does not know; [`Event::data`] has it.
    #[serde(untagged)]
    Other(Map<String, Value>),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(data: &Value) -> Event {
        Event::read(data.as_object().unwrap().clone())
    }

    #[test]
    fn an_unknown_event_is_carried_unharmed() {
        let data = json!({"type": "response.steer.accepted", "sequence_number": 3, "x": {"y": 1}});
        let read = event(&data);
        assert!(matches!(read.kind(), EventKind::Other(_)));
        assert_eq!(Value::Object(read.data().clone()), data);
    }

    #[test]
    fn both_shapes_of_an_error_are_read() {
        let nested = json!({"type": "error", "sequence_number": 2, "error": {
            "type": "insufficient_quota", "code": "insufficient_quota", "message": "No.", "param": null}});
        let flat = json!({"type": "error", "code": "insufficient_quota", "message": "No.",
            "param": null, "sequence_number": 2});
        for data in [nested, flat] {
            let EventKind::Error { error } = event(&data).kind().clone() else {
                panic!("not read as an error: {data}");
            };
            assert_eq!(error.message, "No.");
            assert_eq!(error.code.as_deref(), Some("insufficient_quota"));
        }
    }

    #[test]
    fn an_event_of_ours_has_its_type_and_number_first() {
        let event = Event::new(
            4,
            EventKind::McpCallCompleted {
                output_index: 1,
                item_id: "mcp_1".to_owned(),
            },
        );
        assert_eq!(
            serde_json::to_string(event.data()).unwrap(),
            r#"{"type":"response.mcp_call.completed","sequence_number":4,"output_index":1,"item_id":"mcp_1"}"#
        );
    }
}
