//! What the verbs that serve HTTP share: where to listen, who may speak to it, what is logged, and
//! when it ends.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use super::signals::StopSignals;
use crate::error::Error;
use crate::http::{self, AccessLog, AllowedHost, AllowedOrigin, Exchange, HostPolicy};
use crate::ui::{LogFormat, Ui};

/// What is logged.
#[derive(Debug, clap::Args)]
pub struct LogArgs {
    /// Log this program's parts on stderr: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<Level>,

    /// Log each request in this form, and with --log-level what else there is
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormatArg>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LogFormatArg {
    Text,
    Json,
}

impl LogArgs {
    /// The level and the form. Who asks for a form of the log wants one.
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

/// Under which names the server answers.
#[derive(Debug, clap::Args)]
pub struct NameArgs {
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
}

impl NameArgs {
    /// The guard of a server that listens on `address`. An address cannot be made to mean another
    /// machine, as a name can, so it is one of the names.
    pub fn guard(&self, address: SocketAddr) -> HostPolicy {
        let listening = address.ip().to_string().parse().ok();
        let hosts = self.allowed_host.iter().flatten().cloned();
        let origins = self.allowed_origin.iter().flatten().cloned();
        HostPolicy::new(hosts.chain(listening).collect(), origins.collect())
    }

    /// Whether there is a name beside those of this machine.
    pub fn has_hosts(&self) -> bool {
        self.allowed_host.iter().flatten().next().is_some()
    }
}

/// Listens, and says where: a port 0 has become a real one.
pub async fn listen(host: &str, port: u16) -> Result<(TcpListener, SocketAddr), Error> {
    let address = resolve(host, port)?;
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
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

/// Tells of every request to `router`: on stderr and in the log, if anybody wants to know.
pub fn watched(router: Router, ui: &Ui) -> Router {
    let tell = ui.on_request();
    if tell.is_none() && !tracing::enabled!(Level::INFO) {
        return router;
    }
    let watcher = AccessLog::new(move |seen| {
        log(seen);
        if let Some(tell) = &tell {
            tell(seen);
        }
    });
    watcher.watch(router)
}

/// A line of the log. What a caller is known by is not for it: no token, no subject, no origin.
fn log(seen: &Exchange) {
    tracing::info!(
        method = seen.method,
        status = seen.status.as_u16(),
        duration_ms = seen.duration.as_micros() as f64 / 1000.0,
        protocol_version = seen.protocol_version.as_deref(),
        user_agent = seen.user_agent.as_deref(),
        "request"
    );
}

/// Serves until a signal comes, which cancels `stop`. What runs may finish then; a second signal
/// ends that as well.
pub async fn serve_until(
    signals: &mut StopSignals,
    most_connections: usize,
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) {
    let serving = http::serve_up_to(most_connections, listener, router, stop.clone());
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

/// One of a list. An empty one, as an empty variable of the environment has, lists nothing.
fn listed<T: FromStr>(text: &str) -> Result<Option<T>, T::Err> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some),
    }
}
