//! The Responses API, seen by the server that answers it.

mod emit;
pub mod model;
mod redact;
mod response;
mod store;
mod tools;
mod turn;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::channel::mpsc;
use futures::stream::{self, StreamExt};

use crate::mcp::{self, ClientPool};
use crate::responses::{self, CreateResponse, EventStream, ToolChoice, ToolEntry};

use emit::Emitter;
use model::Model;
use response::Draft;
use store::Store;
use turn::Turn;

/// Answers `responses.create` on this machine: lists the tools of the MCP servers that a request
/// names, lets a model choose, calls what it chose. Cloning shares everything.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    model: Model,
    /// Servers that are started on this machine, by the label of the tool entry that means them.
    commands: HashMap<String, mcp::Command>,
    clients: ClientPool,
    store: Store,
}

impl Engine {
    /// An engine that asks `model`. A tool entry without `server_url` whose label is in `commands`
    /// means the server that is started so.
    pub fn new(model: Model, commands: HashMap<String, mcp::Command>) -> Self {
        Self {
            inner: Arc::new(Inner {
                model,
                commands,
                clients: ClientPool::default(),
                store: Store::default(),
            }),
        }
    }

    /// Ends the connections to MCP servers.
    pub async fn close(&self) {
        self.inner.clients.close().await;
    }

    /// `POST /responses`, as a stream of events (Responses API, streaming events).
    ///
    /// A request that cannot be served as it is, is refused before the first event, with HTTP 400.
    /// What goes wrong later is an event: a server that gives no list of tools ends the stream
    /// with `mcp_list_tools.failed`, `error` and `response.failed`. Dropping the stream stops the
    /// turn and cancels the call that it waits for.
    pub fn create_stream(&self, request: CreateResponse) -> Result<EventStream, responses::Error> {
        let servers = request
            .mcp_tools()
            .map(|entry| tools::Server::read(entry, &self.inner.commands))
            .collect::<Result<Vec<_>, _>>()?;
        refuse_duplicates(&servers)?;
        refuse_tools(&request, &servers)?;
        let mut context = match &request.previous_response_id {
            None => Vec::new(),
            Some(id) => self.inner.store.context(id).ok_or_else(|| {
                responses::Error::bad_request(
                    "previous_response_id",
                    Some("previous_response_not_found"),
                    format!("Previous response with id '{id}' not found."),
                )
            })?,
        };
        let input = request.input.clone().into_items();
        turn::refuse_unusable(&context, &input)?;
        context.extend(input);

        let (sender, events) = mpsc::unbounded();
        let turn = Turn {
            emitter: Emitter::new(sender, Draft::new(&request, self.inner.model.name())),
            engine: Arc::clone(&self.inner),
            servers,
            context,
            request,
        };
        // The turn is polled by whoever reads the events: nobody reads, nothing runs.
        let turn = stream::once(turn.run()).filter_map(|()| async { None });
        Ok(stream::select(events, turn).boxed())
    }
}

/// Refuses an `mcp` entry that is none, and a choice of a server that is not there.
fn refuse_tools(
    request: &CreateResponse,
    servers: &[tools::Server],
) -> Result<(), responses::Error> {
    for tool in request.tools.iter().flatten() {
        if let ToolEntry::Other(fields) = tool
            && fields.get("type") == Some(&"mcp".into())
        {
            let message = "An 'mcp' tool has no 'server_label', or a field of the wrong type.";
            return Err(responses::Error::bad_request("tools", None, message));
        }
    }
    match &request.tool_choice {
        Some(ToolChoice::Mcp(choice))
            if !servers
                .iter()
                .any(|server| server.label() == choice.server_label) =>
        {
            let label = &choice.server_label;
            let message = format!("Tool choice '{label}' not found in 'tools' parameter.");
            Err(responses::Error::bad_request("tool_choice", None, message))
        }
        _ => Ok(()),
    }
}

fn refuse_duplicates(servers: &[tools::Server]) -> Result<(), responses::Error> {
    let mut labels = HashSet::new();
    match servers.iter().find(|server| !labels.insert(server.label())) {
        None => Ok(()),
        Some(server) => Err(responses::Error::bad_request(
            "tools",
            None,
            format!(
                "Duplicate MCP server_label '{}' found in 'tools' parameter.",
                server.label()
            ),
        )),
    }
}
