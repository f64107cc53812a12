//! Runs one command: calls the MCP server and posts its answer.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::{Answer, Type};
use super::command::{Action, Command};
use super::event::Event;
use super::failure::{self, Failure, Kind, Source};
use super::headers::{EVENT_STREAM, JSON, Returned, has_type};
use super::refusal::Fault;
use super::target::{self, Messages};
use super::tunnel::Tunnel;
use crate::tunnel::message::{Id, Message};

/// How often an answer is posted.
const ATTEMPTS: u32 = 3;

/// A message of the server that was expected.
enum Received {
    Note(Box<RawValue>),
    Answer(Box<RawValue>),
}

/// The progress notes of one command.
#[derive(Default)]
struct Notes {
    relayed: bool,
    given_up: bool,
}

impl Tunnel {
    /// Runs a command until its deadline. Nothing is posted after that: the control plane has already
    /// answered the caller.
    pub async fn carry_out(&self, command: &Command) {
        let request_id = command.request_id.as_str();
        let work = async {
            // The caller gets an answer even if the server panics.
            let answer = AssertUnwindSafe(self.answer(command)).catch_unwind();
            let Ok(answer) = timeout(self.limits.max_answer_time, answer).await else {
                tracing::warn!(request_id, "the MCP server gave no answer in time");
                return;
            };
            let answer = answer.unwrap_or_else(|_panic| {
                tracing::error!(request_id, "the MCP server panicked");
                let failure = Failure::without_status(Source::ClientInternal, Kind::Unknown);
                failed(command, &failure, &HeaderMap::new())
            });
            self.deliver(command, answer).await;
        };
        match command.deadline {
            None => work.await,
            Some(deadline) => {
                if timeout_at(deadline, work).await.is_err() {
                    tracing::warn!(request_id, "the deadline of a command passed");
                }
            }
        }
    }

    /// The final answer to a command. Notes are posted on the way.
    async fn answer(&self, command: &Command) -> Answer {
        if !command.channel.is_main() {
            return unsupported_channel(command);
        }
        let headers = command.headers.clone();
        match &command.action {
            Action::Request { id, message } => {
                let response = self.target.post(headers, message.clone()).await;
                let (head, body) = response.into_parts();
                match head.status.is_success() {
                    true => self.read_answer(command, id, &head, body).await,
                    false => read_refusal(command, id, &head, body).await,
                }
            }
            Action::Notify(message) => {
                let response = self.target.post(headers, message.clone()).await;
                acknowledged(Type::NotifyAck, &response.into_parts().0)
            }
            Action::EndSession => {
                let response = self.target.delete(headers).await;
                acknowledged(Type::SessionTerminationResponse, &response.into_parts().0)
            }
        }
    }

    /// Reads a successful response up to the answer, and posts the notes before it.
    async fn read_answer(
        &self,
        command: &Command,
        id: &Id,
        head: &Parts,
        body: axum::body::Body,
    ) -> Answer {
        let (limit, held) = (self.limits.max_answer, self.budget.empty());
        let mut messages = match has_type(&head.headers, EVENT_STREAM) {
            true => Messages::events(body, limit, held),
            false => Messages::whole(body, limit, held),
        };
        let mut notes = Notes::default();
        loop {
            let received = match messages.next().await {
                Ok(text) => read(text, id, &head.headers),
                Err(failure) => Err(failure),
            };
            match received {
                Ok(Received::Note(message)) => {
                    self.relay(command, head, message, &mut notes).await;
                }
                Ok(Received::Answer(message)) => {
                    // The hosted service was reported to reject a lone answer that is labelled as an event
                    // stream (openai/tunnel-client, issues 41 and 71), so only answers after notes are.
                    let headers = Returned::from_server(&head.headers);
                    let headers = match notes.relayed {
                        true => headers.with_some_content_type(),
                        false => headers.with_content_type(JSON),
                    };
                    return Answer {
                        kind: Type::JsonrpcResponse,
                        status: head.status,
                        headers,
                        message: Some(message),
                        _held: Some(messages.into_held()),
                    };
                }
                Err(failure) => return failed(command, &failure, &head.headers),
            }
        }
    }

