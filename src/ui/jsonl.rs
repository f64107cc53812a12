//! One event to one line, for programs.

use crate::responses::{Event, Response};

/// An event as it came, on one line.
pub fn line(event: &Event) -> String {
    serde_json::Value::Object(event.data().clone()).to_string()
}

/// A response as it came, for `--format json`.
pub fn document(response: &Response) -> String {
    let object = serde_json::Value::Object(response.object().clone());
    format!("{object:#}")
}
