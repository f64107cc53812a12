//! Shows the whole call and reads yes or no.

use std::io::Write;

use inquire::{Confirm, InquireError};

use super::sanitize::one_line;
use crate::error::Error;
use crate::responses::McpApprovalRequest;

/// Asks whether a call may be made. The arguments are shown complete: a yes is a yes to all of them.
pub fn ask(stderr: &mut impl Write, request: &McpApprovalRequest) -> Result<bool, Error> {
    let call = format!(
        "{}.{} {}",
        one_line(&request.server_label),
        one_line(&request.name),
        one_line(&request.arguments)
    );
    writeln!(stderr, "The model wants to call {call}").map_err(Error::Output)?;
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
