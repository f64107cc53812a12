//! One turn: list tools, answer approvals, step the model, call or hold, repeat, complete.

use std::collections::HashMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::{Map, Value};

use super::emit::{Emitter, Open};
use super::memory::Memory;
use super::model::{ListedTool, MOST_ARGUMENTS, ToolCall, View, is_question};
use super::response::{End, Usage, input_tokens, tokens_of};
use super::{Inner, approvals, choice, input, outcome};
use crate::budget::{Held, parsed_size};
use crate::connector::{self, Server};
use crate::mcp;
use crate::responses::{
    ApiError, CreateResponse, Error, FailedDependency, Item, McpApprovalRequest, McpCall,
    McpCallError, McpListTools, McpListToolsTool, Response, Status,
};

/// How many steps a model may take in one turn; a script or a model that never ends is cut here.
const MOST_STEPS: usize = 64;
/// How many calls of one step are under way at once.
const MOST_AT_ONCE: usize = 16;
/// How many more copies of a list or a result are in memory until the response is sent: in its item,
/// in events and in the response. Measured in a gateway.
const COPIES: u64 = 7;

/// Everything that one request needs until its response is complete.
pub struct Turn {
    pub engine: Arc<Inner>,
    pub request: CreateResponse,
    pub servers: Vec<Server>,
    pub memory: Memory,
    /// What the request says, as it is kept.
    pub input: Vec<Item>,
    /// What was said so far, the input included.
    pub context: Vec<Item>,
    pub emitter: Emitter,
    /// The shares of the memory budget that its lists and results take.
    pub held: Vec<Held>,
}

/// Why the response is not completed.
enum Halt {
    /// A server gave no list of its tools.
    List(FailedDependency),
    /// It called tools [`MOST_STEPS`] times.
    Endless,
    /// It gave no answer, or not all of one.
    Model(Error),
}

fn endless() -> ApiError {
    ApiError::server_error(format!(
        "The model called tools {MOST_STEPS} times and came to no end."
    ))
}

impl Turn {
    /// Runs the turn to its end; all that is to be known of it goes through the emitter.
    pub async fn run(mut self) {
        if self.request.is_background() {
            // Kept before its id is sent: whoever reads the id may ask for it at once.
            if let Err(error) = self.keep(self.emitter.begun()).await {
                return self.emitter.broke_off(error).await;
            }
            self.emitter.begin().await;
        }
        let end = match self.answer().await {
            Ok(()) => End::Completed(self.usage()),
            Err(Halt::List(failure)) => End::Failed(failure.error),
            Err(Halt::Endless) => End::Failed(endless()),
            Err(Halt::Model(Error::Failed(error))) => End::Failed(error),
            Err(Halt::Model(Error::NotCompleted { reason, .. })) => End::Incomplete {
                reason,
                usage: self.usage(),
            },
            Err(Halt::Model(error)) => return self.break_off(error).await,
        };
        let has_failed = matches!(end, End::Failed(_));
        let response = self.emitter.ended(&end);
        // Kept before it is sent: whoever reads the end may go on from it at once.
        if let Err(error) = self.keep(response.clone()).await {
            return self.emitter.broke_off(error).await;
        }
        if has_failed {
            self.forget_previous().await;
        }
        self.emitter.end(end, response).await;
    }

    async fn answer(&mut self) -> Result<(), Halt> {
        self.list_tools().await?;
        self.call_approved().await;
        if self.request.generates() {
            self.step_model().await?;
        }
        Ok(())
    }

    /// The upstream gave no answer, or not all of one. What was sent is kept as it is.
    async fn break_off(mut self, error: Error) {
        if self.emitter.has_begun() {
            let end = End::Failed(ApiError::server_error("The response broke off."));
            let response = self.emitter.ended(&end);
            // That the store failed too is in the log: only the first failure is sent.
            let _ = self.keep(response).await;
        }
        self.forget_previous().await;
        self.emitter.broke_off(error).await;
    }

    async fn keep(&self, response: Response) -> Result<(), Error> {
        let kept = self.memory.keep(&response, &self.input).await;
        kept.map_err(|error| input::of_store(&error))
    }

    async fn forget_previous(&self) {
        if let Some(id) = &self.request.previous_response_id
            && let Err(error) = self.memory.forget(id).await
        {
            input::of_store(&error);
        }
    }

