//! Why the control plane refuses a request: an HTTP status, and a code that its clients know.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use crate::http::{closing, json as json_answer};

/// How long a client waits before it sends a request again.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("2");

/// A refusal. The codes are those of the contract, as far as it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    TunnelId,
    Unknown,
    Channel,
    Query,
    Payload,
    NoSession,
    /// No client has polled the tunnel for a while, or ever.
    NotSeen,
    /// The client that polled the tunnel has stopped.
    NotConnected,
    QueueFull,
    NobodyWaits,
    /// The request belongs to another tunnel.
    Mismatch,
    ShardToken,
    ResponseType,
    TooManyTunnels,
    TooManyPolls,
    TooLarge,
    TooSlow,
    /// The budget of the process is used up.
    NoMemory,
    /// No answer came in time.
    Late,
    /// The control plane ends.
    Stopping,
}

impl Refusal {
    pub fn status(self) -> StatusCode {
        match self {
            Self::TunnelId
            | Self::Channel
            | Self::Query
            | Self::Payload
            | Self::NoSession
            | Self::ShardToken
            | Self::ResponseType => StatusCode::BAD_REQUEST,
            Self::Mismatch => StatusCode::UNAUTHORIZED,
            Self::Unknown | Self::NotSeen | Self::NotConnected | Self::NobodyWaits => {
                StatusCode::NOT_FOUND
            }
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooManyTunnels | Self::TooManyPolls => StatusCode::TOO_MANY_REQUESTS,
            // The status that OpenAI gives to a full queue is not known.
            Self::QueueFull | Self::NoMemory | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::Late => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn code(self) -> Option<&'static str> {
        Some(match self {
            Self::TunnelId => "invalid_tunnel_id_format",
            Self::Channel => "invalid_channel_format",
            Self::Payload => "invalid_json_payload",
            Self::NoSession => "missing_mcp_session_id",
            Self::Unknown => "tunnel_not_found",
            Self::NotSeen => "tunnel_client_not_seen",
            Self::NotConnected => "tunnel_client_not_connected",
            Self::QueueFull => "tunnel_queue_full",
            Self::NobodyWaits => "pending_request_not_found",
            Self::Mismatch => "tunnel_request_mismatch",
            Self::TooManyTunnels | Self::TooManyPolls | Self::NoMemory => "rate_limit_exceeded",
            Self::TooLarge => "request_body_too_large",
            Self::Late => "tunnel_response_timeout",
            Self::Stopping => "tunnel_transport_unavailable",
            Self::Query | Self::ShardToken | Self::ResponseType | Self::TooSlow => return None,
        })
    }

    fn message(self) -> &'static str {
        match self {
            Self::TunnelId => "A tunnel id is `tunnel_` and 32 lowercase letters or digits.",
            Self::Unknown => "There is no tunnel with this id.",
            Self::Channel => {
                "A channel is at most 64 lowercase letters, digits, hyphens or underscores."
            }
            Self::Query => "`limit` must be from 1 to 25, and `timeout_ms` at least 1.",
            Self::Payload => "The body is not the JSON object that is expected here.",
            Self::NoSession => "The Mcp-Session-Id header is missing.",
            Self::NotSeen => "No tunnel client has polled this tunnel recently.",
            Self::NotConnected => "The tunnel client has stopped polling.",
            Self::QueueFull => "Too many requests wait for the tunnel client.",
            Self::NobodyWaits => {
                "The request was answered before, has expired, or never existed for this tunnel."
            }
            Self::Mismatch => "The request belongs to another tunnel.",
            Self::ShardToken => {
                "The X-Tunnel-Shard-Token header must have the shard_token of the command."
            }
            Self::ResponseType => "The resp_type is unknown.",
            Self::TooManyTunnels => "There are too many tunnels; delete one.",
            Self::TooManyPolls => "Too many polls are open.",
            Self::TooLarge => "The body is too large.",
            Self::TooSlow => "The body took too long.",
            Self::NoMemory => "Too many large messages are being delivered.",
            Self::Late => "The tunnel client did not answer in time.",
            Self::Stopping => "The control plane is stopping.",
        }
    }

    /// The refusal as a line of text, for the MCP client of this process.
    pub fn as_text(self) -> Response {
        let text = match self.code() {
            Some(code) => format!("{} ({code})", self.message()),
            None => self.message().to_owned(),
        };
        let mut response = (self.status(), text).into_response();
        let plain = HeaderValue::from_static("text/plain");
        response.headers_mut().insert(CONTENT_TYPE, plain);
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let kind = match self.status() {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let body = json!({"error": {
            "message": self.message(),
            "type": kind,
            "param": null,
            "code": self.code(),
        }});
        let mut response = json_answer(self.status(), &body);
        if matches!(
            self,
            Self::QueueFull | Self::TooManyPolls | Self::NoMemory | Self::Stopping
        ) {
            response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS);
        }
        // What is left of the body is not read.
        match self {
            Self::TooLarge | Self::TooSlow | Self::NoMemory => closing(response),
            _ => response,
        }
    }
}
