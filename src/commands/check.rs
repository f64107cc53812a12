//! `mcp-cli check`: why would OpenAI refuse this server?

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::args;
use super::arguments::{self, Arguments};
use super::servers::{McpServerArgs, Servers};
use super::signals::StopSignals;
use crate::check::lock::{self, Lock};
use crate::check::{self, CALL_LIMIT, Call, Complaint, Report, Subject, Verdict, against};
use crate::engine::Engine;
use crate::engine::model::Model;
use crate::error::Error;
use crate::exit::ExitStatus;
use crate::mcp::{ClientPool, JsonObject, PoolOptions, Redirects};
use crate::responses::{MCPTool, McpListToolsTool, ToolEntry};
use crate::ui::{Format, ReportFormat, Ui, report};

/// Find out why OpenAI would refuse an MCP server
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The steps follow OpenAI's connector as far as it can be observed from outside. Nothing is sent to
OpenAI.

Examples:
  mcp-cli check https://example.com/mcp --authorization @token.jwt
      step by step, and what the Responses API would have answered
  mcp-cli check http://127.0.0.1:8000/mcp --call roll_dice n_dice:=5
      the same, and a call
  mcp-cli check -- python server.py
      a server that is started, and spoken to over stdio
  mcp-cli check --mcp-config mcp.json --server dice --junit check.xml
      for CI: exit 6 if a step failed
  mcp-cli check https://example.com/mcp --lock tools.lock
      the first time writes what you approve; from then on, exit 6 if a tool has changed
  mcp-cli check https://example.com/mcp --against response.json
      what has changed since that response")]
pub struct CheckArgs {
    /// The URL of the server; `host:port/path` works too
    url: Option<String>,

    /// Also call this tool
    #[arg(long, value_name = "TOOL")]
    call: Option<String>,

    /// Its arguments: `key=text` or `key:=json`
    #[arg(value_name = "KEY=VALUE")]
    arguments: Vec<String>,

    /// Compare the tools with those of a recorded response; - reads it from stdin
    #[arg(long, value_name = "FILE|-")]
    against: Option<PathBuf>,

    /// Write the approved tools to this file; if it exists, fail when the tools differ from it
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,

    /// Approve the tools as they are now
    #[arg(long, requires = "lock")]
    update_lock: bool,

    /// What to print on stdout
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: FormatArg,

    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,

    /// Also write the steps to a file as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Give up if the server takes longer to answer, or to list its tools
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = args::duration)]
    timeout: Duration,

    #[command(flatten)]
    server: McpServerArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum FormatArg {
    /// One line per step, and the verdict
    Text,
    /// JSON, one document per server
    Json,
    /// Annotations of GitHub Actions
    Github,
}

/// A check with everything that it needs.
pub struct Checkup {
    format: ReportFormat,
    lock: Option<Locking>,
    junit: Option<PathBuf>,
    engine: Engine,
    subjects: Vec<Subject>,
}

/// Reads what the arguments name: files, stdin, the environment. Nothing is asked yet.
pub fn read(mut args: CheckArgs, ui: &mut Ui) -> Result<Checkup, Error> {
    args.sort_out();
    args.server.record.start(ui)?;
    let format = args.format();
    if matches!(format, ReportFormat::Json) {
        ui.set_format(Format::Json);
    }
    let Servers {
        entries,
        commands,
        notes,
        ..
    } = args.server.read()?;
    for note in notes {
        ui.note(&note);
    }
    let entries = mcp_entries(entries);
    let is_here =
        |entry: &MCPTool| entry.server_url.is_some() || commands.contains_key(&entry.server_label);
    match entries.as_slice() {
        [] => return Err(Error::no_server()),
        [_, _, ..] if args.call.is_some() => {
            let labels = entries.iter().map(|it| it.server_label.as_str());
            let labels = labels.collect::<Vec<_>>().join(", ");
            return Err(Error::several_servers(&labels));
        }
        entries if !entries.iter().all(is_here) => {
            return Err(
                Error::usage("an OpenAI connector or tunnel cannot be checked from here")
                    .with_hint("check the MCP server behind it, with --server-url"),
            );
        }
        _ => {}
    }
    let clients = ClientPool::new(PoolOptions {
        redirects: Redirects::Refused,
        list_timeout: args.timeout,
        call_timeout: CALL_LIMIT,
        on_stderr: ui.on_stderr(),
        on_wire: ui.on_wire(),
        ..PoolOptions::default()
    });
    let recorded = args.recorded()?;
    let mut call = args.call()?;
    let subjects = entries.into_iter().map(|entry| {
        let recorded = recorded.as_ref().map(|it| it.of(&entry.server_label));
        Ok(Subject {
            entry,
            call: call.take(),
            recorded: recorded.transpose()?,
            limit: args.timeout,
        })
    });
    Ok(Checkup {
        format,
        lock: args.locking()?,
        subjects: subjects.collect::<Result<_, Error>>()?,
        engine: Engine::with_clients(Model::Rules, commands, clients),
        junit: args.junit,
    })
}

