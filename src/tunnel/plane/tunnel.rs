//! `Tunnel`: the commands of one tunnel, the connectors that wait for their answers, and whether a client polls.
//! Nothing here waits or does I/O.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::command::{Action, Asked, Command};
use super::options::PlaneOptions;
use super::posted::{Kind, Posted};
use super::refusal::Refusal;
use crate::budget::Held;
use crate::tunnel::message::Id;
use crate::tunnel::names::Channel;

/// The most bytes of the messages that one poll gets, unless a single one is larger.
const MAX_POLLED: usize = 16 * 1024 * 1024;

/// What the owner says of a tunnel.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    pub name: String,
    pub description: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tenant_ids: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workspace_ids: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub organization_ids: Vec<String>,
}

/// A tunnel. One that was created before the control plane was started again begins without a name.
#[derive(Default)]
pub struct Tunnel {
    pub about: About,
    /// Wakes open polls.
    pub news: Arc<Notify>,
    queue: VecDeque<Command>,
    waiting: HashMap<String, Waiting>,
    open_polls: usize,
    last_poll: Option<Instant>,
}

/// A connector that waits for an answer.
struct Waiting {
    shard_token: String,
    /// The id of its JSON-RPC request.
    id: Option<Id>,
    answers: mpsc::Sender<Posted>,
}

impl Tunnel {
    /// Queues a command. Returns its id and what is posted for it.
    ///
    /// # Errors
    /// No client polls the tunnel, or too many requests wait for it.
    pub fn ask(
        &mut self,
        asked: Asked,
        options: &PlaneOptions,
        now: Instant,
    ) -> Result<(String, mpsc::Receiver<Posted>), Refusal> {
        self.check_client(options, now)?;
        if self.queue.len() >= options.max_queue || self.waiting.len() >= options.max_waiting {
            return Err(Refusal::QueueFull);
        }
        // One place more than the notes have is for the answer.
        let (answers, posted) = mpsc::channel(options.max_notes + 1);
        let id = match &asked.action {
            Action::Message { id, .. } => id.clone(),
            Action::EndSession => None,
        };
        let command = Command::new(asked, now + options.answer_timeout);
        let request_id = command.request_id.clone();
        let waiting = Waiting {
            shard_token: command.shard_token.clone(),
            id,
            answers,
        };
        self.waiting.insert(request_id.clone(), waiting);
        self.queue.push_back(command);
        self.news.notify_waiters();
        Ok((request_id, posted))
    }

    /// Takes the oldest commands of these channels, or of all if there are none.
    pub fn take(&mut self, limit: usize, channels: &[Channel], now: Instant) -> Vec<Command> {
        let mut bytes = 0;
        let mut taken = Vec::new();
        let mut rest = VecDeque::new();
        for command in self.queue.drain(..) {
            if command.has_expired(now) {
                continue;
            }
            let is_wanted = channels.is_empty() || channels.contains(&command.channel);
            let fits = taken.is_empty() || bytes + command.size() <= MAX_POLLED;
            if is_wanted && fits && taken.len() < limit {
                bytes += command.size();
                taken.push(command);
            } else {
                rest.push_back(command);
            }
        }
        self.queue = rest;
        taken
    }

    /// Gives what was posted to the connector that waits for it.
    ///
    /// # Errors
    /// Nobody waits for it, or the client never had the command.
    pub fn answer(
        &mut self,
        request_id: &str,
        shard_token: &str,
        posted: Posted,
    ) -> Result<(), Refusal> {
        let waiting = self.find(request_id, shard_token)?;
        if posted.kind == Kind::JsonrpcNotify {
            // A note too many is dropped.
            if waiting.answers.capacity() > 1 {
                let _ = waiting.answers.try_send(posted);
            }
            return Ok(());
        }
        self.end(request_id, posted)
    }

