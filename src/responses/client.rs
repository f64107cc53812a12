//! `Client`: sends a request to an endpoint of the Responses API and reads the answer.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use futures::stream::{self, StreamExt};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value};
use url::Url;

use super::EventStream;
use super::conversation::{asks_for_reasoning, leave_reasoning_out};
use super::error::{ApiError, Body, Error};
use super::event::Event;
use super::request::CreateResponse;
use super::response::Response;
use super::retry::{self, OnRetry, Retries, Retry};
use super::sse::{self, Bounds};
use crate::address;
use crate::auth::Secret;
use crate::outgoing;

/// The most bytes of one event: the last one repeats the whole answer.
const MAX_EVENT: usize = 128 * 1024 * 1024;
/// The most bytes that are read of a refusal.
const MAX_REFUSAL: usize = 64 * 1024;

/// An endpoint of the Responses API.
pub struct Client {
    http: reqwest::Client,
    url: Url,
    limits: Limits,
    retries: Retries,
    on_retry: OnRetry,
    /// The model was found to have no reasoning that could be sent again.
    has_no_reasoning: AtomicBool,
}

/// Where requests go: `/responses` below the base URL.
pub fn endpoint(base_url: &Url) -> Url {
    let mut url = base_url.clone();
    url.set_path(&format!(
        "{}/responses",
        base_url.path().trim_end_matches('/')
    ));
    url
}

/// What an answer may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Between two bytes of the answer; a model may think for a while.
    pub idle_timeout: Duration,
    /// Bytes of the whole answer.
    pub max_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(300),
            max_bytes: 256 * 1024 * 1024,
        }
    }
}

impl Client {
    /// A client for `base_url`, such as `https://api.openai.com/v1`, with or without a slash at
    /// its end. Redirects are not followed: a key must not travel to a host that nobody named.
    pub fn new(
        base_url: &Url,
        api_key: &Secret,
        limits: Limits,
        retries: Retries,
        on_retry: OnRetry,
    ) -> Result<Self, Error> {
        let url = endpoint(base_url);
        // A key that is no header value is refused when it is parsed, in `commands::args`.
        let mut headers = HeaderMap::new();
        if let Ok(mut bearer) = HeaderValue::try_from(format!("Bearer {}", api_key.expose())) {
            bearer.set_sensitive(true);
            headers.insert(http::header::AUTHORIZATION, bearer);
        }
        let http = outgoing::client_for(base_url)
            .default_headers(headers)
            .read_timeout(limits.idle_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(Error::Setup)?;
        Ok(Self {
            http,
            url,
            limits,
            retries,
            on_retry,
            has_no_reasoning: AtomicBool::new(false),
        })
    }

    /// `POST /responses`. A response that is not streamed comes as a stream of one event.
    ///
    /// A failure before anything can have run is tried again ([`Retries`]). So is a request that
    /// asks a model without reasoning for some, or has the reasoning of another: without it.
    pub async fn create_stream(&self, request: &CreateResponse) -> Result<EventStream, Error> {
        let mut request = Cow::Borrowed(request);
        if self.has_no_reasoning.load(Ordering::Relaxed) && asks_for_reasoning(&request) {
            leave_reasoning_out(request.to_mut());
        }
        let mut attempt = 0;
        loop {
            let sent = self.http.post(self.url.clone()).json(&request).send().await;
            let (error, headers) = match sent {
                Ok(response) if response.status().is_success() => return self.read(response).await,
                Ok(response) => {
                    let headers = response.headers().clone();
                    let may_retry = self.retries.allows(response.status());
                    let error = read_refusal(response).await;
                    if is_about_reasoning(&error) && asks_for_reasoning(&request) {
                        self.has_no_reasoning.store(true, Ordering::Relaxed);
                        leave_reasoning_out(request.to_mut());
                        continue;
                    }
                    if !may_retry {
                        return Err(error);
                    }
                    (error, Some(headers))
                }
                Err(error) if error.is_connect() => (self.of_transport(error), None),
                Err(error) => return Err(self.of_transport(error)),
            };
            if attempt == self.retries.most {
                return Err(error);
            }
            let after = retry::wait(headers.as_ref(), attempt, SystemTime::now());
            let why = error.to_string();
            (self.on_retry)(&Retry { why, after });
            tokio::time::sleep(after).await;
            attempt += 1;
        }
    }

    async fn read(&self, response: reqwest::Response) -> Result<EventStream, Error> {
        let request_id = request_id(response.headers());
        let content_type = header(response.headers(), CONTENT_TYPE.as_str());
        if content_type
            .to_ascii_lowercase()
            .starts_with("text/event-stream")
        {
            let bounds = Bounds {
                max_bytes: self.limits.max_bytes,
                max_event: MAX_EVENT,
            };
            return Ok(sse::events(response.bytes_stream(), bounds));
        }
        let status = response.status().as_u16();
        let body = read_body(response, self.limits.max_bytes).await?;
        match serde_json::from_slice::<Map<String, Value>>(&body).map(Response::read) {
            Ok(Some(response)) => Ok(stream::iter([Ok(Event::whole(response))]).boxed()),
            _ => Err(Error::NotAResponse {
                status,
                content_type,
                start: start_of(&body),
                request_id,
            }),
        }
    }

    fn of_transport(&self, error: reqwest::Error) -> Error {
        if error.is_timeout() && !error.is_connect() {
            Error::Idle
        } else {
            Error::Unreachable {
                url: address::shown(&self.url),
                source: error.without_url().into(),
            }
        }
    }
}

/// Whether the API refuses to give reasoning, as for a model without any, or to take what another
/// model or account gave.
fn is_about_reasoning(error: &Error) -> bool {
    matches!(error, Error::Refused { status: 400, error, .. }
        if error.param.as_deref() == Some("include")
            || error.code.as_deref() == Some("invalid_encrypted_content"))
}

async fn read_refusal(response: reqwest::Response) -> Error {
    let status = response.status();
    let request_id = request_id(response.headers());
    let content_type = header(response.headers(), CONTENT_TYPE.as_str());
    let body = read_start(response, MAX_REFUSAL).await;
    let error = match serde_json::from_slice::<Map<String, Value>>(&body) {
        Ok(object) => ApiError::read(&object),
        // A proxy's page, or nothing: the status is all that is known.
        Err(_) => ApiError {
            message: format!(
                "{status}, {}",
                Body {
                    content_type: &content_type,
                    start: &start_of(&body)
                }
            ),
            ..ApiError::default()
        },
    };
    Error::of_refusal(status.as_u16(), error, request_id)
}

/// The first bytes of a body; what comes after a failure of the connection is not missed.
async fn read_start(response: reqwest::Response, most: usize) -> Vec<u8> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        let room = most - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == most {
            break;
        }
    }
    body
}

async fn read_body(response: reqwest::Response, max_bytes: usize) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| sse::broken_off(error.without_url().into()))?;
        if body.len() + chunk.len() > max_bytes {
            return Err(Error::TooLarge(max_bytes));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn start_of(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(120)
        .collect()
}

/// What OpenAI's support asks for.
fn request_id(headers: &HeaderMap) -> Option<String> {
    Some(header(headers, "x-request-id")).filter(|id| !id.is_empty())
}

fn header(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map_or_else(String::new, |value| {
        String::from_utf8_lossy(value.as_bytes()).into_owned()
    })
}
