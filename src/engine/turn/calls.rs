//! The calls of a turn: started side by side, or held for approval.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::{Map, Value};

use super::{Turn, hold_copies};
use crate::budget::{Held, parsed_size};
use crate::connector::Server;
use crate::engine::emit::Open;
use crate::engine::model::{MOST_ARGUMENTS, ToolCall};
use crate::engine::outcome;
use crate::mcp;
use crate::responses::{McpCall, McpCallError, Status};

/// How many calls of one step are under way at once.
const MOST_AT_ONCE: usize = 16;

/// The calls that are under way.
pub(super) type Calls = FuturesUnordered<BoxFuture<'static, EndedCall>>;

/// What came of a call.
pub(super) struct EndedCall {
    open: Open,
    /// The item as it stands, without its end.
    item: McpCall,
    outcome: Result<String, McpCallError>,
    held: Option<Held>,
}

impl Turn {
    /// Starts a call, or asks for approval of it. Returns whether it is held.
    pub(super) async fn call_or_hold(&mut self, calls: &mut Calls, call: ToolCall) -> bool {
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
        // Remembered before it is sent, because the answer can come at once.
        self.engine.asked.remember(&request, &tool, &place);
        self.emitter.approval_request(request).await;
        true
    }

    /// Whether a call begins when the one before it has ended (`parallel_tool_calls`).
    pub(super) fn calls_one_at_a_time(&self) -> bool {
        self.request.parallel_tool_calls == Some(false)
    }

    /// Starts a call beside those that are under way; `why_not` says that it is not to be made.
    pub(super) async fn start(
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
                    let called = server.call(&engine.clients, &call.name, &arguments);
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
    pub(super) async fn finish(&mut self, calls: &mut Calls) {
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
        // A tool that is not listed, not allowed or excluded by `tool_choice` is never called.
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
}

/// The output of a call or its error, and what the engine holds of it.
fn held_outcome(
    server: &Server,
    called: Result<mcp::Called, mcp::Error>,
) -> (Result<String, McpCallError>, Option<Held>) {
    let called = called.and_then(|mut called| {
        called.result.require_known_types()?;
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

/// A call that was not made, as a server would have refused it (JSON-RPC 2.0, invalid params).
pub(super) fn not_called(message: String) -> McpCallError {
    McpCallError::McpProtocolError {
        code: -32602,
        message,
    }
}

pub(super) fn unknown_tool(name: &str) -> McpCallError {
    not_called(format!("Unknown tool: {name}"))
}

pub(super) fn changed_tool(name: &str) -> McpCallError {
    not_called(format!(
        "The tool {name} is no longer what it was when the call was approved, or is at another server, and was not called"
    ))
}
