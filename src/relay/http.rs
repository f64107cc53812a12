//! Callers over Streamable HTTP, of both eras of MCP.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use axum::routing::MethodRouter;
use futures::stream::{self, StreamExt};
use rmcp::ErrorData;
use tokio::sync::broadcast::error::RecvError;

use super::asked::unguessable;
use super::caller::{Caller, Offered, Session};
use super::exchange::{Exchange, Reply, Told};
use super::failure::Failure;
use super::message::Params;
use super::{Begun, Relay, about, headers};
use crate::http::{Message, Received, ServerOptions, endpoint};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// How long a session is kept that nobody uses.
const SESSION_IDLE: Duration = Duration::from_secs(5 * 60);
/// How often a stream without messages shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

impl Relay {
    /// The MCP endpoint.
    pub fn endpoint(self: Arc<Self>, options: &ServerOptions) -> MethodRouter {
        let answer = move |received| {
            let relay = Arc::clone(&self);
            async move { relay.answer(received).await }
        };
        endpoint(answer, options)
    }

    async fn answer(self: Arc<Self>, received: Received) -> Response {
        let (head, message) = match received {
            Received::Message(head, message) => (head, Some(message)),
            Received::Other(request) => (request.into_parts().0, None),
        };
        let opens = message
            .as_ref()
            .is_some_and(|it| it.asks_for("initialize") && self.opens_session(it));
        if !opens && !head.headers.contains_key(SESSION_ID) {
            return self.answer_in(head, message, None).await;
        }
        let request = Request::from_parts(head, Body::empty());
        let (relay, held) = (Arc::clone(&self), message.clone());
        let handle = move |request: Request| async move {
            let (head, _) = request.into_parts();
            relay.answer_in_session(head, held).await
        };
        let open_ids = || async { self.open_sessions() };
        let sessions = &self.sessions;
        sessions
            .answer(request, message.as_ref(), handle, open_ids)
            .await
    }

    /// Whether the client that sends `initialize` gets a session: it has none of its own wish, and
    /// without one nobody could ask it for anything.
    fn opens_session(&self, message: &Message) -> bool {
        let capabilities = Params::of(message).capabilities.map(Offered::read);
        self.options.sessions || capabilities.is_some_and(Offered::is_any)
    }

    fn open_sessions(&self) -> HashSet<String> {
        let mut open = self.lock_open();
        open.retain(|_, it| it.used().elapsed() < SESSION_IDLE || Arc::strong_count(it) > 1);
        open.keys().cloned().collect()
    }

    /// Answers a request of a session, or one that opens it.
    async fn answer_in_session(self: Arc<Self>, head: Parts, message: Option<Message>) -> Response {
        let id = head.headers.get(SESSION_ID).and_then(|it| it.to_str().ok());
        if let Some(id) = id {
            let Some(session) = self.session(id) else {
                return plain(StatusCode::NOT_FOUND, "there is no such session");
            };
            if head.method == Method::DELETE {
                self.lock_open().remove(&*session.id);
                self.copies.end_session(&session.id).await;
                return status(StatusCode::ACCEPTED);
            }
            return self.answer_in(head, message, Some(session)).await;
        }
        let Some(message) = message else {
            return plain(StatusCode::BAD_REQUEST, "there is no session");
        };
        let session = {
            let params = Params::of(&message);
            let capabilities = params.capabilities.map(ToOwned::to_owned);
            let asked = params.protocol_version.as_deref().unwrap_or_default();
            let version = about::version(asked);
            Arc::new(Session::new(
                unguessable(),
                capabilities.unwrap_or_default(),
                version,
            ))
        };
        let opened = Arc::clone(&session);
        let relay = Arc::clone(&self);
        let mut answer = relay.answer_in(head, Some(message), Some(opened)).await;
        if answer.status() == StatusCode::OK
            && let Ok(id) = HeaderValue::from_str(&session.id)
        {
            self.open_sessions();
            self.lock_open().insert(session.id.to_string(), session);
            answer.headers_mut().insert(SESSION_ID, id);
        }
        answer
    }