    /// Ends a request whose answer cannot be delivered, with an error of the control plane.
    ///
    /// # Errors
    /// The same as of [`Self::answer`].
    pub fn fail(&mut self, request_id: &str, shard_token: &str, held: Held) -> Result<(), Refusal> {
        let id = self.find(request_id, shard_token)?.id.clone();
        let message = "Bad Gateway";
        let failure = Posted::failure(id.as_ref(), 502, message, held);
        self.end(request_id, failure)
    }

    fn find(&self, request_id: &str, shard_token: &str) -> Result<&Waiting, Refusal> {
        let waiting = self.waiting.get(request_id).ok_or(Refusal::NobodyWaits)?;
        match waiting.shard_token == shard_token {
            true => Ok(waiting),
            false => Err(Refusal::ShardToken),
        }
    }

    fn end(&mut self, request_id: &str, posted: Posted) -> Result<(), Refusal> {
        let waiting = self.waiting.remove(request_id);
        let sent = waiting.map(|it| it.answers.try_send(posted));
        match sent {
            Some(Ok(())) => Ok(()),
            // The connector left in this moment.
            _ => Err(Refusal::NobodyWaits),
        }
    }

    /// Whether a connector waits for the answer to this request.
    pub fn has(&self, request_id: &str) -> bool {
        self.waiting.contains_key(request_id)
    }

    /// Forgets a request whose connector waits no longer.
    pub fn withdraw(&mut self, request_id: &str) {
        self.waiting.remove(request_id);
        self.queue.retain(|it| it.request_id != request_id);
    }

    /// A poll begins. Returns whether it is the first one.
    pub fn poll_started(&mut self) -> bool {
        self.open_polls += 1;
        self.last_poll.is_none() && self.open_polls == 1
    }

    pub fn poll_ended(&mut self, now: Instant) {
        self.open_polls = self.open_polls.saturating_sub(1);
        self.last_poll = Some(now);
    }

    /// Whether a client takes commands.
    fn check_client(&self, options: &PlaneOptions, now: Instant) -> Result<(), Refusal> {
        let since = self.last_poll.map(|it| now.saturating_duration_since(it));
        match since {
            _ if self.open_polls > 0 => Ok(()),
            Some(since) if since < options.connected => Ok(()),
            Some(since) if since < options.seen => Err(Refusal::NotConnected),
            _ => Err(Refusal::NotSeen),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use serde_json::value::RawValue;

    use super::*;
    use crate::budget::Budget;

    fn asked(channel: &str) -> Asked {
        let message = r#"{"jsonrpc":"2.0","method":"x"}"#.to_owned();
        Asked {
            channel: channel.parse().unwrap(),
            headers: BTreeMap::new(),
            action: Action::Message {
                message: RawValue::from_string(message).unwrap(),
                id: None,
                held: Budget::unlimited().empty(),
            },
        }
    }

    fn posted(kind: Kind, code: i64) -> Posted {
        Posted {
            kind,
            ..Posted::failure(None, code, "", Budget::unlimited().empty())
        }
    }

    /// A tunnel that was polled a moment before `now`.
    fn polled(now: Instant) -> Tunnel {
        let mut tunnel = Tunnel::default();
        tunnel.poll_started();
        tunnel.poll_ended(now);
        tunnel
    }

    #[test]
    fn a_client_is_connected_then_seen_then_forgotten() {
        let options = PlaneOptions::default();
        let now = Instant::now();
        let mut tunnel = Tunnel::default();
        let is = |tunnel: &mut Tunnel, seconds| {
            let asked = tunnel.ask(asked(""), &options, now + Duration::from_secs(seconds));
            asked.map(drop)
        };
        assert_eq!(is(&mut tunnel, 0), Err(Refusal::NotSeen));
        assert!(tunnel.poll_started());
        assert!(!tunnel.poll_started());
        assert_eq!(is(&mut tunnel, 1000), Ok(()));
        tunnel.poll_ended(now);
        tunnel.poll_ended(now);
        assert_eq!(is(&mut tunnel, 19), Ok(()));
        assert_eq!(is(&mut tunnel, 20), Err(Refusal::NotConnected));
        assert_eq!(is(&mut tunnel, 299), Err(Refusal::NotConnected));
        assert_eq!(is(&mut tunnel, 300), Err(Refusal::NotSeen));
        assert!(!tunnel.poll_started());
    }

    #[test]
    fn commands_are_taken_once_in_order_by_channel_and_until_they_expire() {
        let options = PlaneOptions::default();
        let now = Instant::now();
        let mut tunnel = polled(now);
        let mut ids = Vec::new();
        for channel in ["main", "b", "main", "b", "main"] {
            ids.push(tunnel.ask(asked(channel), &options, now).unwrap().0);
        }
        let mut take = |limit, channels: &[&str], now| -> Vec<usize> {
            let channels: Vec<Channel> = channels.iter().map(|it| it.parse().unwrap()).collect();
            let taken = tunnel.take(limit, &channels, now);
            let place = |it: Command| ids.iter().position(|id| *id == it.request_id).unwrap();
            taken.into_iter().map(place).collect()
        };
        assert_eq!(take(1, &["b"], now), [1]);
        assert_eq!(take(2, &[], now), [0, 2]);
        assert_eq!(take(9, &["main"], now), [4]);
        assert_eq!(take(9, &[], now + options.answer_timeout), [0; 0]);
        assert_eq!(take(9, &[], now), [0; 0]);
    }

    #[test]
    fn large_messages_come_one_poll_after_the_other() {
        let now = Instant::now();
        let mut tunnel = polled(now);
        for _ in 0..3 {
            let text = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_POLLED / 2));
            let mut large = asked("main");
            large.action = Action::Message {
                message: RawValue::from_string(text).unwrap(),
                id: None,
                held: Budget::unlimited().empty(),
            };
            tunnel.ask(large, &PlaneOptions::default(), now).unwrap();
        }
        for _ in 0..3 {
            assert_eq!(tunnel.take(25, &[], now).len(), 1);
        }
    }

