//! `Target`: where the server of a tool entry is.

use std::collections::HashMap;

use serde_json::json;
use url::Url;

use super::Error;
use crate::mcp;
use crate::responses::MCPTool;

/// Where the server of a tool entry is. A further transport is a variant here.
#[derive(Debug, Clone)]
pub enum Target {
    /// It listens there.
    Http(Url),
    /// This machine starts it, and speaks to it over stdio.
    Command(mcp::Command),
    /// A connector of OpenAI's.
    Connector(String),
    /// A Secure MCP Tunnel: of OpenAI's, or of the gateway that reads the entry.
    Tunnel(String),
}

impl Target {
    /// The target of an entry. One with none of the fields of a target is a command if `commands` has
    /// its label.
    ///
    /// # Errors
    /// [`Error::NotAUrl`] and [`Error::NoTarget`].
    pub fn from_entry(
        entry: &MCPTool,
        commands: &HashMap<String, mcp::Command>,
    ) -> Result<Self, Error> {
        let label = &entry.server_label;
        if let Some(url) = &entry.server_url {
            let url = Url::parse(url).ok();
            let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
            return url
                .map(Self::Http)
                .ok_or_else(|| Error::NotAUrl(label.clone()));
        }
        if let Some(command) = commands.get(label) {
            return Ok(Self::Command(command.clone()));
        }
        let fields = json!(entry);
        let id = |field: &str| fields[field].as_str().map(str::to_owned);
        let connector = id("connector_id").map(Self::Connector);
        let target = connector.or_else(|| id("tunnel_id").map(Self::Tunnel));
        target.ok_or_else(|| Error::NoTarget(label.clone()))
    }
}

/// Whether a text has the form of a tunnel id (Responses API, `tunnel_id`).
pub fn is_tunnel_id(text: &str) -> bool {
    let is_allowed = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    let random = text.strip_prefix("tunnel_");
    random.is_some_and(|it| it.len() == 32 && it.bytes().all(is_allowed))
}
