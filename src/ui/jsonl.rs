//! One event to one line, for programs.

use crate::responses::{Event, Response};

/// An event as it came, on one line.
pub fn line(event: &Event) -> String {
    String::from_utf8_lossy(&event.to_json()).into_owned()
}

/// A response as it came, for `--format json`.
pub fn document(response: &Response) -> String {
    serde_json::to_string_pretty(response).unwrap_or_default()
}