    #[test]
    fn the_answer_has_a_place_however_many_notes_wait() {
        let options = PlaneOptions::default();
        let now = Instant::now();
        let mut tunnel = polled(now);
        let (id, mut answers) = tunnel.ask(asked(""), &options, now).unwrap();
        let token = tunnel.take(1, &[], now)[0].shard_token.clone();
        for code in 0..40 {
            let note = posted(Kind::JsonrpcNotify, code);
            assert_eq!(tunnel.answer(&id, &token, note), Ok(()));
        }
        let wrong = tunnel.answer(&id, "x", posted(Kind::NotifyAck, 99));
        assert_eq!(wrong, Err(Refusal::ShardToken));
        assert_eq!(
            tunnel.answer(&id, &token, posted(Kind::NotifyAck, 99)),
            Ok(())
        );
        let again = tunnel.answer(&id, &token, posted(Kind::NotifyAck, 99));
        assert_eq!(again, Err(Refusal::NobodyWaits));
        let mut codes = Vec::new();
        while let Ok(posted) = answers.try_recv() {
            codes.push(posted.code);
        }
        assert_eq!(codes, (0..16).chain([99]).collect::<Vec<_>>());
    }

    #[test]
    fn the_queue_and_those_who_wait_are_bounded() {
        let now = Instant::now();
        let mut tunnel = polled(now);
        let options = PlaneOptions {
            max_queue: 2,
            max_waiting: 3,
            ..PlaneOptions::default()
        };
        let mut kept = Vec::new();
        let mut is_full = |tunnel: &mut Tunnel| match tunnel.ask(asked(""), &options, now) {
            Ok(asked) => {
                kept.push(asked);
                false
            }
            Err(refusal) => refusal == Refusal::QueueFull,
        };
        assert!(!is_full(&mut tunnel) && !is_full(&mut tunnel) && is_full(&mut tunnel));
        assert_eq!(tunnel.take(9, &[], now).len(), 2);
        assert!(!is_full(&mut tunnel) && is_full(&mut tunnel));
        tunnel.withdraw(&kept[2].0.clone());
        assert_eq!(tunnel.take(9, &[], now).len(), 0);
    }
}
