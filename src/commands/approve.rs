//! `--approve`: who answers when a call needs approval.

use std::str::FromStr;

use crate::error::Error;
use crate::responses::{McpApprovalRequest, McpListTools};
use crate::ui::{Decision, Ui};

/// Who answers approval requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApprovalPolicy {
    Ask,
    All,
    None,
    /// Tools that change nothing, as their server says.
    ReadOnly,
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
                        "use ask, all, none, read-only, or names of tools with commas between",
                    );
                }
                Self::Tools(tools)
            }
        })
    }
}

impl ApprovalPolicy {
    /// Whether `call` may be made; `lists` says what its tool does.
    pub async fn decide(
        &self,
        call: &McpApprovalRequest,
        lists: &[McpListTools],
        ui: &mut Ui,
    ) -> Result<bool, Error> {
        let approve = match self {
            Self::Ask if ui.can_ask() => return ui.ask_approval(call).await,
            Self::Ask => {
                ui.decided(call, Decision::Open);
                return Err(Error::NobodyToAsk {
                    server_label: call.server_label.clone(),
                    name: call.name.clone(),
                });
            }
            Self::All => true,
            Self::None => false,
            Self::ReadOnly => is_read_only(call, lists),
            Self::Tools(tools) => tools.contains(&call.name),
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
fn is_read_only(call: &McpApprovalRequest, lists: &[McpListTools]) -> bool {
    let last = lists
        .iter()
        .rfind(|list| list.server_label == call.server_label);
    let mut tools = last.into_iter().flat_map(|list| &list.tools);
    tools.any(|tool| tool.name == call.name && tool.is_read_only())
}
