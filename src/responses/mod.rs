//! The Responses API, seen by a client.

mod chat;
mod client;
mod conversation;
mod error;
mod event;
mod fields;
mod indexes;
mod item;
mod limits;
mod request;
mod response;
mod retry;
mod sse;
mod transport;
mod words;

use futures::stream::{BoxStream, StreamExt};

pub use async_openai::types::mcp::{
    MCPTool, MCPToolAllowedTools, MCPToolApprovalFilter, MCPToolApprovalSetting, MCPToolFilter,
    MCPToolRequireApproval,
};

pub use client::{Client, endpoint};
pub use conversation::{Conversation, answer, forget};
pub use error::{ApiError, Error, FailedDependency, ListFailure};
pub use event::{Event, EventKind};
pub use item::{
    Content, Item, McpApprovalRequest, McpApprovalResponse, McpCall, McpCallError, McpListTools,
    McpListToolsTool, Message,
};
pub use limits::Limits;
pub use request::{
    AllowedTool, CreateResponse, Input, ToolChoice, ToolChoiceAllowed, ToolChoiceMcp,
    ToolChoiceMode, ToolEntry,
};
pub use response::Response;
pub use retry::{OnRetry, Retries, Retry};
pub use words::{Role, Status};

/// The events of one response, in order. Dropping it cancels the response.
pub type EventStream = BoxStream<'static, Result<Event, Error>>;

/// Reads a stream to its end: every event is shown to `on_event`, and the response is returned
/// once it is `completed`.
///
/// Anything else is an error: of the transport, an `error` event, a response that is `failed` or
/// `incomplete`, or what `on_event` fails with.
pub async fn read_to_end<E: From<Error>>(
    mut events: EventStream,
    mut on_event: impl FnMut(&Event) -> Result<(), E>,
) -> Result<Response, E> {
    let mut ending = Ending::default();
    while let Some(event) = events.next().await {
        let event = event?;
        on_event(&event)?;
        if let Some(ended) = ending.take(&event.into_kind()) {
            return Ok(ended?);
        }
    }
    Err(ending.missing().into())
}

/// How a stream ends, as its events tell it.
#[derive(Default)]
pub struct Ending {
    /// Of which servers there was no list, and why.
    no_lists: Vec<(String, String)>,
    error_event: Option<ApiError>,
}

impl Ending {
    /// Takes in an event; returns the response if this is its end, or why there is none.
    pub fn take(&mut self, kind: &EventKind) -> Option<Result<Response, Error>> {
        match kind {
            EventKind::Completed { response } => return Some(Ok(response.clone())),
            EventKind::Incomplete { response } => {
                return Some(Err(Error::NotCompleted {
                    status: response.status(),
                    reason: response.incomplete_reason().map(str::to_owned),
                    response: Box::new(response.clone()),
                }));
            }
            EventKind::Failed { response } => {
                let error = self.error_event.take().or_else(|| response.error());
                let error = error.unwrap_or_default();
                return Some(Err(Error::from_event(error, &self.no_lists)));
            }
            EventKind::Error { error } => self.error_event = Some(error.clone()),
            EventKind::OutputItemDone { item, .. } => {
                if let Item::McpListTools(list) = &**item
                    && let Some(why) = &list.error
                {
                    let label = list.server_label.clone();
                    self.no_lists.push((label, why.clone()));
                }
            }
            _ => {}
        }
        None
    }

    /// Why a stream ended without the event that ends a response.
    pub fn missing(self) -> Error {
        match self.error_event {
            Some(error) => Error::from_event(error, &self.no_lists),
            None => Error::Truncated,
        }
    }
}

/// Recorded traffic whose name ends so, by name.
#[cfg(test)]
pub(crate) fn fixtures(ends_with: &str) -> Vec<(String, Vec<u8>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/recordings");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| name.ends_with(ends_with))
        .map(|(name, path)| (name, std::fs::read(path).unwrap()))
        .collect();
    assert!(!found.is_empty(), "no fixture ends with {ends_with}");
    found.sort();
    found
}
