//! Refusals: what a client of OpenAI would be told, with its HTTP status.

use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use crate::http::json as json_answer;
use crate::responses::{ApiError, Error};

/// OpenAI's SDKs retry after a 5xx, unless a header forbids it.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// A request that gets an error in place of an answer.
#[derive(Debug)]
pub struct Refusal {
    error: Error,
    may_retry: bool,
}

impl Refusal {
    /// A refusal after which the request must not be sent again by itself: tools were called for it.
    pub fn for_good(error: Error) -> Self {
        Self {
            error,
            may_retry: false,
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self {
            error,
            may_retry: true,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error) = told(&self.error);
        let mut response = answer(status, &error);
        let headers = response.headers_mut();
        if !self.may_retry {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        } else if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

/// Rejects a request without reading more of it.
pub fn refuse(status: StatusCode, message: &str) -> Response {
    answer(status, &ApiError::invalid_request(message))
}

/// An error object with its HTTP status.
pub fn answer(status: StatusCode, error: &ApiError) -> Response {
    json_answer(status, &json!({"error": error}))
}

/// How a failure is reported to a client. Where the upstream is and what it says of the gateway's own
/// key is for the log.
pub fn told(error: &Error) -> (StatusCode, ApiError) {
    let upstream = |status: StatusCode, message: &str| {
        tracing::warn!(
            error = error as &dyn std::error::Error,
            "the upstream failed"
        );
        (status, ApiError::server_error(message))
    };
    match error {
        Error::FailedDependency(failure) => (StatusCode::FAILED_DEPENDENCY, failure.error.clone()),
        Error::Refused {
            status: 401 | 403, ..
        } => upstream(
            StatusCode::BAD_GATEWAY,
            "The model's server refused the key that this gateway has for it.",
        ),
        Error::Refused { status, error, .. } => (
            StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY),
            ApiError {
                kind: error.kind.clone().or_else(|| Some(kind_of(*status))),
                ..(**error).clone()
            },
        ),
        Error::Failed(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.clone()),
        Error::Unreachable { .. } | Error::Setup(_) => upstream(
            StatusCode::BAD_GATEWAY,
            "The model's server could not be reached.",
        ),
        Error::Timeout(_) | Error::Idle => upstream(
            StatusCode::GATEWAY_TIMEOUT,
            "The model's server did not answer in time.",
        ),
        Error::NotCompleted { .. } | Error::Truncated | Error::BrokenOff(_) => upstream(
            StatusCode::BAD_GATEWAY,
            "The answer of the model's server broke off.",
        ),
        Error::TooLarge(_) | Error::TooMany { .. } => upstream(
            StatusCode::BAD_GATEWAY,
            &format!("The model's server sent too much: {error}."),
        ),
        Error::NoMemory(_) => upstream(
            StatusCode::SERVICE_UNAVAILABLE,
            "This gateway has no memory left for the answer of the model's server.",
        ),
        Error::NotAResponse { .. } | Error::NotAnEvent { .. } => upstream(
            StatusCode::BAD_GATEWAY,
            "The answer of the model's server is none that can be read.",
        ),
    }
}

fn kind_of(status: u16) -> String {
    let kind = match status {
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    kind.to_owned()
}
