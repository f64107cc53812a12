//! The events of a streamed response (Responses API, streaming events).

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::ApiError;
use super::indexes::Indexes;
use super::item::Item;
use super::response::Response;
use super::words::Status;

/// One event, of our own making or read from a stream. The JSON of ours is made when somebody writes
/// it; what one that was read says is understood when somebody asks.
#[derive(Debug, Clone)]
pub struct Event(Form);

#[derive(Debug, Clone)]
enum Form {
    Made {
        sequence_number: u64,
        kind: EventKind,
    },
    Read {
        data: Map<String, Value>,
        kind: OnceLock<EventKind>,
        output_index: Option<usize>,
    },
}

impl Event {
    /// Reads the `data` of an event. Nothing is refused: what is not known is `EventKind::Other`.
    pub fn read(data: Map<String, Value>) -> Self {
        Self::read_in(data, &mut Indexes::default())
    }

    /// The same for an event of a stream, of which `indexes` has followed the others.
    pub(crate) fn read_in(data: Map<String, Value>, indexes: &mut Indexes) -> Self {
        Self(Form::Read {
            output_index: indexes.of(&data),
            data,
            kind: OnceLock::new(),
        })
    }

    /// An event of our own making.
    pub(crate) fn new(sequence_number: u64, kind: EventKind) -> Self {
        Self(Form::Made {
            sequence_number,
            kind,
        })
    }

    /// The one event of a response that was not streamed.
    pub(crate) fn whole(response: Response) -> Self {
        let kind = match response.status() {
            Some(Status::Completed) => EventKind::Completed { response },
            Some(Status::Failed) => EventKind::Failed { response },
            _ => EventKind::Incomplete { response },
        };
        Self::new(0, kind)
    }

    /// What the event says.
    pub fn kind(&self) -> &EventKind {
        match &self.0 {
            Form::Made { kind, .. } => kind,
            Form::Read {
                data,
                kind,
                output_index,
            } => kind.get_or_init(|| {
                if data.contains_key("output_index") || output_index.is_none() {
                    understood(data, EventKind::deserialize(data))
                } else {
                    let numbered = numbered(data.clone(), *output_index);
                    understood(&numbered, EventKind::deserialize(&numbered))
                }
            }),
        }
    }

    /// What the event says, without a copy of it.
    pub fn into_kind(self) -> EventKind {
        match self.0 {
            Form::Made { kind, .. } => kind,
            Form::Read {
                data,
                kind,
                output_index,
            } => kind.into_inner().unwrap_or_else(|| {
                if data.get("type") == Some(&"error".into()) {
                    return understood(&data, EventKind::deserialize(&data));
                }
                let read = EventKind::deserialize(Value::Object(numbered(data, output_index)));
                read.unwrap_or(EventKind::Other(Map::new()))
            }),
        }
    }

    /// The JSON of an event that was read.
    pub fn as_read(&self) -> Option<&Map<String, Value>> {
        match &self.0 {
            Form::Made { .. } => None,
            Form::Read { data, .. } => Some(data),
        }
    }

    /// The `type` of an event that was read.
    pub fn name(&self) -> &str {
        let name = self.as_read().and_then(|it| it.get("type")?.as_str());
        name.unwrap_or_default()
    }

    /// The number of the event in its stream.
    pub fn sequence_number(&self) -> Option<u64> {
        match &self.0 {
            Form::Made {
                sequence_number, ..
            } => Some(*sequence_number),
            Form::Read { data, .. } => data.get("sequence_number")?.as_u64(),
        }
    }

    /// The place in the response of the item that the event, which was read, is about.
    pub fn output_index(&self) -> Option<usize> {
        match &self.0 {
            Form::Made { .. } => None,
            Form::Read {
                data, output_index, ..
            } => output_index.or_else(|| data.get("output_index")?.as_u64()?.try_into().ok()),
        }
    }

    /// Whether it is the last event of a response (Responses API, streaming).
    pub fn is_terminal(&self) -> bool {
        match &self.0 {
            Form::Made { kind, .. } => kind.is_terminal(),
            // Without a copy of the response.
            Form::Read { data, .. } => {
                TERMINAL.contains(&self.name())
                    && data.get("response").is_some_and(Value::is_object)
            }
        }
    }

    /// The event as one line of JSON: as it came, with `type` first where it is ours.
    pub fn to_json(&self) -> Vec<u8> {
        let written = match &self.0 {
            Form::Made { kind, .. } => serde_json::to_vec(kind),
            Form::Read { data, .. } => serde_json::to_vec(data),
        };
        let Ok(mut json) = written else {
            unreachable!("an event has string keys, and nothing in it fails to serialize");
        };
        if let Form::Made {
            sequence_number, ..
        } = &self.0
        {
            // Behind the type, as OpenAI was recorded. No type has a comma in it.
            let behind_type = json.iter().position(|byte| *byte == b',');
            let place = behind_type.unwrap_or(json.len() - 1);
            let number = format!(",\"sequence_number\":{sequence_number}");
            json.splice(place..place, number.into_bytes());
        }
        json
    }

    /// The event as a JSON object.
    pub fn into_data(self) -> Map<String, Value> {
        match self.0 {
            Form::Read { data, .. } => data,
            Form::Made { .. } => serde_json::from_slice(&self.to_json()).unwrap_or_default(),
        }
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
    OutputItemAdded {
        output_index: usize,
        item: Arc<Item>,
    },
    #[serde(rename = "response.output_item.done")]
    OutputItemDone {
        output_index: usize,
        item: Arc<Item>,
    },

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

    /// An event that this program does not know; [`Event::as_read`] has it.
    #[serde(untagged)]
    Other(Map<String, Value>),
}

/// The types of the events that end a response.
const TERMINAL: [&str; 3] = [
    "response.completed",
    "response.failed",
    "response.incomplete",
];

impl EventKind {
    /// The response in the event, if it has one.
    pub fn response(&self) -> Option<&Response> {
        match self {
            Self::Created { response }
            | Self::Queued { response }
            | Self::InProgress { response }
            | Self::Completed { response }
            | Self::Failed { response }
            | Self::Incomplete { response } => Some(response),
            _ => None,
        }
    }

    /// Whether this ends a response.
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::Completed { .. } | Self::Failed { .. } | Self::Incomplete { .. }
        )
    }
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
        assert_eq!(Value::Object(read.into_data()), data);
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
            String::from_utf8(event.to_json()).unwrap(),
            r#"{"type":"response.mcp_call.completed","sequence_number":4,"output_index":1,"item_id":"mcp_1"}"#
        );
    }
}
