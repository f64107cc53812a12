//! `Client`: one connection to an MCP server, and `Connector`, which makes them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use url::Url;

use super::channel::{Answer, Channel, Request, Transport};
use super::egress::EgressPolicy;
use super::error::{Error, RpcError};
use super::excess::{Excess, MAX_ANSWER, MAX_PARSED};
use super::fault::Fault;
use super::handshake::{self, Era};
use super::http::Http;
use super::http_sse::HttpSse;
use super::observer::{Observer, OnWire};
use super::page::{HeaderTools, NextCursor, Page, ToolList};
use super::param_headers;
use super::remark::Remark;
use super::requests::Requests;
use super::said::OnStderr;
use super::server::{Endpoint, Server};
use super::stdio::Stdio;
use super::tool::{CallResult, JsonObject};
use crate::address;
use crate::budget::{Budget, Held, parsed_size};
use crate::outgoing;

/// How long ending a connection may take, beyond what a child process may take to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a server may answer a call with the request to make it once more.
const MOST_ROUNDS: u32 = 10;
/// How long the first such round is waited for; each further one takes twice as long.
const FIRST_ROUND: Duration = Duration::from_millis(50);
/// How many characters of a cursor are shown.
const MAX_CURSOR: usize = 40;
/// How long a server may take to accept the notification that a request was cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a server may send its clients to another path of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Redirects {
    /// As far as the method, the body and the token can go along.
    #[default]
    SameOrigin,
    /// A redirect is a refusal, with its HTTP status.
    Refused,
}

/// What came of a call.
#[derive(Debug)]
pub struct Called {
    pub result: CallResult,
    /// The share of the budget that it takes.
    pub held: Held,
}

/// A connected client. Dropping it ends the connection.
pub struct Client {
    channel: Arc<Channel>,
    era: Era,
    next_id: AtomicU64,
    /// Those of the last list.
    header_tools: Mutex<HeaderTools>,
    observer: Observer,
    budget: Budget,
    /// Notifications that requests were cancelled, on their way.
    cancellations: TaskTracker,
    close_timeout: Duration,
}

/// The parameters of the requests that a client makes.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Params<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a JsonObject>,
    /// What the server wants back with the next round of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_state: Option<&'a str>,
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    meta: Option<Meta>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(flatten)]
    modern: Option<&'static JsonObject>,
    /// Progress shows a proxy on the way that the connection is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress_token: Option<u64>,
}

impl Client {
    /// All pages of `tools/list`, as long as there is an end to them (MCP 2026-07-28, tools/list).
    pub async fn list(&self) -> Result<ToolList, Error> {
        let mut list = ToolList {
            tools: Vec::new(),
            pages: 0,
            bytes: 0,
            remarks: Vec::new(),
            unreadable: Vec::new(),
            held: self.budget.empty(),
        };
        let mut header_tools = HeaderTools::new();
        let mut cursors = HashSet::new();
        let mut cursor = None;
        loop {
            let (page, held) = self.page(cursor.as_deref(), list.places()).await?;
            list.held.merge(held);
            list.pages += 1;
            list.bytes += page.bytes;
            list.tools.extend(page.tools);
            list.unreadable.extend(page.unreadable);
            list.check_limits()?;
            header_tools.extend(page.header_tools);
            let next = match page.next_cursor {
                NextCursor::None => break,
                NextCursor::Null => {
                    self.observer.add(Remark::NullCursor);
                    break;
                }
                NextCursor::Some(next) => next,
            };
            if next.is_empty() {
                self.observer.add(Remark::EmptyCursor);
            }
            if !cursors.insert(next.clone()) {
                let shown: String = next.chars().take(MAX_CURSOR).collect();
                return Err(Error::NotMcp(format!(
                    "its list of tools has no end: page {} has the `nextCursor` {shown:?} of an earlier page",
                    list.pages
                )));
            }
            cursor = Some(next);
        }
        *self.lock_header_tools() = header_tools;
        list.remarks = self.observer.remarks();
        Ok(list)
    }

    async fn page(&self, cursor: Option<&str>, first: usize) -> Result<(Page, Held), Error> {
        let params = Params {
            cursor,
            ..Params::default()
        };
        let mut answer = self
            .ask("tools/list", params, param_headers::for_list)
            .await?;
        let size = hold_parsed(&mut answer, MAX_PARSED)?;
        let result = answer.outcome().map_err(RpcError::read)?;
        let page = Page::read(result, first, self.sends_headers())?;
        let mut held = answer.held;
        held.shrink_to(size);
        Ok((page, held))
    }

