//! `Connector`: makes clients, each over the transport that its server speaks.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use url::Url;

use super::channel::{Channel, Transport};
use super::client::{Client, next};
use super::egress::EgressPolicy;
use super::error::Error;
use super::handshake::{self, Agreed, Era};
use super::http::Http;
use super::http_sse::HttpSse;
use super::observer::{Observer, OnUnasked};
use super::pool::PoolOptions;
use super::requests::Requests;
use super::server::{Command, Endpoint, Server};
use super::stdio::Stdio;
use crate::address;
use crate::outgoing;

/// How long `server/discover` may take; a server that does not answer it may still know `initialize`.
const DISCOVER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long ending a connection may take, beyond what a child process may take to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether a server may send its clients to another path of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Redirects {
    /// As far as the method, the body and the token can go along.
    #[default]
    SameOrigin,
    /// A redirect is a refusal, with its HTTP status.
    Refused,
}

/// A connection to a server that has agreed on how it is spoken to.
pub struct Connection {
    pub channel: Channel,
    pub agreed: Agreed,
    /// The id of the next request.
    pub next_id: AtomicU64,
    pub observer: Observer,
    /// How long ending it may take.
    pub close_timeout: Duration,
}

/// How a server is asked first that may speak both eras of MCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Prefers {
    /// With `server/discover`, as OpenAI's connector asks.
    Discover,
    /// With `initialize`, as older clients do.
    Initialize,
}

/// Makes clients, and has what they have in common.
pub struct Connector {
    options: PoolOptions,
    /// What the commands speak that were started. They come from the command line or a file, and are
    /// few.
    started: Mutex<HashMap<Command, Agreed>>,
    /// Made when it is first needed, for it reads the certificates of the system.
    http: OnceLock<reqwest::Client>,
    /// The one for this machine.
    loopback: OnceLock<reqwest::Client>,
}

impl Connector {
    /// A connector that connects as `options` say.
    pub fn new(options: PoolOptions) -> Self {
        Self {
            options,
            started: Mutex::default(),
            http: OnceLock::new(),
            loopback: OnceLock::new(),
        }
    }

    /// Connects to a server, as a client that lists and calls its tools.
    pub async fn connect(&self, server: &Server) -> Result<Client, Error> {
        let connection = self.open(server, Prefers::Discover, None).await?;
        Ok(Client::new(connection, self.options.budget.clone()))
    }

    /// Connects to a server (MCP 2026-07-28, lifecycle). What it sends by itself goes to `on_unasked`.
    ///
    /// # Errors
    /// Why the server cannot be used.
    pub async fn open(
        &self,
        server: &Server,
        prefers: Prefers,
        on_unasked: Option<OnUnasked>,
    ) -> Result<Connection, Error> {
        // Some servers take 0 for no id.
        let next_id = AtomicU64::new(1);
        let observer = Observer::new(self.options.on_wire.clone(), server).with_unasked(on_unasked);
        let mut close_timeout = CLOSE_TIMEOUT;
        let (channel, agreed) = match &server.endpoint {
            Endpoint::Http(url) => {
                self.options.egress.check(url)?;
                self.connect_over_http(url, server, prefers, &next_id, &observer)
                    .await?
            }
            Endpoint::InProcess(it) => {
                let url = format!("http://localhost{}", it.path).parse();
                let url = url.map_err(|_| Error::NotMcp(format!("{:?} is no path", it.path)))?;
                self.connect_over_http(&url, server, prefers, &next_id, &observer)
                    .await?
            }
            Endpoint::Stdio(command) => {
                close_timeout += 2 * self.options.child_grace;
                let budget = self.options.budget.clone();
                let started = Stdio::start(
                    command,
                    budget,
                    observer.clone(),
                    self.options.on_stderr,
                    self.options.child_grace,
                );
                let channel = Channel::new(Transport::Stdio(started?), observer.clone());
                let agreed = match prefers {
                    Prefers::Discover => self.agree_with(command, &channel, &next_id).await?,
                    Prefers::Initialize => {
                        let offered = &self.options.capabilities;
                        handshake::initialize(&channel, next(&next_id), offered).await?
                    }
                };
                (channel, agreed)
            }
        };
        Ok(Connection {
            channel,
            agreed,
            next_id,
            observer,
            close_timeout,
        })
    }

