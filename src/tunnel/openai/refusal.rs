//! Why a request to the control plane failed, and what a person can try.

use std::fmt;
use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::backoff::retry_after;
use super::headers::REQUEST_ID;

/// How many bytes of a body that is not JSON are kept.
const MAX_SAID: usize = 1024;

/// What is at the bottom of a failure: of a certificate, of a name, of a port. The errors above it say less.
struct Cause<'a>(&'a reqwest::Error);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = std::error::Error::source(self.0);
        match std::iter::successors(first, |it| it.source()).last() {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

/// A request to the control plane failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Nothing was sent.
    #[error("the control plane could not be reached{}", Cause(.0))]
    Unreachable(#[source] reqwest::Error),
    #[error("the connection to the control plane broke off")]
    BrokenOff(#[source] reqwest::Error),
    #[error("the control plane did not answer in {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    #[error("{0}")]
    Refused(Refusal),
    #[error("the answer of the control plane is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the answer of the control plane cannot be read")]
    Unreadable(#[source] serde_json::Error),
}

/// The control plane answered with an unexpected status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    /// The error code, such as `tunnel_use_forbidden`.
    pub code: Option<String>,
    pub message: Option<String>,
    /// The `X-Request-Id` of the answer, which OpenAI's support asks for.
    pub request_id: Option<String>,
    /// The delay that `Retry-After` asks for.
    pub retry_after: Option<Duration>,
}

impl Fault {
    pub fn from_connection(error: reqwest::Error, timeout: Duration) -> Self {
        // The caller knows the URL; without it the message is short.
        let error = error.without_url();
        if error.is_connect() {
            Self::Unreachable(error)
        } else if error.is_timeout() {
            Self::TimedOut(timeout)
        } else {
            Self::BrokenOff(error)
        }
    }

    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    pub fn status(&self) -> Option<StatusCode> {
        self.refusal().map(|it| it.status)
    }

    /// Whether a person has to act: the key or its permissions are wrong.
    pub fn needs_a_person(&self) -> bool {
        matches!(
            self.status(),
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        )
    }

    /// Whether a final answer is posted again.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::BrokenOff(_) | Self::TimedOut(_) => true,
            Self::Refused(refusal) => {
                matches!(refusal.status.as_u16(), 408 | 429 | 502 | 503 | 504)
            }
            Self::TooLarge(_) | Self::Unreadable(_) => false,
        }
    }

    /// Whether a progress note is posted again: only if it was certainly not processed.
    pub fn was_not_processed(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused(refusal) => refusal.status == StatusCode::TOO_MANY_REQUESTS,
            _ => false,
        }
    }

    /// What a person can try.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Refused(refusal) => refusal.remedy(),
            Self::Unreachable(_) => Some(
                "check the base URL, the network, the proxy (HTTPS_PROXY, NO_PROXY) and the \
                 certificates (SSL_CERT_FILE)",
            ),
            _ => None,
        }
    }
}

/// The shapes of an error body: OpenAI's envelope, its fields at the top, or a `detail`.
#[derive(Default, Deserialize)]
struct Body {
    error: Option<Value>,
    detail: Option<Value>,
    message: Option<Value>,
    code: Option<Value>,
}

impl Refusal {
    /// Reads an answer with an unexpected status. `body` is its first bytes.
    pub fn read(status: StatusCode, headers: &HeaderMap, body: &[u8], now: SystemTime) -> Self {
        let text = |name| headers.get(name).and_then(|it| it.to_str().ok());
        let (code, message) = read_body(body);
        Self {
            status,
            code: code.map(|it| printable(&it)),
            message: message.map(|it| printable(&it)).filter(|it| !it.is_empty()),
            request_id: text(REQUEST_ID).map(printable),
            retry_after: text(RETRY_AFTER).and_then(|it| retry_after(it, now)),
        }
    }

