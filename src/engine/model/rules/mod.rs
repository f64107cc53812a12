//! The built-in model: picks tools by the words of a question, fills arguments from their schemas,
//! and puts results into a sentence. Pure functions; the same question gives the same answer.

mod action;
mod arguments;
mod forms;
mod guess;
mod numbers;
mod phrase;
mod pick;
#[cfg(test)]
mod tests;
mod tokens;
mod words;

use serde_json::{Map, Value};

pub use phrase::{Done, Outcome, phrase};

use crate::schema::Work;
use arguments::Unfilled;
use pick::Catalogue;

/// How many steps of [`Work`] one plan may take: some tenths of a second.
const MOST_WORK: u64 = 2_000_000;
/// How many bytes of a question are read.
const QUESTION_BYTES: usize = 256 * 1024;

/// One MCP tool that the model may call.
pub struct Tool<'a> {
    pub name: &'a str,
    pub description: Option<&'a str>,
    /// The tool's `inputSchema`.
    pub input_schema: &'a Value,
    /// Whether its server says that it changes nothing, or something (`readOnlyHint`,
    /// `destructiveHint`). If it says neither, the tool's name decides.
    pub is_read_only: Option<bool>,
}

/// A call that the rules decided on.
#[derive(Debug, PartialEq)]
pub struct Call {
    /// The index into the tools that [`plan`] was given.
    pub tool: usize,
    pub arguments: Map<String, Value>,
}

/// What to do with a question.
#[derive(Debug, PartialEq)]
pub enum Plan {
    Call(Vec<Call>),
    Say(String),
}

/// Decides what to do with a question: one call a clause that begins with what a tool does, or else
/// one for the question as a whole, or a sentence that says why there is none.
///
/// A tool that may change something is called only if the question asks for its action. With
/// `must_call` the best tool is called even when no word speaks for it, as long as its arguments can
/// be filled.
pub fn plan(question: &str, tools: &[Tool<'_>], must_call: bool) -> Plan {
    plan_with(&mut Work::new(MOST_WORK), question, tools, must_call)
}

/// The plan if `steps` are enough for it.
pub fn plan_within(
    steps: u64,
    question: &str,
    tools: &[Tool<'_>],
    must_call: bool,
) -> Option<Plan> {
    let mut work = Work::new(steps);
    let plan = plan_with(&mut work, question, tools, must_call);
    (!work.is_spent()).then_some(plan)
}

fn plan_with(work: &mut Work, question: &str, tools: &[Tool<'_>], must_call: bool) -> Plan {
    if tools.is_empty() {
        return Plan::Say(
            "I was given no tools to call, and I am not a language model: I only follow rules."
                .to_owned(),
        );
    }
    let question = &question[..question.floor_char_boundary(QUESTION_BYTES)];
    let catalogue = Catalogue::new(tools, question);
    let mut calls = Vec::new();
    let mut unfilled = None;
    for clause in pick::clauses(question, &catalogue, work) {
        // What a clause does not say, the rest of the question may.
        let filled = arguments::fill(clause.text, &tools[clause.tool], work)
            .or_else(|_| arguments::fill(question, &tools[clause.tool], work));
        match filled {
            Ok(arguments) => calls.push(Call {
                tool: clause.tool,
                arguments,
            }),
            Err(error) => unfilled = unfilled.or(Some((clause.tool, error))),
        }
    }
    if !calls.is_empty() {
        return Plan::Call(calls);
    }
    let best = match unfilled {
        Some((tool, _)) => Some(tool),
        None => catalogue
            .best(question, must_call, work)
            .or(must_call.then_some(0)),
    };
    let Some(tool) = best else {
        let not_asked_for = catalogue.best(question, true, work);
        return Plan::Say(match not_asked_for {
            Some(tool) => not_requested(tools[tool].name),
            None => no_match(tools),
        });
    };
    match arguments::fill(question, &tools[tool], work) {
        Ok(arguments) => Plan::Call(vec![Call { tool, arguments }]),
        Err(error) => Plan::Say(no_argument(tools[tool].name, &error)),
    }
}

fn not_requested(tool: &str) -> String {
    format!(
        "I did not call `{tool}`: it may change something, and the question does not ask for that. \
         Begin the question with what the tool should do, or with its name."
    )
}

fn no_match(tools: &[Tool<'_>]) -> String {
    const MOST_NAMED: usize = 10;
    let names: Vec<String> = tools
        .iter()
        .take(MOST_NAMED)
        .map(|tool| format!("`{}`", tool.name))
        .collect();
    let more = match tools.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "None of the tools I was given matches the words of the question. I can call {}{more}.",
        names.join(", ")
    )
}

fn no_argument(tool: &str, unfilled: &Unfilled) -> String {
    match unfilled {
        Unfilled::Missing { name, kind } => format!(
            "I would call `{tool}`, but the question does not say what its `{name}` ({kind}) should be. \
             Put the value in quotes, or write `{name}=...`."
        ),
        Unfilled::TooLarge => {
            format!("I would call `{tool}`, but its inputSchema is too large for me to fill.")
        }
    }
}
