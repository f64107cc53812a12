//! `--approve`: who answers when a call needs approval.

use std::str::FromStr;

use super::arguments;
use super::identity::Identities;
use crate::error::Error;
use crate::responses::{McpApprovalRequest, McpListTools};
use crate::ui::{self, Decision, Ui};

/// Who answers approval requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApprovalPolicy {
    Ask,
    All,
    None,
    /// Tools that change nothing, as their server says.
    ReadOnly,
    /// These tools: `LABEL/TOOL`, or the name of a tool that one server has.
    Tools(Vec<String>),
}

impl FromStr for ApprovalPolicy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "ask" => Self::Ask,
            "all" => Self::All,
            "none" => Self::None,
            "read-only" => Self::ReadOnly,
            tools => {
                let tools: Vec<String> = tools.split(',').map(|it| it.trim().to_owned()).collect();
                if tools.iter().any(String::is_empty) {
                    return Err(
                        "use ask, all, none, read-only, or tools as TOOL or LABEL/TOOL with commas between",
                    );
                }
                Self::Tools(tools)
            }
        })
    }
}

impl ApprovalPolicy {
    /// Refuses the name of a tool that no server has, or several. Says nothing before all lists
    /// are known.
    pub fn check(&self, servers: &Identities, lists: &[&McpListTools]) -> Result<(), Error> {
        let is_listed = |label: &String| last_list(label, lists).is_some();
        match self {
            Self::Tools(names) if servers.keys().all(is_listed) => names
                .iter()
                .try_for_each(|name| meant(name, servers, lists).map(drop)),
            _ => Ok(()),
        }
    }

    /// Whether `call` may be made at one of `servers`; `lists` says what its tool does.
    pub async fn decide(
        &self,
        call: &McpApprovalRequest,
        servers: &Identities,
        lists: &[&McpListTools],
        ui: &mut Ui,
    ) -> Result<bool, Error> {
        let (label, name) = (&call.server_label, &call.name);
        let shown = ui::tool_name(label, name);
        let Some(server) = servers.get(label) else {
            return Err(Error::pending_elsewhere(&shown));
        };
        let approve = match self {
            Self::Ask if ui.can_ask() => return ui.ask_approval(call, &server.shown).await,
            Self::Ask => {
                ui.decided(call, Decision::Open);
                let is_plain = ui::is_plain_name(label) && ui::is_plain_name(name);
                let approve = is_plain.then(|| format!("{label}/{name}"));
                return Err(Error::nobody_to_ask(&shown, approve.as_deref()));
            }
            Self::All => true,
            Self::None => false,
            Self::ReadOnly => is_read_only(call, lists),
            Self::Tools(names) => {
                let meant = names.iter().map(|name| meant(name, servers, lists));
                // A name in doubt is refused, whatever the others say.
                let meant: Vec<(&str, &str)> = meant.collect::<Result<_, _>>()?;
                meant.contains(&(label, name))
            }
        };
        let decision = if approve {
            Decision::Approved
        } else {
            Decision::Denied
        };
        ui.decided(call, decision);
        Ok(approve)
    }
}

/// Whether the last list of the server says that the tool changes nothing.
fn is_read_only(call: &McpApprovalRequest, lists: &[&McpListTools]) -> bool {
    let last = last_list(&call.server_label, lists);
    let mut tools = last.into_iter().flat_map(|list| &list.tools);
    tools.any(|tool| tool.name == call.name && tool.is_read_only())
}

fn last_list<'a>(server_label: &str, lists: &[&'a McpListTools]) -> Option<&'a McpListTools> {
    let mut newest = lists.iter().rev().copied();
    newest.find(|list| list.server_label == server_label)
}

