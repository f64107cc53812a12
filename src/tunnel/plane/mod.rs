//! The control plane of a Secure MCP Tunnel on this machine: connectors ask, tunnel clients poll for what was
//! asked and post the answers. `fixtures/tunnel/openapi.json` is the contract of its clients.
//!
//! Where the contract says nothing, what the hosted control plane does is not known, and the choices are those
//! of OpenAI's own local test tool: the states of a client, the headers that pass, and what a connector is answered.

mod body;
mod command;
mod connector;
mod endpoints;
mod headers;
mod id;
mod options;
mod posted;
mod refusal;
mod tunnel;
mod unicode;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::budget::Held;
use crate::secret::Secret;
use crate::tunnel::names::{Channel, TunnelId};

use command::{Asked, Command};
use id::Ids;
use posted::{Posted, Read};
use refusal::Refusal;
use tunnel::{About, Tunnel};

pub use connector::for_engine;
pub use endpoints::for_connectors;
pub use options::PlaneOptions;

/// How many ids of deleted tunnels are remembered; the oldest are forgotten first.
const MOST_DELETED: usize = 10_000;

/// The control plane of those who have one key. Cloning shares it.
#[derive(Clone)]
pub struct Plane(Arc<Inner>);

struct Inner {
    ids: Ids,
    has_key: bool,
    options: PlaneOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tunnels: HashMap<String, Tunnel>,
    /// Ids that were created here and deleted.
    deleted: VecDeque<String>,
    /// The open polls of all tunnels.
    polls: usize,
}

impl Plane {
    /// A control plane whose tunnels belong to those who have `key`. Without one, everybody may use each of them.
    pub fn new(key: Option<&Secret>, options: PlaneOptions) -> Self {
        Self(Arc::new(Inner {
            ids: Ids::of(key.map(Secret::expose).unwrap_or_default()),
            has_key: key.is_some(),
            options,
            state: Mutex::default(),
        }))
    }

