//! `mcp-cli ask`: one question, its tool calls, and the approvals they need.

mod notes;
mod rounds;

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, SystemTime};

use url::Url;

use crate::auth;
use crate::commands::approve::ApprovalPolicy;
use crate::commands::args::{self, SecretSource};
use crate::commands::bundled::{self, Bundled};
use crate::commands::fields::FieldArgs;
use crate::commands::identity::{self, Identities, Mode};
use crate::commands::print_request::{self, PrintAs};
use crate::commands::servers::{McpServerArgs, Servers};
use crate::commands::signals::StopSignals;
use crate::commands::state::{self, Kept};
use crate::commands::tools;
use crate::engine::Engine;
use crate::engine::model::{Model, Upstream, UpstreamApi};
use crate::error::Error;
use crate::exit::ExitStatus;
use crate::mcp::{ClientPool, PoolOptions};
use crate::responses::{
    self, Client, Conversation, CreateResponse, Limits, MCPTool, Retries, ToolEntry,
};
use crate::route::Route;
use crate::secret::Secret;
use crate::ui::{Format, Ui};

const OPENAI: &str = "https://api.openai.com/v1";
/// What a model is asked by default where the endpoint is OpenAI's, or speaks like it.
const DEFAULT_MODEL: &str = "gpt-5";

/// Ask a model a question, and let it call MCP tools
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mcp-cli ask --local \"Roll a few dice!\"
      the built-in model and the bundled dice server: no key, no network
  mcp-cli ask --local --server-url http://127.0.0.1:8000/mcp \"Roll 5 dice\"
      the built-in model and a server of yours
  mcp-cli ask --local \"What time is it in Tokyo?\" -- uvx mcp-server-time
      a server that is started, and spoken to over stdio
  mcp-cli ask --server-url https://example.com/mcp --authorization @token.jwt \"Roll 5 dice\"
      OpenAI's model, with the key in OPENAI_API_KEY
  mcp-cli ask --bridge --server-url http://127.0.0.1:8000/mcp \"Roll 5 dice\"
      OpenAI's model and a server that only this machine can reach")]
pub struct AskArgs {
    /// The question; `-` or a pipe reads it from stdin
    ///
    /// With an argument and a pipe, stdin is appended to the argument.
    prompt: Option<String>,

    /// Answer on this machine with the built-in model, which follows rules
    #[arg(long)]
    local: bool,

    /// Ask the model at the endpoint, but call the MCP servers from this machine
    ///
    /// The servers need no public address, and the endpoint sees neither their URLs nor their
    /// credentials.
    #[arg(long, conflicts_with = "local")]
    bridge: bool,

    /// The model; with --local, `rules` or `script:FILE`
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,

    /// The base URL of the Responses API [default: `https://api.openai.com/v1`]
    #[arg(
        long,
        env = "OPENAI_BASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    base_url: Option<String>,

    /// The API key; @FILE reads it from a file, - from stdin. As text, other users can see it while
    /// this runs
    #[arg(
        long,
        env = "OPENAI_API_KEY",
        hide_env_values = true,
        value_name = "KEY|@FILE|-"
    )]
    api_key: Option<SecretSource>,

    /// How to answer approval requests: ask, all, none, read-only, or TOOL,…
    ///
    /// A tool is TOOL or LABEL/TOOL; a bare TOOL must be unique among the servers.
    #[arg(long, value_name = "WHO", default_value = "ask")]
    approve: ApprovalPolicy,

    /// Request the whole response instead of a stream
    #[arg(long)]
    no_stream: bool,

    /// What to print on stdout
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: FormatArg,

    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,

    /// Print the request in this language, with environment variables for secrets, and send nothing
    #[arg(long, value_name = "LANGUAGE", conflicts_with_all = ["local", "bridge"])]
    print_request: Option<PrintAs>,

    /// Do not render Markdown on a terminal
    #[arg(long)]
    no_markdown: bool,

    /// Give up if the response takes longer
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = args::duration)]
    timeout: Duration,

    /// Give up if no data arrives for this long
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = args::duration)]
    idle_timeout: Duration,

    /// Retry a request that cannot have run this often: no connection, 408, 409, 429
    #[arg(long, value_name = "N", default_value_t = Retries::default().most)]
    retries: u32,

    /// Retry after a 5xx too, although tools may have been called
    #[arg(long)]
    retry_5xx: bool,

    /// Reject a response of more bytes
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().max_bytes)]
    max_bytes: usize,

    // Groups with a heading of their own come last: what follows them would stand below it.
    #[command(flatten)]
    server: McpServerArgs,

    #[command(flatten)]
    fields: FieldArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum FormatArg {
    /// The text as it arrives, with the steps on stderr
    Text,
    /// The final response as JSON
    Json,
    /// Every event as a line of JSON
    Jsonl,
}

