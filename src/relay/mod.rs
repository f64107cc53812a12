//! A user's MCP server behind the door of `serve`: JSON-RPC is passed on as it is, over any transport, in
//! front of clients of both eras of MCP.
//!
//! The relay answers itself what is about the connection: `initialize`, `server/discover`, `ping`. All
//! else goes to the server with another id, and what comes back goes to the caller that it is for.

mod about;
mod allowed;
mod asked;
mod caller;
mod copies;
mod exchange;
mod failure;
mod headers;
mod http;
mod message;
mod running;
mod stdio;
mod upstream;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::http::HeaderMap;
use serde_json::json;

use self::asked::{To, Waiting};
use self::caller::{Caller, Session};
use self::copies::Copies;
use self::exchange::{Exchange, Reply};
use self::message::Params;
use self::running::Running;
use self::upstream::{Call, Upstream};
use crate::http::{CallerFrom, Message, Sessions};
use crate::mcp::{self, MAX_ANSWER, PoolOptions, Server};

pub use self::about::Name;
pub use self::allowed::Allowed;
pub use self::copies::{Limits, Processes};
pub use self::failure::Failure;

/// How many pages of tools are looked at to find out which may be called.
const MOST_PAGES: usize = 100;

/// A server behind the door.
pub struct Relay {
    copies: Arc<Copies>,
    allowed: Allowed,
    waiting: Waiting,
    running: Running,
    sessions: Sessions,
    open: Mutex<HashMap<String, Arc<Session>>>,
    options: Options,
}

/// How a server is relayed.
pub struct Options {
    pub limits: Limits,
    pub allowed: Allowed,
    /// Keep a session for every client older than MCP 2026-07-28, not only for those that serve
    /// requests of the server.
    pub sessions: bool,
    /// Finds the caller of a request.
    pub caller_from: CallerFrom,
}

/// What comes of a message.
enum Begun {
    /// The answer, if it has one.
    Now(Option<Reply>),
    Exchange(Box<Exchange>),
}

impl Relay {
    /// A relay to `server`, which is connected to as `pool` says.
    pub fn new(server: Server, pool: PoolOptions, mut options: Options) -> Arc<Self> {
        let pool = PoolOptions {
            // Whether a caller serves what it is asked, is known when it is asked.
            capabilities: json!({
                "elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {"listChanged": true},
            }),
            ..pool
        };
        let copies = Copies::new(mcp::Connector::new(pool), server, options.limits.clone());
        Arc::new(Self {
            copies,
            allowed: std::mem::take(&mut options.allowed),
            waiting: Waiting::default(),
            running: Running::default(),
            sessions: Sessions::new(options.caller_from),
            open: Mutex::default(),
            options,
        })
    }

    /// Connects to the server before anybody asks, and returns its name.
    ///
    /// # Errors
    /// The server cannot be used.
    pub async fn start(&self) -> Result<Option<Name>, Failure> {
        let nobody = Caller {
            is_modern: true,
            offered: caller::Offered::default(),
            who: None,
            session: None,
        };
        let upstream = self.copies.get(&nobody).await?;
        Ok(about::name(&upstream.connection.agreed))
    }

    /// Ends all connections to the server.
    pub async fn close(&self) {
        self.copies.close().await;
    }

    /// Takes a message of a caller. `headers` are those of a request over HTTP.
    async fn begin(
        self: &Arc<Self>,
        caller: Caller,
        message: Message,
        headers: Option<&HeaderMap>,
    ) -> Result<Begun, Failure> {
        let params = Params::of(&message);
        if !message.is_request() {
            self.take(&caller, &message, &params).await;
            return Ok(Begun::Now(None));
        }
        let id = message.id().cloned().unwrap_or_default();
        let result = |result: &str| Ok(Begun::Now(Some(Reply::result(&id, result))));
        let method = message.method.as_deref().unwrap_or_default();
        match (method, caller.is_modern) {
            ("ping" | "initialize", true) => return Err(Failure::unknown_method(method)),
            ("ping", false) => return result("{}"),
            ("server/discover", _) => {
                let upstream = self.copies.get(&caller).await?;
                return result(&about::discovered(&upstream.connection.agreed));
            }
            ("initialize", false) => {
                let upstream = self.copies.get(&caller).await?;
                let asked = params.protocol_version.as_deref().unwrap_or_default();
                let version = match &caller.session {
                    Some(session) => session.version,
                    None => about::version(asked),
                };
                let agreed = &upstream.connection.agreed;
                return result(&about::initialized(agreed, version));
            }
            ("logging/setLevel", false) => {
                let upstream = self.copies.get(&caller).await?;
                if upstream.connection.agreed.era == mcp::Era::Modern {
                    if let (Some(session), Some(level)) = (&caller.session, params.level) {
                        session.set_log_level(level.into_owned());
                    }
                    return result("{}");
                }
            }
            _ => {}
        }
        if let Some(state) = params.request_state.as_deref()
            && let Some(mut parked) = self.waiting.unpark(state, &caller)
        {
            let responses = params.input_responses.as_ref();
            let response = responses.and_then(|it| it.values().next());
            let exchange = &mut parked.exchange;
            let response = response.map(|it| &**it);
            exchange.resume(&message, &parked.id, response).await?;
            return Ok(Begun::Exchange(Box::new(parked.exchange)));
        }
        let call = self.call(&caller, &message, headers).await?;
        let exchange = Exchange::new(Arc::clone(self), caller, message, call);
        Ok(Begun::Exchange(Box::new(exchange)))
    }

