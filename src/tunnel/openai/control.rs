//! Requests to the control plane: metadata, polls, posts.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use super::command::Command;
use super::error::Error;
use super::headers::JSON;
use super::options::Options;
use super::refusal::{Fault, Refusal};
use crate::tunnel::names::{Channel, RuntimeKey};
use crate::{address, outgoing};

const CLIENT_NAME: HeaderName = HeaderName::from_static("x-tunnel-client-name");
const CLIENT_VERSION: HeaderName = HeaderName::from_static("x-tunnel-client-version");
const INSTANCE_ID: HeaderName = HeaderName::from_static("x-tunnel-client-instance-id");
const SERVER_INFO: HeaderName = HeaderName::from_static("x-tunnel-mcp-server-info");
const WIRE_VERSION: HeaderName = HeaderName::from_static("x-tunnel-client-wire-protocol-version");
const ORGANIZATION: HeaderName = HeaderName::from_static("openai-organization");
const SHARD_TOKEN: HeaderName = HeaderName::from_static("x-tunnel-shard-token");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-client-request-id");

/// The revision of the protocol that this client implements.
const WIRE_PROTOCOL: &str = "2026-08-25";

/// The most bytes of an answer other than to a poll.
const MAX_SMALL_BODY: usize = 64 * 1024;

/// The control plane of one tunnel.
pub struct ControlPlane {
    client: reqwest::Client,
    tunnel: Url,
    key: RuntimeKey,
    headers: HeaderMap,
    /// The channels of every poll, in order.
    channels: Vec<Channel>,
    timeout: Duration,
    max_poll_body: usize,
}

/// The metadata of a tunnel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Metadata {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub description: String,
}

/// The answer to a poll.
pub struct Polled {
    /// Empty if there are no commands.
    pub body: Bytes,
    /// When the headers arrived: deadlines of commands count from here.
    pub received: Instant,
}

impl ControlPlane {
    /// # Errors
    /// The base URL is invalid, or TLS cannot be set up.
    pub fn new(options: &Options, instance_id: &str) -> Result<Self, Error> {
        let base = &options.base_url;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(Error::BaseUrl);
        }
        let mut tunnel = address::without_userinfo(base);
        tunnel.set_query(None);
        tunnel.set_fragment(None);
        let prefix = options.url_path.trim_matches('/');
        tunnel.set_path(&format!("{prefix}/v1/tunnels/{}", options.tunnel_id));

