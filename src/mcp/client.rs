//! `Client`: one connection to an MCP server, and `Connector`, which makes them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, CancelledNotificationParam,
    ClientCapabilities, ClientConfig, ClientRequest, GetExtensions, Implementation, JsonObject,
    ListToolsRequest, PaginatedRequestParams, ProtocolVersion, RequestId, ServerResult, Tool,
};
use rmcp::service::{
    ClientCacheConfig, ClientLifecycleMode, ClientServiceExt, Peer, PeerRequestOptions, RoleClient,
    RunningService, ServiceError,
};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use super::excess::{Excess, MAX_HEADER_TOOLS, MAX_LIST, MAX_PARSED, MOST_PAGES, MOST_TOOLS};
use super::exchange::{Answer, Exchange, Page, Received};
use super::http::HttpClient;
use super::stdio::{LastFault, Stdio};
use super::{Endpoint, Error, Reach, Server};
use crate::address;
use crate::budget::{Budget, Held};
use crate::outgoing;

/// How long ending a connection may take, beyond what a child process may take to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a server may answer a call with the request to make it once more.
const MOST_ROUNDS: u32 = 10;
/// How long the first such round is waited for; each further one takes twice as long.
const FIRST_ROUND: Duration = Duration::from_millis(50);

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
#[derive(Debug)]
pub struct ToolList {
    pub tools: Vec<Tool>,
    pub pages: usize,
    /// The size of all pages, as they came.
    pub bytes: usize,
    /// The share of the budget that the tools take.
    pub held: Held,
}

impl ToolList {
    /// Refuses a list that is larger than any server needs.
    fn check_limits(&self) -> Result<(), Excess> {
        if self.tools.len() > MOST_TOOLS {
            return Err(Excess::Tools);
        }
        if self.bytes > MAX_LIST {
            return Err(Excess::List);
        }
        if self.held.bytes() > MAX_PARSED {
            return Err(Excess::Parsed(MAX_PARSED));
        }
        if self.pages > MOST_PAGES {
            return Err(Excess::Pages);
        }
        Ok(())
    }
}

/// What came of a call.
#[derive(Debug)]
pub struct Called {
    pub result: CallToolResult,
    /// The share of the budget that it takes.
    pub held: Held,
}

/// A connected client. Dropping it ends the connection and what is under way on it.
pub struct Client {
    service: RunningService<RoleClient, ClientConfig>,
    budget: Budget,
    /// What rmcp keeps of the lists that came, in bytes.
    kept: AtomicU64,
    /// Why a server on stdio is not read any further.
    last_fault: Option<LastFault>,
    close_timeout: Duration,
    _stop: DropGuard,
}

impl Client {
    /// All pages of `tools/list`, as long as there is an end to them (MCP 2026-07-28, tools/list).
    pub async fn list(&self) -> Result<ToolList, Error> {
        let mut list = ToolList {
            tools: Vec::new(),
            pages: 0,
            bytes: 0,
            held: self.budget.empty(),
        };
        let mut cursors = HashSet::new();
        let mut cursor = None;
        loop {
            let (page, held) = self.page(cursor).await?;
            list.held.merge(held);
            list.pages += 1;
            list.bytes += page.bytes;
            list.tools.extend(page.tools);
            list.check_limits()?;
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

    async fn page(&self, cursor: Option<String>) -> Result<(Page, Held), Error> {
        let params = PaginatedRequestParams::default().with_cursor(cursor);
        let request = ListToolsRequest {
            params: Some(params),
            ..ListToolsRequest::default()
        };
        let asked = self.ask(ClientRequest::ListToolsRequest(request));
        let (received, told) = asked.await?.map_err(Error::of_listing)?;
        let (Some(received), ServerResult::ListToolsResult(told)) = (received, told) else {
            return Err(Error::of_listing(ServiceError::UnexpectedResponse));
        };
        let Answer::Page(mut page) = received.answer else {
            return Err(Error::of_listing(ServiceError::UnexpectedResponse));
        };
        self.kept
            .fetch_add(page.header_tool_bytes, Ordering::Relaxed);
        // What rmcp does not give back, it has rejected.
        for tool in &told.tools {
            page.header_tools.remove(&*tool.name);
        }
        page.tools
            .retain(|tool| !page.header_tools.contains(&*tool.name));
        Ok((page, received.held))
    }

    /// Calls the tool `name` (MCP 2026-07-28, tools/call). Dropping the future cancels the call.
    pub async fn call(&self, name: &str, arguments: JsonObject) -> Result<Called, Error> {
        let mut params = CallToolRequestParams::new(name.to_owned()).with_arguments(arguments);
        for round in 0..MOST_ROUNDS {
            let request = CallToolRequest::new(params.clone());
            let asked = self.ask(ClientRequest::CallToolRequest(request));
            let (received, told) = asked.await?.map_err(Error::of_call)?;
            if let Some(Received {
                answer: Answer::Called(result),
                held,
            }) = received
            {
                return Ok(Called { result, held });
            }
            // MCP 2026-07-28, multi round-trip requests. What this client could be asked for, it
            // has not offered.
            let ServerResult::InputRequiredResult(wanted) = told else {
                return Err(Error::of_call(ServiceError::UnexpectedResponse));
            };
            if wanted.input_requests.is_some_and(|it| !it.is_empty()) {
                return Err(Error::NotMcp(
                    "it asks for input that this client does not offer".to_owned(),
                ));
            }
            params.request_state = wanted.request_state;
            tokio::time::sleep(FIRST_ROUND * 2_u32.pow(round.min(3))).await;
        }
        Err(Error::NotMcp(format!(
            "the call was to be made again {MOST_ROUNDS} times"
        )))
    }

    /// Sends a request, and waits for what comes of it: the answer that the transport kept for us,
    /// and what rmcp was told. Dropping the future cancels the request.
    async fn ask(
        &self,
        mut request: ClientRequest,
    ) -> Result<Result<(Option<Received>, ServerResult), ServiceError>, Error> {
        let exchange = Arc::<Exchange>::default();
        request.extensions_mut().insert(Arc::clone(&exchange));
        let answered = async {
            let options = PeerRequestOptions::no_options();
            let handle = self.service.send_cancellable_request(request, options);
            let handle = handle.await?;
            let mut cancel = CancelOnDrop {
                peer: self.service.peer(),
                id: Some(handle.id.clone()),
            };
            let told = handle.await_response().await;
            cancel.id = None;
            told
        };
        let told = answered.await;
        let received = exchange.take().transpose()?;
        if told.is_err()
            && let Some(fault) = self.last_fault.as_ref().and_then(LastFault::get)
        {
            return Err(fault.into());
        }
        Ok(told.map(|told| (received, told)))
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

    /// Whether it keeps so much of the lists that came that it is to be replaced.
    pub fn is_used_up(&self) -> bool {
        self.kept.load(Ordering::Relaxed) > MAX_HEADER_TOOLS
    }

    /// Ends the connection, and the session or the process behind it.
    pub async fn close(mut self) {
        // A server that does not answer is left: it will notice.
        let _ = self.service.close_with_timeout(self.close_timeout).await;
    }
}

/// Tells a server that nobody waits for the answer to a request any more.
struct CancelOnDrop<'a> {
    peer: &'a Peer<RoleClient>,
    id: Option<RequestId>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), Handle::try_current()) else {
            return;
        };
        let peer = self.peer.clone();
        let cancelled = CancelledNotificationParam::new(Some(id), None);
        runtime.spawn(async move {
            // Without a connection there is nothing to cancel.
            let _ = peer.notify_cancelled(cancelled).await;
        });
    }
}

