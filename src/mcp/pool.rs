//! `ClientPool`: one connected client per server and credential.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, Implementation,
    JsonObject, ProtocolVersion, Tool,
};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt, RoleClient, RunningService};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use tokio::sync::OnceCell;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use super::Error;
use super::http::HttpClient;
use crate::auth::Secret;

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may take from the first message to its whole list of tools.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a call may take; OpenAI's connector gives up after about as long.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Where an MCP server is.
#[derive(Debug, Clone, PartialEq)]
pub enum Endpoint {
    /// It listens there (MCP 2026-07-28, Streamable HTTP).
    Http(Url),
    /// It is started, and spoken to over its stdin and stdout (MCP 2026-07-28, stdio).
    Stdio(Command),
}

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Command {
    pub program: String,
    pub arguments: Vec<String>,
    /// What is added to the environment of this program.
    pub environment: Vec<(String, Secret)>,
    /// The folder that it is started in.
    pub folder: Option<String>,
}

impl PartialEq for Command {
    fn eq(&self, other: &Self) -> bool {
        let environment = |command: &Self| -> Vec<(String, String)> {
            let variables = command.environment.iter();
            variables
                .map(|(name, value)| (name.clone(), value.expose().to_owned()))
                .collect()
        };
        self.program == other.program
            && self.arguments == other.arguments
            && self.folder == other.folder
            && environment(self) == environment(other)
    }
}

/// An MCP server and what it is shown of the caller.
#[derive(Debug, Clone)]
pub struct Server {
    pub endpoint: Endpoint,
    /// Sent as `Authorization: Bearer ...`.
    pub authorization: Option<Secret>,
    /// Sent as they are; their values are marked sensitive, so that `Debug` hides them.
    pub headers: HeaderMap,
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        let token = |server: &Self| {
            server
                .authorization
                .as_ref()
                .map(|it| it.expose().to_owned())
        };
        self.endpoint == other.endpoint
            && self.headers == other.headers
            && token(self) == token(other)
    }
}

/// A connected client. Dropping it ends the connection and what is under way on it.
struct Client {
    service: RunningService<RoleClient, ClientConfig>,
    _stop: DropGuard,
}

/// Connected MCP clients, made when they are first needed and ended with the pool.
pub struct ClientPool {
    http: reqwest::Client,
    clients: Mutex<Vec<(Server, Arc<OnceCell<Client>>)>>,
}

impl ClientPool {
    /// An empty pool.
    pub fn new() -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("mcp-cli/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::custom(same_origin))
            .build()
            .map_err(Error::Setup)?;
        Ok(Self {
            http,
            clients: Mutex::default(),
        })
    }

    /// The tools of `server`, all pages of them (MCP 2026-07-28, tools/list).
    pub async fn tools(&self, server: &Server) -> Result<Vec<Tool>, Error> {
        let list = async {
            let client = self.client(server).await?;
            let client = client.get().ok_or_else(disconnected)?;
            let tools = client.service.list_all_tools().await;
            tools.map_err(|error| Error::of_request(error, LIST_TIMEOUT))
        };
        tokio::time::timeout(LIST_TIMEOUT, list)
            .await
            .unwrap_or(Err(Error::Timeout(LIST_TIMEOUT)))
    }

    /// Calls the tool `name` of `server` (MCP 2026-07-28, tools/call).
    ///
    /// Dropping the future cancels the call. A result with `isError` is a result, not an error.
    pub async fn call(
        &self,
        server: &Server,
        name: &str,
        arguments: JsonObject,
    ) -> Result<CallToolResult, Error> {
        let call = async {
            let client = self.client(server).await?;
            let client = client.get().ok_or_else(disconnected)?;
            let request = CallToolRequestParams::new(name.to_owned()).with_arguments(arguments);
            let result = client.service.call_tool(request).await;
            result.map_err(|error| Error::of_request(error, CALL_TIMEOUT))
        };
        tokio::time::timeout(CALL_TIMEOUT, call)
            .await
            .unwrap_or(Err(Error::Timeout(CALL_TIMEOUT)))
    }

    async fn client(&self, server: &Server) -> Result<Arc<OnceCell<Client>>, Error> {
        let cell = self.cell(server);
        cell.get_or_try_init(|| self.connect(server)).await?;
        Ok(cell)
    }

    fn cell(&self, server: &Server) -> Arc<OnceCell<Client>> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.retain(|(_, cell)| !cell.get().is_some_and(|client| client.service.is_closed()));
        if let Some((_, cell)) = clients.iter().find(|(known, _)| known == server) {
            return Arc::clone(cell);
        }
        let cell = Arc::default();
        clients.push((server.clone(), Arc::clone(&cell)));
        cell
    }

    async fn connect(&self, server: &Server) -> Result<Client, Error> {
        let stop = CancellationToken::new();
        let identity = ClientConfig::new(
            ClientCapabilities::default(),
            Implementation::new("mcp-cli", env!("CARGO_PKG_VERSION")),
        );
        // As OpenAI's connector does: `server/discover` first, `initialize` for older servers.
        let lifecycle = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::V_2025_11_25),
        };
        let guard = stop.clone().drop_guard();
        let service = match &server.endpoint {
            Endpoint::Http(url) => {
                let http = HttpClient::new(self.http.clone(), stop);
                let config = transport_config(url, server);
                let transport = StreamableHttpClientTransport::with_client(http.clone(), config);
                let service = identity.serve_with_lifecycle(transport, lifecycle).await;
                service.map_err(|error| Error::of_connecting(error, http.last_refusal()))?
            }
            Endpoint::Stdio(command) => {
                let service = identity
                    .serve_with_lifecycle(start(command)?, lifecycle)
                    .await;
                service.map_err(|error| Error::of_connecting(error, None))?
            }
        };
        Ok(Client {
            service,
            _stop: guard,
        })
    }
}

fn transport_config(url: &Url, server: &Server) -> StreamableHttpClientTransportConfig {
    let headers = server.headers.clone().into_iter().filter_map(named);
    let config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
        .custom_headers(headers.collect());
    match &server.authorization {
        Some(token) => config.auth_header(token.expose()),
        None => config,
    }
}

/// Starts a server. What it writes to stderr is for the person, and goes where ours does.
fn start(command: &Command) -> Result<TokioChildProcess, Error> {
    let mut process = tokio::process::Command::new(&command.program);
    process.args(&command.arguments);
    for (name, value) in &command.environment {
        process.env(name, value.expose());
    }
    if let Some(folder) = &command.folder {
        process.current_dir(folder);
    }
    TokioChildProcess::new(process).map_err(|source| Error::NotStarted {
        program: command.program.clone(),
        source,
    })
}

fn disconnected() -> Error {
    Error::NotMcp("the connection was closed".to_owned())
}

fn named(
    (name, value): (Option<http::HeaderName>, http::HeaderValue),
) -> Option<(http::HeaderName, http::HeaderValue)> {
    Some((name?, value))
}

/// Follows a redirect that keeps the method, the body and the origin, and no other: a token must
/// not travel to a host that nobody named.
fn same_origin(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    const MOST_HOPS: usize = 3;
    let keeps_method = matches!(attempt.status().as_u16(), 307 | 308);
    let keeps_origin = attempt
        .previous()
        .last()
        .is_some_and(|from| from.origin() == attempt.url().origin());
    if keeps_method && keeps_origin && attempt.previous().len() <= MOST_HOPS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}
