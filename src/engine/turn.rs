//! One turn: list tools, answer approvals, step the model, call or hold, repeat, complete.

use std::collections::HashSet;
use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::{Map, Value};

use super::Inner;
use super::emit::{Emitter, Open};
use super::model::{ListedTool, ToolCall, View, is_question};
use super::response::Usage;
use super::tools::{self, Server};
use crate::responses::{
    ApiError, CreateResponse, Error, FailedDependency, Item, McpApprovalRequest,
    McpApprovalResponse, McpCallError, McpListTools, McpListToolsTool, ToolChoice, ToolChoiceMode,
};

/// How many steps a model may take in one turn; a script or a model that never ends is cut here.
const MOST_STEPS: usize = 64;

/// Everything that one request needs until its response is complete.
pub struct Turn {
    pub engine: Arc<Inner>,
    pub request: CreateResponse,
    pub servers: Vec<Server>,
    /// What was said so far, the request's own input included.
    pub context: Vec<Item>,
    pub emitter: Emitter,
}

/// Why the model takes no further step.
enum Halt {
    /// It called tools [`MOST_STEPS`] times.
    Endless,
    /// It gave no answer, or not all of one.
    Model(Error),
}

fn endless() -> ApiError {
    ApiError {
        message: format!("the model called tools {MOST_STEPS} times and came to no end"),
        code: Some("server_error".to_owned()),
        ..Default::default()
    }
}

/// Refuses input that no turn can make sense of (Responses API, HTTP 400).
pub fn refuse_unusable(context: &[Item], input: &[Item]) -> Result<(), Error> {
    let is_reference = |item: &Item| matches!(item, Item::Other(fields) if fields.get("type") == Some(&"item_reference".into()));
    let mut ids: HashSet<&str> = context.iter().filter_map(Item::id).collect();
    let mut answered: HashSet<&str> = context
        .iter()
        .filter_map(|item| match item {
            Item::McpApprovalResponse(response) => Some(response.approval_request_id.as_str()),
            _ => None,
        })
        .collect();
    for item in input.iter().filter(|item| !is_reference(item)) {
        // Of what a model elsewhere said, the ids are its own, and it may use one again.
        if let Some(id) = item.id().filter(|_| !matches!(item, Item::Other(_)))
            && !ids.insert(id)
        {
            return Err(Error::bad_request(
                "input",
                None,
                format!(
                    "Duplicate item found with id {id}. Remove duplicate items from your input and try again."
                ),
            ));
        }
        // An answer to nothing, and a second answer to the same, are refused alike.
        if let Item::McpApprovalResponse(response) = item
            && (find_request(context.iter().chain(input), &response.approval_request_id).is_none()
                || !answered.insert(response.approval_request_id.as_str()))
        {
            return Err(Error::bad_request(
                "input",
                None,
                format!(
                    "The following MCP approval requests have approval responses but weren't passed as input: {}.",
                    response.approval_request_id
                ),
            ));
        }
    }
    Ok(())
}

impl Turn {
    /// Runs the turn to its end; all that is to be known of it goes through the emitter.
    pub async fn run(mut self) {
        self.emitter.created();
        if let Err(failure) = self.list_tools().await {
            return self.emitter.failed(failure.error);
        }
        self.call_approved().await;
        match self.step_model().await {
            Ok(()) => self.emitter.completed(self.usage()),
            Err(Halt::Endless) => return self.emitter.failed(endless()),
            Err(Halt::Model(error)) => match error {
                Error::NotCompleted { reason, .. } => {
                    self.emitter.incomplete(reason.as_deref(), self.usage());
                }
                Error::Failed(error) => return self.emitter.failed(error),
                error => return self.emitter.broke_off(error),
            },
        }
        if self.request.store != Some(false) {
            let mut context = self.context;
            context.extend_from_slice(self.emitter.output());
            self.engine.store.keep(self.emitter.response_id(), context);
        }
    }

