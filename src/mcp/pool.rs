//! `ClientPool`: one connected client per server and credential, as long as it is used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OnceCell};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::client::Client;
use super::connect::Connector;
use super::{
    Called, EgressPolicy, Error, JsonObject, OnStderr, OnWire, Redirects, Server, ToolList,
};
use crate::budget::Budget;

/// How long ending all connections may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// The most bytes of lists and results in the program of one person, as they take in memory.
const MEMORY: u64 = 512 * 1024 * 1024;

/// What a pool may do, and for how long.
#[derive(Clone)]
pub struct PoolOptions {
    /// Where connections may go.
    pub egress: EgressPolicy,
    pub redirects: Redirects,
    /// How long a server may take from the first message to its whole list of tools.
    pub list_timeout: Duration,
    /// How long a call may take, connecting included; OpenAI's connector gives up after about as
    /// long.
    pub call_timeout: Duration,
    /// How long a client is kept that nobody uses.
    pub idle_timeout: Duration,
    /// How many clients there may be. When all of them are in use, a new one is waited for.
    pub most_clients: usize,
    /// How long a server that was started may take to answer `server/discover` until it is asked to
    /// initialize as well.
    pub started_timeout: Duration,
    /// How long a server that was started may take to end when its input has ended, and again when
    /// it was told to. Then it is killed, and all that it started.
    pub child_grace: Duration,
    /// What is offered to servers that are initialized: the client capabilities of MCP.
    pub capabilities: Value,
    /// Gets what servers that were started write to stderr.
    pub on_stderr: OnStderr,
    /// Gets what goes over connections.
    pub on_wire: Option<OnWire>,
    /// What answers are held of while they are read, and as long as their lists and results are.
    pub budget: Budget,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            egress: EgressPolicy::Anywhere,
            redirects: Redirects::SameOrigin,
            list_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(5 * 60),
            most_clients: 256,
            started_timeout: Duration::from_secs(1),
            child_grace: Duration::from_millis(750),
            capabilities: json!({}),
            on_stderr: |_| {},
            on_wire: None,
            budget: Budget::new(MEMORY),
        }
    }
}

/// Connected MCP clients, made when they are first needed and ended with the pool.
pub struct ClientPool {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

struct Shared {
    options: PoolOptions,
    connector: Connector,
    slots: Mutex<HashMap<Server, Slot>>,
    /// Told when a client is let go.
    freed: Notify,
    /// Clients in use, and those that are being closed.
    tasks: TaskTracker,
    stop: CancellationToken,
    sweeping: Once,
}

/// A client, connected or about to be. It is in use as long as somebody else has the cell, which is
/// cloned under the lock only.
struct Slot {
    cell: Arc<OnceCell<Client>>,
    last_used: Instant,
}

impl Default for ClientPool {
    fn default() -> Self {
        Self::new(PoolOptions::default())
    }
}

impl ClientPool {
    /// A pool without any client yet.
    pub fn new(options: PoolOptions) -> Self {
        let stop = CancellationToken::new();
        let shared = Shared {
            connector: Connector::new(options.clone()),
            options,
            slots: Mutex::default(),
            freed: Notify::new(),
            tasks: TaskTracker::new(),
            stop: stop.clone(),
            sweeping: Once::new(),
        };
        Self {
            shared: Arc::new(shared),
            _stop: stop.drop_guard(),
        }
    }

    fn shared(&self) -> &Shared {
        self.shared.sweeping.call_once(|| {
            let shared = Arc::downgrade(&self.shared);
            let stop = self.shared.stop.clone();
            let pause = self.shared.options.idle_timeout / 10;
            self.shared.tasks.spawn(sweep(shared, stop, pause));
        });
        &self.shared
    }

    /// What gets what goes over connections.
    pub fn on_wire(&self) -> Option<OnWire> {
        self.shared.options.on_wire.clone()
    }

