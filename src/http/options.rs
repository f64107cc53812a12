//! How a server treats its connections and what they send.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::body::BodyLimits;
use super::linger::LingerLimits;
use super::sessions::CallerFrom;

/// The limits and the mode of one server. Cloning shares `stop`.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// How many connections are served at a time; further ones are rejected with `Retry-After`. By
    /// default 768, because a process has 1024 file descriptors on most systems.
    pub max_connections: usize,
    /// How long the head of a request may take, and how long a connection may be idle before the
    /// next one: hyper has one timer for both. 30 seconds by default.
    pub head_timeout: Duration,
    /// The most bytes that a message may take once it is parsed, by estimate. 1 MiB by default.
    pub max_parsed: u64,
    /// The size of a body, and how long it may take: 256 KiB and 20 seconds by default.
    pub body: BodyLimits,
    /// How long a write may wait for a client that does not read. 30 seconds by default.
    pub write_timeout: Duration,
    /// What is still read of a client whose request was answered early.
    pub linger: LingerLimits,
    /// How long running requests may take to complete after `stop`. 10 seconds by default.
    pub shutdown_grace: Duration,
    /// The MCP server sends nothing but its answers, so that it needs no channel back to its client.
    /// Off by default.
    pub only_answers: bool,
    /// Keep sessions for clients older than MCP 2026-07-28, each for the caller that this function
    /// finds. Off by default.
    pub sessions: Option<CallerFrom>,
    /// Cancelled to shut the server down.
    pub stop: CancellationToken,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            max_connections: 768,
            head_timeout: Duration::from_secs(30),
            max_parsed: 1024 * 1024,
            body: BodyLimits::default(),
            write_timeout: Duration::from_secs(30),
            linger: LingerLimits::default(),
            shutdown_grace: Duration::from_secs(10),
            only_answers: false,
            sessions: None,
            stop: CancellationToken::new(),
        }
    }
}
