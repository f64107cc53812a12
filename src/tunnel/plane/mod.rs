//! The control plane of a Secure MCP Tunnel on this machine: connectors ask, tunnel clients poll for what was
//! asked and post the answers. `fixtures/tunnel/openapi.json` is the contract of its clients.
//!
//! What the hosted control plane does where the contract is silent is not known; the choices here are those
//! of OpenAI's own local test tool where it has one.

mod headers;
mod http;
mod id;
mod refusal;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::sync::{Notify, mpsc};

use id::Ids;
use refusal::Refusal;

pub use http::{for_connectors, for_engine};

/// How long after a poll a client counts as connected, and as seen.
const CONNECTED: Duration = Duration::from_secs(20);
const SEEN: Duration = Duration::from_secs(300);
/// How many notes of one answer wait for their connector.
const MOST_NOTES: usize = 16;

/// What bounds a control plane.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a connector waits for its answer. Progress does not extend it.
    pub answer: Duration,
    /// The longest that a poll is held.
    pub poll: Duration,
    /// How many commands wait for the client of one tunnel.
    pub queue: usize,
    /// How many tunnels there may be.
    pub tunnels: usize,
    /// The most bytes of a body.
    pub max_body: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(60),
            poll: Duration::from_secs(30),
            queue: 100,
            tunnels: 1000,
            max_body: 16 * 1024 * 1024,
        }
    }
}

/// The control plane. Cloning shares it.
#[derive(Clone)]
pub struct Plane(Arc<Inner>);

struct Inner {
    ids: Ids,
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tunnels: HashMap<String, Tunnel>,
    /// Ids that were made here and are no more.
    deleted: HashSet<String>,
}

/// A tunnel. One that was made before the control plane was started again begins empty.
#[derive(Default)]
struct Tunnel {
    /// What its maker says of it: `name`, `description` and the like.
    fields: Map<String, Value>,
    queue: VecDeque<Command>,
    pending: HashMap<String, Pending>,
    /// Polls that are held now, and when the last one ended.
    polls: usize,
    last_poll: Option<Instant>,
    /// Wakes those who poll.
    news: Arc<Notify>,
}

/// A command, as a client gets it.
#[derive(Debug, Serialize)]
struct Command {
    request_id: String,
    shard_token: String,
    command_type: &'static str,
    channel: String,
    created_at: String,
    response_timeout: String,
    headers: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jsonrpc: Option<Box<RawValue>>,
}

/// A connector that waits.
struct Pending {
    shard_token: String,
    answers: mpsc::Sender<Posted>,
}

/// What a client posts.
#[derive(Debug, Deserialize)]
struct Posted {
    request_id: String,
    #[serde(default)]
    resp_json: Option<Box<RawValue>>,
    #[serde(default)]
    resp_headers: BTreeMap<String, Vec<String>>,
    resp_code: u16,
    #[serde(default)]
    resp_type: ResponseType,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ResponseType {
    #[default]
    JsonrpcResponse,
    JsonrpcNotify,
    NotifyAck,
    SessionTerminationResponse,
    #[serde(other)]
    Other,
}

/// What a connector asks.
struct Asked {
    channel: String,
    headers: BTreeMap<String, Vec<String>>,
    /// Without one, the session ends.
    jsonrpc: Option<Box<RawValue>>,
}

/// A connector's place. Dropping it takes the command back.
struct Place {
    plane: Plane,
    tunnel: String,
    request: String,
    answers: mpsc::Receiver<Posted>,
    until: tokio::time::Instant,
}

impl Plane {
    /// A control plane whose tunnels are of the holders of `key`.
    pub fn new(key: &str, limits: Limits) -> Self {
        Self(Arc::new(Inner {
            ids: Ids::of(key),
            limits,
            state: Mutex::default(),
        }))
    }

    /// Runs `work` on a tunnel.
    fn with<T>(&self, id: &str, work: impl FnOnce(&mut Tunnel) -> T) -> Result<T, Refusal> {
        if !id::is_id(id) {
            return Err(Refusal::TunnelId);
        }
        let mut state = self.lock();
        if !state.tunnels.contains_key(id) {
            if !self.0.ids.knows(id) || state.deleted.contains(id) {
                return Err(Refusal::Unknown);
            }
            if state.tunnels.len() >= self.0.limits.tunnels {
                return Err(Refusal::TooMany);
            }
        }
        Ok(work(state.tunnels.entry(id.to_owned()).or_default()))
    }

    /// A new tunnel.
    fn create(&self, fields: Map<String, Value>) -> Result<String, Refusal> {
        let id = self.0.ids.make();
        self.with(&id, |tunnel| tunnel.fields = fields)?;
        Ok(id)
    }

    fn delete(&self, id: &str) -> Result<(), Refusal> {
        self.with(id, |_| ())?;
        let mut state = self.lock();
        state.tunnels.remove(id);
        if state.deleted.len() >= self.0.limits.tunnels {
            state.deleted.clear();
        }
        state.deleted.insert(id.to_owned());
        Ok(())
    }

