//! Sessions for clients older than MCP 2026-07-28: how many there are, who owns each, and which of
//! their requests are in flight.
//!
//! The backend makes the sessions and ends them. Here is what holds for those of any backend.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures::StreamExt;
use http::header::RETRY_AFTER;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use rmcp::model::RequestId;

use super::message::Message;
use super::response::refusal;

/// How many sessions there are at a time; each takes 50 kB. rmcp ends one after five minutes
/// without a request.
const MAX_SESSIONS: usize = 500;
/// How many of them one caller may have, where callers are known.
const MAX_PER_CALLER: usize = 50;

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// Finds who sends a request in its extensions, where authentication put a digest of the caller;
/// `None` for a server that is open to anyone.
pub type CallerFrom = fn(&Extensions) -> Option<[u8; 32]>;

type Caller = Option<[u8; 32]>;

/// The sessions of one backend.
pub struct Sessions {
    caller_from: CallerFrom,
    owners: Arc<Mutex<Owners>>,
    /// The requests without a complete answer, by their session and their id.
    in_flight: Arc<Mutex<HashSet<(String, RequestId)>>>,
}

#[derive(Default)]
struct Owners {
    /// The caller of each session, by the session's id.
    by_session: HashMap<String, Caller>,
    /// The callers whose sessions are being opened: they count as well.
    opening: Vec<Caller>,
}

impl Sessions {
    pub fn new(caller_from: CallerFrom) -> Self {
        Self {
            caller_from,
            owners: Arc::default(),
            in_flight: Arc::default(),
        }
    }

    /// Passes a request to the backend's `handle`, if its session belongs to its caller. `message` is
    /// the message in its body, if there is one; `open_ids` lists the sessions that the backend has.
    pub async fn answer<H, O>(
        &self,
        request: Request,
        message: Option<&Message>,
        handle: impl FnOnce(Request) -> H,
        open_ids: impl FnOnce() -> O,
    ) -> Response
    where
        H: Future<Output = Response> + Send + 'static,
        O: Future<Output = HashSet<String>>,
    {
        let opens = message.is_some_and(|it| it.asks_for("initialize"));
        let caller = (self.caller_from)(request.extensions());
        let id = session_id(request.headers()).map(str::to_owned);
        let ends = request.method() == Method::DELETE;
        match &id {
            // Callers cannot find out which sessions others have.
            Some(id) if lock(&self.owners).by_session.get(id) != Some(&caller) => {
                return refusal(StatusCode::NOT_FOUND, "there is no such session");
            }
            None if opens => {
                return match self.permit(caller, open_ids).await {
                    Some(permit) => open(handle(request), permit).await,
                    None => too_many(),
                };
            }
            _ => {}
        }
        let in_flight = match (&id, message.and_then(Message::request_id)) {
            (Some(session), Some(id)) => match self.begin(session, id) {
                Some(in_flight) => Some(in_flight),
                None => {
                    let message = "a request of this session with the same id is in flight";
                    return refusal(StatusCode::BAD_REQUEST, message);
                }
            },
            _ => None,
        };
        let mut answer = handle(request).await.map(|body| until_end(body, in_flight));
        if let Some(id) = id.filter(|_| ends && answer.status() == StatusCode::ACCEPTED) {
            lock(&self.owners).by_session.remove(&id);
            // The session has ended already, and the official client for Python accepts only 204.
            *answer.status_mut() = StatusCode::NO_CONTENT;
        }
        answer
    }

    /// A permit to open a session, unless there are too many, in total or of this caller.
    async fn permit<O>(&self, caller: Caller, open_ids: impl FnOnce() -> O) -> Option<Permit>
    where
        O: Future<Output = HashSet<String>>,
    {
        if let Some(permit) = self.try_permit(caller) {
            return Some(permit);
        }
        // Some may have expired. Those that are opened from here on are not among the known ones.
        let known: HashSet<String> = lock(&self.owners).by_session.keys().cloned().collect();
        let open = open_ids().await;
        lock(&self.owners)
            .by_session
            .retain(|id, _| open.contains(id) || !known.contains(id));
        self.try_permit(caller)
    }

