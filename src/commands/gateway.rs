//! `mcp-cli gateway`: the engine, served as the Responses API.

use std::net::SocketAddr;
use std::path::PathBuf;

use tracing::Level;

use super::args::{self, SecretSource};
use super::listen::{self, HostArgs, LogArgs};
use super::record::RecordArgs;
use super::signals::StopSignals;
use crate::budget::Budget;
use crate::engine::StoreError;
use crate::engine::model::{Model, Upstream, UpstreamApi};
use crate::engine::{Bounds, Engine, Store};
use crate::error::Error;
use crate::exit::ExitStatus;
use crate::gateway::{self, ApiKey, Gateway, GatewayOptions};
use crate::http::ServerOptions;
use crate::mcp::{ClientPool, EgressPolicy, PoolOptions};
use crate::responses::{Client, Limits, Retries};
use crate::secret::Secret;
use crate::tunnel::plane::{self, Plane, PlaneOptions};
use crate::ui::{LogFormat, Ui};

/// How many connections there are at a time: each may need more, to a model and to MCP servers, and a
/// process has 1024 file descriptors on most systems.
const MAX_CONNECTIONS: usize = 256;
/// How many bytes all requests may hold together: their texts, the responses they continue, results of
/// MCP servers, events that wait to be read. With the program itself, that is less than 200 MiB.
const MEMORY: u64 = 128 * 1024 * 1024;
/// The most bytes of one answer of an upstream: OpenAI streams 128,000 tokens as 40 MB.
const MAX_ANSWER: usize = 128 * 1024 * 1024;
const OPENAI: &str = "https://api.openai.com/v1";

/// Serve the Responses API on this machine: any OpenAI SDK calls MCP servers through it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mcp-cli gateway
      the built-in model at http://127.0.0.1:8080/v1, with a new key: no OpenAI, no network
  mcp-cli gateway --model upstream --api-key-file key.txt
      OpenAI's models, with MCP servers that only this machine can reach
  mcp-cli gateway --model upstream --upstream-url http://127.0.0.1:11434/v1 --upstream-api chat
      adds MCP servers to a model of Ollama, llama.cpp or vLLM")]
pub struct GatewayArgs {
    #[command(flatten)]
    record: RecordArgs,

    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: String,

    /// The port to listen on; 0 picks a free one
    #[arg(short, long, default_value_t = 8080)]
    port: u16,

    /// The model: `rules`, `script:FILE`, or `upstream` for those of another endpoint
    #[arg(short, long, value_name = "MODEL", default_value = "rules")]
    model: String,

    /// A file with the API key that clients must send [default: a new key, which is printed]
    #[arg(long, value_name = "FILE", conflicts_with = "no_auth")]
    api_key_file: Option<PathBuf>,

    /// Require no API key; on loopback only
    #[arg(long)]
    no_auth: bool,

    /// Call MCP servers in private networks too
    #[arg(long)]
    allow_private: bool,

    /// Call MCP servers on this machine too; the default when the gateway listens on loopback.
    /// Otherwise, remote clients could post to every service that runs here
    #[arg(long)]
    allow_loopback: bool,

    /// Where responses are stored: `memory`, or a file that survives a restart
    #[arg(long, value_name = "memory|FILE", default_value = "memory")]
    store: PathBuf,

    #[command(flatten)]
    log: LogArgs,

    #[command(flatten)]
    upstream: UpstreamArgs,

    #[command(flatten)]
    hosts: HostArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "With --model upstream")]
struct UpstreamArgs {
    /// The base URL of the upstream API [default: `https://api.openai.com/v1`]
    #[arg(long, value_name = "URL")]
    upstream_url: Option<String>,

    /// The API of the upstream
    #[arg(long, value_name = "API")]
    upstream_api: Option<UpstreamApiArg>,

