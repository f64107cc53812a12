//! A model at another endpoint, of the Responses API or of Chat Completions. MCP tools go to it as
//! functions, so it sees no server's URL and no credentials.

mod input;
mod kind;
mod relay;
mod request;

use serde_json::{Map, Value};

use super::names::{Function, Names};
use super::{ToolCall, View};
use crate::engine::emit::Emitter;
use crate::responses::{Client, CreateResponse, Error, Item, ToolEntry};
use relay::Relay;

/// A model that is asked over HTTP.
pub struct Upstream {
    client: Client,
    api: UpstreamApi,
}

/// What an upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamApi {
    /// `POST /responses`.
    Responses,
    /// `POST /chat/completions`, which more servers have.
    Chat,
}

impl Upstream {
    /// The models behind `client`, which speak `api`; a request names the one it means.
    pub fn new(client: Client, api: UpstreamApi) -> Self {
        Self { client, api }
    }

    /// The models that there are (OpenAI API, list models).
    pub async fn models(&self) -> Result<Vec<Value>, Error> {
        self.client.models().await
    }

    /// What this step asks of the model.
    pub(super) fn asking(&self, view: &View<'_>) -> Asking<'_> {
        let names = Names::new(clients_functions(view.request), view.items);
        let first = view.tools.first();
        Asking {
            upstream: self,
            request: request::for_step(view, &names),
            names,
            first_label: first.map_or_else(String::new, |it| it.server_label.to_owned()),
        }
    }
}

/// The names of the functions that the client has itself.
fn clients_functions(request: &CreateResponse) -> impl Iterator<Item = &str> {
    let tools = request.tools.iter().flatten();
    let tools = tools.filter_map(|entry| match entry {
        ToolEntry::Mcp(_) => None,
        ToolEntry::Other(fields) => Some(fields),
    });
    // A namespace has functions in it.
    tools.flat_map(|tool| {
        let nested = tool.get("tools").and_then(Value::as_array);
        let nested = nested.into_iter().flatten().filter_map(Value::as_object);
        nested
            .chain([tool])
            .filter_map(|it| it.get("name")?.as_str())
    })
}

/// A step that is ready to be asked.
pub struct Asking<'a> {
    upstream: &'a Upstream,
    request: CreateResponse,
    names: Names,
    /// The label that a call of an unknown tool gets.
    first_label: String,
}

impl Asking<'_> {
    /// Asks it. What the model says goes out through `emitter` as it comes, and so do its calls of
    /// the client's own functions; the calls of MCP tools that it asks for are returned.
    pub async fn ask(self, emitter: &mut Emitter) -> Result<Vec<ToolCall>, Error> {
        let client = &self.upstream.client;
        let events = match self.upstream.api {
            UpstreamApi::Responses => client.create_stream(&self.request).await?,
            UpstreamApi::Chat => client.create_chat_stream(&self.request).await?,
        };
        emitter.begin().await;
        let mut relay = Relay::new(emitter, &self.names, client.limits());
        relay.read(events).await?;
        let calls = relay.into_calls();
        Ok(calls.map(|call| self.tool_call(&call)).collect())
    }

    fn tool_call(&self, call: &Map<String, Value>) -> ToolCall {
        let text = |field| call.get(field).and_then(Value::as_str).unwrap_or_default();
        let function = text("name");
        // An unknown function fails like an unknown tool, and the model gets the error.
        let (server_label, name) = match self.names.function(function) {
            Some(Function::Mcp(tool)) => (&*tool.server_label, &*tool.name),
            Some(Function::Client) | None => (&*self.first_label, function),
        };
        ToolCall {
            server_label: server_label.to_owned(),
            name: name.to_owned(),
            arguments: match text("arguments") {
                // Some models write nothing where a tool takes nothing.
                "" => "{}".to_owned(),
                arguments => arguments.to_owned(),
            },
        }
    }
}

fn function_call(item: &Item) -> Option<&Map<String, Value>> {
    match item {
        Item::Other(fields) if item.kind() == "function_call" => Some(fields),
        _ => None,
    }
}
