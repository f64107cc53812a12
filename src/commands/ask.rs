//! `mcp-cli ask`: one question, its tool calls, and the approvals they need.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::args::{self, SecretSource};
use super::servers::{McpServerArgs, Servers};
use crate::dice;
use crate::engine::Engine;
use crate::engine::model::{Model, Script};
use crate::error::Error;
use crate::exit::ExitStatus;
use crate::http;
use crate::responses::{
    self, Client, CreateResponse, Input, Item, Limits, McpApprovalRequest, McpListTools,
    ToolChoice, ToolChoiceMcp, ToolChoiceMode, ToolEntry, approval,
};
use crate::route::Route;
use crate::ui::{Decision, Format, Ui};

const OPENAI: &str = "https://api.openai.com/v1";
/// What a model is asked by default where the endpoint is OpenAI's, or speaks like it.
const DEFAULT_MODEL: &str = "gpt-5";
/// How often a response may end in requests for approval.
const MOST_ROUNDS: usize = 100;

/// Ask a model a question, letting it call MCP tools
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mcp-cli ask --local \"Roll a few dice!\"
      the built-in model and the bundled dice server: no key, no network
  mcp-cli ask --local --server-url http://127.0.0.1:8000/mcp \"Roll 5 dice\"
      the built-in model and a server of yours
  mcp-cli ask --server-url https://example.com/mcp --authorization @token.jwt \"Roll 5 dice\"
      OpenAI's model, with the key in OPENAI_API_KEY")]
pub struct AskArgs {
    /// The question; `-` or a pipe reads it from stdin, with both stdin follows the argument
    prompt: Option<String>,

    /// Answer on this machine, with a built-in model that follows rules
    #[arg(long)]
    local: bool,

    /// The model; with --local `rules` or `script:FILE`
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,

    /// Where the Responses API is
    #[arg(long, env = "OPENAI_BASE_URL", value_name = "URL", default_value = OPENAI)]
    base_url: Url,

    /// The key for it; @FILE reads it from a file, - from stdin. As text, other users can read it
    /// while this runs
    #[arg(
        long,
        env = "OPENAI_API_KEY",
        hide_env_values = true,
        value_name = "KEY|@FILE|-"
    )]
    api_key: Option<SecretSource>,

    /// Who answers when a call needs approval: ask, all, none, read-only, or the tools to approve
    #[arg(long, value_name = "WHO", default_value = "ask")]
    approve: ApprovalPolicy,

    /// Wait for the whole response instead of reading it as it comes
    #[arg(long)]
    no_stream: bool,

    /// What stdout gets
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: FormatArg,

    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,

    /// How long an answer may take
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    timeout: Duration,

    /// How many bytes an answer may have
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
    /// The text as it comes, and the steps on stderr
    Text,
    /// The final response as JSON
    Json,
    /// Every event as a line of JSON
    Jsonl,
}

/// The fields of the request that have no more to them than a name.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Request")]
struct FieldArgs {
    /// What the model is told before the question
    #[arg(short = 's', long, value_name = "TEXT")]
    instructions: Option<String>,

    /// Whether tools are called: auto, none, required, LABEL or LABEL/TOOL
    #[arg(long, value_name = "CHOICE")]
    tool_choice: Option<ToolChoiceArg>,

    /// How many calls the model may make
    #[arg(long, value_name = "N")]
    max_tool_calls: Option<u64>,

    /// How many tokens the answer may have
    #[arg(long, value_name = "N")]
    max_output_tokens: Option<u64>,

    /// From 0 to 2
    #[arg(long, value_name = "NUMBER")]
    temperature: Option<f64>,

    /// From 0 to 1
    #[arg(long, value_name = "NUMBER")]
    top_p: Option<f64>,

    /// How hard the model thinks, such as low or high
    #[arg(long, value_name = "EFFORT")]
    reasoning_effort: Option<String>,

    /// A JSON Schema that the answer must fit
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,

    /// Kept with the response, as key=value
    #[arg(long, value_name = "K=V", value_parser = args::key_value)]
    metadata: Vec<(String, String)>,

    /// Do not keep the response
    #[arg(long)]
    no_store: bool,

    /// The response that this question goes on from
    #[arg(long, value_name = "ID")]
    previous_response_id: Option<String>,
}

pub async fn ask(args: AskArgs, ui: &mut Ui) -> Result<ExitStatus, Error> {
    ui.set_format(match args.format {
        _ if args.json => Format::Json,
        FormatArg::Text => Format::Text,
        FormatArg::Json => Format::Json,
        FormatArg::Jsonl => Format::Jsonl,
    });
    let mut servers = args.server.read()?;
    let route = args.route(&mut servers)?;
    let mut request = args.request()?;
    for note in args.notes(&servers) {
        ui.note(&note);
    }
    let bundled = args.bundled(&mut servers).await?;
    request.tools = Some(servers.entries).filter(|entries| !entries.is_empty());
    let answered = converse(&args, &route, request, ui).await;
    if let Some(bundled) = bundled {
        bundled.stop().await;
    }
    answered
}

