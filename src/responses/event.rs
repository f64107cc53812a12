//! The events of a streamed response (Responses API, streaming events).

use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde_json::{Map, Value};

use super::error::ApiError;
use super::fields::Fields;
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
        fields: Fields,
        kind: OnceLock<EventKind>,
        output_index: Option<usize>,
    },
}

impl Event {
    /// Reads an event that is JSON already. Nothing is refused: what is not known is
    /// `EventKind::Other`.
    pub fn read(data: &Map<String, Value>) -> Self {
        Self::read_in(Fields::from(data), &mut Indexes::default())
    }

    /// The same for the `data` of an event of a stream, of which `indexes` has followed the others.
    pub(crate) fn read_in(fields: Fields, indexes: &mut Indexes) -> Self {
        Self(Form::Read {
            output_index: indexes.of(&fields),
            fields,
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
                fields,
                kind,
                output_index,
            } => kind.get_or_init(|| EventKind::read(fields, *output_index)),
        }
    }

    /// What the event says, without a copy of it.
    pub fn into_kind(self) -> EventKind {
        match self.0 {
            Form::Made { kind, .. } => kind,
            Form::Read {
                fields,
                kind,
                output_index,
            } => kind
                .into_inner()
                .unwrap_or_else(|| EventKind::read(&fields, output_index)),
        }
    }

    /// The fields of an event that was read.
    pub fn as_read(&self) -> Option<&Fields> {
        match &self.0 {
            Form::Made { .. } => None,
            Form::Read { fields, .. } => Some(fields),
        }
    }

    /// The `type` of an event that was read.
    pub fn name(&self) -> &str {
        let name = self.as_read().and_then(|it| it.plain_text("type"));
        name.unwrap_or_default()
    }

    /// The number of the event in its stream.
    pub fn sequence_number(&self) -> Option<u64> {
        match &self.0 {
            Form::Made {
                sequence_number, ..
            } => Some(*sequence_number),
            Form::Read { fields, .. } => fields.number("sequence_number"),
        }
    }

    /// The place in the response of the item that the event, which was read, is about.
    pub fn output_index(&self) -> Option<usize> {
        match &self.0 {
            Form::Made { .. } => None,
            Form::Read { output_index, .. } => *output_index,
        }
    }

    /// Whether it is the last event of a response (Responses API, streaming).
    pub fn is_terminal(&self) -> bool {
        match &self.0 {
            Form::Made { kind, .. } => kind.is_terminal(),
            // Without a copy of the response.
            Form::Read { fields, .. } => {
                TERMINAL.contains(&self.name()) && fields.is_object("response")
            }
        }
    }

    /// The event, which was read, with another number, and about another item.
    pub(crate) fn renumbered(
        mut self,
        sequence_number: u64,
        output_index: usize,
        item_id: &str,
    ) -> Self {
        if let Form::Read {
            fields,
            output_index: place,
            kind,
        } = &mut self.0
        {
            fields.set("output_index", &output_index);
            if fields.contains("item_id") {
                fields.set("item_id", &item_id);
            }
            fields.set("sequence_number", &sequence_number);
            *place = Some(output_index);
            kind.take();
        }
        self
    }

    /// The event as one line of JSON: as it came, with `type` first where it is ours.
    pub fn to_json(&self) -> Vec<u8> {
        let written = match &self.0 {
            Form::Made { kind, .. } => serde_json::to_vec(kind),
            Form::Read { fields, .. } => return fields.to_json(),
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
            Form::Read { fields, .. } => fields.to_map().unwrap_or_default(),
            Form::Made { .. } => serde_json::from_slice(&self.to_json()).unwrap_or_default(),
        }
    }
}

