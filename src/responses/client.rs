//! `Client`: sends a request to an endpoint of the Responses API and reads the answer.

use std::time::Duration;

use futures::stream::{self, StreamExt};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value};
use url::Url;

use super::EventStream;
use super::error::{ApiError, Error};
use super::event::Event;
use super::request::CreateResponse;
use super::response::Response;
use super::sse;
use crate::auth::Secret;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes that are read of a refusal.
const MAX_REFUSAL: usize = 64 * 1024;

/// An endpoint of the Responses API.
pub struct Client {
    http: reqwest::Client,
    url: Url,
    limits: Limits,
}

/// What an answer may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the request to the last byte of the answer.
    pub timeout: Duration,
    /// Bytes of the whole answer.
    pub max_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(600),
            max_bytes: 256 * 1024 * 1024,
        }
    }
}

impl Client {
    /// A client for `base_url`, such as `https://api.openai.com/v1`, with or without a slash at
    /// its end. Redirects are not followed: a key must not travel to a host that nobody named.
    pub fn new(base_url: &Url, api_key: &Secret, limits: Limits) -> Result<Self, Error> {
        let mut url = base_url.clone();
        let path = format!("{}/responses", base_url.path().trim_end_matches('/'));
        url.set_path(&path);
        // A key that is no header value is refused when it is parsed, in `commands::args`.
        let mut headers = HeaderMap::new();
        if let Ok(mut bearer) = HeaderValue::try_from(format!("Bearer {}", api_key.expose())) {
            bearer.set_sensitive(true);
            headers.insert(http::header::AUTHORIZATION, bearer);
        }
        let http = reqwest::Client::builder()
            .user_agent(concat!("mcp-cli/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(limits.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(Error::Setup)?;
        Ok(Self { http, url, limits })
    }

    /// `POST /responses`. A response that is not streamed comes as a stream of one event.
    pub async fn create_stream(&self, request: &CreateResponse) -> Result<EventStream, Error> {
        let sent = self.http.post(self.url.clone()).json(request).send().await;
        let response = sent.map_err(|error| self.of_transport(error))?;
        if !response.status().is_success() {
            return Err(read_refusal(response).await);
        }
        let content_type = header(response.headers(), CONTENT_TYPE.as_str());
        if content_type.starts_with("text/event-stream") {
            return Ok(sse::events(response.bytes_stream(), self.limits.max_bytes));
        }
        let status = response.status().as_u16();
        let body = read(response, self.limits.max_bytes).await?;
        match serde_json::from_slice::<Map<String, Value>>(&body).map(Response::read) {
            Ok(Some(response)) => Ok(stream::iter([Ok(Event::whole(response))]).boxed()),
            _ => Err(Error::NotAResponse {
                status,
                content_type,
                start: start_of(&body),
            }),
        }
    }

    fn of_transport(&self, error: reqwest::Error) -> Error {
        if error.is_timeout() && !error.is_connect() {
            Error::Timeout(self.limits.timeout)
        } else {
            Error::Unreachable {
                url: self.url.to_string(),
                source: error.without_url().into(),
            }
        }
    }
}

async fn read_refusal(response: reqwest::Response) -> Error {
    let status = response.status();
    let request_id = header(response.headers(), "x-request-id");
    let content_type = header(response.headers(), CONTENT_TYPE.as_str());
    let body = read(response, MAX_REFUSAL).await.unwrap_or_default();
    let error = match serde_json::from_slice::<Map<String, Value>>(&body) {
        Ok(object) => ApiError::read(&object),
        // A proxy's page, or nothing: the status is all that is known.
        Err(_) => ApiError {
            message: match start_of(&body).as_str() {
                "" => format!("{status}, without a body"),
                start => format!("{status}, with {content_type}: {start}"),
            },
            ..ApiError::default()
        },
    };
    let request_id = Some(request_id).filter(|it| !it.is_empty());
    Error::of_refusal(status.as_u16(), error, request_id)
}

async fn read(response: reqwest::Response, max_bytes: usize) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Error::BrokenOff(error.without_url().into()))?;
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

fn header(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map_or_else(String::new, |value| {
        String::from_utf8_lossy(value.as_bytes()).into_owned()
    })
}
