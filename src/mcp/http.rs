//! Streamable HTTP: a POST for each message (MCP 2026-07-28, transports).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::Response;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::channel::{Answer, Place, Request, read_answer};
use super::error::Error;
use super::excess::{Excess, MAX_ANSWER, Traffic};
use super::fault::Fault;
use super::message::{self, Message};
use super::observer::{Observer, Unasked};
use super::pending::{Inbox, Pending};
use super::remark::Remark;
use super::requests::{
    EVENT_STREAM, Events, JSON, LONGEST_PAUSE, MOST_REPLIES, Requests, chunks, has_type,
    is_message, read_all, text_of,
};
use crate::budget::{Budget, Held};
use crate::sse;

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The most bytes of a session id.
const MAX_SESSION_ID: usize = 4096;
/// The timeout of the request that ends a session.
const DELETE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the stream of one answer is read on.
const MOST_RESUMED: u32 = 100;
/// How long a stream that ended is left alone, if the server does not say.
const PAUSE: Duration = Duration::from_secs(1);

/// A server that is spoken to over Streamable HTTP.
pub struct Http {
    session: Arc<Session>,
    /// Reads what the server sends by itself.
    listener: OnceLock<AbortOnDropHandle<()>>,
}

/// The server, and what it agreed to.
struct Session {
    requests: Requests,
    url: Url,
    /// Of the session that the server opened (MCP 2025-11-25, session management).
    id: OnceLock<HeaderValue>,
    /// The version of MCP that was agreed on.
    version: OnceLock<HeaderValue>,
    /// What answers are held of while they are read.
    budget: Budget,
    observer: Observer,
}

impl Http {
    /// A channel to `url`.
    pub fn new(requests: Requests, url: &Url, budget: Budget, observer: Observer) -> Self {
        let session = Session {
            requests,
            url: url.clone(),
            id: OnceLock::new(),
            version: OnceLock::new(),
            budget,
            observer,
        };
        Self {
            session: Arc::new(session),
            listener: OnceLock::new(),
        }
    }

    /// From now on, every request carries this version (MCP 2026-07-28, protocol version header).
    pub fn set_version(&self, version: &str) {
        if let Ok(version) = HeaderValue::from_str(version) {
            // Versions are agreed on once.
            let _ = self.session.version.set(version);
        }
    }

    /// Answers the requests that the server makes by itself, as long as the session lasts
    /// (MCP 2025-11-25, listening for messages from the server). Without a session there are none.
    pub fn listen(&self) {
        if self.session.id.get().is_some() {
            let session = Arc::clone(&self.session);
            let listening = tokio::spawn(async move { session.listen().await });
            let _ = self.listener.set(AbortOnDropHandle::new(listening));
        }
    }

    /// Sends a request, and reads its answer from a JSON body or a stream of events.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn request(&self, request: &Request) -> Result<Answer, Error> {
        // Requests that other tasks are about to send go out together with this one. A server on the
        // same core then answers several at a time: a third more turns (benches/gateway.py).
        tokio::task::yield_now().await;
        let session = &*self.session;
        let response = session
            .post(request.message.clone(), &request.headers)
            .await?;
        if request.method == "initialize" {
            session.keep_id(&response)?;
        }
        if has_type(response.headers(), EVENT_STREAM) {
            return session.read_events(request, response).await;
        }
        if has_type(response.headers(), JSON) {
            let (body, held) = session.read_to_end(request.max_answer, response).await?;
            return Ok(read_answer(request, body, held, &session.observer)?);
        }
        Err(Error::NotMcp(match text_of(&response, CONTENT_TYPE) {
            Some(content_type) => format!("its content type is {content_type:?}"),
            None => "it has no content type".to_owned(),
        }))
    }

    /// Sends a notification.
    ///
    /// # Errors
    /// The server refused it or was not reached.
    pub async fn notify(&self, message: Bytes) -> Result<(), Error> {
        let response = self.session.post(message, &HeaderMap::new()).await?;
        match (response.status(), response.content_length()) {
            // Without a length, 202 is taken for what it should be.
            (StatusCode::ACCEPTED, None) | (StatusCode::NO_CONTENT, _) | (_, Some(0)) => {}
            (status, _) => {
                let remark = Remark::NotificationAnswered(status);
                self.session.observer.add(remark);
            }
        }
        Ok(())
    }

    /// Ends the session, if there is one.
    pub async fn close(&self) {
        if let Some(listener) = self.listener.get() {
            listener.abort();
        }
        if self.session.id.get().is_none() {
            return;
        }
        let headers = self.session.headers();
        let request = self.session.requests.delete(&self.session.url, headers);
        // 405 is how a server says that clients do not end its sessions.
        let _ = self
            .session
            .requests
            .send_within(request, DELETE_TIMEOUT)
            .await;
    }
}

