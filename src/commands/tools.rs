//! `mcp-cli tools`: what an MCP server offers, and a call of it without a model.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::args;
use super::arguments::{self, Arguments};
use super::attachments;
use super::servers::McpServerArgs;
use super::signals::StopSignals;
use crate::connector::{self, Server};
use crate::error::Error;
use crate::exit::ExitStatus;
use crate::mcp::{ClientPool, JsonObject, PoolOptions, Tool};
use crate::responses::ToolEntry;
use crate::ui::{self, Format, Ui};

/// List the tools of an MCP server, or call one
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mcp-cli tools list --server-url http://127.0.0.1:8000/mcp
      roll_dice(n_dice: int)  [read-only] Roll `n_dice` 6-sided dice and return the results.
  mcp-cli tools call --server-url http://127.0.0.1:8000/mcp roll_dice n_dice=3
      [3,1,1]")]
pub struct ToolsArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    List(Box<ListArgs>),
    Call(Box<CallArgs>),
}

/// List the tools of a server, one per line
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mcp-cli tools list --server-url https://example.com/mcp --authorization @token.jwt
  mcp-cli tools list --mcp-config .mcp.json --server dice
  mcp-cli tools list --server-url http://127.0.0.1:8000/mcp --json | jq '.[].inputSchema'")]
struct ListArgs {
    /// The tools as the server sent them
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: McpServerArgs,
}

/// Call a tool with arguments that match its schema
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mcp-cli tools call --server-url http://127.0.0.1:8000/mcp roll_dice n_dice=3
      n_dice is an integer to the tool, so 3 is sent as one
  mcp-cli tools call --mcp-config .mcp.json --server files search text=42 'paths:=[\"src\", \"docs\"]'
      text is text to the tool, so \"42\" is sent; := takes JSON as it is
  mcp-cli tools call --server-url https://example.com/mcp chart --input-json @data.json --output-dir .
      arguments from a file, and the images of the result as files")]
struct CallArgs {
    /// The tool
    name: String,

    /// Its arguments: `key=value`, converted to the type in the tool's schema, or `key:=json`
    #[arg(value_name = "KEY=VALUE|KEY:=JSON")]
    arguments: Vec<String>,

    /// A JSON object with arguments, to which the others are added; @FILE reads it from a file, - from
    /// stdin
    #[arg(long, value_name = "JSON|@FILE|-")]
    input_json: Option<String>,

    /// The result as the server sent it
    #[arg(long)]
    json: bool,

    /// Save images, audio and other data of the result to this folder, in files named after the tool
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,

    /// Give up if the call takes longer
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,

    #[command(flatten)]
    server: McpServerArgs,
}

/// What to do at which server, with everything read that it needs.
pub struct Task {
    server: Server,
    verb: Prepared,
}

enum Prepared {
    List,
    Call(Call),
}

struct Call {
    name: String,
    arguments: Arguments,
    output_dir: Option<PathBuf>,
    timeout: Duration,
}

/// Reads what the arguments name: files, stdin, the environment. Nothing is connected yet.
pub fn read(args: ToolsArgs, ui: &mut Ui) -> Result<Task, Error> {
    let (json, server, call) = match args.verb {
        Verb::List(args) => (args.json, args.server, None),
        Verb::Call(args) => {
            let input = args.input_json.as_deref();
            if input == Some("-") && args.server.reads_stdin() {
                return Err(Error::TwoOnStdin);
            }
            let base = input.map_or(Ok(JsonObject::new()), input_json)?;
            let call = Call {
                arguments: Arguments::read(&args.arguments, base)?,
                name: args.name,
                output_dir: args.output_dir,
                timeout: args.timeout,
            };
            (args.json, args.server, Some(call))
        }
    };
    if json {
        ui.set_format(Format::Json);
    }
    Ok(Task {
        server: one_server(&server, ui)?,
        verb: call.map_or(Prepared::List, Prepared::Call),
    })
}

/// Does it, and prints what came of it.
pub async fn tools(task: Task, signals: StopSignals, ui: &mut Ui) -> Result<ExitStatus, Error> {
    let mut options = PoolOptions::default();
    if let Prepared::Call(call) = &task.verb {
        options.call_timeout = call.timeout;
    }
    let clients = ClientPool::new(options);
    let close = async |_: &Result<ExitStatus, Error>| clients.close().await;
    signals.until_stopped(task.run(&clients, ui), close).await
}

