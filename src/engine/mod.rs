//! The Responses API, seen by the server that answers it.

mod approvals;
mod choice;
mod emit;
mod heavy;
mod ids;
mod input;
mod memory;
pub mod model;
mod outcome;
mod redact;
mod response;
mod store;
mod turn;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::Router;
use futures::stream::StreamExt;
use serde_json::{Map, Value, json};

use crate::budget::{Budget, Held};
use crate::connector::Server;
use crate::mcp::{self, ClientPool};
use crate::responses::{self, CreateResponse, EventStream, Item, MCPTool, Response, ToolEntry};

use approvals::Asked;
use emit::{Emitter, handover};
use memory::Memory;
use model::Model;
use turn::Turn;

pub use heavy::heavy;
pub use input::no_memory;
pub use outcome::{call_error, list_failure};
pub use store::{Bounds, Error as StoreError, Page, Range, Record, Store};

/// Answers `responses.create` on this machine: lists the tools of the MCP servers that a request
/// names, lets a model choose, calls what it chose. Cloning shares everything.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
    memory: Memory,
}

struct Inner {
    model: Model,
    /// Servers that are started on this machine, by the label of the tool entry that means them.
    commands: HashMap<String, mcp::Command>,
    /// Answers for the servers behind tunnels of this process.
    tunnels: Option<Router>,
    clients: ClientPool,
    asked: Asked,
    /// What all requests together may hold.
    budget: Budget,
}

/// What a connection to an MCP server takes, and a turn that waits for it. Measured with 200 of them.
const CONNECTION: u64 = 224 * 1024;

/// How many times a turn holds what a request says and what it goes on from, as values in memory.
#[derive(Debug, Clone, Copy)]
pub struct Copies {
    /// Of the input: one for the model, one for the store.
    pub input: u64,
    /// Of everything else: as it came, in the response, in the events that repeat it.
    pub rest: u64,
    /// Of what was said before.
    context: u64,
}

impl Engine {
    /// An engine for one person, who may name any server. A tool entry without `server_url` whose
    /// label is in `commands` means the server that is started so.
    pub fn new(model: Model, commands: HashMap<String, mcp::Command>) -> Self {
        Self::with_clients(model, commands, ClientPool::default())
    }

    /// An engine for many clients: their servers are reached by `clients`, responses are kept in
    /// `store`, and what all requests hold together is held of `budget`. It starts no server.
    /// `tunnels` answers for the servers behind its tunnels.
    pub fn shared(
        model: Model,
        clients: ClientPool,
        tunnels: Option<Router>,
        store: Store,
        budget: Budget,
    ) -> Self {
        Self::of_parts(model, HashMap::new(), tunnels, clients, store, budget)
    }

    /// The same as [`Self::new`], with servers that are reached by `clients`.
    pub fn with_clients(
        model: Model,
        commands: HashMap<String, mcp::Command>,
        clients: ClientPool,
    ) -> Self {
        Self::of_parts(
            model,
            commands,
            None,
            clients,
            Store::in_memory(Bounds::default()),
            Budget::unlimited(),
        )
    }

