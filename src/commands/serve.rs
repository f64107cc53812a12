//! `mcp-cli serve`: the dice router, the bearer layer and a listener.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::sync::Arc;

use ::http::Extensions;
use axum::Router;
use rmcp::ServiceExt;
use rmcp::service::{QuitReason, ServerInitializeError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use super::StopSignals;
use super::token::VerifierArgs;
use crate::auth;
use crate::dice::{DiceServer, Roller};
use crate::error::Error;
use crate::exit::ExitStatus;
use crate::http::{
    self, AllowedHost, AllowedOrigin, CallerOf, EndpointOptions, Guard, Seen, Watcher,
};
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

    /// Log this program's parts on stderr: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<Level>,

    /// Log each request in this form, and with --log-level what else there is
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormatArg>,

    /// A host name that the server is reached under, beside loopback
    #[arg(
        long,
        value_name = "HOST",
        value_delimiter = ',',
        value_parser = listed::<AllowedHost>,
        env = "MCP_ALLOWED_HOSTS",
        help_heading = "Behind a tunnel"
    )]
    allowed_host: Vec<Option<AllowedHost>>,

    /// An origin whose pages may call the server from a browser
    #[arg(
        long,
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = listed::<AllowedOrigin>,
        env = "MCP_ALLOWED_ORIGINS",
        help_heading = "Behind a tunnel"
    )]
    allowed_origin: Vec<Option<AllowedOrigin>>,

    #[command(flatten, next_help_heading = "With --auth")]
    verifier: VerifierArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Transport {
    Http,
    Stdio,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LogFormatArg {
    Text,
    Json,
}

/// Who sends a request, as the bearer layer left word of it.
fn caller(extensions: &Extensions) -> Option<[u8; 32]> {
    extensions
        .get()
        .map(|caller: &auth::Caller| caller.digest())
}

impl ServeArgs {
    /// What is logged; who asks for a form of the log wants one.
    pub fn log(&self) -> (Option<Level>, LogFormat) {
        let asked_for = self.log_format.map(|_| Level::INFO);
        let level = self.log_level.or(asked_for);
        let format = match self.log_format {
            None | Some(LogFormatArg::Text) => LogFormat::Text,
            Some(LogFormatArg::Json) => LogFormat::Json,
        };
        (level, format)
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
        // An address cannot be made to mean another machine, as a name can.
        let listening = address.ip().to_string().parse().ok();
        let hosts = self.allowed_host.iter().flatten().cloned();
        let origins = self.allowed_origin.iter().flatten().cloned();
        let guard = Guard::new(hosts.chain(listening).collect(), origins.collect());
        let router = guard.protect(http::with_health(router));
        Ok(match self.watcher(ui) {
            Some(watcher) => watcher.watch(router),
            None => router,
        })
    }

    fn watcher(&self, ui: &Ui) -> Option<Watcher> {
        let tell = ui.on_request();
        let is_logged = tracing::enabled!(Level::INFO);
        (tell.is_some() || is_logged).then(|| {
            Watcher::new(move |seen| {
                log(seen);
                if let Some(tell) = &tell {
                    tell(seen);
                }
            })
        })
    }
}

/// A line of the log. What a caller is known by is not for it: no token, no subject, no origin.
fn log(seen: &Seen) {
    tracing::info!(
        method = seen.method,
        status = seen.status.as_u16(),
        duration_ms = seen.duration.as_micros() as f64 / 1000.0,
        protocol_version = seen.protocol_version.as_deref(),
        user_agent = seen.user_agent.as_deref(),
        "request"
    );
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
    let address = resolve(&args.host, args.port)?;
    let listen = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;

    let stop = CancellationToken::new();
    let router = args.router(server, address, stop.clone(), ui).await?;
    // Whoever reads that the server is ready may tell it to stop.
    let mut signals = StopSignals::new()?;
    greet(&args, address, ui)?;

    let serving = http::serve(listener, router, stop.clone());
    tokio::pin!(serving);
    tokio::select! {
        () = &mut serving => return Ok(ExitStatus::Done),
        _ = signals.next() => stop.cancel(),
    }
    // Calls may finish now; a second signal ends them as well.
    tokio::select! {
        () = &mut serving => {}
        _ = signals.next() => {}
    }
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
    if address.ip().is_unspecified() && args.allowed_host.iter().flatten().next().is_none() {
        ui.note("names other than localhost are refused; --allowed-host adds one");
    }
    ui.ready(&format!("listening on http://{address}{}", args.path));
    Ok(())
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, Error> {
    let unknown = |source| Error::UnknownHost {
        host: host.to_owned(),
        source,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    (bare, port)
        .to_socket_addrs()
        .map_err(unknown)?
        .next()
        .ok_or_else(|| unknown(std::io::ErrorKind::NotFound.into()))
}

/// One of a list. An empty one, as an empty variable of the environment has, lists nothing.
fn listed<T: FromStr>(text: &str) -> Result<Option<T>, T::Err> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some),
    }
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
