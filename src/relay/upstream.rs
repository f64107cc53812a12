//! `Upstream`: one connection to the server behind the relay, and the calls that are made on it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use futures::future::BoxFuture;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::caller::Offered;
use super::message;
use crate::mcp::channel::{Answer, Request};
use crate::mcp::{
    self, Connection, Connector, HeaderTools, MAX_ANSWER, Page, Prefers, Server, Unasked,
};

/// How many messages of the server wait for a caller that does not read them, and how many bytes.
const MOST_WAITING: usize = 256;
const MAX_WAITING: usize = 4 * 1024 * 1024;
/// How many notifications wait for those who listen to all of them.
const MOST_TOLD: usize = 256;
/// How many tools with such arguments are known at a time.
const MOST_HEADER_TOOLS: usize = 1000;
/// How long a server may take to accept the notification that a request was cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to the server.
pub struct Upstream {
    pub connection: Connection,
    server: Arc<Server>,
    calls: Arc<Calls>,
    /// The tools that were listed whose arguments are repeated in headers.
    header_tools: Mutex<HeaderTools>,
    /// Notifications that requests were cancelled, on their way.
    cancellations: TaskTracker,
}

/// What the server sends before its answer.
pub enum FromServer {
    Notification(Bytes),
    /// A request of its own, which is answered under this id.
    Request {
        id: Box<RawValue>,
        text: Bytes,
    },
}

impl FromServer {
    fn size(&self) -> usize {
        match self {
            Self::Notification(text) | Self::Request { text, .. } => text.len(),
        }
    }
}

/// The calls in flight on a connection.
struct Calls {
    by_id: Mutex<HashMap<u64, InFlight>>,
    /// What is for nobody in particular.
    told: broadcast::Sender<Bytes>,
}

/// The caller of a call.
struct InFlight {
    queue: mpsc::Sender<FromServer>,
    waiting: Arc<AtomicUsize>,
    offered: Offered,
    progress_token: Option<Box<RawValue>>,
    /// The caller's id.
    id: Box<RawValue>,
}

impl InFlight {
    /// Queues a message for the caller, unless too many wait.
    fn send(&self, message: FromServer) -> bool {
        let size = message.size();
        if self.waiting.load(Ordering::Relaxed) + size > MAX_WAITING {
            return false;
        }
        let is_queued = self.queue.try_send(message).is_ok();
        if is_queued {
            self.waiting.fetch_add(size, Ordering::Relaxed);
        }
        is_queued
    }
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, InFlight>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes what the server sent by itself to the caller that it is for. Returns whether there is one.
    fn take(&self, unasked: &Unasked<'_>) -> bool {
        let calls = self.lock();
        let Some((id, method)) = unasked.request else {
            return self.take_notification(unasked, &calls);
        };
        let for_it = match unasked.during {
            Some(id) => calls.get(&id).filter(|it| it.offered.serves(method)),
            // Nothing says whose it is: if several may be meant, none is.
            None => only(calls.values()).filter(|it| it.offered.serves(method)),
        };
        for_it.is_some_and(|it| {
            it.send(FromServer::Request {
                id: id.to_owned(),
                text: Bytes::copy_from_slice(unasked.text),
            })
        })
    }

