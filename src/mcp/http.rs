//! Streamable HTTP: a POST for each message (MCP 2026-07-28, transports).

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, FuturesUnordered, StreamExt};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::Response;
use url::Url;

use super::channel::{Answer, Place, Request, read_answer};
use super::credential::Credential;
use super::error::{Error, RpcError};
use super::excess::{Excess, Traffic};
use super::fault::Fault;
use super::message::{self, Message};
use super::server::Server;
use crate::budget::{Budget, Held};
use crate::sse;

const JSON: &str = "application/json";
const EVENT_STREAM: &str = "text/event-stream";
const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The most bytes of a session id.
const MAX_SESSION_ID: usize = 4096;
/// The most bytes that are read of the body of an HTTP error.
const MAX_ERROR_BODY: usize = 64 * 1024;
/// The timeout of the request that ends a session.
const DELETE_TIMEOUT: Duration = Duration::from_secs(1);
/// The timeout of a reply to a request of the server's own, and how many replies are sent at once.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
const MOST_REPLIES: usize = 4;

/// A server that is spoken to over Streamable HTTP.
pub struct Http {
    client: reqwest::Client,
    url: Url,
    /// The headers that every request has.
    headers: HeaderMap,
    credential: Credential,
    /// The session that the server opened (MCP 2025-11-25, session management).
    session: OnceLock<HeaderValue>,
    /// The version of MCP that was agreed on.
    version: OnceLock<HeaderValue>,
    /// What answers are held of while they are read.
    budget: Budget,
}

impl Http {
    /// A channel to `url` with the headers and the credential of `server`.
    pub fn new(client: reqwest::Client, url: &Url, server: &Server, budget: Budget) -> Self {
        let mut headers = server.headers.clone();
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        Self {
            client,
            url: url.clone(),
            headers,
            credential: server.credential.clone(),
            session: OnceLock::new(),
            version: OnceLock::new(),
            budget,
        }
    }

    /// From now on, every request carries this version (MCP 2026-07-28, protocol version header).
    pub fn set_version(&self, version: &str) {
        if let Ok(version) = HeaderValue::from_str(version) {
            // Versions are agreed on once.
            let _ = self.version.set(version);
        }
    }

    /// Sends a request, and reads its answer from a JSON body or a stream of events.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn request(&self, request: &Request) -> Result<Answer, Error> {
        // Requests that other tasks are about to send go out together with this one. A server on the
        // same core then answers several at a time: a third more turns (benches/gateway.py).
        tokio::task::yield_now().await;
        let sent = self.post(request.message.clone(), &request.headers).send();
        let response = sent.await.map_err(|error| Error::from_connection(&error))?;
        if !response.status().is_success() {
            return Err(read_refusal(response).await);
        }
        if request.method == "initialize" {
            self.keep_session(&response)?;
        }
        let content_type = text_of(&response, CONTENT_TYPE);
        let is = |mime_type: &str| {
            let start = content_type
                .as_ref()
                .and_then(|it| it.get(..mime_type.len()));
            start.is_some_and(|start| start.eq_ignore_ascii_case(mime_type))
        };
        if is(EVENT_STREAM) {
            return self.read_events(request, response).await;
        }
        if is(JSON) {
            let (body, held) = self.read_to_end(request.max_answer, response).await?;
            return Ok(read_answer(request, body, held)?);
        }
        Err(Error::NotMcp(match content_type {
            Some(content_type) => format!("its content type is {content_type:?}"),
            None => "it has no content type".to_owned(),
        }))
    }

    /// Sends a notification.
    ///
    /// # Errors
    /// The server refused it or was not reached.
    pub async fn notify(&self, message: Bytes) -> Result<(), Error> {
        let sent = self.post(message, &HeaderMap::new()).send().await;
        let response = sent.map_err(|error| Error::from_connection(&error))?;
        match response.status().is_success() {
            true => Ok(()),
            false => Err(read_refusal(response).await),
        }
    }

    /// Ends the session, if there is one.
    pub async fn close(&self) {
        if self.session.get().is_none() {
            return;
        }
        let request = self.client.delete(self.url.clone());
        let request = request.headers(self.headers_of(&HeaderMap::new()));
        // 405 is how a server says that clients do not end its sessions.
        let _ = request.timeout(DELETE_TIMEOUT).send().await;
    }

    fn post(&self, message: Bytes, headers: &HeaderMap) -> reqwest::RequestBuilder {
        let request = self.client.post(self.url.clone());
        request.headers(self.headers_of(headers)).body(message)
    }

    fn headers_of(&self, request: &HeaderMap) -> HeaderMap {
        let mut headers = self.headers.clone();
        if let Some(value) = self.credential.authorization() {
            headers.insert(AUTHORIZATION, value.clone());
        }
        if let Some(session) = self.session.get() {
            headers.insert(SESSION_ID, session.clone());
        }
        if let Some(version) = self.version.get() {
            headers.insert(PROTOCOL_VERSION, version.clone());
        }
        headers.extend(request.clone());
        headers
    }

    fn keep_session(&self, response: &Response) -> Result<(), Fault> {
        let Some(id) = response.headers().get(SESSION_ID) else {
            return Ok(());
        };
        if id.len() > MAX_SESSION_ID {
            let why = format!("its session id is longer than {MAX_SESSION_ID} bytes");
            return Err(Fault::NotMcp(why));
        }
        // A channel opens one session.
        let _ = self.session.set(id.clone());
        Ok(())
    }

    async fn read_to_end(
        &self,
        limit: usize,
        response: Response,
    ) -> Result<(Vec<u8>, Held), Error> {
        // What is announced and does not come takes no memory: its pages are never touched.
        let announced = response.content_length().unwrap_or(0).min(limit as u64);
        let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
        let mut held = self.budget.empty();
        let mut chunks = chunks(response);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| Error::from_connection(&error))?;
            held.grow(chunk.len() as u64)?;
            body.extend_from_slice(&chunk);
            if body.len() > limit {
                return Err(Excess::Answer(limit).into());
            }
        }
        Ok((body, held))
    }

    /// Reads the stream up to the answer. Other messages are counted, and requests of the server's
    /// own are answered.
    async fn read_events(&self, request: &Request, response: Response) -> Result<Answer, Error> {
        let mut events = Events {
            chunks: chunks(response),
            decoder: sse::Decoder::default(),
            decoded: VecDeque::new(),
            limit: request.max_answer,
            held: self.budget.empty(),
        };
        let mut traffic = Traffic::default();
        let mut replies = FuturesUnordered::new();
        loop {
            let event = tokio::select! {
                event = events.next(), if replies.len() < MOST_REPLIES => event?,
                Some(()) = replies.next() => continue,
            };
            let ended = || Fault::NotMcp("the stream ended before the answer".to_owned());
            let (sse::Event { name, data }, held) = event.ok_or_else(ended)?;
            // Any other event is not of MCP, such as a `ping` that keeps the connection open.
            if !(name.is_empty() || name == b"message") {
                traffic.notification(data.len())?;
                continue;
            }
            let place = match Message::read(&data).map_err(Fault::from)? {
                Message::Answer { id, outcome } if request.is_answered_by(id, outcome.is_err()) => {
                    Place::of(outcome, &data)
                }
                Message::Unknown { .. } => return Err(Fault::unrecognized().into()),
                Message::Answer { .. } | Message::Notification => {
                    traffic.notification(data.len())?;
                    continue;
                }
                Message::Request { id, method } => {
                    traffic.request(&method, data.len())?;
                    if let Some(reply) = message::reply(id, &method) {
                        replies.push(self.reply(reply));
                    }
                    continue;
                }
            };
            drop(replies);
            sse::drain(events.chunks);
            return Ok(Answer::new(data, place, held)?);
        }
    }

    /// Answers a request of the server's own. If the reply is lost, the server has to cope.
    async fn reply(&self, message: String) {
        let request = self.post(message.into(), &HeaderMap::new());
        let _ = request.timeout(REPLY_TIMEOUT).send().await;
    }
}

