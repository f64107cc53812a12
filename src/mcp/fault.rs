//! `Fault`: why a message of a server is rejected.

use std::fmt;

use super::error::root_cause;
use super::excess::Excess;
use super::probe::{TlsFault, tls_error};
use crate::budget::Exhausted;

/// Why a message is rejected. Several requests can share one, as when a process ends.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Excess(#[from] Excess),
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    #[error("{0}")]
    NotMcp(String),
    /// The connection broke off, as the system tells it.
    #[error("the connection broke off: {0}")]
    BrokenOff(String),
    /// The server closed the connection.
    #[error("the connection was closed")]
    Closed,
    /// The process of the server ended.
    #[error(transparent)]
    Exited(Exited),
}

/// How a process ended, and the last that it wrote to stderr.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the MCP server ended with {status} before it answered{}", Words(said))]
pub struct Exited {
    pub status: String,
    pub said: String,
}

struct Words<'a>(&'a str);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => f.write_str(", and wrote nothing to stderr"),
            said => write!(f, ", and wrote to stderr: {said}"),
        }
    }
}

impl Fault {
    /// The message has the id of a request, and is no answer to it.
    pub fn unrecognized() -> Self {
        Self::NotMcp("unrecognized JSON-RPC message".to_owned())
    }

    /// What the system said of a connection.
    pub fn from_connection(error: &reqwest::Error) -> Self {
        let is_not_tls = tls_error(error).is_some_and(|it| TlsFault::of(it) == TlsFault::NotTls);
        Self::BrokenOff(if error.is_timeout() {
            "the connection timed out".to_owned()
        } else if is_not_tls {
            "the port does not speak TLS: look at the port, or write http://".to_owned()
        } else {
            root_cause(error).to_string()
        })
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        /// The text may repeat what was sent. It is shortened after secrets are removed.
        const MAX_TEXT: usize = 64 * 1024;
        Self::NotMcp(error.to_string().chars().take(MAX_TEXT).collect())
    }
}
