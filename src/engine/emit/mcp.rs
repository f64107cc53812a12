//! The events of lists of tools, of calls, and of requests for approval.

use serde_json::Map;

use super::{Emitter, Open};
use crate::responses::{
    EventKind, Item, McpApprovalRequest, McpCall, McpListTools, McpListToolsTool, Status,
};

impl Emitter {
    /// The list of a server's tools is asked for.
    pub async fn list_tools_started(&mut self, server_label: &str) -> Open {
        let open = self
            .add("mcpl", |id| {
                Item::McpListTools(McpListTools {
                    id,
                    server_label: server_label.to_owned(),
                    tools: Vec::new(),
                    error: None,
                    rest: Map::new(),
                })
            })
            .await;
        self.send(EventKind::McpListToolsInProgress {
            output_index: open.output_index,
            item_id: open.id.clone(),
        })
        .await;
        open
    }

    /// The list of a server's tools is there, or why it is not.
    pub async fn list_tools_ended(
        &mut self,
        open: &Open,
        server_label: &str,
        tools: Result<Vec<McpListToolsTool>, String>,
    ) {
        let (output_index, item_id) = (open.output_index, open.id.clone());
        let (tools, error) = match tools {
            Ok(tools) => (tools, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let list = McpListTools {
            id: item_id.clone(),
            server_label: server_label.to_owned(),
            tools,
            error,
            rest: Map::new(),
        };
        self.send(if list.error.is_some() {
            EventKind::McpListToolsFailed {
                output_index,
                item_id,
            }
        } else {
            EventKind::McpListToolsCompleted {
                output_index,
                item_id,
            }
        })
        .await;
        self.done(open, Item::McpListTools(list)).await;
    }

    /// A call goes out. Returns the item as it stands, for [`Self::call_ended`].
    pub async fn call_started(
        &mut self,
        server_label: &str,
        name: &str,
        arguments: &str,
        approval_request_id: Option<&str>,
    ) -> (Open, McpCall) {
        let call = McpCall {
            id: String::new(),
            status: Some(Status::InProgress),
            approval_request_id: approval_request_id.map(str::to_owned),
            arguments: String::new(),
            error: None,
            name: name.to_owned(),
            output: None,
            server_label: server_label.to_owned(),
            rest: Map::new(),
        };
        let open = self
            .add("mcp", |id| Item::McpCall(McpCall { id, ..call.clone() }))
            .await;
        let (output_index, item_id) = (open.output_index, open.id.clone());
        let in_progress = EventKind::McpCallInProgress {
            output_index,
            item_id: item_id.clone(),
        };
        self.send(in_progress.clone()).await;
        self.send(EventKind::McpCallArgumentsDelta {
            output_index,
            item_id: item_id.clone(),
            delta: arguments.to_owned(),
            obfuscation: String::new(),
        })
        .await;
        // Recorded so: a call that was approved is announced a second time.
        if approval_request_id.is_some() {
            self.send(in_progress).await;
        }
        self.send(EventKind::McpCallArgumentsDone {
            output_index,
            item_id,
            arguments: arguments.to_owned(),
        })
        .await;
        let call = McpCall {
            id: open.id.clone(),
            arguments: arguments.to_owned(),
            ..call
        };
        (open, call)
    }

    /// A call came back; `call` has its output, or its error and the status `failed`.
    pub async fn call_ended(&mut self, open: &Open, call: McpCall) {
        let (output_index, item_id) = (open.output_index, open.id.clone());
        self.send(if call.error.is_some() {
            EventKind::McpCallFailed {
                output_index,
                item_id,
            }
        } else {
            EventKind::McpCallCompleted {
                output_index,
                item_id,
            }
        })
        .await;
        self.done(open, Item::McpCall(call)).await;
    }

    /// A call that needs approval. No event is sent yet.
    pub fn new_approval_request(
        &self,
        server_label: &str,
        name: &str,
        arguments: &str,
    ) -> McpApprovalRequest {
        McpApprovalRequest {
            id: self.ids.next("mcpr"),
            arguments: arguments.to_owned(),
            name: name.to_owned(),
            server_label: server_label.to_owned(),
            rest: Map::new(),
        }
    }

    /// A call waits for approval.
    pub async fn approval_request(&mut self, request: McpApprovalRequest) {
        self.added_and_done(Item::McpApprovalRequest(request)).await;
    }
}
