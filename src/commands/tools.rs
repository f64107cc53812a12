//! `mcp-cli tools`: what an MCP server offers, and a call of it without a model.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::args;
use super::arguments::{self, Arguments};
use super::attachments;
use super::hints;
use super::servers::McpServerArgs;
use super::signals::StopSignals;
use crate::auth;
use crate::connector::{self, Server};
use crate::error::{Cause, Error};
use crate::exit::ExitStatus;
use crate::mcp::{self, ClientPool, JsonObject, PoolOptions, Tool, ToolList};
use crate::responses::ToolEntry;
use crate::ui::{self, Format, Ui};

/// List the tools of an MCP server, or call one
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mcp-cli tools list http://127.0.0.1:8000/mcp
      roll_dice(n_dice: int)  [read-only] Roll `n_dice` 6-sided dice and return the results.
  mcp-cli tools call http://127.0.0.1:8000/mcp roll_dice n_dice=3
      [3,1,1]
  mcp-cli tools list -- uvx mcp-server-time
      the tools of a server that is started, and spoken to over stdio")]
pub struct ToolsArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    List(Box<ListArgs>),
    Show(Box<ShowArgs>),
    Call(Box<CallArgs>),
}

/// List the tools of servers, one per line
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mcp-cli tools list https://example.com/mcp --authorization @token.jwt
  mcp-cli tools list --mcp-config .mcp.json --server dice
  mcp-cli tools list http://127.0.0.1:8000/mcp --json | jq '.[].inputSchema'")]
struct ListArgs {
    /// The URL of the server; `host:port/path` works too
    url: Option<String>,

    /// The tools as the server sent them
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: McpServerArgs,
}

/// Show all that a server says of a tool
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mcp-cli tools show [OPTIONS] [URL] TOOL [-- COMMAND...]",
    after_help = "\
Examples:
  mcp-cli tools show http://127.0.0.1:8000/mcp roll_dice
  mcp-cli tools show --json get_current_time -- uvx mcp-server-time"
)]
struct ShowArgs {
    /// The URL of the server, unless another argument names the server; then the tool
    #[arg(value_name = "URL|TOOL")]
    first: String,

    #[arg(value_name = "TOOL", hide = true)]
    words: Vec<String>,

    /// The tool as the server sent it
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: McpServerArgs,
}

/// Call a tool with arguments that match its schema
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mcp-cli tools call [OPTIONS] [URL] TOOL [KEY=VALUE|KEY:=JSON]... [-- COMMAND...]",
    after_help = "\
Examples:
  mcp-cli tools call http://127.0.0.1:8000/mcp roll_dice n_dice=3
      n_dice is an integer to the tool, so 3 is sent as one
  mcp-cli tools call --mcp-config .mcp.json --server files search text=42 'paths:=[\"src\", \"docs\"]'
      text is text to the tool, so \"42\" is sent; := takes JSON as it is
  mcp-cli tools call https://example.com/mcp chart --input-json @data.json --output-dir .
      arguments from a file, and the images of the result as files"
)]
struct CallArgs {
    /// The URL of the server, unless another argument names the server; then the tool
    #[arg(value_name = "URL|TOOL")]
    first: String,

    /// The tool, and its arguments: `key=value`, converted to the type in the tool's schema, or
    /// `key:=json`
    #[arg(value_name = "KEY=VALUE|KEY:=JSON")]
    words: Vec<String>,

    /// A JSON object with arguments, to which the others are added; @FILE reads it from a file, - from
    /// stdin
    #[arg(long, value_name = "JSON|@FILE|-")]
    input_json: Option<String>,

    /// The result as the server sent it
    #[arg(long)]
    json: bool,

    /// Send the arguments even if they do not match the tool's schema
    #[arg(long)]
    no_validate: bool,

    /// Save images, audio and other data of the result to this folder, in files named after the tool
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,

    /// Give up if the call takes longer
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = args::duration)]
    timeout: Duration,

    #[command(flatten)]
    server: McpServerArgs,
}

/// Puts the URL where it belongs if `first` is one, and returns the name of the tool, taken out of
/// `words` then.
fn sort_out(
    first: String,
    words: &mut Vec<String>,
    server: &mut McpServerArgs,
) -> Result<String, Error> {
    // Whoever names the server otherwise begins with the tool. A URL in the environment does not
    // count where one is given.
    let is_url = first.contains([':', '/']) && args::target_url(&first).is_ok();
    if server.is_named() || !is_url {
        return Ok(first);
    }
    if words.is_empty() {
        return Err(Error::usage("no tool is named")
            .with_hint("`mcp-cli tools list` with the same server lists its tools"));
    }
    server.target = Some(first);
    Ok(words.remove(0))
}

/// What to do at which server, with everything read that it needs.
pub struct Task {
    /// One, but for a list.
    servers: Vec<Server>,
    verb: Prepared,
}

