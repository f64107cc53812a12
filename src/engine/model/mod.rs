//! The models that the engine can ask: closed, and ours, so an enum.

mod names;
pub mod rules;
mod script;
mod upstream;

use serde_json::{Map, Value};

use super::emit::Emitter;
use super::heavy::heavy;
use crate::budget::parse_within;
use crate::responses::{CreateResponse, Error, Item, McpListToolsTool, Role};

pub use script::{Script, ScriptError};
pub use upstream::{Upstream, UpstreamApi};

/// The most bytes that the arguments of a call take once they are parsed. A model writes far less;
/// what is larger is not an object of arguments.
pub const MOST_ARGUMENTS: u64 = 16 * 1024 * 1024;

/// Who decides what is called and said.
pub enum Model {
    /// Picks tools by the words of the question. Not a language model.
    Rules,
    /// Plays the steps of a file.
    Script(Script),
    /// Asks a model at another endpoint.
    Upstream(Upstream),
}

/// What a model sees when it is asked for its next step.
pub struct View<'a> {
    /// What was asked for.
    pub request: &'a CreateResponse,
    /// The conversation, oldest first, with what this response has put out so far.
    pub items: &'a [&'a Item],
    /// The tools that may be called.
    pub tools: &'a [ListedTool<'a>],
    /// `tool_choice` demands a call.
    pub must_call: bool,
}

/// A tool, and the server that has it.
#[derive(Debug, Clone, Copy)]
pub struct ListedTool<'a> {
    pub server_label: &'a str,
    pub tool: &'a McpListToolsTool,
}

/// A call that a model asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    pub server_label: String,
    pub name: String,
    /// A JSON object, as text; a language model may have written anything.
    pub arguments: String,
}

impl Model {
    /// What a response names as its model when the request named none.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Script(_) => "script",
            Self::Upstream(_) => "upstream",
        }
    }

    /// The next step, to be taken.
    pub fn next(&self, view: &View<'_>) -> Next<'_> {
        match self {
            Self::Rules => Next::Step(rules_step(view)),
            Self::Script(script) => match script.playing(view) {
                Some(playing) => Next::Playing(Box::new(playing)),
                None => Next::Step(Step::default()),
            },
            Self::Upstream(upstream) => Next::Asking(Box::new(upstream.asking(view))),
        }
    }
}

/// A step that is known, is played with its delays and faults, or has to be asked for.
pub enum Next<'a> {
    Step(Step),
    Playing(Box<script::Playing<'a>>),
    Asking(Box<upstream::Asking<'a>>),
}

impl Next<'_> {
    /// Takes the step: what the model says goes out through `emitter`, and the calls that it wants
    /// made are returned. No calls means it is done.
    pub async fn take(self, emitter: &mut Emitter) -> Result<Vec<ToolCall>, Error> {
        match self {
            Self::Step(step) => {
                if let Some(text) = step.text {
                    emitter.message(text).await;
                }
                Ok(step.calls)
            }
            Self::Playing(playing) => playing.play(emitter).await,
            Self::Asking(asking) => asking.ask(emitter).await,
        }
    }
}

/// What a model says, and what it wants called.
#[derive(Debug, Default, PartialEq)]
pub struct Step {
    pub text: Option<String>,
    pub calls: Vec<ToolCall>,
}

/// How many bytes of text and how many steps a plan of the built-in rules may take on a thread of the
/// runtime: together some tenths of a millisecond.
const QUICK_TEXT: usize = 16 * 1024;
const QUICK_STEPS: u64 = 2_000;

/// The step of the built-in rules: calls for a new question, a sentence once they have results.
fn rules_step(view: &View<'_>) -> Step {
    let asked = view.items.iter().rposition(|item| is_question(item));
    let (question, since) = match asked {
        Some(index) => (text_of(view.items[index]), &view.items[index + 1..]),
        None => (String::new(), view.items),
    };
    let outputs = since.iter().map(|item| match item {
        Item::McpCall(call) => call.arguments.len() + call.output.as_ref().map_or(0, String::len),
        _ => 0,
    });
    let done = heavy(outputs.sum::<usize>() / 1024, || {
        let done = answered(since);
        (!done.is_empty()).then(|| phrase(&done))
    });
    if let Some(text) = done {
        return Step {
            text: Some(text),
            calls: Vec::new(),
        };
    }
    let tools: Vec<rules::Tool<'_>> = view
        .tools
        .iter()
        .map(|listed| rules::Tool {
            name: &listed.tool.name,
            description: listed.tool.description.as_deref(),
            input_schema: &listed.tool.input_schema,
            is_read_only: listed.tool.says_read_only(),
        })
        .collect();
    let texts = tools
        .iter()
        .map(|tool| tool.name.len() + tool.description.map_or(0, str::len));
    let is_short = question.len() + texts.sum::<usize>() <= QUICK_TEXT;
    let quick = is_short
        .then(|| rules::plan_within(QUICK_STEPS, &question, &tools, view.must_call))
        .flatten();
    let plan = quick.unwrap_or_else(|| {
        heavy(usize::MAX, || {
            rules::plan(&question, &tools, view.must_call)
        })
    });
    match plan {
        rules::Plan::Say(text) => Step {
            text: Some(text),
            calls: Vec::new(),
        },
        rules::Plan::Call(calls) => Step {
            text: None,
            calls: calls.into_iter().map(|call| named(view, call)).collect(),
        },
    }
}

fn named(view: &View<'_>, call: rules::Call) -> ToolCall {
    let listed = &view.tools[call.tool];
    ToolCall {
        server_label: listed.server_label.to_owned(),
        name: listed.tool.name.clone(),
        arguments: Value::Object(call.arguments).to_string(),
    }
}

/// Whether a person says this.
pub fn is_question(item: &Item) -> bool {
    matches!(item, Item::Message(message) if message.role == Role::User)
}

fn text_of(item: &Item) -> String {
    match item {
        Item::Message(message) => message.text(),
        _ => String::new(),
    }
}

/// A call that was made or denied, with its arguments read.
struct Answered<'a> {
    name: &'a str,
    arguments: Map<String, Value>,
    /// The output, or why there is none; nothing for a call that was denied.
    result: Option<Result<&'a str, String>>,
}

fn answered<'a>(items: &[&'a Item]) -> Vec<Answered<'a>> {
    let denied = |id: &str| {
        items.iter().any(|item| {
            matches!(item, Item::McpApprovalResponse(it) if it.approval_request_id == id && !it.approve)
        })
    };
    items
        .iter()
        .filter_map(|item| match item {
            Item::McpCall(call) => Some(Answered {
                name: &call.name,
                arguments: parse_within(&call.arguments, MOST_ARGUMENTS).unwrap_or_default(),
                result: Some(match &call.error {
                    Some(error) => Err(error.text()),
                    None => Ok(call.output.as_deref().unwrap_or_default()),
                }),
            }),
            Item::McpApprovalRequest(request) if denied(&request.id) => Some(Answered {
                name: &request.name,
                arguments: parse_within(&request.arguments, MOST_ARGUMENTS).unwrap_or_default(),
                result: None,
            }),
            _ => None,
        })
        .collect()
}

fn phrase(calls: &[Answered<'_>]) -> String {
    let done: Vec<rules::Done<'_>> = calls
        .iter()
        .map(|call| rules::Done {
            name: call.name,
            arguments: &call.arguments,
            outcome: match &call.result {
                Some(Ok(output)) => rules::Outcome::Output(output),
                Some(Err(error)) => rules::Outcome::Failed(error),
                None => rules::Outcome::Denied,
            },
        })
        .collect();
    rules::phrase(&done)
}
