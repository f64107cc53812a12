//! What has come in over a WebSocket of a message that is not complete.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::ws::Message;

use crate::budget::{Exhausted, Held};
use crate::http::ReadLimit;

/// The most bytes that are read of a socket at once.
pub const ONE_READ: u64 = 128 * 1024;
/// So many bytes of each socket are not counted: a message of up to 256 KiB is refused when it is
/// complete, and the socket goes on.
const UNCOUNTED: u64 = 256 * 1024 + ONE_READ;
/// What a control frame of a client has beside its payload (RFC 6455 section 5.2).
const CONTROL_HEAD: u64 = 6;

/// The bytes of a socket that are not yet a message. Cloning shares them.
#[derive(Clone)]
pub struct Incoming(Arc<Mutex<Count>>);

struct Count {
    bytes: u64,
    held: Held,
}

impl Incoming {
    /// Counts what comes in under `read_limit`. Once `held` can hold no more, nothing more is read.
    pub fn new(held: Held, read_limit: &ReadLimit) -> Self {
        let incoming = Self(Arc::new(Mutex::new(Count { bytes: 0, held })));
        let counted = incoming.clone();
        read_limit.set(move |bytes| counted.lock().add(bytes).is_ok());
        incoming
    }

    /// A message is complete. What was read behind it is less than one read.
    pub fn complete(&self, message: &Message) {
        let mut count = self.lock();
        let rest = |length: usize| count.bytes.saturating_sub(length as u64);
        let rest = match message {
            Message::Text(text) => rest(text.len()).min(ONE_READ),
            Message::Binary(bytes) => rest(bytes.len()).min(ONE_READ),
            // These come also in the midst of another message.
            Message::Ping(bytes) | Message::Pong(bytes) => {
                rest(bytes.len()).saturating_sub(CONTROL_HEAD)
            }
            Message::Close(_) => 0,
        };
        count.bytes = rest;
        count.held.shrink_to(rest.saturating_sub(UNCOUNTED));
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    fn add(&mut self, bytes: u64) -> Result<(), Exhausted> {
        self.bytes = self.bytes.saturating_add(bytes);
        let counted = self.bytes.saturating_sub(UNCOUNTED);
        self.held.grow(counted.saturating_sub(self.held.bytes()))
    }
}

/// Whether a socket cannot be read any more because there is no memory for it.
pub fn is_out_of_memory(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |it| it.source());
    causes.any(|it| {
        let io = it.downcast_ref::<io::Error>();
        io.is_some_and(|it| it.kind() == io::ErrorKind::OutOfMemory)
    })
}