/// The tool that `name` means, as its server's label and its own name: `LABEL/TOOL`, or a bare name
/// that exactly one server has. A server whose list is not known may have any tool.
fn meant<'a>(
    name: &'a str,
    servers: &'a Identities,
    lists: &[&McpListTools],
) -> Result<(&'a str, &'a str), Error> {
    let may_offer = |label: &str, tool: &str| {
        last_list(label, lists).is_none_or(|list| list.tools.iter().any(|it| it.name == tool))
    };
    // No label has a slash in it.
    if let Some((label, tool)) = name.split_once('/')
        && servers.contains_key(label)
        && may_offer(label, tool)
    {
        return Ok((label, tool));
    }
    let labels = servers.keys().map(String::as_str);
    let labels: Vec<&str> = labels.filter(|label| may_offer(label, name)).collect();
    match labels.as_slice() {
        [label] => Ok((label, name)),
        [] => {
            let hint = nearest(name, lists).map_or_else(
                || "write the name as the server lists it: TOOL or LABEL/TOOL".to_owned(),
                |it| arguments::did_you_mean(&it),
            );
            let text =
                format!("--approve names the tool {name:?}, which no server of this request has");
            Err(Error::usage(text).with_hint(hint))
        }
        several => Err(Error::usage(format!(
            "--approve names the tool {name:?}, which more than one server can have: {}",
            several.join(", ")
        ))
        .with_hint("name the tool as LABEL/TOOL")),
    }
}

/// What may have been meant. A name that only looks like another is never proposed.
fn nearest(name: &str, lists: &[&McpListTools]) -> Option<String> {
    let tools = lists.iter().flat_map(|list| &list.tools);
    let names = tools.map(|tool| tool.name.as_str());
    let bare = name.split_once('/').map_or(name, |(_, tool)| tool);
    arguments::nearest(bare, names.filter(|it| ui::is_plain_name(it)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn servers(labels: &[&str]) -> Identities {
        let identity = json!({"shown": "http://a/", "digest": "", "mode": "local"});
        let identities = labels.iter().map(|label| (*label, &identity));
        let identities: serde_json::Map<_, _> = identities
            .map(|(label, identity)| (label.to_owned(), identity.clone()))
            .collect();
        serde_json::from_value(identities.into()).unwrap()
    }

    fn list(label: &str, names: &[&str]) -> McpListTools {
        let tools: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
        let list = json!({"id": "mcpl_1", "server_label": label, "tools": tools});
        serde_json::from_value(list).unwrap()
    }

    #[test]
    fn a_name_means_one_tool_of_one_server_or_is_refused() {
        let lists = [
            list("a", &["roll", "look", "x/y", "read\u{200b}_file"]),
            list("b", &["roll", "a/look", "r\u{435}ad_file"]),
        ];
        let lists: Vec<&McpListTools> = lists.iter().collect();
        let servers = servers(&["a", "b"]);
        for (name, tool) in [
            ("look", Some(("a", "look"))),
            ("a/look", Some(("a", "look"))),
            ("b/a/look", Some(("b", "a/look"))),
            ("x/y", Some(("a", "x/y"))),
            ("a/roll", Some(("a", "roll"))),
            ("b/roll", Some(("b", "roll"))),
            ("roll", None),
            ("b/look", None),
            ("c/roll", None),
            ("Look", None),
            ("read_file", None),
            ("", None),
            ("a/", None),
        ] {
            let meant = meant(name, &servers, &lists);
            assert_eq!(meant.as_ref().ok(), tool.as_ref(), "{name}: {meant:?}");
        }
        let hint = |name| {
            let refused = meant(name, &servers, &lists).unwrap_err();
            refused.hint().unwrap_or_default().to_owned()
        };
        assert!(hint("read_file").starts_with("write the name as the server lists it"));
        assert_eq!(hint("rol"), "did you mean `roll`?");
    }

    #[test]
    fn a_server_without_a_list_may_have_any_tool_and_the_last_list_counts() {
        let lists = [list("a", &["old"]), list("a", &["roll"])];
        let lists: Vec<&McpListTools> = lists.iter().collect();
        let (one, two) = (servers(&["a"]), servers(&["a", "b"]));
        assert!(meant("old", &one, &lists).is_err());
        assert!(meant("roll", &one, &lists).is_ok());
        let ambiguous = meant("roll", &two, &lists).unwrap_err().to_string();
        assert!(ambiguous.ends_with("more than one server can have: a, b"));
        assert_eq!(meant("b/any", &two, &lists).unwrap(), ("b", "any"));
        assert_eq!(meant("any", &one, &[]).unwrap(), ("a", "any"));

        // Nothing is refused before everything is listed.
        let policy = ApprovalPolicy::Tools(vec!["no".to_owned()]);
        assert!(policy.check(&two, &lists).is_ok());
        assert!(policy.check(&one, &lists).is_err());
        assert!(ApprovalPolicy::All.check(&one, &lists).is_ok());
    }
}
