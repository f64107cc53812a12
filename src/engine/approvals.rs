//! Approvals: what was asked, what was answered, and whether it is still what was asked.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::input::duplicate;
use crate::budget::parse_within;
use crate::responses::{Error, Item, McpApprovalRequest, McpApprovalResponse, McpListToolsTool};

/// The most bytes that arguments take once they are parsed to be compared.
const MOST_PARSED: u64 = 1024 * 1024;

/// How many requests for approval are remembered; the oldest goes first.
const MOST: usize = 10_000;

/// Refuses input that no turn can make sense of (Responses API, HTTP 400).
pub fn refuse_unusable(context: &[Item], input: &[Item], asked: &Asked) -> Result<(), Error> {
    let refuse = |message: String| Err(Error::bad_request("input", None, message));
    let requests = requests(context.iter().chain(input));
    let mut ids: HashSet<&str> = context.iter().filter_map(Item::id).collect();
    let mut answered: HashSet<&str> = answers(context).map(|(id, _)| id).collect();
    for item in input {
        // Of what a model elsewhere said, the ids are its own, and it may use one again.
        if let Some(id) = item.id().filter(|_| !matches!(item, Item::Other(_)))
            && !ids.insert(id)
        {
            return Err(duplicate(id));
        }
        match item {
            // An answer to nothing, and a second answer to the same, are refused alike.
            Item::McpApprovalResponse(McpApprovalResponse {
                approval_request_id: id,
                ..
            }) if !requests.contains_key(id.as_str()) || !answered.insert(id) => {
                return refuse(format!(
                    "The following MCP approval requests have approval responses but weren't passed as input: {id}."
                ));
            }
            // Who approves has seen the call as it was asked for.
            Item::McpApprovalRequest(request) if !asked.is_as_asked(request) => {
                return refuse(format!(
                    "The MCP approval request '{}' is not the call that approval was asked for.",
                    request.id
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The calls that `input` approves and that were not made yet, in the order of the approvals. What
/// was approved in an earlier request was acted on then, or never will be.
pub fn approved(context: &[Item], input: &[Item]) -> Vec<McpApprovalRequest> {
    let requests = requests(context);
    let made: HashSet<&str> = context
        .iter()
        .filter_map(|item| match item {
            Item::McpCall(call) => call.approval_request_id.as_deref(),
            _ => None,
        })
        .collect();
    answers(input)
        .filter(|(id, response)| response.approve && !made.contains(id))
        .filter_map(|(id, _)| requests.get(id).map(|&request| request.clone()))
        .collect()
}

fn requests<'a>(
    items: impl IntoIterator<Item = &'a Item>,
) -> HashMap<&'a str, &'a McpApprovalRequest> {
    let requests = items.into_iter().filter_map(|item| match item {
        Item::McpApprovalRequest(request) => Some((request.id.as_str(), request)),
        _ => None,
    });
    requests.collect()
}

fn answers(items: &[Item]) -> impl Iterator<Item = (&str, &McpApprovalResponse)> {
    items.iter().filter_map(|item| match item {
        Item::McpApprovalResponse(response) => {
            Some((response.approval_request_id.as_str(), response))
        }
        _ => None,
    })
}

/// What approval was asked for, by the id of the request. A client that is told to keep the
/// conversation itself sends the request back, and the server may have changed the tool by then.
///
/// Of requests that are not known here, such as those of another endpoint, nothing is said.
#[derive(Default)]
pub struct Asked {
    remembered: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    calls: HashMap<String, Call>,
    oldest_first: VecDeque<String>,
}

/// Digests, for arguments can be large.
struct Call {
    call: Vec<u8>,
    definition: Vec<u8>,
    was_made: bool,
}

impl Asked {
    /// Remembers a call, and the tool as it was when approval was asked for, with the place of its
    /// server.
    pub fn remember(&self, request: &McpApprovalRequest, tool: &McpListToolsTool, place: &str) {
        let call = Call {
            call: digest_of_call(request),
            definition: digest_of(&json!([tool, place])),
            was_made: false,
        };
        let mut remembered = self.lock();
        remembered.calls.insert(request.id.clone(), call);
        remembered.oldest_first.push_back(request.id.clone());
        if remembered.oldest_first.len() > MOST
            && let Some(oldest) = remembered.oldest_first.pop_front()
        {
            remembered.calls.remove(&oldest);
        }
    }

    fn is_as_asked(&self, request: &McpApprovalRequest) -> bool {
        let remembered = self.lock();
        let call = remembered.calls.get(&request.id);
        call.is_none_or(|it| it.call == digest_of_call(request))
    }

    /// Whether the tool is still what it was when approval was asked for, and at the same server.
    pub fn is_unchanged(&self, id: &str, tool: &McpListToolsTool, place: &str) -> bool {
        let remembered = self.lock();
        let call = remembered.calls.get(id);
        call.is_none_or(|it| it.definition == digest_of(&json!([tool, place])))
    }

    /// Notes that the call is about to be made. Returns whether it may be: one approval is for one
    /// call, also if it is sent twice at the same time.
    pub fn spend(&self, id: &str) -> bool {
        let mut remembered = self.lock();
        let call = remembered.calls.get_mut(id);
        call.is_none_or(|call| !std::mem::replace(&mut call.was_made, true))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a tool is the same one: the order of fields in its definition does not matter.
pub fn is_same_tool(one: &McpListToolsTool, other: &McpListToolsTool) -> bool {
    one == other || digest_of(&json!(one)) == digest_of(&json!(other))
}

/// Arguments that were read and written again are the same arguments.
fn digest_of_call(request: &McpApprovalRequest) -> Vec<u8> {
    // Larger ones are the same only if each character is.
    let arguments = parse_within(&request.arguments, MOST_PARSED)
        .unwrap_or_else(|| Value::String(request.arguments.clone()));
    digest_of(&json!([request.server_label, request.name, arguments]))
}

fn digest_of(value: &Value) -> Vec<u8> {
    let mut canonical = value.clone();
    canonical.sort_all_objects();
    make_whole(&mut canonical);
    digest(&SHA256, canonical.to_string().as_bytes())
        .as_ref()
        .to_vec()
}

/// Whole numbers without a fraction, as some clients write them.
fn make_whole(value: &mut Value) {
    /// Up to here, a float is exactly one whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Object(fields) => fields.values_mut().for_each(make_whole),
        Value::Array(values) => values.iter_mut().for_each(make_whole),
        Value::Number(number) if number.is_f64() => {
            if let Some(float) = number.as_f64()
                && float.fract() == 0.0
                && float.abs() < EXACT
            {
                *value = json!(float as i64);
            }
        }
        Value::Number(_) | Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    fn request(arguments: &str) -> McpApprovalRequest {
        McpApprovalRequest {
            id: "mcpr_1".to_owned(),
            arguments: arguments.to_owned(),
            name: "roll".to_owned(),
            server_label: "dice".to_owned(),
            rest: Map::new(),
        }
    }

    fn tool(description: &str) -> McpListToolsTool {
        McpListToolsTool {
            annotations: Value::Null,
            description: Some(description.to_owned()),
            input_schema: json!({}),
            name: "roll".to_owned(),
            is_annotated_as_acting: false,
            rest: Map::new(),
        }
    }

    #[test]
    fn a_call_is_the_one_that_was_asked_for_however_it_is_written() {
        let asked = Asked::default();
        asked.remember(
            &request(r#"{"n":3.0,"of":[6]}"#),
            &tool("Rolls"),
            "http://a/",
        );
        for (arguments, is_same) in [
            (r#"{"of": [6], "n": 3}"#, true),
            (r#"{"n":4,"of":[6]}"#, false),
            (r#"{"n":3,"of":[6],"more":1}"#, false),
            ("{}", false),
            ("", false),
        ] {
            assert_eq!(
                asked.is_as_asked(&request(arguments)),
                is_same,
                "{arguments}"
            );
        }
        let elsewhere = McpApprovalRequest {
            id: "mcpr_2".to_owned(),
            ..request("{}")
        };
        assert!(asked.is_as_asked(&elsewhere));
    }

    #[test]
    fn numbers_are_compared_as_far_as_a_float_is_exact() {
        let is_same = |one: &str, other: &str| {
            let digests = [one, other].map(|it| digest_of_call(&request(it)));
            digests[0] == digests[1]
        };
        assert!(is_same(
            r#"{"n":1000000000000000.0}"#,
            r#"{"n":1000000000000000}"#
        ));
        // This float is also what 9007199254740993 is read as.
        assert!(!is_same(
            r#"{"n":9007199254740992.0}"#,
            r#"{"n":9007199254740992}"#
        ));
        assert!(!is_same(r#"{"n":1.5}"#, r#"{"n":1}"#));
        assert!(!is_same(
            r#"{"n":18446744073709551615}"#,
            r#"{"n":18446744073709551614}"#
        ));
    }

    #[test]
    fn arguments_of_up_to_a_mebibyte_are_compared_by_what_they_say() {
        let values = |count: usize, space: &str| {
            let values = vec![format!("{space}1"); count];
            request(&format!("{{\"all\":[{}]}}", values.join(",")))
        };
        for (count, is_same) in [(5000, true), (500_000, false)] {
            let (one, other) = (values(count, ""), values(count, " "));
            assert_eq!(
                digest_of_call(&one) == digest_of_call(&other),
                is_same,
                "{count}"
            );
        }
    }

    #[test]
    fn a_call_that_was_made_is_not_made_again() {
        let item = |value: Value| serde_json::from_value::<Item>(value).unwrap();
        let asked = item(
            json!({"type": "mcp_approval_request", "id": "mcpr_1", "name": "roll",
            "server_label": "dice", "arguments": "{}"}),
        );
        let approved_now = [item(
            json!({"type": "mcp_approval_response", "approve": true,
            "approval_request_id": "mcpr_1"}),
        )];
        let made = item(
            json!({"type": "mcp_call", "id": "mcp_1", "name": "roll", "server_label": "dice",
            "arguments": "{}", "output": "1", "approval_request_id": "mcpr_1"}),
        );
        assert_eq!(
            approved(std::slice::from_ref(&asked), &approved_now).len(),
            1
        );
        // A client that keeps the conversation itself may leave the old approval out.
        assert_eq!(approved(&[asked, made], &approved_now).len(), 0);
    }

    #[test]
    fn an_id_may_come_twice_only_in_what_a_model_elsewhere_said() {
        let item = |kind: &str, id: &str| {
            let value = json!({"type": kind, "id": id, "role": "assistant", "content": [], "status": "completed"});
            serde_json::from_value::<Item>(value).unwrap()
        };
        let refused = |kind: &str| {
            let input = [item(kind, "x_1"), item(kind, "x_1")];
            refuse_unusable(&[], &input, &Asked::default()).is_err()
        };
        assert!(refused("message"));
        assert!(!refused("item_of_tomorrow"));
    }

    #[test]
    fn a_tool_with_another_description_is_another_tool() {
        let asked = Asked::default();
        asked.remember(&request("{}"), &tool("Rolls"), "http://a/");
        assert!(asked.is_unchanged("mcpr_1", &tool("Rolls"), "http://a/"));
        let mailing = tool("Rolls, and mails the dice");
        assert!(!asked.is_unchanged("mcpr_1", &mailing, "http://a/"));
        assert!(!asked.is_unchanged("mcpr_1", &tool("Rolls"), "http://b/"));
        assert!(asked.is_unchanged("mcpr_2", &tool("Anything"), "http://b/"));
        // A list that was stored or sent again does not have this annotation.
        let annotated = McpListToolsTool {
            is_annotated_as_acting: true,
            ..tool("Rolls")
        };
        assert!(is_same_tool(&annotated, &tool("Rolls")));
    }

    #[test]
    fn one_approval_is_for_one_call() {
        let asked = Asked::default();
        asked.remember(&request("{}"), &tool("Rolls"), "http://a/");
        assert!(asked.spend("mcpr_1"));
        assert!(!asked.spend("mcpr_1"));
        assert!(asked.spend("mcpr_2"), "of another endpoint");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let asked = Asked::default();
        for number in 0..=MOST {
            let request = McpApprovalRequest {
                id: number.to_string(),
                ..request("{}")
            };
            asked.remember(&request, &tool("Rolls"), "http://a/");
        }
        let remembered = asked.lock();
        assert_eq!(remembered.calls.len(), MOST);
        assert!(
            !remembered.calls.contains_key("0"),
            "the oldest is forgotten"
        );
        assert!(remembered.calls.contains_key(&MOST.to_string()));
    }
}
