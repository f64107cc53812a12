//! How much goes on at a time, and what still goes on when the gateway stops.

use std::sync::Arc;

use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::budget::Budget;
use crate::responses::{ApiError, Error};

/// How many WebSockets there are at a time.
const MOST_SOCKETS: usize = 64;
/// How many responses are being made in the background.
const MOST_RUNS: usize = 128;

/// What all requests share. Cloning shares everything.
#[derive(Clone)]
pub struct Load {
    /// What all requests hold together: bodies from the first byte to the end of the answer,
    /// messages that wait on WebSockets, events that can be read again.
    pub budget: Budget,
    sockets: Arc<Semaphore>,
    runs: Arc<Semaphore>,
    /// What outlives its request: WebSockets, responses in the background.
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

/// A place that is free again when this is dropped.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit);

impl Load {
    pub fn new(budget: Budget, stop: CancellationToken) -> Self {
        Self {
            budget,
            sockets: Arc::new(Semaphore::new(MOST_SOCKETS)),
            runs: Arc::new(Semaphore::new(MOST_RUNS)),
            tasks: TaskTracker::new(),
            stop,
        }
    }

    pub fn socket(&self) -> Result<Place, Error> {
        let room = Arc::clone(&self.sockets).try_acquire_owned();
        let room = room.map_err(|_| {
            let message = format!("There are {MOST_SOCKETS} WebSockets.");
            full(StatusCode::SERVICE_UNAVAILABLE, &message)
        });
        Ok(Place(room?))
    }

    pub fn run(&self) -> Result<Place, Error> {
        let room = Arc::clone(&self.runs).try_acquire_owned();
        let room = room.map_err(|_| {
            let message = format!("{MOST_RUNS} responses are being made in the background.");
            full(StatusCode::TOO_MANY_REQUESTS, &message)
        });
        Ok(Place(room?))
    }
}

/// There is no room now; the clients of OpenAI retry.
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