impl Session {
    /// What every request of the session has.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(id) = self.id.get() {
            headers.insert(SESSION_ID, id.clone());
        }
        if let Some(version) = self.version.get() {
            headers.insert(PROTOCOL_VERSION, version.clone());
        }
        headers
    }

    async fn post(&self, message: Bytes, headers: &HeaderMap) -> Result<Response, Error> {
        let mut all = self.headers();
        all.extend(headers.clone());
        let request = self.requests.post(&self.url, message, all);
        self.requests.accepted(request).await
    }

    fn keep_id(&self, response: &Response) -> Result<(), Fault> {
        let Some(id) = response.headers().get(SESSION_ID) else {
            return Ok(());
        };
        if id.len() > MAX_SESSION_ID {
            let why = format!("its session id is longer than {MAX_SESSION_ID} bytes");
            return Err(Fault::NotMcp(why));
        }
        // A channel opens one session.
        let _ = self.id.set(id.clone());
        Ok(())
    }

    async fn read_to_end(
        &self,
        limit: usize,
        response: Response,
    ) -> Result<(Vec<u8>, Held), Error> {
        // What is announced and does not come takes no memory: its pages are never touched.
        let announced = response.content_length().unwrap_or(0).min(limit as u64);
        let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
        let mut held = self.budget.empty();
        let mut chunks = chunks(response);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| Error::from_connection(&error))?;
            held.grow(chunk.len() as u64)?;
            body.extend_from_slice(&chunk);
            if body.len() > limit {
                return Err(Excess::Answer(limit).into());
            }
        }
        Ok((body, held))
    }

    /// Reads the stream up to the answer. Other messages are counted, and requests of the server's
    /// own are answered. A stream that ends earlier is read on, if it says where.
    async fn read_events(&self, request: &Request, response: Response) -> Result<Answer, Error> {
        let mut events = Events::of(response, request.max_answer, &self.budget);
        let mut traffic = Traffic::default();
        let mut replies = FuturesUnordered::new();
        let mut resumed = 0;
        loop {
            let event = tokio::select! {
                event = events.next(), if replies.len() < MOST_REPLIES => event,
                Some(()) = replies.next() => continue,
            };
            let ended = match event {
                Ok(Some((sse::Event { name, data }, held))) => {
                    if !is_message(&name) {
                        traffic.notification(data.len())?;
                        continue;
                    }
                    match Message::read(&data).map_err(Fault::from)? {
                        Message::Answer { id, outcome }
                            if request.is_answered_by(id, outcome.is_err()) =>
                        {
                            self.observer.of_id(id);
                            let place = Place::of(id, outcome, &data);
                            drop(replies);
                            events.drain();
                            return Ok(Answer::new(data, place, held)?);
                        }
                        Message::Unknown { .. } => return Err(Fault::unrecognized().into()),
                        Message::Notification => {
                            self.observer.of_notification(&data);
                            self.observer
                                .takes(&Unasked::notification(&data, Some(request.id)));
                            traffic.notification(data.len())?;
                        }
                        Message::Answer { .. } => traffic.notification(data.len())?,
                        Message::Request { id, method }
                            if self.observer.takes(&Unasked::request(
                                &data,
                                id,
                                &method,
                                Some(request.id),
                            )) =>
                        {
                            traffic.notification(data.len())?;
                        }
                        Message::Request { id, method } => {
                            traffic.request(&method, data.len())?;
                            if let Some(reply) = message::reply(id, &method) {
                                replies.push(self.requests.reply(&self.url, reply, self.headers()));
                            }
                        }
                    }
                    continue;
                }
                Ok(None) => Fault::NotMcp("the stream ended before the answer".to_owned()),
                Err(fault @ Fault::BrokenOff(_)) => fault,
                Err(fault) => return Err(fault.into()),
            };
            let last_id = events.decoder.last_id().to_vec();
            if last_id.is_empty() || resumed == MOST_RESUMED {
                return Err(ended.into());
            }
            resumed += 1;
            let pause = events.pause().unwrap_or(PAUSE);
            tokio::time::sleep(pause).await;
            events = self.resume(&last_id, request.max_answer).await?;
        }
    }

    /// A stream of what comes after the event with this id; without one, of what the server sends by
    /// itself (MCP 2025-11-25, resumability and redelivery).
    async fn resume(&self, last_id: &[u8], limit: usize) -> Result<Events, Error> {
        let mut headers = self.headers();
        if !last_id.is_empty()
            && let Ok(last_id) = HeaderValue::from_bytes(last_id)
        {
            headers.insert(LAST_EVENT_ID, last_id);
        }
        let mut events = self
            .requests
            .events(&self.url, headers, limit, &self.budget)
            .await?;
        events.decoder.go_on_from(last_id);
        Ok(events)
    }

    /// Answers what the server asks by itself, until it says that it has no such stream.
    async fn listen(&self) {
        let mut last_id = Vec::new();
        let mut pause = PAUSE;
        // A server that has no such stream refuses it with 405.
        while let Ok(mut events) = self.resume(&last_id, MAX_ANSWER).await {
            let mut inbox = Inbox::new(Arc::<Pending>::default(), self.observer.clone());
            let read = read_all(&mut events, &mut inbox, |reply| {
                self.requests.reply(&self.url, reply, self.headers())
            })
            .await;
            if read.is_err_and(|fault| !matches!(fault, Fault::BrokenOff(_))) {
                return;
            }
            tokio::time::sleep(events.pause().map_or(pause, |it| it.max(pause))).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
            last_id = events.decoder.last_id().to_vec();
        }
    }
}
