//! The options of a tunnel client: the control plane, the credentials, the limits.

use std::time::Duration;

use http::HeaderValue;
use url::Url;

use super::error::Error;
use crate::tunnel::names::{Channel, RuntimeKey, TunnelId};

/// The control plane of OpenAI.
pub const BASE_URL: &str = "https://api.openai.com";

/// The longest that a poll may take, its guardrail included, and the longest guardrail.
const MAX_POLL: Duration = Duration::from_secs(600);
const MAX_GUARDRAIL: Duration = Duration::from_secs(60);

/// A tunnel, and the server behind it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The control plane, such as [`BASE_URL`]. Its path is ignored, as in the official client.
    pub base_url: Url,
    /// A prefix for the path of every request; empty by default.
    pub url_path: String,
    pub tunnel_id: TunnelId,
    pub key: RuntimeKey,
    /// The organization that the key is used for, if it has several (`OpenAI-Organization`).
    pub organization: Option<HeaderValue>,
    /// The channels to poll; empty for all. Only `main` is served.
    pub channels: Vec<Channel>,
    pub server: ServerInfo,
    pub limits: Limits,
}

/// What the client declares about the server (`X-Tunnel-MCP-Server-Info`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// The server takes self-contained requests of MCP 2026-07-28, without a session.
    pub stateless: bool,
    /// The server keeps state in this process, such as sessions.
    pub proc_affinity: bool,
}

impl ServerInfo {
    /// The header. Version 2 is used only if `stateless` needs it; every control plane knows version 1.
    pub fn header(self) -> HeaderValue {
        HeaderValue::from_static(match (self.stateless, self.proc_affinity) {
            (false, false) => r#"{"version":1,"channels":[{"name":"main"}]}"#,
            (false, true) => r#"{"version":1,"channels":[{"name":"main","proc_affinity":true}]}"#,
            (true, false) => r#"{"version":2,"channels":[{"name":"main","stateless":true}]}"#,
            (true, true) => {
                r#"{"version":2,"channels":[{"name":"main","stateless":true,"proc_affinity":true}]}"#
            }
        })
    }
}

/// Deadlines and bounds. The defaults are those of the official client where it has one.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long the control plane may hold a poll while there are no commands.
    pub poll_wait: Duration,
    /// The same while it is not known whether polls succeed: a person waits to read that they do.
    pub first_poll_wait: Duration,
    /// How much longer than `poll_wait` a request to the control plane may take.
    pub poll_guardrail: Duration,
    /// The most commands that wait locally. The client does not poll while the queue is full.
    pub queue: usize,
    /// The most commands that run at a time.
    pub workers: usize,
    /// How long the MCP server may take for an answer, progress included.
    pub max_answer_time: Duration,
    /// How long running commands may take to complete after a stop.
    pub shutdown_grace: Duration,
    /// The first and the longest delay of the back-off.
    pub first_retry: Duration,
    pub longest_retry: Duration,
    /// The shortest delay after a poll was rejected with 401 or 403: retries alone do not help.
    pub refused_retry: Duration,
    /// The longest `Retry-After` that is respected.
    pub longest_retry_after: Duration,
    /// The most bytes of the answer to a poll.
    pub max_poll_body: usize,
    /// The most bytes of one message of the MCP server.
    pub max_answer: usize,
    /// The most bytes that commands and answers may hold together.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            poll_wait: Duration::from_secs(30),
            first_poll_wait: Duration::from_secs(1),
            poll_guardrail: Duration::from_secs(5),
            queue: 20,
            workers: 10,
            max_answer_time: Duration::from_secs(600),
            shutdown_grace: Duration::from_secs(10),
            first_retry: Duration::from_millis(200),
            longest_retry: Duration::from_secs(10),
            refused_retry: Duration::from_secs(30),
            longest_retry_after: Duration::from_secs(60),
            max_poll_body: 32 * MIB,
            max_answer: 64 * MIB,
            memory: 256 * MIB as u64,
        }
    }
}

impl Limits {
    /// The deadline of every request to the control plane.
    pub fn request_timeout(&self) -> Duration {
        self.poll_wait.saturating_add(self.poll_guardrail)
    }

    /// # Errors
    /// A client could not work with these limits.
    pub fn check(&self) -> Result<(), Error> {
        let is_polled_in_time =
            self.request_timeout() <= MAX_POLL && self.poll_guardrail < MAX_GUARDRAIL;
        if !is_polled_in_time || self.poll_wait.min(self.first_poll_wait) < Duration::from_millis(1)
        {
            return Err(Error::PollTime);
        }
        match self.workers > 0 && self.queue > 0 && self.memory >= 2 * self.max_poll_body as u64 {
            true => Ok(()),
            false => Err(Error::NoWork),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_allow_no_work_are_rejected() {
        let limits = Limits::default();
        assert!(limits.check().is_ok());
        let with = |change: fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            limits.check()
        };
        assert!(with(|it| it.poll_wait = Duration::from_secs(595)).is_ok());
        for bad in [
            with(|it| it.poll_wait = Duration::from_secs(596)),
            with(|it| it.poll_wait = Duration::ZERO),
            with(|it| it.first_poll_wait = Duration::ZERO),
            with(|it| it.poll_guardrail = Duration::from_secs(60)),
            with(|it| it.workers = 0),
            with(|it| it.queue = 0),
            with(|it| it.memory = 1),
        ] {
            assert!(bad.is_err());
        }
    }

    #[test]
    fn a_stateless_channel_takes_version_2_of_the_server_info() {
        for (stateless, proc_affinity, version) in [
            (false, false, 1),
            (false, true, 1),
            (true, false, 2),
            (true, true, 2),
        ] {
            let info = ServerInfo {
                stateless,
                proc_affinity,
            };
            let header: serde_json::Value =
                serde_json::from_slice(info.header().as_bytes()).unwrap();
            assert_eq!(header["version"], version);
            let channel = &header["channels"][0];
            assert_eq!(channel["name"], "main");
            assert_eq!(channel["stateless"] == true, stateless);
            assert_eq!(channel["proc_affinity"] == true, proc_affinity);
        }
    }
}