    fn try_permit(&self, caller: Caller) -> Option<Permit> {
        let mut owners = lock(&self.owners);
        let all = owners.by_session.values().chain(&owners.opening);
        let own = all.filter(|it| **it == caller).count();
        let is_full = owners.by_session.len() + owners.opening.len() >= MAX_SESSIONS
            || (caller.is_some() && own >= MAX_PER_CALLER);
        (!is_full).then(|| {
            owners.opening.push(caller);
            Permit {
                owners: Arc::clone(&self.owners),
                caller,
            }
        })
    }

    /// Notes that a request is in flight, unless one with the same id is: rmcp would never answer one
    /// of the two.
    fn begin(&self, session: &str, id: RequestId) -> Option<InFlight> {
        let request = (session.to_owned(), id);
        let is_new = lock(&self.in_flight).insert(request.clone());
        is_new.then(|| InFlight {
            all: Arc::clone(&self.in_flight),
            request,
        })
    }
}

/// Opens a session in a task, which goes on if the client disconnects: otherwise there could be a
/// session without an owner, which counts toward no caller's limit.
async fn open(
    opening: impl Future<Output = Response> + Send + 'static,
    permit: Permit,
) -> Response {
    let opening = tokio::spawn(async move {
        let answer = opening.await;
        if let Some(id) = session_id(answer.headers()) {
            let mut owners = lock(&permit.owners);
            owners.by_session.insert(id.to_owned(), permit.caller);
        }
        answer
    });
    opening.await.unwrap_or_else(|_| {
        let message = "the session could not be opened";
        refusal(StatusCode::INTERNAL_SERVER_ERROR, message)
    })
}

/// A permit to open one session, which is used up or given back when this is dropped.
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

/// A request that is in flight until this is dropped.
struct InFlight {
    all: Arc<Mutex<HashSet<(String, RequestId)>>>,
    request: (String, RequestId),
}

impl Drop for InFlight {
    fn drop(&mut self) {
        lock(&self.all).remove(&self.request);
    }
}

/// The body of an answer, which ends the request with it.
fn until_end(body: Body, in_flight: Option<InFlight>) -> Body {
    match in_flight {
        None => body,
        Some(in_flight) => {
            let chunks = body.into_data_stream();
            Body::from_stream(chunks.map(move |chunk| {
                let _ = &in_flight;
                chunk
            }))
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn too_many() -> Response {
    let mut answer = refusal(
        StatusCode::SERVICE_UNAVAILABLE,
        "there are too many sessions",
    );
    let seconds = HeaderValue::from_static("30");
    answer.headers_mut().insert(RETRY_AFTER, seconds);
    answer
}

fn session_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(SESSION_ID)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(number: u8) -> Caller {
        Some([number; 32])
    }

    fn add(sessions: &Sessions, count: usize, caller: Caller) {
        let mut owners = lock(&sessions.owners);
        for _ in 0..count {
            let id = format!("session {}", owners.by_session.len());
            owners.by_session.insert(id, caller);
        }
    }

    /// The sessions that the backend still has: all but those numbers.
    fn open_but(sessions: &Sessions, expired: &[usize]) -> HashSet<String> {
        let mut open: HashSet<String> = lock(&sessions.owners).by_session.keys().cloned().collect();
        for number in expired {
            open.remove(&format!("session {number}"));
        }
        open
    }

    #[tokio::test]
    async fn one_caller_cannot_take_all_sessions() {
        let sessions = Sessions::new(|_| None);
        add(&sessions, 49, caller(1));
        let all_open = || std::future::ready(open_but(&sessions, &[]));
        let last = sessions.permit(caller(1), all_open).await;
        assert!(last.is_some());
        assert!(sessions.permit(caller(1), all_open).await.is_none());
        assert!(sessions.permit(caller(2), all_open).await.is_some());
        drop(last);
        assert!(sessions.permit(caller(1), all_open).await.is_some());
    }

    #[tokio::test]
    async fn an_expired_session_makes_room_for_another() {
        let sessions = Sessions::new(|_| None);
        add(&sessions, 500, None);
        let all_open = || std::future::ready(open_but(&sessions, &[]));
        assert!(sessions.permit(None, all_open).await.is_none());
        let one_expired = || std::future::ready(open_but(&sessions, &[7]));
        assert!(sessions.permit(None, one_expired).await.is_some());
    }
}