/// A question with everything that it needs.
pub struct Question {
    args: AskArgs,
    servers: Servers,
    /// Nothing with `--print-request`.
    answerer: Option<Answerer>,
    /// The tool entry of the bundled server, if it is used; its URL is known when it runs.
    bundled: Option<MCPTool>,
    /// The servers of this request.
    identities: Identities,
    /// The request, but for what is said and to whom.
    template: CreateResponse,
    /// What is gone on from, with the servers of all requests so far.
    kept: Kept,
    prompt: Option<String>,
}

/// Who answers.
enum Answerer {
    BuiltIn(Model),
    /// The endpoint, for the holder of this key.
    Endpoint(Secret),
}

/// Reads what the arguments name: files, stdin, the environment. Nothing is asked yet.
pub fn read(args: AskArgs, ui: &mut Ui) -> Result<Question, Error> {
    args.server.record.start(ui)?;
    ui.set_format(match args.format {
        _ if args.json => Format::Json,
        FormatArg::Text => Format::Text,
        FormatArg::Json => Format::Json,
        FormatArg::Jsonl => Format::Jsonl,
    });
    if !args.no_markdown {
        ui.render_markdown();
    }
    let servers = args.server.read()?;
    args.check(&servers)?;
    let template = args.request()?;
    let bundled = args.bundled(&servers)?;
    let identities = identity::identities(&servers, bundled.as_ref(), args.mode());
    let mut kept = args.kept()?;
    let changed = identity::go_on(&mut kept.conversation, &kept.servers, &identities)?;
    let prompt = args.prompt(!kept.conversation.pending.is_empty())?;
    for note in args.notes(&servers) {
        ui.note(&note);
    }
    for label in changed {
        if kept.servers.contains_key(&label) {
            ui.note(&format!(
                "{label} is another server than before; its tools are listed again"
            ));
        }
    }
    kept.servers.extend(identities.clone());
    ui.set_checks(servers.checks.clone());
    let answerer = match args.print_request {
        Some(_) => None,
        None => Some(args.answerer()?),
    };
    Ok(Question {
        args,
        servers,
        answerer,
        bundled,
        identities,
        template,
        kept,
        prompt,
    })
}

/// Asks the question and prints the answer.
pub async fn ask(
    mut question: Question,
    mut signals: StopSignals,
    ui: &mut Ui,
) -> Result<ExitStatus, Error> {
    if let Some(language) = question.args.print_request {
        return signals.or(question.print(language, ui)).await;
    }
    let route = question.route(ui)?;
    let bundled = question.start_bundled().await?;
    let tokens = question.tokens();
    question.take_entries();
    let close = async |_: &Result<ExitStatus, Error>| {
        route.close().await;
        if let Some(bundled) = bundled {
            bundled.stop().await;
        }
    };
    let answered = signals
        .until_stopped(question.converse(&route, ui), close)
        .await;
    ui.end_of_answer()?;
    answered.map_err(|error| {
        let token = error.refused_server().and_then(|label| tokens.get(label));
        let said = token.and_then(|it| auth::said(it.expose(), SystemTime::now()));
        let is_of_tunnel = question.args.server.hosted_only() == Some("tunnel");
        let error = error.with_note(said);
        match error.unlisted_server() {
            Some((_, 404)) if is_of_tunnel => error.with_hint(
                "check that a client polls the tunnel, such as `mcp-cli serve --tunnel openai`",
            ),
            _ => error,
        }
    })
}