    /// Queues what a connector asks, if a client polls the tunnel.
    fn ask(&self, id: &str, asked: Asked) -> Result<Place, Refusal> {
        let (sender, answers) = mpsc::channel(MOST_NOTES + 1);
        let request = format!("treq_{:032x}", rand::random::<u128>());
        let limits = &self.0.limits;
        self.with(id, |tunnel| {
            tunnel.check_client()?;
            if tunnel.queue.len() >= limits.queue || tunnel.pending.len() >= 2 * limits.queue {
                return Err(Refusal::QueueFull);
            }
            let shard_token = format!("{:032x}", rand::random::<u128>());
            tunnel.queue.push_back(Command {
                request_id: request.clone(),
                shard_token: shard_token.clone(),
                command_type: match asked.jsonrpc {
                    Some(_) => "jsonrpc",
                    None => "session_termination",
                },
                channel: asked.channel,
                created_at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
                // A client that drops what is late works for nobody less.
                response_timeout: format!("{}ms", limits.answer.as_millis()),
                headers: asked.headers,
                jsonrpc: asked.jsonrpc,
            });
            let pending = Pending {
                shard_token,
                answers: sender,
            };
            tunnel.pending.insert(request.clone(), pending);
            tunnel.news.notify_waiters();
            Ok(())
        })??;
        Ok(Place {
            plane: self.clone(),
            tunnel: id.to_owned(),
            request,
            answers,
            until: tokio::time::Instant::now() + limits.answer,
        })
    }

    /// Commands for a client, each once; none if there are none within `wait`.
    async fn poll(
        &self,
        id: &str,
        most: usize,
        channels: &[String],
        wait: Duration,
    ) -> Result<Vec<Command>, Refusal> {
        let news = self.with(id, |tunnel| {
            tunnel.polls += 1;
            Arc::clone(&tunnel.news)
        })?;
        let _polling = Polling { plane: self, id };
        let until = tokio::time::Instant::now() + wait.min(self.0.limits.poll);
        loop {
            // It knows of all news from here on, so that none is missed while the queue is looked at.
            let notified = news.notified();
            let commands = self.with(id, |tunnel| tunnel.take(most, channels))?;
            if !commands.is_empty() {
                return Ok(commands);
            }
            if tokio::time::timeout_at(until, notified).await.is_err() {
                return Ok(Vec::new());
            }
        }
    }

    /// Gives an answer to the connector that waits for it.
    fn answer(&self, id: &str, shard_token: &str, posted: Posted) -> Result<(), Refusal> {
        self.with(id, |tunnel| {
            let pending = tunnel.pending.get(&posted.request_id);
            let pending = pending.ok_or(Refusal::NobodyWaits)?;
            if pending.shard_token != shard_token {
                return Err(Refusal::ShardToken);
            }
            match posted.resp_type {
                ResponseType::Other => Err(Refusal::ResponseType),
                ResponseType::JsonrpcNotify => {
                    // One place is kept for the end. A note too many is dropped.
                    if pending.answers.capacity() > 1 {
                        let _ = pending.answers.try_send(posted);
                    }
                    Ok(())
                }
                _ => {
                    let pending = tunnel.pending.remove(&posted.request_id);
                    let sent = pending.map(|it| it.answers.try_send(posted));
                    match sent {
                        Some(Ok(())) => Ok(()),
                        _ => Err(Refusal::NobodyWaits),
                    }
                }
            }
        })?
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tunnel {
    /// Whether a client takes commands.
    fn check_client(&self) -> Result<(), Refusal> {
        let since = self.last_poll.map(|it| it.elapsed());
        match since {
            _ if self.polls > 0 => Ok(()),
            Some(since) if since < CONNECTED => Ok(()),
            Some(since) if since < SEEN => Err(Refusal::NotConnected),
            _ => Err(Refusal::NotSeen),
        }
    }

    fn take(&mut self, most: usize, channels: &[String]) -> Vec<Command> {
        let mut taken = Vec::new();
        let mut rest = VecDeque::new();
        for command in self.queue.drain(..) {
            let is_wanted = channels.is_empty() || channels.contains(&command.channel);
            match taken.len() < most && is_wanted {
                true => taken.push(command),
                false => rest.push_back(command),
            }
        }
        self.queue = rest;
        taken
    }
}

impl Place {
    /// What comes next; the deadline is that of the whole answer.
    async fn next(&mut self) -> Result<Posted, Refusal> {
        let answer = tokio::time::timeout_at(self.until, self.answers.recv()).await;
        answer.ok().flatten().ok_or(Refusal::Late)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.plane.with(&self.tunnel, |tunnel| {
            tunnel.pending.remove(&self.request);
            tunnel.queue.retain(|it| it.request_id != self.request);
        });
    }
}

/// A poll that is held, until it is dropped.
struct Polling<'a> {
    plane: &'a Plane,
    id: &'a str,
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        let _ = self.plane.with(self.id, |tunnel| {
            tunnel.polls = tunnel.polls.saturating_sub(1);
            tunnel.last_poll = Some(Instant::now());
        });
    }
}
