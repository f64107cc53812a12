//! What came of MCP requests, in the words of the Responses API: the one place where a failure becomes
//! OpenAI's HTTP 424.

use http::StatusCode;
use serde_json::Value;

use crate::mcp::{self, CallResult};
use crate::responses::{FailedDependency, McpCallError};

/// What came of a call: the output for the model, or the error in its place. A server may repeat the
/// credentials that it was sent; neither the model nor the store gets them.
///
/// # Errors
/// The error of a failed call, as its item has it.
pub fn of_call(
    server: &mcp::Server,
    result: Result<CallResult, mcp::Error>,
) -> Result<String, McpCallError> {
    match result {
        Ok(mut result) if result.is_error() => {
            let mut content = Value::Array(result.take_content());
            server.secrets().redact_value(&mut content);
            Err(McpCallError::McpToolExecutionError { content })
        }
        Ok(result) => Ok(output(server, result)),
        Err(error) => Err(call_error(&error)),
    }
}

/// The text of a result: its text blocks, any other block as JSON. A result that has structured
/// content alone is given as that.
fn output(server: &mcp::Server, mut result: CallResult) -> String {
    let secrets = server.secrets();
    let json = |mut value: Value| {
        secrets.redact_value(&mut value);
        value.to_string()
    };
    let blocks = result.take_content();
    if let (true, Some(structured)) = (blocks.is_empty(), result.structured_content()) {
        return json(structured.clone());
    }
    let mut blocks = blocks
        .into_iter()
        .map(|mut block| match text_of(&mut block) {
            Some(text) => secrets.redact(text),
            None => json(block),
        });
    // The text of one block, as most results have, is not copied.
    let mut output = blocks.next().unwrap_or_default();
    for block in blocks {
        output.push('\n');
        output.push_str(&block);
    }
    output
}

/// The text of a text block, taken out of it.
fn text_of(block: &mut Value) -> Option<String> {
    let text = match block["type"].as_str() {
        Some("text") => block.get_mut("text"),
        _ => None,
    };
    match text.map(Value::take) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// What a failed `tools/list` is to the Responses API: HTTP 424.
pub fn list_failure(server_label: &str, error: &mcp::Error) -> FailedDependency {
    FailedDependency::listing(server_label, http_status(error), error.with_causes())
}

/// The status that the API reports: the server's own, 424 where it did not answer in HTTP.
fn http_status(error: &mcp::Error) -> StatusCode {
    match error {
        mcp::Error::Refused { status, .. } => *status,
        // As OpenAI reports a server that it will not connect to.
        mcp::Error::Forbidden(_) => StatusCode::BAD_REQUEST,
        // It is this machine that has no room for the answer; later it may.
        mcp::Error::Exhausted(exhausted) if exhausted.needed <= exhausted.limit => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        mcp::Error::Protocol { .. }
        | mcp::Error::Unreachable(_)
        | mcp::Error::NotStarted { .. }
        | mcp::Error::Excess(_)
        | mcp::Error::Exhausted(_)
        | mcp::Error::NotMcp(_)
        | mcp::Error::Tools(_)
        | mcp::Error::Closed
        | mcp::Error::Exited(_)
        | mcp::Error::Timeout(_)
        | mcp::Error::Setup(_) => StatusCode::FAILED_DEPENDENCY,
    }
}

/// What a call that brought no result is to the Responses API.
pub fn call_error(error: &mcp::Error) -> McpCallError {
    match error {
        mcp::Error::Protocol { code, message } => McpCallError::McpProtocolError {
            code: *code,
            message: message.clone(),
        },
        mcp::Error::Refused { status, .. } => McpCallError::HttpError {
            code: status.as_u16().into(),
            message: "An unknown error occurred while executing the tool.".to_owned(),
        },
        error => {
            let code = http_status(error).as_u16();
            McpCallError::HttpError {
                code: code.into(),
                message: format!("{code}: {}", error.with_causes()),
            }
        }
    }
}