    /// The API key for the upstream; @FILE reads it from a file, - from stdin. As text, other users
    /// can see it while this runs
    #[arg(
        long,
        env = "OPENAI_API_KEY",
        hide_env_values = true,
        value_name = "KEY|@FILE|-"
    )]
    upstream_api_key: Option<SecretSource>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum UpstreamApiArg {
    /// The Responses API
    Responses,
    /// Chat Completions
    Chat,
}

/// A gateway with the files that it needs.
pub struct Setup {
    args: GatewayArgs,
    model: Model,
    key: Option<Key>,
    store: Store,
    /// The memory that all requests hold together, see [`MEMORY`].
    budget: Budget,
}

/// Reads and opens the files that the arguments name. Nothing is served yet.
///
/// # Errors
/// If flags contradict each other, or a file cannot be used.
pub fn read(args: GatewayArgs, ui: &mut Ui) -> Result<Setup, Error> {
    args.record.start(ui)?;
    let budget = Budget::new(MEMORY);
    Ok(Setup {
        model: args.model(&budget, ui)?,
        key: args.key()?,
        store: args.store()?,
        budget,
        args,
    })
}

/// Serves until a signal comes.
///
/// # Errors
/// If the gateway cannot start.
pub async fn gateway(
    setup: Setup,
    mut signals: StopSignals,
    ui: &mut Ui,
) -> Result<ExitStatus, Error> {
    let Setup {
        args,
        model,
        key,
        store,
        budget,
    } = setup;
    let (listener, address) = listen::listen(&args.host, args.port).await?;
    if args.no_auth && !address.ip().is_loopback() {
        let text = format!(
            "--no-auth on {} would be open to anyone who can reach it",
            args.host
        );
        return Err(Error::usage(text).with_hint("omit --no-auth, or listen on 127.0.0.1"));
    }

    let limits = GatewayOptions::default();
    let options = ServerOptions {
        max_connections: MAX_CONNECTIONS,
        body: limits.body,
        stop: limits.stop.clone(),
        ..ServerOptions::default()
    };
    let clients = ClientPool::new(args.pool(address, &budget, ui));
    let plane = Plane::new(
        key.as_ref().map(Key::secret),
        PlaneOptions {
            body: limits.body,
            budget: budget.clone(),
            stop: limits.stop.clone(),
            ..PlaneOptions::default()
        },
    );
    let tunnels = Some(plane::for_engine(plane.clone()));
    let engine = Engine::shared(model, clients, tunnels, store, budget);
    let required = key.as_ref().map(|key| ApiKey::new(key.secret()));
    let gateway = Gateway::new(engine, limits);
    let tunnels = plane::for_connectors(plane);
    let router = gateway::router(gateway.clone(), tunnels, required);
    args.greet(address, key.as_ref(), ui)?;
    let policy = args.hosts.policy(address).with_refuse(gateway::refuse);
    let router = listen::door(router, policy, &options, ui);
    listen::serve(listener, router, options, &mut signals).await;
    tokio::select! {
        () = gateway.close() => {}
        _ = signals.next() => {}
    }
    Ok(ExitStatus::Done)
}

/// The API key that clients must send.
enum Key {
    Given(Secret),
    /// A new one, which is printed for the user.
    Made(Secret),
}

impl Key {
    fn secret(&self) -> &Secret {
        match self {
            Self::Given(key) | Self::Made(key) => key,
        }
    }
}

impl GatewayArgs {
    /// What is logged: by default warnings, since clients get no details of failures on this side.
    pub fn log(&self) -> (Option<Level>, LogFormat) {
        let (level, format) = self.log.log();
        (level.or(Some(Level::WARN)), format)
    }

    fn model(&self, budget: &Budget, ui: &Ui) -> Result<Model, Error> {
        if self.model == "upstream" {
            return Ok(Model::Upstream(self.upstream.model(budget, ui)?));
        }
        if let Some(flag) = self.upstream.given() {
            return Err(
                Error::usage(format!("{flag} has no meaning without --model upstream"))
                    .with_hint("add --model upstream"),
            );
        }
        match self.model.strip_prefix("script:") {
            Some(path) => args::script(path),
            None if self.model == "rules" => Ok(Model::Rules),
            None => Err(
                Error::usage(format!("unknown gateway model: {:?}", self.model))
                    .with_hint("use --model rules, --model script:FILE or --model upstream"),
            ),
        }
    }

