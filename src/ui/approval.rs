//! Calls that need approval: shown whole, asked about, and what became of them.

use std::io::{self, Write};

use inquire::{Confirm, InquireError};

use super::sanitize::one_line;
use crate::error::Error;
use crate::responses::McpApprovalRequest;

/// What became of an approval request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Approved,
    Denied,
    /// There was nobody to ask.
    Open,
}

/// The call, complete and on one line: a yes is a yes to all of its arguments.
pub fn call(request: &McpApprovalRequest) -> String {
    format!(
        "{}.{} {}",
        one_line(&request.server_label),
        one_line(&request.name),
        one_line(&request.arguments)
    )
}

/// The line that tells what became of a request.
pub fn told(request: &McpApprovalRequest, decision: Decision) -> String {
    let decision = match decision {
        Decision::Approved => "approved",
        Decision::Denied => "denied",
        Decision::Open => "needs approval",
    };
    format!("{} {decision}", call(request))
}

/// Asks whether a call may be made.
pub fn ask(request: &McpApprovalRequest) -> Result<bool, Error> {
    writeln!(io::stderr(), "The model wants to call {}", call(request)).map_err(Error::Output)?;
    match Confirm::new("Let it?").with_default(false).prompt() {
        Ok(answer) => Ok(answer),
        // Escape is a no to this call; Ctrl-C is a no to the whole question.
        Err(InquireError::OperationCanceled) => Ok(false),
        Err(InquireError::OperationInterrupted) => Err(Error::Interrupted),
        Err(_) => Err(Error::NobodyToAsk {
            server_label: request.server_label.clone(),
            name: request.name.clone(),
        }),
    }
}