/// The events of an answer, as long as no more than the limit is unread.
struct Events {
    chunks: BoxStream<'static, Result<Bytes, reqwest::Error>>,
    decoder: sse::Decoder,
    decoded: VecDeque<sse::Event>,
    limit: usize,
    /// What the bytes take that were read and not given out.
    held: Held,
}

impl Events {
    /// The next event and the share of the budget that its bytes take; `None` at the end.
    async fn next(&mut self) -> Result<Option<(sse::Event, Held)>, Error> {
        loop {
            if let Some(event) = self.decoded.pop_front() {
                let mut held = self.held.sibling();
                std::mem::swap(&mut held, &mut self.held);
                return Ok(Some((event, held)));
            }
            let Some(chunk) = self.chunks.next().await else {
                return Ok(None);
            };
            let chunk = chunk.map_err(|error| Error::from_connection(&error))?;
            self.held.grow(chunk.len() as u64)?;
            if self.held.bytes() > self.limit as u64 {
                return Err(Excess::Answer(self.limit).into());
            }
            self.decoder.push(&chunk, &mut self.decoded);
        }
    }
}

fn chunks(response: Response) -> BoxStream<'static, Result<Bytes, reqwest::Error>> {
    response.bytes_stream().boxed()
}

/// Reads an HTTP error response.
async fn read_refusal(response: Response) -> Error {
    let status = response.status();
    let challenge = text_of(&response, WWW_AUTHENTICATE);
    let rejection = match status {
        // Refused credentials are that, whatever else is said.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => None,
        _ => read_error(&read_error_body(response).await),
    };
    Error::Refused {
        status,
        challenge,
        rejection,
    }
}

/// The JSON-RPC error in the body of an HTTP error, if there is one.
fn read_error(body: &[u8]) -> Option<Box<RpcError>> {
    match Message::read(body).ok()? {
        Message::Answer {
            outcome: Err(error),
            ..
        } => serde_json::from_str(error.get()).ok(),
        _ => None,
    }
}

async fn read_error_body(response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        let room = MAX_ERROR_BODY - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == MAX_ERROR_BODY {
            break;
        }
    }
    body
}

fn text_of(response: &Response, name: HeaderName) -> Option<String> {
    let value = response.headers().get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}
