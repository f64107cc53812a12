//! `ClientPool`: one connected client per server and credential.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, Implementation,
    JsonObject, PaginatedRequestParams, ProtocolVersion, Tool,
};
use rmcp::service::{
    ClientCacheConfig, ClientLifecycleMode, ClientServiceExt, Peer, RoleClient, RunningService,
};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use tokio::sync::OnceCell;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use super::http::HttpClient;
use super::{Command, Endpoint, Error, Server};
use crate::address;
use crate::outgoing;

/// How long a server may take from the first message to its whole list of tools.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// How many tools a server may have, and how large their list may be.
const MOST_TOOLS: usize = 20_000;
const MOST_TOOL_BYTES: usize = 64 * 1024 * 1024;
/// How long ending a connection may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a call may take; OpenAI's connector gives up after about as long.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A connected client. Dropping it ends the connection and what is under way on it.
struct Client {
    service: RunningService<RoleClient, ClientConfig>,
    _stop: DropGuard,
}

impl Client {
    /// All pages of `tools/list`, as long as there is an end to them.
    async fn all_tools(&self) -> Result<Vec<Tool>, Error> {
        let mut tools = Vec::new();
        let mut cursors = HashSet::new();
        let mut bytes = 0;
        let mut cursor = None;
        loop {
            let page = PaginatedRequestParams::default().with_cursor(cursor);
            let listed = self.service.list_tools(Some(page)).await;
            let page = listed.map_err(Error::of_listing)?;
            bytes += serde_json::to_vec(&page.tools).map_or(0, |page| page.len());
            tools.extend(page.tools);
            if tools.len() > MOST_TOOLS || bytes > MOST_TOOL_BYTES {
                return Err(Error::NotMcp("its list of tools has no end".to_owned()));
            }
            match page.next_cursor {
                None => return Ok(tools),
                Some(next) if !cursors.insert(next.clone()) => {
                    return Err(Error::NotMcp(
                        "its list of tools goes round in a circle".to_owned(),
                    ));
                }
                next => cursor = next,
            }
        }
    }
}

/// Connected MCP clients, made when they are first needed and ended with the pool.
#[derive(Default)]
pub struct ClientPool {
    /// Made when it is first needed, for it reads the certificates of the system.
    http: OnceLock<reqwest::Client>,
    /// The one for this machine.
    loopback: OnceLock<reqwest::Client>,
    clients: Mutex<Vec<(Server, Arc<OnceCell<Client>>)>>,
}

impl ClientPool {
    /// The tools of `server`, all pages of them (MCP 2026-07-28, tools/list).
    pub async fn tools(&self, server: &Server) -> Result<Vec<Tool>, Error> {
        let list = async {
            let client = self.client(server).await?;
            let client = client.get().ok_or_else(disconnected)?;
            client.all_tools().await
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
            result.map_err(Error::of_call)
        };
        tokio::time::timeout(CALL_TIMEOUT, call)
            .await
            .unwrap_or(Err(Error::Timeout(CALL_TIMEOUT)))
    }

    /// Ends all connections, and the sessions behind them. What is still under way is cancelled.
    pub async fn close(&self) {
        let clients = std::mem::take(&mut *self.lock());
        let closing = clients.into_iter().filter_map(|(_, cell)| {
            let mut client = Arc::into_inner(cell)?.into_inner()?;
            Some(async move {
                // A server that does not answer is left: it will notice.
                let _ = client.service.close_with_timeout(CLOSE_TIMEOUT).await;
            })
        });
        futures::future::join_all(closing).await;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Server, Arc<OnceCell<Client>>)>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn client(&self, server: &Server) -> Result<Arc<OnceCell<Client>>, Error> {
        let cell = self.cell(server);
        cell.get_or_try_init(|| self.connect(server)).await?;
        Ok(cell)
    }

    fn cell(&self, server: &Server) -> Arc<OnceCell<Client>> {
        let mut clients = self.lock();
        clients.retain(|(_, cell)| !cell.get().is_some_and(|client| client.service.is_closed()));
        if let Some((_, cell)) = clients.iter().find(|(known, _)| known == server) {
            return Arc::clone(cell);
        }
        let cell = Arc::default();
        clients.push((server.clone(), Arc::clone(&cell)));
        cell
    }

    fn http(&self, url: &Url) -> Result<reqwest::Client, Error> {
        let made = if address::is_loopback(url) {
            &self.loopback
        } else {
            &self.http
        };
        if let Some(client) = made.get() {
            return Ok(client.clone());
        }
        let client = outgoing::client_for(url)
            .redirect(reqwest::redirect::Policy::custom(same_origin))
            .build()
            .map_err(Error::Setup)?;
        Ok(made.get_or_init(|| client).clone())
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
                let http = HttpClient::new(self.http(url)?, stop);
                let config = transport_config(url, server);
                let transport = StreamableHttpClientTransport::with_client(http.clone(), config);
                let service = identity.serve_with_lifecycle(transport, lifecycle).await;
                service.map_err(|error| Error::of_connecting(error, http.last_refusal()))?
            }
            Endpoint::Stdio(command) => {
                let service = identity.serve_with_lifecycle(start(command)?, lifecycle);
                let service = service.await;
                service.map_err(|error| Error::of_connecting(error, None))?
            }
        };
        refuse_unknown_version(&service)?;
        // rmcp gives the last list again when there is none to be had: a failure is one.
        let cache = ClientCacheConfig::disabled();
        service.set_response_cache_config(cache).await;
        Ok(Client {
            service,
            _stop: guard,
        })
    }
}

/// Refuses a server that answers with a version that we do not speak (MCP 2025-11-25, lifecycle,
/// version negotiation): rmcp goes on, and nobody knows with what.
fn refuse_unknown_version(server: &Peer<RoleClient>) -> Result<(), Error> {
    match server.peer_info() {
        Some(info) if !ProtocolVersion::KNOWN_VERSIONS.contains(&info.protocol_version) => {
            let version = info.protocol_version.as_str();
            Err(Error::NotMcp(format!("its version is {version:?}")))
        }
        _ => Ok(()),
    }
}

fn transport_config(url: &Url, server: &Server) -> StreamableHttpClientTransportConfig {
    let headers = server
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
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
    // The keys of this program are not for every server that a file names.
    for name in ["OPENAI_API_KEY", "MCP_AUTHORIZATION"] {
        process.env_remove(name);
    }
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
