//! The limits of a gateway.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::http::BodyLimits;

/// What a gateway accepts, and for how long it waits. Cloning shares `stop`.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// The size of a request's body, and how long it may take: 16 MiB by default, for images travel
    /// in it, and 20 seconds. A message of a WebSocket has the same size at most.
    pub body: BodyLimits,
    /// How many WebSockets there are at a time. 64 by default.
    pub max_sockets: usize,
    /// How many background responses are being made at a time. 128 by default.
    pub max_runs: usize,
    /// How often a WebSocket is sent a ping. 30 seconds by default.
    pub ping_interval: Duration,
    /// How long the client of a WebSocket may send nothing, pongs included. 90 seconds by default.
    pub max_silence: Duration,
    /// How long background responses may take to end after `stop`. 10 seconds by default.
    pub shutdown_grace: Duration,
    /// Cancelled to shut the gateway down.
    pub stop: CancellationToken,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            body: BodyLimits {
                max_bytes: 16 * 1024 * 1024,
                ..BodyLimits::default()
            },
            max_sockets: 64,
            max_runs: 128,
            ping_interval: Duration::from_secs(30),
            max_silence: Duration::from_secs(90),
            shutdown_grace: Duration::from_secs(10),
            stop: CancellationToken::new(),
        }
    }
}
