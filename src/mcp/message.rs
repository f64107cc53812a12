//! A JSON-RPC message as a server sends it, read without a copy of what is in it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

/// The longest id of a server's request that is repeated in an answer, in bytes.
const MAX_ID: usize = 256;

/// A message of a server.
#[derive(Debug)]
pub enum Message<'a> {
    /// The answer to a request of ours: its result, or its error.
    Answer {
        id: Option<&'a RawValue>,
        outcome: Result<&'a RawValue, &'a RawValue>,
    },
    Request {
        id: &'a RawValue,
        method: Cow<'a, str>,
    },
    Notification,
    /// An object with an id that is none of these.
    Unknown {
        id: Option<&'a RawValue>,
    },
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Text<'a>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Text<'a>>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// A text that is borrowed where it has no escapes; within an `Option`, serde copies a `Cow`.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Message<'a> {
    /// Reads a message (JSON-RPC 2.0).
    ///
    /// # Errors
    /// The text is not JSON, or not an object with fields of these types.
    pub fn read(text: &'a [u8]) -> Result<Self, serde_json::Error> {
        let Envelope {
            jsonrpc,
            id,
            method,
            result,
            error,
        } = serde_json::from_slice(text)?;
        if jsonrpc.is_none_or(|it| it.0 != "2.0") {
            return Ok(Self::Unknown { id });
        }
        let method = method.map(|it| it.0);
        Ok(match (id, method, result, error) {
            (id, None, Some(result), None) => Self::Answer {
                id,
                outcome: Ok(result),
            },
            (id, None, None, Some(error)) => Self::Answer {
                id,
                outcome: Err(error),
            },
            (Some(id), Some(method), None, None) => Self::Request { id, method },
            (None, Some(_), None, None) => Self::Notification,
            (id, ..) => Self::Unknown { id },
        })
    }
}

/// What a server is answered to a request of its own: a pong, and to anything else that this client
/// does not serve it. Nothing if its id is too long to be repeated.
pub fn reply(id: &RawValue, method: &str) -> Option<String> {
    if id.get().len() > MAX_ID {
        return None;
    }
    let reply = match method {
        "ping" => json!({"jsonrpc": "2.0", "id": id, "result": {}}),
        _ => json!({"jsonrpc": "2.0", "id": id, "error":
            {"code": -32601, "message": "this client does not serve the method"}}),
    };
    Some(reply.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_an_answer_a_request_or_a_notification() {
        let read = |text: &'static str| Message::read(text.as_bytes());
        assert!(matches!(
            read(r#"{"jsonrpc": "2.0", "id": 1, "result": {"a": [1]}, "error": null, "x": 1}"#),
            Ok(Message::Answer { id: Some(id), outcome: Ok(result) })
                if id.get() == "1" && result.get() == r#"{"a": [1]}"#
        ));
        assert!(matches!(
            read(r#"{"jsonrpc": "2.0", "id": null, "error": {"code": 1}}"#),
            Ok(Message::Answer { id: None, outcome: Err(error) }) if error.get() == r#"{"code": 1}"#
        ));
        assert!(matches!(
            read(r#"{"jsonrpc": "2.0", "id": "\u0061", "method": "\u0070ing", "params": {}}"#),
            Ok(Message::Request { id, method }) if id.get() == r#""\u0061""# && method == "ping"
        ));
        assert!(matches!(
            read(r#"{"jsonrpc": "2.0", "method": "notifications/message", "params": [[[]]]}"#),
            Ok(Message::Notification)
        ));
        for text in [
            "{}",
            r#"{"jsonrpc": "1.0", "id": 1, "result": {}}"#,
            r#"{"id": 1, "result": {}}"#,
            r#"{"jsonrpc": "2.0", "id": 1}"#,
            r#"{"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}}"#,
            r#"{"jsonrpc": "2.0", "id": 1, "result": {}, "method": "ping"}"#,
        ] {
            assert!(matches!(read(text), Ok(Message::Unknown { .. })), "{text}");
        }
        for text in ["", "null", "[]", "starting ...", r#"{"method": 1}"#] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_ping_is_answered_and_any_other_request_is_refused() {
        let id = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let pong = reply(&id("\"a\""), "ping").unwrap();
        assert_eq!(pong, r#"{"jsonrpc":"2.0","id":"a","result":{}}"#);
        let refusal = reply(&id("7"), "sampling/createMessage").unwrap();
        assert!(
            refusal.contains(r#""id":7,"error":{"code":-32601,"#),
            "{refusal}"
        );
        assert_eq!(
            reply(&id(&format!("\"{}\"", "x".repeat(MAX_ID))), "ping"),
            None
        );
    }
}
