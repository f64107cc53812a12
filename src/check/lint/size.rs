//! How much of the model's context a list of tools takes.

use serde_json::json;

use super::rule;
use crate::check::words::{quoted, tools as counted};
use crate::check::{Complaint, Outcome, Step};
use crate::connector;
use crate::mcp::Tool;
use crate::responses::MCPTool;

/// So many tools are more than a model chooses from well (OpenAI allowed 128 functions a request).
const MANY_TOOLS: usize = 128;

/// So many tokens are paid for in every turn before a word is said.
const MANY_TOKENS: usize = 20_000;

/// How many of the largest are named.
const LARGEST: usize = 3;

/// The rule about the size of the list, as the entry's `allowed_tools` leaves it.
pub fn size(label: &str, tools: &[Tool], entry: &MCPTool) -> Step {
    rule(
        "lint_size",
        "the list leaves the model enough context",
        outcome(label, tools, entry),
    )
}

fn outcome(label: &str, tools: &[Tool], entry: &MCPTool) -> Outcome {
    let is_allowed = |tool: &&Tool| connector::allows(entry, &connector::listed((*tool).clone()));
    let (mut allowed, left_out): (Vec<_>, Vec<_>) = tools.iter().partition(is_allowed);
    let label = quoted(label);
    if allowed.is_empty() {
        let cause = match tools.len() {
            0 => format!("{label} lists no tools"),
            count => format!("`allowed_tools` leaves nothing of the {count} tools of {label}"),
        };
        return Outcome::Warn(Complaint { cause, hint: None });
    }
    allowed.sort_by_cached_key(|tool| std::cmp::Reverse(tokens(tool)));
    let total = sum(&allowed);

    let mut told = format!(
        "{} of {label}, about {total} tokens (an estimate: four bytes a token)",
        counted(allowed.len())
    );
    if !left_out.is_empty() {
        told += &format!(
            "; `allowed_tools` leaves out {} and saves about {}",
            left_out.len(),
            sum(&left_out)
        );
    }
    if entry.defer_loading == Some(true) {
        told += "; `defer_loading` keeps them from the model until it searches for them";
        return Outcome::Pass(Some(told));
    }
    // With few tools, leaving out the largest is no useful advice.
    let Some((largest, _)) = allowed.split_at_checked(LARGEST + 1) else {
        return verdict(told, None, allowed.len(), total);
    };
    let largest = &largest[..LARGEST];
    let named: Vec<String> = largest
        .iter()
        .map(|tool| format!("{} {}", quoted(tool.name()), tokens(tool)))
        .collect();
    told += &format!("; the largest are {}", named.join(", "));
    let hint = format!(
        "`allowed_tools` without these {LARGEST} would save about {} tokens, `defer_loading` up to {total}",
        sum(largest)
    );
    verdict(told, Some(hint), allowed.len(), total)
}

fn verdict(told: String, hint: Option<String>, count: usize, tokens: usize) -> Outcome {
    if count > MANY_TOOLS || tokens > MANY_TOKENS {
        return Outcome::Warn(Complaint { cause: told, hint });
    }
    Outcome::Pass(Some(match hint {
        Some(saving) => format!("{told}; {saving}"),
        None => told,
    }))
}

fn sum(tools: &[&Tool]) -> usize {
    tools.iter().map(|tool| tokens(tool)).sum()
}

/// The model gets the name, the description and the schema of a tool.
fn tokens(tool: &Tool) -> usize {
    let description = tool.description().unwrap_or_default();
    let schema = json!(tool.input_schema()).to_string();
    (tool.name().len() + description.len() + schema.len()).div_ceil(4)
}