/// Asks, and asks again with the approvals, until a response needs none.
async fn converse(
    args: &AskArgs,
    route: &Route,
    mut request: CreateResponse,
    ui: &mut Ui,
) -> Result<ExitStatus, Error> {
    let mut lists = Vec::new();
    let mut was_denied = false;
    let mut has_called = false;
    for _ in 0..MOST_ROUNDS {
        ui.wait("waiting for the answer");
        let events = route.create_stream(&request).await?;
        let response = responses::read_to_end(events, |event| ui.event(event)).await?;
        let output = response.output();
        has_called |= output.iter().any(|item| matches!(item, Item::McpCall(_)));
        lists.extend(lists_of(output));

        let pending = response.pending_approvals();
        if pending.is_empty() {
            break;
        }
        let mut answers = Vec::with_capacity(pending.len());
        for call in &pending {
            let approve = args.approve.decide(call, &lists, ui)?;
            was_denied |= !approve;
            answers.push(approval::answer(call, approve));
        }
        request = approval::follow_up(&request, &response, answers);
    }
    if was_denied && !has_called {
        return Err(Error::NothingApproved);
    }
    Ok(ExitStatus::Done)
}

fn lists_of(output: Vec<Item>) -> impl Iterator<Item = McpListTools> {
    output.into_iter().filter_map(|item| match item {
        Item::McpListTools(list) => Some(list),
        _ => None,
    })
}

impl AskArgs {
    fn route(&self, servers: &mut Servers) -> Result<Route, Error> {
        if self.local {
            if let Some(what) = self.server.hosted_only() {
                return Err(Error::NotLocal(what));
            }
            let commands = std::mem::take(&mut servers.commands);
            return Ok(Route::InProcess(Engine::new(
                self.local_model()?,
                commands,
            )?));
        }
        if let Some(label) = servers.commands.keys().min() {
            return Err(Error::NotHosted {
                server_label: label.clone(),
            });
        }
        if let Some(model) = &self.model
            && (model == "rules" || model.starts_with("script:"))
        {
            return Err(Error::ModelNeedsLocal {
                model: model.clone(),
            });
        }
        let api_key = self.api_key.as_ref().ok_or(Error::NoApiKey)?;
        let api_key = api_key
            .read("OPENAI_API_KEY")
            .map_err(|error| match error {
                Error::EmptySecret(_) => Error::NoApiKey,
                other => other,
            })?;
        let limits = Limits {
            timeout: self.timeout,
            max_bytes: self.max_bytes,
        };
        Ok(Route::Http(Client::new(&self.base_url, &api_key, limits)?))
    }

    fn local_model(&self) -> Result<Model, Error> {
        match self.model.as_deref() {
            None | Some("rules") => Ok(Model::Rules),
            Some(model) => match model.strip_prefix("script:") {
                Some(path) => Script::load(path.as_ref())
                    .map(Model::Script)
                    .map_err(|source| Error::Script {
                        path: path.into(),
                        source,
                    }),
                None => Err(Error::UnknownLocalModel {
                    model: model.to_owned(),
                }),
            },
        }
    }

    fn request(&self) -> Result<CreateResponse, Error> {
        let fields = &self.fields;
        let mut rest = Map::new();
        if let Some(effort) = &fields.reasoning_effort {
            rest.insert("reasoning".to_owned(), json!({"effort": effort}));
        }
        if let Some(path) = &fields.schema {
            let schema = args::read_json(path)?;
            let format =
                json!({"type": "json_schema", "name": "answer", "schema": schema, "strict": true});
            rest.insert("text".to_owned(), json!({"format": format}));
        }
        let metadata = fields.metadata.iter().cloned().collect();
        Ok(CreateResponse {
            model: match (&self.model, self.local) {
                (Some(model), false) => Some(model.clone()),
                (None, false) => Some(DEFAULT_MODEL.to_owned()),
                (_, true) => None,
            },
            previous_response_id: fields.previous_response_id.clone(),
            instructions: fields.instructions.clone(),
            input: Input::Text(self.prompt()?),
            tools: None,
            tool_choice: fields.tool_choice.clone().map(|choice| choice.0),
            max_tool_calls: fields.max_tool_calls,
            max_output_tokens: fields.max_output_tokens,
            parallel_tool_calls: None,
            temperature: fields.temperature,
            top_p: fields.top_p,
            metadata: Some(metadata).filter(|it: &std::collections::BTreeMap<_, _>| !it.is_empty()),
            store: fields.no_store.then_some(false),
            stream: Some(!self.no_stream),
            rest,
        })
    }