    fn take_notification(&self, unasked: &Unasked<'_>, calls: &HashMap<u64, InFlight>) -> bool {
        #[derive(Deserialize)]
        struct Notification<'a> {
            method: std::borrow::Cow<'a, str>,
            #[serde(borrow)]
            params: Option<Params<'a>>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Params<'a> {
            #[serde(borrow)]
            progress_token: Option<&'a RawValue>,
            #[serde(borrow, rename = "_meta")]
            meta: Option<Meta<'a>>,
        }
        #[derive(Deserialize)]
        struct Meta<'a> {
            #[serde(borrow, rename = "io.modelcontextprotocol/subscriptionId")]
            subscription: Option<&'a RawValue>,
        }
        let Ok(read) = serde_json::from_slice::<Notification>(unasked.text) else {
            return false;
        };
        // What names a request names it as the relay does.
        let call_of = |id: &RawValue| {
            let id: Option<u64> = id.get().trim_matches('"').parse().ok();
            id.and_then(|id| calls.get(&id))
        };
        let subscription = read
            .params
            .as_ref()
            .and_then(|it| it.meta.as_ref()?.subscription);
        let token = read.params.as_ref().and_then(|it| it.progress_token);
        let token = token.filter(|_| read.method == "notifications/progress");
        let named = match (token, subscription) {
            (Some(token), _) => {
                call_of(token).map(|call| (call, token, call.progress_token.as_deref()))
            }
            (None, Some(id)) => call_of(id).map(|call| (call, id, Some(&*call.id))),
            (None, None) => None,
        };
        if token.is_some() || named.is_some() {
            let Some((call, ours, Some(theirs))) = named else {
                return false;
            };
            let text = message::with_id(unasked.text, ours, theirs.get().as_bytes());
            return call.send(FromServer::Notification(text));
        }
        let text = Bytes::copy_from_slice(unasked.text);
        let for_it = match (unasked.during, &*read.method) {
            (Some(id), _) => calls.get(&id),
            (None, "notifications/message" | "notifications/cancelled") => only(calls.values()),
            (None, _) => None,
        };
        match for_it {
            Some(call) => call.send(FromServer::Notification(text)),
            None => self.told.send(text).is_ok(),
        }
    }
}

/// The only one there is.
fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next();
    first.filter(|_| all.next().is_none())
}

