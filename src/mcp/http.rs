//! One MCP message over Streamable HTTP (MCP 2026-07-28, transports), keeping what a refusal said.
//!
//! rmcp has a client of its own for `reqwest`; it drops the HTTP status of most refusals, and the
//! status is what the Responses API reports of a server it could not use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, FuturesUnordered, StreamExt, TryStreamExt};
use http::header::{ACCEPT, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use rmcp::ErrorData;
use rmcp::model::{ClientJsonRpcMessage, JsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::common::http_header::{
    EVENT_STREAM_MIME_TYPE, HEADER_SESSION_ID, JSON_MIME_TYPE,
};
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use serde_json::value::RawValue;
use sse_stream::{Sse, SseStream};
use tokio_util::sync::CancellationToken;

use super::excess::{Excess, Traffic};
use super::exchange::{Awaited, Fault};
use super::message::{self, Message};
use crate::budget::{Budget, Held};

/// The most bytes of a session id.
const MAX_SESSION_ID: usize = 4096;
/// The most bytes that are read of a refusal.
const MAX_REFUSAL: usize = 64 * 1024;
/// How long a server may take to hear that a session is over.
const DELETE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a server may take to hear an answer to a request of its own, and how many of these
/// answers are on their way at once.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
const MOST_REPLIES: usize = 4;
/// What rmcp says of a message in its headers (MCP 2026-07-28, standard request headers).
const OF_THE_MESSAGE: [&str; 3] = ["mcp-method", "mcp-name", "mcp-param-"];

/// Why a POST brought no MCP message.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The server answered, with a status that is no success.
    #[error("the server answered HTTP {}", .0.status)]
    Refused(Box<Refusal>),
    /// There was no answer, or it broke off.
    #[error(transparent)]
    Transport(reqwest::Error),
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("nobody waits for the answer any more")]
    Stopped,
}

/// An HTTP answer that is no success.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub status: StatusCode,
    /// The `WWW-Authenticate` header, if there is one.
    pub challenge: Option<String>,
    /// The JSON-RPC error in the body, if there is one.
    pub error: Option<ErrorData>,
}

/// The HTTP side of one MCP client. Clones share `last_refusal`.
#[derive(Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    /// Ends what is under way. rmcp's own worker does not look up while it waits for the answer to
    /// its first message, and would outlive the one who asked.
    stop: CancellationToken,
    /// What became of the last POST; while a connection is made, a refusal may reach rmcp as a
    /// message, which has no place for it.
    last_refusal: Arc<Mutex<Option<Refusal>>>,
    /// What answers are held of while they are read.
    budget: Budget,
}

/// Where a message goes, and what goes with it.
struct Target {
    uri: Arc<str>,
    session_id: Option<Arc<str>>,
    token: Option<String>,
    headers: HashMap<HeaderName, HeaderValue>,
}

impl HttpClient {
    pub fn new(client: reqwest::Client, stop: CancellationToken, budget: Budget) -> Self {
        Self {
            client,
            stop,
            last_refusal: Arc::default(),
            budget,
        }
    }

    /// The refusal of the last message that was sent, if it was refused.
    pub fn last_refusal(&self) -> Option<Refusal> {
        self.lock().clone()
    }

    async fn exchange(
        &self,
        target: &Target,
        message: &ClientJsonRpcMessage,
    ) -> Result<StreamableHttpPostResponse, Error> {
        let sent = self.post(target).json(message).send().await;
        let response = sent.map_err(HttpError::Transport)?;
        let status = response.status();
        *self.lock() = None;
        let awaited = Awaited::read(message);
        if status.is_success() {
            return match awaited {
                Some(awaited) => self.read_answer(target, &awaited, response).await,
                None => Ok(StreamableHttpPostResponse::Accepted),
            };
        }
        let challenge = header(&response, WWW_AUTHENTICATE);
        let error = match status {
            // Refused credentials are that, whatever else is said.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => None,
            StatusCode::NOT_FOUND if target.session_id.is_some() => None,
            _ => read_error(&read_refusal(response).await),
        };
        // rmcp reads of it which versions a server speaks; nobody else does.
        let is_discovery = awaited.as_ref().is_some_and(Awaited::is_discovery);
        let error = error.map(|mut error| {
            error.data = error.data.filter(|_| is_discovery);
            error
        });
        let refusal = Refusal {
            status,
            challenge,
            error,
        };
        *self.lock() = Some(refusal.clone());
        awaited
            .and_then(|awaited| read_refused_message(&awaited, &refusal))
            .map(|answer| StreamableHttpPostResponse::Json(answer, None))
            .ok_or_else(|| HttpError::Refused(Box::new(refusal)).into())
    }

    fn post(&self, target: &Target) -> reqwest::RequestBuilder {
        let accepts = format!("{JSON_MIME_TYPE}, {EVENT_STREAM_MIME_TYPE}");
        let headers = target.headers.clone().into_iter().collect();
        let mut request = self.client.post(target.uri.as_ref());
        request = request.header(ACCEPT, accepts).headers(headers);
        if let Some(token) = &target.token {
            request = request.bearer_auth(token);
        }
        if let Some(session_id) = &target.session_id {
            request = request.header(HEADER_SESSION_ID, session_id.as_ref());
        }
        request
    }