    /// The question: the argument, then what was piped in.
    fn prompt(&self) -> Result<String, Error> {
        let argument = self.prompt.as_deref().filter(|it| *it != "-");
        // What is on stdin may be the token, and a question has no business with that.
        let is_piped = !std::io::stdin().is_terminal() && !self.server.reads_stdin();
        let piped = if self.prompt.as_deref() == Some("-") || is_piped {
            args::read_stdin()?
        } else {
            String::new()
        };
        let parts: Vec<&str> = [argument.unwrap_or(""), piped.trim_end()]
            .into_iter()
            .filter(|part| !part.trim().is_empty())
            .collect();
        if parts.is_empty() {
            return Err(Error::NoPrompt);
        }
        Ok(parts.join("\n\n"))
    }

    /// The bundled dice server, which runs until it is stopped: with --local, if no server is named.
    async fn bundled(&self, servers: &mut Servers) -> Result<Option<Bundled>, Error> {
        if !self.local || !servers.entries.is_empty() {
            return Ok(None);
        }
        let (bundled, entry) = Bundled::start(&self.server).await?;
        servers.entries.push(entry);
        Ok(Some(bundled))
    }

    fn notes(&self, servers: &Servers) -> Vec<String> {
        let mut notes = servers.notes.clone();
        if self.local {
            notes.push("the built-in model follows rules; it is not a language model".to_owned());
        } else if servers.entries.is_empty() {
            notes.push(
                "no MCP server is named, so the model has no tools; see --server-url".to_owned(),
            );
        }
        notes
    }
}

/// The dice server, for the length of a question.
struct Bundled {
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Bundled {
    async fn start(server: &McpServerArgs) -> Result<(Self, ToolEntry), Error> {
        let address: SocketAddr = ([127, 0, 0, 1], 0).into();
        let listen = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let url =
            Url::parse(&format!("http://{address}/mcp")).expect("a socket address makes a URL");
        let entry = server.entry_of(&url, "dice_server")?;

        let stop = CancellationToken::new();
        let options = dice::HttpOptions {
            stop: stop.clone(),
            ..dice::HttpOptions::default()
        };
        let router = dice::router(dice::DiceServer::default(), options);
        let serving = tokio::spawn(http::serve(listener, router, stop.clone()));
        Ok((Self { stop, serving }, entry))
    }

    /// Nobody waits for its answers any more, so neither does it.
    async fn stop(self) {
        self.stop.cancel();
        self.serving.abort();
        let _ = self.serving.await;
    }
}

/// Who answers approval requests.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ApprovalPolicy {
    Ask,
    All,
    None,
    /// Tools that change nothing, as their server says.
    ReadOnly,
    Tools(Vec<String>),
}

impl FromStr for ApprovalPolicy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "ask" => Self::Ask,
            "all" => Self::All,
            "none" => Self::None,
            "read-only" => Self::ReadOnly,
            tools => {
                let tools: Vec<String> = tools.split(',').map(|it| it.trim().to_owned()).collect();
                if tools.iter().any(String::is_empty) {
                    return Err(
                        "use ask, all, none, read-only, or names of tools with commas between",
                    );
                }
                Self::Tools(tools)
            }
        })
    }
}

impl ApprovalPolicy {
    fn decide(
        &self,
        call: &McpApprovalRequest,
        lists: &[McpListTools],
        ui: &mut Ui,
    ) -> Result<bool, Error> {
        let approve = match self {
            Self::Ask if ui.can_ask() => return ui.ask_approval(call),
            Self::Ask => {
                ui.decided(call, Decision::Open);
                return Err(Error::NobodyToAsk {
                    server_label: call.server_label.clone(),
                    name: call.name.clone(),
                });
            }
            Self::All => true,
            Self::None => false,
            Self::ReadOnly => is_read_only(call, lists),
            Self::Tools(tools) => tools.contains(&call.name),
        };
        let decision = if approve {
            Decision::Approved
        } else {
            Decision::Denied
        };
        ui.decided(call, decision);
        Ok(approve)
    }
}

fn is_read_only(call: &McpApprovalRequest, lists: &[McpListTools]) -> bool {
    lists
        .iter()
        .filter(|list| list.server_label == call.server_label)
        .flat_map(|list| &list.tools)
        .any(|tool| tool.name == call.name && tool.is_read_only())
}

/// `tool_choice`, as text.
#[derive(Debug, Clone)]
struct ToolChoiceArg(ToolChoice);

impl FromStr for ToolChoiceArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(match text {
            "auto" => ToolChoice::Mode(ToolChoiceMode::Auto),
            "none" => ToolChoice::Mode(ToolChoiceMode::None),
            "required" => ToolChoice::Mode(ToolChoiceMode::Required),
            "" => return Err("use auto, none, required, LABEL or LABEL/TOOL"),
            text => {
                let (server_label, name) = match text.split_once('/') {
                    Some((label, name)) => (label, Some(name.to_owned())),
                    None => (text, None),
                };
                ToolChoice::Mcp(ToolChoiceMcp {
                    server_label: server_label.to_owned(),
                    name,
                })
            }
        }))
    }
}