    /// What a person can try (`APIErrorBody.code` of the contract, in words for this program).
    pub fn remedy(&self) -> Option<&'static str> {
        let by_code = match self.code.as_deref() {
            Some("invalid_tunnel_id_format") => {
                Some("copy the tunnel id from the tunnel settings of the OpenAI platform")
            }
            Some("tunnel_active_organization_required") => Some(
                "the tunnel belongs to an organization: set its id (CONTROL_PLANE_ORGANIZATION_ID)",
            ),
            Some("tunnel_missing_principals") => {
                Some("use a runtime key of the organization or workspace that has the tunnel")
            }
            Some("tunnel_use_forbidden") => Some(
                "the key needs the permissions Tunnels Read and Use for this tunnel; a change of \
                 roles takes up to 30 minutes",
            ),
            Some("tunnel_request_mismatch") => {
                Some("use the id of the tunnel that handed out the command")
            }
            Some("pending_request_not_found") => Some(
                "if it happens often, another client may answer for this tunnel: stop it, or give \
                 each client a tunnel of its own",
            ),
            Some("rate_limit_exceeded") => Some("make fewer calls at a time; this client retries"),
            Some("request_body_too_large") => {
                Some("return less from the tool: the tunnel limits the size of answers")
            }
            Some("invalid_channel_format") => {
                Some("a channel has only lowercase letters, digits, `-` and `_`")
            }
            Some("invalid_json_payload") => {
                Some("the MCP server's answer contains text that is not valid Unicode")
            }
            Some("tunnel_transport_unavailable") => {
                Some("the tunnel service is temporarily unavailable; this client retries")
            }
            _ => None,
        };
        by_code.or(match self.status.as_u16() {
            401 => Some("check the runtime key: it must be active, and have Tunnels Read and Use"),
            403 => Some("the runtime key needs the permissions Tunnels Read and Use"),
            404 => Some("check the tunnel id and the base URL; a new tunnel takes 30 s to appear"),
            _ => None,
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the control plane answered HTTP {}",
            self.status.as_u16()
        )?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        Ok(())
    }
}

/// The code and the message of an error body.
fn read_body(body: &[u8]) -> (Option<String>, Option<String>) {
    let Ok(read) = serde_json::from_slice::<Body>(body) else {
        let start = &body[..body.len().min(MAX_SAID)];
        return (None, Some(String::from_utf8_lossy(start).into_owned()));
    };
    let text = |value: Option<Value>| match value {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    match read.error.or(read.detail) {
        Some(Value::Object(mut fields)) => {
            (text(fields.remove("code")), text(fields.remove("message")))
        }
        Some(Value::String(message)) => (text(read.code), Some(message)),
        _ => (text(read.code), text(read.message)),
    }
}

/// Text of the control plane as one line without control characters.
fn printable(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    line.chars()
        .filter(|it| !it.is_control())
        .take(MAX_SAID)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> Refusal {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        headers.insert(REQUEST_ID, "req_abc".parse().unwrap());
        let status = StatusCode::from_u16(status).unwrap();
        Refusal::read(status, &headers, body.as_bytes(), SystemTime::now())
    }

    #[test]
    fn an_error_body_is_read_in_all_its_shapes() {
        for (body, code, message) in [
            (
                r#"{"error":{"message":"No use.","type":"x","code":"tunnel_use_forbidden"}}"#,
                Some("tunnel_use_forbidden"),
                Some("No use."),
            ),
            (r#"{"error":{"message":"m","code":null}}"#, None, Some("m")),
            (
                r#"{"message":"m","type":"x","code":"c"}"#,
                Some("c"),
                Some("m"),
            ),
            (r#"{"detail":"Not Found"}"#, None, Some("Not Found")),
            (
                r#"{"detail":{"message":"m","code":"c"}}"#,
                Some("c"),
                Some("m"),
            ),
            (r#"{"error":"unauthorized"}"#, None, Some("unauthorized")),
            (
                "<html>\n  <b>Bad</b>\u{1b}[2J",
                None,
                Some("<html> <b>Bad</b>[2J"),
            ),
            ("[]", None, Some("[]")),
            ("", None, None),
            ("{}", None, None),
        ] {
            let read = refusal(403, body);
            assert_eq!(
                (read.code.as_deref(), read.message.as_deref()),
                (code, message),
                "{body}"
            );
            assert_eq!(read.request_id.as_deref(), Some("req_abc"));
            assert_eq!(read.retry_after, Some(Duration::from_secs(7)));
        }
    }

    #[test]
    fn a_person_is_told_the_code_the_message_and_a_remedy() {
        let body = r#"{"error":{"message":"No use.","code":"tunnel_use_forbidden"}}"#;
        let fault = Fault::Refused(refusal(401, body));
        assert!(fault.needs_a_person());
        assert_eq!(
            fault.to_string(),
            "the control plane answered HTTP 401 tunnel_use_forbidden: No use."
        );
        assert!(fault.remedy().unwrap().contains("Tunnels Read and Use"));
        assert!(refusal(404, "").remedy().unwrap().contains("tunnel id"));
        assert_eq!(refusal(500, "").remedy(), None);
    }

    #[test]
    fn what_may_be_posted_again_depends_on_whether_it_was_taken() {
        for (status, is_temporary, is_note_again) in [
            (400, false, false),
            (401, false, false),
            (404, false, false),
            (408, true, false),
            (413, false, false),
            (429, true, true),
            (500, false, false),
            (502, true, false),
            (503, true, false),
            (504, true, false),
        ] {
            let fault = Fault::Refused(refusal(status, ""));
            assert_eq!(fault.is_temporary(), is_temporary, "{status}");
            assert_eq!(fault.was_not_processed(), is_note_again, "{status}");
        }
    }
}
