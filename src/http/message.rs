//! The JSON-RPC message in a body, as far as it decides who answers.

use std::borrow::Cow;

use http::StatusCode;
use rmcp::ErrorData;
use rmcp::model::RequestId;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// A message of a client: a request has an id, a notification has none. What it asks for is left
/// as it came.
#[derive(Debug, Deserialize)]
pub struct Message<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    /// Those of a response; a request has neither.
    result: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

/// Who sends a message and what for, as far as it says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Told {
    pub name: Option<String>,
    #[serde(rename = "clientInfo")]
    client: Option<Implementation>,
    #[serde(rename = "_meta")]
    meta: Meta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Meta {
    #[serde(rename = "io.modelcontextprotocol/clientInfo")]
    client: Option<Implementation>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Implementation {
    name: String,
    version: String,
}

impl<'a> Message<'a> {
    /// Reads a body. A body that is none is HTTP 400 with the error of JSON-RPC 2.0 section 5.1.
    pub fn read(body: &'a [u8]) -> Result<Self, (StatusCode, ErrorData)> {
        let refused = || (StatusCode::BAD_REQUEST, what_is_wrong(body));
        // Serde would read an array as the fields in their order.
        if first_byte(body) != Some(b'{') {
            return Err(refused());
        }
        serde_json::from_slice(body).map_err(|_| refused())
    }

    /// Whether this asks for something, and is of JSON-RPC 2.0.
    pub fn is_request(&self) -> bool {
        let is_response = self.result.is_some() || self.error.is_some();
        self.jsonrpc.as_deref() == Some("2.0") && self.id.is_some() && !is_response
    }

    /// Whether the method is this one.
    pub fn asks_for(&self, method: &str) -> bool {
        self.is_request() && self.method.as_deref() == Some(method)
    }

    /// The id, if it is one.
    pub fn request_id(&self) -> Option<RequestId> {
        serde_json::from_str(self.id?.get()).ok()
    }

    /// Whether there are parameters.
    pub fn has_params(&self) -> bool {
        self.params.is_some()
    }

    /// The parameters, if they are these.
    pub fn params<T: Deserialize<'a>>(&self) -> Option<T> {
        serde_json::from_str(self.params?.get()).ok()
    }

    /// What the parameters say of the client and of what is called.
    pub fn told(&self) -> Told {
        self.params().unwrap_or_default()
    }
}

impl Told {
    /// The client's name and version.
    pub fn client(self) -> Option<String> {
        let client = self.client.or(self.meta.client)?;
        Some(format!("{} {}", client.name, client.version))
    }
}

/// Why a body is not a message that can be answered.
pub fn what_is_wrong(body: &[u8]) -> ErrorData {
    let text = std::str::from_utf8(body).unwrap_or_default();
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        return ErrorData::parse_error("the body is not JSON", None);
    }
    ErrorData::invalid_request(
        match first_byte(body) {
            Some(b'[') => "the body is a batch, which MCP has no more: send one message a request",
            _ => "the body is not a JSON-RPC 2.0 message that MCP knows",
        },
        None,
    )
}

fn first_byte(body: &[u8]) -> Option<u8> {
    body.trim_ascii_start().first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(body: &[u8]) -> Option<i32> {
        Message::read(body).err().map(|(status, error)| {
            assert_eq!(status, StatusCode::BAD_REQUEST);
            error.code.0
        })
    }

    #[test]
    fn what_is_not_a_message_has_the_error_of_json_rpc() {
        let nested = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
        for (body, expected) in [
            (&b""[..], Some(-32700)),
            (b"{", Some(-32700)),
            (b"\xef\xbb\xbf{}", Some(-32700)),
            (b"{\"method\":\"\xff\"}", Some(-32700)),
            (b"{\"n\":NaN}", Some(-32700)),
            (b"{} {}", Some(-32700)),
            (b"[]", Some(-32600)),
            (
                b" [{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]",
                Some(-32600),
            ),
            (&nested, Some(-32600)),
            (b"[\"2.0\",1,\"tools/list\",null]", Some(-32600)),
            (b"\"ping\"", Some(-32600)),
            (b"null", Some(-32600)),
            (b"{\"method\":5}", Some(-32600)),
            (b"{\"id\":1,\"id\":2}", Some(-32600)),
            (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}", None),
        ] {
            assert_eq!(code(body), expected, "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn a_client_is_told_of_in_both_eras() {
        for params in [
            r#"{"clientInfo":{"name":"a","version":"1"}}"#,
            r#"{"name":"roll","_meta":{"io.modelcontextprotocol/clientInfo":{"name":"a","version":"1"}}}"#,
        ] {
            let body = format!(r#"{{"method":"x","params":{params}}}"#);
            let message = Message::read(body.as_bytes()).unwrap();
            assert_eq!(message.told().client().as_deref(), Some("a 1"));
        }
    }
}