        let client = outgoing::client_for(&tunnel).redirect(Policy::none());
        let mut channels = options.channels.clone();
        channels.sort_unstable();
        channels.dedup();
        Ok(Self {
            client: client.build().map_err(Error::Client)?,
            tunnel,
            key: options.key.clone(),
            headers: headers(options, instance_id),
            channels,
            timeout: options.limits.request_timeout(),
            max_poll_body: options.limits.max_poll_body,
        })
    }

    /// # Errors
    /// The request failed.
    pub async fn metadata(&self) -> Result<Metadata, Fault> {
        let response = self.send(self.client.get(self.tunnel.clone())).await?;
        if response.status() != StatusCode::OK {
            return Err(self.refused(response).await);
        }
        let body = self.read(response, MAX_SMALL_BODY).await?;
        serde_json::from_slice(&body).map_err(Fault::Unreadable)
    }

    /// Polls for at most `limit` commands. The control plane may wait for so long before it answers that there
    /// are none.
    ///
    /// # Errors
    /// The poll failed.
    pub async fn poll(&self, limit: usize, wait: Duration) -> Result<Polled, Fault> {
        let mut url = self.url("poll");
        url.query_pairs_mut()
            .append_pair("limit", &limit.to_string())
            .append_pair("timeout_ms", &wait.as_millis().to_string())
            .extend_pairs(self.channels.iter().map(|it| ("channel", it.as_str())));
        let response = self.send(self.client.get(url)).await?;
        let received = Instant::now();
        let body = match response.status() {
            StatusCode::OK => self.read(response, self.max_poll_body).await?,
            StatusCode::NO_CONTENT => Bytes::new(),
            _ => return Err(self.refused(response).await),
        };
        Ok(Polled { body, received })
    }

    /// Posts the payload of an answer to `command`.
    ///
    /// # Errors
    /// The control plane may not have accepted it.
    pub async fn post(&self, command: &Command, payload: Bytes) -> Result<(), Fault> {
        let mut request = self
            .client
            .post(self.url("response"))
            .header(CONTENT_TYPE, JSON)
            .header(SHARD_TOKEN, command.shard_token.clone());
        if let Some(id) = command.client_request_id() {
            request = request.header(CLIENT_REQUEST_ID, id.clone());
        }
        let response = self.send(request.body(payload)).await?;
        if response.status() != StatusCode::OK {
            return Err(self.refused(response).await);
        }
        // Reading to the end lets the connection be used again.
        let _ = self.read(response, MAX_SMALL_BODY).await;
        Ok(())
    }

    fn url(&self, last: &str) -> Url {
        let mut url = self.tunnel.clone();
        url.set_path(&format!("{}/{last}", url.path()));
        url
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Fault> {
        let request = request.headers(self.headers.clone()).timeout(self.timeout);
        let sent = request.send().await;
        sent.map_err(|error| Fault::from_connection(error, self.timeout))
    }

    async fn read(&self, mut response: Response, limit: usize) -> Result<Bytes, Fault> {
        let mut body = BytesMut::new();
        let broken = |error| Fault::from_connection(error, self.timeout);
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > limit {
                return Err(Fault::TooLarge(limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// Reads an answer with an unexpected status.
    async fn refused(&self, mut response: Response) -> Fault {
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            let left = MAX_SMALL_BODY - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(left)]);
            if body.len() == MAX_SMALL_BODY {
                break;
            }
        }
        let mut refusal = Refusal::read(status, &headers, &body, SystemTime::now());
        // Some servers repeat the key that they refuse.
        if let Some(message) = &mut refusal.message {
            *message = message.replace(self.key.expose(), "[redacted]");
        }
        Fault::Refused(refusal)
    }
}

/// The headers of every request.
fn headers(options: &Options, instance_id: &str) -> HeaderMap {
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", options.key.expose()))
        .expect("a runtime key has only letters, digits, `_` and `-`");
    bearer.set_sensitive(true);
    let instance = HeaderValue::from_str(instance_id).expect("an instance id is hexadecimal");
    let name = HeaderValue::from_static(env!("CARGO_PKG_NAME"));
    let version = HeaderValue::from_static(env!("CARGO_PKG_VERSION"));
    let mut headers = HeaderMap::from_iter([
        (AUTHORIZATION, bearer),
        (ACCEPT, HeaderValue::from_static(JSON)),
        (CLIENT_NAME, name),
        (CLIENT_VERSION, version),
        (INSTANCE_ID, instance),
        (SERVER_INFO, options.server.header()),
        (WIRE_VERSION, HeaderValue::from_static(WIRE_PROTOCOL)),
    ]);
    if let Some(organization) = &options.organization {
        headers.insert(ORGANIZATION, organization.clone());
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::super::options::{Limits, ServerInfo};
    use super::*;
    use crate::secret::Secret;

    fn control(base_url: &str, url_path: &str) -> Result<ControlPlane, Error> {
        let options = Options {
            base_url: base_url.parse().unwrap(),
            url_path: url_path.to_owned(),
            tunnel_id: format!("tunnel_{}", "2".repeat(32)).parse().unwrap(),
            key: Secret::from("key".to_owned()).try_into().unwrap(),
            organization: None,
            channels: Vec::new(),
            server: ServerInfo::default(),
            limits: Limits::default(),
        };
        ControlPlane::new(&options, "0")
    }

    #[test]
    fn the_path_of_the_base_url_is_ignored_and_the_url_path_is_not() {
        let id = format!("tunnel_{}", "2".repeat(32));
        for (base_url, url_path, expected) in [
            ("https://api.openai.com", "", "https://api.openai.com"),
            ("https://u:p@a.example/v1/?q#f", "", "https://a.example"),
            ("http://127.0.0.1:9/x", "/a/b/", "http://127.0.0.1:9/a/b"),
        ] {
            let control = control(base_url, url_path).unwrap();
            let poll = control.url("poll");
            assert_eq!(poll.as_str(), format!("{expected}/v1/tunnels/{id}/poll"));
        }
        assert!(control("ftp://a.example", "").is_err());
        assert!(control("data:x", "").is_err());
    }
}