    /// The tools of `server`, all pages of them (MCP 2026-07-28, tools/list).
    ///
    /// # Errors
    /// [`Error::Exhausted`] if the budget is used up, or any other reason why there is no list.
    pub async fn list(&self, server: &Server) -> Result<ToolList, Error> {
        let shared = self.shared();
        let list = async {
            loop {
                let lease = shared.lease(server).await?;
                let listed = lease.client()?.list().await;
                // Nothing runs when tools are listed.
                if !(lease.is_outdated(&listed) && lease.forget()) {
                    return listed;
                }
            }
        };
        let listed = shared.within(shared.options.list_timeout, list).await;
        let listed = listed.map(|list| list.without_secrets(server));
        listed.map_err(|error| error.without_secrets(server))
    }

    /// Connects to `server`, and says which version of MCP was agreed on.
    ///
    /// # Errors
    /// Why it could not be connected to.
    pub async fn version(&self, server: &Server) -> Result<String, Error> {
        let shared = self.shared();
        let connect = async { Ok(shared.lease(server).await?.client()?.version().to_owned()) };
        let version = shared.within(shared.options.list_timeout, connect).await;
        version.map_err(|error| error.without_secrets(server))
    }

    /// Calls the tool `name` of `server` (MCP 2026-07-28, tools/call).
    ///
    /// Dropping the future cancels the call. A result with `isError` is a result, not an error.
    pub async fn call(
        &self,
        server: &Server,
        name: &str,
        arguments: &JsonObject,
    ) -> Result<Called, Error> {
        let shared = self.shared();
        let call = async {
            loop {
                let lease = shared.lease(server).await?;
                let called = lease.client()?.call(name, arguments).await;
                // What was not found did not run; of anything else nobody knows.
                let is_repeated =
                    lease.is_outdated(&called) && lease.forget() && is_not_found(&called);
                if !is_repeated {
                    return called;
                }
            }
        };
        let called = shared.within(shared.options.call_timeout, call).await;
        called.map_err(|error| error.without_secrets(server))
    }

    /// Ends all connections, and the sessions behind them. What is still under way is cancelled,
    /// and nothing can be asked any more.
    pub async fn close(&self) {
        let shared = &self.shared;
        shared.stop.cancel();
        for (_, slot) in shared.lock().drain() {
            shared.retire(slot.cell);
        }
        shared.tasks.close();
        // A client whose user does not let go is left to that user.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, shared.tasks.wait()).await;
    }
}

impl Shared {
    /// Waits for `request`, but no longer than `limit`, and not beyond the end of the pool.
    async fn within<T>(
        &self,
        limit: Duration,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let _in_use = self.tasks.token();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Error::Closed),
            result = tokio::time::timeout(limit, request) => {
                result.unwrap_or(Err(Error::Timeout(limit)))
            }
        }
    }

    /// The client of `server`, connected; waits for room if there is none.
    async fn lease<'a>(&'a self, server: &'a Server) -> Result<Lease<'a>, Error> {
        let lease = loop {
            let freed = self.freed.notified();
            if let Some(cell) = self.cell(server) {
                break Lease {
                    shared: self,
                    server,
                    was_there: cell.initialized(),
                    cell,
                };
            }
            freed.await;
        };
        let connect = || self.connector.connect(server);
        lease.cell.get_or_try_init(connect).await?;
        Ok(lease)
    }

    fn cell(&self, server: &Server) -> Option<Arc<OnceCell<Client>>> {
        let mut slots = self.lock();
        if let Some(slot) = slots.get(server) {
            let is_spent = |client: &Client| client.is_closed();
            if !slot.cell.get().is_some_and(is_spent) {
                return Some(Arc::clone(&slot.cell));
            }
            self.remove(&mut slots, server);
        }
        if slots.len() >= self.options.most_clients {
            let idle = slots.iter().filter(|(_, slot)| !slot.is_in_use());
            let (oldest, _) = idle.min_by_key(|(_, slot)| slot.last_used)?;
            let oldest = oldest.clone();
            self.remove(&mut slots, &oldest);
        }
        let cell = Arc::default();
        let slot = Slot {
            cell: Arc::clone(&cell),
            last_used: Instant::now(),
        };
        slots.insert(server.clone(), slot);
        Some(cell)
    }

    #[expect(
        clippy::mutable_key_type,
        reason = "a router is compared and hashed by its name"
    )]
    fn remove(&self, slots: &mut HashMap<Server, Slot>, server: &Server) {
        if let Some(slot) = slots.remove(server) {
            self.retire(slot.cell);
        }
    }

    /// Closes a client that is no longer to be found, if nobody else has it: the last one who has
    /// closes it.
    fn retire(&self, cell: Arc<OnceCell<Client>>) {
        let client = Arc::into_inner(cell).and_then(OnceCell::into_inner);
        // Without a runtime there is nobody to say goodbye; dropping ends the connection as well.
        if let (Some(client), Ok(runtime)) = (client, Handle::try_current()) {
            self.tasks.spawn_on(client.close(), &runtime);
        }
    }

    fn close_idle(&self) {
        let mut slots = self.lock();
        let limit = self.options.idle_timeout;
        let idle =
            slots.extract_if(|_, slot| !slot.is_in_use() && slot.last_used.elapsed() >= limit);
        for (_, slot) in idle {
            self.retire(slot.cell);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Server, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.cell) > 1
    }
}

