//! `Remark`: what a server does that MCP does not allow, and that is read all the same.

use http::StatusCode;

/// Something that other clients may stumble over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// The id of an answer is a text where the request had a number (JSON-RPC 2.0, response object).
    IdAsText,
    /// The last page of a list has `"nextCursor": null` (MCP 2026-07-28, pagination).
    NullCursor,
    /// A page has `"nextCursor": ""`, which is a cursor like any other.
    EmptyCursor,
    /// A notification was answered with a body, or with this status, where it is 202 and nothing else
    /// (MCP 2025-11-25, sending messages to the server).
    NotificationAnswered(StatusCode),
    /// A line on stdout that is no message, of which this is the beginning (MCP 2026-07-28, stdio).
    Stdout(String),
}
