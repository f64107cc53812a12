//! What both transports over HTTP have in common: requests with what the server is shown, streams of
//! events, and refusals.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures::stream::{BoxStream, FuturesUnordered, StreamExt};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::{RequestBuilder, Response};
use tower::ServiceExt;
use url::Url;

use super::credential::Credential;
use super::error::{Error, RpcError};
use super::excess::Excess;
use super::fault::Fault;
use super::message::Message;
use super::pending::{Inbox, Received};
use super::server::{Endpoint, Server};
use crate::budget::{Budget, Held};
use crate::sse;

pub const JSON: &str = "application/json";
pub const EVENT_STREAM: &str = "text/event-stream";

/// The most bytes that are read of the body of an HTTP error.
const MAX_ERROR_BODY: usize = 64 * 1024;
/// How many characters of such a body are told, if it is plain text.
const MAX_SAID: usize = 200;
/// The timeout of a reply to a request of the server's own, and how many replies are sent at once.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
pub const MOST_REPLIES: usize = 4;
/// The longest that a server may have a stream left alone before it is read on.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Makes requests with the headers and the credential of a server.
pub struct Requests {
    client: reqwest::Client,
    /// The router that answers in place of the network.
    router: Option<Router>,
    headers: HeaderMap,
    credential: Credential,
}

impl Requests {
    /// Requests with the headers and the credential of `server`.
    pub fn new(client: reqwest::Client, server: &Server) -> Self {
        Self {
            client,
            router: match &server.endpoint {
                Endpoint::InProcess(it) => Some(it.router.clone()),
                Endpoint::Http(_) | Endpoint::Stdio(_) => None,
            },
            headers: server.headers.clone(),
            credential: server.credential.clone(),
        }
    }

    /// A POST of a message, whose answer may be JSON or events.
    pub fn post(&self, url: &Url, message: Bytes, headers: HeaderMap) -> RequestBuilder {
        let mut all = self.headers(headers);
        let both = HeaderValue::from_static("application/json, text/event-stream");
        all.insert(ACCEPT, both);
        all.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        self.client.post(url.clone()).headers(all).body(message)
    }

    /// The stream of events that a GET is answered with, of which `limit` bytes may be unread.
    ///
    /// # Errors
    /// There is no answer, or it is not an event stream.
    pub async fn events(
        &self,
        url: &Url,
        headers: HeaderMap,
        limit: usize,
        budget: &Budget,
    ) -> Result<Events, Error> {
        let mut all = self.headers(headers);
        all.insert(ACCEPT, HeaderValue::from_static(EVENT_STREAM));
        let response = self
            .accepted(self.client.get(url.clone()).headers(all))
            .await?;
        match has_type(response.headers(), EVENT_STREAM) {
            true => Ok(Events::of(response, limit, budget)),
            false => Err(Error::NotMcp(
                "the answer to a GET is not an event stream".to_owned(),
            )),
        }
    }

    /// Answers a request of the server's own. If the reply is lost, the server has to cope.
    pub async fn reply(&self, url: &Url, message: String, headers: HeaderMap) {
        let request = self.post(url, message.into(), headers);
        let _ = self.send_within(request, REPLY_TIMEOUT).await;
    }

    /// A DELETE.
    pub fn delete(&self, url: &Url, headers: HeaderMap) -> RequestBuilder {
        self.client
            .delete(url.clone())
            .headers(self.headers(headers))
    }

    /// Sends a request that has to be accepted.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal.
    pub async fn accepted(&self, request: RequestBuilder) -> Result<Response, Error> {
        let sent = self.send(request).await;
        let response = sent.map_err(|error| Error::from_connection(&error))?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(read_refusal(response).await),
        }
    }

    /// Sends a request whose answer nobody waits for longer than that.
    pub async fn send_within(&self, request: RequestBuilder, limit: Duration) -> Option<Response> {
        let sent = tokio::time::timeout(limit, self.send(request)).await;
        sent.ok()?.ok()
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, reqwest::Error> {
        let Some(router) = &self.router else {
            return request.send().await;
        };
        let request: http::Request<reqwest::Body> = request.build()?.try_into()?;
        let mut request = request.map(Body::new);
        // A router expects what every HTTP server does.
        let host = HeaderValue::from_static("localhost");
        request.headers_mut().entry(HOST).or_insert(host);
        let Ok(answer) = router.clone().oneshot(request).await;
        let answer = answer.map(|body| reqwest::Body::wrap_stream(body.into_data_stream()));
        Ok(answer.into())
    }

    fn headers(&self, headers: HeaderMap) -> HeaderMap {
        let mut all = self.headers.clone();
        if let Some(value) = self.credential.authorization() {
            all.insert(AUTHORIZATION, value.clone());
        }
        all.extend(headers);
        all
    }
}

