//! Answers to approval requests, and the request that carries them. Nothing here decides.

use super::item::{Item, McpApprovalRequest, McpApprovalResponse};
use super::request::{CreateResponse, Input};
use super::response::Response;

/// The answer to one approval request.
pub fn answer(request: &McpApprovalRequest, approve: bool) -> McpApprovalResponse {
    McpApprovalResponse {
        id: None,
        approval_request_id: request.id.clone(),
        approve,
        reason: None,
    }
}

/// The request that goes on after `response`: the same tool entries with their credentials, which
/// the API does not keep, and the answers as its input.
pub fn follow_up(
    request: &CreateResponse,
    response: &Response,
    answers: Vec<McpApprovalResponse>,
) -> CreateResponse {
    CreateResponse {
        previous_response_id: Some(response.id().to_owned()),
        input: Input::Items(answers.into_iter().map(Item::McpApprovalResponse).collect()),
        ..request.clone()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_follow_up_is_the_one_that_openai_was_sent() {
        let recorded = |name: &str| -> Value {
            let (_, body) = crate::responses::fixtures(name).remove(0);
            serde_json::from_slice(&body).unwrap()
        };
        let first = recorded("dotnet-MCPToolAlwaysRequiresApproval_True.1.request.json");
        let answered = recorded("dotnet-MCPToolAlwaysRequiresApproval_True.1.response.json");
        let second = recorded("dotnet-MCPToolAlwaysRequiresApproval_True.2.request.json");

        let response = Response::read(answered.as_object().unwrap().clone()).unwrap();
        let answers = response
            .pending_approvals()
            .iter()
            .map(|request| answer(request, true))
            .collect();
        let next = follow_up(&serde_json::from_value(first).unwrap(), &response, answers);
        assert_eq!(serde_json::to_value(next).unwrap(), second);
    }

    #[test]
    fn credentials_are_sent_again() {
        let request: CreateResponse = serde_json::from_value(json!({
            "tools": [{"type": "mcp", "server_label": "a", "authorization": "t"}],
        }))
        .unwrap();
        let response = Response::read(json!({"object": "response"}).as_object().unwrap().clone());
        let next = follow_up(&request, &response.unwrap(), Vec::new());
        let tool = next.mcp_tools().next().unwrap();
        assert_eq!(tool.authorization.as_deref(), Some("t"));
    }
}
