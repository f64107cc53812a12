//! `Client`: one connection to an MCP server, and `Connector`, which makes them.

use std::collections::HashSet;
use std::sync::OnceLock;
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
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use super::http::HttpClient;
use super::{Command, Endpoint, Error, Reach, Server};
use crate::address;
use crate::outgoing;

/// How many tools a server may have, and how large their list may be.
const MOST_TOOLS: usize = 20_000;
const MOST_TOOL_BYTES: usize = 64 * 1024 * 1024;
/// How long ending a connection may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether a server may send its clients to another path of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Redirects {
    /// As far as the method, the body and the token can go along.
    #[default]
    SameOrigin,
    /// A redirect is a refusal, with its HTTP status.
    Refused,
}

/// All tools of a server, and what it took to list them.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolList {
    pub tools: Vec<Tool>,
    pub pages: usize,
    /// The size of all tools, as JSON.
    pub bytes: usize,
}

/// A connected client. Dropping it ends the connection and what is under way on it.
pub struct Client {
    service: RunningService<RoleClient, ClientConfig>,
    _stop: DropGuard,
}

impl Client {
    /// All pages of `tools/list`, as long as there is an end to them (MCP 2026-07-28, tools/list).
    pub async fn list(&self) -> Result<ToolList, Error> {
        let mut list = ToolList {
            tools: Vec::new(),
            pages: 0,
            bytes: 0,
        };
        let mut cursors = HashSet::new();
        let mut cursor = None;
        loop {
            let page = PaginatedRequestParams::default().with_cursor(cursor);
            let listed = self.service.list_tools(Some(page)).await;
            let page = listed.map_err(Error::of_listing)?;
            list.pages += 1;
            list.bytes += serde_json::to_vec(&page.tools).map_or(0, |page| page.len());
            list.bytes += page.next_cursor.as_ref().map_or(0, String::len);
            list.tools.extend(page.tools);
            if list.tools.len() > MOST_TOOLS || list.bytes > MOST_TOOL_BYTES {
                return Err(Error::NotMcp("its list of tools has no end".to_owned()));
            }
            match page.next_cursor {
                None => return Ok(list),
                Some(next) if !cursors.insert(next.clone()) => {
                    return Err(Error::NotMcp(
                        "its list of tools goes round in a circle".to_owned(),
                    ));
                }
                next => cursor = next,
            }
        }
    }

    /// Calls the tool `name` (MCP 2026-07-28, tools/call). Dropping the future cancels the call.
    pub async fn call(&self, name: &str, arguments: JsonObject) -> Result<CallToolResult, Error> {
        let request = CallToolRequestParams::new(name.to_owned()).with_arguments(arguments);
        let result = self.service.call_tool(request).await;
        result.map_err(Error::of_call)
    }

    /// The version of MCP that was agreed on.
    pub fn version(&self) -> Option<String> {
        let info = self.service.peer_info()?;
        Some(info.protocol_version.as_str().to_owned())
    }

    /// Whether nothing can be asked on it any more.
    pub fn is_closed(&self) -> bool {
        self.service.is_closed() || self.service.is_transport_closed()
    }

    /// Ends the connection, and the session behind it.
    pub async fn close(mut self) {
        // A server that does not answer is left: it will notice.
        let _ = self.service.close_with_timeout(CLOSE_TIMEOUT).await;
    }
}

/// Makes clients, and has what they have in common.
pub struct Connector {
    reach: Reach,
    redirects: Redirects,
    /// Made when it is first needed, for it reads the certificates of the system.
    http: OnceLock<reqwest::Client>,
    /// The one for this machine.
    loopback: OnceLock<reqwest::Client>,
}

impl Connector {
    /// A connector that goes as far as `reach`.
    pub fn new(reach: Reach, redirects: Redirects) -> Self {
        Self {
            reach,
            redirects,
            http: OnceLock::new(),
            loopback: OnceLock::new(),
        }
    }

    /// Connects to a server (MCP 2026-07-28, lifecycle).
    pub async fn connect(&self, server: &Server) -> Result<Client, Error> {
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
                self.reach.check(url)?;
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

    fn http(&self, url: &Url) -> Result<reqwest::Client, Error> {
        let made = if address::is_loopback(url) {
            &self.loopback
        } else {
            &self.http
        };
        if let Some(client) = made.get() {
            return Ok(client.clone());
        }
        let reach = self.reach;
        let redirects = match self.redirects {
            Redirects::SameOrigin => {
                reqwest::redirect::Policy::custom(move |attempt| same_origin(attempt, reach))
            }
            Redirects::Refused => reqwest::redirect::Policy::none(),
        };
        let client = reach
            .guard(outgoing::client_for(url))
            .redirect(redirects)
            .build()
            .map_err(Error::Setup)?;
        Ok(made.get_or_init(|| client).clone())
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

/// Follows a redirect that keeps the method, the body and the origin, and no other: a token must
/// not travel to a host that nobody named. Where it leads is checked as the first URL was.
fn same_origin(attempt: reqwest::redirect::Attempt<'_>, reach: Reach) -> reqwest::redirect::Action {
    const MOST_HOPS: usize = 3;
    let keeps_method = matches!(attempt.status().as_u16(), 307 | 308);
    let keeps_origin = attempt
        .previous()
        .last()
        .is_some_and(|from| from.origin() == attempt.url().origin());
    let is_allowed = reach.check(attempt.url()).is_ok();
    if keeps_method && keeps_origin && is_allowed && attempt.previous().len() <= MOST_HOPS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}
