//! ngrok: a connection to its service brings those of visitors to a public URL.
//!
//! The crate connects anew by itself, and goes on for ever with longer and longer pauses whatever the reason.
//! So it may do that a few times, which keeps the URL; then [`Tunnel::run`] returns with the reason. After it
//! connected anew, it does not hear that its tunnel was stopped in ngrok's dashboard.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy;
use hyper_util::client::proxy::matcher::Matcher;
use ngrok::config::TunnelBuilder;
use ngrok::session::{ConnectError, IoStream};
use ngrok::tunnel::{AcceptError, EndpointInfo, HttpTunnel};
use ngrok::{EndpointConn, Session};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tower::ServiceExt;
use url::Url;

use crate::secret::Secret;

/// The connection of a visitor, in plain HTTP/1.1: TLS ends at ngrok.
pub type Connection = EndpointConn;
/// Where they go.
pub type Visitors = mpsc::Sender<io::Result<Connection>>;

/// How often the crate may connect anew before it is a matter of [`Tunnel::run`]: after 0.05 s, and after 2.5 s
/// more. Its next pause is of two minutes.
const RECONNECTS: usize = 2;

/// What a tunnel needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    pub token: Secret,
    /// The public name; ngrok picks one without it.
    pub domain: Option<String>,
    /// `HOST:PORT` of the service, if it is not ngrok's own.
    pub server: Option<String>,
    /// The certificates that the service is verified with, as PEM, if they are not ngrok's own.
    pub authorities: Option<Vec<u8>>,
    /// How long it may take to connect.
    pub limit: Duration,
}

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0:?} is not the HOST:PORT of an ngrok service")]
    NotAnAddress(String),
    #[error("the ngrok service could not be reached: {0}")]
    Unreachable(String),
    #[error("the ngrok service did not answer within {} s", .0.as_secs())]
    Late(Duration),
    #[error("ngrok refused the tunnel: {message} ({code})")]
    Refused { code: String, message: String },
    #[error("ngrok gave {0:?} as the address of the tunnel")]
    NotAUrl(String),
}

impl Error {
    fn of(error: &(impl ngrok::Error + 'static)) -> Self {
        match error.error_code() {
            Some(code) => Self::Refused {
                code: code.to_owned(),
                message: error.msg().trim().to_owned(),
            },
            None => Self::Unreachable(chain(error)),
        }
    }

    /// What may help, by the code of ngrok.
    pub fn remedy(&self) -> Option<&'static str> {
        let code = match self {
            Self::Refused { code, .. } => code.strip_prefix("ERR_NGROK_")?,
            Self::Unreachable(_) | Self::Late(_) => {
                return Some(
                    "it needs connect.ngrok-agent.com on port 443; HTTPS_PROXY names a proxy",
                );
            }
            Self::NotAnAddress(_) | Self::NotAUrl(_) => return None,
        };
        Some(match code {
            "4018" | "352" | "353" => "set NGROK_AUTHTOKEN to the authtoken of a verified account",
            "105" | "106" | "107" => {
                "copy the authtoken from ngrok's dashboard into NGROK_AUTHTOKEN"
            }
            "102" | "103" => "look at the account in ngrok's dashboard",
            "108" => "stop the other agent, or use a plan with more of them",
            "115" | "116" => "the IP policy of the account does not allow this machine",
            "318" | "320" | "412" | "414" | "7117" => {
                "reserve the name in ngrok's dashboard, with this account, or omit --tunnel-domain"
            }
            "334" => "stop the other tunnel with this name, or pass another --tunnel-domain",
            "15002" => "reserve a name in ngrok's dashboard, and pass it with --tunnel-domain",
            _ => return None,
        })
    }
}

