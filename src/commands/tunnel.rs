//! `serve --tunnel`: a public address for the server, or OpenAI's Secure MCP Tunnel, and what to do with it.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use http::HeaderValue;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::args::{self, SecretSource};
use crate::check::{self, Subject, Verdict};
use crate::engine::Engine;
use crate::engine::model::Model;
use crate::error::Error;
use crate::http::PublicHost;
use crate::mcp::{ClientPool, EgressPolicy, PoolOptions, Redirects};
use crate::responses::MCPTool;
use crate::secret::Secret;
use crate::tunnel::openai::{self, RuntimeKey, ServerInfo, TunnelId};
use crate::tunnel::program::{self, Kind, START_TIMEOUT, Tunnel, Wanted};
use crate::ui::Ui;

/// How long the address is checked for, until it is given up: a new name takes a while to be known.
const CHECK_PATIENCE: Duration = Duration::from_secs(20);
const CHECK_PAUSE: Duration = Duration::from_secs(1);
/// How long the first answer may take.
const CHECK_LIMIT: Duration = Duration::from_secs(10);
/// How long a program that ended is left alone: the first time, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How the server is reached from outside.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Public address")]
pub struct TunnelArgs {
    /// Give the server a public address with this tunnel, or connect it to OpenAI's Secure MCP Tunnel
    #[arg(long, value_name = "TUNNEL")]
    tunnel: Option<TunnelArg>,

    /// The public name: of a named Cloudflare tunnel, of localtunnel, or the host of a bore server
    #[arg(long, value_name = "NAME", requires = "tunnel")]
    tunnel_domain: Option<String>,

    /// The id of an OpenAI Secure MCP Tunnel
    #[arg(long, value_name = "ID", env = "CONTROL_PLANE_TUNNEL_ID")]
    tunnel_id: Option<String>,

    /// The control plane of the tunnel
    #[arg(
        long,
        value_name = "URL",
        env = "CONTROL_PLANE_BASE_URL",
        default_value = openai::BASE_URL,
        hide = true
    )]
    control_plane_url: String,

    /// The key for the control plane
    #[arg(
        long,
        env = "CONTROL_PLANE_API_KEY",
        hide = true,
        hide_env_values = true
    )]
    control_plane_key: Option<SecretSource>,

    /// The same, if the other is not set
    #[arg(long, env = "OPENAI_API_KEY", hide = true, hide_env_values = true)]
    openai_key: Option<SecretSource>,

    /// The organization that the key is used for
    #[arg(long, env = "CONTROL_PLANE_ORGANIZATION_ID", hide = true)]
    organization: Option<String>,

    /// The token of a named Cloudflare tunnel
    #[arg(long, env = program::CLOUDFLARE_TOKEN, hide = true, hide_env_values = true)]
    cloudflare_token: Option<SecretSource>,

    /// Let everybody call the server through the tunnel
    #[arg(long, conflicts_with = "auth", requires = "tunnel")]
    no_auth: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum TunnelArg {
    Openai,
    Cloudflared,
    Tailscale,
    Bore,
    Localtunnel,
}

/// A tunnel that is wanted.
pub enum Plan {
    /// OpenAI's, whose client polls.
    OpenAi(Box<openai::Options>),
    /// A program with a public URL.
    Program(Kind, Wanted),
}

impl TunnelArgs {
    /// Whether a tunnel is asked for.
    pub fn is_given(&self) -> bool {
        self.tunnel.is_some()
    }

    /// The tunnel that the arguments ask for. `keeps_sessions` says whether state is kept in this process.
    ///
    /// # Errors
    /// A key or an id is missing, or it was not said who may call the server.
    pub fn read(&self, has_auth: bool, keeps_sessions: bool) -> Result<Option<Plan>, Error> {
        let Some(tunnel) = self.tunnel else {
            return Ok(None);
        };
        if !has_auth && !self.no_auth {
            return Err(Error::usage(
                "a tunnel lets the world call the server, and the server requires no token",
            )
            .with_hint("add --auth, or say --no-auth if everybody may call it"));
        }
        let kind = match tunnel {
            TunnelArg::Openai => {
                let options = self.openai(keeps_sessions)?;
                return Ok(Some(Plan::OpenAi(Box::new(options))));
            }
            TunnelArg::Cloudflared => Kind::Cloudflared,
            TunnelArg::Tailscale => Kind::Tailscale,
            TunnelArg::Bore => Kind::Bore,
            TunnelArg::Localtunnel => Kind::Localtunnel,
        };
        let token = match &self.cloudflare_token {
            Some(source) if kind == Kind::Cloudflared => source.read_if_any("TUNNEL_TOKEN")?,
            _ => None,
        };
        let wanted = Wanted {
            port: 0,
            domain: self.tunnel_domain.clone(),
            token,
        };
        Ok(Some(Plan::Program(kind, wanted)))
    }