    fn of_parts(
        model: Model,
        commands: HashMap<String, mcp::Command>,
        tunnels: Option<Router>,
        clients: ClientPool,
        store: Store,
        budget: Budget,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                model,
                commands,
                tunnels,
                clients,
                asked: Asked::default(),
                budget,
            }),
            memory: Memory::new(store),
        }
    }

    /// The same engine for one connection, which remembers for as long as it lasts what is not to
    /// be stored (Responses API, WebSocket mode).
    pub fn of_connection(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            memory: self.memory.of_connection(&self.inner.budget),
        }
    }

    /// Ends the connections to MCP servers.
    pub async fn close(&self) {
        self.inner.clients.close().await;
    }

    /// The connections to MCP servers.
    pub fn clients(&self) -> &ClientPool {
        &self.inner.clients
    }

    /// The server of a tool entry, as this engine reads it.
    ///
    /// # Errors
    /// HTTP 400 if the entry cannot be served on this machine.
    pub fn server(&self, entry: &MCPTool) -> Result<Server, responses::Error> {
        let server = Server::read(entry, &self.inner.commands, self.inner.tunnels.as_ref());
        server.map_err(|why| responses::Error::bad_request("tools", None, why.to_string()))
    }

    /// Who answers.
    pub fn model(&self) -> &Model {
        &self.inner.model
    }

    /// What all requests together may hold.
    pub fn budget(&self) -> &Budget {
        &self.inner.budget
    }

    /// What a request takes. Measured, see docs/PERFORMANCE.md.
    pub fn copies(&self) -> Copies {
        match self.inner.model {
            Model::Rules | Model::Script(_) => Copies {
                input: 2,
                rest: 8,
                context: 1,
            },
            // The upstream is sent all of it, with every step.
            Model::Upstream(_) => Copies {
                input: 4,
                rest: 10,
                context: 3,
            },
        }
    }

    /// `POST /responses`, as a stream of events (Responses API, streaming events).
    ///
    /// A request that cannot be served as it is, is refused before the first event, with HTTP 400
    /// or 404; and so is one that the upstream model refuses before anything was told. What goes
    /// wrong later is an event: a server that gives no list of tools ends the stream with
    /// `mcp_list_tools.failed`, `error` and `response.failed`. Dropping the stream stops the turn
    /// and cancels the call that it waits for.
    pub async fn create_stream(
        &self,
        mut request: CreateResponse,
    ) -> Result<EventStream, responses::Error> {
        let servers = self.servers(&request)?;
        let Conversation {
            mut context,
            input,
            mut held,
        } = self.conversation(&mut request).await?;
        let connections = CONNECTION.saturating_mul(servers.len() as u64);
        held.grow(connections).map_err(no_memory)?;
        let (sender, receiver) = handover();
        let emitter = Emitter::new(sender, &request, self.inner.model.name());
        let input = heavy(input.len(), || {
            context.extend(input.iter().cloned());
            input::kept(input, emitter.ids())
        });
        let turn = Turn {
            engine: Arc::clone(&self.inner),
            memory: self.memory.clone(),
            servers,
            input,
            context,
            request,
            emitter,
            held: Vec::new(),
        };
        let turn = async move {
            let _held_until_the_end = held;
            turn.run().await;
        };
        Ok(receiver.events_of(turn).boxed())
    }

    /// How many tokens the input of a request has, as far as the engine can tell: `POST
    /// /responses/input_tokens`. No tools are listed for it.
    pub async fn input_tokens(&self, mut request: CreateResponse) -> Result<u64, responses::Error> {
        self.servers(&request)?;
        let conversation = self.conversation(&mut request).await?;
        let mut context = conversation.context;
        context.extend(conversation.input);
        let count = || response::input_tokens(&request, &context);
        Ok(heavy(context.len(), count))
    }

    /// A response that is kept: `GET /responses/{id}`. What it takes is held by `held`.
    pub async fn record(
        &self,
        id: &str,
        held: &mut Held,
    ) -> Result<Option<Record>, responses::Error> {
        let record = self.memory.get(id, held).await;
        record.map_err(|error| input::from_store(&error))
    }

    /// `DELETE /responses/{id}`. Returns whether there was one.
    pub async fn delete(&self, id: &str) -> Result<bool, responses::Error> {
        self.memory
            .delete(id)
            .await
            .map_err(|error| input::from_store(&error))
    }

    /// Some of the input of a response that is kept: `GET /responses/{id}/input_items`.
    pub async fn input_items(
        &self,
        id: &str,
        range: Range,
        held: &mut Held,
    ) -> Result<Option<Page>, responses::Error> {
        let page = self.memory.input_items(id, range, held).await;
        page.map_err(|error| input::from_store(&error))
    }

    /// Keeps a response as it ended; one that is not kept any more stays forgotten.
    pub async fn finish(&self, response: Response) -> Result<(), responses::Error> {
        let finished = self.memory.finish(response).await;
        finished.map_err(|error| input::from_store(&error))
    }

    /// The servers that a request names, if it can be served.
    fn servers(&self, request: &CreateResponse) -> Result<Vec<Server>, responses::Error> {
        let servers = request
            .mcp_tools()
            .map(|entry| self.server(entry))
            .collect::<Result<Vec<_>, _>>()?;
        refuse_duplicates(&servers)?;
        refuse_malformed(request)?;
        choice::refuse_unknown(request)?;
        Ok(servers)
    }

    /// What was said before, and what the request says, which is taken out of it.
    async fn conversation(
        &self,
        request: &mut CreateResponse,
    ) -> Result<Conversation, responses::Error> {
        let mut held = self.inner.budget.empty();
        let context = match &request.previous_response_id {
            None => Vec::new(),
            Some(id) => self.said_until(id, &mut held).await?,
        };
        let input = std::mem::take(&mut request.input).into_items();
        input::refuse_malformed(&input)?;
        let input = input::resolve(input, &context, &self.memory, &mut held).await?;
        let more = held.bytes() * (self.copies().context - 1);
        held.grow(more).map_err(no_memory)?;
        heavy(context.len() + input.len(), || {
            approvals::refuse_unusable(&context, &input, &self.inner.asked)?;
            input::refuse_unanswered(&context, &input)
        })?;
        Ok(Conversation {
            context,
            input,
            held,
        })
    }

    /// What was said up to the response `id`, and in it.
    async fn said_until(&self, id: &str, held: &mut Held) -> Result<Vec<Item>, responses::Error> {
        let refuse = |code, what: &str| {
            let message = format!("Previous response with id '{id}' {what}.");
            responses::Error::bad_request("previous_response_id", code, message)
        };
        let not_found = || refuse(Some("previous_response_not_found"), "not found");
        let is_open = self.memory.is_open(id).await;
        if is_open.map_err(|error| input::from_store(&error))? {
            return Err(refuse(None, "is not done"));
        }
        let context = self.memory.context(id, held).await;
        let context = context.map_err(|error| input::from_store(&error))?;
        context.ok_or_else(not_found)
    }
}