impl Question {
    fn route(&mut self, ui: &Ui) -> Result<Route, Error> {
        let commands = std::mem::take(&mut self.servers.commands);
        let model = match self.answerer.take().ok_or_else(Error::no_api_key)? {
            Answerer::BuiltIn(model) => model,
            Answerer::Endpoint(key) => {
                let client = self.args.client(&key, ui)?;
                if !self.args.bridge {
                    return Ok(Route::Http(client));
                }
                Model::Upstream(Upstream::new(client, UpstreamApi::Responses))
            }
        };
        let clients = ClientPool::new(PoolOptions {
            on_stderr: ui.on_stderr(),
            on_wire: ui.on_wire(),
            ..PoolOptions::default()
        });
        let engine = Engine::with_clients(model, commands, clients);
        Ok(Route::InProcess(engine))
    }

    /// The tokens of the servers, by label.
    fn tokens(&self) -> HashMap<String, Secret> {
        let entries = self.servers.entries.iter().filter_map(ToolEntry::as_mcp);
        let tokens = entries.filter_map(|entry| {
            let token = Secret::from(entry.authorization.clone()?);
            Some((entry.server_label.clone(), token))
        });
        tokens.collect()
    }

    /// Starts the bundled server, if it is used, and names it in the request.
    async fn start_bundled(&mut self) -> Result<Option<Bundled>, Error> {
        let Some(mut entry) = self.bundled.take() else {
            return Ok(None);
        };
        let (bundled, url) = Bundled::start().await?;
        entry.server_url = Some(url.to_string());
        self.servers.entries.push(ToolEntry::Mcp(Box::new(entry)));
        Ok(Some(bundled))
    }

    /// Prints the request in place of sending it.
    async fn print(mut self, language: PrintAs, ui: &mut Ui) -> Result<ExitStatus, Error> {
        self.take_entries();
        let (input, _) = self.input(ui).await?;
        let request = self.kept.conversation.request(&self.template, input);
        let url = responses::endpoint(&self.args.base_url()?);
        ui.print(&print_request::print(&request, &url, language))?;
        Ok(ExitStatus::Done)
    }
}

