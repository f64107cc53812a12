//! The step `details`: breaches of MCP that this program reads anyway, and other clients may not.

use super::Outcome;
use super::stage::warn;
use crate::mcp::Remark;

/// The outcome for the remarks on a connection.
pub fn judge(remarks: &[Remark]) -> Outcome {
    let told: Vec<_> = remarks.iter().map(told).collect();
    match told.as_slice() {
        [] => Outcome::Pass(None),
        told => {
            let causes: Vec<&str> = told.iter().map(|(cause, _)| cause.as_str()).collect();
            let hints: Vec<&str> = told.iter().map(|(_, hint)| *hint).collect();
            warn(causes.join("; "), hints.join("; "))
        }
    }
}

/// A remark, and what to do about it.
fn told(remark: &Remark) -> (String, &'static str) {
    match remark {
        Remark::IdAsText => (
            "the `id` of an answer is a text where the request had a number".to_owned(),
            "send `id` back as it came",
        ),
        Remark::NullCursor => (
            "the last page of tools has `\"nextCursor\": null`".to_owned(),
            "leave `nextCursor` out of the last page",
        ),
        Remark::EmptyCursor => (
            "a page of tools has `\"nextCursor\": \"\"`, which asks for one more page".to_owned(),
            "leave `nextCursor` out of the last page",
        ),
        Remark::NotificationAnswered(status) => (
            format!("`notifications/initialized` is answered with HTTP {status} and a body"),
            "answer notifications with HTTP 202 and no body",
        ),
        Remark::Stdout(line) => (
            format!("the server writes lines to stdout that are not JSON-RPC: {line:?}"),
            "write logs to stderr: stdout is for JSON-RPC",
        ),
    }
}
