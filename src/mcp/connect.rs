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
use super::handshake::{self, Era};
use super::http::Http;
use super::http_sse::HttpSse;
use super::observer::Observer;
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

/// Makes clients, and has what they have in common.
pub struct Connector {
    options: PoolOptions,
    /// What the commands speak that were started. They come from the command line or a file, and are
    /// few.
    started: Mutex<HashMap<Command, Era>>,
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

    /// Connects to a server (MCP 2026-07-28, lifecycle).
    pub async fn connect(&self, server: &Server) -> Result<Client, Error> {
        // Some servers take 0 for no id.
        let next_id = AtomicU64::new(1);
        let observer = Observer::new(self.options.on_wire.clone(), server);
        let mut close_timeout = CLOSE_TIMEOUT;
        let (channel, era) = match &server.endpoint {
            Endpoint::Http(url) => {
                self.connect_over_http(url, server, &next_id, &observer)
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
                let era = self.agree_with(command, &channel, &next_id).await?;
                (channel, era)
            }
        };
        let budget = self.options.budget.clone();
        let client = Client::new(channel, era, next_id, observer, budget, close_timeout);
        Ok(client)
    }

    /// Agrees with a server that was started as it did the last time.
    async fn agree_with(
        &self,
        command: &Command,
        channel: &Channel,
        next_id: &AtomicU64,
    ) -> Result<Era, Error> {
        let known = self.lock_started().get(command).cloned();
        let patience = self.options.started_timeout;
        let era = match known {
            Some(Era::Modern) => Ok(Era::Modern),
            Some(Era::Legacy { .. }) => handshake::initialize(channel, next(next_id)).await,
            None => handshake::agree(channel, || next(next_id), patience).await,
        };
        match &era {
            Ok(era) => self.lock_started().insert(command.clone(), era.clone()),
            // It may be another program by now.
            Err(_) => self.lock_started().remove(command),
        };
        era
    }

    fn lock_started(&self) -> MutexGuard<'_, HashMap<Command, Era>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects over Streamable HTTP, or over HTTP+SSE to a server that takes no message at `url`
    /// (MCP 2025-11-25, transports, backwards compatibility).
    async fn connect_over_http(
        &self,
        url: &Url,
        server: &Server,
        next_id: &AtomicU64,
        observer: &Observer,
    ) -> Result<(Channel, Era), Error> {
        self.options.egress.check(url)?;
        let client = self.http(url)?;
        let requests = || Requests::new(client.clone(), server);
        let http = Http::new(
            requests(),
            url,
            self.options.budget.clone(),
            observer.clone(),
        );
        let channel = Channel::new(Transport::Http(http), observer.clone());
        let refusal = match handshake::agree(&channel, || next(next_id), DISCOVER_TIMEOUT).await {
            Ok(era) => return Ok((channel, era)),
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
        let era = handshake::initialize(&channel, next(next_id)).await?;
        Ok((channel, era))
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