/// What a request goes on from, and what it says.
struct Conversation {
    context: Vec<Item>,
    input: Vec<Item>,
    /// What was read for it.
    held: Held,
}

/// Rejects an `mcp` entry with the wrong fields.
fn refuse_malformed(request: &CreateResponse) -> Result<(), responses::Error> {
    for tool in request.tools.iter().flatten() {
        if let ToolEntry::Other(fields) = tool
            && fields.get("type") == Some(&"mcp".into())
        {
            let message = match (fields.get("server_label"), unreadable_field(fields)) {
                (Some(Value::String(label)), Some(field)) => {
                    format!("The '{field}' of MCP server '{label}' is not valid.")
                }
                _ => {
                    "An 'mcp' tool has no 'server_label', or a field of the wrong type.".to_owned()
                }
            };
            return Err(responses::Error::bad_request("tools", None, message));
        }
    }
    Ok(())
}

/// The field for which a tool entry is no `mcp` entry.
fn unreadable_field(fields: &Map<String, Value>) -> Option<&str> {
    let is_readable = |(name, value): (&String, &Value)| {
        let alone = json!({"type": "mcp", "server_label": "label", name: value});
        serde_json::from_value(alone).is_ok_and(|it| matches!(it, ToolEntry::Mcp(_)))
    };
    let unreadable = fields.iter().find(|&field| !is_readable(field));
    unreadable.map(|(name, _)| name.as_str())
}

fn refuse_duplicates(servers: &[Server]) -> Result<(), responses::Error> {
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
