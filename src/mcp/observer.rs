//! `Observer`: what goes over a connection, for whoever wants to see it, and the remarks on it.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::channel::{Answer, Request};
use super::error::Error;
use super::remark::Remark;
use super::server::{Endpoint, Server};
use crate::address;

/// A message that a server sends by itself.
pub struct Unasked<'a> {
    /// The whole message.
    pub text: &'a [u8],
    /// The id and the method of a request; a notification has none.
    pub request: Option<(&'a RawValue, &'a str)>,
    /// The request in whose answer it came. Over stdio and HTTP+SSE, nothing says which it is.
    pub during: Option<u64>,
}

impl<'a> Unasked<'a> {
    pub fn notification(text: &'a [u8], during: Option<u64>) -> Self {
        Self {
            text,
            request: None,
            during,
        }
    }

    pub fn request(text: &'a [u8], id: &'a RawValue, method: &'a str, during: Option<u64>) -> Self {
        Self {
            text,
            request: Some((id, method)),
            during,
        }
    }
}

/// Gets what a server sends by itself, and says whether it takes it. A request that nobody takes is
/// answered by the client: a ping with a pong, any other with an error.
pub type OnUnasked = Arc<dyn Fn(&Unasked<'_>) -> bool + Send + Sync>;

/// How many characters of a line are kept.
const MAX_LINE: usize = 80;

/// Something that went over a connection to an MCP server. It has no secret that the server was shown.
#[derive(Debug)]
pub struct Wire {
    /// The URL of the server, or its program.
    pub server: String,
    /// `http`, `stdio` or `process`.
    pub transport: &'static str,
    pub event: WireEvent,
}

/// What went over it.
#[derive(Debug)]
pub enum WireEvent {
    /// A request, and what came of it: a JSON-RPC message, or why there is none.
    Exchange {
        method: Cow<'static, str>,
        /// The tool that it calls.
        tool: Option<String>,
        request: String,
        answer: Result<String, String>,
        took: Duration,
    },
    /// A notification of the server's, such as a line of its log.
    Notification(String),
}

impl WireEvent {
    /// A request, and what came of it.
    pub fn exchange(
        method: impl Into<Cow<'static, str>>,
        request: String,
        answer: Result<String, String>,
        took: Duration,
    ) -> Self {
        #[derive(Deserialize)]
        struct Asked {
            params: Named,
        }
        #[derive(Deserialize)]
        struct Named {
            name: Option<String>,
        }
        let asked: Option<Asked> = serde_json::from_str(&request).ok();
        Self::Exchange {
            method: method.into(),
            tool: asked.and_then(|it| it.params.name),
            request,
            answer,
            took,
        }
    }

    /// The same without what `server` was shown.
    fn without_secrets(self, server: &Server) -> Self {
        let redacted = |text| server.without_secrets(text);
        match self {
            Self::Notification(text) => Self::Notification(redacted(text)),
            Self::Exchange {
                method,
                tool,
                request,
                answer,
                took,
            } => Self::Exchange {
                method,
                tool: tool.map(redacted),
                request: redacted(request),
                answer: answer.map(redacted).map_err(redacted),
                took,
            },
        }
    }
}

/// Gets what goes over connections.
#[derive(Clone)]
pub struct OnWire {
    /// Whether exchanges are told too, and not notifications alone: each is copied.
    pub exchanges: bool,
    pub tell: Arc<dyn Fn(Wire) + Send + Sync>,
}

impl OnWire {
    /// Tells what went over a connection to `server`, without what that was shown.
    pub fn tell(&self, event: WireEvent, server: &Server) {
        let event = event.without_secrets(server);
        let (server, transport) = match &server.endpoint {
            Endpoint::Http(url) => (address::shown(url), "http"),
            Endpoint::Stdio(command) => (command.program.clone(), "stdio"),
            Endpoint::InProcess(it) => (it.name.clone(), "process"),
        };
        (self.tell)(Wire {
            server,
            transport,
            event,
        });
    }
}

/// Watches one connection. Cloning shares what it has seen.
#[derive(Clone, Default)]
pub struct Observer {
    remarks: Arc<Mutex<Vec<Remark>>>,
    on_wire: Option<(OnWire, Arc<Server>)>,
    on_unasked: Option<OnUnasked>,
}

impl Observer {
    /// An observer of a connection to `server`.
    pub fn new(on_wire: Option<OnWire>, server: &Server) -> Self {
        Self {
            remarks: Arc::default(),
            on_wire: on_wire.map(|it| (it, Arc::new(server.clone()))),
            on_unasked: None,
        }
    }

    /// The same, which passes what the server sends by itself to `on_unasked`.
    pub fn with_unasked(mut self, on_unasked: Option<OnUnasked>) -> Self {
        self.on_unasked = on_unasked;
        self
    }

    /// Whether somebody takes what the server sent by itself.
    pub fn takes(&self, unasked: &Unasked<'_>) -> bool {
        let on_unasked = self.on_unasked.as_ref();
        on_unasked.is_some_and(|it| it(unasked))
    }

    /// Keeps a remark, unless there is one of its kind.
    pub fn add(&self, remark: Remark) {
        let mut remarks = self.remarks.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = std::mem::discriminant(&remark);
        if remarks.iter().all(|it| std::mem::discriminant(it) != kind) {
            remarks.push(remark);
        }
    }

    /// All remarks that were made so far.
    pub fn remarks(&self) -> Vec<Remark> {
        let remarks = self.remarks.lock().unwrap_or_else(PoisonError::into_inner);
        remarks.clone()
    }

    /// Looks at the id of an answer.
    pub fn of_id(&self, id: Option<&RawValue>) {
        if id.is_some_and(|id| id.get().starts_with('"')) {
            self.add(Remark::IdAsText);
        }
    }

    /// Looks at a line of stdout that is no message.
    pub fn of_line(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        self.add(Remark::Stdout(line.chars().take(MAX_LINE).collect()));
    }

    /// Looks at a notification.
    pub fn of_notification(&self, text: &[u8]) {
        self.tell(|| WireEvent::Notification(String::from_utf8_lossy(text).into_owned()));
    }

    /// Looks at a request, and at what came of it since `started`.
    pub fn of_request(&self, request: &Request, answer: &Result<Answer, Error>, started: Instant) {
        if !self.on_wire.as_ref().is_some_and(|(it, _)| it.exchanges) {
            return;
        }
        self.tell(|| {
            let answer = match answer {
                Ok(answer) => Ok(answer.text().to_owned()),
                Err(error) => Err(error.with_causes()),
            };
            let request_text = String::from_utf8_lossy(&request.message).into_owned();
            WireEvent::exchange(
                request.method.clone(),
                request_text,
                answer,
                started.elapsed(),
            )
        });
    }

    fn tell(&self, event: impl FnOnce() -> WireEvent) {
        let Some((on_wire, server)) = &self.on_wire else {
            return;
        };
        on_wire.tell(event(), server);
    }
}
