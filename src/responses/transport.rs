//! `Transport`: the HTTP half of the client: sends JSON, tries again, reads refusals and answers
//! within bounds. What an answer means is for others to say.

use std::time::SystemTime;

use futures::stream::StreamExt;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use serde_json::{Map, Value};
use url::Url;

use super::error::{ApiError, Body, Error};
use super::limits::Limits;
use super::retry::{self, OnRetry, Retries, Retry};
use super::sse::{self, Bounds, Frames};
use crate::address;
use crate::budget::{Held, parsed_size};
use crate::outgoing;
use crate::secret::Secret;

/// The most bytes of one event: the last one repeats the whole answer.
const MAX_EVENT: usize = 128 * 1024 * 1024;
/// The most bytes that are read of a refusal.
const MAX_REFUSAL: usize = 64 * 1024;
/// A shorter key is a placeholder, such as `ollama`, and a word of many messages.
const SHORTEST_KEY: usize = 12;

/// A base URL, and all that goes with each request to it.
pub struct Transport {
    http: reqwest::Client,
    api_key: Secret,
    base_url: Url,
    limits: Limits,
    retries: Retries,
    on_retry: OnRetry,
}

/// The body of an answer.
pub enum Answer {
    Streamed(Frames),
    Whole(Whole),
}

/// A body that was not streamed, and what is said of it if it is not what was asked for.
pub struct Whole {
    status: u16,
    content_type: String,
    /// The first characters, to be shown.
    start: String,
    request_id: Option<String>,
    body: Vec<u8>,
    /// What the body takes, and what will be read of it.
    held: Held,
}

impl Whole {
    /// What `read` makes of the body, a JSON object, and the memory that it takes.
    pub fn read<T>(
        self,
        read: impl FnOnce(Map<String, Value>) -> Option<T>,
    ) -> Result<(T, Held), Error> {
        let object = serde_json::from_slice::<Map<String, Value>>(&self.body);
        match object.ok().and_then(read) {
            Some(read) => Ok((read, self.held)),
            None => Err(Error::NotAResponse {
                status: self.status,
                content_type: self.content_type,
                start: self.start,
                request_id: self.request_id,
            }),
        }
    }
}

/// `path` below the base URL, which may end with a slash.
pub fn below(base_url: &Url, path: &str) -> Url {
    let mut url = base_url.clone();
    url.set_path(&format!("{}/{path}", base_url.path().trim_end_matches('/')));
    url
}

impl Transport {
    /// A connection to what is below `base_url`; without a key if that is empty. Redirects are not followed: a key must not travel
    /// to a host that the user did not name.
    pub fn new(
        base_url: &Url,
        api_key: &Secret,
        limits: Limits,
        retries: Retries,
        on_retry: OnRetry,
    ) -> Result<Self, Error> {
        // A key that is no header value is refused when it is parsed, in `commands::args`.
        let mut headers = HeaderMap::new();
        let bearer = format!("Bearer {}", api_key.expose());
        if let Ok(mut bearer) = HeaderValue::try_from(bearer)
            && !api_key.expose().is_empty()
        {
            bearer.set_sensitive(true);
            headers.insert(http::header::AUTHORIZATION, bearer);
        }
        let http = outgoing::client_for(base_url)
            .default_headers(headers)
            .read_timeout(limits.idle_timeout)
            .connect_timeout(limits.idle_timeout.min(outgoing::CONNECT_TIMEOUT))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(Error::Setup)?;
        Ok(Self {
            http,
            api_key: api_key.clone(),
            base_url: base_url.clone(),
            limits,
            retries,
            on_retry,
        })
    }

    /// How much an answer may bring.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// `POST` of `body` to `path` below the base URL. A failure before anything can have run is
    /// tried again ([`Retries`]).
    pub async fn post(&self, path: &str, body: &impl Serialize) -> Result<Answer, Error> {
        let url = below(&self.base_url, path);
        let mut attempt = 0;
        loop {
            let sent = self.http.post(url.clone()).json(body).send().await;
            let (error, headers) = match sent {
                Ok(response) if response.status().is_success() => return self.read(response).await,
                Ok(response) => {
                    let headers = response.headers().clone();
                    let may_retry = self.retries.allows(response.status());
                    let error = self.read_refusal(response).await;
                    if !may_retry {
                        return Err(error);
                    }
                    (error, Some(headers))
                }
                Err(error) if error.is_connect() => (from_transport(&url, error), None),
                Err(error) => return Err(from_transport(&url, error)),
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

    /// `GET` of `path` below the base URL.
    pub async fn get(&self, path: &str) -> Result<Answer, Error> {
        let url = below(&self.base_url, path);
        let sent = self.http.get(url.clone()).send().await;
        let response = sent.map_err(|error| from_transport(&url, error))?;
        if response.status().is_success() {
            self.read(response).await
        } else {
            Err(self.read_refusal(response).await)
        }
    }

    async fn read(&self, response: reqwest::Response) -> Result<Answer, Error> {
        let content_type = header(response.headers(), CONTENT_TYPE.as_str());
        if content_type
            .to_ascii_lowercase()
            .starts_with("text/event-stream")
        {
            let bounds = Bounds {
                max_bytes: self.limits.max_bytes,
                max_event: self.limits.max_bytes.min(MAX_EVENT),
                max_events: self.limits.max_events,
                max_memory: self.limits.max_memory,
            };
            return Ok(Answer::Streamed(Frames::new(
                response.bytes_stream(),
                bounds,
                self.limits.budget.empty(),
            )));
        }
        let status = response.status().as_u16();
        let request_id = request_id(response.headers());
        let mut held = self.limits.budget.empty();
        let body = read_body(response, self.limits.max_bytes, &mut held).await?;
        let size = parsed_size(&body);
        if size > self.limits.max_memory as u64 {
            return Err(Error::TooLarge(self.limits.max_memory));
        }
        held.grow(size)?;
        let start = self.redacted(&body[..body.len().min(MAX_REFUSAL)]);
        Ok(Answer::Whole(Whole {
            status,
            content_type,
            start: start_of(&start),
            request_id,
            body,
            held,
        }))
    }

    async fn read_refusal(&self, response: reqwest::Response) -> Error {
        let status = response.status();
        let request_id = request_id(response.headers());
        let content_type = header(response.headers(), CONTENT_TYPE.as_str());
        let body = self.redacted(&read_start(response, MAX_REFUSAL).await);
        let error = match serde_json::from_str::<Map<String, Value>>(&body) {
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
        Error::from_refusal(status.as_u16(), error, request_id)
    }

    /// The text of a body without the key: some servers repeat what they were sent when they refuse
    /// it, and their answer is shown to the user.
    fn redacted(&self, body: &[u8]) -> String {
        let text = String::from_utf8_lossy(body);
        match self.api_key.expose() {
            key if key.len() >= SHORTEST_KEY => text.replace(key, "[redacted]"),
            _ => text.into_owned(),
        }
    }
}

fn from_transport(url: &Url, error: reqwest::Error) -> Error {
    if error.is_timeout() && !error.is_connect() {
        Error::Idle
    } else {
        Error::Unreachable {
            url: address::shown(url),
            source: error.without_url().into(),
        }
    }
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

async fn read_body(
    response: reqwest::Response,
    max_bytes: usize,
    held: &mut Held,
) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| sse::broken_off(error.without_url().into()))?;
        if body.len() + chunk.len() > max_bytes {
            return Err(Error::TooLarge(max_bytes));
        }
        held.grow(chunk.len() as u64)?;
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn start_of(text: &str) -> String {
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
