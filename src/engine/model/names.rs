//! MCP tools as functions: names that an upstream model may use, and the way back.

use std::collections::HashMap;

use crate::responses::Item;

/// The longest name of a function (Responses API, function tools).
const LONGEST: usize = 64;

/// The room that a number behind a name has: an underscore and seven digits.
const NUMBER: usize = 8;

/// The function names of MCP tools: `^[a-zA-Z0-9_-]{1,64}$`, each of one tool.
///
/// A tool keeps its name where it is a function's and nobody else's; then its server's label comes
/// before it, then a number behind. The same conversation always gives the same names.
#[derive(Default)]
pub struct Names {
    functions: HashMap<String, Function>,
    names: HashMap<Tool, String>,
    /// The next number behind a name, so that many tools of one name are numbered in one go.
    numbers: HashMap<String, u32>,
}

/// Whose a function is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Function {
    /// The client's own: it alone can answer a call.
    Client,
    Mcp(Tool),
}

/// An MCP tool, by its server and its name there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tool {
    pub server_label: String,
    pub name: String,
}

impl Names {
    /// The names of all tools that were listed or called in `items`. Those in `clients` are the
    /// client's own functions, which no tool gets.
    pub fn new<'a>(clients: impl Iterator<Item = &'a str>, items: &[&Item]) -> Self {
        let mut names = Self {
            functions: clients
                .map(|name| (name.to_owned(), Function::Client))
                .collect(),
            ..Self::default()
        };
        for (server_label, name) in items.iter().flat_map(|item| tools_of(item)) {
            let tool = Tool {
                server_label: server_label.to_owned(),
                name: name.to_owned(),
            };
            if names.names.contains_key(&tool) {
                continue;
            }
            let free = names.free_name(&tool);
            names
                .functions
                .insert(free.clone(), Function::Mcp(tool.clone()));
            names.names.insert(tool, free);
        }
        names
    }

    /// The function that a tool is, if it was listed or called.
    pub fn function_name(&self, server_label: &str, name: &str) -> Option<&str> {
        let tool = Tool {
            server_label: server_label.to_owned(),
            name: name.to_owned(),
        };
        self.names.get(&tool).map(String::as_str)
    }

    /// Whose a function is, if it is anybody's.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.get(name)
    }

    fn free_name(&mut self, tool: &Tool) -> String {
        let labelled = format!("{}__{}", tool.server_label, tool.name);
        let plain = fitting(&tool.name, LONGEST);
        let unnumbered = [plain, fitting(&labelled, LONGEST)];
        if let Some(name) = unnumbered.into_iter().find(|it| self.is_free(it)) {
            return name;
        }
        let stem = fitting(&labelled, LONGEST - NUMBER);
        let mut number = self.numbers.get(&stem).copied().unwrap_or(2);
        let mut name = format!("{stem}_{number}");
        while !self.is_free(&name) {
            number += 1;
            name = format!("{stem}_{number}");
        }
        self.numbers.insert(stem, number + 1);
        name
    }

    fn is_free(&self, name: &str) -> bool {
        !self.functions.contains_key(name)
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

/// The name in the characters that a function may have, and no more than `most` of them.
fn fitting(name: &str, most: usize) -> String {
    let characters = name.chars().map(|character| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => character,
        _ => '_',
    });
    let fitting: String = characters.take(most).collect();
    if fitting.is_empty() {
        "_".to_owned()
    } else {
        fitting
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const CLIENTS: [&str; 2] = ["a", "a__a"];

    fn lists(tools: &[(&str, &str)]) -> Vec<Item> {
        let list = |(label, name): &(&str, &str)| {
            json!({"type": "mcp_list_tools", "id": "mcpl_1", "server_label": label,
                   "tools": [{"name": name}]})
        };
        serde_json::from_value(tools.iter().map(list).collect()).unwrap()
    }

    fn names(tools: &[(&str, &str)]) -> Names {
        let items = lists(tools);
        Names::new(CLIENTS.into_iter(), &items.iter().collect::<Vec<_>>())
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
        let given = tools.map(|(label, name)| names.function_name(label, name).unwrap());
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

    #[test]
    fn twenty_thousand_tools_that_want_one_name_are_named_at_once() {
        let tools: Vec<String> = (0..20_000)
            .map(|number: u32| {
                // The same to a function, different to the server.
                let signs = (0..17).map(|bit| if number >> bit & 1 == 0 { '.' } else { '!' });
                signs.collect()
            })
            .collect();
        let tools: Vec<(&str, &str)> = tools.iter().map(|name| ("s", &**name)).collect();
        let started = std::time::Instant::now();
        let names = names(&tools);
        assert!(started.elapsed() < std::time::Duration::from_secs(10));
        let (_, last) = tools[tools.len() - 1];
        let expected = format!("s__{}_19999", "_".repeat(17));
        assert_eq!(names.function_name("s", last), Some(&*expected));
    }

    proptest! {
        #[test]
        fn every_tool_has_a_name_of_its_own_that_leads_back(
            tools in prop::collection::vec(("[a_]{0,3}", "(\\PC{0,3}|[a_]{0,5}|x{60,70})"), 0..40)
        ) {
            let tools: Vec<_> = tools.iter().map(|(label, name)| (&**label, &**name)).collect();
            let names = names(&tools);
            for (label, name) in tools {
                let function = names.function_name(label, name).unwrap();
                prop_assert!((1..=64).contains(&function.len()));
                prop_assert!(function.bytes().all(|it| it.is_ascii_alphanumeric() || b"_-".contains(&it)));
                let tool = Tool { server_label: label.to_owned(), name: name.to_owned() };
                prop_assert_eq!(names.function(function), Some(&Function::Mcp(tool)));
            }
            for name in CLIENTS {
                prop_assert_eq!(names.function(name), Some(&Function::Client));
            }
        }
    }
}