/// Closes clients that nobody uses, until the pool ends.
async fn sweep(shared: Weak<Shared>, stop: CancellationToken, pause: Duration) {
    while stop
        .run_until_cancelled(tokio::time::sleep(pause))
        .await
        .is_some()
        && let Some(shared) = shared.upgrade()
    {
        shared.close_idle();
    }
}

/// A client in use.
struct Lease<'a> {
    shared: &'a Shared,
    server: &'a Server,
    cell: Arc<OnceCell<Client>>,
    /// Whether it was connected before this use of it.
    was_there: bool,
}

impl Lease<'_> {
    fn client(&self) -> Result<&Client, Error> {
        self.cell.get().ok_or(Error::Closed)
    }

    /// Whether the client may have failed because its server is no longer the one that it connected
    /// to: it was started again and knows no session of before, or it was replaced.
    fn is_outdated<T>(&self, result: &Result<T, Error>) -> bool {
        let is_closed = self.cell.get().is_some_and(Client::is_closed);
        match result {
            Ok(_) => false,
            Err(Error::Refused { status, .. }) => {
                matches!(*status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST)
            }
            Err(Error::Unreachable(_)) => true,
            Err(_) => is_closed,
        }
    }

    /// Lets no one else have this client. Returns whether another one may fare better.
    fn forget(&self) -> bool {
        let mut slots = self.shared.lock();
        if slots
            .get(self.server)
            .is_some_and(|slot| Arc::ptr_eq(&slot.cell, &self.cell))
        {
            slots.remove(self.server);
        }
        self.was_there
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let cell = std::mem::take(&mut self.cell);
        let mut slots = self.shared.lock();
        if let Some(slot) = slots.get_mut(self.server)
            && Arc::ptr_eq(&slot.cell, &cell)
        {
            slot.last_used = Instant::now();
            // A connection that came to nothing leaves nothing behind: only the slot and this
            // lease have it.
            if !cell.initialized() && Arc::strong_count(&cell) == 2 {
                slots.remove(self.server);
            }
        }
        self.shared.retire(cell);
        drop(slots);
        self.shared.freed.notify_waiters();
    }
}

fn is_not_found<T>(result: &Result<T, Error>) -> bool {
    matches!(
        result,
        Err(Error::Refused {
            status: StatusCode::NOT_FOUND,
            ..
        })
    )
}