    /// Lists the tools of every server whose list is not in context, all of them at once.
    async fn list_tools(&mut self) -> Result<(), Halt> {
        let mut open = Vec::new();
        for server in &self.servers {
            if last_list(self.context.iter(), server.label()).is_none() {
                open.push((
                    self.emitter.list_tools_started(server.label()).await,
                    server.clone(),
                ));
            }
        }
        let engine = Arc::clone(&self.engine);
        let listing = open.iter().map(|(open, server)| {
            let (open, server) = (open.clone(), server.clone());
            let engine = Arc::clone(&engine);
            async move {
                let listed = server.list(&engine.clients).await;
                let listed = listed.and_then(|mut list| {
                    hold_copies(&mut list.held)?;
                    Ok(list)
                });
                (open, server, listed)
            }
        });
        let mut listing: FuturesUnordered<_> = listing.collect();
        while let Some((ended, server, listed)) = listing.next().await {
            open.retain(|(it, _)| it.id != ended.id);
            match listed {
                Ok(list) => {
                    self.held.push(list.held);
                    let mut tools: Vec<_> = list.tools.into_iter().map(connector::listed).collect();
                    tools.retain(|tool| server.allows(tool));
                    self.emitter
                        .list_tools_ended(&ended, server.label(), Ok(tools))
                        .await;
                }
                Err(error) => {
                    let failure = outcome::list_failure(server.label(), &error);
                    let detail = failure.detail.clone().unwrap_or_default();
                    self.emitter
                        .list_tools_ended(&ended, server.label(), Err(detail))
                        .await;
                    // The others are not waited for: an open list would be taken for an empty one.
                    for (open, other) in open {
                        let why = format!("the list of '{}' failed first", server.label());
                        self.emitter
                            .list_tools_ended(&open, other.label(), Err(why))
                            .await;
                    }
                    return Err(match error {
                        // One that does not fit an empty budget never will.
                        mcp::Error::Exhausted(exhausted) if exhausted.needed <= exhausted.limit => {
                            Halt::Model(input::no_memory(exhausted))
                        }
                        _ => Halt::List(failure),
                    });
                }
            }
        }
        Ok(())
    }

    /// Makes the calls that the input approves, before the model says anything.
    async fn call_approved(&mut self) {
        let approved = approvals::approved(&self.context, &self.input);
        let mut lists = HashMap::new();
        let mut calls = Calls::new();
        for request in approved.into_iter().take(self.calls_left()) {
            let label = request.server_label.as_str();
            if !lists.contains_key(label) {
                lists.insert(label.to_owned(), self.list_again(label).await);
            }
            let why_not = match &lists[label] {
                _ if !self.engine.asked.spend(&request.id) => Some(not_called(
                    "The call was made already: one approval is for one call".to_owned(),
                )),
                None => None,
                Some(list) => self.why_not_as_approved(&request, list),
            };
            let call = ToolCall {
                server_label: request.server_label,
                name: request.name,
                arguments: request.arguments,
            };
            self.start(&mut calls, call, Some(&request.id), why_not)
                .await;
        }
        self.finish(&mut calls).await;
    }

    /// The tools that a server has now, if what is known of them was said before: who approved a
    /// call has approved the tool as it was then. A list of this turn is as good as another one.
    async fn list_again(
        &mut self,
        label: &str,
    ) -> Option<Result<Vec<McpListToolsTool>, mcp::Error>> {
        let server = self.servers.iter().find(|server| server.label() == label)?;
        if self.list_of_turn(label).is_some() {
            return None;
        }
        let listed = server.list(&self.engine.clients).await;
        Some(listed.map(|list| {
            self.held.push(list.held);
            list.tools.into_iter().map(connector::listed).collect()
        }))
    }

    /// Why an approved call cannot be made: there is no such tool any more, or it is another one.
    fn why_not_as_approved(
        &self,
        request: &McpApprovalRequest,
        list: &Result<Vec<McpListToolsTool>, mcp::Error>,
    ) -> Option<McpCallError> {
        let tools = match list {
            Ok(tools) => tools,
            Err(error) => return Some(outcome::call_error(error)),
        };
        let Some(now) = tools.iter().find(|it| it.name == request.name) else {
            return Some(unknown_tool(&request.name));
        };
        let (_, then) = self.tool(&request.server_label, &request.name)?;
        (!approvals::is_same_tool(now, then)).then(|| changed_tool(&request.name))
    }

    async fn step_model(&mut self) -> Result<(), Halt> {
        let mut calls_left = self.calls_left();
        for _ in 0..MOST_STEPS {
            let before = self.emitter.output().len();
            let calls = self.step(calls_left > 0).await?;
            let said = &self.emitter.output()[before..];
            let mut is_held = said.iter().any(|item| item.waits_for_client());
            // Calls beyond the limit are ignored, and a step of nothing else is the last.
            if calls.is_empty() || calls_left == 0 {
                return Ok(());
            }
            let mut under_way = Calls::new();
            for call in calls {
                if calls_left == 0 || (is_held && self.calls_one_at_a_time()) {
                    break;
                }
                calls_left -= 1;
                is_held |= self.call_or_hold(&mut under_way, call).await;
            }
            self.finish(&mut under_way).await;
            if is_held {
                return Ok(());
            }
        }
        Err(Halt::Endless)
    }