    async fn read_answer(
        &self,
        target: &Target,
        awaited: &Awaited,
        response: reqwest::Response,
    ) -> Result<StreamableHttpPostResponse, Error> {
        let session_id = header(&response, HeaderName::from_static("mcp-session-id"));
        if session_id
            .as_ref()
            .is_some_and(|it| it.len() > MAX_SESSION_ID)
        {
            let why = format!("its session id is longer than {MAX_SESSION_ID} bytes");
            return Err(HttpError::from(Fault::NotMcp(why)).into());
        }
        let content_type = header(&response, CONTENT_TYPE);
        let is = |mime_type: &str| {
            let start = content_type
                .as_ref()
                .and_then(|it| it.get(..mime_type.len()));
            start.is_some_and(|start| start.eq_ignore_ascii_case(mime_type))
        };
        let answer = match () {
            () if is(EVENT_STREAM_MIME_TYPE) => self.read_events(target, awaited, response).await?,
            () if is(JSON_MIME_TYPE) => {
                let (body, held) = self.read_to_end(awaited.limit(), response).await?;
                read_body(awaited, &body, held)?
            }
            () => return Err(Error::UnexpectedContentType(content_type)),
        };
        Ok(StreamableHttpPostResponse::Json(answer, session_id))
    }

    async fn read_to_end(
        &self,
        limit: usize,
        response: reqwest::Response,
    ) -> Result<(Vec<u8>, Held), HttpError> {
        let unread = Unread::new(limit, &self.budget);
        // What is announced and does not come takes no memory: its pages are never touched.
        let announced = response.content_length().unwrap_or(0).min(limit as u64);
        let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
        let mut chunks = unread.count(response);
        while let Some(chunk) = chunks.try_next().await? {
            body.extend_from_slice(&chunk);
        }
        Ok((body, unread.take()))
    }

    /// Reads the stream up to the answer. What else is in it is counted, and a request of the
    /// server's own is answered.
    async fn read_events(
        &self,
        target: &Target,
        awaited: &Awaited,
        response: reqwest::Response,
    ) -> Result<ServerJsonRpcMessage, HttpError> {
        let unread = Unread::new(awaited.limit(), &self.budget);
        let mut events = SseStream::from_bytes_stream(unread.count(response));
        let mut traffic = Traffic::default();
        let mut replies = FuturesUnordered::new();
        loop {
            let event = tokio::select! {
                event = events.next(), if replies.len() < MOST_REPLIES => event,
                Some(()) = replies.next() => continue,
            };
            let ended = "the stream ended before the answer";
            let event = event.ok_or_else(|| Fault::NotMcp(ended.to_owned()))?;
            let Sse { event, data, .. } = event.map_err(stream_error)?;
            let data = data.unwrap_or_default();
            let held = unread.take();
            // Any other event is not of MCP, such as a `ping` that keeps the connection open.
            let is_message = event.is_none_or(|it| it.is_empty() || it == "message");
            if !is_message || data.trim().is_empty() {
                traffic.notification(data.len()).map_err(Fault::from)?;
                continue;
            }
            match Message::read(data.as_bytes()).map_err(Fault::from)? {
                Message::Answer { id, outcome } if is_ours(awaited, id, outcome.is_err()) => {
                    return Ok(awaited.answer(outcome, held)?);
                }
                Message::Unknown { .. } => return Err(Fault::unrecognized().into()),
                Message::Answer { .. } | Message::Notification => {
                    traffic.notification(data.len()).map_err(Fault::from)?;
                }
                Message::Request { id, method } => {
                    let counted = traffic.request(&method, data.len());
                    counted.map_err(Fault::from)?;
                    if let Some(reply) = message::reply(id, &method) {
                        replies.push(self.reply(target, reply));
                    }
                }
            }
        }
    }

