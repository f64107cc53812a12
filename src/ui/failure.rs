//! An error, its cause and its hint; the 424 explained.

use std::collections::HashMap;
use std::error::Error as _;

use serde_json::{Value, json};

use super::sanitize::{brief_line, one_line};
use super::{ERROR, NOTE};
use crate::error::{Cause, Error};
use crate::responses::{self, ApiError, FailedDependency, McpCallError};

/// The lines that tell a person how a verb failed. `checks` are the command lines that look closer
/// at the servers of the request, by label.
pub fn text(error: &Error, checks: &HashMap<String, String>) -> Vec<String> {
    let mut lines = vec![format!(
        "{ERROR}error:{ERROR:#} {}",
        brief_line(&error.to_string())
    )];
    if let Some(api_error) = api_error(error) {
        lines.extend(fields(api_error));
    }
    for cause in causes(error) {
        lines.push(format!("{ERROR}cause:{ERROR:#} {}", brief_line(&cause)));
    }
    if let Some(hint) = error.hint() {
        lines.push(format!("{NOTE}hint:{NOTE:#} {}", brief_line(hint)));
    }
    if let Some(check) = failed_server(error).and_then(|label| checks.get(label)) {
        lines.push(format!("{NOTE}run:{NOTE:#} {}", one_line(check)));
    }
    lines
}

/// How many bytes of a text an error as JSON has.
const MOST_BYTES: usize = 16 * 1024;

/// The same as one line of JSON. A text of more than 16 KiB is cut, and ends in `...`.
pub fn json(error: &Error) -> String {
    let api_error = api_error(error);
    let status = match error.cause() {
        Cause::Responses(responses::Error::FailedDependency(_)) => Some(424),
        Cause::Responses(responses::Error::Refused { status, .. }) => Some(*status),
        _ => None,
    };
    let mut line = json!({"error": {
        "kind": error.exit_status().kind(),
        "exit": error.exit_status() as u8,
        "status": status,
        "message": api_error.map_or_else(|| error.to_string(), |it| it.message.clone()),
        "type": api_error.and_then(|it| it.kind.as_deref()),
        "param": api_error.and_then(|it| it.param.as_deref()),
        "code": api_error.and_then(|it| it.code.as_deref()),
        "server_label": failed_server(error),
        "causes": causes(error),
        "hint": error.hint(),
    }});
    cut_texts(&mut line);
    line.to_string()
}

fn cut_texts(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > MOST_BYTES => {
            text.truncate(text.floor_char_boundary(MOST_BYTES));
            text.push_str("...");
        }
        Value::Array(values) => values.iter_mut().for_each(cut_texts),
        Value::Object(members) => members.values_mut().for_each(cut_texts),
        _ => {}
    }
}

/// The label of the server that gave no list of tools, if that is the failure.
fn failed_server(error: &Error) -> Option<&str> {
    match error.cause() {
        Cause::Responses(responses::Error::FailedDependency(failure)) => {
            failure.list.as_ref().map(|list| list.server_label.as_str())
        }
        Cause::List { server_label, .. } => Some(server_label),
        _ => None,
    }
}

fn api_error(error: &Error) -> Option<&ApiError> {
    match error.cause() {
        Cause::Responses(responses::Error::FailedDependency(failure)) => Some(&failure.error),
        Cause::Responses(responses::Error::Refused { error, .. }) => Some(error),
        Cause::Responses(responses::Error::Failed(error)) => Some(error),
        _ => None,
    }
}

/// `type: ..., param: ..., code: ...`, as far as they are there.
fn fields(error: &ApiError) -> Option<String> {
    let fields: Vec<String> = [
        ("type", &error.kind),
        ("param", &error.param),
        ("code", &error.code),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(format!("{name}: {}", brief_line(value.as_ref()?))))
    .collect();
    (!fields.is_empty()).then(|| format!("  {}", fields.join(", ")))
}

/// A failure in one line, with its causes.
pub fn in_one_line(error: &Error) -> String {
    let whole = std::iter::once(error.to_string()).chain(causes(error));
    brief_line(&whole.collect::<Vec<_>>().join(": "))
}

