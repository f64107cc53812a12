//! How a conversation goes on: by the id of the last response, or by sending everything again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::item::{Item, McpApprovalRequest, McpApprovalResponse, McpListTools};
use super::request::{CreateResponse, Input};
use super::response::Response;

/// What `include` names to get a model's reasoning in a form that can be sent again.
const ENCRYPTED_REASONING: &str = "reasoning.encrypted_content";

/// What was said so far, as far as the next request has to repeat it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// The last response, where the API keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_response_id: Option<String>,
    /// Everything, where the API keeps nothing (`store: false`). The lists of tools are among it,
    /// so that no server is asked for its list again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Arc<Item>>,
    /// The calls that wait for approval.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<McpApprovalRequest>,
    /// The tools that were listed: approval can depend on what a tool does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<McpListTools>,
}

impl Conversation {
    /// The request that says `input` next. Its tool entries go with it, credentials and all, for
    /// the API keeps neither.
    pub fn request(&self, template: &CreateResponse, input: Input) -> CreateResponse {
        let mut request = template.clone();
        if let Some(id) = &self.previous_response_id {
            request.previous_response_id = Some(id.clone());
        }
        request.input = if self.items.is_empty() {
            input
        } else {
            let items = self.items.iter().map(|item| Item::clone(item));
            Input::Items(items.chain(input.into_items()).collect())
        };
        request
    }

    /// Forgets the tools of a server, so that they are listed again. Returns whether any were known.
    pub fn forget_tools(&mut self, server_label: &str) -> bool {
        let known = self.lists.len();
        self.lists.retain(|list| list.server_label != server_label);
        let is_list =
            |it: &Item| matches!(it, Item::McpListTools(list) if list.server_label == server_label);
        self.items.retain(|item| !is_list(item));
        self.lists.len() < known
    }

    /// Takes in what was asked and what was answered.
    pub fn add(&mut self, request: &CreateResponse, response: &Response) {
        let output = response.output();
        if request.store == Some(false) {
            self.add_items(request, output);
        } else {
            self.take_note(&output);
            self.previous_response_id = Some(response.id().to_owned());
            self.items.clear();
        }
    }

    /// Takes in what was asked, and the items that were done when the answer broke off: a call that
    /// was made is not to be made again. Where the API keeps the conversation, it does so itself.
    /// Returns whether there was anything to take in.
    pub fn add_broken_off(&mut self, request: &CreateResponse, mut done: Vec<Arc<Item>>) -> bool {
        // Reasoning that led to nothing cannot be sent again.
        while done.last().is_some_and(|item| item.is_reasoning()) {
            done.pop();
        }
        if request.store != Some(false) || done.is_empty() {
            return false;
        }
        self.add_items(request, done);
        true
    }

    /// Where the API keeps nothing, everything is kept here.
    fn add_items(&mut self, request: &CreateResponse, output: Vec<Arc<Item>>) {
        self.take_note(&output);
        // What was said before this API forgot, it still knows.
        self.previous_response_id
            .clone_from(&request.previous_response_id);
        let input = request.input.clone().into_items();
        self.items = input.into_iter().map(Arc::new).collect();
        self.items.extend(output);
    }

    /// The calls that wait now, and the tools that are known.
    fn take_note(&mut self, output: &[Arc<Item>]) {
        self.pending.clear();
        for item in output {
            match &**item {
                Item::McpApprovalRequest(request) => self.pending.push(request.clone()),
                Item::McpListTools(list) => self.lists.push(list.clone()),
                _ => {}
            }
        }
    }
}

/// The answer to one approval request (Responses API, `mcp_approval_response`).
pub fn answer(request: &McpApprovalRequest, approve: bool) -> Item {
    Item::McpApprovalResponse(McpApprovalResponse {
        id: None,
        approval_request_id: request.id.clone(),
        approve,
        reason: None,
        rest: Map::new(),
    })
}