    /// How many calls `max_tool_calls` leaves; those that were approved are calls as well.
    fn calls_left(&self) -> usize {
        let made = self.emitter.output().iter();
        let made = made
            .filter(|item| matches!(&***item, Item::McpCall(_)))
            .count();
        let most = self.request.max_tool_calls.unwrap_or(u64::MAX);
        usize::try_from(most)
            .unwrap_or(usize::MAX)
            .saturating_sub(made)
    }

    async fn step(&mut self, may_call: bool) -> Result<Vec<ToolCall>, Halt> {
        let tools = if may_call {
            self.callable()
        } else {
            Vec::new()
        };
        let output = self.emitter.output();
        let output = output.iter().map(Arc::as_ref);
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
            must_call: choice::demands_call(self.request.tool_choice.as_ref()) && !has_called,
        };
        let next = self.engine.model.next(&view);
        next.take(&mut self.emitter).await.map_err(Halt::Model)
    }

    /// The tools that the model may call: those of the lists in context that the request still
    /// names and allows, and that `tool_choice` leaves.
    fn callable(&self) -> Vec<ListedTool<'_>> {
        let mut callable = Vec::new();
        for server in &self.servers {
            let label = server.label();
            let tools = self.list(label).into_iter().flat_map(|list| &list.tools);
            let tools = tools.filter(|it| self.may_choose(label, &it.name) && server.allows(it));
            callable.extend(tools.map(|tool| ListedTool {
                server_label: label,
                tool,
            }));
        }
        callable
    }

    /// Whether `tool_choice` leaves this tool to the model.
    fn may_choose(&self, label: &str, name: &str) -> bool {
        choice::leaves(self.request.tool_choice.as_ref(), label, name)
    }

    /// Starts a call, or asks for approval of it. Returns whether it is held.
    async fn call_or_hold(&mut self, calls: &mut Calls, call: ToolCall) -> bool {
        let needs_approval = self
            .tool(&call.server_label, &call.name)
            .filter(|_| self.may_choose(&call.server_label, &call.name))
            .filter(|(server, tool)| server.needs_approval(tool))
            .map(|(server, tool)| (server.place(), tool.clone()));
        let Some((place, tool)) = needs_approval else {
            self.start(calls, call, None, None).await;
            return false;
        };
        let request =
            self.emitter
                .new_approval_request(&call.server_label, &call.name, &call.arguments);
        // Remembered before it is sent: whoever reads it may answer at once.
        self.engine.asked.remember(&request, &tool, &place);
        self.emitter.approval_request(request).await;
        true
    }

    /// Whether a call begins when the one before it has ended (`parallel_tool_calls`).
    fn calls_one_at_a_time(&self) -> bool {
        self.request.parallel_tool_calls == Some(false)
    }

    /// Starts a call beside those that are under way; `why_not` says that it is not to be made.
    async fn start(
        &mut self,
        calls: &mut Calls,
        call: ToolCall,
        approved: Option<&str>,
        why_not: Option<McpCallError>,
    ) {
        let most = match self.calls_one_at_a_time() {
            true => 1,
            false => MOST_AT_ONCE,
        };
        while calls.len() >= most {
            self.finish_next(calls).await;
        }
        let ToolCall {
            server_label,
            name,
            arguments,
        } = &call;
        let (open, item) = self
            .emitter
            .call_started(server_label, name, arguments, approved)
            .await;
        let ready = match why_not {
            Some(error) => Err(error),
            None => self.ready(&call, approved),
        };
        let engine = Arc::clone(&self.engine);
        let ended = async move {
            let (outcome, held) = match ready {
                Ok((server, arguments)) => {
                    let called = server.call(&engine.clients, &call.name, arguments);
                    held_outcome(&server, called.await)
                }
                Err(error) => (Err(error), None),
            };
            EndedCall {
                open,
                item,
                outcome,
                held,
            }
        };
        calls.push(ended.boxed());
    }

    /// Waits until all calls have ended.
    async fn finish(&mut self, calls: &mut Calls) {
        while !calls.is_empty() {
            self.finish_next(calls).await;
        }
    }

    /// Waits until one of the calls has ended.
    async fn finish_next(&mut self, calls: &mut Calls) {
        let Some(EndedCall {
            open,
            item,
            outcome,
            held,
        }) = calls.next().await
        else {
            return;
        };
        self.held.extend(held);
        let call = match outcome {
            Ok(output) => McpCall {
                status: Some(Status::Completed),
                output: Some(output),
                ..item
            },
            Err(error) => McpCall {
                status: Some(Status::Failed),
                error: Some(error),
                ..item
            },
        };
        self.emitter.call_ended(&open, call).await;
    }

    /// The server that a call goes to, and its arguments, or why it is not made.
    fn ready(
        &self,
        call: &ToolCall,
        approved: Option<&str>,
    ) -> Result<(Server, Map<String, Value>), McpCallError> {
        let (label, name) = (&call.server_label, &call.name);
        // What is not listed, not allowed, or not to be chosen is not called, whoever asks for it.
        let may_call = approved.is_some() || self.may_choose(label, name);
        let Some((server, tool)) = self.tool(label, name).filter(|_| may_call) else {
            return Err(unknown_tool(name));
        };
        if approved.is_some_and(|id| !self.engine.asked.is_unchanged(id, tool, &server.place())) {
            return Err(changed_tool(name));
        }
        if parsed_size(call.arguments.as_bytes()) > MOST_ARGUMENTS {
            let most = MOST_ARGUMENTS / 1024 / 1024;
            let message = format!("the arguments take more than {most} MiB of memory");
            return Err(not_called(message));
        }
        let arguments = serde_json::from_str(&call.arguments)
            .map_err(|_| not_called("the arguments are not a JSON object".to_owned()))?;
        Ok((server.clone(), arguments))
    }

    fn tool(&self, label: &str, name: &str) -> Option<(&Server, &McpListToolsTool)> {
        let server = self.servers.iter().find(|server| server.label() == label)?;
        let tool = self.list(label)?.tools.iter().find(|it| it.name == name)?;
        server.allows(tool).then_some((server, tool))
    }

    /// The last list of the server's tools, of this turn or of what was said before.
    fn list(&self, label: &str) -> Option<&McpListTools> {
        self.list_of_turn(label)
            .or_else(|| last_list(self.context.iter(), label))
    }

    /// The last list of the server's tools that this turn asked for.
    fn list_of_turn(&self, label: &str) -> Option<&McpListTools> {
        last_list(self.emitter.output().iter().map(Arc::as_ref), label)
    }

    /// What the upstream said that it took, or a guess where the model is built in.
    fn usage(&self) -> Usage {
        if let Some(usage) = self.emitter.usage() {
            return usage;
        }
        Usage {
            input_tokens: input_tokens(&self.request, &self.context),
            output_tokens: tokens_of(self.emitter.output()),
            ..Usage::default()
        }
    }
}

