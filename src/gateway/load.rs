//! How much goes on at a time, and what still goes on when the gateway stops.

use std::sync::Arc;

use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::responses::{ApiError, Error};

/// A body up to this size is not counted: as many as there are connections do no harm.
const SMALL_BODY: u64 = 256 * 1024;
/// How many bytes the large bodies have together, from their reading to the end of their answer. What
/// is read of JSON takes many times its length.
const LARGE_BODIES: u64 = 64 * 1024 * 1024;
/// How many WebSockets there are at a time.
const MOST_SOCKETS: usize = 64;
/// How many responses are being made in the background.
const MOST_RUNS: usize = 128;

/// What all requests share. Cloning shares everything.
#[derive(Clone)]
pub struct Load {
    large_bodies: Arc<Semaphore>,
    sockets: Arc<Semaphore>,
    runs: Arc<Semaphore>,
    /// What outlives its request: WebSockets, responses in the background.
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

/// A place that is free again when this is dropped.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "it is held")] Option<OwnedSemaphorePermit>);

impl Load {
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            large_bodies: Arc::new(Semaphore::new(kib(LARGE_BODIES) as usize)),
            sockets: Arc::new(Semaphore::new(MOST_SOCKETS)),
            runs: Arc::new(Semaphore::new(MOST_RUNS)),
            tasks: TaskTracker::new(),
            stop,
        }
    }

    /// Room for a body of so many bytes.
    pub fn body(&self, bytes: u64) -> Result<Place, Error> {
        if bytes <= SMALL_BODY {
            return Ok(Place(None));
        }
        let room = Arc::clone(&self.large_bodies).try_acquire_many_owned(kib(bytes));
        let room = room.map_err(|_| {
            let message = "Too many large requests are being answered.";
            full(StatusCode::SERVICE_UNAVAILABLE, message)
        });
        Ok(Place(Some(room?)))
    }

    pub fn socket(&self) -> Result<Place, Error> {
        let room = Arc::clone(&self.sockets).try_acquire_owned();
        let room = room.map_err(|_| {
            let message = format!("There are {MOST_SOCKETS} WebSockets.");
            full(StatusCode::SERVICE_UNAVAILABLE, &message)
        });
        Ok(Place(Some(room?)))
    }

    pub fn run(&self) -> Result<Place, Error> {
        let room = Arc::clone(&self.runs).try_acquire_owned();
        let room = room.map_err(|_| {
            let message = format!("{MOST_RUNS} responses are being made in the background.");
            full(StatusCode::TOO_MANY_REQUESTS, &message)
        });
        Ok(Place(Some(room?)))
    }
}

/// There is no room now; the clients of OpenAI come again by themselves.
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

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}
