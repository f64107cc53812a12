//! Commands: what the control plane sends in the answer to a poll.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::headers::{self, REQUEST_ID, SESSION_ID};
use crate::budget::{Budget, Held};
use crate::tunnel::message::{Id, Message};
use crate::tunnel::names::Channel;

/// One command. The service hands it out once: if it is dropped, its caller gets no answer.
#[derive(Debug)]
pub struct Command {
    /// Opaque.
    pub request_id: String,
    /// Opaque; sent in a header of each post.
    pub shard_token: HeaderValue,
    pub channel: Channel,
    /// The headers of the request to the MCP server.
    pub headers: HeaderMap,
    /// After this, the caller no longer waits for an answer.
    pub deadline: Option<Instant>,
    pub action: Action,
    /// The share of the budget that the message holds.
    _held: Held,
}

/// What to do.
#[derive(Debug)]
pub enum Action {
    /// Send a request and return its answer.
    Request { id: Id, message: Bytes },
    /// Send a message that has no answer.
    Notify(Bytes),
    /// End the session that the headers name.
    EndSession,
}

impl Command {
    /// The id that the connector gave its request, if any.
    pub fn client_request_id(&self) -> Option<&HeaderValue> {
        self.headers.get(REQUEST_ID)
    }

    pub fn has_expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// Why a command is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Skipped {
    #[error("it is not an object with the fields of a command")]
    Shape,
    #[error("it has no request id")]
    RequestId,
    #[error("it has no shard token that can be sent in a header")]
    ShardToken,
    #[error("its type is unknown")]
    Type,
    #[error("its channel is invalid")]
    Channel,
    #[error("its payload is not a JSON-RPC message")]
    Payload,
    #[error("it ends a session and names none")]
    SessionId,
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow, default)]
    commands: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(default)]
    request_id: Option<String>,
    #[serde(default)]
    shard_token: Option<String>,
    #[serde(default)]
    command_type: Option<String>,
    #[serde(default)]
    channel: Option<String>,
    #[serde(borrow, default)]
    response_timeout: Option<&'a RawValue>,
    #[serde(default)]
    headers: Option<headers::Sent>,
    #[serde(borrow, default)]
    jsonrpc: Option<&'a RawValue>,
}

/// The commands of a poll that was answered at `received`. Those that are invalid are logged and
/// skipped; the others run, because they are not handed out again.
///
/// # Errors
/// The body is not a JSON object with a list of commands.
pub fn read_all(
    body: &[u8],
    received: Instant,
    budget: &Budget,
) -> Result<Vec<Command>, serde_json::Error> {
    let list: List<'_> = serde_json::from_slice(body)?;
    let mut commands = Vec::new();
    for command in list.commands.unwrap_or_default() {
        match read(command, received, budget) {
            Ok(command) => commands.push(command),
            Err((request_id, why)) => {
                tracing::warn!(request_id, %why, "a command is skipped");
            }
        }
    }
    Ok(commands)
}

fn read(
    command: &RawValue,
    received: Instant,
    budget: &Budget,
) -> Result<Command, (String, Skipped)> {
    let wire: Wire<'_> =
        serde_json::from_str(command.get()).map_err(|_| (String::new(), Skipped::Shape))?;
    let request_id = wire.request_id.unwrap_or_default();
    let skipped = |why| (request_id.clone(), why);
    if request_id.is_empty() {
        return Err(skipped(Skipped::RequestId));
    }
    let shard_token = wire.shard_token.unwrap_or_default();
    let mut shard_token = match HeaderValue::from_bytes(shard_token.as_bytes()) {
        Ok(token) if !token.is_empty() => token,
        _ => return Err(skipped(Skipped::ShardToken)),
    };
    shard_token.set_sensitive(true);
    let channel = wire.channel.unwrap_or_default();
    let channel: Channel = channel.parse().map_err(|_| skipped(Skipped::Channel))?;
    let headers = headers::for_server(&wire.headers.unwrap_or_default());
    let action = match wire.command_type.as_deref() {
        Some("jsonrpc") => {
            let message = wire.jsonrpc.ok_or_else(|| skipped(Skipped::Payload))?;
            let bytes = Bytes::copy_from_slice(message.get().as_bytes());
            match Message::read(message).ok_or_else(|| skipped(Skipped::Payload))? {
                Message::Request(id) => Action::Request { id, message: bytes },
                // A connector's answer to a request of the server has no answer either. The official client
                // drops it; here the server gets it.
                Message::Notification | Message::Answer { .. } => Action::Notify(bytes),
            }
        }
        Some("session_termination") if headers.contains_key(SESSION_ID) => Action::EndSession,
        Some("session_termination") => return Err(skipped(Skipped::SessionId)),
        _ => return Err(skipped(Skipped::Type)),
    };
    let timeout = wire.response_timeout.and_then(response_timeout);
    // The text is in memory already, so a command runs even if it exceeds the budget.
    let held = budget.hold(command.get().len() as u64);
    Ok(Command {
        request_id,
        shard_token,
        channel,
        headers,
        deadline: timeout.and_then(|it| received.checked_add(it)),
        action,
        _held: held.unwrap_or_else(|_| budget.empty()),
    })
}

