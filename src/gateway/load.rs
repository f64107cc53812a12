//! How much runs at a time, and what still runs when the gateway stops.

use std::sync::Arc;

use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::options::GatewayOptions;
use crate::budget::Budget;
use crate::responses::{ApiError, Error};

/// What all requests share. Cloning shares everything.
#[derive(Clone)]
pub struct Load {
    /// What all requests hold together: bodies from the first byte to the end of the answer,
    /// messages that wait on WebSockets, events that can be read again.
    pub budget: Budget,
    pub options: Arc<GatewayOptions>,
    sockets: Arc<Semaphore>,
    runs: Arc<Semaphore>,
    /// What outlives its request: WebSockets, responses in the background.
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

/// A permit for a WebSocket or a background response, which is given back when this is dropped.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit);

impl Load {
    pub fn new(budget: Budget, options: GatewayOptions) -> Self {
        Self {
            budget,
            sockets: Arc::new(Semaphore::new(options.max_sockets)),
            runs: Arc::new(Semaphore::new(options.max_runs)),
            tasks: TaskTracker::new(),
            stop: options.stop.clone(),
            options: Arc::new(options),
        }
    }

    pub fn socket(&self) -> Result<Place, Error> {
        let room = Arc::clone(&self.sockets).try_acquire_owned();
        let room = room.map_err(|_| {
            let message = format!("There are {} WebSockets.", self.options.max_sockets);
            full(StatusCode::SERVICE_UNAVAILABLE, &message)
        });
        Ok(Place(room?))
    }

    pub fn run(&self) -> Result<Place, Error> {
        let room = Arc::clone(&self.runs).try_acquire_owned();
        let room = room.map_err(|_| {
            let most = self.options.max_runs;
            let message = format!("{most} responses are being made in the background.");
            full(StatusCode::TOO_MANY_REQUESTS, &message)
        });
        Ok(Place(room?))
    }
}

/// A limit is reached; OpenAI's clients retry.
pub fn full(status: StatusCode, message: &str) -> Error {
    Error::refused(
        status,
        ApiError {
            message: message.to_owned(),
            kind: Some("rate_limit_error".to_owned()),
            code: Some("rate_limit_exceeded".to_owned()),
            param: None,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_64_web_sockets_and_128_background_responses_by_default() {
        let load = Load::new(Budget::new(0), GatewayOptions::default());
        let mut sockets: Vec<Place> = (0..64).map(|_| load.socket().unwrap()).collect();
        assert!(load.socket().is_err());
        sockets.pop();
        assert!(load.socket().is_ok());

        let mut runs: Vec<Place> = (0..128).map(|_| load.run().unwrap()).collect();
        assert!(load.run().is_err());
        runs.pop();
        assert!(load.run().is_ok());
    }
}