    fn openai(&self, keeps_sessions: bool) -> Result<openai::Options, Error> {
        let id = self.tunnel_id.as_deref().filter(|it| !it.is_empty());
        let id = id.ok_or_else(|| {
            Error::usage("the id of the tunnel is missing")
                .with_hint("pass --tunnel-id, or set CONTROL_PLANE_TUNNEL_ID")
        })?;
        let id: TunnelId = id.parse().map_err(|error: openai::InvalidName| {
            Error::usage(format!("{id:?} is not the id of a tunnel")).with_source(error)
        })?;
        let key = self.control_plane_key.as_ref().or(self.openai_key.as_ref());
        let key = key.map(|key| key.read_if_any("the key for the control plane"));
        let key = key.transpose()?.flatten().ok_or_else(|| {
            Error::usage("there is no key for the control plane")
                .with_hint("set CONTROL_PLANE_API_KEY, or OPENAI_API_KEY")
        })?;
        let key = RuntimeKey::try_from(key).map_err(|error| {
            Error::usage("the key for the control plane cannot be used").with_source(error)
        })?;
        let base_url = args::http_url(&self.control_plane_url, "CONTROL_PLANE_BASE_URL")?;
        if base_url.scheme() == "http" && !crate::address::is_loopback(&base_url) {
            return Err(Error::usage(
                "CONTROL_PLANE_BASE_URL is not https, and the key would be sent as text",
            )
            .with_hint("write it with https://"));
        }
        let organization = self.organization.as_deref().filter(|it| !it.is_empty());
        let organization = organization.map(HeaderValue::from_str).transpose();
        Ok(openai::Options {
            base_url,
            url_path: String::new(),
            tunnel_id: id,
            key,
            organization: organization.map_err(|error| {
                Error::usage("CONTROL_PLANE_ORGANIZATION_ID cannot be sent in a header")
                    .with_source(error)
            })?,
            channels: Vec::new(),
            server: ServerInfo {
                stateless: true,
                proc_affinity: keeps_sessions,
            },
            limits: openai::Limits::default(),
        })
    }
}

/// How the server is reached, for what is printed.
pub struct Door<'a> {
    pub path: &'a str,
    /// A label for the server in a request.
    pub label: &'a str,
    /// A token that it accepts, if this program can mint one.
    pub token: Option<Secret>,
    pub has_auth: bool,
}

/// Starts the tunnel of a program.
///
/// # Errors
/// It has no public URL.
pub async fn start(kind: Kind, wanted: &Wanted) -> Result<Tunnel, Error> {
    Ok(program::start(kind, wanted, START_TIMEOUT).await?)
}

/// Says where the server is and whether it can be used from there, and starts the program anew when it
/// ends. It never ends by itself.
pub async fn keep(
    mut tunnel: Tunnel,
    kind: Kind,
    wanted: &Wanted,
    door: &Door<'_>,
    host: &PublicHost,
    ui: &mut Ui,
) -> Infallible {
    let mut pause = FIRST_PAUSE;
    loop {
        let url = at(&tunnel.url, door.path);
        host.set(&tunnel.url);
        ui.ready(&format!("public address: {url}"));
        tell(&url, door, ui);
        let watching = async {
            let verdict = verdict(&url, door).await;
            ui.note(&verdict);
            std::future::pending::<Infallible>().await
        };
        let (program, said) = tokio::select! {
            ended = tunnel.ended() => ended,
            never = watching => match never {},
        };
        let said = match said.as_str() {
            "" => String::new(),
            said => format!("; it wrote: {said}"),
        };
        ui.note(&format!("the tunnel of `{program}` ended{said}"));
        tunnel = loop {
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
            match start(kind, wanted).await {
                Ok(tunnel) => break tunnel,
                Err(error) => ui.note(&format!("{error}; trying again")),
            }
        };
        pause = FIRST_PAUSE;
    }
}

/// The MCP endpoint behind a public URL.
fn at(public: &Url, path: &str) -> Url {
    let mut url = public.clone();
    url.set_path(path);
    url
}