    /// Posts a progress note. After an unclear failure, later notes of the command are dropped: repeated
    /// notes could be shown twice or out of order.
    async fn relay(
        &self,
        command: &Command,
        head: &Parts,
        message: Box<RawValue>,
        notes: &mut Notes,
    ) {
        if notes.given_up {
            return;
        }
        let note = Answer {
            kind: Type::JsonrpcNotify,
            status: head.status,
            headers: Returned::from_server(&head.headers).with_some_content_type(),
            message: Some(message),
            _held: None,
        };
        match self.post(command, &note, Fault::was_not_processed).await {
            Ok(()) => notes.relayed = true,
            Err(fault) => {
                let request_id = command.request_id.as_str();
                tracing::warn!(request_id, %fault, "progress could not be posted; the rest is dropped");
                notes.given_up = true;
            }
        }
    }

    /// Posts the final answer, and reports a failure to do so.
    async fn deliver(&self, command: &Command, answer: Answer) {
        let request_id = command.request_id.clone();
        let fault = match self.post(command, &answer, Fault::is_temporary).await {
            Ok(()) => {
                let status = answer.status.as_u16();
                tracing::info!(request_id, channel = %command.channel, kind = ?answer.kind, status,
                    "a command was answered");
                return;
            }
            Err(fault) => fault,
        };
        let status = fault.status();
        let tunnel_request_id = fault.refusal().and_then(|it| it.request_id.as_deref());
        tracing::warn!(request_id, tunnel_request_id, %fault, "an answer could not be posted");
        if status == Some(StatusCode::NOT_FOUND) {
            return self.emit(Event::Unclaimed { request_id });
        }
        self.emit(Event::PostFailed { request_id, fault });
        if status == Some(StatusCode::PAYLOAD_TOO_LARGE) && answer.kind == Type::JsonrpcResponse {
            // With an error, the caller does not wait until the service gives up. The contract leaves open
            // whether the service accepts it; if not, nothing is lost.
            let failure =
                Failure::without_status(Source::ClientInternal, Kind::ResponseBodyTooLarge);
            let small = failed(command, &failure, &HeaderMap::new());
            if let Err(fault) = self.post(command, &small, Fault::is_temporary).await {
                tracing::warn!(%fault, "the error that replaces the answer could not be posted");
            }
        }
    }

    /// Posts the same bytes again while `is_retryable` allows it.
    async fn post(
        &self,
        command: &Command,
        answer: &Answer,
        is_retryable: fn(&Fault) -> bool,
    ) -> Result<(), Fault> {
        let payload = answer.payload(command);
        let mut backoff = self.backoff();
        let mut attempt = 1;
        loop {
            let posted = self.control.post(command, payload.clone()).await;
            match posted {
                Err(fault) if attempt < ATTEMPTS && is_retryable(&fault) => {
                    let delay = self.delay(&mut backoff, &fault);
                    let request_id = command.request_id.as_str();
                    let retry_ms = delay.as_millis();
                    tracing::debug!(request_id, %fault, retry_ms, "a post is repeated");
                    tokio::time::sleep(delay).await;
                    attempt += 1;
                }
                posted => return posted,
            }
        }
    }
}

/// Reads a message of the server while the request `id` is pending.
fn read(text: Vec<u8>, id: &Id, headers: &HeaderMap) -> Result<Received, Failure> {
    let text = String::from_utf8(text).ok();
    let Some(message) = text.and_then(|it| RawValue::from_string(it).ok()) else {
        let is_mcp = has_type(headers, JSON) || has_type(headers, EVENT_STREAM);
        return Err(Failure::not_mcp(match is_mcp {
            true => Kind::MalformedJson,
            false => Kind::NonProtocolResponse,
        }));
    };
    let is_answer = match Message::read(&message) {
        Some(Message::Notification) => false,
        Some(Message::Answer { id: Some(it), .. }) if id.is(it) => true,
        // The tunnel does not carry requests of the server, and no other answer is expected.
        _ => return Err(Failure::not_mcp(Kind::InvalidProtocolResponse)),
    };
    Ok(match is_answer {
        true => Received::Answer(message),
        false => Received::Note(message),
    })
}

