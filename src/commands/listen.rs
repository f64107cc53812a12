//! What verbs that serve HTTP have in common: the address, the accepted host names, the log, the
//! shutdown.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tracing::Level;

use super::signals::StopSignals;
use crate::error::Error;
use crate::http::{
    self, AccessLog, AllowedHost, AllowedOrigin, Exchange, HostPolicy, ServerOptions,
};
use crate::mcp::{OnWire, Wire, WireEvent};
use crate::record;
use crate::ui::{LogFormat, Ui};

/// What is logged.
#[derive(Debug, clap::Args)]
pub struct LogArgs {
    /// Log this program's events on stderr: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<Level>,

    /// Log each request in this format, and other events as --log-level says
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormatArg>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LogFormatArg {
    Text,
    Json,
}

impl LogArgs {
    /// The level and the format. `--log-format` alone logs each request.
    pub fn log(&self) -> (Option<Level>, LogFormat) {
        let asked_for = self.log_format.map(|_| Level::INFO);
        let level = self.log_level.or(asked_for);
        let format = match self.log_format {
            None | Some(LogFormatArg::Text) => LogFormat::Text,
            Some(LogFormatArg::Json) => LogFormat::Json,
        };
        (level, format)
    }
}

/// The host names and origins that the server accepts.
#[derive(Debug, clap::Args)]
pub struct HostArgs {
    /// Accept this name in the Host header, besides loopback
    #[arg(
        long,
        value_name = "HOST",
        value_delimiter = ',',
        value_parser = listed::<AllowedHost>,
        env = "MCP_ALLOWED_HOSTS",
        help_heading = "Behind a tunnel"
    )]
    allowed_host: Vec<Option<AllowedHost>>,

    /// Let pages of this origin call the server from a browser
    #[arg(
        long,
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = listed::<AllowedOrigin>,
        env = "MCP_ALLOWED_ORIGINS",
        help_heading = "Behind a tunnel"
    )]
    allowed_origin: Vec<Option<AllowedOrigin>>,
}

impl HostArgs {
    /// The policy of a server that listens on `address`. It accepts the address itself, which cannot
    /// be pointed at another machine as a name can.
    pub fn policy(&self, address: SocketAddr) -> HostPolicy {
        let listening = address.ip().to_string().parse().ok();
        let hosts = self.allowed_host.iter().flatten().cloned();
        let origins = self.allowed_origin.iter().flatten().cloned();
        HostPolicy::new(hosts.chain(listening).collect(), origins.collect())
    }

    /// Notes that a server on all addresses is still reached under no name but loopback.
    pub fn note_missing(&self, address: SocketAddr, ui: &Ui) {
        let has_hosts = self.allowed_host.iter().flatten().next().is_some();
        if address.ip().is_unspecified() && !has_hosts {
            ui.note(
                "requests with a Host other than localhost are rejected; --allowed-host adds one",
            );
        }
    }
}

/// Listens on an address, and returns it with the port that a port 0 became.
///
/// # Errors
/// The host cannot be resolved, or the system refuses.
pub async fn listen(host: &str, port: u16) -> Result<(TcpListener, SocketAddr), Error> {
    let address = resolve(host, port)?;
    let failed = |source| Error::listen(address, source);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, Error> {
    let unknown = |source: std::io::Error| {
        Error::internal(format!("{host:?} is not an address of this machine")).with_source(source)
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    (bare, port)
        .to_socket_addrs()
        .map_err(unknown)?
        .next()
        .ok_or_else(|| unknown(std::io::ErrorKind::NotFound.into()))
}

/// `router` behind the access log, the host policy and a health check.
pub fn door(router: Router, policy: HostPolicy, options: &ServerOptions, ui: &Ui) -> Router {
    let router = policy.protect(http::with_health(router), options.body.max_bytes);
    let router = with_access_log(router, ui);
    match ui.recorder() {
        Some(recorder) => record::tee(router, recorder.clone()),
        None => router,
    }
}

/// Serves `router` until a signal comes. Running requests may complete then; a second signal ends them
/// as well.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: ServerOptions,
    signals: &mut StopSignals,
) {
    let stop = options.stop.clone();
    let serving = http::serve(http::accepted(listener), router, options);
    tokio::pin!(serving);
    tokio::select! {
        () = &mut serving => return,
        _ = signals.next() => stop.cancel(),
    }
    tokio::select! {
        () = &mut serving => {}
        _ = signals.next() => {}
    }
}

/// Writes every request to `router` to stderr and to the log, if either is enabled.
fn with_access_log(router: Router, ui: &Ui) -> Router {
    let write = ui.on_request();
    if write.is_none() && !tracing::enabled!(Level::INFO) {
        return router;
    }
    let access_log = AccessLog::new(move |exchange| {
        log(exchange);
        if let Some(write) = &write {
            write(exchange);
        }
    });
    access_log.log(router)
}

/// What writes every exchange with an MCP server to stderr and to the log, if either is enabled.
pub fn on_wire(ui: &Ui) -> Option<OnWire> {
    let write = ui.on_wire().filter(|it| it.exchanges);
    if write.is_none() && !tracing::enabled!(Level::INFO) {
        return None;
    }
    let tell = move |wire: Wire| {
        log_wire(&wire);
        if let Some(write) = &write {
            (write.tell)(wire);
        }
    };
    Some(OnWire {
        exchanges: true,
        tell: Arc::new(tell),
    })
}

/// A line of the log. It has nothing of what was said, but for the reason of a failure.
fn log_wire(wire: &Wire) {
    let WireEvent::Exchange {
        method,
        tool,
        answer,
        took,
        ..
    } = &wire.event
    else {
        return;
    };
    tracing::info!(
        server = wire.server,
        method = &**method,
        tool = tool.as_deref(),
        failure = answer.as_ref().err(),
        duration_ms = took.as_micros() as f64 / 1000.0,
        "MCP request"
    );
}

/// A line of the log. It never identifies the caller: no token, no subject, no origin.
fn log(exchange: &Exchange) {
    tracing::info!(
        method = exchange.method,
        path = exchange.path,
        tool = exchange.tool.as_deref(),
        status = exchange.status.as_u16(),
        duration_ms = exchange.duration.as_micros() as f64 / 1000.0,
        protocol_version = exchange.protocol_version.as_deref(),
        user_agent = exchange.user_agent.as_deref(),
        "request"
    );
}

/// One item of a list. An empty one, as an empty environment variable has, is skipped.
fn listed<T: FromStr>(text: &str) -> Result<Option<T>, T::Err> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some),
    }
}
