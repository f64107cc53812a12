//! Answers that the server makes itself: JSON-RPC errors with an HTTP status.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use rmcp::ErrorData;
use rmcp::model::{JsonRpcError, RequestId};
use serde::Serialize;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A JSON body.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let Ok(body) = serde_json::to_vec(body) else {
        unreachable!("our answers have string keys and no failing serializer");
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// A JSON-RPC error, without an id if the request has no readable one (MCP 2026-07-28, error
/// responses).
pub fn error(status: StatusCode, id: Option<RequestId>, error: ErrorData) -> Response {
    json(status, &JsonRpcError::new(id, error))
}

/// The answer to a request that is rejected unread.
pub fn refusal(status: StatusCode, message: &str) -> Response {
    error(
        status,
        None,
        ErrorData::invalid_request(message.to_owned(), None),
    )
}

/// The same, which also ends the connection.
pub fn last_refusal(status: StatusCode, message: &str) -> Response {
    closing(refusal(status, message))
}

/// An answer that ends the connection.
pub fn closing(mut response: Response) -> Response {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}
