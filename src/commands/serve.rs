//! `mcp-cli serve`: the dice router, the bearer layer and a listener.

use std::net::SocketAddr;
use std::sync::Arc;

use ::http::Extensions;
use axum::Router;
use rmcp::ServiceExt;
use rmcp::service::{QuitReason, ServerInitializeError};
use tokio_util::sync::CancellationToken;
use tracing::Level;

use super::listen::{self, LogArgs, NameArgs};
use super::signals::{SERVER_GRACE, StopSignals};
use super::token::{Verification, VerifierArgs};
use crate::auth::{self, Verifier};
use crate::dice::{DiceServer, Roller};
use crate::error::Error;
use crate::exit::ExitStatus;
use crate::http::{self, CallerFrom, EndpointOptions};
use crate::secret::Secret;
use crate::ui::{LogFormat, Ui};

/// Run the dice server: one MCP tool, `roll_dice(n_dice: int) -> list[int]`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mcp-cli serve                            http://127.0.0.1:8000/mcp, for everybody on this machine
  mcp-cli serve --auth -p 8000             for those who have a token, see `mcp-cli token`
  mcp-cli serve --allowed-host my.ngrok.app   reached through a tunnel under that name
  mcp-cli serve -t stdio                   for a client that starts it itself")]
pub struct ServeArgs {
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: String,

    /// The port to listen on; 0 is a free one
    #[arg(short, long, default_value_t = 8000)]
    port: u16,

    /// The path of the MCP endpoint; with a slash behind it, it is the same
    #[arg(long, default_value = "/mcp", value_parser = path)]
    path: String,

    /// How clients connect
    #[arg(short, long, default_value = "http")]
    transport: Transport,

    /// Demand a bearer token
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

    /// Leave the greeting out
    #[arg(long)]
    no_banner: bool,

    #[command(flatten)]
    log: LogArgs,

    #[command(flatten)]
    names: NameArgs,

    #[command(flatten, next_help_heading = "With --auth")]
    verifier: VerifierArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Transport {
    Http,
    Stdio,
}

/// Who sends a request, as the bearer layer left word of it.
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

    /// The dice server behind the watcher, the guard and, with a verifier, the bearer layer.
    fn router(
        &self,
        server: DiceServer,
        verifier: Option<Verifier>,
        address: SocketAddr,
        stop: CancellationToken,
        ui: &Ui,
    ) -> Router {
        let options = EndpointOptions {
            only_answers: true,
            sessions: self.sessions.then_some(caller as CallerFrom),
            stop,
        };
        let mut router = http::at(&self.path, http::endpoint(server, options));
        if let Some(verifier) = verifier {
            router = auth::protect(router, &self.path, Arc::new(verifier));
        }
        let guard = self.names.guard(address);
        listen::watched(guard.protect(http::with_health(router)), ui)
    }

    /// Refuses flags that have no meaning with the others.
    fn check(&self) -> Result<(), Error> {
        if self.transport == Transport::Stdio {
            let demanded = [
                ("--auth", self.auth),
                ("--print-token", self.print_token),
                ("--sessions", self.sessions),
            ];
            let demanded = demanded.into_iter().find(|(_, is_given)| *is_given);
            let demanded = demanded.map(|(flag, _)| flag).or(self.verifier.given());
            return demanded.map_or(Ok(()), |flag| Err(Error::NeedsHttp { flag }));
        }
        let demanded = self.print_token.then_some("--print-token");
        match demanded.or(self.verifier.given()) {
            Some(flag) if !self.auth => Err(Error::NeedsAuth { flag }),
            _ if self.print_token && self.verifier.has_foreign_key() => Err(Error::ForeignKey),
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

pub async fn serve(service: Service, ui: &mut Ui) -> Result<ExitStatus, Error> {
    let roller = service.args.seed;
    let roller = roller.map_or_else(Roller::default, Roller::seeded);
    let server = DiceServer::new(roller);
    match service.args.transport {
        Transport::Stdio => serve_stdio(server).await,
        Transport::Http => serve_http(server, service, ui).await,
    }
}

async fn serve_stdio(server: DiceServer) -> Result<ExitStatus, Error> {
    let serving = async {
        match server.serve(rmcp::transport::stdio()).await {
            Ok(running) => running
                .waiting()
                .await
                .map_err(|error| Error::Stdio(error.into())),
            // A client that leaves before it has said anything is a client that has left.
            Err(ServerInitializeError::ConnectionClosed(_)) => Ok(QuitReason::Closed),
            Err(error) => Err(Error::Stdio(error.into())),
        }
    };
    let mut signals = StopSignals::new(SERVER_GRACE)?;
    tokio::select! {
        ended = serving => ended.map(|_| ExitStatus::Done),
        _ = signals.next() => Ok(ExitStatus::Done),
    }
}

async fn serve_http(
    server: DiceServer,
    service: Service,
    ui: &mut Ui,
) -> Result<ExitStatus, Error> {
    let args = service.args;
    let verifier = match service.verification {
        Some(verification) => Some(verification.verifier().await?),
        None => None,
    };
    let (listener, address) = listen::listen(&args.host, args.port).await?;
    let stop = CancellationToken::new();
    let router = args.router(server, verifier, address, stop.clone(), ui);
    // Whoever reads that the server is ready may tell it to stop.
    let mut signals = StopSignals::new(SERVER_GRACE)?;
    greet(&args, service.token.as_ref(), address, ui)?;

    listen::serve_until(&mut signals, http::MOST_CONNECTIONS, listener, router, stop).await;
    Ok(ExitStatus::Done)
}

fn greet(
    args: &ServeArgs,
    token: Option<&Secret>,
    address: SocketAddr,
    ui: &mut Ui,
) -> Result<(), Error> {
    if !args.no_banner {
        let who = if args.auth {
            "those who have a token may call it"
        } else {
            "everybody who reaches it may call it"
        };
        ui.banner(&format!(
            "Dice Roller: roll_dice(n_dice: int) -> list[int]; {who}"
        ));
    }
    if let Some(token) = token {
        ui.print(&format!(
            "\n---\n\n🔑 Dice Roller access token:\n\n{}\n\n---\n",
            token.expose()
        ))?;
    }
    if address.ip().is_unspecified() && !args.names.has_hosts() {
        ui.note("names other than localhost are refused; --allowed-host adds one");
    }
    ui.ready(&format!("listening on http://{address}{}", args.path));
    Ok(())
}

fn path(text: &str) -> Result<String, &'static str> {
    let is_plain = text
        .chars()
        .all(|it| it.is_ascii_alphanumeric() || matches!(it, '/' | '-' | '_' | '.' | '~'));
    let is_ours = text.trim_end_matches('/') == "/healthz" || text.starts_with("/.well-known");
    if is_ours {
        Err("/healthz and /.well-known have answers of their own")
    } else if text.starts_with('/') && is_plain && !text.contains("//") {
        Ok(text.to_owned())
    } else {
        Err("a path begins with `/` and has letters, digits, `-`, `_`, `.` and `~`")
    }
}
