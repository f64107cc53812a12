//! What a client posts: notes and answers, checked before anybody gets them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::refusal::Refusal;
use super::unicode::has_lone_surrogate;
use crate::budget::Held;
use crate::tunnel::message::Id;
use crate::tunnel::names::Channel;

/// A note or an answer.
#[derive(Debug)]
pub struct Posted {
    pub kind: Kind,
    /// The HTTP status of the MCP server, as the client says.
    pub code: i64,
    pub headers: BTreeMap<String, Option<Vec<String>>>,
    pub json: Option<Box<RawValue>>,
    pub held: Held,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    #[default]
    JsonrpcResponse,
    /// The only one that is not final.
    JsonrpcNotify,
    NotifyAck,
    SessionTerminationResponse,
    #[serde(other)]
    Unknown,
}

impl Kind {
    pub fn is_final(self) -> bool {
        !matches!(self, Self::JsonrpcNotify | Self::Unknown)
    }
}

/// A body with all that the contract says of it. Fields that are not known are ignored: newer clients have more.
#[derive(Deserialize)]
struct Payload {
    request_id: String,
    channel: Option<String>,
    resp_json: Option<Box<RawValue>>,
    resp_headers: Option<BTreeMap<String, Option<Vec<String>>>>,
    resp_code: i64,
    #[serde(default)]
    resp_type: Kind,
}

/// What is read of a body with texts that cannot be decoded.
#[derive(Deserialize)]
struct Head {
    request_id: String,
    #[serde(default)]
    resp_type: Kind,
}

/// A body as it was read.
pub enum Read {
    Posted {
        request_id: String,
        posted: Posted,
    },
    /// The answer to this request can never be delivered.
    Undecodable {
        request_id: String,
    },
}

/// Reads the body of a post.
///
/// # Errors
/// It is not what the contract says.
pub fn read(body: &[u8], held: Held) -> Result<Read, Refusal> {
    if has_lone_surrogate(body) {
        return match serde_json::from_slice::<Head>(body) {
            Ok(head) if head.resp_type.is_final() => Ok(Read::Undecodable {
                request_id: head.request_id,
            }),
            _ => Err(Refusal::Payload),
        };
    }
    let payload: Payload = serde_json::from_slice(body).map_err(|_| Refusal::Payload)?;
    if let Some(channel) = &payload.channel {
        let _: Channel = channel.parse().map_err(|_| Refusal::Channel)?;
    }
    let is_object = |json: &RawValue| json.get().starts_with('{');
    let has_json = payload.resp_json.as_deref().map(is_object);
    match (payload.resp_type, has_json) {
        (Kind::Unknown, _) => return Err(Refusal::ResponseType),
        (Kind::JsonrpcResponse | Kind::JsonrpcNotify, Some(true)) => {}
        (Kind::NotifyAck | Kind::SessionTerminationResponse, None | Some(true)) => {}
        _ => return Err(Refusal::Payload),
    }
    Ok(Read::Posted {
        request_id: payload.request_id,
        posted: Posted {
            kind: payload.resp_type,
            code: payload.resp_code,
            headers: payload.resp_headers.unwrap_or_default(),
            json: payload.resp_json,
            held,
        },
    })
}

impl Posted {
    /// The answer of the control plane itself where there is none of the server. A notification, which has no
    /// id, gets the status alone.
    pub fn failure(id: Option<&Id>, code: i64, message: &str, held: Held) -> Self {
        let error = json!({"code": -32603, "message": message});
        let error = |id: &Id| {
            format!(
                r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#,
                id.as_raw()
            )
        };
        let json = id.map(|id| RawValue::from_string(error(id)));
        Self {
            kind: Kind::JsonrpcResponse,
            code,
            headers: BTreeMap::new(),
            json: json.and_then(Result::ok),
            held,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use crate::tunnel::message::Message;

    fn is(body: &str) -> String {
        match read(body.as_bytes(), Budget::unlimited().empty()) {
            Ok(Read::Posted { request_id, posted }) => {
                format!("{request_id} {:?} {}", posted.kind, posted.code)
            }
            Ok(Read::Undecodable { request_id }) => format!("{request_id} undecodable"),
            Err(refusal) => format!("{refusal:?}"),
        }
    }

    #[test]
    fn a_post_is_read_as_the_contract_has_it_and_more_is_ignored() {
        for (body, expected) in [
            (
                r#"{"request_id":"r","resp_code":200,"resp_json":{}}"#,
                "r JsonrpcResponse 200",
            ),
            (
                r#"{"request_id":"r","resp_code":200,"resp_json":{},"resp_timing":[1],"channel":null,
                    "resp_headers":{"X":["a"],"Y":null}}"#,
                "r JsonrpcResponse 200",
            ),
            (
                r#"{"request_id":"r","resp_code":202,"resp_type":"notify_ack"}"#,
                "r NotifyAck 202",
            ),
            (
                r#"{"request_id":"r","resp_code":204,"resp_type":"session_termination_response","resp_headers":null}"#,
                "r SessionTerminationResponse 204",
            ),
            (
                r#"{"request_id":"r","resp_code":200,"resp_json":{},"resp_type":"x"}"#,
                "ResponseType",
            ),
            (
                r#"{"request_id":"r","resp_code":200,"resp_json":{},"channel":"b d"}"#,
                "Channel",
            ),
            (r#"{"request_id":"r","resp_code":200}"#, "Payload"),
            (
                r#"{"request_id":"r","resp_code":200,"resp_json":[]}"#,
                "Payload",
            ),
            (
                r#"{"request_id":"r","resp_code":200,"resp_json":"x","resp_type":"notify_ack"}"#,
                "Payload",
            ),
            (r#"{"request_id":"r","resp_json":{}}"#, "Payload"),
            (
                r#"{"request_id":"r","resp_code":"200","resp_json":{}}"#,
                "Payload",
            ),
            (r#"{"resp_code":200,"resp_json":{}}"#, "Payload"),
            ("[]", "Payload"),
            ("", "Payload"),
        ] {
            assert_eq!(is(body), expected, "{body}");
        }
    }

    #[test]
    fn an_answer_with_half_a_surrogate_pair_still_names_its_request() {
        let ends = r#"{"resp_json":{"a":"\ud83c"},"request_id":"r","resp_code":200}"#;
        assert_eq!(is(ends), "r undecodable");
        let in_header =
            r#"{"request_id":"r","resp_code":200,"resp_json":{},"resp_headers":{"X":["\udfb2"]}}"#;
        assert_eq!(is(in_header), "r undecodable");
        let note = r#"{"resp_json":{"a":"\ud83c"},"request_id":"r","resp_code":200,"resp_type":"jsonrpc_notify"}"#;
        assert_eq!(is(note), "Payload");
        assert_eq!(is(r#"{"request_id":"\ud83c","resp_code":200}"#), "Payload");
    }

    #[test]
    fn a_failure_of_our_own_keeps_the_id_of_the_request() {
        let message = r#"{"jsonrpc":"2.0","id":"a\u0062","method":"x"}"#;
        let message = RawValue::from_string(message.to_owned()).unwrap();
        let Some(Message::Request(id)) = Message::read(&message) else {
            panic!("it is a request");
        };
        let held = || Budget::unlimited().empty();
        let failure = Posted::failure(Some(&id), 502, "no", held());
        assert_eq!(
            failure.json.unwrap().get(),
            r#"{"jsonrpc":"2.0","id":"a\u0062","error":{"code":-32603,"message":"no"}}"#
        );
        assert!(Posted::failure(None, 502, "no", held()).json.is_none());
    }
}
