//! Requests and answers on a connection that carries all messages in one stream: the stdout of a
//! process, and the events of HTTP+SSE.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;
use tokio::sync::{Notify, oneshot};

use super::channel::{Answer, Place, has_id};
use super::excess::Traffic;
use super::fault::Fault;
use super::message::{self, Message};
use super::observer::{Observer, Unasked};
use crate::budget::Held;

type Waiting = oneshot::Sender<Result<Answer, Fault>>;

/// The requests that wait for an answer, by id.
#[derive(Default)]
pub struct Pending {
    state: Mutex<State>,
    has_ended: Notify,
}

#[derive(Default)]
struct State {
    waiting: HashMap<u64, Waiting>,
    /// Why the server is not read any further.
    fault: Option<Fault>,
}

impl Pending {
    /// A place for the answer to the request `id`, which is about to be sent.
    ///
    /// # Errors
    /// Why the server is not read any further.
    pub fn expect(&self, id: u64) -> Result<Expected<'_>, Fault> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        if let Some(fault) = &state.fault {
            return Err(fault.clone());
        }
        state.waiting.insert(id, sender);
        Ok(Expected {
            pending: self,
            id,
            receiver,
        })
    }

    /// Why the server is not read any further, if it is not.
    pub fn fault(&self) -> Option<Fault> {
        self.lock().fault.clone()
    }

    /// Waits until the server is not read any further, and says why.
    pub async fn ended(&self) -> Fault {
        loop {
            let ended = self.has_ended.notified();
            if let Some(fault) = self.fault() {
                return fault;
            }
            ended.await;
        }
    }

    /// Fails the requests that wait, and those that come later.
    pub fn end(&self, fault: &Fault) {
        self.lock().fault = Some(fault.clone());
        self.fail(fault);
        self.has_ended.notify_waiters();
    }

    /// Fails the requests that wait. Returns whether there were any.
    pub fn fail(&self, fault: &Fault) -> bool {
        let waiting = std::mem::take(&mut self.lock().waiting);
        let any = !waiting.is_empty();
        for (_, waiting) in waiting {
            // The request may have been dropped.
            let _ = waiting.send(Err(fault.clone()));
        }
        any
    }

    /// Takes the request that an answer is to off the list.
    fn take(&self, id: Option<&RawValue>, is_error: bool) -> Option<Waiting> {
        let waiting = &mut self.lock().waiting;
        let id = match id {
            Some(id) => waiting.keys().copied().find(|sent| has_id(id, *sent)),
            // An error without an id is of a request that the server could not read: if several may
            // be meant, none is.
            None if is_error && waiting.len() == 1 => waiting.keys().copied().next(),
            None => None,
        };
        waiting.remove(&id?)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that is waited for. Dropping it gives the request up: an answer that comes late is then
/// the answer to none.
pub struct Expected<'a> {
    pending: &'a Pending,
    id: u64,
    receiver: oneshot::Receiver<Result<Answer, Fault>>,
}

impl Expected<'_> {
    /// Waits for the answer.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn answer(&mut self) -> Result<Answer, Fault> {
        let answer = (&mut self.receiver).await;
        answer.unwrap_or(Err(Fault::Closed))
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.pending.lock().waiting.remove(&self.id);
    }
}

/// Reads messages, and gives each answer to the request that waits for it.
pub struct Inbox {
    pub pending: Arc<Pending>,
    pub observer: Observer,
    traffic: Traffic,
}

/// What a text was.
pub enum Received {
    /// A message that is dealt with.
    Message,
    /// A request of the server's own, which is to be sent this.
    Request { reply: String },
    /// No message.
    Noise { text: Vec<u8>, fault: Fault },
}

impl Inbox {
    pub fn new(pending: Arc<Pending>, observer: Observer) -> Self {
        Self {
            pending,
            observer,
            traffic: Traffic::default(),
        }
    }

    /// Counts what is no message.
    ///
    /// # Errors
    /// The server sent too much of it.
    pub fn ignore(&mut self, bytes: usize) -> Result<(), Fault> {
        Ok(self.traffic.notification(bytes)?)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// The server sent too much that is no answer.
    pub fn receive(&mut self, text: Vec<u8>, held: Held) -> Result<Received, Fault> {
        let message = match Message::read(&text) {
            Ok(message) => message,
            Err(error) => {
                self.traffic.notification(text.len())?;
                let fault = error.into();
                return Ok(Received::Noise { text, fault });
            }
        };
        let (waiting, place) = match message {
            Message::Answer { id, outcome } => {
                self.observer.of_id(id);
                let waiting = self.pending.take(id, outcome.is_err());
                (waiting, Some(Place::of(id, outcome, &text)))
            }
            Message::Unknown { id: Some(id) } => (self.pending.take(Some(id), false), None),
            Message::Request { id, method }
                if self
                    .observer
                    .takes(&Unasked::request(&text, id, &method, None)) =>
            {
                (None, None)
            }
            Message::Request { id, method } => {
                self.traffic.request(&method, text.len())?;
                let reply = message::reply(id, &method);
                return Ok(reply.map_or(Received::Message, |reply| Received::Request { reply }));
            }
            Message::Notification => {
                self.observer.of_notification(&text);
                self.observer.takes(&Unasked::notification(&text, None));
                (None, None)
            }
            Message::Unknown { id: None } => (None, None),
        };
        match (waiting, place) {
            (None, _) => self.traffic.notification(text.len())?,
            // The request may have been dropped.
            (Some(waiting), Some(place)) => {
                self.traffic = Traffic::default();
                let _ = waiting.send(Answer::new(text, place, held));
            }
            (Some(waiting), None) => {
                self.traffic.notification(text.len())?;
                let _ = waiting.send(Err(Fault::unrecognized()));
            }
        }
        Ok(Received::Message)
    }
}