impl AskArgs {
    /// Refuses what cannot go together, before anything is read for it.
    fn check(&self, servers: &Servers) -> Result<(), Error> {
        let started_here = servers.commands.keys().min();
        match (self.calls_from_here(), self.server.hosted_only()) {
            (true, Some(what)) => return Err(tools::not_local(what)),
            (false, _) if let Some(label) = started_here => {
                let text = format!(
                    "server {label:?} is started on this machine, where OpenAI cannot reach it"
                );
                return Err(Error::usage(text)
                    .with_hint("add --bridge or --local, or serve it over HTTP behind a tunnel"));
            }
            _ => {}
        }
        if self.local {
            return Ok(());
        }
        match &self.model {
            Some(model) if model == "rules" || model.starts_with("script:") => {
                let text = format!("--model {model} is a local model");
                Err(Error::usage(text).with_hint("add --local"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the engine in this process calls the MCP servers, and not the endpoint.
    fn calls_from_here(&self) -> bool {
        self.local || self.bridge
    }

    /// Who answers, with the script or the key that is in a file.
    fn answerer(&self) -> Result<Answerer, Error> {
        if self.local {
            return Ok(Answerer::BuiltIn(self.local_model()?));
        }
        let api_key = self.api_key.as_ref().ok_or_else(Error::no_api_key)?;
        let key = api_key.read_if_any("OPENAI_API_KEY")?;
        Ok(Answerer::Endpoint(key.ok_or_else(Error::no_api_key)?))
    }

    fn client(&self, api_key: &Secret, ui: &Ui) -> Result<Client, Error> {
        let limits = Limits {
            idle_timeout: self.idle_timeout,
            max_bytes: self.max_bytes,
            max_memory: self.max_memory(),
            ..Limits::default()
        };
        let retries = Retries {
            most: self.retries,
            after_5xx: self.retry_5xx,
        };
        let on_retry = ui.on_retry();
        Ok(Client::new(
            &self.base_url()?,
            api_key,
            limits,
            retries,
            on_retry,
        )?)
    }

    /// How many bytes of memory an answer, and all answers of a run, may take.
    fn max_memory(&self) -> usize {
        self.max_bytes.max(Limits::default().max_memory)
    }

    fn base_url(&self) -> Result<Url, Error> {
        let given = self.base_url.as_deref().filter(|url| !url.is_empty());
        args::http_url(given.unwrap_or(OPENAI), "--base-url")
    }

    fn local_model(&self) -> Result<Model, Error> {
        match self.model.as_deref() {
            None | Some("rules") => Ok(Model::Rules),
            Some(model) => match model.strip_prefix("script:") {
                Some(path) => args::script(path),
                None => Err(Error::usage(format!("unknown local model: {model:?}"))
                    .with_hint("use --model rules or --model script:FILE")),
            },
        }
    }

    fn request(&self) -> Result<CreateResponse, Error> {
        let mut request = self.fields.request()?;
        request.stream = Some(!self.no_stream);
        if !self.local {
            let default = || DEFAULT_MODEL.to_owned();
            request.model = Some(self.model.clone().unwrap_or_else(default));
        }
        // The engine of this process forgets with it, so the conversation is kept here.
        if self.fields.no_store || self.calls_from_here() {
            responses::forget(&mut request);
        }
        Ok(request)
    }

    /// The question: the argument, then what was piped in. There need not be one where calls wait
    /// for approval.
    fn prompt(&self, may_be_missing: bool) -> Result<Option<String>, Error> {
        let argument = self.prompt.as_deref().filter(|it| *it != "-");
        // What is on stdin may be the token, and a question has no business with that.
        let holds_key = matches!(self.api_key, Some(SecretSource::Stdin));
        if holds_key && self.server.reads_stdin() {
            return Err(Error::two_on_stdin());
        }
        let holds_secret = holds_key || self.server.reads_stdin();
        let is_piped = !std::io::stdin().is_terminal() && !holds_secret;
        let piped = if self.prompt.as_deref() == Some("-") || is_piped {
            args::read_stdin()?
        } else {
            String::new()
        };
        let parts: Vec<&str> = [argument.unwrap_or(""), piped.trim_end()]
            .into_iter()
            .filter(|part| !part.trim().is_empty())
            .collect();
        match parts.as_slice() {
            [] if may_be_missing => Ok(None),
            [] => Err(Error::usage("no question was given")
                .with_hint("pass it as an argument, or pipe it to stdin")),
            parts => Ok(Some(parts.join("\n\n"))),
        }
    }

    /// Who calls the MCP servers.
    fn mode(&self) -> Mode {
        match (self.local, self.bridge) {
            (true, _) => Mode::Local,
            (false, true) => Mode::Bridge,
            (false, false) => Mode::Hosted,
        }
    }

    /// The conversation that the question goes on with.
    fn kept(&self) -> Result<Kept, Error> {
        if self.fields.r#continue {
            let kept = state::load()?;
            return match kept.conversation.previous_response_id {
                Some(_) if self.calls_from_here() => Err(Error::usage(
                    "the last conversation is stored at an API, not on this machine",
                )
                .with_hint("omit --local and --bridge, or begin a new conversation without -c")),
                _ => Ok(kept),
            };
        }
        if self.calls_from_here() && self.fields.previous_response_id.is_some() {
            return Err(Error::usage(
                "--previous-response-id names a response stored at an API, and this machine stores none",
            )
            .with_hint("-c continues the last conversation"));
        }
        let conversation = Conversation {
            previous_response_id: self.fields.previous_response_id.clone(),
            ..Conversation::default()
        };
        Ok(Kept {
            conversation,
            ..Kept::default()
        })
    }

    /// The entry of the bundled dice server, which is used with --local if no server is named.
    fn bundled(&self, servers: &Servers) -> Result<Option<MCPTool>, Error> {
        let is_used = self.local && servers.entries.is_empty();
        is_used
            .then(|| self.server.entry_without_url(bundled::LABEL))
            .transpose()
    }
}
