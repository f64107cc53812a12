//! Why the control plane refuses a request: an HTTP status, and a code that its clients know.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use crate::http::json as json_answer;

/// A refusal, with the codes of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    TunnelId,
    Unknown,
    Channel,
    Limit,
    Payload,
    NoSession,
    /// No client polls the tunnel, and none did for a while.
    NotSeen,
    /// The client that polled the tunnel has stopped.
    NotConnected,
    QueueFull,
    NobodyWaits,
    ShardToken,
    ResponseType,
    TooMany,
    /// No answer came in time.
    Late,
}

impl Refusal {
    fn told(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::TunnelId => (
                StatusCode::BAD_REQUEST,
                "invalid_tunnel_id_format",
                "The tunnel id is `tunnel_` and 32 of a-z and 0-9.",
            ),
            Self::Unknown => (
                StatusCode::NOT_FOUND,
                "tunnel_not_found",
                "There is no such tunnel.",
            ),
            Self::Channel => (
                StatusCode::BAD_REQUEST,
                "invalid_channel_format",
                "A channel is 1 to 64 of a-z, 0-9, `_` and `-`.",
            ),
            Self::Limit => (
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "`limit` is 1 to 25, and `timeout_ms` a number.",
            ),
            Self::Payload => (
                StatusCode::BAD_REQUEST,
                "invalid_json_payload",
                "The body is not the JSON object that it has to be.",
            ),
            Self::NoSession => (
                StatusCode::BAD_REQUEST,
                "missing_mcp_session_id",
                "There is no Mcp-Session-Id header.",
            ),
            Self::NotSeen => (
                StatusCode::NOT_FOUND,
                "tunnel_client_not_seen",
                "No client has polled the tunnel for more than five minutes.",
            ),
            Self::NotConnected => (
                StatusCode::NOT_FOUND,
                "tunnel_client_not_connected",
                "The client of the tunnel has stopped polling.",
            ),
            Self::QueueFull => (
                StatusCode::SERVICE_UNAVAILABLE,
                "tunnel_queue_full",
                "Too many requests wait for the client of the tunnel.",
            ),
            Self::NobodyWaits => (
                StatusCode::NOT_FOUND,
                "pending_request_not_found",
                "Nobody waits for this answer: it is late, or was given before.",
            ),
            Self::ShardToken => (
                StatusCode::BAD_REQUEST,
                "invalid_shard_token",
                "X-Tunnel-Shard-Token is not that of the command.",
            ),
            Self::ResponseType => (
                StatusCode::BAD_REQUEST,
                "invalid_response_type",
                "The type of the answer is unknown.",
            ),
            Self::TooMany => (
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_exceeded",
                "There are too many tunnels.",
            ),
            Self::Late => (
                StatusCode::GATEWAY_TIMEOUT,
                "tunnel_response_timeout",
                "The client of the tunnel gave no answer in time.",
            ),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, message) = self.told();
        let body = json!({"error": {
            "message": message, "type": "invalid_request_error", "param": null, "code": code}});
        json_answer(status, &body)
    }
}