/// The answer to a request that the server rejected: its own JSON-RPC error, byte for byte, if it sent one.
async fn read_refusal(command: &Command, id: &Id, head: &Parts, body: axum::body::Body) -> Answer {
    let read = target::read_refusal(body).await.and_then(|body| {
        let text = String::from_utf8(body).map_err(|_| Kind::MalformedJson)?;
        RawValue::from_string(text).map_err(|_| Kind::MalformedJson)
    });
    let kind = match read {
        Ok(message) if Message::read(&message).is_some_and(|it| it.refuses(id)) => {
            return Answer {
                kind: Type::JsonrpcResponse,
                status: head.status,
                headers: Returned::from_server(&head.headers).with_content_type(JSON),
                message: Some(message),
                _held: None,
            };
        }
        Ok(_) => Kind::InvalidMcpError,
        Err(kind) => kind,
    };
    failed(command, &Failure::refused(head.status, kind), &head.headers)
}

/// The error that replaces a missing answer. It keeps the allowed headers of the server: a connector needs
/// `WWW-Authenticate` to log in.
fn failed(command: &Command, failure: &Failure, headers: &HeaderMap) -> Answer {
    tracing::warn!(
        request_id = command.request_id,
        failure_source = ?failure.source,
        transport_error_kind = ?failure.kind,
        status = failure.status.as_u16(),
        "the MCP server gave no usable answer"
    );
    let headers = Returned::from_server(headers);
    let (kind, headers, message) = match &command.action {
        Action::Request { id, .. } => (
            Type::JsonrpcResponse,
            headers.with_content_type(JSON),
            Some(failure.answer(id)),
        ),
        Action::Notify(_) => (Type::NotifyAck, headers, None),
        Action::EndSession => (Type::SessionTerminationResponse, headers, None),
    };
    Answer {
        kind,
        status: failure.status,
        headers,
        message,
        _held: None,
    }
}

/// The acknowledgement of a message that has no answer, with the status of the server. For a rejected
/// notification, the official client posts an error without an id instead, which is not valid JSON-RPC.
fn acknowledged(kind: Type, head: &Parts) -> Answer {
    Answer {
        kind,
        status: head.status,
        headers: Returned::from_server(&head.headers),
        message: None,
        _held: None,
    }
}

/// The answer to a command for another channel. OpenAI's connector tries channels that most clients do not
/// have, such as `harpoon`, so this is not logged as an error.
fn unsupported_channel(command: &Command) -> Answer {
    tracing::debug!(channel = %command.channel, "a command is for a channel that is not served");
    let (kind, headers, message) = match &command.action {
        Action::Request { id, .. } => (
            Type::JsonrpcResponse,
            Returned::default().with_content_type(JSON),
            Some(failure::unsupported_channel(id, command.channel.as_str())),
        ),
        Action::Notify(_) => (Type::NotifyAck, Returned::default(), None),
        Action::EndSession => (Type::SessionTerminationResponse, Returned::default(), None),
    };
    Answer {
        kind,
        status: StatusCode::BAD_REQUEST,
        headers,
        message,
        _held: None,
    }
}

/// Whether the deadline passed while the command waited.
pub fn is_late(command: &Command) -> bool {
    let is_late = command.has_expired(Instant::now());
    if is_late {
        let request_id = command.request_id.as_str();
        tracing::warn!(
            request_id,
            "the deadline of a command passed before it started"
        );
    }
    is_late
}