/// Takes the steps, and prints what came of them, server by server.
pub async fn check(
    checkup: Checkup,
    signals: StopSignals,
    ui: &mut Ui,
) -> Result<ExitStatus, Error> {
    let checking = check_all(&checkup.engine, checkup.subjects, ui);
    // Servers that were started are ended, whatever happened.
    let close = async |_: &Result<Vec<Report>, Error>| checkup.engine.close().await;
    let mut reports = signals.until_stopped(checking, close).await?;
    check::compare_names(&mut reports);
    if let Some(lock) = &checkup.lock {
        lock.take_step(&mut reports);
    }
    for report in &reports {
        ui.report(report, checkup.format)?;
    }
    if let Some(path) = &checkup.junit {
        write_junit(path, &reports)?;
    }
    if let Some(lock) = &checkup.lock {
        lock.write(&reports)?;
    }
    Ok(match reports.iter().any(Report::has_failed) {
        true => ExitStatus::McpServer,
        false => ExitStatus::Done,
    })
}

async fn check_all(
    engine: &Engine,
    subjects: Vec<Subject>,
    ui: &mut Ui,
) -> Result<Vec<Report>, Error> {
    let mut reports = Vec::new();
    for subject in subjects {
        let progress = |what: &str| ui.wait(&format!("waiting for {what}"));
        reports.push(check::check(engine, subject, progress).await?);
    }
    Ok(reports)
}

impl CheckArgs {
    /// Puts an argument of the call that stands first where it belongs: the URL may be left out.
    fn sort_out(&mut self) {
        let is_argument = |word: &String| {
            let key = word.split('=').next().unwrap_or_default();
            key.len() < word.len() && !key.contains("://")
        };
        match self.url.take() {
            Some(word) if self.server.is_named() || is_argument(&word) => {
                self.arguments.insert(0, word);
            }
            url => self.server.target = url,
        }
    }

    fn format(&self) -> ReportFormat {
        match self.format {
            _ if self.json => ReportFormat::Json,
            FormatArg::Text => ReportFormat::Text,
            FormatArg::Json => ReportFormat::Json,
            FormatArg::Github => ReportFormat::Github,
        }
    }

    /// The call that is to be made, if one is.
    fn call(&self) -> Result<Option<Call>, Error> {
        if let (None, [word, ..]) = (&self.call, self.arguments.as_slice()) {
            return Err(Error::usage(format!("{word:?} is an argument of no call"))
                .with_hint("name the tool with --call TOOL"));
        }
        let arguments = Arc::new(Arguments::read(&self.arguments, JsonObject::new())?);
        Ok(self.call.clone().map(|name| Call {
            name,
            arguments: Box::new(move |schema| {
                let arguments = Arc::clone(&arguments);
                Box::pin(async move {
                    fitting(&arguments, schema)
                        .await
                        .map_err(|error| complaint(&error))
                })
            }),
        }))
    }

    /// What `--lock` names.
    fn locking(&self) -> Result<Option<Locking>, Error> {
        let Some(path) = &self.lock else {
            return Ok(None);
        };
        let approved = match path.exists() && !self.update_lock {
            true => Some(args::read_text_file(path)?),
            false => None,
        };
        let approved = approved.map(|text| Lock::read(&text)).transpose();
        let approved = approved.map_err(|source| {
            Error::usage(format!("{} cannot be used", path.display()))
                .with_source(source)
                .with_hint("approve the tools anew with --update-lock")
        })?;
        Ok(Some(Locking {
            path: path.clone(),
            approved,
        }))
    }

