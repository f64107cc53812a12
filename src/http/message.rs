//! The JSON-RPC message in a body, as far as it decides who answers.

use std::borrow::Cow;
use std::ops::Range;

use axum::body::Bytes;
use http::StatusCode;
use rmcp::ErrorData;
use rmcp::model::RequestId;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// A message of a client: a request has an id, a notification has none. Its id and its parameters
/// are slices of the body, which are parsed when somebody asks for them. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Message {
    pub body: Bytes,
    pub method: Option<String>,
    is_request: bool,
    id: Option<Bytes>,
    params: Option<Bytes>,
}

/// The members of a message.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    /// Those of a response; a request has neither.
    result: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

/// What the parameters of a message say about its client and the called tool.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Described {
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

impl Message {
    /// Reads a body.
    ///
    /// # Errors
    /// HTTP 400 with the error of JSON-RPC 2.0 section 5.1 if the body is not a message.
    pub fn read(body: Bytes) -> Result<Self, (StatusCode, ErrorData)> {
        // Serde would read an array as the fields in their order.
        let members = match first_byte(&body) {
            Some(b'{') => serde_json::from_slice::<Members>(&body).ok(),
            _ => None,
        };
        let Some(members) = members else {
            return Err((StatusCode::BAD_REQUEST, why_no_message(&body)));
        };
        let slice = |json: &RawValue| body.slice_ref(json.get().as_bytes());
        let is_response = members.result.is_some() || members.error.is_some();
        let is_request =
            members.jsonrpc.as_deref() == Some("2.0") && members.id.is_some() && !is_response;
        let id = members.id.map(slice);
        let params = members.params.map(slice);
        let method = members.method.map(Cow::into_owned);
        Ok(Self {
            body,
            method,
            is_request,
            id,
            params,
        })
    }

    /// Whether this is a request of JSON-RPC 2.0.
    pub fn is_request(&self) -> bool {
        self.is_request
    }

    /// Whether this is a request of that method.
    pub fn asks_for(&self, method: &str) -> bool {
        self.is_request && self.method.as_deref() == Some(method)
    }

    /// The JSON of its id.
    pub fn id(&self) -> Option<&Bytes> {
        self.id.as_ref()
    }

    /// Where the id is in the body.
    pub fn place_of_id(&self) -> Option<Range<usize>> {
        self.id.as_ref().map(|it| self.place(it))
    }

    /// Where the parameters are in the body.
    pub fn place_of_params(&self) -> Option<Range<usize>> {
        self.params.as_ref().map(|it| self.place(it))
    }

    fn place(&self, part: &Bytes) -> Range<usize> {
        let start = part.as_ptr().addr() - self.body.as_ptr().addr();
        start..start + part.len()
    }

    /// The id, if it is a valid one.
    pub fn request_id(&self) -> Option<RequestId> {
        serde_json::from_slice(self.id.as_deref()?).ok()
    }

    /// Whether there are parameters.
    pub fn has_params(&self) -> bool {
        self.params.is_some()
    }

    /// The parameters, if they are of that type.
    pub fn params<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_slice(self.params.as_deref()?).ok()
    }

    /// What the parameters say about the client and the called tool.
    pub fn described(&self) -> Described {
        self.params().unwrap_or_default()
    }
}

impl Described {
    /// The client's name and version.
    pub fn client(self) -> Option<String> {
        let client = self.client.or(self.meta.client)?;
        Some(format!("{} {}", client.name, client.version))
    }
}

/// Why a body is not a message that can be answered.
pub fn why_no_message(body: &[u8]) -> ErrorData {
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
        Message::read(Bytes::copy_from_slice(body))
            .err()
            .map(|(status, error)| {
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
    fn the_client_is_named_in_both_eras() {
        for params in [
            r#"{"clientInfo":{"name":"a","version":"1"}}"#,
            r#"{"name":"roll","_meta":{"io.modelcontextprotocol/clientInfo":{"name":"a","version":"1"}}}"#,
        ] {
            let body = format!(r#"{{"method":"x","params":{params}}}"#);
            let message = Message::read(body.into()).unwrap();
            assert_eq!(message.described().client().as_deref(), Some("a 1"));
        }
    }
}