/// Makes clients, and has what they have in common.
pub struct Connector {
    reach: Reach,
    redirects: Redirects,
    budget: Budget,
    child_grace: Duration,
    /// Made when it is first needed, for it reads the certificates of the system.
    http: OnceLock<reqwest::Client>,
    /// The one for this machine.
    loopback: OnceLock<reqwest::Client>,
}

impl Connector {
    /// A connector that goes as far as `reach`. What is read is held of `budget`; a child process
    /// has `child_grace` to end, and as long again when it was told to.
    pub fn new(reach: Reach, redirects: Redirects, budget: Budget, child_grace: Duration) -> Self {
        Self {
            reach,
            redirects,
            budget,
            child_grace,
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
        let mut last_fault = None;
        let mut close_timeout = CLOSE_TIMEOUT;
        let service = match &server.endpoint {
            Endpoint::Http(url) => {
                self.reach.check(url)?;
                let http = HttpClient::new(self.http(url)?, stop, self.budget.clone());
                let config = transport_config(url, server);
                let transport = StreamableHttpClientTransport::with_client(http.clone(), config);
                let service = identity.serve_with_lifecycle(transport, lifecycle).await;
                service.map_err(|error| Error::of_connecting(error, http.last_refusal()))?
            }
            Endpoint::Stdio(command) => {
                close_timeout += 2 * self.child_grace;
                let transport = Stdio::start(command, self.budget.clone(), self.child_grace)?;
                let fault = last_fault.insert(transport.last_fault());
                let service = identity.serve_with_lifecycle(transport, lifecycle).await;
                service.map_err(|error| match fault.get() {
                    Some(fault) => fault.into(),
                    None => Error::of_connecting(error, None),
                })?
            }
        };
        refuse_unknown_version(&service)?;
        // rmcp gives the last list again when there is none to be had: a failure is one.
        let cache = ClientCacheConfig::disabled();
        service.set_response_cache_config(cache).await;
        Ok(Client {
            service,
            budget: self.budget.clone(),
            kept: AtomicU64::new(0),
            last_fault,
            close_timeout,
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
    // A POST lasts until its answer came, and no call is to wait for another one.
    let config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
        .custom_headers(headers.collect())
        .max_concurrent_requests(usize::MAX);
    match &server.authorization {
        Some(token) => config.auth_header(token.expose()),
        None => config,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_limit_of_pages_bytes_and_memory() {
        let list = |pages, bytes, held| ToolList {
            tools: Vec::new(),
            pages,
            bytes,
            held: Budget::unlimited().hold(held).unwrap(),
        };
        let mebibytes = |count: usize| count * 1024 * 1024;
        let limits = (1_000, mebibytes(64), mebibytes(96) as u64);
        let (pages, bytes, held) = limits;
        assert!(list(pages, bytes, held).check_limits().is_ok());
        let refused = |list: ToolList| list.check_limits().unwrap_err();
        assert!(matches!(
            refused(list(pages + 1, bytes, held)),
            Excess::Pages
        ));
        assert!(matches!(
            refused(list(pages, bytes + 1, held)),
            Excess::List
        ));
        assert!(matches!(
            refused(list(pages, bytes, held + 1)),
            Excess::Parsed(_)
        ));
    }
}
