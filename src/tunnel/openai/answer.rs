//! Posts to the control plane: progress notes, answers, acknowledgements.

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;

use super::command::Command;
use super::headers::Returned;
use crate::budget::Held;

/// The type of a post. All except `JsonrpcNotify` end their command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Type {
    JsonrpcResponse,
    JsonrpcNotify,
    NotifyAck,
    SessionTerminationResponse,
}

/// One post.
#[derive(Debug)]
pub struct Answer {
    pub kind: Type,
    /// The status of the MCP server; 502 if there is none.
    pub status: StatusCode,
    pub headers: Returned,
    /// A message of the MCP server, byte for byte, or the error that replaces it.
    pub message: Option<Box<RawValue>>,
    /// The share of the budget that the message holds.
    pub _held: Option<Held>,
}

#[derive(Serialize)]
struct Payload<'a> {
    request_id: &'a str,
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resp_json: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Returned::is_empty")]
    resp_headers: &'a Returned,
    resp_code: u16,
    resp_type: Type,
}

impl Answer {
    /// The body of the post.
    pub fn payload(&self, command: &Command) -> Bytes {
        let payload = Payload {
            request_id: &command.request_id,
            channel: command.channel.as_str(),
            resp_json: self.message.as_deref(),
            resp_headers: &self.headers,
            resp_code: self.status.as_u16(),
            resp_type: self.kind,
        };
        let json = serde_json::to_vec(&payload);
        json.expect("its keys are strings and no value can fail")
            .into()
    }
}
