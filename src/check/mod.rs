//! Why would OpenAI refuse this server? The steps that its connector walks, one by one.

pub mod against;
pub mod lint;
mod words;

use std::time::Duration;

use crate::responses::ApiError;

/// What was found out about one server.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub server_label: String,
    /// Where it is, as it may be shown; nothing for a server that is started.
    pub server_url: Option<String>,
    pub steps: Vec<Step>,
    pub verdict: Verdict,
}

/// One step of the connector's way, or one rule that a list of tools is held against.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// A word for programs that stays the same, such as `credentials`.
    pub id: &'static str,
    /// What was looked at, for a person.
    pub title: String,
    pub outcome: Outcome,
    /// How long it took.
    pub duration: Duration,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// As it should be, with what there is to say of it.
    Pass(Option<String>),
    /// It works, and something may not work some day, or elsewhere.
    Warn(Complaint),
    /// OpenAI would stop here.
    Fail(Complaint),
    /// Not looked at, and why.
    Skip(String),
}

/// What is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Complaint {
    pub cause: String,
    pub hint: Option<String>,
}

/// What `responses.create` would have answered, as far as it can be told from here.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// HTTP 200, with a list of so many tools.
    Listed { tools: usize },
    /// HTTP 424, with this error in its body.
    FailedDependency(ApiError),
}
