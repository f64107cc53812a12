//! Who sends a message, and what of MCP it speaks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// The version without `initialize` (MCP 2026-07-28, lifecycle).
pub const MODERN: &str = "2026-07-28";

/// A client in front of the relay.
#[derive(Clone)]
pub struct Caller {
    /// Whether its requests say who sends them (MCP 2026-07-28).
    pub is_modern: bool,
    /// What it serves, if a server asks.
    pub offered: Offered,
    /// A digest of its credentials, if the door demands any.
    pub who: Option<[u8; 32]>,
    /// The one that it opened with `initialize`, if it has one.
    pub session: Option<Arc<Session>>,
}

impl Caller {
    /// Whether both are the same client, as far as the door can know.
    pub fn is(&self, who: Option<[u8; 32]>, session: Option<&str>) -> bool {
        self.who == who && self.session.as_deref().map(|it| &*it.id) == session
    }
}

/// A session of a client older than MCP 2026-07-28.
pub struct Session {
    pub id: Arc<str>,
    pub offered: Offered,
    /// Its `capabilities`, as it sent them.
    pub capabilities: Box<RawValue>,
    /// The version that was agreed on.
    pub version: &'static str,
    /// What it asked for with `logging/setLevel`.
    log_level: Mutex<Option<String>>,
    used: Mutex<Instant>,
}

impl Session {
    pub fn new(
        id: impl Into<Arc<str>>,
        capabilities: Box<RawValue>,
        version: &'static str,
    ) -> Self {
        Self {
            id: id.into(),
            offered: Offered::read(&capabilities),
            capabilities,
            version,
            log_level: Mutex::default(),
            used: Mutex::new(Instant::now()),
        }
    }

    /// The level of the log messages that it wants, if it said so.
    pub fn log_level(&self) -> Option<String> {
        let level = self.log_level.lock();
        level.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_log_level(&self, level: String) {
        *self
            .log_level
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(level);
    }

    /// Notes that it is in use now.
    pub fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// When it was used last.
    pub fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which requests of a server a client serves (MCP, client capabilities).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offered {
    elicitation: bool,
    sampling: bool,
    roots: bool,
}

impl Offered {
    /// Reads a client's `capabilities`.
    pub fn read(capabilities: &RawValue) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Capabilities {
            elicitation: Option<IgnoredAny>,
            sampling: Option<IgnoredAny>,
            roots: Option<IgnoredAny>,
        }
        let read: Capabilities = serde_json::from_str(capabilities.get()).unwrap_or_default();
        Self {
            elicitation: read.elicitation.is_some(),
            sampling: read.sampling.is_some(),
            roots: read.roots.is_some(),
        }
    }

    /// Whether the client serves this method.
    pub fn serves(self, method: &str) -> bool {
        match method {
            "elicitation/create" => self.elicitation,
            "sampling/createMessage" => self.sampling,
            "roots/list" => self.roots,
            _ => false,
        }
    }

    /// Whether it serves anything.
    pub fn is_any(self) -> bool {
        self != Self::default()
    }
}
