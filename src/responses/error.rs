//! Why a request to the Responses API gave no response; where an HTTP 424 gets its name.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::response::Response;
use super::words::Status;
use crate::budget::Exhausted;

/// Why a request to the Responses API gave no response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// HTTP 424, or its equal in a stream: an MCP server did not give its list of tools.
    #[error("Error code: 424 - {}", .0.error.message)]
    FailedDependency(Box<FailedDependency>),
    /// Any other HTTP status from 400 on, or an `error` event.
    #[error("Error code: {status} - {}", .error.message)]
    Refused {
        status: u16,
        error: Box<ApiError>,
        /// The `x-request-id` header: what OpenAI's support asks for.
        request_id: Option<String>,
    },
    /// The stream ended with an `error` event, or the response has the status `failed`.
    #[error("the response failed: {}", .0.message)]
    Failed(ApiError),
    /// The response ended in another way than `completed` and `failed`.
    #[error("the response is {}{}", status.as_ref().map_or("without a status", Status::as_str), reason.as_ref().map(|it| format!(": {it}")).unwrap_or_default())]
    NotCompleted {
        /// `incomplete`, `cancelled`, `queued`, or none of those that are known.
        status: Option<Status>,
        /// Why it is incomplete, such as `max_output_tokens`.
        reason: Option<String>,
        /// The response, to go on from.
        response: Box<Response>,
    },
    #[error("the Responses API could not be reached at {url}")]
    Unreachable {
        url: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the answer was not complete within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    /// No byte came for as long as was to be waited.
    #[error("the Responses API fell silent")]
    Idle,
    /// The stream ended without `response.completed`, `.failed` or `.incomplete`.
    #[error("the stream ended before the response did")]
    Truncated,
    #[error("the answer broke off")]
    BrokenOff(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the answer has more than {most} {what}")]
    TooMany { what: &'static str, most: usize },
    #[error("the answer does not fit")]
    NoMemory(#[from] Exhausted),
    #[error("the answer is not a response: HTTP {status}, {}", Body { content_type, start })]
    NotAResponse {
        status: u16,
        content_type: String,
        /// The first characters of the body.
        start: String,
        request_id: Option<String>,
    },
    #[error("an event of the stream is not a JSON object: {start}")]
    NotAnEvent { start: String },
    #[error("the HTTP client could not be set up")]
    Setup(#[source] reqwest::Error),
}

impl Error {
    /// What a refusal with this HTTP status and error object means.
    pub fn from_refusal(status: u16, error: ApiError, request_id: Option<String>) -> Self {
        if status == 424 {
            Self::FailedDependency(Box::new(FailedDependency::of(error)))
        } else {
            Self::Refused {
                status,
                error: Box::new(error),
                request_id,
            }
        }
    }

    /// What an `error` event, or the error of a response that `failed`, means. `no_lists` says of which
    /// servers the stream had no list, and why.
    pub fn from_event(error: ApiError, no_lists: &[(String, String)]) -> Self {
        let mut failure = FailedDependency::of(error);
        // Lists that were given up because another failed have a reason too: which one is that.
        let named = failure.list.as_ref().map(|list| list.server_label.as_str());
        let is_named = |(label, _): &&(String, String)| Some(label.as_str()) == named;
        let why = no_lists.iter().find(is_named).or(no_lists.first());
        failure.detail = why.map(|(_, why)| why.clone());
        if failure.list.is_some() || failure.error.kind.as_deref() == Some(CONNECTOR_ERROR) {
            Self::FailedDependency(Box::new(failure))
        } else {
            Self::Failed(failure.error)
        }
    }

    /// A request that cannot be served as it is: HTTP 400.
    pub fn bad_request(param: &str, code: Option<&str>, message: impl Into<String>) -> Self {
        Self::refused(
            StatusCode::BAD_REQUEST,
            ApiError {
                param: Some(param.to_owned()),
                code: code.map(str::to_owned),
                ..ApiError::invalid_request(message)
            },
        )
    }

    /// A request that cannot be read, whichever field it is: HTTP 400.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::refused(StatusCode::BAD_REQUEST, ApiError::invalid_request(message))
    }

    /// Something that is not there: HTTP 404.
    pub fn not_found(param: Option<&str>, message: impl Into<String>) -> Self {
        Self::refused(
            StatusCode::NOT_FOUND,
            ApiError {
                param: param.map(str::to_owned),
                ..ApiError::invalid_request(message)
            },
        )
    }

    /// A failure of the server: HTTP 500.
    pub fn server_error(message: impl Into<String>) -> Self {
        Self::refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            ApiError::server_error(message),
        )
    }

    /// A refusal of our own.
    pub fn refused(status: StatusCode, error: ApiError) -> Self {
        Self::Refused {
            status: status.as_u16(),
            error: Box::new(error),
            request_id: None,
        }
    }
}

/// What a body is, for a message.
pub(super) struct Body<'a> {
    pub content_type: &'a str,
    pub start: &'a str,
}

impl fmt::Display for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.content_type, self.start) {
            (_, "") => f.write_str("without a body"),
            ("", start) => write!(f, "without a content type: {start}"),
            (content_type, start) => write!(f, "with {content_type}: {start}"),
        }
    }
}