enum Prepared {
    List,
    Show { name: String },
    Call(Call),
}

struct Call {
    name: String,
    arguments: Arguments,
    /// Whether arguments must fit the tool's schema.
    validates: bool,
    output_dir: Option<PathBuf>,
    timeout: Duration,
}

/// Reads what the arguments name: files, stdin, the environment. Nothing is connected yet.
pub fn read(args: ToolsArgs, ui: &mut Ui) -> Result<Task, Error> {
    let (json, server, verb) = match args.verb {
        Verb::List(mut args) => {
            args.server.target = args.url;
            (args.json, args.server, Prepared::List)
        }
        Verb::Show(mut args) => {
            let name = sort_out(args.first, &mut args.words, &mut args.server)?;
            if let [word, ..] = args.words.as_slice() {
                return Err(Error::usage(format!("{word:?} is one argument too many")));
            }
            (args.json, args.server, Prepared::Show { name })
        }
        Verb::Call(mut args) => {
            let first = std::mem::take(&mut args.first);
            let name = sort_out(first, &mut args.words, &mut args.server)?;
            let input = args.input_json.as_deref();
            if input == Some("-") && args.server.reads_stdin() {
                return Err(Error::two_on_stdin());
            }
            let base = input.map_or(Ok(JsonObject::new()), input_json)?;
            let call = Call {
                arguments: Arguments::read(&args.words, base)?,
                name,
                validates: !args.no_validate,
                output_dir: args.output_dir,
                timeout: args.timeout,
            };
            (args.json, args.server, Prepared::Call(call))
        }
    };
    server.record.start(ui)?;
    if json {
        ui.set_format(Format::Json);
    }
    let servers = servers(&server, ui)?;
    if let ([_, _, ..], Prepared::Show { .. } | Prepared::Call(_)) = (&*servers, &verb) {
        let labels: Vec<&str> = servers.iter().map(Server::label).collect();
        return Err(Error::several_servers(&labels.join(", ")));
    }
    Ok(Task { servers, verb })
}

/// Does it, and prints what came of it.
pub async fn tools(task: Task, signals: StopSignals, ui: &mut Ui) -> Result<ExitStatus, Error> {
    let mut options = PoolOptions {
        on_stderr: ui.on_stderr(),
        on_wire: ui.on_wire(),
        ..PoolOptions::default()
    };
    if let Prepared::Call(call) = &task.verb {
        options.call_timeout = call.timeout;
    }
    let clients = ClientPool::new(options);
    let close = async |_: &Result<ExitStatus, Error>| clients.close().await;
    signals.until_stopped(task.run(&clients, ui), close).await
}

impl Task {
    async fn run(&self, clients: &ClientPool, ui: &mut Ui) -> Result<ExitStatus, Error> {
        let [server] = self.servers.as_slice() else {
            return list_several(&self.servers, clients, ui).await;
        };
        ui.wait(&format!("listing the tools of {}", server.label()));
        let list = offered(server, clients).await?;
        match &self.verb {
            Prepared::List => {
                if list.tools.is_empty() && list.unreadable.is_empty() {
                    ui.note(&format!("{} offers no tools", server.label()));
                }
                ui.tools(&list.tools)?;
                // The others are shown all the same.
                list.whole().map_err(|error| not_listed(server, error))?;
            }
            Prepared::Show { name } => ui.tool(named(name, &list.tools, server.label())?)?,
            Prepared::Call(call) => return call.make(&list.tools, server, clients, ui).await,
        }
        Ok(ExitStatus::Done)
    }
}

/// Lists the tools of several servers, each under its label. One that gives no list does not keep the
/// others from being shown.
async fn list_several(
    servers: &[Server],
    clients: &ClientPool,
    ui: &mut Ui,
) -> Result<ExitStatus, Error> {
    ui.wait(&format!("listing the tools of {} servers", servers.len()));
    let lists = servers.iter().map(|server| offered(server, clients));
    let lists = futures::future::join_all(lists).await;
    let mut shown = Vec::new();
    let mut failure = None;
    for (server, list) in servers.iter().zip(lists) {
        let whole = list.and_then(|mut list| {
            shown.push((server.label(), std::mem::take(&mut list.tools)));
            list.whole().map_err(|error| not_listed(server, error))
        });
        if let Err(error) = whole {
            match &failure {
                None => failure = Some(error),
                Some(_) => ui.note(&ui::in_one_line(&error)),
            }
        }
    }
    ui.tools_of(&shown)?;
    failure.map_or(Ok(ExitStatus::Done), Err)
}

