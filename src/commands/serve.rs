//! `mcp-cli serve`: an MCP server behind the bearer layer and a listener.

use std::sync::Arc;

use ::http::Extensions;
use axum::Router;
use futures::future;
use tracing::Level;

use super::backend::Backend;
use super::listen::{self, HostArgs, LogArgs};
use super::record::RecordArgs;
use super::relay::{RelayArgs, Targets};
use super::signals::StopSignals;
use super::token::{Verification, VerifierArgs};
use super::tunnel::{self, Door, Plan, TunnelArgs};
use crate::auth;
use crate::error::Error;
use crate::exit::ExitStatus;
use crate::http::{self, CallerFrom, PublicHost, ServerOptions};
use crate::mcp::PoolOptions;
use crate::relay::{self, Relay};
use crate::secret::Secret;
use crate::ui::{LogFormat, Ui};

/// Serve your MCP server over HTTP with tokens and limits, or run the sample, the dice server
///
/// A server over stdio, or at a URL, is passed on as it is: JSON-RPC goes through, whatever the transport and
/// the version of MCP on either side. Without one, the dice server is served: one tool,
/// `roll_dice(n_dice: int) -> list[int]`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mcp-cli serve [OPTIONS] [URL | -- COMMAND...]",
    after_help = "\
Examples:
  mcp-cli serve --auth -- node server.mjs     your server over stdio, for callers with a token
  mcp-cli serve --auth localhost:3000/mcp     your server that listens already
  mcp-cli serve --mcp-config .mcp.json        each server of the file, at /NAME/mcp
  mcp-cli serve -t stdio https://example.com/mcp --upstream-authorization @token.jwt
      a remote server for a client that only starts programs
  mcp-cli serve --auth                        the dice server, see `mcp-cli token`
  mcp-cli serve --auth --tunnel ngrok         the same with a public address"
)]
pub struct ServeArgs {
    #[command(flatten)]
    record: RecordArgs,

    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: String,

    /// The port to listen on; 0 picks a free one
    #[arg(short, long, default_value_t = 8000)]
    port: u16,

    /// The path of the MCP endpoint, with and without a trailing slash
    #[arg(long, default_value = "/mcp", value_parser = path)]
    path: String,

    /// How clients connect
    #[arg(short, long, default_value = "http")]
    transport: Transport,

    /// Require a bearer token
    #[arg(long)]
    auth: bool,

    /// Mint a token and print it; for development
    #[arg(long)]
    print_token: bool,

    /// Keep a session for every client older than MCP 2026-07-28
    #[arg(long)]
    sessions: bool,

    /// Roll the same dice every time
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Print no banner
    #[arg(long)]
    no_banner: bool,

    #[command(flatten)]
    log: LogArgs,

    #[command(flatten)]
    relay: RelayArgs,

    #[command(flatten)]
    hosts: HostArgs,

    #[command(flatten)]
    tunnel: TunnelArgs,

    #[command(flatten, next_help_heading = "With --auth")]
    verifier: VerifierArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Transport {
    Http,
    Stdio,
}

/// The caller of a request, as the bearer layer identified it.
fn caller(extensions: &Extensions) -> Option<[u8; 32]> {
    extensions
        .get()
        .map(|caller: &auth::Caller| caller.digest())
}

impl ServeArgs {
    /// What is logged.
    pub fn log(&self) -> (Option<Level>, LogFormat) {
        self.log.log()
    }