    /// Answers a request of the server's own. Whether that is heard is the server's concern.
    async fn reply(&self, target: &Target, message: String) {
        let headers = target.headers.iter();
        let headers = headers.filter(|(name, _)| {
            let name = name.as_str();
            !OF_THE_MESSAGE.iter().any(|it| name.starts_with(it))
        });
        let target = Target {
            uri: Arc::clone(&target.uri),
            session_id: target.session_id.clone(),
            token: target.token.clone(),
            headers: headers
                .map(|(name, it)| (name.clone(), it.clone()))
                .collect(),
        };
        let request = self.post(&target).header(CONTENT_TYPE, JSON_MIME_TYPE);
        let _ = request.body(message).timeout(REPLY_TIMEOUT).send().await;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Refusal>> {
        self.last_refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

type Error = StreamableHttpError<HttpError>;

impl From<HttpError> for Error {
    fn from(error: HttpError) -> Self {
        Self::Client(error)
    }
}

impl StreamableHttpClient for HttpClient {
    type Error = HttpError;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Error> {
        let target = Target {
            uri,
            session_id,
            token: auth_header,
            headers: custom_headers,
        };
        let exchange = self.exchange(&target, &message);
        tokio::select! {
            answer = exchange => answer,
            () = self.stop.cancelled() => Err(HttpError::Stopped.into()),
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Error> {
        let mut request = self
            .client
            .delete(uri.as_ref())
            .header(HEADER_SESSION_ID, session_id.as_ref())
            .headers(custom_headers.into_iter().collect());
        if let Some(token) = auth_header {
            request = request.bearer_auth(token);
        }
        let request = request.timeout(DELETE_TIMEOUT);
        // 405 is how a server says that clients do not end its sessions.
        request.send().await.map_err(HttpError::Transport)?;
        Ok(())
    }

    async fn get_stream(
        &self,
        _uri: Arc<str>,
        _session_id: Option<Arc<str>>,
        _last_event_id: Option<String>,
        _auth_header: Option<String>,
        _custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Error> {
        // Only answers to our own requests are of interest, and those come with the POST.
        Err(Error::ServerDoesNotSupportSse)
    }
}

/// Reads the answer to a request. rmcp ignores an answer that is to none of its requests, and nobody
/// would hear of it.
fn read_body(
    awaited: &Awaited,
    body: &[u8],
    held: Held,
) -> Result<ServerJsonRpcMessage, HttpError> {
    match Message::read(body).map_err(Fault::from)? {
        Message::Answer { id, outcome } if is_ours(awaited, id, outcome.is_err()) => {
            Ok(awaited.answer(outcome, held)?)
        }
        Message::Unknown { .. } => Err(Fault::unrecognized().into()),
        _ => {
            let why = "the answer is not to the request that was made";
            Err(Fault::NotMcp(why.to_owned()).into())
        }
    }
}

/// Whether an answer is to our request. An error without an id cannot be of another one.
fn is_ours(awaited: &Awaited, id: Option<&RawValue>, is_error: bool) -> bool {
    id.map_or(is_error, |id| awaited.has_id(id))
}

/// The bytes that were read and are not yet made anything of, in two places: where they come in, and
/// where they are taken.
#[derive(Clone)]
struct Unread {
    limit: usize,
    budget: Budget,
    held: Arc<Mutex<Held>>,
}

impl Unread {
    fn new(limit: usize, budget: &Budget) -> Self {
        Self {
            limit,
            budget: budget.clone(),
            held: Arc::new(Mutex::new(budget.empty())),
        }
    }

    /// The body of an answer, as long as no more than the limit is unread.
    fn count(&self, response: reqwest::Response) -> BoxStream<'static, Result<Bytes, HttpError>> {
        let unread = self.clone();
        let chunks = response.bytes_stream().map_err(HttpError::Transport);
        let chunks = chunks.map(move |chunk| {
            let chunk = chunk?;
            unread.add(chunk.len())?;
            Ok(chunk)
        });
        chunks.boxed()
    }

    fn add(&self, bytes: usize) -> Result<(), Fault> {
        let mut held = self.lock();
        held.grow(bytes as u64)?;
        if held.bytes() > self.limit as u64 {
            return Err(Excess::Answer(self.limit).into());
        }
        Ok(())
    }

    /// What is unread is made something of.
    fn take(&self) -> Held {
        std::mem::replace(&mut *self.lock(), self.budget.empty())
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is wrong with a stream of events: where its bytes could not be read, that is it.
fn stream_error(error: SseError) -> HttpError {
    match error {
        SseError::Body(error) => match error.downcast() {
            Ok(error) => *error,
            Err(error) => Fault::NotMcp(error.to_string()).into(),
        },
        error => Fault::NotMcp(error.to_string()).into(),
    }
}

/// What rmcp shall be told of a refusal while it connects: a JSON-RPC error.
///
/// A server older than MCP 2026-07-28 may refuse `server/discover` in any way; rmcp falls back to
/// `initialize` if that looks like a JSON-RPC error with the request's id. Refused credentials are
/// never turned into a message.
fn read_refused_message(awaited: &Awaited, refusal: &Refusal) -> Option<ServerJsonRpcMessage> {
    let is_told = awaited.is_discovery()
        && refusal.status.is_client_error()
        && !matches!(
            refusal.status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        );
    let error = refusal.error.clone().unwrap_or_else(|| {
        let message = format!("server/discover was refused with HTTP {}", refusal.status);
        ErrorData::invalid_request(message, None)
    });
    is_told.then(|| ServerJsonRpcMessage::error(error, Some(awaited.id().clone())))
}

/// The JSON-RPC error in the body of a refusal, if there is one.
fn read_error(body: &[u8]) -> Option<ErrorData> {
    match serde_json::from_slice::<ServerJsonRpcMessage>(body) {
        Ok(JsonRpcMessage::Error(error)) => Some(error.error),
        _ => None,
    }
}

async fn read_refusal(response: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        let room = MAX_REFUSAL - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == MAX_REFUSAL {
            break;
        }
    }
    body
}

fn header(response: &reqwest::Response, name: HeaderName) -> Option<String> {
    let value = response.headers().get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}