    /// What `--against` names.
    fn recorded(&self) -> Result<Option<Recorded>, Error> {
        let Some(path) = &self.against else {
            return Ok(None);
        };
        let text = match path.as_os_str() == "-" {
            true if self.server.reads_stdin() => return Err(Error::two_on_stdin()),
            true => args::read_stdin()?,
            false => args::read_text_file(path)?,
        };
        // A response, or events, a line each.
        let values = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        let values = values.collect::<Result<Vec<_>, _>>();
        let values = values.map_err(|source| Error::not_json(path, source))?;
        Ok(Some(Recorded {
            path: path.clone(),
            values: values.into(),
        }))
    }
}

/// A lock file, and what was approved in it, unless that is to be written.
struct Locking {
    path: PathBuf,
    approved: Option<Lock>,
}

impl Locking {
    /// Adds the step that compares the tools of each server that was listed.
    fn take_step(&self, reports: &mut [Report]) {
        for report in reports.iter_mut().filter(|it| is_listed(it)) {
            let step = match &self.approved {
                Some(approved) => approved.compare(&report.server_label, &report.tools),
                None => lock::approved(&report.tools),
            };
            report.steps.push(step);
        }
    }

    /// Writes the file, if the tools are approved now: those of all servers, or none.
    fn write(&self, reports: &[Report]) -> Result<(), Error> {
        if self.approved.is_some() {
            return Ok(());
        }
        if !reports.iter().all(is_listed) {
            let path = self.path.display();
            let text = format!("{path} is not written: not every server gave its tools");
            return Err(Error::new(ExitStatus::McpServer, text));
        }
        let mut lock = Lock::new();
        for report in reports {
            lock.approve(&report.server_label, &report.tools);
        }
        std::fs::write(&self.path, lock.to_text())
            .map_err(|source| Error::write(&self.path, source))
    }
}

fn is_listed(report: &Report) -> bool {
    matches!(report.verdict, Verdict::Listed { .. })
}

/// A response of before.
struct Recorded {
    path: PathBuf,
    values: Value,
}

impl Recorded {
    /// The tools that it lists of a server. A label is a name that may have changed; what is alone is
    /// what is meant.
    fn of(&self, server_label: &str) -> Result<Vec<McpListToolsTool>, Error> {
        against::read(&self.values, Some(server_label))
            .or_else(|| against::read(&self.values, None))
            .ok_or_else(|| {
                let text = format!("{} lists no tools of this server", self.path.display());
                Error::usage(text).with_hint(
                    "save a response with an mcp_list_tools item of this server, such as with `ask --json`",
                )
            })
    }
}

/// The arguments as the tool takes them.
async fn fitting(arguments: &Arguments, schema: &JsonObject) -> Result<JsonObject, Error> {
    let arguments = arguments.to_json(schema)?;
    arguments::check(&arguments, schema).await?;
    Ok(arguments)
}

fn complaint(error: &Error) -> Complaint {
    let hint = error
        .hint()
        .unwrap_or("`mcp-cli tools show NAME` shows what a tool takes");
    Complaint {
        hint: Some(hint.to_owned()),
        cause: error.to_string(),
    }
}

fn mcp_entries(entries: Vec<ToolEntry>) -> Vec<MCPTool> {
    let entries = entries.into_iter().filter_map(|entry| match entry {
        ToolEntry::Mcp(entry) => Some(*entry),
        ToolEntry::Other(_) => None,
    });
    entries.collect()
}

fn write_junit(path: &Path, reports: &[Report]) -> Result<(), Error> {
    std::fs::write(path, report::junit(reports)).map_err(|source| Error::write(path, source))
}

impl From<check::Error> for Error {
    fn from(error: check::Error) -> Self {
        match error {
            check::Error::Engine(error) => error.into(),
            check::Error::Client(error) => Self::internal(error.to_string()).with_source(error),
        }
    }
}