    /// Rejects flags that have no meaning with the others.
    fn check(&self) -> Result<(), Error> {
        if self.transport == Transport::Stdio {
            let demanded = [
                ("--auth", self.auth),
                ("--print-token", self.print_token),
                ("--sessions", self.sessions),
                ("--tunnel", self.tunnel.is_given()),
            ];
            let demanded = demanded.into_iter().find(|(_, is_given)| *is_given);
            let demanded = demanded.map(|(flag, _)| flag).or(self.verifier.given());
            return demanded.map_or(Ok(()), |flag| {
                let text = format!(
                    "{flag} has no meaning with -t stdio: the process that starts the server is its only client"
                );
                Err(Error::usage(text).with_hint("serve over HTTP, or omit it"))
            });
        }
        let demanded = self.print_token.then_some("--print-token");
        match demanded.or(self.verifier.given()) {
            Some(flag) if !self.auth => Err(Error::usage(format!(
                "{flag} has no meaning without --auth"
            ))
            .with_hint("add --auth")),
            _ if self.print_token && self.verifier.has_foreign_key() => Err(Error::usage(
                "--print-token needs a private key, but --public-key and --jwks name public keys",
            )
            .with_hint("omit it to sign with the developer key pair")),
            _ => Ok(()),
        }
    }
}

/// A server with the files that it needs.
pub struct Service {
    args: ServeArgs,
    targets: Targets,
    /// With `--auth`.
    verification: Option<Verification>,
    /// With `--print-token`.
    token: Option<Secret>,
    tunnel: Option<Plan>,
}

/// Reads the files that the arguments name. Nothing is served yet.
///
/// # Errors
/// If flags contradict each other, or a file cannot be used.
pub fn read(args: ServeArgs, ui: &mut Ui) -> Result<Service, Error> {
    args.check()?;
    args.record.start(ui)?;
    let targets = args.relay.read()?;
    if !targets.is_none() && args.seed.is_some() {
        return Err(Error::usage("--seed is for the dice server").with_hint("omit it"));
    }
    if targets.named.len() > 1 && args.transport == Transport::Stdio {
        return Err(
            Error::usage("-t stdio serves one server, but the file has several")
                .with_hint("pick one with --server NAME"),
        );
    }
    let verification = args.auth.then(|| args.verifier.read(ui)).transpose()?;
    let token = args.print_token.then(|| args.verifier.mint(ui));
    let tunnel = args.tunnel.read(args.auth, args.sessions)?;
    if tunnel.is_some() && targets.named.len() > 1 {
        return Err(
            Error::usage("--tunnel serves one server, but the file has several")
                .with_hint("pick one with --server NAME"),
        );
    }
    Ok(Service {
        tunnel,
        token: token.transpose()?,
        verification,
        targets,
        args,
    })
}

/// Serves until a signal comes or, over stdio, the client disconnects.
///
/// # Errors
/// If the server cannot start, or its client does not speak MCP.
pub async fn serve(
    mut service: Service,
    mut signals: StopSignals,
    ui: &mut Ui,
) -> Result<ExitStatus, Error> {
    let backends = service.backends(ui);
    let served = match (service.args.transport, backends.as_slice()) {
        (Transport::Stdio, [(_, backend), ..]) => tokio::select! {
            ended = backend.serve_stdio() => ended,
            _ = signals.next() => Ok(()),
        },
        _ => serve_http(&backends, service, &mut signals, ui).await,
    };
    for (_, backend) in &backends {
        backend.close().await;
    }
    served.map(|()| ExitStatus::Done)
}

impl Service {
    /// What is served, by its path.
    fn backends(&mut self, ui: &Ui) -> Vec<(String, Backend)> {
        let path = &self.args.path;
        let targets = std::mem::take(&mut self.targets);
        let alone = targets.alone.map(|server| (path.clone(), server));
        let named = targets.named.into_iter();
        let named = named.map(|(name, server)| (format!("/{name}{path}"), server));
        let relayed: Vec<_> = alone.into_iter().chain(named).collect();
        if relayed.is_empty() {
            return vec![(path.clone(), Backend::dice(self.args.seed))];
        }
        let relay = |(path, server)| {
            let pool = PoolOptions {
                on_stderr: ui.on_stderr(),
                on_wire: listen::on_wire(ui),
                ..PoolOptions::default()
            };
            let options = relay::Options {
                limits: self.args.relay.limits(self.args.auth),
                allowed: self.args.relay.allowed(),
                sessions: self.args.sessions,
                caller_from: caller,
            };
            (path, Backend::Relay(Relay::new(server, pool, options)))
        };
        relayed.into_iter().map(relay).collect()
    }
}

async fn serve_http(
    backends: &[(String, Backend)],
    service: Service,
    signals: &mut StopSignals,
    ui: &mut Ui,
) -> Result<(), Error> {
    let args = service.args;
    let verifier = match service.verification {
        Some(verification) => Some(signals.or(verification.verifier()).await?),
        None => None,
    };
    let (listener, address) = listen::listen(&args.host, args.port).await?;
    let verifier = verifier.map(Arc::new);
    let mut options = ServerOptions {
        sessions: args.sessions.then_some(caller as CallerFrom),
        ..ServerOptions::default()
    };
    let mut described = Vec::new();
    let mut router = Router::new();
    for (path, backend) in backends {
        options.only_answers = backend.only_answers();
        if !options.only_answers {
            options.body.max_bytes = relay::MAX_MESSAGE;
            options.max_parsed = relay::MAX_PARSED;
        }
        described.push(signals.or(backend.start()).await?);
        let mut route = http::at(path, backend.endpoint(&options));
        if let Some(verifier) = &verifier {
            route = auth::protect(route, path, Arc::clone(verifier));
        }
        router = router.merge(route);
    }
    let lines: Vec<&str> = described.iter().map(|it| &*it.line).collect();
    greet(&args, &lines.join(", "), ui);
    if let (Some(token), Some(first)) = (&service.token, described.first()) {
        let token = token.expose();
        let name = &first.name;
        ui.print(&format!(
            "\n---\n\n🔑 {name} access token:\n\n{token}\n\n---\n"
        ))?;
    }
    args.hosts.note_missing(address, ui);
    let urls = backends
        .iter()
        .map(|(path, _)| format!("http://{address}{path}"));
    ui.ready(&format!(
        "listening on {}",
        urls.collect::<Vec<_>>().join(", ")
    ));
    let public = PublicHost::default();
    let mut policy = args.hosts.policy(address).with_public(public.clone());
    if address.ip().is_loopback() {
        policy = policy.with_loopback_pages();
    }
    let router = listen::door(router, policy, &options, ui);
    let Some(plan) = service.tunnel else {
        listen::serve(listener, router, options, signals).await;
        return Ok(());
    };
    // Only then can the address be checked with a token, not only for its refusal.
    let can_mint = args.auth && !args.verifier.has_foreign_key();
    let door = Door {
        path: backends.first().map_or(&args.path, |(path, _)| path),
        label: described.first().map_or("", |it| &it.label),
        token: can_mint.then(|| args.verifier.mint(ui)).transpose()?,
        has_auth: args.auth,
    };
    match plan {
        Plan::Public(tunnel) => {
            let mut tunnel = tunnel.at_port(address.port());
            let visiting = tunnel.serve(router.clone(), options.clone());
            let serving = listen::serve(listener, router, options, signals);
            tokio::select! {
                _ = future::join(serving, visiting) => {}
                failed = tunnel::keep(&tunnel, &door, &public, ui) => match failed? {},
            }
        }
        Plan::OpenAi(openai) => {
            let stop = options.stop.clone();
            let polling = tunnel::poll(*openai, router.clone(), &door, stop.clone(), ui);
            let polling = async {
                let ended = polling.await;
                stop.cancel();
                ended
            };
            let serving = listen::serve(listener, router, options, signals);
            let (ended, ()) = tokio::join!(polling, serving);
            ended?;
        }
    }
    Ok(())
}

fn greet(args: &ServeArgs, description: &str, ui: &mut Ui) {
    if !args.no_banner {
        let access = if args.auth {
            "requires a bearer token"
        } else {
            "open to anyone who can reach it"
        };
        ui.banner(&format!("{description}; {access}"));
    }
}

fn path(text: &str) -> Result<String, &'static str> {
    let is_plain = text
        .chars()
        .all(|it| it.is_ascii_alphanumeric() || matches!(it, '/' | '-' | '_' | '.' | '~'));
    let is_ours = text.trim_end_matches('/') == "/healthz" || text.starts_with("/.well-known");
    if is_ours {
        Err("/healthz and /.well-known are reserved")
    } else if text.starts_with('/') && is_plain && !text.contains("//") {
        Ok(text.to_owned())
    } else {
        Err("a path begins with `/` and has letters, digits, `-`, `_`, `.` and `~`")
    }
}