/// The error object of the API: in the body of a refusal, in an `error` event, in a response.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ApiError {
    #[serde(default)]
    pub message: String,
    #[serde(default, rename = "type", deserialize_with = "scalar")]
    pub kind: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    pub param: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    pub code: Option<String>,
}

impl ApiError {
    /// A request that is at fault.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            kind: Some("invalid_request_error".to_owned()),
            ..Self::default()
        }
    }

    /// A failure of the server.
    pub fn server_error(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            kind: Some("server_error".to_owned()),
            code: Some("server_error".to_owned()),
            param: None,
        }
    }

    /// Reads an error object, or an object with an `error` in it: an object or a text.
    pub fn read(object: &Map<String, Value>) -> Self {
        match object.get("error") {
            Some(Value::Object(inner)) => Self::read(inner),
            Some(Value::String(message)) => Self {
                message: message.clone(),
                ..Self::default()
            },
            _ => Self::deserialize(object).unwrap_or_else(|_| Self {
                message: Value::Object(object.clone()).to_string(),
                ..Self::default()
            }),
        }
    }
}

/// Servers send a code as a text, as a number or as null.
fn scalar<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

const CONNECTOR_ERROR: &str = "external_connector_error";
const LIST_FAILURE: &str = "Error retrieving tool list from MCP server: '";
const STATUS_CODE: &str = "'. Http status code: ";

/// An MCP server that did not give its list of tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedDependency {
    /// The error as the API words it.
    pub error: ApiError,
    /// What the message says, when it is the message that OpenAI sends.
    pub list: Option<ListFailure>,
    /// What went wrong underneath, when that is known on this machine.
    pub detail: Option<String>,
}

impl FailedDependency {
    /// The failure to list the tools of `server_label`, worded as OpenAI words it. `status` is
    /// what the server answered, and 424 (Failed Dependency) where it did not answer in HTTP.
    pub fn listing(server_label: &str, status: StatusCode, detail: String) -> Self {
        let reason = status.canonical_reason().unwrap_or("Unknown");
        let status = status.as_u16();
        Self {
            error: ApiError {
                message: format!("{LIST_FAILURE}{server_label}{STATUS_CODE}{status} ({reason})"),
                kind: Some(CONNECTOR_ERROR.to_owned()),
                param: Some("tools".to_owned()),
                code: Some("http_error".to_owned()),
            },
            list: Some(ListFailure {
                server_label: server_label.to_owned(),
                status,
            }),
            detail: Some(detail),
        }
    }

    /// Whether the server is behind a tunnel that nobody polls, as far as the codes of a control plane say so.
    pub fn has_no_tunnel_client(&self) -> bool {
        let codes = ["tunnel_client_not_seen", "tunnel_client_not_connected"];
        let detail = self.detail.as_deref().unwrap_or_default();
        codes.iter().any(|code| detail.contains(code))
    }

    fn of(error: ApiError) -> Self {
        Self {
            list: ListFailure::read(&error.message),
            error,
            detail: None,
        }
    }
}

/// What the message of a 424 says: which server, and the HTTP status that it answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListFailure {
    pub server_label: String,
    pub status: u16,
}

impl ListFailure {
    /// The API has no field for either, so its message is read.
    fn read(message: &str) -> Option<Self> {
        let (server_label, rest) = message
            .strip_prefix(LIST_FAILURE)?
            .rsplit_once(STATUS_CODE)?;
        let status = rest.split(' ').next()?.parse().ok()?;
        Some(Self {
            server_label: server_label.to_owned(),
            status,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_message_of_a_424_is_written_and_read_alike() {
        let written = FailedDependency::listing(
            "dice_server",
            StatusCode::UNAUTHORIZED,
            "no token".to_owned(),
        );
        assert_eq!(
            written.error.message,
            "Error retrieving tool list from MCP server: 'dice_server'. Http status code: 401 (Unauthorized)"
        );
        let read = FailedDependency::of(written.error);
        assert_eq!(
            read.list,
            Some(ListFailure {
                server_label: "dice_server".to_owned(),
                status: 401,
            })
        );
    }

    #[test]
    fn an_error_object_is_read_in_every_shape_that_servers_send() {
        for (body, message, code) in [
            (
                json!({"error": {"message": "no", "code": null}}),
                "no",
                None,
            ),
            (
                json!({"error": {"message": "no", "code": 429}}),
                "no",
                Some("429"),
            ),
            (json!({"error": "no"}), "no", None),
            (json!({"message": "no", "code": "x"}), "no", Some("x")),
        ] {
            let error = ApiError::read(body.as_object().unwrap());
            assert_eq!(error.message, message, "{body}");
            assert_eq!(error.code.as_deref(), code, "{body}");
        }
    }
}
