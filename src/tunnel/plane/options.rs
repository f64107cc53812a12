//! The limits of a control plane.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::budget::Budget;
use crate::http::BodyLimits;

/// What a control plane accepts, and for how long it waits. Cloning shares `budget` and `stop`.
#[derive(Debug, Clone)]
pub struct PlaneOptions {
    /// How long a connector waits for the whole answer; progress does not extend it. 60 seconds by default,
    /// the timeout of a call to a server at a URL.
    pub answer_timeout: Duration,
    /// How long a poll waits for commands at most. 30 seconds by default.
    pub max_poll: Duration,
    /// How long after a poll its client counts as connected, 20 seconds by default, and as seen, 300 seconds.
    pub connected: Duration,
    pub seen: Duration,
    /// How many commands of one tunnel wait for its client. 100 by default.
    pub max_queue: usize,
    /// How many connectors of one tunnel wait for an answer, whether a client has the command or not. 200 by
    /// default.
    pub max_waiting: usize,
    /// How many notes of one answer wait for their connector; further ones are dropped. 16 by default.
    pub max_notes: usize,
    /// How many tunnels there are. 1000 by default.
    pub max_tunnels: usize,
    /// How many polls of all tunnels wait at a time, each on a connection of its own. 64 by default.
    pub max_polls: usize,
    /// The size of a message or an answer, and how long its body may take: 16 MiB and 20 seconds by default.
    pub body: BodyLimits,
    /// What all messages and answers are held of, until they are delivered.
    pub budget: Budget,
    /// Cancelled to end all polls and all waits.
    pub stop: CancellationToken,
}

impl Default for PlaneOptions {
    fn default() -> Self {
        Self {
            answer_timeout: Duration::from_secs(60),
            max_poll: Duration::from_secs(30),
            connected: Duration::from_secs(20),
            seen: Duration::from_secs(300),
            max_queue: 100,
            max_waiting: 200,
            max_notes: 16,
            max_tunnels: 1000,
            max_polls: 64,
            body: BodyLimits {
                max_bytes: 16 * 1024 * 1024,
                ..BodyLimits::default()
            },
            budget: Budget::unlimited(),
            stop: CancellationToken::new(),
        }
    }
}