/// A duration such as `30s`: digits and one unit. Anything else means no deadline, as the contract demands.
fn response_timeout(value: &RawValue) -> Option<Duration> {
    let text: String = serde_json::from_str(value.get()).ok()?;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let nanoseconds: i64 = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let all = number.parse::<i64>().ok()?.checked_mul(nanoseconds)?;
    u64::try_from(all).ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn command(change: Value) -> Value {
        let mut command = json!({
            "request_id": "req_1", "shard_token": "shard", "command_type": "jsonrpc",
            "created_at": "2026-01-01T00:00:00Z",
            "jsonrpc": {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
        });
        let fields = command.as_object_mut().unwrap();
        let Value::Object(change) = change else {
            panic!("{change}");
        };
        for (name, value) in change {
            match value.as_str() {
                Some("absent") => drop(fields.remove(&name)),
                _ => drop(fields.insert(name, value)),
            }
        }
        command
    }

    fn read_one(change: Value) -> Result<Command, Skipped> {
        let text = RawValue::from_string(command(change).to_string()).unwrap();
        read(&text, Instant::now(), &Budget::unlimited()).map_err(|(_, why)| why)
    }

    #[test]
    fn a_duration_is_digits_and_one_unit() {
        for (text, expected) in [
            (json!("30s"), Some(30_000_000_000)),
            (json!("4500ms"), Some(4_500_000_000)),
            (json!("1ns"), Some(1)),
            (json!("7us"), Some(7_000)),
            (json!("2m"), Some(120_000_000_000)),
            (json!("3h"), Some(10_800_000_000_000)),
            (json!("0s"), Some(0)),
            (
                json!("9223372036854775807ns"),
                Some(9_223_372_036_854_775_807),
            ),
            (json!("9223372036854775808ns"), None),
            (json!("9999999999999999999999999h"), None),
            (json!("0s "), None),
            (json!("1m30s"), None),
            (json!("1e3s"), None),
            (json!("30d"), None),
            (json!("30S"), None),
            (json!("+1s"), None),
            (json!("-1s"), None),
            (json!("1.5s"), None),
            (json!("s"), None),
            (json!("30"), None),
            (json!(30), None),
            (json!(null), None),
            (json!({"s": 1}), None),
        ] {
            let value = RawValue::from_string(text.to_string()).unwrap();
            let expected = expected.map(Duration::from_nanos);
            assert_eq!(response_timeout(&value), expected, "{text}");
        }
    }

    #[test]
    fn a_command_runs_unless_what_it_needs_is_missing() {
        for (change, expected) in [
            (json!({}), None),
            (json!({"unknown": {"a": 1}, "created_at": 7}), None),
            (json!({"trace_context": false}), None),
            (json!({"channel": null, "headers": null}), None),
            (json!({"response_timeout": "9223372036854775807ns"}), None),
            (json!({"request_id": ""}), Some(Skipped::RequestId)),
            (json!({"request_id": "absent"}), Some(Skipped::RequestId)),
            (json!({"request_id": 7}), Some(Skipped::Shape)),
            (json!({"shard_token": ""}), Some(Skipped::ShardToken)),
            (json!({"shard_token": "a\nb"}), Some(Skipped::ShardToken)),
            (json!({"command_type": "absent"}), Some(Skipped::Type)),
            (json!({"command_type": ""}), Some(Skipped::Type)),
            (
                json!({"command_type": "oauth_discovery"}),
                Some(Skipped::Type),
            ),
            (json!({"channel": "a b"}), Some(Skipped::Channel)),
            (json!({"jsonrpc": "absent"}), Some(Skipped::Payload)),
            (json!({"jsonrpc": []}), Some(Skipped::Payload)),
            (
                json!({"jsonrpc": {"jsonrpc": "2.0"}}),
                Some(Skipped::Payload),
            ),
            (json!({"headers": {"a": "b"}}), Some(Skipped::Shape)),
            (
                json!({"command_type": "session_termination"}),
                Some(Skipped::SessionId),
            ),
        ] {
            assert_eq!(read_one(change.clone()).err(), expected, "{change}");
        }
    }

    #[test]
    fn the_message_keeps_its_bytes_and_the_deadline_counts_from_the_receipt() {
        let text = r#"{"commands":[null, {"request_id":"r","shard_token":"s","command_type":"jsonrpc",
            "channel":" Tools ","response_timeout":"3s","headers":{"X-Request-Id":["c"]},
            "jsonrpc": {"id":"é\u0061",  "jsonrpc":"2.0","method":"m","params":{"n":12345678901234567890123,"a":1.0}}}]}"#;
        let received = Instant::now();
        let commands = read_all(text.as_bytes(), received, &Budget::unlimited()).unwrap();
        let [command] = commands.as_slice() else {
            panic!("{commands:?}");
        };
        let Action::Request { id, message } = &command.action else {
            panic!("{command:?}");
        };
        assert_eq!(id.as_raw().get(), r#""é\u0061""#);
        let start = text.find(r#"{"id""#).unwrap();
        assert_eq!(message, &text.as_bytes()[start..text.len() - 3]);
        assert_eq!(command.channel.as_str(), "tools");
        assert_eq!(command.client_request_id().unwrap(), "c");
        assert_eq!(command.deadline, Some(received + Duration::from_secs(3)));
        assert!(command.has_expired(received + Duration::from_secs(3)));
        assert!(!command.has_expired(received + Duration::from_secs(2)));
    }

    #[test]
    fn a_body_without_commands_is_empty_and_one_that_is_not_json_fails() {
        let read = |text: &str| read_all(text.as_bytes(), Instant::now(), &Budget::unlimited());
        for text in ["{}", r#"{"commands":null}"#, r#"{"commands":[],"more":1}"#] {
            assert!(read(text).unwrap().is_empty());
        }
        for text in [
            "",
            "<html>",
            r#"{"commands":{}}"#,
            r#"{"commands":["#,
            "[1]",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
