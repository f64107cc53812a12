//! MCP tools as functions: names that an upstream model may use, and the way back.

use std::collections::HashMap;

use crate::responses::Item;

/// The longest name of a function (Responses API, function tools).
const LONGEST: usize = 64;

/// The function names of MCP tools: `^[a-zA-Z0-9_-]{1,64}$`, each of one tool.
///
/// A tool keeps its name where it is a function's and nobody else's; then its server's label comes
/// before it, then a number behind. The same conversation always gives the same names.
pub struct Names {
    tools: HashMap<String, Tool>,
    names: HashMap<Tool, String>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Tool {
    server_label: String,
    name: String,
}

impl Names {
    /// The names of all tools that were listed or called in `items`.
    pub fn new(items: &[&Item]) -> Self {
        let mut names = Self {
            tools: HashMap::new(),
            names: HashMap::new(),
        };
        for (server_label, name) in items.iter().flat_map(|item| tools_of(item)) {
            let tool = Tool {
                server_label: server_label.to_owned(),
                name: name.to_owned(),
            };
            if names.names.contains_key(&tool) {
                continue;
            }
            let free = free_name(&tool, &names.tools);
            names.tools.insert(free.clone(), tool.clone());
            names.names.insert(tool, free);
        }
        names
    }

    /// The function that a tool is, if it was listed or called.
    pub fn of_tool(&self, server_label: &str, name: &str) -> Option<&str> {
        let tool = Tool {
            server_label: server_label.to_owned(),
            name: name.to_owned(),
        };
        self.names.get(&tool).map(String::as_str)
    }

    /// The label of the server and the name of the tool that a function is.
    pub fn to_tool(&self, function: &str) -> Option<(&str, &str)> {
        let tool = self.tools.get(function)?;
        Some((&tool.server_label, &tool.name))
    }
}

fn tools_of(item: &Item) -> Vec<(&str, &str)> {
    match item {
        Item::McpListTools(list) => {
            let names = list.tools.iter().map(|tool| tool.name.as_str());
            names
                .map(|name| (list.server_label.as_str(), name))
                .collect()
        }
        Item::McpCall(call) => vec![(&call.server_label, &call.name)],
        Item::McpApprovalRequest(request) => vec![(&request.server_label, &request.name)],
        Item::Message(_) | Item::McpApprovalResponse(_) | Item::Other(_) => Vec::new(),
    }
}

fn free_name(tool: &Tool, taken: &HashMap<String, Tool>) -> String {
    let plain = fitting(&tool.name, "");
    let labelled = format!("{}__{}", tool.server_label, tool.name);
    let numbered = (2..).map(|number| fitting(&labelled, &format!("_{number}")));
    [plain, fitting(&labelled, "")]
        .into_iter()
        .chain(numbered)
        .find(|name| !taken.contains_key(name))
        .unwrap_or_else(|| unreachable!("numbers do not end"))
}

/// The name in the characters and the length that a function may have, with `ending` behind it.
fn fitting(name: &str, ending: &str) -> String {
    let characters = name.chars().map(|character| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => character,
        _ => '_',
    });
    let mut fitting: String = characters.take(LONGEST - ending.len()).collect();
    fitting.push_str(ending);
    if fitting.is_empty() {
        fitting.push('_');
    }
    fitting
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn lists(tools: &[(&str, &str)]) -> Vec<Item> {
        let list = |(label, name): &(&str, &str)| {
            json!({"type": "mcp_list_tools", "id": "mcpl_1", "server_label": label,
                   "tools": [{"name": name}]})
        };
        serde_json::from_value(tools.iter().map(list).collect()).unwrap()
    }

    fn names(tools: &[(&str, &str)]) -> Names {
        let items = lists(tools);
        Names::new(&items.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_tool_keeps_its_name_while_no_other_has_it() {
        let long = "n".repeat(70);
        let tools = [
            ("a", "roll"),
            ("b", "roll"),
            ("b__roll", ""),
            ("b", "roll!"),
            ("c", "würfeln"),
            ("c", &long),
            ("d", &long),
            ("e", ""),
        ];
        let names = names(&tools);
        let given = tools.map(|(label, name)| names.of_tool(label, name).unwrap());
        assert_eq!(
            given,
            [
                "roll",
                "b__roll",
                "_",
                "roll_",
                "w_rfeln",
                &long[..64],
                &format!("d__{}", &long[..61]),
                "e__",
            ]
        );
    }

    proptest! {
        #[test]
        fn every_tool_has_a_name_of_its_own_that_leads_back(
            tools in prop::collection::vec(("[a_]{0,3}", "(\\PC{0,3}|[a_]{0,5}|x{60,70})"), 0..40)
        ) {
            let tools: Vec<_> = tools.iter().map(|(label, name)| (&**label, &**name)).collect();
            let names = names(&tools);
            for (label, name) in tools {
                let function = names.of_tool(label, name).unwrap();
                prop_assert!((1..=64).contains(&function.len()));
                prop_assert!(function.bytes().all(|it| it.is_ascii_alphanumeric() || b"_-".contains(&it)));
                prop_assert_eq!(names.to_tool(function), Some((label, name)));
            }
        }
    }
}
