//! Why would OpenAI refuse this server? The steps of its connector, one by one.

mod address;
pub mod against;
mod credentials;
mod details;
pub mod lint;
pub mod lock;
mod opening;
mod path;
mod requests;
mod run;
mod stage;
mod tls;
mod tools;
mod variations;
mod verdict;
mod words;

use std::time::Duration;

use futures::future::try_join;
use http::StatusCode;

use crate::address as addresses;
use crate::engine::Engine;
use crate::mcp::{self, Answer, Endpoint, Tool};
use crate::responses::{self, ApiError, FailedDependency, MCPTool, McpListToolsTool};

pub use run::Call;
pub use tools::CALL_LIMIT;

use run::Run;

/// What is to be checked.
pub struct Subject {
    pub entry: MCPTool,
    /// A call to make.
    pub call: Option<Call>,
    /// An `mcp_list_tools` of before, to compare with.
    pub recorded: Option<Vec<McpListToolsTool>>,
    /// How long the first answer may take.
    pub limit: Duration,
}

/// Why no step could be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine does not take such a tool entry.
    #[error(transparent)]
    Engine(#[from] responses::Error),
    /// The client could not be made.
    #[error(transparent)]
    Client(#[from] mcp::Error),
}

/// Takes the steps that OpenAI's connector takes, looks at the tools, and asks `engine` what
/// `responses.create` would have answered. `progress` gets what it waits for.
///
/// The engine's pool should refuse redirects, for not every client follows them with all that it
/// was given.
pub async fn check(
    engine: &Engine,
    subject: Subject,
    mut progress: impl FnMut(&str),
) -> Result<Report, Error> {
    let entry = &subject.entry;
    let run = Run {
        engine,
        server_label: &entry.server_label,
        server: engine.server(entry)?,
        call: subject.call.as_ref(),
        limit: subject.limit,
    };
    let steps = async { Ok(Box::pin(run.take_steps(&mut progress)).await?) };
    let verdict = async { Ok::<_, Error>(Box::pin(verdict::ask(engine, entry)).await?) };
    let ((steps, tools), (mut verdict, live)) = match run.server.as_mcp().endpoint {
        Endpoint::Http(_) | Endpoint::InProcess(_) => try_join(steps, verdict).await?,
        // It is started once, and asked by one after the other.
        Endpoint::Stdio(_) => (steps.await?, verdict.await?),
    };

    let mut steps = steps.steps;
    if let Some(tools) = &tools {
        steps.extend(lint::lint(&entry.server_label, tools, entry));
        // This program reads such a list; OpenAI was seen not to.
        if lint::does_not_parse(tools) {
            verdict = Verdict::no_list(&entry.server_label);
        }
    }
    if let (Some(recorded), Verdict::Listed { .. }) = (&subject.recorded, &verdict) {
        steps.push(against::compare(recorded, &live));
    }
    for step in &mut steps {
        step.outcome
            .map_texts(|text| run.server.as_mcp().without_secrets(text));
    }
    Ok(Report {
        server_label: entry.server_label.clone(),
        server_url: match &run.server.as_mcp().endpoint {
            Endpoint::Http(url) => Some(addresses::shown(url)),
            Endpoint::Stdio(_) | Endpoint::InProcess(_) => None,
        },
        steps,
        tools: tools.unwrap_or_default(),
        verdict,
    })
}

/// Where several servers go into one request, the last report says whether their tools can be told
/// apart.
pub fn compare_names(reports: &mut [Report]) {
    let lists: Vec<(&str, &[Tool])> = reports
        .iter()
        .map(|report| (report.server_label.as_str(), report.tools.as_slice()))
        .collect();
    let step = lint::across(&lists);
    if let [_, .., last] = reports {
        last.steps.push(step);
    }
}

/// An answer in a few words: its status, and how its body begins.
fn shown(answer: &Answer) -> String {
    match answer.start.trim() {
        "" => format!("HTTP {}", answer.status),
        start => format!("HTTP {}: {start}", answer.status),
    }
}

/// What was found out about one server.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub server_label: String,
    /// Where it is, as it may be shown; nothing for a server that is started.
    pub server_url: Option<String>,
    pub steps: Vec<Step>,
    /// The tools that were listed, as the server sent them.
    pub tools: Vec<Tool>,
    pub verdict: Verdict,
}

impl Report {
    /// Whether OpenAI would stop somewhere.
    pub fn has_failed(&self) -> bool {
        let mut steps = self.steps.iter();
        steps.any(|step| matches!(step.outcome, Outcome::Fail(_)))
            || matches!(self.verdict, Verdict::FailedDependency(_))
    }
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

impl Outcome {
    fn map_texts(&mut self, mut change: impl FnMut(String) -> String) {
        let texts: &mut [&mut String] = match self {
            Self::Pass(Some(note)) | Self::Skip(note) => &mut [note],
            Self::Warn(complaint) | Self::Fail(complaint) => match &mut complaint.hint {
                Some(hint) => &mut [&mut complaint.cause, hint],
                None => &mut [&mut complaint.cause],
            },
            Self::Pass(None) => &mut [],
        };
        for text in texts {
            **text = change(std::mem::take(*text));
        }
    }
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

impl Verdict {
    /// What is answered of a server whose list cannot be read.
    fn no_list(server_label: &str) -> Self {
        let status = StatusCode::FAILED_DEPENDENCY;
        let failure = FailedDependency::listing(server_label, status, String::new());
        Self::FailedDependency(failure.error)
    }
}