impl Upstream {
    /// Connects to the server.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub async fn open(
        connector: &Connector,
        server: Arc<Server>,
        prefers: Prefers,
    ) -> Result<Self, mcp::Error> {
        let calls = Arc::new(Calls {
            by_id: Mutex::default(),
            told: broadcast::channel(MOST_TOLD).0,
        });
        let taking = Arc::clone(&calls);
        let on_unasked = Arc::new(move |unasked: &Unasked<'_>| taking.take(unasked));
        let opened = connector.open(&server, prefers, Some(on_unasked)).await;
        Ok(Self {
            connection: opened.map_err(|error| error.without_secrets(&server))?,
            server,
            calls,
            header_tools: Mutex::default(),
            cancellations: TaskTracker::new(),
        })
    }

    /// What the server sends to nobody in particular.
    pub fn listen(&self) -> broadcast::Receiver<Bytes> {
        self.calls.told.subscribe()
    }

    /// Whether any call is in flight or anybody listens.
    pub fn is_used(&self) -> bool {
        !self.calls.lock().is_empty() || self.calls.told.receiver_count() > 0
    }

    /// Learns from a page of tools which arguments are repeated in headers.
    pub fn learn(&self, result: &str) {
        if self.connection.agreed.era != mcp::Era::Modern || !result.contains("x-mcp-header") {
            return;
        }
        if let Ok(page) = Page::read(result, 0, true) {
            let mut known = self.header_tools();
            known.extend(page.header_tools);
            if known.len() > MOST_HEADER_TOOLS {
                known.clear();
            }
        }
    }

    /// The tools that were listed whose arguments are repeated in headers.
    pub fn header_tools(&self) -> MutexGuard<'_, HeaderTools> {
        let known = self.header_tools.lock();
        known.unwrap_or_else(PoisonError::into_inner)
    }

    /// The id of the next request.
    pub fn next_id(&self) -> u64 {
        self.connection.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a request; what comes of it is read from the call. Dropping that cancels the request.
    pub fn call(
        self: &Arc<Self>,
        request: Request,
        offered: Offered,
        progress_token: Option<&RawValue>,
        theirs: Box<RawValue>,
    ) -> Call {
        let (queue, from_server) = mpsc::channel(MOST_WAITING);
        let waiting = Arc::<AtomicUsize>::default();
        let id = request.id;
        let in_flight = InFlight {
            queue,
            waiting: Arc::clone(&waiting),
            offered,
            progress_token: progress_token.map(ToOwned::to_owned),
            id: theirs,
        };
        self.calls.lock().insert(id, in_flight);
        let upstream = Arc::clone(self);
        let answer = async move {
            let answer = upstream.connection.channel.request(&request).await;
            answer.map_err(|error| error.without_secrets(&upstream.server))
        };
        Call {
            upstream: Arc::clone(self),
            id,
            from_server,
            waiting,
            answer: Some(Box::pin(answer)),
        }
    }

    /// Sends a request of the relay's own, and waits for its result.
    ///
    /// # Errors
    /// There is none, or it is an error.
    pub async fn ask(self: &Arc<Self>, request: Request) -> Result<Answer, mcp::Error> {
        let mut call = self.call(request, Offered::default(), None, Box::default());
        loop {
            if let Step::Answer(answer) = call.next().await {
                return *answer;
            }
        }
    }

    /// Sends a notification, or the answer to a request of the server's.
    ///
    /// # Errors
    /// It could not be sent, or was refused.
    pub async fn notify(&self, message: Bytes) -> Result<(), mcp::Error> {
        let sent = self.connection.channel.notify(message).await;
        sent.map_err(|error| error.without_secrets(&self.server))
    }

    /// The headers of a request over HTTP that repeat parts of it (MCP 2026-07-28).
    pub fn sends_headers(&self) -> bool {
        self.connection.agreed.era == mcp::Era::Modern && self.connection.channel.http().is_some()
    }

    /// A request with a message that is already written.
    pub fn request(id: u64, method: String, message: Bytes, headers: HeaderMap) -> Request {
        Request {
            id,
            method: method.into(),
            message,
            headers,
            max_answer: MAX_ANSWER,
        }
    }

    /// Tells the server that nobody waits for an answer any more. A modern server on HTTP learns it
    /// from the connection (MCP 2026-07-28, cancellation).
    fn cancel(self: &Arc<Self>, id: u64) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if self.sends_headers() || self.cancellations.is_closed() {
            return;
        }
        let cancelled = json!({
            "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id},
        });
        let message = Bytes::from(cancelled.to_string());
        let upstream = Arc::clone(self);
        let sending = async move {
            // Without a connection there is nothing to cancel.
            let _ = timeout(CANCEL_TIMEOUT, upstream.notify(message)).await;
        };
        self.cancellations.spawn_on(sending, &runtime);
    }

    /// Ends the connection, and the session or the process behind it.
    pub async fn close(&self) {
        let closing = async {
            self.cancellations.close();
            self.cancellations.wait().await;
            self.connection.channel.close().await;
        };
        let _ = timeout(self.connection.close_timeout, closing).await;
    }
}

/// A request in flight.
pub struct Call {
    pub upstream: Arc<Upstream>,
    id: u64,
    from_server: mpsc::Receiver<FromServer>,
    /// The bytes in the queue.
    waiting: Arc<AtomicUsize>,
    /// Until it came.
    answer: Option<BoxFuture<'static, Result<Answer, mcp::Error>>>,
}

/// What came of a call.
pub enum Step {
    Message(FromServer),
    Answer(Box<Result<Answer, mcp::Error>>),
}

impl Call {
    /// What comes next. After the answer, nothing does.
    pub async fn next(&mut self) -> Step {
        let Some(answer) = &mut self.answer else {
            return std::future::pending().await;
        };
        tokio::select! {
            biased;
            Some(message) = self.from_server.recv() => {
                self.waiting.fetch_sub(message.size(), Ordering::Relaxed);
                Step::Message(message)
            }
            answer = answer => {
                // What came before the answer is told before it.
                if let Ok(message) = self.from_server.try_recv() {
                    self.waiting.fetch_sub(message.size(), Ordering::Relaxed);
                    self.answer = Some(Box::pin(std::future::ready(answer)));
                    return Step::Message(message);
                }
                self.answer = None;
                Step::Answer(Box::new(answer))
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.upstream.calls.lock().remove(&self.id);
        if self.answer.is_some() {
            self.upstream.cancel(self.id);
        }
    }
}
