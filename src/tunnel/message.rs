//! JSON-RPC messages, read without a copy: they pass the tunnel byte for byte.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The id of a request. It keeps its type: `"1"` is not `1`.
#[derive(Debug, Clone)]
pub struct Id(Box<RawValue>);

impl Id {
    /// The id if it is a string or a number, as those of MCP are.
    fn read(id: &RawValue) -> Option<Self> {
        let is_valid = matches!(id.get().as_bytes().first(), Some(b'"' | b'-' | b'0'..=b'9'));
        is_valid.then(|| Self(id.to_owned()))
    }

    pub fn as_raw(&self) -> &RawValue {
        &self.0
    }

    /// Whether an id that came back is this one. Numbers are compared as text, because large ones fit
    /// no integer type; strings may be escaped differently.
    pub fn is(&self, other: &RawValue) -> bool {
        let text = |it: &RawValue| serde_json::from_str::<String>(it.get()).ok();
        self.0.get() == other.get() || text(&self.0).is_some_and(|it| text(other) == Some(it))
    }
}

/// What a JSON-RPC message is.
#[derive(Debug)]
pub enum Message<'a> {
    Request(Id),
    Notification,
    /// The answer to a request.
    Answer {
        id: Option<&'a RawValue>,
        error: Option<&'a RawValue>,
    },
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: Text<'a>,
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

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its types are checked")]
struct ErrorObject<'a> {
    code: i64,
    #[serde(borrow)]
    message: Text<'a>,
}

impl<'a> Message<'a> {
    /// Reads a message; `None` if it is not JSON-RPC 2.0.
    pub fn read(message: &'a RawValue) -> Option<Self> {
        let envelope: Envelope<'a> = serde_json::from_str(message.get()).ok()?;
        if envelope.jsonrpc.0 != "2.0" {
            return None;
        }
        match (
            envelope.method.is_some(),
            envelope.id,
            envelope.result,
            envelope.error,
        ) {
            (true, Some(id), None, None) => Id::read(id).map(Self::Request),
            (true, None, None, None) => Some(Self::Notification),
            (false, id, Some(_), None) => Some(Self::Answer { id, error: None }),
            (false, id, None, Some(error)) => Some(Self::Answer {
                id,
                error: Some(error),
            }),
            _ => None,
        }
    }

    /// Whether it is an error for the request with this id, with an integer code and a message.
    pub fn refuses(&self, id: &Id) -> bool {
        let Self::Answer {
            id: Some(answered),
            error: Some(error),
        } = self
        else {
            return false;
        };
        id.is(answered) && serde_json::from_str::<ErrorObject<'_>>(error.get()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn id(text: &str) -> Id {
        Id::read(&raw(text)).unwrap()
    }

    #[test]
    fn an_id_has_a_type_and_a_value() {
        assert!(id(r#""a""#).is(&raw(r#""\u0061""#)));
        assert!(id("12345678901234567890123").is(&raw("12345678901234567890123")));
        assert!(!id("12345678901234567890123").is(&raw("12345678901234567890124")));
        assert!(!id("1").is(&raw(r#""1""#)));
        assert!(!id(r#""1""#).is(&raw("1")));
        for bad in ["{}", "[1]", "true"] {
            assert!(Id::read(&raw(bad)).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_message_is_a_request_a_notification_or_an_answer() {
        let read = |text: &str| match Message::read(&raw(text)) {
            Some(Message::Request(id)) => format!("request {}", id.as_raw()),
            Some(Message::Notification) => "notification".to_owned(),
            Some(Message::Answer { id, error }) => {
                format!("answer {} {}", id.is_some(), error.is_some())
            }
            None => "none".to_owned(),
        };
        for (text, is) in [
            (
                r#"{"jsonrpc":"2.0","id":"x","method":"tools/call"}"#,
                "request \"x\"",
            ),
            (r#"{"jsonrpc":"2.0","id":-7,"method":"a"}"#, "request -7"),
            (
                r#"{"jsonrpc":"2.0","id":null,"method":"a"}"#,
                "notification",
            ),
            (
                r#"{"jsonrpc":"2.0","method":"\u0061","params":[]}"#,
                "notification",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
                "answer true false",
            ),
            (r#"{"jsonrpc":"2.0","error":{}}"#, "answer false true"),
            (r#"{"jsonrpc":"2.0","id":[],"method":"a"}"#, "none"),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"a","result":{}}"#,
                "none",
            ),
            (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, "none"),
            (r#"{"jsonrpc":"1.0","id":1,"result":{}}"#, "none"),
            (r#"{"id":1,"method":"a"}"#, "none"),
            (r#"{"jsonrpc":"2.0","id":1}"#, "none"),
            ("[]", "none"),
            ("{}", "none"),
        ] {
            assert_eq!(read(text), is, "{text}");
        }
    }

    #[test]
    fn a_refusal_is_an_error_object_with_the_same_id() {
        let refuses = |text: &str| {
            let text = raw(text);
            Message::read(&text).is_some_and(|it| it.refuses(&id("7")))
        };
        assert!(refuses(
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32003,"message":"no","data":[]}}"#
        ));
        for text in [
            r#"{"jsonrpc":"2.0","id":"7","error":{"code":-32003,"message":"no"}}"#,
            r#"{"jsonrpc":"2.0","error":{"code":-32003,"message":"no"}}"#,
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":1.5,"message":"no"}}"#,
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":1}}"#,
            r#"{"jsonrpc":"2.0","id":7,"error":"no"}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{}}"#,
        ] {
            assert!(!refuses(text), "{text}");
        }
    }
}
