//! A model at another endpoint of the Responses API. MCP tools go to it as functions, so it sees no
//! server's URL and no credentials.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::names::{Function, Names};
use super::{ToolCall, View};
use crate::engine::emit::{Emitter, Open};
use crate::engine::response::Usage;
use crate::responses::{
    self, Client, CreateResponse, Error, Event, EventKind, Input, Item, McpApprovalRequest,
    McpApprovalResponse, McpCall, McpCallError, Message, Response, ToolChoice, ToolChoiceMode,
    ToolEntry,
};

/// A model that is asked over HTTP.
pub struct Upstream {
    client: Client,
}

impl Upstream {
    /// The models behind `client`; a request names the one it means.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// What this step asks of the model.
    pub(super) fn asking(&self, view: &View<'_>) -> Asking<'_> {
        let names = Names::new(std::iter::empty(), view.items);
        let first = view.tools.first();
        Asking {
            client: &self.client,
            request: upstream_request(view, &names),
            names,
            first_label: first.map_or_else(String::new, |it| it.server_label.clone()),
        }
    }
}

/// A step that is ready to be asked.
pub struct Asking<'a> {
    client: &'a Client,
    request: CreateResponse,
    names: Names,
    /// Who is told of a call to a tool that nobody has.
    first_label: String,
}

impl Asking<'_> {
    /// Asks it. What the model says goes out through `emitter` as it comes; the calls that it asks
    /// for are returned.
    pub async fn ask(self, emitter: &mut Emitter) -> Result<Vec<ToolCall>, Error> {
        let events = self.client.create_stream(&self.request).await?;
        let mut relay = Relay {
            emitter,
            open: HashMap::new(),
            done: HashSet::new(),
            functions: BTreeMap::new(),
        };
        let take = |event: &Event| {
            relay.take(event);
            Ok::<(), Error>(())
        };
        let ended = responses::read_to_end(events, take).await;
        // What it did say is told before it is told why there is no more.
        match &ended {
            Ok(response) => relay.rest(response),
            Err(Error::NotCompleted { response, .. }) => relay.rest(response),
            Err(_) => {}
        }
        let functions = relay.functions;
        ended?;
        let calls = functions.into_values().map(|call| self.tool_call(&call));
        Ok(calls.collect())
    }

    fn tool_call(&self, call: &Map<String, Value>) -> ToolCall {
        let text = |field| call.get(field).and_then(Value::as_str).unwrap_or_default();
        let function = text("name");
        // A function that nobody has fails like a tool that nobody has, and the model hears of it.
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

/// Passes on what an upstream response says, but for its function calls.
struct Relay<'a> {
    emitter: &'a mut Emitter,
    /// The items that were passed on and are not done, by their index upstream.
    open: HashMap<usize, Open>,
    done: HashSet<usize>,
    /// The function calls, by their index upstream.
    functions: BTreeMap<usize, Map<String, Value>>,
}

impl Relay<'_> {
    fn take(&mut self, event: &Event) {
        match event.kind() {
            EventKind::OutputItemAdded { output_index, item } => {
                if function_call(item).is_none() {
                    let open = self.emitter.relay_added(item.clone());
                    self.open.insert(*output_index, open);
                }
            }
            EventKind::OutputItemDone { output_index, item } => {
                self.end(*output_index, item.clone());
            }
            // The response as a whole is the engine's own.
            EventKind::Created { .. }
            | EventKind::InProgress { .. }
            | EventKind::Completed { .. }
            | EventKind::Incomplete { .. }
            | EventKind::Error { .. } => {}
            EventKind::Failed { response } => self.rest(response),
            _ => {
                let open = event.output_index().and_then(|it| self.open.get(&it));
                if let Some(open) = open {
                    self.emitter.relay(open, event.data().clone());
                }
            }
        }
    }

    /// What the stream did not tell item by item, and what it took.
    fn rest(&mut self, response: &Response) {
        for (index, item) in response.output().into_iter().enumerate() {
            self.end(index, item);
        }
        self.emitter.used(Usage::of(response));
    }

    fn end(&mut self, index: usize, item: Item) {
        if !self.done.insert(index) {
            return;
        }
        if let Some(call) = function_call(&item) {
            self.functions.insert(index, call.clone());
            return;
        }
        match self.open.remove(&index) {
            Some(open) => self.emitter.relay_done(&open, item),
            None => self.emitter.relay_whole(item),
        }
    }
}

