//! `Stage`: the steps of the connector, in its order, and their outcomes.

use std::time::Duration;

use super::{Complaint, Outcome, Step};

/// One step of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Address,
    Tls,
    Path,
    Credentials,
    Protocol,
    Session,
    Get,
    Host,
    Accept,
    ToolsList,
    Details,
    Call,
}

impl Stage {
    fn id(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Tls => "tls",
            Self::Path => "path",
            Self::Credentials => "credentials",
            Self::Protocol => "protocol",
            Self::Session => "session",
            Self::Get => "get",
            Self::Host => "host",
            Self::Accept => "accept",
            Self::ToolsList => "tools_list",
            Self::Details => "details",
            Self::Call => "call",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Address => "OpenAI can reach the address",
            Self::Tls => "the TLS certificate is trusted",
            Self::Path => "POST works without a redirect",
            Self::Credentials => "accepts valid credentials and rejects invalid ones",
            Self::Protocol => "answers server/discover or initialize",
            Self::Session => "a request without a session is answered",
            Self::Get => "a GET does not hang",
            Self::Host => "accepts another Host header",
            Self::Accept => "handles the Accept header as MCP specifies",
            Self::ToolsList => "tools/list returns all tools",
            Self::Details => "follows MCP where other clients are strict",
            Self::Call => "answers a call within 60 s",
        }
    }

    /// Whether nothing behind this step can be looked at when it fails.
    fn is_in_the_way(self) -> bool {
        match self {
            Self::Address | Self::Tls | Self::Path | Self::Credentials | Self::Protocol => true,
            Self::Session
            | Self::Get
            | Self::Host
            | Self::Accept
            | Self::ToolsList
            | Self::Details
            | Self::Call => false,
        }
    }
}

/// The steps that were taken so far.
#[derive(Debug, Default)]
pub struct Steps {
    pub steps: Vec<Step>,
    /// The step at which the connector would stop.
    ended_at: Option<&'static str>,
}

impl Steps {
    /// Adds what came of a step. Behind one that failed, it is skipped.
    pub fn add(&mut self, stage: Stage, duration: Duration, outcome: Outcome) {
        let outcome = match self.ended_at {
            Some(id) => skip(format!("`{id}` failed")),
            None => outcome,
        };
        let duration = match outcome {
            Outcome::Skip(_) => Duration::ZERO,
            Outcome::Pass(_) | Outcome::Warn(_) | Outcome::Fail(_) => duration,
        };
        if matches!(outcome, Outcome::Fail(_)) && stage.is_in_the_way() {
            self.ended_at = Some(stage.id());
        }
        self.steps.push(Step {
            id: stage.id(),
            title: stage.title().to_owned(),
            outcome,
            duration,
        });
    }

    /// Adds a step that there was no reason to take.
    pub fn skip(&mut self, stage: Stage, why: &str) {
        self.add(stage, Duration::ZERO, skip(why));
    }
}

pub fn pass(what: impl Into<String>) -> Outcome {
    Outcome::Pass(Some(what.into()))
}

pub fn skip(why: impl Into<String>) -> Outcome {
    Outcome::Skip(why.into())
}

pub fn warn(cause: impl Into<String>, hint: impl Into<String>) -> Outcome {
    Outcome::Warn(complaint(cause, hint))
}

pub fn fail(cause: impl Into<String>, hint: impl Into<String>) -> Outcome {
    Outcome::Fail(complaint(cause, hint))
}

fn complaint(cause: impl Into<String>, hint: impl Into<String>) -> Complaint {
    Complaint {
        cause: cause.into(),
        hint: Some(hint.into()),
    }
}