    async fn answer_in(
        self: Arc<Self>,
        head: Parts,
        message: Option<Message>,
        session: Option<Arc<Session>>,
    ) -> Response {
        let who = (self.options.caller_from)(&head.extensions);
        let Some(message) = message else {
            return match (head.method, session) {
                (Method::GET, Some(session)) => self.listen(who, session).await,
                (Method::POST, _) => plain(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "the content type is not application/json",
                ),
                _ => {
                    let mut refusal = status(StatusCode::METHOD_NOT_ALLOWED);
                    let allowed = HeaderValue::from_static("POST");
                    refusal.headers_mut().insert(ALLOW, allowed);
                    refusal
                }
            };
        };
        let caller = {
            let params = Params::of(&message);
            let meta = params.meta();
            match headers::is_modern(&head.headers, &message, &params, &meta) {
                Ok(true) => Caller {
                    is_modern: true,
                    offered: meta.capabilities.map(Offered::read).unwrap_or_default(),
                    who,
                    session: None,
                },
                Ok(false) => Caller {
                    is_modern: false,
                    offered: session.as_ref().map(|it| it.offered).unwrap_or_default(),
                    who,
                    session,
                },
                Err(failure) => return json_reply(&Reply::failure(id_of(&message), &failure)),
            }
        };
        let id = message
            .id()
            .cloned()
            .unwrap_or_else(|| Bytes::from_static(b"null"));
        match self.begin(caller, message, Some(&head.headers)).await {
            Ok(Begun::Now(None)) => status(StatusCode::ACCEPTED),
            Ok(Begun::Now(Some(reply))) => json_reply(&reply),
            Ok(Begun::Exchange(exchange)) => respond(*exchange, &head.headers).await,
            Err(failure) => json_reply(&Reply::failure(&id, &failure)),
        }
    }

    /// A stream of what the server sends to nobody in particular (MCP 2025-11-25, listening for messages
    /// from the server).
    async fn listen(self: Arc<Self>, who: Option<[u8; 32]>, session: Arc<Session>) -> Response {
        let caller = Caller {
            is_modern: false,
            offered: session.offered,
            who,
            session: Some(session),
        };
        let upstream = match self.copies.get(&caller).await {
            Ok(upstream) => upstream,
            Err(failure) => return json_reply(&Reply::failure(b"null", &failure)),
        };
        let told = upstream.listen();
        let events = stream::unfold((told, caller), |(mut told, caller)| async move {
            loop {
                if let Some(session) = &caller.session {
                    session.touch();
                }
                let event = match tokio::time::timeout(KEEP_ALIVE, told.recv()).await {
                    Ok(Ok(text)) => event(&text),
                    Ok(Err(RecvError::Lagged(_))) => continue,
                    Ok(Err(RecvError::Closed)) => return None,
                    Err(_) => Bytes::from_static(b": alive\n\n"),
                };
                return Some((Ok::<_, Infallible>(event), (told, caller)));
            }
        });
        stream_of(Body::from_stream(events))
    }
}

fn id_of(message: &Message) -> &[u8] {
    message.id().map_or(b"null", |it| it)
}

/// A JSON body if the answer is the first that comes, an event stream otherwise.
async fn respond(mut exchange: Exchange, asked: &HeaderMap) -> Response {
    let takes_events = asked
        .get_all(ACCEPT)
        .iter()
        .any(|it| it.to_str().is_ok_and(|it| it.contains("text/event-stream")));
    let first = loop {
        match exchange.next().await {
            Told::Answer(reply) => return json_reply(&reply),
            Told::Message(text) if takes_events => break text,
            Told::Message(_) => {}
        }
    };
    let first = stream::iter([Ok::<_, Infallible>(event(&first))]);
    let rest = stream::unfold(Some(exchange), |exchange| async move {
        let mut exchange = exchange?;
        match tokio::time::timeout(KEEP_ALIVE, exchange.next()).await {
            Ok(Told::Message(text)) => Some((Ok(event(&text)), Some(exchange))),
            Ok(Told::Answer(reply)) => Some((Ok(event(&reply.body)), None)),
            Err(_) => Some((Ok(Bytes::from_static(b": alive\n\n")), Some(exchange))),
        }
    });
    stream_of(Body::from_stream(first.chain(rest)))
}

/// The events of these messages, which have no line breaks within them.
fn event(messages: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(messages.len() + 32);
    for message in messages.split(|it| *it == b'\n') {
        let message = message.trim_ascii_end();
        if message.is_empty() {
            continue;
        }
        text.extend_from_slice(b"event: message\ndata: ");
        text.extend_from_slice(message);
        text.extend_from_slice(b"\n\n");
    }
    text.into()
}

fn json_reply(reply: &Reply) -> Response {
    let mut response = Response::new(Body::from(reply.body.clone()));
    *response.status_mut() = reply.status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

fn stream_of(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, EVENT_STREAM);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn plain(status: StatusCode, message: &str) -> Response {
    let error = ErrorData::invalid_request(message.to_owned(), None);
    json_reply(&Reply::failure(b"null", &Failure { status, error }))
}
