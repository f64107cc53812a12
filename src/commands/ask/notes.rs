//! What is good to know before a question is asked.

use super::AskArgs;
use crate::address;
use crate::commands::servers::Servers;
use crate::responses::ToolEntry;

impl AskArgs {
    /// The notes on a question about these servers.
    pub(super) fn notes(&self, servers: &Servers) -> Vec<String> {
        let mut notes = servers.notes.clone();
        let is_far =
            !self.calls_from_here() && self.base_url().is_ok_and(|url| !address::is_local(&url));
        let near = servers.entries.iter().filter_map(ToolEntry::server_url);
        for url in near.filter(|url| is_far && address::is_local(url)) {
            notes.push(format!(
                "{} can be reached from here only; use --bridge, --local or a tunnel",
                address::shown(&url)
            ));
        }
        if self.local {
            notes.push("the built-in model follows rules; it is not a language model".to_owned());
        } else if servers.entries.is_empty() {
            notes.push(
                "no MCP server is named, so the model has no tools; see --server-url".to_owned(),
            );
        }
        notes
    }
}
