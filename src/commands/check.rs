//! `mcp-cli check`: why would OpenAI refuse this server?

use std::path::{Path, PathBuf};
use std::time::Duration;

use rmcp::model::JsonObject;
use serde::Deserialize;
use serde_json::Value;

use super::args;
use super::arguments::Arguments;
use super::servers::{McpServerArgs, Servers};
use crate::check::{self, CALL_LIMIT, Call, Report, Subject};
use crate::engine::Engine;
use crate::engine::model::Model;
use crate::error::Error;
use crate::exit::ExitStatus;
use crate::mcp::{ClientPool, PoolOptions, Redirects};
use crate::responses::{Item, MCPTool, McpListTools, McpListToolsTool, ToolEntry};
use crate::ui::{Format, ReportFormat, Ui, report};

/// Find out why OpenAI would refuse an MCP server
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The steps are those that OpenAI's connector takes, as far as they can be seen from outside; nothing
is sent to OpenAI.

Examples:
  mcp-cli check --server-url https://example.com/mcp --authorization @token.jwt
      step by step, and what the Responses API would have answered
  mcp-cli check --server-url http://127.0.0.1:8000/mcp --call roll_dice n_dice:=5
      the same, and a call
  mcp-cli check --mcp-config mcp.json --server dice --junit check.xml
      for CI: exit 6 if a step failed
  mcp-cli check --server-url https://example.com/mcp --against response.json
      what has changed since that response")]
pub struct CheckArgs {
    /// Call this tool as well
    #[arg(long, value_name = "TOOL")]
    call: Option<String>,

    /// Its arguments: `key=text` or `key:=json`
    #[arg(requires = "call", value_name = "KEY=VALUE")]
    arguments: Vec<String>,

    /// Compare the tools with those of a response of before; - reads it from stdin
    #[arg(long, value_name = "FILE|-")]
    against: Option<PathBuf>,

    /// What stdout gets
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: FormatArg,

    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,

    /// Write the steps to a file as JUnit XML as well
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// How long the server may take to answer, and to list its tools
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,

    #[command(flatten)]
    server: McpServerArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum FormatArg {
    /// A line a step, and the verdict
    Text,
    /// All of it as JSON
    Json,
    /// Annotations of GitHub Actions
    Github,
}

/// A check with everything that it needs.
pub struct Checkup {
    format: ReportFormat,
    junit: Option<PathBuf>,
    engine: Engine,
    entry: Box<MCPTool>,
    call: Option<Call>,
    recorded: Option<Vec<McpListToolsTool>>,
    timeout: Duration,
}

/// Reads what the arguments name: files, stdin, the environment. Nothing is asked yet.
pub fn read(args: CheckArgs, ui: &mut Ui) -> Result<Checkup, Error> {
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
    let entry = the_one(entries)?;
    if entry.server_url.is_none() && !commands.contains_key(&entry.server_label) {
        return Err(Error::OnlyAtOpenAi);
    }
    let clients = ClientPool::new(PoolOptions {
        redirects: Redirects::Refused,
        list_timeout: args.timeout,
        call_timeout: CALL_LIMIT,
        ..PoolOptions::default()
    });
    let arguments = Arguments::read(&args.arguments, JsonObject::new())?;
    Ok(Checkup {
        format,
        engine: Engine::with_clients(Model::Rules, commands, clients),
        call: args.call.clone().map(|name| Call {
            name,
            arguments: Box::new(move |schema| {
                arguments.to_json(schema).map_err(|error| error.to_string())
            }),
        }),
        recorded: args.recorded(&entry.server_label)?,
        entry,
        junit: args.junit,
        timeout: args.timeout,
    })
}

/// Takes the steps, and prints what came of them.
pub async fn check(checkup: Checkup, ui: &mut Ui) -> Result<ExitStatus, Error> {
    let subject = Subject {
        entry: &checkup.entry,
        call: checkup.call,
        recorded: checkup.recorded,
        limit: checkup.timeout,
    };
    let progress = |what: &str| ui.wait(&format!("waiting for {what}"));
    let checked = check::check(&checkup.engine, subject, progress).await;
    checkup.engine.close().await;
    let report = checked?;
    if let Some(path) = &checkup.junit {
        write_junit(path, &report)?;
    }
    ui.report(&report, checkup.format)?;
    Ok(match report.has_failed() {
        true => ExitStatus::McpServer,
        false => ExitStatus::Done,
    })
}

impl CheckArgs {
    fn format(&self) -> ReportFormat {
        match self.format {
            _ if self.json => ReportFormat::Json,
            FormatArg::Text => ReportFormat::Text,
            FormatArg::Json => ReportFormat::Json,
            FormatArg::Github => ReportFormat::Github,
        }
    }

