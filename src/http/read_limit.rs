//! A limit on what a connection reads, which the protocol above it sets.
//!
//! The body of a request is counted where it is read. An incomplete message of a WebSocket is in the
//! buffers of its protocol, where its size cannot be seen.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

/// The limit of one connection, which is an extension of each of its requests. Cloning shares it.
#[derive(Clone, Default)]
pub struct ReadLimit(Arc<OnceLock<Box<Admit>>>);

/// Whether so many bytes more may be read.
type Admit = dyn Fn(u64) -> bool + Send + Sync;

impl ReadLimit {
    /// Sets the limit: once `admit` returns `false`, reading the connection fails.
    pub fn set(&self, admit: impl Fn(u64) -> bool + Send + Sync + 'static) {
        // A connection becomes a WebSocket once, and has no further requests then.
        let _ = self.0.set(Box::new(admit));
    }

    /// Counts so many bytes that were read.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`] if they are over the limit.
    pub fn admit(&self, bytes: usize) -> io::Result<()> {
        match self.0.get() {
            Some(admit) if !admit(bytes as u64) => Err(io::ErrorKind::OutOfMemory.into()),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for ReadLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadLimit")
    }
}
