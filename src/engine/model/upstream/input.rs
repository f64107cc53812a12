//! The conversation as a model with functions knows it.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::function_call;
use crate::engine::ids::{ANY_KIND, upstreams_id};
use crate::engine::model::names::Names;
use crate::responses::{
    Item, McpApprovalRequest, McpApprovalResponse, McpCall, McpCallError, Message, Role,
};

/// The items of a request that says what was said so far: what became of MCP tools is told as of
/// functions, everything else as it is.
pub fn input(items: &[&Item], names: &Names) -> Vec<Item> {
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
                let name = names.function_name(&request.server_label, &request.name);
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
                let name = names.function_name(&call.server_label, &call.name);
                input.extend(function(&call.id, name, &call.arguments, &result(call)));
            }
            Item::Other(fields) => input.push(Item::Other(with_upstreams_id(fields))),
            Item::McpListTools(_) | Item::McpApprovalResponse(_) => {}
        }
    }
    without_stray_reasoning(input)
}

/// The item with the id that the upstream gave it. What had none got one when it was kept; the
/// upstream would look for the kind of the item in it.
fn with_upstreams_id(item: &Map<String, Value>) -> Map<String, Value> {
    let mut item = item.clone();
    let id = item.get("id").and_then(Value::as_str).unwrap_or_default();
    if let Some(upstreams) = upstreams_id(id) {
        let upstreams = upstreams.to_owned();
        item.insert("id".to_owned(), upstreams.into());
    } else if id.split('_').next() == Some(ANY_KIND) {
        item.shift_remove("id");
    }
    item
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
        Item::Message(message) => message.role == Role::Assistant,
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

/// The text for the model. Why a server did not answer is for the user alone: it can contain the address.
fn result(call: &McpCall) -> String {
    match (&call.error, &call.output) {
        (Some(McpCallError::HttpError { code: 424, .. }), _) => {
            "Error: the tool's server did not answer".to_owned()
        }
        (Some(McpCallError::HttpError { code, .. }), _) => {
            format!("Error: the tool's server refused the call (HTTP {code})")
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
        Some(response) if response.approve => "The call was not made.".to_owned(),
        Some(_) => "The call was denied.".to_owned(),
        None => "The call was not made: it waits for approval.".to_owned(),
    }
}
