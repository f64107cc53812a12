//! The input of a request: items that are only referred to, and items as they are kept.

use std::collections::{HashMap, HashSet};

use http::StatusCode;
use serde_json::{Value, json};

use super::ids::{ANY_KIND, Ids};
use super::memory::Memory;
use super::store;
use crate::budget::{Exhausted, Held};
use crate::responses::{ApiError, Content, Error, Item, Message, Role, Status};

/// The input with each `item_reference` replaced by the item that it means. References to items that
/// are in `context` already are left out, but for approval requests: as OpenAI, we refuse one that
/// comes a second time. So is a second reference to the same item, before the item is copied.
pub async fn resolve(
    input: Vec<Item>,
    context: &[Item],
    memory: &Memory,
    held: &mut Held,
) -> Result<Vec<Item>, Error> {
    if input.iter().all(|item| referred_to(item).is_none()) {
        return Ok(input);
    }
    let known = context.iter().filter_map(|item| Some((item.id()?, item)));
    let known: HashMap<&str, &Item> = known.collect();
    let mut referred = HashSet::new();
    let mut wanted = Vec::new();
    for id in input.iter().filter_map(referred_to) {
        match known.get(id) {
            Some(Item::McpApprovalRequest(_)) => return Err(duplicate(id)),
            Some(_) => {}
            None if !referred.insert(id) => return Err(duplicate(id)),
            None => wanted.push(id.to_owned()),
        }
    }
    let items = memory.items(wanted, held).await;
    let mut items = items.map_err(|error| from_store(&error))?;
    let mut resolved = Vec::with_capacity(input.len());
    for item in input {
        match referred_to(&item) {
            None => resolved.push(item),
            Some(id) if known.contains_key(id) => {}
            Some(id) => resolved.push(items.remove(id).ok_or_else(|| not_found(id))?),
        }
    }
    Ok(resolved)
}

fn not_found(id: &str) -> Error {
    Error::not_found(
        Some("input"),
        format!(
            "Item with id '{id}' not found. Items are not persisted when `store` is set to false. \
             Try again with `store` set to true, or remove this item from your input."
        ),
    )
}

/// An item that is there already (Responses API, HTTP 400).
pub fn duplicate(id: &str) -> Error {
    let message = format!(
        "Duplicate item found with id {id}. Remove duplicate items from your input and try again."
    );
    Error::bad_request("input", None, message)
}

/// Rejects an item of a known type with the wrong fields, which would pass as an unknown item.
pub fn refuse_malformed(input: &[Item]) -> Result<(), Error> {
    let is_known = |item: &Item| {
        let kind = item.kind();
        matches!(
            kind,
            "message"
                | "mcp_list_tools"
                | "mcp_call"
                | "mcp_approval_request"
                | "mcp_approval_response"
        )
    };
    let is_malformed = |item: &Item| matches!(item, Item::Other(_)) && is_known(item);
    match input.iter().position(is_malformed) {
        None => Ok(()),
        Some(index) => {
            let kind = input[index].kind();
            let message = format!(
                "Invalid value for 'input[{index}]': an item of the type '{kind}' lacks a field, or has one of the wrong type."
            );
            Err(Error::bad_request(
                &format!("input[{index}]"),
                None,
                message,
            ))
        }
    }
}

/// Refuses a conversation in which a function was called and the client does not say what came of
/// it (Responses API, HTTP 400).
pub fn refuse_unanswered(context: &[Item], input: &[Item]) -> Result<(), Error> {
    let call_id = |item: &'_ Item, kind: &str| match item {
        Item::Other(fields) if fields.get("type") == Some(&kind.into()) => {
            Some(fields.get("call_id")?.as_str()?.to_owned())
        }
        _ => None,
    };
    let items = || context.iter().chain(input);
    let answered: HashSet<String> = items()
        .filter_map(|item| call_id(item, "function_call_output"))
        .collect();
    let mut called = items().filter_map(|item| call_id(item, "function_call"));
    match called.find(|call| !answered.contains(call)) {
        None => Ok(()),
        Some(call) => Err(Error::bad_request(
            "input",
            None,
            format!("No tool output found for function call {call}."),
        )),
    }
}

/// Failures of the store are logged; the client gets no details.
pub fn from_store(error: &store::Error) -> Error {
    if let store::Error::Exhausted(exhausted) = error {
        return no_memory(*exhausted);
    }
    tracing::error!(error = error as &dyn std::error::Error, "the store failed");
    Error::server_error("The store of responses could not be read or written.")
}

/// The requests that are being answered take all memory that there is for them: HTTP 503, after which
/// clients retry. One that would not fit if it were alone is too large: HTTP 413.
pub fn no_memory(exhausted: Exhausted) -> Error {
    let Exhausted { limit, needed } = exhausted;
    tracing::info!(needed, limit, "a request is rejected: {exhausted}");
    if needed > limit {
        let (needed, limit) = (needed.div_ceil(1024 * 1024), limit / 1024 / 1024);
        let message = format!(
            "The request would take {needed} MiB of memory, and this server has {limit} MiB for all requests: it has too many values, or goes on from too many."
        );
        let error = ApiError::invalid_request(message);
        return Error::refused(StatusCode::PAYLOAD_TOO_LARGE, error);
    }
    let message = "Too many large requests are being answered.".to_owned();
    let error = ApiError {
        kind: Some("rate_limit_error".to_owned()),
        code: Some("rate_limit_exceeded".to_owned()),
        ..ApiError::invalid_request(message)
    };
    Error::refused(StatusCode::SERVICE_UNAVAILABLE, error)
}

/// An `item_reference` may leave its type out (Responses API, ItemReferenceParam).
fn referred_to(item: &Item) -> Option<&str> {
    let Item::Other(fields) = item else {
        return None;
    };
    let is_reference = match fields.get("type") {
        None | Some(Value::Null) => fields.len() <= 2,
        Some(kind) => kind == "item_reference",
    };
    fields.get("id")?.as_str().filter(|_| is_reference)
}

/// The items as they are kept: each has an id, and a message has parts (Responses API, item
/// resources).
pub fn kept(input: Vec<Item>, ids: &Ids) -> Vec<Item> {
    let kept = input.into_iter().map(|item| match item {
        Item::Message(message) => Item::Message(Message {
            id: message.id.or_else(|| Some(ids.next("msg"))),
            status: message.status.or(Some(Status::Completed)),
            content: Content::Parts(parts(message.content, &message.role)),
            ..message
        }),
        Item::McpApprovalResponse(mut response) => {
            response.id.get_or_insert_with(|| ids.next("mcpa"));
            Item::McpApprovalResponse(response)
        }
        Item::Other(mut fields) if !fields.get("id").is_some_and(Value::is_string) => {
            fields.insert("id".to_owned(), ids.next(ANY_KIND).into());
            Item::Other(fields)
        }
        item => item,
    });
    kept.collect()
}

fn parts(content: Content, role: &Role) -> Vec<Value> {
    match content {
        Content::Parts(parts) => parts,
        Content::Text(text) => {
            let mut part = match role {
                Role::Assistant => {
                    json!({"type": "output_text", "annotations": [], "logprobs": []})
                }
                _ => json!({"type": "input_text"}),
            };
            // Moved, and not copied, as `json!` would do.
            part["text"] = Value::String(text);
            vec![part]
        }
    }
}