impl Task {
    async fn run(&self, clients: &ClientPool, ui: &mut Ui) -> Result<ExitStatus, Error> {
        let label = self.server.label();
        ui.wait(&format!("listing the tools of {label}"));
        let tools = offered(&self.server, clients).await?;
        match &self.verb {
            Prepared::List if tools.is_empty() => ui.note(&format!("{label} offers no tools")),
            Prepared::List => {}
            Prepared::Call(call) => return call.make(&tools, &self.server, clients, ui).await,
        }
        ui.tools(&tools)?;
        Ok(ExitStatus::Done)
    }
}

impl Call {
    async fn make(
        &self,
        tools: &[Tool],
        server: &Server,
        clients: &ClientPool,
        ui: &mut Ui,
    ) -> Result<ExitStatus, Error> {
        let name = &self.name;
        let server_label = server.label().to_owned();
        let Some(tool) = tools.iter().find(|it| it.name() == name) else {
            let names = tools.iter().map(Tool::name);
            return Err(Error::UnknownTool {
                nearest: arguments::nearest(name, names),
                name: name.clone(),
                server_label,
            });
        };
        let arguments = self.arguments.to_json(tool.input_schema())?;
        for note in arguments::check(&arguments, tool.input_schema()).await? {
            ui.note(&note);
        }
        if let Some(folder) = &self.output_dir {
            attachments::prepare(folder)?;
        }

        ui.wait(&format!("calling {}", ui::tool_name(&server_label, name)));
        let called = server.call(clients, name, &arguments).await;
        let called = called.map_err(|source| Error::Call {
            server_label: server_label.clone(),
            name: name.clone(),
            source,
        })?;
        let result = called.result;

        let folder = self.output_dir.as_deref();
        let saved = folder.map(|it| attachments::save(result.content(), name, it));
        // The result is printed whatever became of its files.
        let files = saved.as_ref().and_then(|it| it.as_ref().ok());
        let files = files.map_or(&[][..], |it| &it.files);
        ui.result(&result, files)?;
        // What failed may repeat the credentials that the server was shown.
        let message = server
            .as_mcp()
            .without_secrets(ui::result_text(&result, files));
        let damaged = saved.transpose()?.unwrap_or_default().damaged;
        let damaged = (!damaged.is_empty()).then(|| Error::NotBase64(damaged.join("; ")));
        if !result.is_error() {
            return damaged.map_or(Ok(ExitStatus::Done), Err);
        }
        if let Some(damaged) = damaged {
            ui.note(&damaged.to_string());
        }
        Err(Error::ToolFailed {
            server_label,
            name: name.clone(),
            message: match message.trim() {
                "" => "it does not say why".to_owned(),
                message => message.to_owned(),
            },
        })
    }
}

/// The tools of the server, as far as `--allowed-tools` and `--read-only` let them be seen.
async fn offered(server: &Server, clients: &ClientPool) -> Result<Vec<Tool>, Error> {
    let listed = server.list(clients).await.map_err(|source| Error::List {
        server_label: server.label().to_owned(),
        source,
    })?;
    let mut tools = listed.tools;
    tools.retain(|tool| server.allows(&connector::listed(tool.clone())));
    Ok(tools)
}

/// The one server that the arguments name.
fn one_server(args: &McpServerArgs, ui: &mut Ui) -> Result<Server, Error> {
    if let Some(what) = args.hosted_only() {
        return Err(Error::NotLocal(what));
    }
    let servers = args.read()?;
    for note in &servers.notes {
        ui.note(note);
    }
    ui.set_checks(servers.checks.clone());
    let entries = servers.entries.iter().filter_map(|entry| match entry {
        ToolEntry::Mcp(entry) => Some(&**entry),
        ToolEntry::Other(_) => None,
    });
    match entries.collect::<Vec<_>>().as_slice() {
        [] => Err(Error::NoServer),
        [entry] => Ok(Server::read(entry, &servers.commands)?),
        several => {
            let labels: Vec<&str> = several.iter().map(|it| &*it.server_label).collect();
            Err(Error::SeveralServers(labels.join(", ")))
        }
    }
}

/// The object of `--input-json`: the text itself, `@FILE`, or `-` for stdin.
fn input_json(source: &str) -> Result<JsonObject, Error> {
    let value = match source.strip_prefix('@') {
        Some(path) => args::read_json(path.as_ref())?,
        None => {
            let is_stdin = source == "-";
            let text = match is_stdin {
                true => args::read_stdin()?,
                false => source.to_owned(),
            };
            serde_json::from_str(&text).map_err(|source| Error::NotJson {
                path: if is_stdin { "stdin" } else { "--input-json" }.into(),
                source,
            })?
        }
    };
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(Error::NotAnObject("--input-json")),
    }
}
