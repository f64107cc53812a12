//! A tool entry that this machine serves: where its server is, what the server is sent, and which of
//! its tools the model may see.
//!
//! Nothing here is about a model, or about who asks: the engine, `check` and `tools` list and call
//! through this room. What fails is an [`mcp::Error`], in the words of MCP.

mod filter;
mod headers;
mod listed;
mod target;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use axum::Router;
use http::header::AUTHORIZATION;
use serde_json::json;

use crate::mcp::{
    self, Called, ClientPool, Credential, Endpoint, InProcess, JsonObject, Secrets, ToolList,
};
use crate::responses::{MCPTool, McpListToolsTool};

pub use filter::allows;
pub use listed::listed;
pub use target::Target;

/// The most bytes that a tool entry puts into each request to its server. Servers refuse a head of
/// more, and a connection keeps them for as long as it lasts.
const MOST_OF_REQUEST: usize = 64 * 1024;

/// Why a tool entry cannot be served on this machine. Each names the label of its server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("The 'server_url' of MCP server '{0}' is not an http or https URL.")]
    NotAUrl(String),
    #[error("MCP server '{0}' has no 'server_url'; connectors and tunnels exist at OpenAI only.")]
    NoTarget(String),
    #[error("The 'tunnel_id' of MCP server '{0}' is not the id of a tunnel.")]
    NotATunnel(String),
    #[error("The 'headers' of MCP server '{label}' {why}.")]
    Headers { label: String, why: String },
    #[error("The 'authorization' of MCP server '{0}' cannot be sent in an HTTP header.")]
    Authorization(String),
    #[error(
        "MCP server '{0}' has an 'authorization' and an Authorization header: leave one of them out."
    )]
    TwoCredentials(String),
    #[error(
        "The 'server_url', the 'headers' and the 'authorization' of MCP server '{0}' have more than {MOST_OF_REQUEST} bytes together."
    )]
    TooLarge(String),
}

/// The server of a tool entry.
#[derive(Clone)]
pub struct Server {
    pub entry: MCPTool,
    server: mcp::Server,
}

impl Server {
    /// Reads an `mcp` tool entry; what it says must be usable before anything is connected.
    ///
    /// `commands` are the servers that are started on this machine, by label. `tunnels` answers for the
    /// servers behind tunnels of this process.
    ///
    /// # Errors
    /// Why the entry cannot be served here.
    pub fn read(
        entry: &MCPTool,
        commands: &HashMap<String, mcp::Command>,
        tunnels: Option<&Router>,
    ) -> Result<Self, Error> {
        let label = || entry.server_label.clone();
        let endpoint = match Target::from_entry(entry, commands)? {
            Target::Http(url) => Endpoint::Http(url),
            Target::Command(command) => Endpoint::Stdio(command),
            Target::Tunnel(id) => {
                let router = tunnels.ok_or_else(|| Error::NoTarget(label()))?;
                if !target::is_tunnel_id(&id) {
                    return Err(Error::NotATunnel(label()));
                }
                Endpoint::InProcess(InProcess {
                    path: format!("/v1/mcp/{id}"),
                    name: id,
                    router: router.clone(),
                })
            }
            Target::Connector(_) => return Err(Error::NoTarget(label())),
        };
        let headers = headers::read(entry.headers.as_ref()).map_err(|why| Error::Headers {
            label: label(),
            why,
        })?;
        let credential = match &entry.authorization {
            None => Credential::None,
            Some(_) if headers.contains_key(AUTHORIZATION) => {
                return Err(Error::TwoCredentials(label()));
            }
            Some(token) => Credential::token(token).map_err(|_| Error::Authorization(label()))?,
        };
        let token = entry.authorization.as_ref().map_or(0, String::len);
        let url = entry.server_url.as_ref().map_or(0, String::len);
        let names = headers
            .iter()
            .map(|(name, it)| name.as_str().len() + it.len());
        if token + url + names.sum::<usize>() > MOST_OF_REQUEST {
            return Err(Error::TooLarge(label()));
        }
        Ok(Self {
            server: mcp::Server {
                endpoint,
                credential,
                headers,
            },
            entry: entry.clone(),
        })
    }

    pub fn label(&self) -> &str {
        &self.entry.server_label
    }

    /// The server as the MCP client knows it.
    pub fn as_mcp(&self) -> &mcp::Server {
        &self.server
    }

    /// The credentials of the server, which a text that it sends may repeat.
    pub fn secrets(&self) -> Secrets<'_> {
        self.server.secrets()
    }

    /// Where the server is, or how it is started: what an approval is for.
    pub fn place(&self) -> String {
        match &self.server.endpoint {
            Endpoint::Http(url) => url.to_string(),
            Endpoint::Stdio(command) => json!([command.program, command.arguments]).to_string(),
            Endpoint::InProcess(it) => it.name.clone(),
        }
    }

    /// All tools of the server (MCP 2026-07-28, tools/list).
    ///
    /// # Errors
    /// Why there is no list; a tool of it that cannot be read is a reason.
    pub async fn list(&self, clients: &ClientPool) -> Result<ToolList, mcp::Error> {
        self.list_readable(clients).await?.whole()
    }

    /// The tools of the server that can be read, and what is wrong with the others.
    ///
    /// # Errors
    /// Why there is no list.
    pub async fn list_readable(&self, clients: &ClientPool) -> Result<ToolList, mcp::Error> {
        clients.list(&self.server).await
    }

    /// Calls a tool (MCP 2026-07-28, tools/call). Dropping the future cancels the call.
    ///
    /// # Errors
    /// Why there is no result; a result with `isError` is one.
    pub async fn call(
        &self,
        clients: &ClientPool,
        name: &str,
        arguments: &JsonObject,
    ) -> Result<Called, mcp::Error> {
        clients.call(&self.server, name, arguments).await
    }

    /// Whether `allowed_tools` lets the model see this tool.
    pub fn allows(&self, tool: &McpListToolsTool) -> bool {
        allows(&self.entry, tool)
    }

    /// Whether a call of this tool needs approval.
    pub fn needs_approval(&self, tool: &McpListToolsTool) -> bool {
        filter::needs_approval(&self.entry, tool)
    }
}