fn function_call(item: &Item) -> Option<&Map<String, Value>> {
    match item {
        Item::Other(fields) if fields.get("type") == Some(&"function_call".into()) => Some(fields),
        _ => None,
    }
}

/// The request of one step: the whole conversation, for the upstream keeps nothing of it.
fn upstream_request(view: &View<'_>, names: &Names) -> CreateResponse {
    let CreateResponse {
        model,
        instructions,
        max_output_tokens,
        parallel_tool_calls,
        temperature,
        top_p,
        metadata,
        stream,
        rest,
        // These are the engine's business: whom to call, how often, and what was said before.
        input: _,
        tools: _,
        tool_choice: _,
        max_tool_calls: _,
        previous_response_id: _,
        store: _,
    } = view.request;
    let tools: Vec<ToolEntry> = functions(view, names).collect();
    let must_call = view.must_call && !tools.is_empty();
    let mut request = CreateResponse {
        model: model.clone(),
        instructions: instructions.clone(),
        input: Input::Items(input(view.items, names)),
        tools: Some(tools).filter(|tools| !tools.is_empty()),
        tool_choice: must_call.then_some(ToolChoice::Mode(ToolChoiceMode::Required)),
        max_output_tokens: *max_output_tokens,
        parallel_tool_calls: *parallel_tool_calls,
        temperature: *temperature,
        top_p: *top_p,
        metadata: metadata.clone(),
        stream: *stream,
        rest: rest.clone(),
        ..CreateResponse::default()
    };
    responses::forget(&mut request);
    request
}

/// The callable tools as functions (Responses API, function tools).
fn functions<'a>(
    view: &'a View<'_>,
    names: &'a Names,
) -> impl Iterator<Item = ToolEntry> + use<'a> {
    view.tools.iter().filter_map(|listed| {
        let name = names.of_tool(&listed.server_label, &listed.tool.name)?;
        let of_server = description_of(view.request, &listed.server_label);
        let descriptions = [listed.tool.description.as_deref(), of_server];
        let descriptions: Vec<&str> = descriptions.into_iter().flatten().collect();
        let function = json!({
            "type": "function",
            "name": name,
            "description": (!descriptions.is_empty()).then(|| descriptions.join("\n\n")),
            "parameters": parameters(&listed.tool.input_schema),
            // Not said, it is true, and the API then refuses most schemas of MCP servers.
            "strict": false,
        });
        match function {
            Value::Object(function) => Some(ToolEntry::Other(function)),
            _ => unreachable!("the function above is an object"),
        }
    })
}

/// The schema as it is; one without properties, as many tools without arguments have, says so.
fn parameters(input_schema: &Value) -> Value {
    let mut parameters = input_schema.clone();
    if let Value::Object(fields) = &mut parameters {
        let fields_of_object = [("type", json!("object")), ("properties", json!({}))];
        for (field, value) in fields_of_object {
            fields.entry(field).or_insert(value);
        }
    }
    parameters
}

fn description_of<'a>(request: &'a CreateResponse, server_label: &str) -> Option<&'a str> {
    let mut entries = request.mcp_tools();
    let entry = entries.find(|it| it.server_label == server_label)?;
    entry.server_description.as_deref()
}

