//! Which items and events of an upstream are passed on: those that a model makes.

use crate::responses::{Item, Role};

/// The longest name of a kind that is passed on.
const LONGEST: usize = 64;

/// Whether a model may make this item.
///
/// Which MCP tools there are, which calls were made and what was approved is known here and not
/// upstream; what a person, a developer or a tool said comes from the client. An item of the upstream
/// that contains any of this would be trusted in the next turn. Calls of kinds that are not known yet
/// are passed on: the API names all of them alike.
pub fn is_of_model(item: &Item) -> bool {
    match item {
        Item::Message(message) => message.role == Role::Assistant,
        Item::Other(_) => is_kind_of_model(item.kind()),
        Item::McpListTools(_)
        | Item::McpCall(_)
        | Item::McpApprovalRequest(_)
        | Item::McpApprovalResponse(_) => false,
    }
}

fn is_kind_of_model(kind: &str) -> bool {
    let is_word = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_';
    match kind {
        "reasoning" | "compaction" | "program" => true,
        _ => {
            kind.ends_with("_call")
                && !kind.starts_with("mcp_")
                && kind.len() <= LONGEST
                && kind.bytes().all(is_word)
        }
    }
}

/// Whether an event with this `type` is about a part of an item, such as
/// `response.output_text.delta`. The events of a whole response have one word less, and those of MCP
/// are the engine's.
pub fn is_of_part(name: &str) -> bool {
    let Some(name) = name.strip_prefix("response.") else {
        return false;
    };
    name.contains('.') && !name.starts_with("mcp_") && !name.starts_with("output_item.")
}

/// What OpenAI begins the ids of a kind with (Responses API, recorded and documented).
pub fn id_prefix(kind: &str) -> &'static str {
    match kind {
        "message" => "msg",
        "reasoning" => "rs",
        "compaction" => "cmp",
        "function_call" => "fc",
        "custom_tool_call" => "ctc",
        "web_search_call" => "ws",
        "file_search_call" => "fs",
        "code_interpreter_call" => "ci",
        "computer_call" => "cu",
        "image_generation_call" => "ig",
        "local_shell_call" => "lsh",
        "shell_call" => "sh",
        "apply_patch_call" => "apc",
        "tool_search_call" => "tsc",
        _ => crate::engine::ids::ANY_KIND,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_items_that_a_model_makes_are_passed_on_and_no_others() {
        let is_passed_on = |item| is_of_model(&serde_json::from_value(item).unwrap());
        for kind in [
            "reasoning",
            "compaction",
            "function_call",
            "custom_tool_call",
            "web_search_call",
            "brand_new_call",
        ] {
            assert!(is_passed_on(json!({"type": kind})), "{kind}");
        }
        for kind in [
            "function_call_output",
            "shell_call_output",
            "item_reference",
            "mcp_call",
            "mcp_brand_new_call",
            "message",
            "additional_tools",
            "brand new_call",
            "",
        ] {
            assert!(!is_passed_on(json!({"type": kind})), "{kind}");
        }
        let said =
            |role: &str| is_passed_on(json!({"type": "message", "role": role, "content": []}));
        assert!(said("assistant"));
        assert!(!said("system") && !said("user") && !said("developer"));
        assert!(!is_passed_on(json!({"id": "rs_1"})));
        assert!(!is_passed_on(json!({"type": 1})));
    }

    #[test]
    fn events_of_a_whole_response_are_not_of_a_part() {
        for (name, is_of_a_part) in [
            ("response.output_text.delta", true),
            ("response.reasoning_summary_part.added", true),
            ("response.brand_new.delta", true),
            ("response.completed", false),
            ("response.cancelled", false),
            ("response.output_item.done", false),
            ("response.mcp_call.completed", false),
            ("response.mcp_call_arguments.done", false),
            ("error", false),
            ("brand.new", false),
        ] {
            assert_eq!(is_of_part(name), is_of_a_part, "{name}");
        }
    }
}
