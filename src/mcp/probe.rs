//! `Probe`: one HTTP request to an MCP server at a time, and what came back, as it came.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures::stream::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use reqwest::tls::TlsInfo;
use rustls::CertificateError;
use serde_json::Value;
use url::Url;

use super::Error;
use super::requests::{EVENT_STREAM, has_type};
use crate::outgoing;
use crate::sse;

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// The most bytes that are read of an answer.
const MAX_BODY: usize = 1024 * 1024;
/// How many characters of a body are shown.
const MAX_START: usize = 120;
/// How long the first event of a stream that nobody asked a question on is waited for.
const EVENT_TIMEOUT: Duration = Duration::from_millis(300);
/// What tokio-rustls says when the connection ends in the middle of the handshake; it has no error of
/// its own for that.
const HANDSHAKE_EOF: &str = "tls handshake eof";
/// How long a server may take to hear that a session is over.
const DELETE_TIMEOUT: Duration = Duration::from_secs(1);

/// Asks a server single questions. It follows no redirect, and keeps no session.
pub struct Probe {
    client: reqwest::Client,
    /// The sessions that were opened by asking, each with the request that ends it.
    sessions: Mutex<Vec<(Url, HeaderMap)>>,
}

/// One request: a POST of the message, or a GET without one.
#[derive(Debug, Clone)]
pub struct Request {
    pub url: Url,
    pub headers: HeaderMap,
    pub message: Option<Value>,
    /// How long the answer may take.
    pub limit: Duration,
}

/// What came of a request.
#[derive(Debug, Clone)]
pub struct ProbeResult {
    pub answer: Result<Answer, ProbeError>,
    /// How long it took.
    pub took: Duration,
}

/// An answer in HTTP.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The JSON-RPC message in it, or in the first event that has one.
    pub message: Option<Value>,
    /// The first characters of its body, or of its first event with the name of that.
    pub start: String,
    /// The version of TLS, if there was any.
    pub tls: Option<&'static str>,
}

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeError {
    /// The name was not found, or nobody listens.
    NoConnection(String),
    /// The connection could not be made secure.
    Tls { fault: TlsFault, message: String },
    /// It did not come in time.
    Timeout(Duration),
    /// The connection broke off.
    BrokenOff(String),
}

/// What is wrong with the security of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFault {
    Expired,
    NotYetValid,
    WrongName,
    UnknownIssuer,
    /// What answers there is not TLS.
    NotTls,
    Other,
}

impl Answer {
    /// The `result` of the message (JSON-RPC 2.0, response object).
    pub fn result(&self) -> Option<&Value> {
        let is_success = self.status.is_success();
        self.message.as_ref()?.get("result").filter(|_| is_success)
    }

    /// The text of a header, as far as it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether it is a stream of events.
    pub fn is_event_stream(&self) -> bool {
        has_type(&self.headers, EVENT_STREAM)
    }
}

impl Probe {
    /// A probe for the server at `url`.
    pub fn new(url: &Url) -> Result<Self, Error> {
        let client = outgoing::client_for(url)
            .redirect(reqwest::redirect::Policy::none())
            .tls_info(true)
            .build()
            .map_err(Error::Setup)?;
        Ok(Self {
            client,
            sessions: Mutex::default(),
        })
    }

    /// Sends one request, and reads its answer as far as it says something.
    pub async fn send(&self, request: &Request) -> ProbeResult {
        let started = Instant::now();
        // Many requests are under way at once, and each is large.
        let exchange = tokio::time::timeout(request.limit, Box::pin(self.exchange(request)));
        let answer = exchange
            .await
            .unwrap_or(Err(ProbeError::Timeout(request.limit)));
        ProbeResult {
            answer,
            took: started.elapsed(),
        }
    }

    /// Ends the sessions that were opened.
    pub async fn close(&self) {
        let sessions = std::mem::take(&mut *self.lock());
        let ends = sessions.into_iter().map(|(url, headers)| {
            let request = self.client.delete(url).headers(headers);
            request.timeout(DELETE_TIMEOUT).send()
        });
        // A server that does not let its sessions be ended ends them itself, some day.
        let _ = futures::future::join_all(ends).await;
    }

    async fn exchange(&self, request: &Request) -> Result<Answer, ProbeError> {
        let method = match request.message {
            Some(_) => Method::POST,
            None => Method::GET,
        };
        let mut sent = self
            .client
            .request(method, request.url.clone())
            .headers(request.headers.clone());
        if let Some(message) = &request.message {
            sent = sent.json(message);
        }
        let response = sent.send().await.map_err(|error| probe_error(&error))?;
        if let Some(id) = response.headers().get(SESSION_ID)
            && !request.headers.contains_key(SESSION_ID)
        {
            self.remember(request, id.clone());
        }
        let mut answer = Answer {
            status: response.status(),
            headers: response.headers().clone(),
            message: None,
            start: String::new(),
            tls: tls_version(&response),
        };
        match (answer.is_event_stream(), &request.message) {
            (true, Some(_)) => read_events(&mut answer, response).await,
            // The head is the answer; an event that comes by itself says what kind of stream it is.
            (true, None) => {
                let first = read_events(&mut answer, response);
                let _ = tokio::time::timeout(EVENT_TIMEOUT, first).await;
            }
            (false, _) => read_body(&mut answer, response).await,
        }
        Ok(answer)
    }

