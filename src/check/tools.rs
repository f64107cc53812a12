//! The steps `tools_list` and `call`: what the server is there for.

use std::time::Duration;

use serde_json::json;

use super::Outcome;
use super::stage::{fail, pass, warn};
use super::words::{few, quoted};
use crate::engine;
use crate::mcp::{self, CallResult, Tool, ToolList};

/// OpenAI gives up a call after about this long.
pub const CALL_LIMIT: Duration = Duration::from_secs(60);
/// What is slow enough to be told.
const SLOW_LIST: Duration = Duration::from_secs(5);
const SLOW_CALL: Duration = Duration::from_secs(30);

/// The step `tools_list`.
pub fn list(listed: &Result<ToolList, mcp::Error>, took: Duration) -> Outcome {
    let list = match listed {
        Ok(list) => list,
        Err(error) => {
            return fail(error.with_causes(), hint(error));
        }
    };
    let size = format!(
        "{} on {}, {} bytes",
        counted(list.tools.len(), "tool"),
        counted(list.pages, "page"),
        list.bytes
    );
    match list.tools.len() {
        0 => warn(
            "the list is empty: there is nothing for a model to call",
            "check that the tools are registered, and visible with these credentials",
        ),
        _ if took > SLOW_LIST => warn(
            format!("{size}, and it took {} s", took.as_secs()),
            "answer sooner: OpenAI asks for the list with every request that does not have it",
        ),
        _ => pass(size),
    }
}

fn hint(error: &mcp::Error) -> &'static str {
    match error {
        mcp::Error::Refused { .. } | mcp::Error::Protocol { .. } => {
            "check the server's log: it accepted the connection but not this request"
        }
        mcp::Error::Tools(_) | mcp::Error::NotMcp(_) => {
            "generate the list with the server's SDK, and update the SDK"
        }
        mcp::Error::Closed | mcp::Error::Exited(_) => {
            "keep the server running: over stdio, it waits for input until its stdin is closed"
        }
        mcp::Error::Excess(_) => {
            "send the answer, and no requests: the client declares no capability to serve any"
        }
        mcp::Error::Timeout(_) => "answer sooner; look for a stream that is never ended",
        mcp::Error::NotStarted { .. } => "check `command` and `args`",
        mcp::Error::Unreachable(_)
        | mcp::Error::Forbidden(_)
        | mcp::Error::Exhausted(_)
        | mcp::Error::Setup(_) => "check the server's log",
    }
}

/// The step `protocol` of a server that is started: it is one with being connected to.
pub fn started(version: &Result<String, mcp::Error>) -> Outcome {
    match version {
        Ok(version) => pass(format!("MCP {version}")),
        Err(error) => fail(error.with_causes(), hint(error)),
    }
}

/// The step `call` of a tool that is not there.
pub fn unknown(name: &str, listed: &[Tool]) -> Outcome {
    let names: Vec<String> = listed.iter().map(|tool| quoted(tool.name())).collect();
    fail(
        format!("there is no tool {}", quoted(name)),
        format!("the tools are {}", few(&names, ", ")),
    )
}

/// The step `call` of a tool that the tool entry does not allow.
pub fn not_allowed(name: &str) -> Outcome {
    fail(
        format!(
            "the tool {} is not among those that are allowed",
            quoted(name)
        ),
        "leave --allowed-tools and --read-only out, or let them name it",
    )
}

/// The step `call`.
pub fn call(result: Result<CallResult, mcp::Error>, took: Duration) -> Outcome {
    let known = result.and_then(|result| result.require_known_types().map(|()| result));
    match known {
        Err(error) => fail(
            format!(
                "{}; OpenAI would tell the model: {}",
                error.with_causes(),
                json!(engine::call_error(&error))
            ),
            hint_of_call(&error),
        ),
        Ok(result) if result.is_error() => fail(
            format!("the tool reported an error: {}", text(&result)),
            "check whether the arguments are valid for it",
        ),
        Ok(_) if took > SLOW_CALL => warn(
            format!(
                "it took {} s, and OpenAI gives up after about 60",
                took.as_secs()
            ),
            "answer sooner, and let another tool tell how the work goes on",
        ),
        Ok(result) if result.content().is_empty() && result.structured_content().is_some() => warn(
            "the result is `structuredContent` and nothing else, which many clients do not show a model",
            "repeat it as JSON in a text block of `content`, as MCP asks for",
        ),
        Ok(result) => pass(text(&result)),
    }
}

fn hint_of_call(error: &mcp::Error) -> &'static str {
    match error {
        mcp::Error::Timeout(_) => {
            "answer in less than 60 s, and let another tool tell how the work goes on"
        }
        mcp::Error::Protocol { .. } => "check the name of the tool and its arguments",
        mcp::Error::NotMcp(_) => {
            "return content of the types text, image, audio, resource or resource_link, with the server's SDK"
        }
        error => hint(error),
    }
}

/// The first words of a result.
fn text(result: &CallResult) -> String {
    const LONGEST: usize = 120;
    let texts = result.content().iter().map(|block| {
        let text = block["text"].as_str().or(block["type"].as_str());
        text.unwrap_or_default()
    });
    let whole = texts.collect::<Vec<_>>().join(" ");
    whole.chars().take(LONGEST).collect()
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