/// The lines to paste.
fn tell(url: &Url, door: &Door<'_>, ui: &mut Ui) {
    let label = door.label;
    let (flag, entry) = match door.has_auth {
        true => (
            " --authorization @TOKEN_FILE",
            r#""authorization": "TOKEN", "#,
        ),
        false => ("", ""),
    };
    ui.banner(&format!(
        "ask:        mcp-cli ask --server-url {url} --server-label {label}{flag} \"...\"\n\
         tool entry: {{\"type\": \"mcp\", \"server_label\": \"{label}\", \"server_url\": \"{url}\", {entry}\"require_approval\": \"never\"}}"
    ));
}

/// What OpenAI would have answered, through the public address.
async fn verdict(url: &Url, door: &Door<'_>) -> String {
    let clients = ClientPool::new(PoolOptions {
        egress: EgressPolicy::Anywhere,
        redirects: Redirects::Refused,
        list_timeout: CHECK_LIMIT,
        ..PoolOptions::default()
    });
    let commands = std::collections::HashMap::new();
    let engine = Engine::with_clients(Model::Rules, commands, clients);
    let started = tokio::time::Instant::now();
    let said = loop {
        let token = door.token.as_ref();
        let subject = Subject {
            entry: MCPTool {
                server_label: door.label.to_owned(),
                server_url: Some(url.to_string()),
                authorization: token.map(|it| it.expose().to_owned()),
                ..MCPTool::default()
            },
            call: None,
            recorded: None,
            limit: CHECK_LIMIT,
        };
        let said = match check::check(&engine, subject, |_| {}).await {
            Ok(report) => match report.verdict {
                Verdict::Listed { tools } => {
                    let s = if tools == 1 { "" } else { "s" };
                    break format!("check: OpenAI would list {tools} tool{s} at {url}");
                }
                Verdict::FailedDependency(error) => {
                    format!("check: OpenAI would answer HTTP 424: {}", error.message)
                }
            },
            Err(error) => format!("check: {error}"),
        };
        if started.elapsed() > CHECK_PATIENCE {
            break format!("{said}; `mcp-cli check {url}` says why");
        }
        tokio::time::sleep(CHECK_PAUSE).await;
    };
    engine.close().await;
    said
}

/// Polls OpenAI's tunnel for `router`, and says what a person may want to know.
///
/// # Errors
/// The client cannot start.
pub async fn poll(
    options: openai::Options,
    router: Router,
    door: &Door<'_>,
    stop: CancellationToken,
    ui: &mut Ui,
) -> Result<(), Error> {
    let id = options.tunnel_id.to_string();
    let (events, mut told) = tokio::sync::mpsc::unbounded_channel();
    let on_event = move |event| {
        // Nobody listens when the verb has ended.
        let _ = events.send(event);
    };
    let polling = openai::run(options, router, door.path, on_event, stop);
    tokio::pin!(polling);
    loop {
        let event = tokio::select! {
            ended = &mut polling => return Ok(ended?),
            Some(event) = told.recv() => event,
        };
        tell_event(event, &id, door, ui);
    }
}

fn tell_event(event: openai::Event, id: &str, door: &Door<'_>, ui: &mut Ui) {
    match event {
        openai::Event::Connected => {
            let label = door.label;
            let (flag, entry) = match door.has_auth {
                true => (
                    " --authorization @TOKEN_FILE",
                    r#""authorization": "TOKEN", "#,
                ),
                false => ("", ""),
            };
            ui.ready(&format!("connected to the tunnel {id}"));
            ui.banner(&format!(
                "ask:        mcp-cli ask --tunnel-id {id} --server-label {label}{flag} \"...\"\n\
                 tool entry: {{\"type\": \"mcp\", \"server_label\": \"{label}\", \"tunnel_id\": \"{id}\", {entry}\"require_approval\": \"never\"}}"
            ));
        }
        openai::Event::PollFailed { fault, retry_in } => {
            let remedy = fault.remedy().map_or(String::new(), |it| format!("; {it}"));
            let rounded = Duration::from_millis(retry_in.as_millis().try_into().unwrap_or(u64::MAX));
            let after = humantime::format_duration(rounded);
            ui.note(&format!(
                "the tunnel could not be polled: {fault}{remedy}; trying again in {after}"
            ));
        }
        openai::Event::Recovered { failures } => {
            ui.note(&format!("the tunnel is polled again, after {failures} failures"));
        }
        openai::Event::NoMetadata(fault) => {
            ui.note(&format!("the tunnel's name could not be read: {fault}"));
        }
        openai::Event::Unclaimed { .. } => ui.note(
            "the control plane waits for an answer no more: it came too late, or another client polls the same tunnel",
        ),
        openai::Event::PostFailed { fault, .. } => {
            ui.note(&format!("an answer could not be posted: {fault}"));
        }
        openai::Event::Started { .. } | openai::Event::Metadata(_) => {}
    }
}
