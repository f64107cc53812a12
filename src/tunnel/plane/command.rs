//! Commands: what a connector asks, as it waits for a client and as a client gets it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::budget::Held;
use crate::tunnel::message::Id;
use crate::tunnel::names::Channel;

/// What a connector asks.
#[derive(Debug)]
pub struct Asked {
    pub channel: Channel,
    pub headers: BTreeMap<String, Vec<String>>,
    pub action: Action,
}

#[derive(Debug)]
pub enum Action {
    /// A JSON-RPC message, byte for byte.
    Message {
        message: Box<RawValue>,
        /// The id of a request; a notification has none.
        id: Option<Id>,
        held: Held,
    },
    EndSession,
}

/// A command that waits for a client.
#[derive(Debug)]
pub struct Command {
    pub request_id: String,
    pub shard_token: String,
    pub channel: Channel,
    created_at: String,
    headers: BTreeMap<String, Vec<String>>,
    /// `None` ends the session.
    message: Option<Box<RawValue>>,
    /// When the connector gives up.
    until: Instant,
    held: Option<Held>,
}

impl Command {
    pub fn new(asked: Asked, until: Instant) -> Self {
        let (message, held) = match asked.action {
            Action::Message { message, held, .. } => (Some(message), Some(held)),
            Action::EndSession => (None, None),
        };
        Self {
            request_id: format!("treq_{:032x}", rand::random::<u128>()),
            shard_token: format!("{:032x}", rand::random::<u128>()),
            channel: asked.channel,
            created_at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            headers: asked.headers,
            message,
            until,
            held,
        }
    }

    /// The bytes of its message.
    pub fn size(&self) -> usize {
        self.message.as_ref().map_or(0, |it| it.get().len())
    }

    pub fn has_expired(&self, now: Instant) -> bool {
        self.until <= now
    }
}

/// Commands in the answer to a poll.
#[derive(Serialize)]
struct Polled<'a> {
    commands: Vec<Sent<'a>>,
}

#[derive(Serialize)]
struct Sent<'a> {
    request_id: &'a str,
    shard_token: &'a str,
    // The official client drops a command without it, though the contract has a default.
    command_type: &'static str,
    channel: &'a str,
    created_at: &'a str,
    response_timeout: String,
    headers: &'a BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jsonrpc: Option<&'a RawValue>,
}

/// The body of an answer to a poll, and what it holds.
pub fn write(commands: Vec<Command>, now: Instant, mut held: Held) -> (Vec<u8>, Held) {
    let sent = commands.iter().map(|command| Sent {
        request_id: &command.request_id,
        shard_token: &command.shard_token,
        command_type: match &command.message {
            Some(_) => "jsonrpc",
            None => "session_termination",
        },
        channel: command.channel.as_str(),
        created_at: &command.created_at,
        response_timeout: response_timeout(command.until.saturating_duration_since(now)),
        headers: &command.headers,
        jsonrpc: command.message.as_deref(),
    });
    let polled = Polled {
        commands: sent.collect(),
    };
    let Ok(body) = serde_json::to_vec(&polled) else {
        unreachable!("commands have string keys and no failing serializer");
    };
    for command in commands {
        if let Some(of_command) = command.held {
            held.merge(of_command);
        }
    }
    (body, held)
}

/// The deadline of a client: a little earlier than that of the connector, so that an answer that is posted
/// at the last moment still finds the connector waiting.
fn response_timeout(remaining: Duration) -> String {
    let margin = (remaining / 10).min(Duration::from_secs(1));
    format!("{}ms", (remaining - margin).as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_a_little_less_time_than_the_connector() {
        for (remaining, sent) in [(60_000, "59000ms"), (2_000, "1800ms"), (0, "0ms")] {
            assert_eq!(response_timeout(Duration::from_millis(remaining)), sent);
        }
    }
}