    /// The tools that the response of `--against` lists of this server.
    fn recorded(&self, server_label: &str) -> Result<Option<Vec<McpListToolsTool>>, Error> {
        let Some(path) = &self.against else {
            return Ok(None);
        };
        let text = match path.as_os_str() == "-" {
            true if self.server.reads_stdin() => return Err(Error::TwoOnStdin),
            true => args::read_stdin()?,
            false => args::read_text_file(path)?,
        };
        let lists = lists(&text).map_err(|source| Error::NotJson {
            path: path.clone(),
            source,
        })?;
        let of_server = lists.iter().rfind(|list| list.server_label == server_label);
        // A label is a name that may have changed; what is alone is what is meant.
        let found = of_server.or(match lists.as_slice() {
            [one] => Some(one),
            _ => None,
        });
        let found = found.ok_or_else(|| Error::NoRecordedList { path: path.clone() })?;
        Ok(Some(found.tools.clone()))
    }
}

/// The one server that is to be checked.
fn the_one(entries: Vec<ToolEntry>) -> Result<Box<MCPTool>, Error> {
    let mut entries: Vec<Box<MCPTool>> = entries
        .into_iter()
        .filter_map(|entry| match entry {
            ToolEntry::Mcp(entry) => Some(entry),
            ToolEntry::Other(_) => None,
        })
        .collect();
    let labels = entries.iter().map(|it| it.server_label.as_str());
    let labels = labels.collect::<Vec<_>>().join(", ");
    match (entries.pop(), entries.as_slice()) {
        (Some(entry), []) => Ok(entry),
        (None, _) => Err(Error::NoServer),
        (Some(_), _) => Err(Error::SeveralServers(labels)),
    }
}

/// The lists of tools in a response, in an item, in a list of items, or in events, a line each.
fn lists(text: &str) -> Result<Vec<McpListTools>, serde_json::Error> {
    let mut lists = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let value = value?;
        let response = value.get("response").unwrap_or(&value);
        let items = match response.get("output").unwrap_or(response) {
            Value::Array(items) => items.as_slice(),
            item => std::slice::from_ref(item),
        };
        lists.extend(
            items
                .iter()
                .filter_map(|item| match Item::deserialize(item) {
                    Ok(Item::McpListTools(list)) => Some(list),
                    _ => None,
                }),
        );
    }
    Ok(lists)
}

fn write_junit(path: &Path, report: &Report) -> Result<(), Error> {
    std::fs::write(path, report::junit(report)).map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}

impl From<check::Error> for Error {
    fn from(error: check::Error) -> Self {
        match error {
            check::Error::Engine(error) => Self::Responses(error),
            check::Error::Client(error) => Self::McpClient(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_found_in_whatever_was_saved() {
        let item = r#"{"type":"mcp_list_tools","id":"mcpl_1","server_label":"dice","tools":[]}"#;
        for text in [
            item.to_owned(),
            format!("[{item}]"),
            format!(r#"{{"object":"response","output":[{item}]}}"#),
            format!(
                "{{\"type\":\"x\"}}\n{{\"type\":\"response.completed\",\"response\":{{\"output\":[{item}]}}}}\n"
            ),
        ] {
            let found = lists(&text).unwrap();
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!(found[0].server_label, "dice");
        }
        assert!(lists("{}").unwrap().is_empty());
        assert!(lists("no").is_err());
    }
}