/// The tool with this name.
fn named<'a>(name: &str, tools: &'a [Tool], server_label: &str) -> Result<&'a Tool, Error> {
    tools.iter().find(|it| it.name() == name).ok_or_else(|| {
        let nearest = arguments::nearest(name, tools.iter().map(Tool::name));
        let hint = nearest.map_or_else(
            || "`mcp-cli tools list` with the same server lists its tools".to_owned(),
            |it| arguments::did_you_mean(&it),
        );
        let text = format!("`{server_label}` has no tool `{name}`");
        Error::usage(text).with_hint(hint)
    })
}

impl Call {
    async fn fitting(&self, schema: &JsonObject, ui: &Ui) -> Result<JsonObject, Error> {
        let arguments = self.arguments.to_json(schema)?;
        for note in arguments::check(&arguments, schema).await? {
            ui.note(&note);
        }
        Ok(arguments)
    }

    async fn make(
        &self,
        tools: &[Tool],
        server: &Server,
        clients: &ClientPool,
        ui: &mut Ui,
    ) -> Result<ExitStatus, Error> {
        let name = &self.name;
        let server_label = server.label().to_owned();
        let tool = named(name, tools, &server_label)?;
        let arguments = match self.validates {
            true => {
                let fitting = self.fitting(tool.input_schema(), ui).await;
                fitting.map_err(|error| match error.hint() {
                    Some(_) => error,
                    None => error.with_hint("--no-validate sends it anyway"),
                })?
            }
            false => self.arguments.to_json_unchecked(tool.input_schema()),
        };
        if let Some(folder) = &self.output_dir {
            attachments::prepare(folder)?;
        }

        ui.wait(&format!("calling {}", ui::tool_name(&server_label, name)));
        let called = server.call(clients, name, &arguments).await;
        let called = called.map_err(|source| {
            let text = format!("`{server_label}.{name}` could not be called");
            let hint = hints::of_call(&source);
            Error::new(ExitStatus::McpServer, text)
                .with_source(source)
                .with_hint_if(hint)
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
        let damaged = (!damaged.is_empty()).then(|| {
            let text = format!(
                "data that is not Base64 was not saved: {}",
                damaged.join("; ")
            );
            Error::new(ExitStatus::BrokenAnswer, text)
        });
        if !result.is_error() {
            return damaged.map_or(Ok(ExitStatus::Done), Err);
        }
        if let Some(damaged) = damaged {
            ui.note(&damaged.to_string());
        }
        let message = match message.trim() {
            "" => "it does not say why",
            message => message,
        };
        let text = format!("`{server_label}.{name}` failed: {message}");
        Err(Error::new(ExitStatus::ToolError, text))
    }
}

/// The tools of the server, as far as `--allowed-tools` and `--read-only` let them be seen.
async fn offered(server: &Server, clients: &ClientPool) -> Result<ToolList, Error> {
    let listed = server.list_readable(clients).await;
    let mut list = listed.map_err(|error| not_listed(server, error))?;
    let allows = |tool: &Tool| server.allows(&connector::listed(tool.clone()));
    list.tools.retain(allows);
    Ok(list)
}

fn not_listed(server: &Server, source: mcp::Error) -> Error {
    let hint = hints::of_list(&source, &server.as_mcp().endpoint);
    let server_label = server.label().to_owned();
    let said = match &source {
        mcp::Error::Refused { status, .. } if matches!(status.as_u16(), 401 | 403) => {
            let token = server.entry.authorization.as_deref();
            token.and_then(|token| auth::said(token, SystemTime::now()))
        }
        _ => None,
    };
    let cause = Cause::List {
        server_label,
        source,
    };
    Error::because_of(ExitStatus::McpServer, cause)
        .with_note(said)
        .with_hint_if(hint)
}

/// A connector or a tunnel, which only OpenAI can use.
pub fn not_local(what: &str) -> Error {
    Error::usage(format!("a {what} cannot be used from this machine"))
        .with_hint("name the server with --server-url, or omit --local and --bridge")
}

/// The servers that the arguments name, all of them reached from here.
fn servers(args: &McpServerArgs, ui: &mut Ui) -> Result<Vec<Server>, Error> {
    if let Some(what) = args.hosted_only() {
        return Err(not_local(what));
    }
    let servers = args.read()?;
    for note in &servers.notes {
        ui.note(note);
    }
    ui.set_checks(servers.checks.clone());
    let entries = servers.entries.iter().filter_map(ToolEntry::as_mcp);
    let read = entries.map(|entry| Ok(Server::read(entry, &servers.commands, None)?));
    match read.collect::<Result<Vec<_>, Error>>()? {
        none if none.is_empty() => Err(Error::no_server()),
        servers => Ok(servers),
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
            serde_json::from_str(&text).map_err(|source| {
                let name = if is_stdin { "stdin" } else { "--input-json" };
                Error::not_json(name.as_ref(), source)
            })?
        }
    };
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(Error::usage("--input-json is not a JSON object")),
    }
}