fn causes(error: &Error) -> Vec<String> {
    let mut causes = underneath(error);
    causes.extend_from_slice(error.notes());
    causes
}

fn underneath(error: &Error) -> Vec<String> {
    match error.cause() {
        Cause::Responses(responses::Error::FailedDependency(failure)) => why(failure),
        Cause::Responses(
            responses::Error::Refused { request_id, .. }
            | responses::Error::NotAResponse { request_id, .. },
        ) => {
            let id = request_id.iter();
            id.map(|id| format!("the API knows the request as {id}"))
                .collect()
        }
        // Of a connection that failed, only the system knows why; the rest is layers.
        Cause::Responses(responses::Error::Unreachable { .. }) => {
            chain(error).pop().into_iter().collect()
        }
        _ => chain(error),
    }
}

fn chain(error: &Error) -> Vec<String> {
    let sources = std::iter::successors(error.source(), |&error| error.source());
    sources.map(ToString::to_string).collect()
}

/// What the HTTP status in a 424 usually means, and what this machine knows of it.
fn why(failure: &FailedDependency) -> Vec<String> {
    let meaning = match failure.list.as_ref().map(|list| list.status) {
        Some(401) => "the MCP server refused the credentials that were sent with this request",
        Some(403) => {
            "the MCP server knows the credentials and they do not suffice, or it does not serve this host name"
        }
        Some(404) if failure.has_no_tunnel_client() => {
            "no tunnel client polls the tunnel, so the MCP server behind it cannot be reached"
        }
        Some(404) => "the MCP server has nothing at this path, or does not know the session",
        Some(400) => {
            "the URL is one that only its own machine can reach, or the server demands a session on the first call"
        }
        Some(405 | 406 | 415) => {
            "this path does not take a POST of JSON, or is strict about `Accept`"
        }
        Some(421) => "the MCP server does not know the name that it was reached under",
        Some(301 | 302 | 303 | 307 | 308) => {
            "the MCP server redirects, and the request or its token was lost on the way"
        }
        Some(424) => "the MCP server gave no answer in HTTP, or one that is not MCP",
        Some(500..) => "the MCP server failed",
        _ => "an MCP server that this request names could not be used",
    };
    let status = failure.list.as_ref().map(|list| list.status);
    match &failure.detail {
        // Where this machine was the client, it knows better than to guess.
        Some(detail) if matches!(status, Some(400 | 424)) => vec![detail.clone()],
        Some(detail) if detail.contains(": ") => vec![meaning.to_owned(), detail.clone()],
        _ => vec![meaning.to_owned()],
    }
}

/// What to try after an error inside a call, for the errors that are known to be of the server's
/// making or of its connection's.
pub fn hint_of_call(error: &McpCallError) -> Option<&'static str> {
    match error {
        McpCallError::McpProtocolError { code: 32600, .. } => {
            Some("the server forgot its session between calls; run it stateless")
        }
        McpCallError::HttpError {
            code: 401 | 403, ..
        } => Some("the server wants credentials at call time too; send them with every request"),
        McpCallError::HttpError { code: 424, .. } => {
            Some("a call is given up after about 60 s; answer sooner, and check the server's log")
        }
        McpCallError::HttpError { code: 500.., .. } => Some("check the server's log"),
        McpCallError::McpProtocolError { .. }
        | McpCallError::McpToolExecutionError { .. }
        | McpCallError::HttpError { .. }
        | McpCallError::Other(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitStatus;

    #[test]
    fn an_error_of_any_length_is_a_short_line_and_bounded_json() {
        let message = format!("begins{}ends", "\u{e9}\u{1b}".repeat(500_000));
        let error = Error::new(ExitStatus::ToolError, message);
        let lines = text(&error, &HashMap::new());
        assert!(lines[0].contains("begins") && lines[0].ends_with("ends"));
        assert!(lines[0].contains(" characters left out] "), "{}", lines[0]);
        assert!(lines.iter().all(|it| it.chars().count() < 2_100));
        let json: Value = serde_json::from_str(&json(&error)).unwrap();
        let message = json["error"]["message"].as_str().unwrap();
        assert!(message.ends_with("..."));
        assert!((MOST_BYTES - 4..=MOST_BYTES + 3).contains(&message.len()));
    }
}
