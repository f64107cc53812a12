//! The requests of older callers that are in flight, for those who cancel one with a notification. A modern
//! caller over HTTP closes its connection.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use tokio_util::sync::CancellationToken;

use super::caller::Caller;

/// Whose request it is, and its id.
type Key = (Option<[u8; 32]>, Option<Arc<str>>, Bytes);

/// All of them.
#[derive(Clone, Default)]
pub struct Running(Arc<Mutex<HashMap<Key, Request>>>);

/// Requests that nothing tells apart: of callers without a session and without a token.
struct Request {
    count: usize,
    cancelled: CancellationToken,
}

/// A request in flight, until it is dropped.
pub struct Run {
    running: Running,
    key: Key,
    pub cancelled: CancellationToken,
}

impl Running {
    /// Notes that a request is in flight.
    pub fn begin(&self, caller: &Caller, id: Bytes) -> Run {
        let key = key(caller, id);
        let mut all = self.lock();
        let request = all.entry(key.clone()).or_insert_with(|| Request {
            count: 0,
            cancelled: CancellationToken::new(),
        });
        request.count += 1;
        let cancelled = request.cancelled.clone();
        drop(all);
        Run {
            running: self.clone(),
            key,
            cancelled,
        }
    }

    /// Cancels a request, unless several may be meant.
    pub fn cancel(&self, caller: &Caller, id: &[u8]) {
        let key = key(caller, Bytes::copy_from_slice(id));
        let all = self.lock();
        if let Some(request) = all.get(&key).filter(|it| it.count == 1) {
            request.cancelled.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Request>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(caller: &Caller, id: Bytes) -> Key {
    let session = caller.session.as_deref();
    (caller.who, session.map(|it| Arc::clone(&it.id)), id)
}

impl Drop for Run {
    fn drop(&mut self) {
        let mut all = self.running.lock();
        if let Entry::Occupied(mut request) = all.entry(self.key.clone()) {
            request.get_mut().count -= 1;
            if request.get().count == 0 {
                request.remove();
            }
        }
    }
}
