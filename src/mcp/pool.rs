//! `ClientPool`: one connected client per server and credential.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, Implementation,
    JsonObject, ProtocolVersion, Tool,
};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt, RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
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

/// An MCP server and what it is shown of the caller.
#[derive(Debug, Clone)]
pub struct Server {
    pub url: Url,
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
        self.url == other.url && self.headers == other.headers && token(self) == token(other)
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
        let mut config = StreamableHttpClientTransportConfig::with_uri(server.url.as_str())
            .custom_headers(
                server
                    .headers
                    .clone()
                    .into_iter()
                    .filter_map(named)
                    .collect(),
            );
        if let Some(token) = &server.authorization {
            config = config.auth_header(token.expose());
        }
        let stop = CancellationToken::new();
        let http = HttpClient::new(self.http.clone(), stop.clone());
        let stop = stop.drop_guard();
        let transport = StreamableHttpClientTransport::with_client(http.clone(), config);
        let identity = ClientConfig::new(
            ClientCapabilities::default(),
            Implementation::new("mcp-cli", env!("CARGO_PKG_VERSION")),
        );
        // As OpenAI's connector does: `server/discover` first, `initialize` for older servers.
        let lifecycle = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::V_2025_11_25),
        };
        let service = identity.serve_with_lifecycle(transport, lifecycle).await;
        let service = service.map_err(|error| Error::of_connecting(error, http.last_refusal()))?;
        Ok(Client {
            service,
            _stop: stop,
        })
    }
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
