//! One turn: list tools, answer approvals, step the model, call or hold, repeat, complete.

mod calls;

use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt};

use super::emit::Emitter;
use super::memory::Memory;
use super::model::{ListedTool, ToolCall, View, is_question};
use super::response::{End, Usage, input_tokens, tokens_of};
use super::{Inner, approvals, choice, input, outcome};
use crate::budget::Held;
use crate::connector::{self, Server};
use crate::mcp;
use crate::responses::{
    ApiError, CreateResponse, Error, FailedDependency, Item, McpApprovalRequest, McpCallError,
    McpListTools, McpListToolsTool, Response,
};

use calls::{Calls, changed_tool, not_called, unknown_tool};

/// How many steps a model may take in one turn; a script or a model that never ends is cut here.
const MOST_STEPS: usize = 64;
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
            // Stored before its id is sent, because a client can ask for it at once.
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
        // Stored before it is sent, because a client can continue from it at once.
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
        kept.map_err(|error| input::from_store(&error))
    }

    async fn forget_previous(&self) {
        if let Some(id) = &self.request.previous_response_id
            && let Err(error) = self.memory.forget(id).await
        {
            input::from_store(&error);
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
                    // The other lists are dropped: an unfinished list would look empty.
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
