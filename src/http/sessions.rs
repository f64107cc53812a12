//! Sessions for clients older than MCP 2026-07-28: so many, each for the caller that opened it, and
//! gone when nobody asks for them any more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::RETRY_AFTER;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use rmcp::ServerHandler;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};

use super::answer::refusal;

/// How many sessions there are at a time; each takes 50 kB. rmcp ends one after five minutes
/// without a request.
const MOST_SESSIONS: usize = 500;

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// Who sends a request, as a digest that whoever let it in left word of; nothing where anybody may
/// call.
pub type CallerOf = fn(&Extensions) -> Option<[u8; 32]>;

/// An MCP server that keeps sessions.
pub struct Sessions<H> {
    service: StreamableHttpService<H, LocalSessionManager>,
    sessions: Arc<LocalSessionManager>,
    caller_of: CallerOf,
    /// The caller of each session, by the session's id.
    callers: Mutex<HashMap<String, Option<[u8; 32]>>>,
}

impl<H: ServerHandler> Sessions<H> {
    pub fn new(
        factory: impl Fn() -> Result<H, std::io::Error> + Send + Sync + 'static,
        config: StreamableHttpServerConfig,
        caller_of: CallerOf,
    ) -> Self {
        let sessions = Arc::new(LocalSessionManager::default());
        Self {
            service: StreamableHttpService::new(factory, Arc::clone(&sessions), config),
            sessions,
            caller_of,
            callers: Mutex::default(),
        }
    }

    pub async fn answer(&self, request: Request) -> Response {
        let caller = (self.caller_of)(request.extensions());
        match session_id(request.headers()) {
            // A session of somebody else's is, to this caller, none at all.
            Some(id) if self.callers().get(id).is_some_and(|it| *it != caller) => {
                return refusal(StatusCode::NOT_FOUND, "there is no such session");
            }
            None if request.method() == Method::POST && self.is_full().await => {
                let message = "there are too many sessions";
                let mut busy = refusal(StatusCode::SERVICE_UNAVAILABLE, message);
                let headers = busy.headers_mut();
                headers.insert(RETRY_AFTER, HeaderValue::from_static("30"));
                return busy;
            }
            _ => {}
        }
        let ends_session = request.method() == Method::DELETE;
        let mut answer = self.service.handle(request).await.map(Body::new);
        if ends_session && answer.status() == StatusCode::ACCEPTED {
            // It is over, not about to be: the official client for Python takes nothing less.
            *answer.status_mut() = StatusCode::NO_CONTENT;
        }
        if let Some(id) = session_id(answer.headers()) {
            self.callers().insert(id.to_owned(), caller);
            self.forget_ended().await;
        }
        answer
    }

    async fn is_full(&self) -> bool {
        self.sessions.sessions.read().await.len() >= MOST_SESSIONS
    }

    async fn forget_ended(&self) {
        if self.callers().len() <= 2 * MOST_SESSIONS {
            return;
        }
        let open = self.sessions.sessions.read().await;
        let open: std::collections::HashSet<&str> = open.keys().map(AsRef::as_ref).collect();
        self.callers().retain(|id, _| open.contains(id.as_str()));
    }

    fn callers(&self) -> MutexGuard<'_, HashMap<String, Option<[u8; 32]>>> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn session_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(SESSION_ID)?.to_str().ok()
}