    /// Calls the tool `name` (MCP 2026-07-28, tools/call). Dropping the future cancels the call.
    pub async fn call(&self, name: &str, arguments: &JsonObject) -> Result<Called, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Round {
            result_type: Option<String>,
            input_requests: Option<Value>,
            request_state: Option<String>,
        }
        let annotated = self.lock_header_tools().get(name).cloned();
        let headers = || {
            let annotated = annotated.as_deref().unwrap_or_default();
            param_headers::for_call(name, arguments, annotated)
        };
        let mut state: Option<String> = None;
        for round in 0..MOST_ROUNDS {
            let params = Params {
                name: Some(name),
                arguments: Some(arguments),
                request_state: state.as_deref(),
                ..Params::default()
            };
            let asked = self.ask("tools/call", params, headers).await;
            let mut answer = asked.map_err(Error::prefer_rejection)?;
            let size = hold_parsed(&mut answer, MAX_PARSED)?;
            let result = answer.outcome().map_err(RpcError::read)?;
            let told: Round = serde_json::from_str(result).map_err(Fault::from)?;
            if told.result_type.is_none_or(|it| it == "complete") {
                let result = serde_json::from_str(result).map_err(Fault::from)?;
                let mut held = answer.held;
                held.shrink_to(size);
                return Ok(Called { result, held });
            }
            // MCP 2026-07-28, multi round-trip requests. This client has offered no input.
            let wanted = told.input_requests.as_ref().and_then(Value::as_object);
            if wanted.is_some_and(|it| !it.is_empty()) {
                return Err(Error::NotMcp(
                    "it asks for input that this client does not offer".to_owned(),
                ));
            }
            state = told.request_state;
            tokio::time::sleep(FIRST_ROUND * 2_u32.pow(round.min(3))).await;
        }
        Err(Error::NotMcp(format!(
            "the call was to be made again {MOST_ROUNDS} times"
        )))
    }

    /// Sends a request, and waits for its answer. Dropping the future cancels the request.
    async fn ask(
        &self,
        method: &'static str,
        mut params: Params<'_>,
        headers: impl FnOnce() -> HeaderMap,
    ) -> Result<Answer, Error> {
        let id = next(&self.next_id);
        let modern = (self.era == Era::Modern).then_some(&*handshake::REQUEST_META);
        let progress_token = params.name.map(|_| id);
        if modern.is_some() || progress_token.is_some() {
            params.meta = Some(Meta {
                modern,
                progress_token,
            });
        }
        let mut request = Request::new(id, method, &params, MAX_ANSWER)?;
        if self.sends_headers() {
            request.headers = headers();
        }
        let mut cancel = CancelOnDrop {
            client: self,
            id: Some(id),
        };
        let answer = self.channel.request(&request).await;
        cancel.id = None;
        answer
    }

    /// Whether its requests repeat parts of them in headers (MCP 2026-07-28, Streamable HTTP).
    fn sends_headers(&self) -> bool {
        self.era == Era::Modern && self.channel.http().is_some()
    }

    /// The version of MCP that was agreed on.
    pub fn version(&self) -> &str {
        self.era.version()
    }

    /// Whether nothing can be asked on it any more.
    pub fn is_closed(&self) -> bool {
        self.channel.is_closed()
    }

    /// Ends the connection, and the session or the process behind it. A server that does not answer is
    /// left.
    pub async fn close(self) {
        let closing = async {
            self.cancellations.close();
            self.cancellations.wait().await;
            self.channel.close().await;
        };
        let _ = timeout(self.close_timeout, closing).await;
    }

    /// Tells the server that nobody waits for the answer to a request any more. A modern server on
    /// HTTP learns it from the connection (MCP 2026-07-28, cancellation).
    fn cancel(&self, id: u64) {
        if self.sends_headers() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let cancelled = json!({
            "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id},
        });
        let message = Bytes::from(cancelled.to_string());
        let channel = Arc::clone(&self.channel);
        let sending = async move {
            // Without a connection there is nothing to cancel.
            let _ = timeout(CANCEL_TIMEOUT, channel.notify(message)).await;
        };
        self.cancellations.spawn_on(sending, &runtime);
    }

    fn lock_header_tools(&self) -> MutexGuard<'_, HeaderTools> {
        self.header_tools
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn next(id: &AtomicU64) -> u64 {
    id.fetch_add(1, Ordering::Relaxed)
}

/// Holds what the result or the error takes once it is parsed, and returns that.
fn hold_parsed(answer: &mut Answer, limit: u64) -> Result<u64, Fault> {
    let (Ok(json) | Err(json)) = answer.outcome();
    let size = parsed_size(json.as_bytes());
    if size > limit {
        return Err(Excess::Parsed(limit).into());
    }
    answer.held.grow(size)?;
    Ok(size)
}