/// The calls that are under way.
type Calls = FuturesUnordered<BoxFuture<'static, EndedCall>>;

/// What came of a call.
struct EndedCall {
    open: Open,
    /// The item as it stands, without its end.
    item: McpCall,
    outcome: Result<String, McpCallError>,
    held: Option<Held>,
}

/// The output of a call or its error, and what the engine holds of it.
fn held_outcome(
    server: &Server,
    called: Result<mcp::Called, mcp::Error>,
) -> (Result<String, McpCallError>, Option<Held>) {
    let called = called.and_then(|mut called| {
        hold_copies(&mut called.held)?;
        Ok(called)
    });
    match called {
        Ok(called) => {
            let output = outcome::of_call(server.as_mcp(), Ok(called.result));
            (output, Some(called.held))
        }
        Err(error) => (outcome::of_call(server.as_mcp(), Err(error)), None),
    }
}

/// Holds what the engine makes of a list or a result, beside what is held of it already.
fn hold_copies(held: &mut Held) -> Result<(), mcp::Error> {
    held.grow(held.bytes().saturating_mul(COPIES))?;
    Ok(())
}

fn last_list<'a>(
    items: impl DoubleEndedIterator<Item = &'a Item>,
    label: &str,
) -> Option<&'a McpListTools> {
    items.rev().find_map(|item| match item {
        Item::McpListTools(list) if list.error.is_none() && list.server_label == label => {
            Some(list)
        }
        _ => None,
    })
}

/// A call that was not made, as a server would have refused it (JSON-RPC 2.0, invalid params).
fn not_called(message: String) -> McpCallError {
    McpCallError::McpProtocolError {
        code: -32602,
        message,
    }
}

fn unknown_tool(name: &str) -> McpCallError {
    not_called(format!("Unknown tool: {name}"))
}

fn changed_tool(name: &str) -> McpCallError {
    not_called(format!(
        "The tool {name} is no longer what it was when the call was approved, or is at another server, and was not called"
    ))
}
