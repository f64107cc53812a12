//! `mcp-cli serve`: the dice router, the bearer layer and a listener.

use std::net::SocketAddr;
use std::sync::Arc;

use ::http::Extensions;
use axum::Router;
use rmcp::ServiceExt;
use rmcp::service::{QuitReason, ServerInitializeError};
use tokio_util::sync::CancellationToken;
use tracing::Level;

use super::StopSignals;
use super::listen::{self, LogArgs, NameArgs};
use super::token::VerifierArgs;
use crate::auth;
use crate::dice::{DiceServer, Roller};
use crate::error::Error;
use crate::exit::ExitStatus;
use crate::http::{self, CallerOf, EndpointOptions};
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

    /// The dice server, and who stands before it: whoever watches, the guard, the bearer layer.
    async fn router(
        &self,
        server: DiceServer,
        address: SocketAddr,
        stop: CancellationToken,
        ui: &mut Ui,
    ) -> Result<Router, Error> {
        let options = EndpointOptions {
            only_answers: true,
            sessions: self.sessions.then_some(caller as CallerOf),
            stop,
        };
        let mut router = http::at(&self.path, http::endpoint(server, options));
        if self.auth {
            let verifier = Arc::new(self.verifier.load(ui).await?);
            router = auth::protect(router, &self.path, verifier);
        }
        let guard = self.names.guard(address);
        Ok(listen::watched(
            guard.protect(http::with_health(router)),
            ui,
        ))
    }
}

pub async fn serve(args: ServeArgs, ui: &mut Ui) -> Result<ExitStatus, Error> {
    let roller = args.seed.map_or_else(Roller::default, Roller::seeded);
    let server = DiceServer::new(roller);
    match args.transport {
        Transport::Stdio => serve_stdio(server, &args).await,
        Transport::Http => serve_http(server, args, ui).await,
    }
}

async fn serve_stdio(server: DiceServer, args: &ServeArgs) -> Result<ExitStatus, Error> {
    let demanded = [
        ("--auth", args.auth),
        ("--print-token", args.print_token),
        ("--sessions", args.sessions),
    ];
    let demanded = demanded.into_iter().find(|(_, is_given)| *is_given);
    if let Some(flag) = demanded.map(|(flag, _)| flag).or(args.verifier.given()) {
        return Err(Error::NeedsHttp { flag });
    }
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
    let mut signals = StopSignals::new()?;
    tokio::select! {
        ended = serving => ended.map(|_| ExitStatus::Done),
        _ = signals.next() => Ok(ExitStatus::Done),
    }
}

async fn serve_http(server: DiceServer, args: ServeArgs, ui: &mut Ui) -> Result<ExitStatus, Error> {
    let demanded = args.print_token.then_some("--print-token");
    if let Some(flag) = demanded.or(args.verifier.given())
        && !args.auth
    {
        return Err(Error::NeedsAuth { flag });
    }
    if args.print_token && args.verifier.has_foreign_key() {
        return Err(Error::ForeignKey);
    }
    let (listener, address) = listen::listen(&args.host, args.port).await?;
    let stop = CancellationToken::new();
    let router = args.router(server, address, stop.clone(), ui).await?;
    // Whoever reads that the server is ready may tell it to stop.
    let signals = StopSignals::new()?;
    greet(&args, address, ui)?;

    listen::serve_until(signals, http::MOST_CONNECTIONS, listener, router, stop).await;
    Ok(ExitStatus::Done)
}

fn greet(args: &ServeArgs, address: SocketAddr, ui: &mut Ui) -> Result<(), Error> {
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
    if args.print_token {
        let token = args.verifier.mint(ui)?;
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