/// Reads all that comes on a stream that carries messages of every kind. Answers go to the requests
/// that wait for them, and requests of the server's own are answered with `post`.
///
/// # Errors
/// The server sent too much, or the connection broke off.
pub async fn read_all<F: Future<Output = ()>>(
    events: &mut Events,
    inbox: &mut Inbox,
    post: impl Fn(String) -> F,
) -> Result<(), Fault> {
    let mut replies = FuturesUnordered::new();
    loop {
        let event = tokio::select! {
            event = events.next(), if replies.len() < MOST_REPLIES => event?,
            Some(()) = replies.next() => continue,
        };
        let Some((sse::Event { name, data }, held)) = event else {
            return Ok(());
        };
        if !is_message(&name) {
            inbox.ignore(data.len())?;
            continue;
        }
        match inbox.receive(data, held)? {
            Received::Message => {}
            Received::Request { reply } => replies.push(post(reply)),
            // Whoever waits may wait for this.
            Received::Noise { fault, .. } => {
                inbox.pending.fail(&fault);
            }
        }
    }
}

/// Whether an event of this name is a message of MCP. Any other is not, such as a `ping` that keeps the
/// connection open.
pub fn is_message(name: &[u8]) -> bool {
    name.is_empty() || name == b"message"
}

/// The events of an answer, as long as no more than the limit is unread.
pub struct Events {
    chunks: BoxStream<'static, Result<Bytes, reqwest::Error>>,
    /// What is known of the place where they are read on.
    pub decoder: sse::Decoder,
    /// Where they came from, redirects followed.
    pub url: Url,
    decoded: VecDeque<sse::Event>,
    limit: usize,
    /// What the bytes take that were read and not given out.
    held: Held,
}

impl Events {
    /// The events of `response`, of which `limit` bytes may be unread.
    pub fn of(response: Response, limit: usize, budget: &Budget) -> Self {
        Self {
            url: response.url().clone(),
            chunks: chunks(response),
            decoder: sse::Decoder::default(),
            decoded: VecDeque::new(),
            limit,
            held: budget.empty(),
        }
    }

    /// How long to wait before they are read on, if the server says so.
    pub fn pause(&self) -> Option<Duration> {
        self.decoder.retry().map(|it| it.min(LONGEST_PAUSE))
    }

    /// Nothing more is wanted of them.
    pub fn drain(self) {
        sse::drain(self.chunks);
    }

    /// The next event and the share of the budget that its bytes take; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<(sse::Event, Held)>, Fault> {
        loop {
            if let Some(event) = self.decoded.pop_front() {
                let mut held = self.held.sibling();
                std::mem::swap(&mut held, &mut self.held);
                return Ok(Some((event, held)));
            }
            let Some(chunk) = self.chunks.next().await else {
                return Ok(None);
            };
            let chunk = chunk.map_err(|error| Fault::from_connection(&error))?;
            self.held.grow(chunk.len() as u64)?;
            if self.held.bytes() > self.limit as u64 {
                return Err(Excess::Answer(self.limit).into());
            }
            self.decoder.push(&chunk, &mut self.decoded);
        }
    }
}

pub fn chunks(response: Response) -> BoxStream<'static, Result<Bytes, reqwest::Error>> {
    response.bytes_stream().boxed()
}

/// Reads an HTTP error response.
async fn read_refusal(response: Response) -> Error {
    let status = response.status();
    let challenge = text_of(&response, WWW_AUTHENTICATE);
    let is_text = has_type(response.headers(), "text/plain");
    let (rejection, said) = match status {
        // Refused credentials are that, whatever else is said.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (None, String::new()),
        _ => {
            let body = read_error_body(response).await;
            let text = String::from_utf8_lossy(&body);
            let line = text
                .trim()
                .lines()
                .next()
                .filter(|_| is_text)
                .unwrap_or_default();
            (read_error(&body), line.chars().take(MAX_SAID).collect())
        }
    };
    Error::Refused {
        status,
        challenge,
        rejection,
        said,
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

pub fn text_of(response: &Response, name: HeaderName) -> Option<String> {
    let value = response.headers().get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Whether the content type in the headers of a response is this one, parameters aside.
pub fn has_type(headers: &HeaderMap, mime_type: &str) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let start = content_type.and_then(|it| it.get(..mime_type.len()));
    start.is_some_and(|start| start.eq_ignore_ascii_case(mime_type.as_bytes()))
}