/// What an event says, for the events that this program acts on or makes.
#[derive(Debug, Clone, Serialize)]
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
        content_index: usize,
        part: Value,
    },
    #[serde(rename = "response.output_text.delta")]
    OutputTextDelta {
        item_id: String,
        output_index: usize,
        content_index: usize,
        delta: String,
        logprobs: Vec<Value>,
        obfuscation: String,
    },
    #[serde(rename = "response.output_text.done")]
    OutputTextDone {
        item_id: String,
        output_index: usize,
        content_index: usize,
        text: String,
        logprobs: Vec<Value>,
    },
    #[serde(rename = "response.content_part.done")]
    ContentPartDone {
        item_id: String,
        output_index: usize,
        content_index: usize,
        part: Value,
    },

    #[serde(rename = "error")]
    Error { error: ApiError },

    /// An event that this program does not know, or whose fields have another type; [`Event::as_read`]
    /// has it.
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
    /// What the fields of an event say.
    fn read(fields: &Fields, output_index: Option<usize>) -> Self {
        let read = Self::parse(fields, output_index);
        read.unwrap_or_else(|_| Self::Other(Map::new()))
    }

    fn parse(fields: &Fields, output_index: Option<usize>) -> Result<Self, serde_json::Error> {
        let response = || fields.parse::<Response>("response");
        let item = || Ok::<_, serde_json::Error>(Arc::new(fields.parse::<Item>("item")?));
        let text = |name| fields.parse::<String>(name);
        let or_default = |name| match fields.contains(name) {
            true => fields.parse::<String>(name),
            false => Ok(String::new()),
        };
        let logprobs = || match fields.contains("logprobs") {
            true => fields.parse::<Vec<Value>>("logprobs"),
            false => Ok(Vec::new()),
        };
        let content_index = || match fields.contains("content_index") {
            true => fields.parse::<usize>("content_index"),
            false => Ok(0),
        };
        let output_index = || output_index.map_or_else(|| fields.parse("output_index"), Ok);
        let name = fields.text("type").unwrap_or_default();
        Ok(match &*name {
            "response.created" => Self::Created {
                response: response()?,
            },
            "response.queued" => Self::Queued {
                response: response()?,
            },
            "response.in_progress" => Self::InProgress {
                response: response()?,
            },
            "response.completed" => Self::Completed {
                response: response()?,
            },
            "response.failed" => Self::Failed {
                response: response()?,
            },
            "response.incomplete" => Self::Incomplete {
                response: response()?,
            },
            "response.output_item.added" => Self::OutputItemAdded {
                output_index: output_index()?,
                item: item()?,
            },
            "response.output_item.done" => Self::OutputItemDone {
                output_index: output_index()?,
                item: item()?,
            },
            "response.mcp_list_tools.in_progress" => Self::McpListToolsInProgress {
                output_index: output_index()?,
                item_id: text("item_id")?,
            },
            "response.mcp_list_tools.completed" => Self::McpListToolsCompleted {
                output_index: output_index()?,
                item_id: text("item_id")?,
            },
            "response.mcp_list_tools.failed" => Self::McpListToolsFailed {
                output_index: output_index()?,
                item_id: text("item_id")?,
            },
            "response.mcp_call.in_progress" => Self::McpCallInProgress {
                output_index: output_index()?,
                item_id: text("item_id")?,
            },
            "response.mcp_call_arguments.delta" => Self::McpCallArgumentsDelta {
                output_index: output_index()?,
                item_id: text("item_id")?,
                delta: text("delta")?,
                obfuscation: or_default("obfuscation")?,
            },
            "response.mcp_call_arguments.done" => Self::McpCallArgumentsDone {
                output_index: output_index()?,
                item_id: text("item_id")?,
                arguments: text("arguments")?,
            },
            "response.mcp_call.completed" => Self::McpCallCompleted {
                output_index: output_index()?,
                item_id: text("item_id")?,
            },
            "response.mcp_call.failed" => Self::McpCallFailed {
                output_index: output_index()?,
                item_id: text("item_id")?,
            },
            "response.content_part.added" => Self::ContentPartAdded {
                item_id: text("item_id")?,
                output_index: output_index()?,
                content_index: content_index()?,
                part: fields.parse("part")?,
            },
            "response.output_text.delta" => Self::OutputTextDelta {
                item_id: text("item_id")?,
                output_index: output_index()?,
                content_index: content_index()?,
                delta: text("delta")?,
                logprobs: logprobs()?,
                obfuscation: or_default("obfuscation")?,
            },
            "response.output_text.done" => Self::OutputTextDone {
                item_id: text("item_id")?,
                output_index: output_index()?,
                content_index: content_index()?,
                text: text("text")?,
                logprobs: logprobs()?,
            },
            "response.content_part.done" => Self::ContentPartDone {
                item_id: text("item_id")?,
                output_index: output_index()?,
                content_index: content_index()?,
                part: fields.parse("part")?,
            },
            // The documented shape is flat, the recorded one nests.
            "error" => Self::Error {
                error: match fields.parse("error") {
                    Ok(error) => error,
                    Err(_) => ApiError::read(&fields.to_map()?),
                },
            },
            _ => Self::Other(Map::new()),
        })
    }

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
        Event::read(data.as_object().unwrap())
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