    fn options(&self) -> &PlaneOptions {
        &self.0.options
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` on a tunnel. One whose id was created with this key is there again after a restart.
    ///
    /// # Errors
    /// There is no such tunnel.
    fn with<T>(&self, id: &str, work: impl FnOnce(&mut Tunnel) -> T) -> Result<T, Refusal> {
        self.lock().with(self, id, work)
    }

    /// Creates a tunnel, and returns its id.
    fn create(&self, about: About) -> Result<String, Refusal> {
        let id = self.0.ids.make();
        self.with(&id, |tunnel| tunnel.about = about)?;
        Ok(id)
    }

    /// All tunnels, by id.
    fn list(&self) -> Vec<(String, About)> {
        let state = self.lock();
        let tunnels = state.tunnels.iter();
        let mut all: Vec<_> = tunnels
            .map(|(id, tunnel)| (id.clone(), tunnel.about.clone()))
            .collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }

    /// Deletes a tunnel. Its open polls end, and so do the connectors that wait.
    fn delete(&self, id: &str) -> Result<About, Refusal> {
        let mut state = self.lock();
        state.with(self, id, |_| ())?;
        let tunnel = state.tunnels.remove(id).ok_or(Refusal::Unknown)?;
        if state.deleted.len() == MOST_DELETED {
            state.deleted.pop_front();
        }
        state.deleted.push_back(id.to_owned());
        tunnel.news.notify_waiters();
        Ok(tunnel.about)
    }

    /// Queues what a connector asks.
    fn ask(&self, id: &str, asked: Asked) -> Result<Call, Refusal> {
        let now = Instant::now();
        let (request_id, posted) = self.with(id, |it| it.ask(asked, self.options(), now))??;
        Ok(Call {
            plane: self.clone(),
            tunnel: id.to_owned(),
            request_id,
            posted,
            until: now + self.options().answer_timeout,
        })
    }

    /// Commands for a client; none if there are none within `wait`.
    async fn poll(
        &self,
        id: &str,
        limit: usize,
        channels: &[Channel],
        wait: Duration,
    ) -> Result<Vec<Command>, Refusal> {
        let polling = Polling::start(self, id)?;
        let until = Instant::now() + wait.min(self.options().max_poll);
        loop {
            // Created before the queue is looked at, so that no command is missed in between.
            let notified = polling.news.notified();
            let commands = self.with(id, |tunnel| tunnel.take(limit, channels, Instant::now()))?;
            if !commands.is_empty() {
                return Ok(commands);
            }
            tokio::select! {
                () = notified => {}
                () = tokio::time::sleep_until(until) => return Ok(Vec::new()),
                () = self.options().stop.cancelled() => return Ok(Vec::new()),
            }
        }
    }

    /// Gives what a client posts to the connector that waits for it.
    fn answer(&self, id: &str, shard_token: &str, read: Read, held: Held) -> Result<(), Refusal> {
        let mut state = self.lock();
        let (request_id, answered) = match read {
            Read::Posted { request_id, posted } => {
                let answered =
                    state.with(self, id, |it| it.answer(&request_id, shard_token, posted));
                (request_id, answered?)
            }
            Read::Undecodable { request_id } => {
                let failed = state.with(self, id, |it| it.fail(&request_id, shard_token, held));
                (request_id, failed?.and(Err(Refusal::Payload)))
            }
        };
        match answered {
            Err(Refusal::NobodyWaits) if state.tunnels.values().any(|it| it.has(&request_id)) => {
                Err(Refusal::Mismatch)
            }
            answered => answered,
        }
    }
}

impl State {
    fn with<T>(
        &mut self,
        plane: &Plane,
        id: &str,
        work: impl FnOnce(&mut Tunnel) -> T,
    ) -> Result<T, Refusal> {
        if let Some(tunnel) = self.tunnels.get_mut(id) {
            return Ok(work(tunnel));
        }
        let _: TunnelId = id.parse().map_err(|_| Refusal::TunnelId)?;
        if !plane.0.ids.knows(id) || self.deleted.iter().any(|it| it == id) {
            return Err(Refusal::Unknown);
        }
        if self.tunnels.len() >= plane.options().max_tunnels {
            return Err(Refusal::TooManyTunnels);
        }
        Ok(work(self.tunnels.entry(id.to_owned()).or_default()))
    }
}

/// A connector that waits for its answer. Dropping it withdraws the command.
struct Call {
    plane: Plane,
    tunnel: String,
    request_id: String,
    posted: mpsc::Receiver<Posted>,
    until: Instant,
}

impl Call {
    /// The next note, or the answer. The deadline is that of the answer.
    async fn next(&mut self) -> Result<Posted, Refusal> {
        tokio::select! {
            biased;
            // Without a sender, the tunnel was deleted.
            posted = self.posted.recv() => posted.ok_or(Refusal::Unknown),
            () = tokio::time::sleep_until(self.until) => Err(Refusal::Late),
            () = self.plane.options().stop.cancelled() => Err(Refusal::Stopping),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // The tunnel may be deleted by now.
        if let Some(tunnel) = self.plane.lock().tunnels.get_mut(&self.tunnel) {
            tunnel.withdraw(&self.request_id);
        }
    }
}

/// An open poll, until it is dropped.
struct Polling<'a> {
    plane: &'a Plane,
    id: &'a str,
    news: Arc<tokio::sync::Notify>,
}

impl<'a> Polling<'a> {
    fn start(plane: &'a Plane, id: &'a str) -> Result<Self, Refusal> {
        let mut state = plane.lock();
        if state.polls >= plane.options().max_polls {
            return Err(Refusal::TooManyPolls);
        }
        let (is_first, news) = state.with(plane, id, |tunnel| {
            (tunnel.poll_started(), Arc::clone(&tunnel.news))
        })?;
        state.polls += 1;
        if is_first {
            tracing::info!(tunnel_id = id, "a client polls the tunnel");
        }
        Ok(Self { plane, id, news })
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        let mut state = self.plane.lock();
        state.polls -= 1;
        if let Some(tunnel) = state.tunnels.get_mut(self.id) {
            tunnel.poll_ended(Instant::now());
        }
    }
}
