//! `Failure`: why the server behind the relay did not answer, as a caller is told it.

use std::time::Duration;

use http::StatusCode;
use rmcp::ErrorData;
use rmcp::model::ErrorCode;
use serde_json::Value;

use crate::mcp;

/// An HTTP status, and a JSON-RPC error.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", .error.message)]
pub struct Failure {
    pub status: StatusCode,
    pub error: ErrorData,
}

impl Failure {
    fn new(status: StatusCode, message: String) -> Self {
        Self {
            status,
            error: ErrorData::internal_error(message, None),
        }
    }

    /// What came of a request instead of an answer.
    pub fn of(error: &mcp::Error) -> Self {
        let status = match error {
            // An error of JSON-RPC is the server's own, and says more than a status.
            mcp::Error::Refused {
                status,
                rejection: Some(rejection),
                ..
            } if !is_of_credentials(*status) => {
                let data = rejection.data.as_ref();
                let data: Option<Value> = data.and_then(|it| serde_json::from_str(it.get()).ok());
                let code = ErrorCode(i32::try_from(rejection.code).unwrap_or(-32603));
                return Self {
                    status: *status,
                    error: ErrorData::new(code, rejection.message.clone(), data),
                };
            }
            mcp::Error::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            mcp::Error::Exhausted(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        };
        Self::new(status, error.with_causes())
    }

    pub fn not_started_within(limit: Duration) -> Self {
        let limit = humantime::format_duration(limit);
        let message = format!("the MCP server did not start within {limit}");
        Self::new(StatusCode::GATEWAY_TIMEOUT, message)
    }

    pub fn too_many(copies: usize) -> Self {
        let message = format!("{copies} copies of the MCP server run already, which is the limit");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    fn internal(message: &str) -> Self {
        Self::new(StatusCode::OK, message.to_owned())
    }

    /// The caller gave the request up.
    pub fn cancelled() -> Self {
        Self::internal("the request was cancelled")
    }

    pub fn busy() -> Self {
        let message = "too many requests of the MCP server wait for their callers";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message.to_owned())
    }

    pub fn too_many_rounds(rounds: u32) -> Self {
        Self::internal(&format!(
            "the MCP server wants the request once more after {rounds} rounds"
        ))
    }

    /// The server asks for what its caller does not serve.
    pub fn not_offered(method: &str) -> Self {
        Self::internal(&format!(
            "the MCP server asks for {method:?}, which the client does not offer"
        ))
    }

    pub fn input_refused(error: &str) -> Self {
        Self::internal(&format!(
            "the client refused what the MCP server asked for: {error}"
        ))
    }

    pub fn not_a_list() -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            "the MCP server's list of tools cannot be read".to_owned(),
        )
    }

    /// A method that only one era of MCP has.
    pub fn unknown_method(method: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            error: ErrorData::new(ErrorCode::METHOD_NOT_FOUND, method.to_owned(), None),
        }
    }

    /// A request that the door does not let pass.
    pub fn not_allowed(tool: &str) -> Self {
        Self {
            status: StatusCode::OK,
            error: ErrorData::invalid_params(format!("Unknown tool: {tool}"), None),
        }
    }
}

/// Whether the server refused the credentials that the relay has, which are none of its callers'.
fn is_of_credentials(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
    )
}
