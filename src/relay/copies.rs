//! `Copies`: the connections to the server behind the relay. Each is made when somebody needs it, made
//! again when it ended, and ended when nobody uses it any more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::caller::Caller;
use super::failure::Failure;
use super::upstream::Upstream;
use crate::mcp::{Connector, Era, Prefers, Server};

/// How long a server that did not start is left alone: the first time, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a caller may take from getting a copy to using it.
const JUST_NOW: Duration = Duration::from_millis(100);

/// How many copies of the server there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Processes {
    /// One for all callers.
    #[default]
    Shared,
    /// One for each caller that the door knows.
    Caller,
    /// One for each session.
    Session,
}

/// How copies are made and ended.
#[derive(Debug, Clone)]
pub struct Limits {
    pub processes: Processes,
    /// How long a server may take to start and to agree on a version of MCP.
    pub start_timeout: Duration,
    /// How long a copy is kept that nobody uses.
    pub idle_exit: Duration,
    /// How many copies there may be.
    pub most: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            processes: Processes::Shared,
            start_timeout: Duration::from_secs(60),
            idle_exit: Duration::from_secs(5 * 60),
            most: 32,
        }
    }
}

/// Whose copy it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Owner {
    Everybody,
    Caller([u8; 32]),
    Session(Arc<str>),
}

/// The copies of one server.
pub struct Copies {
    connector: Connector,
    server: Arc<Server>,
    limits: Limits,
    by_key: Mutex<HashMap<(Owner, Prefers), Arc<Copy>>>,
    /// Ends what nobody uses.
    _reaper: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// One copy, alive or not.
struct Copy {
    upstream: Mutex<Option<Arc<Upstream>>>,
    /// Held while it is started.
    starting: tokio::sync::Mutex<Starts>,
    used: Mutex<Instant>,
}

/// What came of the last starts.
#[derive(Default)]
struct Starts {
    failed: Option<(Instant, Failure)>,
    pause: Duration,
}

impl Copies {
    pub fn new(connector: Connector, server: Server, limits: Limits) -> Arc<Self> {
        let copies = Arc::new(Self {
            connector,
            server: Arc::new(server),
            limits,
            by_key: Mutex::default(),
            _reaper: Mutex::default(),
        });
        let reaping = tokio::spawn(reap(Arc::downgrade(&copies), copies.limits.idle_exit / 4));
        *lock(&copies._reaper) = Some(AbortOnDropHandle::new(reaping));
        copies
    }

    /// The connection for a caller.
    ///
    /// # Errors
    /// The server cannot be used, or there are too many copies.
    pub async fn get(&self, caller: &Caller) -> Result<Arc<Upstream>, Failure> {
        let owner = self.owner(caller);
        let upstream = self.get_for(&owner, Prefers::Discover).await?;
        if caller.is_modern || upstream.connection.agreed.era != Era::Modern {
            return Ok(upstream);
        }
        // A server that knows both eras answers an older caller best in its own. A connection is in one.
        match self.get_for(&owner, Prefers::Initialize).await {
            Ok(older) => Ok(older),
            Err(_) => Ok(upstream),
        }
    }

    async fn get_for(&self, owner: &Owner, prefers: Prefers) -> Result<Arc<Upstream>, Failure> {
        let copy = self.copy(owner, prefers)?;
        *lock(&copy.used) = Instant::now();
        match copy.alive() {
            Some(upstream) => Ok(upstream),
            None => self.start(&copy, prefers).await,
        }
    }

    fn owner(&self, caller: &Caller) -> Owner {
        let session = caller.session.as_deref();
        match (self.limits.processes, session, caller.who) {
            (Processes::Session, Some(session), _) => Owner::Session(Arc::clone(&session.id)),
            (Processes::Session | Processes::Caller, _, Some(who)) => Owner::Caller(who),
            _ => Owner::Everybody,
        }
    }

    fn copy(&self, owner: &Owner, prefers: Prefers) -> Result<Arc<Copy>, Failure> {
        let mut copies = lock(&self.by_key);
        if let Some(copy) = copies.get(&(owner.clone(), prefers)) {
            return Ok(Arc::clone(copy));
        }
        if copies.len() >= self.limits.most {
            // What is not alive is not in the way.
            copies.retain(|_, it| it.alive().is_some() || it.starting.try_lock().is_err());
        }
        if copies.len() >= self.limits.most {
            let unused = least_recently_used(&copies);
            let copy = unused.and_then(|key| copies.remove(&key));
            let copy = copy.ok_or_else(|| Failure::too_many(copies.len()))?;
            if let Some(upstream) = lock(&copy.upstream).take() {
                tokio::spawn(async move { upstream.close().await });
            }
        }
        let copy = Arc::new(Copy {
            upstream: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
            used: Mutex::new(Instant::now()),
        });
        copies.insert((owner.clone(), prefers), Arc::clone(&copy));
        Ok(copy)
    }

