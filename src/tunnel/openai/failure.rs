//! The error that a connector gets if the MCP server gave no usable answer (`error.data.tunnel_failure`). It says
//! where the call failed, and repeats nothing from the server.

use std::error::Error as StdError;
use std::io;

use http::StatusCode;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::tunnel::message::Id;

/// The code of JSON-RPC for an internal error.
const INTERNAL_ERROR: i32 = -32603;

/// Where the call failed. The contract also has `dns`; no resolver is involved here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The server answered with HTTP 400 to 599.
    TargetHttp,
    Tls,
    Connect,
    /// The connection, or the stream of an answer, ended too early.
    TransportClosed,
    Timeout,
    /// The server's answer is not MCP.
    Protocol,
    /// This client failed.
    ClientInternal,
}

/// How the call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    ClosedPipe,
    ConnectionAborted,
    ConnectionRefused,
    ConnectionReset,
    Eof,
    HostUnreachable,
    InvalidMcpError,
    InvalidProtocolResponse,
    MalformedJson,
    NetworkUnreachable,
    NonProtocolResponse,
    ResponseBodyMissing,
    ResponseBodyTooLarge,
    ResponseBodyUnreadable,
    Timeout,
    Tls,
    UnexpectedEof,
    Unknown,
}

/// A failure, classified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    pub source: Source,
    pub kind: Kind,
    /// The status that the connector gets.
    pub status: StatusCode,
}

/// The failure as the contract writes it.
#[derive(Serialize)]
struct Provenance {
    version: u32,
    source: Source,
    upstream_response_received: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_status: Option<u16>,
    transport_error_kind: Kind,
}

impl Failure {
    /// A status that is no success, with a body that is not a JSON-RPC error.
    pub fn refused(status: StatusCode, kind: Kind) -> Self {
        let is_error = status.is_client_error() || status.is_server_error();
        Self {
            source: match is_error {
                true => Source::TargetHttp,
                false => Source::Protocol,
            },
            kind,
            status,
        }
    }

    /// A failure without an HTTP error of the server: the connector gets 502.
    pub fn without_status(source: Source, kind: Kind) -> Self {
        Self {
            source,
            kind,
            status: StatusCode::BAD_GATEWAY,
        }
    }

    /// The stream of an answer ended before the answer.
    pub fn ended(kind: Kind) -> Self {
        Self::without_status(Source::TransportClosed, kind)
    }

    /// A success whose body is not an answer.
    pub fn not_mcp(kind: Kind) -> Self {
        Self::without_status(Source::Protocol, kind)
    }

    /// Classifies an error by the first known cause in its chain.
    pub fn from_error(error: &(dyn StdError + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some((source, kind)) = error
                .downcast_ref::<io::Error>()
                .and_then(|it| classify(it.kind()))
            {
                return Self::without_status(source, kind);
            }
            if error.downcast_ref::<rustls::Error>().is_some() {
                return Self::without_status(Source::Tls, Kind::Tls);
            }
            next = error.source();
        }
        Self::without_status(Source::ClientInternal, Kind::Unknown)
    }

    /// The JSON-RPC error that replaces the answer to the request with this id.
    pub fn answer(&self, id: &Id) -> Box<RawValue> {
        let is_from_server = self.source == Source::TargetHttp;
        let provenance = Provenance {
            version: 1,
            source: self.source,
            upstream_response_received: is_from_server,
            upstream_status: is_from_server.then(|| self.status.as_u16()),
            transport_error_kind: self.kind,
        };
        let message = self.status.canonical_reason().unwrap_or("Bad Gateway");
        error_answer(id, message, Some(&provenance))
    }
}

/// The answer to a request for a channel that this client does not serve.
pub fn unsupported_channel(id: &Id, channel: &str) -> Box<RawValue> {
    let message = format!("Bad Request: unsupported channel \"{channel}\"");
    error_answer(id, &message, None)
}

