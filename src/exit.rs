//! The exit statuses of the program.

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
    /// A tool call needed approval and did not get it.
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

impl ExitStatus {
    /// A word for programs: what kind of failure this is.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Internal => "internal",
            Self::Usage => "usage",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::BrokenAnswer => "broken_answer",
            Self::McpServer => "mcp_server",
            Self::NotApproved => "not_approved",
            Self::ToolError => "tool_error",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
            Self::HungUp => "hung_up",
            Self::Quit => "quit",
        }
    }

    /// Whether a signal ended the program.
    pub fn is_signal(self) -> bool {
        matches!(
            self,
            Self::HungUp | Self::Interrupted | Self::Quit | Self::Terminated
        )
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}