    /// Agrees with a server that was started as it did the last time.
    async fn agree_with(
        &self,
        command: &Command,
        channel: &Channel,
        next_id: &AtomicU64,
    ) -> Result<Agreed, Error> {
        let known = self.lock_started().get(command).cloned();
        let patience = self.options.started_timeout;
        let offered = &self.options.capabilities;
        let agreed = match known {
            Some(known) if known.era == Era::Modern => Ok(known),
            Some(_) => handshake::initialize(channel, next(next_id), offered).await,
            None => handshake::agree(channel, || next(next_id), patience, offered).await,
        };
        match &agreed {
            Ok(agreed) => self.lock_started().insert(command.clone(), agreed.clone()),
            // It may be another program by now.
            Err(_) => self.lock_started().remove(command),
        };
        agreed
    }

    fn lock_started(&self) -> MutexGuard<'_, HashMap<Command, Agreed>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects over Streamable HTTP, or over HTTP+SSE to a server that takes no message at `url`
    /// (MCP 2025-11-25, transports, backwards compatibility).
    async fn connect_over_http(
        &self,
        url: &Url,
        server: &Server,
        prefers: Prefers,
        next_id: &AtomicU64,
        observer: &Observer,
    ) -> Result<(Channel, Agreed), Error> {
        let client = self.http(url)?;
        let requests = || Requests::new(client.clone(), server);
        let http = Http::new(
            requests(),
            url,
            self.options.budget.clone(),
            observer.clone(),
        );
        let channel = Channel::new(Transport::Http(http), observer.clone());
        let offered = &self.options.capabilities;
        if prefers == Prefers::Initialize
            && let Ok(agreed) = handshake::initialize(&channel, next(next_id), offered).await
        {
            return Ok((channel, agreed));
        }
        let ids = || next(next_id);
        let refusal = match handshake::agree(&channel, ids, DISCOVER_TIMEOUT, offered).await {
            Ok(agreed) => return Ok((channel, agreed)),
            Err(error) if handshake::may_be_older(&error) => error,
            Err(error) => return Err(error),
        };
        // What is no such stream either is told by its refusal of a message.
        let Ok(older) =
            HttpSse::open(requests(), url, &self.options.budget, observer.clone()).await
        else {
            return Err(refusal);
        };
        let channel = Channel::new(Transport::HttpSse(older), observer.clone());
        let agreed = handshake::initialize(&channel, next(next_id), offered).await?;
        Ok((channel, agreed))
    }

    fn http(&self, url: &Url) -> Result<reqwest::Client, Error> {
        let made = if address::is_loopback(url) {
            &self.loopback
        } else {
            &self.http
        };
        if let Some(client) = made.get() {
            return Ok(client.clone());
        }
        let egress = self.options.egress;
        let redirects = match self.options.redirects {
            Redirects::SameOrigin => {
                reqwest::redirect::Policy::custom(move |attempt| same_origin(attempt, egress))
            }
            Redirects::Refused => reqwest::redirect::Policy::none(),
        };
        let client = egress
            .guard(outgoing::client_for(url))
            .redirect(redirects)
            .build()
            .map_err(Error::Setup)?;
        Ok(made.get_or_init(|| client).clone())
    }
}

/// Follows a redirect that keeps the method, the body and the origin, and no other: a token must
/// not reach a host that the user did not name. Where it leads is checked as the first URL was.
fn same_origin(
    attempt: reqwest::redirect::Attempt<'_>,
    egress: EgressPolicy,
) -> reqwest::redirect::Action {
    const MOST_HOPS: usize = 3;
    let keeps_method = matches!(attempt.status().as_u16(), 307 | 308);
    let keeps_origin = attempt
        .previous()
        .last()
        .is_some_and(|from| from.origin() == attempt.url().origin());
    let is_allowed = egress.check(attempt.url()).is_ok();
    if keeps_method && keeps_origin && is_allowed && attempt.previous().len() <= MOST_HOPS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}
