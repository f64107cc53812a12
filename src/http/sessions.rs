//! Sessions for clients older than MCP 2026-07-28: so many, each for the caller that opened it, and
//! gone when nobody asks for them any more.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures::StreamExt;
use http::header::RETRY_AFTER;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use rmcp::ServerHandler;
use rmcp::model::RequestId;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};

use super::message::Message;
use super::response::refusal;

/// How many sessions there are at a time; each takes 50 kB. rmcp ends one after five minutes
/// without a request.
const MOST_SESSIONS: usize = 500;

/// How many of them one caller may have, where callers are known.
const MOST_OF_ONE: usize = 50;

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// Who sends a request, as a digest that whoever let it in left word of; nothing where anybody may
/// call.
pub type CallerFrom = fn(&Extensions) -> Option<[u8; 32]>;

/// An MCP server that keeps sessions.
pub struct Sessions<H> {
    service: StreamableHttpService<H, LocalSessionManager>,
    sessions: Arc<LocalSessionManager>,
    caller_of: CallerFrom,
    /// Whose the sessions are. A session that is being opened counts from before it is there.
    owners: Arc<Mutex<Owners>>,
    /// The requests that are not answered yet, by their session and their id.
    under_way: Arc<Mutex<HashSet<(String, RequestId)>>>,
}

impl<H: ServerHandler> Sessions<H> {
    pub fn new(
        factory: impl Fn() -> Result<H, std::io::Error> + Send + Sync + 'static,
        config: StreamableHttpServerConfig,
        caller_of: CallerFrom,
    ) -> Self {
        let sessions = Arc::new(LocalSessionManager::default());
        Self {
            service: StreamableHttpService::new(factory, Arc::clone(&sessions), config),
            sessions,
            caller_of,
            owners: Arc::default(),
            under_way: Arc::default(),
        }
    }

    /// Passes a request on, if its session is its caller's. `message` is what its body says, where
    /// it has one.
    pub async fn answer(&self, request: Request, message: Option<&Message<'_>>) -> Response {
        let opens = message.is_some_and(|it| it.asks_for("initialize"));
        let caller = (self.caller_of)(request.extensions());
        let id = session_id(request.headers()).map(str::to_owned);
        let ends = request.method() == Method::DELETE;
        match &id {
            // A session of somebody else's is, to this caller, none at all.
            Some(id) if lock(&self.owners).of_sessions.get(id) != Some(&caller) => {
                return refusal(StatusCode::NOT_FOUND, "there is no such session");
            }
            None if opens => {
                return match self.permit(caller).await {
                    Some(permit) => self.open(request, permit).await,
                    None => busy(),
                };
            }
            _ => {}
        }
        let under_way = match (&id, message.and_then(Message::request_id)) {
            (Some(session), Some(id)) => match self.begin(session, id) {
                Some(under_way) => Some(under_way),
                None => {
                    let message = "a request of this session with the same id is under way";
                    return refusal(StatusCode::BAD_REQUEST, message);
                }
            },
            _ => None,
        };
        let answer = self.service.handle(request).await.map(Body::new);
        let mut answer = answer.map(|body| ending(body, under_way));
        if let Some(id) = id.filter(|_| ends && answer.status() == StatusCode::ACCEPTED) {
            lock(&self.owners).of_sessions.remove(&id);
            // It is over, not about to be: the official client for Python takes nothing less.
            *answer.status_mut() = StatusCode::NO_CONTENT;
        }
        answer
    }

    /// A permit for another session, unless there are too many, of this caller or at all.
    async fn permit(&self, caller: Caller) -> Option<Permit> {
        let open = self.sessions.sessions.read().await;
        let mut owners = lock(&self.owners);
        owners
            .of_sessions
            .retain(|id, _| open.contains_key(id.as_str()));
        let all = owners.of_sessions.values().chain(&owners.opening);
        let own = all.filter(|it| **it == caller).count();
        let is_full = open.len() + owners.opening.len() >= MOST_SESSIONS
            || (caller.is_some() && own >= MOST_OF_ONE);
        (!is_full).then(|| {
            owners.opening.push(caller);
            Permit {
                owners: Arc::clone(&self.owners),
                caller,
            }
        })
    }

    /// Opens a session, also if the client leaves meanwhile: a session that nobody owns would not
    /// count for its caller.
    async fn open(&self, request: Request, permit: Permit) -> Response {
        let service = self.service.clone();
        let opening = tokio::spawn(async move {
            let answer = service.handle(request).await.map(Body::new);
            if let Some(id) = session_id(answer.headers()) {
                let mut owners = lock(&permit.owners);
                owners.of_sessions.insert(id.to_owned(), permit.caller);
            }
            answer
        });
        opening.await.unwrap_or_else(|_| {
            let message = "the session could not be opened";
            refusal(StatusCode::INTERNAL_SERVER_ERROR, message)
        })
    }

    /// Notes that a request is under way, unless one of the same id is: rmcp would answer only one
    /// of the two, and the other never.
    fn begin(&self, session: &str, id: RequestId) -> Option<UnderWay> {
        let request = (session.to_owned(), id);
        let is_new = lock(&self.under_way).insert(request.clone());
        is_new.then(|| UnderWay {
            all: Arc::clone(&self.under_way),
            request,
        })
    }
}

type Caller = Option<[u8; 32]>;

#[derive(Default)]
struct Owners {
    /// The caller of each session, by the session's id.
    of_sessions: HashMap<String, Caller>,
    /// The callers whose sessions are being opened.
    opening: Vec<Caller>,
}

/// A permit to open one session. When it is dropped, either there is a session or the permit is
/// free again.
struct Permit {
    owners: Arc<Mutex<Owners>>,
    caller: Caller,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let opening = &mut lock(&self.owners).opening;
        if let Some(index) = opening.iter().position(|it| *it == self.caller) {
            opening.swap_remove(index);
        }
    }
}

/// A request that is under way, until this is dropped.
struct UnderWay {
    all: Arc<Mutex<HashSet<(String, RequestId)>>>,
    request: (String, RequestId),
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        lock(&self.all).remove(&self.request);
    }
}

/// The body, and with its end the end of the request.
fn ending(body: Body, under_way: Option<UnderWay>) -> Body {
    match under_way {
        None => body,
        Some(under_way) => {
            let chunks = body.into_data_stream();
            Body::from_stream(chunks.map(move |chunk| {
                let _ = &under_way;
                chunk
            }))
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn busy() -> Response {
    let message = "there are too many sessions";
    let mut busy = refusal(StatusCode::SERVICE_UNAVAILABLE, message);
    let headers = busy.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("30"));
    busy
}

fn session_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(SESSION_ID)?.to_str().ok()
}