    async fn start(&self, copy: &Copy, prefers: Prefers) -> Result<Arc<Upstream>, Failure> {
        let mut starts = copy.starting.lock().await;
        if let Some(upstream) = copy.alive() {
            return Ok(upstream);
        }
        if let Some((when, failure)) = &starts.failed
            && when.elapsed() < starts.pause
        {
            return Err(failure.clone());
        }
        let limit = self.limits.start_timeout;
        let opening = Upstream::open(&self.connector, Arc::clone(&self.server), prefers);
        let opened = match timeout(limit, opening).await {
            Ok(opened) => opened.map_err(|error| Failure::of(&error)),
            Err(_) => Err(Failure::not_started_within(limit)),
        };
        match opened {
            Ok(upstream) => {
                *starts = Starts::default();
                let upstream = Arc::new(upstream);
                *lock(&copy.upstream) = Some(Arc::clone(&upstream));
                Ok(upstream)
            }
            Err(failure) => {
                starts.pause = (2 * starts.pause).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                starts.failed = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    /// Gives a connection up whose server does not know it any more. The next caller makes another.
    pub async fn forget(&self, upstream: &Arc<Upstream>) {
        let copies: Vec<_> = lock(&self.by_key).values().cloned().collect();
        for copy in copies {
            lock(&copy.upstream).take_if(|it| Arc::ptr_eq(it, upstream));
        }
        upstream.close().await;
    }

    /// Ends the copy of a session that is over.
    pub async fn end_session(&self, id: &str) {
        for prefers in [Prefers::Discover, Prefers::Initialize] {
            let key = (Owner::Session(id.into()), prefers);
            let copy = lock(&self.by_key).remove(&key);
            if let Some(upstream) = copy.and_then(|it| lock(&it.upstream).take()) {
                upstream.close().await;
            }
        }
    }

    /// Ends all of them.
    pub async fn close(&self) {
        let copies: Vec<_> = lock(&self.by_key).drain().map(|(_, copy)| copy).collect();
        let upstreams = copies.iter().filter_map(|it| lock(&it.upstream).take());
        let upstreams: Vec<_> = upstreams.collect();
        futures::future::join_all(upstreams.iter().map(|it| it.close())).await;
    }

    /// Ends those that nobody has used for a while.
    async fn reap(&self) {
        let mut idle = Vec::new();
        lock(&self.by_key).retain(|(owner, _), copy| {
            if copy.starting.try_lock().is_err() {
                return true;
            }
            let mut upstream = lock(&copy.upstream);
            let is_used = upstream.as_ref().is_some_and(|it| it.is_used());
            if is_used || lock(&copy.used).elapsed() < self.limits.idle_exit {
                return true;
            }
            idle.extend(upstream.take());
            *owner == Owner::Everybody
        });
        for upstream in idle {
            upstream.close().await;
        }
    }
}

impl Copy {
    fn alive(&self) -> Option<Arc<Upstream>> {
        let upstream = lock(&self.upstream);
        upstream
            .as_ref()
            .filter(|it| !it.connection.channel.is_closed())
            .cloned()
    }
}

/// The copy that nobody uses now, and nobody has used for the longest time.
fn least_recently_used(copies: &HashMap<(Owner, Prefers), Arc<Copy>>) -> Option<(Owner, Prefers)> {
    let unused = copies.iter().filter(|(_, copy)| {
        let is_used = lock(&copy.upstream).as_ref().is_some_and(|it| it.is_used());
        // One that is being started, or that a caller has just got, is about to be used.
        !is_used && copy.starting.try_lock().is_ok() && lock(&copy.used).elapsed() > JUST_NOW
    });
    let oldest = unused.min_by_key(|(_, copy)| *lock(&copy.used));
    oldest.map(|(key, _)| key.clone())
}

/// Looks for copies that nobody uses, as long as there are any.
async fn reap(copies: Weak<Copies>, pause: Duration) {
    const SHORTEST: Duration = Duration::from_millis(10);
    loop {
        tokio::time::sleep(pause.max(SHORTEST)).await;
        let Some(copies) = copies.upgrade() else {
            return;
        };
        copies.reap().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
