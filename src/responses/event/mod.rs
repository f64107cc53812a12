//! The events of a streamed response (Responses API, streaming events).

mod kind;

use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::fields::Fields;
use super::indexes::Indexes;
use super::response::Response;
use super::words::Status;
use kind::TERMINAL;

pub use kind::EventKind;

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