/// The conversation as a model with functions knows it.
fn input(items: &[&Item], names: &Names) -> Vec<Item> {
    let mut answers: HashMap<&str, &McpApprovalResponse> = HashMap::new();
    let mut approved: HashMap<&str, &McpCall> = HashMap::new();
    let mut asked_for: HashSet<&str> = HashSet::new();
    for item in items {
        match item {
            Item::McpApprovalRequest(request) => {
                asked_for.insert(&request.id);
            }
            Item::McpApprovalResponse(it) => {
                answers.insert(&it.approval_request_id, it);
            }
            Item::McpCall(call) => {
                approved.extend(call.approval_request_id.as_deref().map(|id| (id, call)));
            }
            _ => {}
        }
    }
    let mut input = Vec::new();
    for &item in items {
        match item {
            // The upstream did not keep it, and so knows no id of it.
            Item::Message(message) => input.push(Item::Message(Message {
                id: None,
                status: None,
                ..message.clone()
            })),
            // Where the model asked for it, and not where it was made.
            Item::McpApprovalRequest(request) => {
                let name = names.of_tool(&request.server_label, &request.name);
                let came_of_it = match approved.get(request.id.as_str()) {
                    Some(call) => result(call),
                    None => not_called(request, &answers),
                };
                input.extend(function(&request.id, name, &request.arguments, &came_of_it));
            }
            Item::McpCall(call) => {
                let approval = call.approval_request_id.as_deref();
                if approval.is_some_and(|id| asked_for.contains(id)) {
                    continue;
                }
                let name = names.of_tool(&call.server_label, &call.name);
                input.extend(function(&call.id, name, &call.arguments, &result(call)));
            }
            Item::Other(_) => input.push(item.clone()),
            Item::McpListTools(_) | Item::McpApprovalResponse(_) => {}
        }
    }
    without_stray_reasoning(input)
}

/// The API takes reasoning only with what it led to behind it; and what the upstream kept of it to
/// itself can be named by no id any more.
fn without_stray_reasoning(input: Vec<Item>) -> Vec<Item> {
    let leads_somewhere: Vec<bool> = input
        .iter()
        .skip(1)
        .map(is_said_by_model)
        .chain([false])
        .collect();
    input
        .into_iter()
        .zip(leads_somewhere)
        .filter(|(item, leads_somewhere)| match item {
            Item::Other(fields) if item.is_reasoning() => *leads_somewhere && has_content(fields),
            _ => true,
        })
        .map(|(item, _)| item)
        .collect()
}

fn is_said_by_model(item: &Item) -> bool {
    match item {
        Item::Message(message) => message.role == "assistant",
        other => function_call(other).is_some(),
    }
}

fn has_content(reasoning: &Map<String, Value>) -> bool {
    ["encrypted_content", "content"]
        .iter()
        .any(|field| match reasoning.get(*field) {
            None | Some(Value::Null) => false,
            Some(Value::Array(parts)) => !parts.is_empty(),
            Some(_) => true,
        })
}

/// A call and what came of it.
fn function(call_id: &str, name: Option<&str>, arguments: &str, output: &str) -> [Item; 2] {
    let call = json!({"type": "function_call", "call_id": call_id, "name": name,
        "arguments": arguments});
    let output = json!({"type": "function_call_output", "call_id": call_id, "output": output});
    [call, output].map(|item| match item {
        Value::Object(fields) => Item::Other(fields),
        _ => unreachable!("both items above are objects"),
    })
}

/// What the model is told. Why a server did not answer is for the user: it says where the server is.
fn result(call: &McpCall) -> String {
    match (&call.error, &call.output) {
        (Some(McpCallError::HttpError { code: 424, .. }), _) => {
            "Error: the tool's server did not answer".to_owned()
        }
        (Some(error), _) => format!("Error: {}", error.text()),
        (None, output) => output.clone().unwrap_or_default(),
    }
}

fn not_called(
    request: &McpApprovalRequest,
    answers: &HashMap<&str, &McpApprovalResponse>,
) -> String {
    match answers.get(request.id.as_str()) {
        Some(McpApprovalResponse {
            reason: Some(reason),
            ..
        }) => format!("The call was denied: {reason}"),
        Some(_) => "The call was denied.".to_owned(),
        None => "The call was not made: it waits for approval.".to_owned(),
    }
}