    /// Takes a notification, or the answer to a request of the server's.
    async fn take(&self, caller: &Caller, message: &Message, params: &Params<'_>) {
        match message.method.as_deref() {
            // The relay has done that itself.
            Some("notifications/initialized") => {}
            Some("notifications/cancelled") => {
                if let Some(id) = params.request_id {
                    self.running.cancel(caller, id.get().as_bytes());
                }
            }
            Some(_) => {
                let Ok(upstream) = self.copies.get(caller).await else {
                    return;
                };
                let era = &upstream.connection.agreed.era;
                // A modern server takes none from its clients.
                if *era != mcp::Era::Modern {
                    let text = message::notification(message, params, caller, era);
                    let _ = upstream.notify(text).await;
                }
            }
            None => self.take_answer(caller, message).await,
        }
    }

    async fn take_answer(&self, caller: &Caller, message: &Message) {
        let id = message.id().map(|it| serde_json::from_slice::<String>(it));
        let Some(Ok(id)) = id else {
            return;
        };
        match self.waiting.take(&id, caller) {
            Some(To::Server(upstream, server_id)) => {
                let (Some(upstream), Some(place)) = (upstream.upgrade(), message.place_of_id())
                else {
                    return;
                };
                let parts = [(&place, server_id.get().as_bytes())];
                let text = mcp::channel::splice(&message.body, &parts);
                let _ = upstream.notify(text).await;
            }
            Some(To::Exchange(name, sender)) => {
                let text = String::from_utf8_lossy(&message.body).into_owned();
                let _ = sender.send((name, text)).await;
            }
            None => {}
        }
    }

    /// Sends a request of a caller to the server, if the door lets it pass.
    async fn call(
        &self,
        caller: &Caller,
        message: &Message,
        headers: Option<&HeaderMap>,
    ) -> Result<Call, Failure> {
        let upstream = self.copies.get(caller).await?;
        if message.asks_for("tools/call") && !self.allowed.is_all() {
            let params = Params::of(message);
            let name = params.name.as_deref().unwrap_or_default();
            if !self.lets_pass(&upstream, name).await? {
                return Err(Failure::not_allowed(name));
            }
        }
        // A modern server on HTTP checks its headers itself.
        if let Some(headers) = headers.filter(|_| caller.is_modern && !upstream.sends_headers())
            && message.asks_for("tools/call")
        {
            let params = Params::of(message);
            headers::check_arguments(headers, &params, &upstream.header_tools())?;
        }
        Ok(call_on(&upstream, caller, message, headers))
    }

    /// Whether a tool may be called. What only reads is known when the tools were listed.
    async fn lets_pass(&self, upstream: &Arc<Upstream>, name: &str) -> Result<bool, Failure> {
        if let Some(passes) = self.allowed.passes(name) {
            return Ok(passes);
        }
        let mut cursor: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let meta = match upstream.connection.agreed.era {
                mcp::Era::Modern => json!(*mcp::REQUEST_META),
                mcp::Era::Legacy { .. } => json!({}),
            };
            let mut params = json!({"_meta": meta});
            if let Some(cursor) = cursor {
                params["cursor"] = cursor.into();
            }
            let id = upstream.next_id();
            let request = mcp::channel::Request::new(id, "tools/list", &params, MAX_ANSWER);
            let mut request = request.map_err(|error| Failure::of(&error))?;
            if upstream.sends_headers() {
                request.headers = mcp::headers_for("tools/list", None);
            }
            let answer = upstream.ask(request).await;
            let answer = answer.map_err(|error| Failure::of(&error))?;
            let listed = answer.outcome().ok();
            let listed = listed.and_then(|it| self.allowed.filtered(it));
            let (_, next) = listed.ok_or_else(Failure::not_a_list)?;
            match next {
                Some(next) if self.allowed.passes(name).is_none() => cursor = Some(next),
                _ => break,
            }
        }
        Ok(self.allowed.passes(name).unwrap_or(false))
    }

    /// The session with this id.
    fn session(&self, id: &str) -> Option<Arc<Session>> {
        let session = self.lock_open().get(id).cloned();
        session.inspect(|it| it.touch())
    }

    fn lock_open(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a request of a caller on a connection.
fn call_on(
    upstream: &Arc<Upstream>,
    caller: &Caller,
    message: &Message,
    headers: Option<&HeaderMap>,
) -> Call {
    let params = Params::of(message);
    let id = upstream.next_id();
    let text = message::outgoing(
        message,
        &params,
        id,
        caller,
        &upstream.connection.agreed.era,
    );
    let method = message.method.clone().unwrap_or_default();
    let headers = match upstream.sends_headers() {
        true => match headers.filter(|_| caller.is_modern) {
            Some(headers) => headers::of_modern(headers, &method, &params),
            None => headers::of_older(&method, &params, &upstream.header_tools()),
        },
        false => HeaderMap::new(),
    };
    let request = Upstream::request(id, method, text, headers);
    let theirs = message.id().and_then(|it| serde_json::from_slice(it).ok());
    let theirs = theirs.unwrap_or_default();
    upstream.call(
        request,
        caller.offered,
        params.meta().progress_token,
        theirs,
    )
}

/// The longest message that is passed on, in bytes.
pub const MAX_MESSAGE: u64 = 8 * 1024 * 1024;
/// The most bytes that it takes once it is parsed, which the relay does not do.
pub const MAX_PARSED: u64 = 8 * MAX_MESSAGE;
