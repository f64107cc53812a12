//! `mcp-cli serve`: an MCP server behind the bearer layer and a listener.

use std::sync::Arc;

use ::http::Extensions;
use tracing::Level;

use super::backend::Backend;
use super::listen::{self, HostArgs, LogArgs};
use super::signals::StopSignals;
use super::token::{Verification, VerifierArgs};
use crate::auth;
use crate::error::Error;
use crate::exit::ExitStatus;
use crate::http::{self, CallerFrom, ServerOptions};
use crate::secret::Secret;
use crate::ui::{LogFormat, Ui};

/// Run the dice server: one MCP tool, `roll_dice(n_dice: int) -> list[int]`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mcp-cli serve                            http://127.0.0.1:8000/mcp, open to this machine
  mcp-cli serve --auth -p 8000             with bearer tokens, see `mcp-cli token`
  mcp-cli serve --allowed-host my.ngrok.app   behind a tunnel with that name
  mcp-cli serve -t stdio                   for a client that starts the server itself")]
pub struct ServeArgs {
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

    /// Keep sessions for clients older than MCP 2026-07-28
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
    hosts: HostArgs,

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
    /// With `--auth`.
    verification: Option<Verification>,
    /// With `--print-token`.
    token: Option<Secret>,
}

/// Reads the files that the arguments name. Nothing is served yet.
///
/// # Errors
/// If flags contradict each other, or a file cannot be used.
pub fn read(args: ServeArgs, ui: &mut Ui) -> Result<Service, Error> {
    args.check()?;
    let verification = args.auth.then(|| args.verifier.read(ui)).transpose()?;
    let token = args.print_token.then(|| args.verifier.mint(ui));
    Ok(Service {
        token: token.transpose()?,
        verification,
        args,
    })
}

/// Serves until a signal comes or, over stdio, the client disconnects.
///
/// # Errors
/// If the server cannot start, or its client does not speak MCP.
pub async fn serve(
    service: Service,
    mut signals: StopSignals,
    ui: &mut Ui,
) -> Result<ExitStatus, Error> {
    let backend = Backend::dice(service.args.seed);
    match service.args.transport {
        Transport::Stdio => tokio::select! {
            ended = backend.serve_stdio() => ended?,
            _ = signals.next() => {}
        },
        Transport::Http => serve_http(backend, service, &mut signals, ui).await?,
    }
    Ok(ExitStatus::Done)
}

async fn serve_http(
    backend: Backend,
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
    let options = ServerOptions {
        only_answers: backend.only_answers(),
        sessions: args.sessions.then_some(caller as CallerFrom),
        ..ServerOptions::default()
    };
    greet(&args, backend.describe(), service.token.as_ref(), ui)?;
    let mut router = http::at(&args.path, backend.endpoint(&options));
    if let Some(verifier) = verifier {
        router = auth::protect(router, &args.path, Arc::new(verifier));
    }
    args.hosts.note_missing(address, ui);
    ui.ready(&format!("listening on http://{address}{}", args.path));
    let mut policy = args.hosts.policy(address);
    if address.ip().is_loopback() {
        policy = policy.with_loopback_pages();
    }
    listen::serve(listener, router, policy, options, signals, ui).await;
    Ok(())
}

fn greet(
    args: &ServeArgs,
    description: &str,
    token: Option<&Secret>,
    ui: &mut Ui,
) -> Result<(), Error> {
    if !args.no_banner {
        let access = if args.auth {
            "requires a bearer token"
        } else {
            "open to anyone who can reach it"
        };
        ui.banner(&format!("{description}; {access}"));
    }
    if let Some(token) = token {
        ui.print(&format!(
            "\n---\n\n🔑 Dice Roller access token:\n\n{}\n\n---\n",
            token.expose()
        ))?;
    }
    Ok(())
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
