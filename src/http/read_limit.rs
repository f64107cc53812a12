//! Who decides whether a connection may bring in more.
//!
//! The body of a request is counted by whoever reads it. What a WebSocket has of a message that is
//! not complete is in the buffers of its protocol, where nobody else can see how much it is.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

/// The decision for one connection; it is an extension of each of its requests. Cloning shares it.
#[derive(Clone, Default)]
pub struct ReadLimit(Arc<OnceLock<Box<Decide>>>);

/// Whether so many bytes more may come in.
type Decide = dyn Fn(u64) -> bool + Send + Sync;

impl ReadLimit {
    /// From now on, `decide` is asked. Once it says no, the connection cannot be read any more.
    pub fn decide(&self, decide: impl Fn(u64) -> bool + Send + Sync + 'static) {
        // A connection becomes a WebSocket once, and then has no further requests.
        let _ = self.0.set(Box::new(decide));
    }

    /// Takes in so many bytes that were read.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`] if that was decided.
    pub fn take(&self, bytes: usize) -> io::Result<()> {
        match self.0.get() {
            Some(decide) if !decide(bytes as u64) => Err(io::ErrorKind::OutOfMemory.into()),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for ReadLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadLimit")
    }
}