    /// Lists the tools of every server whose list is not in context, all of them at once.
    async fn list_tools(&mut self) -> Result<(), FailedDependency> {
        let mut open = Vec::new();
        for server in &self.servers {
            if last_list(&self.context, server.label()).is_none() {
                open.push((
                    self.emitter.list_tools_started(server.label()),
                    server.clone(),
                ));
            }
        }
        let engine = Arc::clone(&self.engine);
        let mut lists: FuturesUnordered<_> = open
            .into_iter()
            .map(|(open, server)| {
                let engine = Arc::clone(&engine);
                async move {
                    let tools = engine.clients.tools(&server.server).await;
                    (open, server, tools)
                }
            })
            .collect();
        while let Some((open, server, tools)) = lists.next().await {
            let mut list = McpListTools {
                id: open.id.clone(),
                server_label: server.label().to_owned(),
                tools: Vec::new(),
                error: None,
                rest: Map::new(),
            };
            match tools {
                Ok(tools) => {
                    list.tools = tools.into_iter().map(tools::listed).collect();
                    list.tools.retain(|tool| server.allows(tool));
                    self.emitter.list_tools_ended(&open, list);
                }
                Err(error) => {
                    let failure = tools::list_failure(server.label(), &error);
                    list.error.clone_from(&failure.detail);
                    self.emitter.list_tools_ended(&open, list);
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    /// Makes the calls that the input approves, before the model says anything.
    async fn call_approved(&mut self) {
        let approved: Vec<McpApprovalRequest> = answered(&self.context)
            .filter(|(_, response)| response.approve)
            .map(|(request, _)| request.clone())
            .collect();
        for request in approved {
            self.call(
                &request.server_label,
                &request.name,
                &request.arguments,
                Some(&request.id),
            )
            .await;
        }
    }

    async fn step_model(&mut self) -> Result<(), Halt> {
        // The calls that were approved are calls as well.
        let made = self
            .emitter
            .output()
            .iter()
            .filter(|item| matches!(item, Item::McpCall(_)));
        let most = self.request.max_tool_calls.unwrap_or(u64::MAX);
        let mut calls_left = most.saturating_sub(made.count() as u64);
        for _ in 0..MOST_STEPS {
            let calls = self.step(calls_left > 0).await?;
            // Calls beyond the limit are ignored, and a step of nothing else is the last.
            if calls.is_empty() || calls_left == 0 {
                return Ok(());
            }
            let mut is_held = false;
            for call in calls {
                if calls_left == 0 {
                    break;
                }
                calls_left -= 1;
                is_held |= self.call_or_hold(call).await;
            }
            if is_held {
                return Ok(());
            }
        }
        Err(Halt::Endless)
    }

    async fn step(&mut self, may_call: bool) -> Result<Vec<ToolCall>, Halt> {
        let choice = match &self.request.tool_choice {
            Some(ToolChoice::Mode(mode)) => *mode,
            Some(ToolChoice::Mcp(_)) => ToolChoiceMode::Required,
            Some(ToolChoice::Other(_)) | None => ToolChoiceMode::Auto,
        };
        let tools = if may_call {
            self.callable()
        } else {
            Vec::new()
        };
        let output = self.emitter.output();
        let items: Vec<&Item> = self.context.iter().chain(output).collect();
        // Demanded of every step, a call would be followed by another without end.
        let since_question = items.iter().rev().take_while(|item| !is_question(item));
        let has_called = since_question
            .into_iter()
            .any(|item| matches!(item, Item::McpCall(_) | Item::McpApprovalResponse(_)));
        let view = View {
            request: &self.request,
            items: &items,
            tools: &tools,
            must_call: choice == ToolChoiceMode::Required && !has_called,
        };
        let next = self.engine.model.next(&view);
        next.take(&mut self.emitter).await.map_err(Halt::Model)
    }

    /// The tools that the model may call: those of the lists in context that the request still
    /// names and allows, and that `tool_choice` leaves.
    fn callable(&self) -> Vec<ListedTool> {
        let mut callable = Vec::new();
        for server in &self.servers {
            let label = server.label();
            let tools = self.list(label).into_iter().flat_map(|list| &list.tools);
            let tools = tools.filter(|it| self.may_choose(label, &it.name) && server.allows(it));
            callable.extend(tools.map(|tool| ListedTool {
                server_label: label.to_owned(),
                tool: tool.clone(),
            }));
        }
        callable
    }

    /// Whether `tool_choice` leaves this tool to the model.
    fn may_choose(&self, label: &str, name: &str) -> bool {
        match &self.request.tool_choice {
            Some(ToolChoice::Mode(mode)) => *mode != ToolChoiceMode::None,
            Some(ToolChoice::Mcp(choice)) => {
                choice.server_label == label && choice.name.as_ref().is_none_or(|it| it == name)
            }
            Some(ToolChoice::Other(_)) | None => true,
        }
    }

    /// Makes a call, or asks for approval of it. Returns whether it is held.
    async fn call_or_hold(&mut self, call: ToolCall) -> bool {
        let needs_approval = self
            .tool(&call.server_label, &call.name)
            .is_some_and(|(server, tool)| server.needs_approval(tool));
        if needs_approval {
            self.emitter
                .approval_request(&call.server_label, &call.name, &call.arguments);
        } else {
            self.call(&call.server_label, &call.name, &call.arguments, None)
                .await;
        }
        needs_approval
    }

    async fn call(&mut self, label: &str, name: &str, arguments: &str, approved: Option<&str>) {
        let (open, mut call): (Open, _) =
            self.emitter.call_started(label, name, arguments, approved);
        match self
            .outcome(label, name, arguments, approved.is_some())
            .await
        {
            Ok(output) => {
                call.status = Some("completed".to_owned());
                call.output = Some(output);
            }
            Err(error) => {
                call.status = Some("failed".to_owned());
                call.error = Some(error);
            }
        }
        self.emitter.call_ended(&open, call);
    }

    async fn outcome(
        &self,
        label: &str,
        name: &str,
        arguments: &str,
        approved: bool,
    ) -> Result<String, McpCallError> {
        let refuse = |message: String| McpCallError::McpProtocolError {
            code: -32602,
            message,
        };
        // What is not listed, not allowed, or not to be chosen is not called, whoever asks for it.
        let may_call = approved || self.may_choose(label, name);
        let Some((server, _)) = self.tool(label, name).filter(|_| may_call) else {
            return Err(refuse(format!("Unknown tool: {name}")));
        };
        let Ok(arguments) = serde_json::from_str::<Map<String, Value>>(arguments) else {
            return Err(refuse("the arguments are not a JSON object".to_owned()));
        };
        let result = self
            .engine
            .clients
            .call(&server.server, name, arguments)
            .await;
        tools::outcome(result)
    }

    fn tool(&self, label: &str, name: &str) -> Option<(&Server, &McpListToolsTool)> {
        let server = self.servers.iter().find(|server| server.label() == label)?;
        let tool = self.list(label)?.tools.iter().find(|it| it.name == name)?;
        server.allows(tool).then_some((server, tool))
    }

    /// The last list of the server's tools, of this turn or of what was said before.
    fn list(&self, label: &str) -> Option<&McpListTools> {
        last_list(self.emitter.output(), label).or_else(|| last_list(&self.context, label))
    }

    /// What the upstream said that it took. The built-in models have no tokenizer: four bytes are
    /// taken for a token.
    fn usage(&self) -> Usage {
        if let Some(usage) = self.emitter.usage() {
            return usage;
        }
        let tokens = |items: &[Item]| {
            let bytes = serde_json::to_vec(items).map_or(0, |it| it.len());
            bytes.div_ceil(4) as u64
        };
        Usage {
            input_tokens: tokens(&self.context),
            output_tokens: tokens(self.emitter.output()),
            ..Usage::default()
        }
    }
}

fn last_list<'a>(items: &'a [Item], label: &str) -> Option<&'a McpListTools> {
    items.iter().rev().find_map(|item| match item {
        Item::McpListTools(list) if list.error.is_none() && list.server_label == label => {
            Some(list)
        }
        _ => None,
    })
}

/// The approval requests in `context` that have an answer and have not been acted on yet.
fn answered(context: &[Item]) -> impl Iterator<Item = (&McpApprovalRequest, &McpApprovalResponse)> {
    context.iter().filter_map(move |item| {
        let Item::McpApprovalResponse(response) = item else {
            return None;
        };
        let id = response.approval_request_id.as_str();
        let was_called = context.iter().any(|item| {
            matches!(item, Item::McpCall(call) if call.approval_request_id.as_deref() == Some(id))
        });
        let request = find_request(context, id)?;
        (!was_called).then_some((request, response))
    })
}

fn find_request<'a>(
    items: impl IntoIterator<Item = &'a Item>,
    id: &str,
) -> Option<&'a McpApprovalRequest> {
    items.into_iter().find_map(|item| match item {
        Item::McpApprovalRequest(request) if request.id == id => Some(request),
        _ => None,
    })
}
