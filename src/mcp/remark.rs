//! `Remark`: what a server does that MCP does not allow, and that is read all the same.

use std::sync::{Arc, Mutex, PoisonError};

use http::StatusCode;
use serde_json::value::RawValue;

/// How many characters of a line are kept.
const MAX_LINE: usize = 80;

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

/// The remarks on one connection, one of each kind. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Remarks(Arc<Mutex<Vec<Remark>>>);

impl Remarks {
    /// Keeps a remark, unless there is one of its kind.
    pub fn add(&self, remark: Remark) {
        let mut remarks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = std::mem::discriminant(&remark);
        if remarks.iter().all(|it| std::mem::discriminant(it) != kind) {
            remarks.push(remark);
        }
    }

    /// All that were made so far.
    pub fn all(&self) -> Vec<Remark> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Looks at the id of an answer.
    pub fn of_id(&self, id: Option<&RawValue>) {
        if id.is_some_and(|id| id.get().starts_with('"')) {
            self.add(Remark::IdAsText);
        }
    }

    /// Looks at a line of stdout that is no message.
    pub fn of_line(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        self.add(Remark::Stdout(line.chars().take(MAX_LINE).collect()));
    }
}
