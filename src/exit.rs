//! What the shell is told when the program ends.

use std::process::ExitCode;

/// The exit status of every verb; the numbers are part of the command line's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// Done; for `ask`: the response completed.
    Done = 0,
    /// Our side: a file, the output, a port in use, a bug.
    Internal = 1,
    /// Flags, environment, a configuration file that cannot be read.
    Usage = 2,
    /// The Responses API refused the request, or its credentials are missing.
    Refused = 3,
    /// Connection refused, DNS, TLS, timeout.
    Unreachable = 4,
    /// An answer cut short, oversize or not understood; a response that `failed` or is `incomplete`.
    BrokenAnswer = 5,
    /// An MCP server could not be used: HTTP 424, or its equal found on this machine.
    McpServer = 6,
    /// A tool call needed approval and nobody gave it.
    NotApproved = 7,
    /// A tool reported an error; `tools call` only.
    ToolError = 8,
    /// SIGHUP: the terminal was closed.
    HungUp = 129,
    /// Ctrl-C.
    Interrupted = 130,
    /// SIGQUIT, Ctrl-\.
    Quit = 131,
    /// SIGTERM.
    Terminated = 143,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}