fn error_answer(id: &Id, message: &str, provenance: Option<&Provenance>) -> Box<RawValue> {
    #[derive(Serialize)]
    struct Answer<'a> {
        jsonrpc: &'static str,
        id: &'a RawValue,
        error: serde_json::Value,
    }
    let mut error = json!({"code": INTERNAL_ERROR, "message": message});
    if let Some(provenance) = provenance {
        error["data"] = json!({"tunnel_failure": provenance});
    }
    let answer = Answer {
        jsonrpc: "2.0",
        id: id.as_raw(),
        error,
    };
    serde_json::value::to_raw_value(&answer).expect("its keys are strings and no value can fail")
}

fn classify(kind: io::ErrorKind) -> Option<(Source, Kind)> {
    Some(match kind {
        io::ErrorKind::BrokenPipe => (Source::TransportClosed, Kind::ClosedPipe),
        io::ErrorKind::UnexpectedEof => (Source::TransportClosed, Kind::UnexpectedEof),
        io::ErrorKind::ConnectionReset => (Source::TransportClosed, Kind::ConnectionReset),
        io::ErrorKind::ConnectionAborted => (Source::TransportClosed, Kind::ConnectionAborted),
        io::ErrorKind::TimedOut => (Source::Timeout, Kind::Timeout),
        io::ErrorKind::ConnectionRefused => (Source::Connect, Kind::ConnectionRefused),
        io::ErrorKind::HostUnreachable => (Source::Connect, Kind::HostUnreachable),
        io::ErrorKind::NetworkUnreachable => (Source::Connect, Kind::NetworkUnreachable),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::tunnel::message::Message;

    fn answer(failure: Failure) -> Value {
        let request = r#"{"jsonrpc":"2.0","id":"a","method":"m"}"#;
        let request = RawValue::from_string(request.to_owned()).unwrap();
        let Some(Message::Request(id)) = Message::read(&request) else {
            panic!();
        };
        serde_json::from_str(failure.answer(&id).get()).unwrap()
    }

    #[test]
    fn a_status_of_the_server_is_reported_with_its_reason_phrase_and_the_kind() {
        let failure = Failure::refused(StatusCode::SERVICE_UNAVAILABLE, Kind::MalformedJson);
        assert_eq!(
            answer(failure),
            json!({"jsonrpc": "2.0", "id": "a", "error": {
                "code": -32603, "message": "Service Unavailable", "data": {"tunnel_failure": {
                    "version": 1, "source": "target_http", "upstream_response_received": true,
                    "upstream_status": 503, "transport_error_kind": "malformed_json"}}}})
        );
    }

    #[test]
    fn a_redirect_is_a_breach_of_the_protocol_and_keeps_its_status() {
        let failure = Failure::refused(StatusCode::FOUND, Kind::ResponseBodyMissing);
        let error = &answer(failure)["error"];
        assert_eq!(error["message"], "Found");
        let failure = &error["data"]["tunnel_failure"];
        assert_eq!(failure["source"], "protocol");
        assert_eq!(failure["upstream_response_received"], false);
        assert_eq!(failure["upstream_status"], Value::Null);
    }

    #[test]
    fn the_first_known_cause_of_an_error_decides() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        for (kind, source, expected) in [
            (
                io::ErrorKind::BrokenPipe,
                Source::TransportClosed,
                Kind::ClosedPipe,
            ),
            (
                io::ErrorKind::UnexpectedEof,
                Source::TransportClosed,
                Kind::UnexpectedEof,
            ),
            (
                io::ErrorKind::ConnectionReset,
                Source::TransportClosed,
                Kind::ConnectionReset,
            ),
            (io::ErrorKind::TimedOut, Source::Timeout, Kind::Timeout),
            (
                io::ErrorKind::ConnectionRefused,
                Source::Connect,
                Kind::ConnectionRefused,
            ),
            (
                io::ErrorKind::HostUnreachable,
                Source::Connect,
                Kind::HostUnreachable,
            ),
            (io::ErrorKind::Other, Source::ClientInternal, Kind::Unknown),
        ] {
            let failure = Failure::from_error(&Outer(kind.into()));
            assert_eq!(failure, Failure::without_status(source, expected));
        }
    }
}
