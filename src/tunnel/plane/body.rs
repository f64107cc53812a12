//! Bodies that count against the budget of the process, in both directions.

use axum::body::{Body, Bytes};

use super::refusal::Refusal;
use crate::budget::{Budget, Held};
use crate::http::{BodyLimits, Unreadable, read_body_while};

/// Reads the body of a request, and holds it.
///
/// # Errors
/// It is too large, too slow, cut short, or there is no memory for it.
pub async fn read(
    body: Body,
    limits: BodyLimits,
    budget: &Budget,
) -> Result<(Vec<u8>, Held), Refusal> {
    let mut held = budget.empty();
    let has_memory = |bytes| held.grow(bytes).is_ok();
    let read = read_body_while(body, limits, has_memory).await;
    match read {
        Ok(body) => Ok((body, held)),
        Err(Unreadable::TooLarge) => Err(Refusal::TooLarge),
        Err(Unreadable::TooSlow(_)) => Err(Refusal::TooSlow),
        Err(Unreadable::BrokenOff) => Err(Refusal::Payload),
        Err(Unreadable::NoMemory) => Err(Refusal::NoMemory),
    }
}

/// Bytes that are held until they are sent.
pub fn held(bytes: impl Into<Vec<u8>>, held: Held) -> Bytes {
    Bytes::from_owner(Sent {
        bytes: bytes.into(),
        _held: held,
    })
}

struct Sent {
    bytes: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
