//! Which headers pass the tunnel, in each direction.

use std::collections::BTreeMap;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCESS_CONTROL_EXPOSE_HEADERS, CONNECTION, CONTENT_ENCODING,
    CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

pub const JSON: &str = "application/json";
pub const EVENT_STREAM: &str = "text/event-stream";
const BOTH_FORMS: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

/// Headers that are never forwarded to the MCP server: hop-by-hop headers, and those that describe a body,
/// because this client writes the request body and reads the answer itself.
const NOT_SENT: [HeaderName; 11] = [
    HOST,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    CONTENT_ENCODING,
    ACCEPT_ENCODING,
    TRANSFER_ENCODING,
    CONNECTION,
    TE,
    TRAILER,
    UPGRADE,
    KEEP_ALIVE,
];

/// Headers of the MCP server that are posted with an answer, and how their names are written.
const RETURNED: [(HeaderName, &str); 6] = [
    (
        ACCESS_CONTROL_EXPOSE_HEADERS,
        "Access-Control-Expose-Headers",
    ),
    (CONTENT_TYPE, "Content-Type"),
    (LAST_EVENT_ID, "Last-Event-Id"),
    (PROTOCOL_VERSION, "Mcp-Protocol-Version"),
    (SESSION_ID, "Mcp-Session-Id"),
    (WWW_AUTHENTICATE, "Www-Authenticate"),
];

/// The headers of a command as the control plane sent them.
pub type Sent = BTreeMap<String, Option<Vec<String>>>;

/// The headers of the request to the MCP server: the forwarded headers of the command, one line per value.
/// Invalid names and values are skipped.
pub fn for_server(sent: &Sent) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, values) in sent {
        let Ok(name) = HeaderName::from_bytes(name.trim().as_bytes()) else {
            tracing::debug!("a header of a command has an invalid name");
            continue;
        };
        for value in values.iter().flatten() {
            match HeaderValue::from_bytes(value.as_bytes()) {
                Ok(value) => drop(headers.append(&name, value)),
                Err(_) => tracing::debug!(%name, "a header of a command has an invalid value"),
            }
        }
    }
    for name in named_by_connection(&headers) {
        headers.remove(name);
    }
    for name in NOT_SENT {
        headers.remove(name);
    }
    let proxies: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("proxy-"))
        .cloned()
        .collect();
    for name in proxies {
        headers.remove(name);
    }
    headers.entry(ACCEPT).or_insert(BOTH_FORMS);
    headers
}

/// The headers that are posted with an answer (`resp_headers`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Returned(BTreeMap<&'static str, Vec<String>>);

impl Returned {
    /// The allowed headers that have a value and are not listed in `Connection`.
    pub fn from_server(headers: &HeaderMap) -> Self {
        let dropped = named_by_connection(headers);
        let mut returned = BTreeMap::new();
        for (name, canonical) in RETURNED {
            if dropped.contains(&name) {
                continue;
            }
            let values = headers.get_all(&name).iter();
            let values = values.filter_map(|it| str::from_utf8(it.as_bytes()).ok());
            let values: Vec<String> = values
                .filter(|it| !it.is_empty())
                .map(str::to_owned)
                .collect();
            if !values.is_empty() {
                returned.insert(canonical, values);
            }
        }
        Self(returned)
    }

    pub fn with_content_type(mut self, value: &str) -> Self {
        self.0.insert("Content-Type", vec![value.to_owned()]);
        self
    }

    /// Without a content type, it is that of an event stream.
    pub fn with_some_content_type(mut self) -> Self {
        let content_type = self.0.entry("Content-Type");
        content_type.or_insert_with(|| vec![EVENT_STREAM.to_owned()]);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether the body is of this media type, whatever its parameters.
pub fn has_type(headers: &HeaderMap, media_type: &str) -> bool {
    let value = headers.get(CONTENT_TYPE);
    let value = value.and_then(|it| it.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(media_type)
}

/// The headers that `Connection` lists as hop-by-hop (RFC 9110 section 7.6.1).
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter();
    let values = values.filter_map(|it| it.to_str().ok());
    let names = values.flat_map(|it| it.split(','));
    names
        .filter_map(|it| HeaderName::from_bytes(it.trim().as_bytes()).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sent(headers: Value) -> HeaderMap {
        for_server(&serde_json::from_value(headers).unwrap())
    }

    #[test]
    fn headers_of_a_command_pass_but_for_those_of_a_connection_and_a_body() {
        let headers = sent(json!({
            "Host": ["evil.example"], "Content-Length": ["3"], "content-type": ["text/plain"],
            "Transfer-Encoding": ["chunked"], "Connection": ["close, X-Named", "x-other"],
            "X-Named": ["a"], "x-OTHER": ["b"], "TE": ["trailers"], "Trailer": ["x"],
            "Upgrade": ["h2c"], "Keep-Alive": ["5"], "Proxy-Authorization": ["c"],
            "proxy-anything": ["d"], "Accept-Encoding": ["gzip"], "Content-Encoding": ["gzip"],
            "bad name": ["x"], "X-Bad": ["a\nb", "fine"], "X-None": null, "X-Two": ["1", "2"],
            "Authorization": ["Bearer connector"], "Mcp-Session-Id": ["s"], "Accept": ["text/event-stream"],
        }));
        let mut left: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        left.sort();
        assert_eq!(
            left,
            [
                "accept: text/event-stream",
                "authorization: Bearer connector",
                "mcp-session-id: s",
                "x-bad: fine",
                "x-two: 1",
                "x-two: 2",
            ]
        );
        assert_eq!(
            sent(json!({}))[ACCEPT],
            "application/json, text/event-stream"
        );
    }

    #[test]
    fn an_answer_brings_back_six_headers_and_none_that_connection_names() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "mcp-protocol-version, close"),
            ("mcp-protocol-version", "2025-11-25"),
            ("set-cookie", "a=b"),
            ("server", "x"),
            ("www-authenticate", "Bearer a"),
            ("www-authenticate", ""),
            ("www-authenticate", "Basic b"),
            ("last-event-id", ""),
            ("content-type", "application/json"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let returned = Returned::from_server(&headers);
        assert_eq!(
            serde_json::to_value(&returned).unwrap(),
            json!({"Content-Type": ["application/json"], "Www-Authenticate": ["Bearer a", "Basic b"]})
        );
        assert!(Returned::from_server(&HeaderMap::new()).is_empty());
    }

    #[test]
    fn a_media_type_is_read_without_its_parameters() {
        let mut headers = HeaderMap::new();
        assert!(!has_type(&headers, JSON));
        let value = "Text/Event-Stream ; charset=utf-8";
        headers.insert(CONTENT_TYPE, value.parse().unwrap());
        assert!(has_type(&headers, EVENT_STREAM));
        assert!(!has_type(&headers, JSON));
    }
}