    fn remember(&self, request: &Request, id: HeaderValue) {
        let mut headers = request.headers.clone();
        headers.insert(SESSION_ID, id);
        self.lock().push((request.url.clone(), headers));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Url, HeaderMap)>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_body(answer: &mut Answer, response: reqwest::Response) {
    let mut body = BytesMut::new();
    let mut chunks = response.bytes_stream();
    // What came before a body broke off still says what kind of answer it is.
    while let Some(Ok(chunk)) = chunks.next().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY {
            break;
        }
    }
    answer.message = serde_json::from_slice(&body).ok().filter(is_message);
    answer.start = start_of(&String::from_utf8_lossy(&body));
}

/// Reads until an event has the answer to what was asked.
async fn read_events(answer: &mut Answer, response: reqwest::Response) {
    let mut read = 0;
    let mut chunks = response.bytes_stream();
    let mut decoder = sse::Decoder::default();
    let mut events = VecDeque::new();
    while let Some(Ok(chunk)) = chunks.next().await {
        read += chunk.len();
        if read > MAX_BODY {
            return;
        }
        decoder.push(&chunk, &mut events);
        for sse::Event { name, data } in events.drain(..) {
            if answer.start.is_empty() {
                let [name, data] = [&name, &data].map(|it| String::from_utf8_lossy(it));
                answer.start = start_of(format!("{name} {data}").trim());
            }
            answer.message = serde_json::from_slice(&data).ok().filter(is_message);
            if answer.message.is_some() || is_endpoint(answer) {
                return;
            }
        }
    }
}

/// The event that HTTP+SSE begins with (MCP 2024-11-05, transports).
fn is_endpoint(answer: &Answer) -> bool {
    answer.start.starts_with("endpoint ")
}

fn is_message(value: &Value) -> bool {
    value.get("result").is_some() || value.get("error").is_some_and(Value::is_object)
}

fn start_of(text: &str) -> String {
    text.chars().take(MAX_START).collect()
}

fn tls_version(response: &reqwest::Response) -> Option<&'static str> {
    let version = response.extensions().get::<TlsInfo>()?.version()?;
    let known = [
        (reqwest::tls::Version::TLS_1_2, "TLS 1.2"),
        (reqwest::tls::Version::TLS_1_3, "TLS 1.3"),
    ];
    let known = known.into_iter().find(|(known, _)| *known == version);
    known.map(|(_, name)| name)
}

fn probe_error(error: &reqwest::Error) -> ProbeError {
    if let Some(tls) = tls_error(error) {
        return ProbeError::Tls {
            fault: TlsFault::of(tls),
            message: tls.to_string(),
        };
    }
    let first: &dyn StdError = error;
    let chain = std::iter::successors(Some(first), |&error| error.source());
    let cause = chain.last().map(ToString::to_string).unwrap_or_default();
    if cause.ends_with(HANDSHAKE_EOF) {
        ProbeError::Tls {
            fault: TlsFault::Other,
            message: cause,
        }
    } else if error.is_connect() {
        ProbeError::NoConnection(cause)
    } else {
        ProbeError::BrokenOff(cause)
    }
}

/// The error of TLS in the chain. An `io::Error` is no link of it: what it wraps has to be asked.
pub(super) fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut error: &(dyn StdError + 'static) = error;
    loop {
        if let Some(tls) = error.downcast_ref() {
            return Some(tls);
        }
        let wrapped = error.downcast_ref::<std::io::Error>();
        error = match wrapped.and_then(std::io::Error::get_ref) {
            Some(wrapped) => wrapped,
            None => error.source()?,
        };
    }
}

impl TlsFault {
    pub(super) fn of(error: &rustls::Error) -> Self {
        use CertificateError as Bad;

        match error {
            rustls::Error::InvalidCertificate(certificate) => match certificate {
                Bad::Expired | Bad::ExpiredContext { .. } => Self::Expired,
                Bad::NotValidYet | Bad::NotValidYetContext { .. } => Self::NotYetValid,
                Bad::NotValidForName | Bad::NotValidForNameContext { .. } => Self::WrongName,
                // A signature is bad when a stranger has the name of an authority that is known.
                Bad::UnknownIssuer | Bad::BadSignature => Self::UnknownIssuer,
                _ => Self::Other,
            },
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            _ => Self::Other,
        }
    }
}
