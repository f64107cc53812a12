//! What the server asked of callers, until they answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::caller::Caller;
use super::exchange::Exchange;
use super::upstream::Upstream;

/// How many requests of servers wait for callers, and how long a call is kept whose caller does not
/// come back.
const MOST: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Where the answer of a caller goes.
pub enum To {
    /// To a server that asked on its connection, as the answer to its request with this id.
    Server(Weak<Upstream>, Box<RawValue>),
    /// To the exchange that makes a request again with what the server asked for, under this name.
    Exchange(String, mpsc::Sender<(String, String)>),
}

struct Asked {
    to: To,
    who: Option<[u8; 32]>,
    session: Option<Arc<str>>,
}

/// A call whose server asked for something, until its caller makes the request again
/// (MCP 2026-07-28, multi round-trip requests).
pub struct Parked {
    pub exchange: Exchange,
    /// The id of the server's request.
    pub id: Box<RawValue>,
    since: Instant,
}

/// All that is waited for.
#[derive(Default)]
pub struct Waiting {
    asked: Mutex<HashMap<String, Asked>>,
    parked: Mutex<HashMap<String, Parked>>,
}

impl Waiting {
    /// The id under which a caller is asked. `None` if too many are.
    pub fn ask(&self, caller: &Caller, to: To) -> Option<String> {
        let mut asked = lock(&self.asked);
        if asked.len() >= MOST {
            return None;
        }
        let id = unguessable();
        let of_caller = Asked {
            to,
            who: caller.who,
            session: caller.session.as_deref().map(|it| Arc::clone(&it.id)),
        };
        asked.insert(id.clone(), of_caller);
        Some(id)
    }

    /// Where the answer of this caller under that id goes.
    pub fn take(&self, id: &str, caller: &Caller) -> Option<To> {
        let mut asked = lock(&self.asked);
        let found = asked.get(id)?;
        if !caller.is(found.who, found.session.as_deref()) {
            return None;
        }
        asked.remove(id).map(|it| it.to)
    }

    /// Forgets what nobody waits for any more.
    pub fn forget(&self, ids: &[(String, Option<Box<RawValue>>)]) {
        let mut asked = lock(&self.asked);
        for (id, _) in ids {
            asked.remove(id);
        }
    }

    /// Keeps a call, and returns the `requestState` that brings it back.
    pub fn park(&self, exchange: Exchange, id: Box<RawValue>) -> Option<String> {
        let mut parked = lock(&self.parked);
        parked.retain(|_, it| it.since.elapsed() < PATIENCE);
        if parked.len() >= MOST {
            return None;
        }
        let state = unguessable();
        let since = Instant::now();
        parked.insert(
            state.clone(),
            Parked {
                exchange,
                id,
                since,
            },
        );
        Some(state)
    }

    /// The call that this caller comes back to.
    pub fn unpark(&self, state: &str, caller: &Caller) -> Option<Parked> {
        let mut parked = lock(&self.parked);
        let session = caller.session.as_deref().map(|it| &*it.id);
        if !parked.get(state)?.exchange.caller.is(caller.who, session) {
            return None;
        }
        parked.remove(state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An id that nobody finds out by trying.
pub fn unguessable() -> String {
    format!("relay-{:032x}", rand::random::<u128>())
}