/// Cancels a request whose future is dropped before the answer came.
struct CancelOnDrop<'a> {
    client: &'a Client,
    id: Option<u64>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.client.cancel(id);
        }
    }
}

/// Makes clients, and has what they have in common.
pub struct Connector {
    egress: EgressPolicy,
    redirects: Redirects,
    budget: Budget,
    child_grace: Duration,
    on_stderr: OnStderr,
    on_wire: Option<OnWire>,
    /// Made when it is first needed, for it reads the certificates of the system.
    http: OnceLock<reqwest::Client>,
    /// The one for this machine.
    loopback: OnceLock<reqwest::Client>,
}

impl Connector {
    /// A connector that connects where `egress` allows. What is read is held of `budget`; a child process
    /// has `child_grace` to end, and as long again when it was told to.
    pub fn new(
        egress: EgressPolicy,
        redirects: Redirects,
        budget: Budget,
        child_grace: Duration,
        on_stderr: OnStderr,
        on_wire: Option<OnWire>,
    ) -> Self {
        Self {
            egress,
            redirects,
            budget,
            child_grace,
            on_stderr,
            on_wire,
            http: OnceLock::new(),
            loopback: OnceLock::new(),
        }
    }

    /// Connects to a server (MCP 2026-07-28, lifecycle).
    pub async fn connect(&self, server: &Server) -> Result<Client, Error> {
        // Some servers take 0 for no id.
        let next_id = AtomicU64::new(1);
        let observer = Observer::new(self.on_wire.clone(), server);
        let mut close_timeout = CLOSE_TIMEOUT;
        let (channel, era) = match &server.endpoint {
            Endpoint::Http(url) => {
                self.connect_over_http(url, server, &next_id, &observer)
                    .await?
            }
            Endpoint::Stdio(command) => {
                close_timeout += 2 * self.child_grace;
                let budget = self.budget.clone();
                let started = Stdio::start(
                    command,
                    budget,
                    observer.clone(),
                    self.on_stderr,
                    self.child_grace,
                );
                let channel = Channel::new(Transport::Stdio(started?), observer.clone());
                let era = handshake::agree(&channel, || next(&next_id)).await?;
                (channel, era)
            }
        };
        Ok(Client {
            channel: Arc::new(channel),
            era,
            next_id,
            header_tools: Mutex::default(),
            observer,
            budget: self.budget.clone(),
            cancellations: TaskTracker::new(),
            close_timeout,
        })
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
        self.egress.check(url)?;
        let client = self.http(url)?;
        let requests = || Requests::new(client.clone(), server);
        let http = Http::new(requests(), url, self.budget.clone(), observer.clone());
        let channel = Channel::new(Transport::Http(http), observer.clone());
        let refusal = match handshake::agree(&channel, || next(next_id)).await {
            Ok(era) => return Ok((channel, era)),
            Err(error) if handshake::may_be_older(&error) => error,
            Err(error) => return Err(error),
        };
        // What is no such stream either is told by its refusal of a message.
        let Ok(older) = HttpSse::open(requests(), url, &self.budget, observer.clone()).await else {
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
        let egress = self.egress;
        let redirects = match self.redirects {
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

#[cfg(test)]
mod tests {
    use super::super::channel::read_answer;
    use super::*;

    #[test]
    fn an_answer_is_held_with_what_it_takes_once_it_is_parsed() {
        let request = Request::new(1, "tools/call", &json!({}), MAX_ANSWER).unwrap();
        let answer = |result: &str, budget: &Budget| {
            let text = format!(r#"{{"jsonrpc": "2.0", "id": 1, "result": {result}}}"#);
            let held = budget.hold(text.len() as u64).unwrap();
            read_answer(&request, text.into_bytes(), held, &Observer::default()).unwrap()
        };
        let result = r#"{"content": [{"type": "text", "text": "a"}, {}, {}]}"#;
        let budget = Budget::new(1_000_000);
        let mut fits = answer(result, &budget);
        let size = hold_parsed(&mut fits, MAX_PARSED).unwrap();
        assert_eq!(size, parsed_size(result.as_bytes()));
        assert!(budget.used() > size);

        let budget = Budget::new(2000);
        let mut too_large = answer(result, &budget);
        let fault = hold_parsed(&mut too_large, MAX_PARSED).unwrap_err();
        assert!(matches!(fault, Fault::Exhausted(_)), "{fault}");
        drop(too_large);
        assert_eq!(budget.used(), 0);

        let many = format!("[{}0]", "{},".repeat(600_000));
        let fault = hold_parsed(&mut answer(&many, &Budget::unlimited()), MAX_PARSED);
        assert_eq!(
            fault.unwrap_err().to_string(),
            "an answer that takes more than 96 MiB in memory"
        );
    }
}