/// An error with its causes: the crate's own words name neither.
fn chain(error: &dyn std::error::Error) -> String {
    let errors = std::iter::successors(Some(error), |it| it.source());
    errors
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// A running tunnel. It ends when it is dropped.
pub struct Tunnel {
    pub url: Url,
    connections: HttpTunnel,
    line: Held,
    _session: Session,
}

/// Ends the connection to the service when it is dropped, also if there was no URL in the end. The crate keeps
/// it as long as the service does, and ngrok counts connections.
#[derive(Default)]
struct Held(Arc<Mutex<Line>>);

/// The connection to the service.
#[derive(Default)]
struct Line {
    socket: Option<std::net::TcpStream>,
    /// How often it could not be made anew since it was lost.
    failures: usize,
    /// Why it was lost.
    reason: Option<String>,
    /// The tunnel has ended.
    is_over: bool,
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connects, and asks for a public URL.
///
/// # Errors
/// The service cannot be reached, or refuses.
pub async fn start(options: &Options) -> Result<Tunnel, Error> {
    let starting = start_within(options);
    let started = tokio::time::timeout(options.limit, starting).await;
    started.unwrap_or(Err(Error::Late(options.limit)))
}

async fn start_within(options: &Options) -> Result<Tunnel, Error> {
    let line = Held::default();
    let mut builder = Session::builder();
    builder
        .authtoken(options.token.expose())
        .client_info("mcp-cli", env!("CARGO_PKG_VERSION"), None::<String>)
        .connector(connector(Arc::clone(&line.0)));
    if let Some(server) = &options.server {
        let set = builder.server_addr(server);
        set.map_err(|_| Error::NotAnAddress(server.clone()))?;
    }
    if let Some(authorities) = &options.authorities {
        builder.ca_cert(Bytes::from(authorities.clone()));
    }
    let session = builder.connect().await;
    let session = session.map_err(|error| Error::of(&error))?;
    let mut endpoint = session.http_endpoint();
    // Its default tells ngrok the path of this program and the name of this machine.
    endpoint.forwards_to("mcp-cli");
    if let Some(domain) = &options.domain {
        endpoint.domain(domain);
    }
    let connections = endpoint.listen().await;
    let connections = connections.map_err(|error| Error::of(&error))?;
    let url = connections.url();
    Ok(Tunnel {
        url: Url::parse(url).map_err(|_| Error::NotAUrl(url.to_owned()))?,
        connections,
        line,
        _session: session,
    })
}

impl Tunnel {
    /// Passes the connections of visitors on, until the tunnel ends; returns why it did.
    pub async fn run(&mut self, visitors: &Visitors) -> String {
        loop {
            match self.connections.try_next().await {
                // Nobody serves any more.
                Ok(Some(connection)) => drop(visitors.send(Ok(connection)).await),
                Ok(None) => return String::new(),
                Err(AcceptError::ListenerClosed {
                    message,
                    error_code,
                }) => {
                    let code = error_code.map(|it| format!(" ({it})"));
                    return format!("{}{}", message.trim(), code.unwrap_or_default());
                }
                Err(error) => {
                    let reason = lock(&self.line.0).reason.take();
                    return reason.unwrap_or_else(|| chain(&error));
                }
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut line = lock(&self.0);
        line.is_over = true;
        if let Some(socket) = line.socket.take() {
            // It may be closed already.
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// How the crate connects: directly or through the proxy of the environment; when the connection was lost, a
/// few times only, and not at all after a refusal.
fn connector(
    line: Arc<Mutex<Line>>,
) -> impl Fn(String, u16, Arc<ClientConfig>, Option<AcceptError>) -> Connecting + Send + Sync + 'static
{
    move |host, port, tls, error| {
        let may_connect = lock(&line).may_connect(error.as_ref());
        let line = Arc::clone(&line);
        Box::pin(async move {
            if !may_connect {
                return Err(ConnectError::Canceled);
            }
            let stream = connect(&host, port).await?.into_std();
            let stream = stream.map_err(ConnectError::Tcp)?;
            lock(&line).socket = stream.try_clone().ok();
            let stream = TcpStream::from_std(stream).map_err(ConnectError::Tcp)?;
            let bare = host.trim_matches(['[', ']']).to_owned();
            let name = ServerName::try_from(bare)
                .map_err(|error| ConnectError::Tls(io::Error::other(error)))?;
            let connected = TlsConnector::from(tls).connect(name, stream).await;
            Ok(Box::new(connected.map_err(ConnectError::Tls)?) as Box<dyn IoStream>)
        })
    }
}

impl Line {
    /// Whether to connect, after `error` if the connection was lost or could not be made anew.
    fn may_connect(&mut self, error: Option<&AcceptError>) -> bool {
        let reason = match error {
            None => return !self.is_over,
            Some(AcceptError::Reconnect(error)) => {
                self.failures += 1;
                Error::of(&**error)
            }
            Some(error) => {
                self.failures = 0;
                Error::Unreachable(chain(error))
            }
        };
        let is_refused = matches!(reason, Error::Refused { .. });
        let reason = reason.to_string();
        tracing::info!(reason, "the connection to ngrok was lost");
        self.reason = Some(reason);
        !self.is_over && !is_refused && self.failures < RECONNECTS
    }
}

type Connecting =
    std::pin::Pin<Box<dyn Future<Output = Result<Box<dyn IoStream>, ConnectError>> + Send>>;

/// A connection to the service, through the proxy of the environment if there is one.
async fn connect(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let service: http::Uri = format!("https://{host}:{port}")
        .parse()
        .map_err(|error| ConnectError::ProxyConnect(Box::new(error)))?;
    let Some(proxy) = Matcher::from_system().intercept(&service) else {
        let connected = TcpStream::connect((host.trim_matches(['[', ']']), port)).await;
        return connected.map_err(ConnectError::Tcp);
    };
    let mut tunnel = proxy::Tunnel::new(proxy.uri().clone(), HttpConnector::new());
    if let Some(credentials) = proxy.basic_auth() {
        tunnel = tunnel.with_auth(credentials.clone());
    }
    match tunnel.oneshot(service).await {
        Ok(stream) => Ok(stream.into_inner()),
        Err(error) => Err(ConnectError::ProxyConnect(Box::new(error))),
    }
}