    /// The key that clients must send, unless none is required.
    fn key(&self) -> Result<Option<Key>, Error> {
        if self.no_auth {
            return Ok(None);
        }
        Ok(Some(match &self.api_key_file {
            Some(path) => Key::Given(SecretSource::File(path.clone()).read("--api-key-file")?),
            None => Key::Made(Secret::from(format!("sk-{:032x}", rand::random::<u128>()))),
        }))
    }

    /// The clients choose the addresses that the gateway connects to, so those are restricted.
    fn pool(&self, listening: SocketAddr, budget: &Budget, ui: &Ui) -> PoolOptions {
        PoolOptions {
            egress: EgressPolicy::Guarded {
                allow_private: self.allow_private,
                // Clients on this machine can reach its services anyway.
                allow_loopback: self.allow_loopback || listening.ip().is_loopback(),
            },
            budget: budget.clone(),
            on_wire: listen::on_wire(ui),
            ..PoolOptions::default()
        }
    }

    fn store(&self) -> Result<Store, Error> {
        let bounds = Bounds::default();
        if self.store.as_os_str() == "memory" {
            return Ok(Store::in_memory(bounds));
        }
        Store::open(&self.store, bounds).map_err(|source| {
            let hint = match &source {
                StoreError::NewerVersion { .. } => {
                    Some("use the newer mcp-cli for it, or name another file with --store")
                }
                _ => None,
            };
            Error::internal(format!(
                "{} cannot be used as a store",
                self.store.display()
            ))
            .with_source(source)
            .with_hint_if(hint)
        })
    }

    fn greet(&self, address: SocketAddr, key: Option<&Key>, ui: &mut Ui) -> Result<(), Error> {
        let base_url = format!("http://{address}/v1");
        if let Some(Key::Made(key)) = key {
            // Lines for a shell, with everything that an OpenAI client needs.
            ui.print(&format!(
                "export OPENAI_BASE_URL={base_url}\nexport OPENAI_API_KEY={}",
                key.expose()
            ))?;
        }
        if self.model != "upstream" {
            ui.note("the built-in model follows rules or a script; it is not a language model");
        }
        self.hosts.note_missing(address, ui);
        ui.ready(&format!("listening on {base_url}"));
        Ok(())
    }
}

impl UpstreamArgs {
    /// A flag that needs an upstream. The key may be in the environment for other programs.
    fn given(&self) -> Option<&'static str> {
        match () {
            () if self.upstream_url.is_some() => Some("--upstream-url"),
            () if self.upstream_api.is_some() => Some("--upstream-api"),
            () => None,
        }
    }

    fn model(&self, budget: &Budget, ui: &Ui) -> Result<Upstream, Error> {
        let url = args::http_url(
            self.upstream_url.as_deref().unwrap_or(OPENAI),
            "--upstream-url",
        )?;
        let key = match &self.upstream_api_key {
            Some(key) => key.read("--upstream-api-key")?,
            None if url.host_str() == Some("api.openai.com") => return Err(Error::no_api_key()),
            None => Secret::from(String::new()),
        };
        // The clients of the gateway retry themselves.
        let retries = Retries {
            most: 0,
            after_5xx: false,
        };
        let limits = Limits {
            max_bytes: MAX_ANSWER,
            max_memory: MAX_ANSWER,
            budget: budget.clone(),
            ..Limits::default()
        };
        let client = Client::new(&url, &key, limits, retries, ui.on_retry())?;
        let api = match self.upstream_api {
            None | Some(UpstreamApiArg::Responses) => UpstreamApi::Responses,
            Some(UpstreamApiArg::Chat) => UpstreamApi::Chat,
        };
        Ok(Upstream::new(client, api))
    }
}
