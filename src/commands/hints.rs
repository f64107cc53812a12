//! What to try with an MCP server that `mcp-cli tools` could not use.

use crate::auth;
use crate::mcp::{self, Endpoint};

/// What to try with a server that gave no list.
pub fn of_list(error: &mcp::Error, endpoint: &Endpoint) -> Option<&'static str> {
    let is_command = matches!(endpoint, Endpoint::Stdio(_));
    match error {
        mcp::Error::Timeout(_) if is_command => {
            Some("check what the server writes to stderr; a first start of npx or uvx takes longer")
        }
        mcp::Error::Timeout(_) => Some("check the server's log: it accepted the connection"),
        mcp::Error::Refused {
            status, challenge, ..
        } => match status.as_u16() {
            401 => Some(auth::hint_of_challenge(challenge.as_deref())),
            403 => {
                Some("the token needs other scopes, or the server has to allow this Host or Origin")
            }
            404 => Some("check the path: many servers distinguish `/mcp` from `/mcp/`"),
            400 if error.is_about_version() => Some(
                "the server refuses the version of MCP that it is offered, where it should answer with its own: update its SDK",
            ),
            400 => Some("check the server's log; it may require a session"),
            405 | 406 | 415 => Some("check the path: it does not accept a POST of JSON-RPC"),
            421 => Some("add the host name of the URL to the server's allowed hosts"),
            300..=399 => Some("name the URL that it redirects to"),
            500.. => Some("check the server's log"),
            _ => None,
        },
        mcp::Error::Unreachable(_) => Some("check that the server runs, and that the URL is right"),
        mcp::Error::NotMcp(_) | mcp::Error::Closed | mcp::Error::Exited(_) if is_command => Some(
            "run the command by itself: it must wait for input, and write nothing but JSON-RPC to stdout",
        ),
        mcp::Error::Closed | mcp::Error::Exited(_) => Some("check the server's log"),
        mcp::Error::NotMcp(_) => Some("check that the URL is that of the server's MCP endpoint"),
        mcp::Error::Tools(_) => {
            Some("correct the tool's definition: OpenAI rejects the whole list because of it")
        }
        mcp::Error::NotStarted { .. } => Some("install it, or name it by its path"),
        mcp::Error::Forbidden(_)
        | mcp::Error::Protocol { .. }
        | mcp::Error::Excess(_)
        | mcp::Error::Exhausted(_)
        | mcp::Error::Setup(_) => None,
    }
}

/// What to try after a call that brought no result from a server that gave its list.
pub fn of_call(error: &mcp::Error) -> Option<&'static str> {
    match error {
        mcp::Error::Timeout(_) => Some("raise it with --timeout"),
        mcp::Error::Refused { status, .. } => match status.as_u16() {
            401 | 403 => Some("the server requires credentials for calls: see --authorization"),
            500.. => Some("check the server's log"),
            _ => None,
        },
        mcp::Error::Forbidden(_)
        | mcp::Error::Protocol { .. }
        | mcp::Error::Unreachable(_)
        | mcp::Error::NotMcp(_)
        | mcp::Error::Tools(_)
        | mcp::Error::Closed
        | mcp::Error::Exited(_)
        | mcp::Error::NotStarted { .. }
        | mcp::Error::Excess(_)
        | mcp::Error::Exhausted(_)
        | mcp::Error::Setup(_) => None,
    }
}