/// Makes a request that leaves nothing behind at the API, and gets what it takes to go on all the
/// same: a model's reasoning can be sent again only in its encrypted form.
pub fn forget(request: &mut CreateResponse) {
    request.store = Some(false);
    if asks_for_reasoning(request) {
        return;
    }
    match request.rest.get_mut("include") {
        Some(Value::Array(include)) => include.push(ENCRYPTED_REASONING.into()),
        _ => {
            let include = Value::Array(vec![ENCRYPTED_REASONING.into()]);
            request.rest.insert("include".to_owned(), include);
        }
    }
}

/// Whether the request asks for reasoning in its encrypted form.
pub(super) fn asks_for_reasoning(request: &CreateResponse) -> bool {
    let include = request.rest.get("include").and_then(Value::as_array);
    include.is_some_and(|include| include.iter().any(|it| it == ENCRYPTED_REASONING))
}

/// Takes out the wish for reasoning, and all reasoning that was sent along.
pub(super) fn leave_reasoning_out(request: &mut CreateResponse) {
    if let Some(Value::Array(include)) = request.rest.get_mut("include") {
        include.retain(|it| it != ENCRYPTED_REASONING);
    }
    if let Input::Items(items) = &mut request.input {
        items.retain(|item| !item.is_reasoning());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn recorded(name: &str) -> Value {
        let (_, body) = crate::responses::fixtures(name).remove(0);
        serde_json::from_slice(&body).unwrap()
    }

    fn response(object: &Value) -> Response {
        Response::read(object.as_object().unwrap().clone()).unwrap()
    }

    #[test]
    fn an_approval_is_sent_as_openai_was_sent_it() {
        let first: CreateResponse = serde_json::from_value(recorded(
            "dotnet-MCPToolAlwaysRequiresApproval_True.1.request.json",
        ))
        .unwrap();
        let answered = recorded("dotnet-MCPToolAlwaysRequiresApproval_True.1.response.json");
        let second = recorded("dotnet-MCPToolAlwaysRequiresApproval_True.2.request.json");

        let mut conversation = Conversation::default();
        conversation.add(&first, &response(&answered));
        let answers = conversation
            .pending
            .iter()
            .map(|it| answer(it, true))
            .collect();
        let next = conversation.request(&first, Input::Items(answers));
        assert_eq!(serde_json::to_value(next).unwrap(), second);
    }

    #[test]
    fn without_a_store_everything_is_sent_again() {
        let mut request: CreateResponse = serde_json::from_value(json!({
            "input": "Roll",
            "tools": [{"type": "mcp", "server_label": "a", "authorization": "t"}],
        }))
        .unwrap();
        forget(&mut request);
        let output = json!([
            {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "a", "tools": []},
            {"type": "reasoning", "id": "rs_1", "encrypted_content": "x", "summary": []},
            {"type": "mcp_approval_request", "id": "mcpr_1", "name": "roll", "arguments": "{}",
             "server_label": "a"},
        ]);
        let mut conversation = Conversation::default();
        conversation.add(
            &request,
            &response(&json!({"id": "resp_1", "object": "response", "output": output})),
        );
        let answers = vec![answer(&conversation.pending[0], true)];
        let next =
            serde_json::to_value(conversation.request(&request, Input::Items(answers))).unwrap();
        assert_eq!(next.get("previous_response_id"), None);
        assert_eq!(
            next["tools"][0]["authorization"], "t",
            "credentials are sent again"
        );
        assert_eq!(next["include"], json!(["reasoning.encrypted_content"]));
        let types: Vec<&Value> = next["input"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| &it["type"])
            .collect();
        assert_eq!(
            types,
            [
                "message",
                "mcp_list_tools",
                "reasoning",
                "mcp_approval_request",
                "mcp_approval_response"
            ]
        );
        let kept = serde_json::to_string(&conversation).unwrap();
        assert_eq!(
            serde_json::from_str::<Conversation>(&kept).unwrap(),
            conversation
        );
        assert!(!kept.contains("\"t\""), "a credential is kept");
    }
}
