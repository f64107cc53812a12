//! `Error`: how a verb fails. It carries the kind of the failure, which is the exit status, what happened,
//! and a hint. The code that knows the cause makes it and adds the hint; `rooms.rs` does so for the errors of
//! the rooms below.

mod rooms;

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use crate::exit::ExitStatus;
use crate::mcp;
use crate::responses;

type BoxError = Box<dyn StdError + Send + Sync>;

/// A failure that a verb ends with.
#[derive(Debug)]
pub struct Error(Box<Failure>);

#[derive(Debug)]
struct Failure {
    status: ExitStatus,
    cause: Cause,
    /// What else is known about the cause.
    notes: Vec<String>,
    hint: Option<String>,
}

/// What happened. The causes that a program can read more of than their text have a variant.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error("{text}")]
    Text {
        text: String,
        source: Option<BoxError>,
    },
    /// The error of another room, which says all there is to say.
    #[error(transparent)]
    Of(BoxError),
    #[error(transparent)]
    Responses(responses::Error),
    /// An MCP server gave no list of its tools.
    #[error("{server_label} gave no list of its tools")]
    List {
        server_label: String,
        source: mcp::Error,
    },
}

impl Error {
    /// A failure of this kind. The text is a lowercase fragment without a full stop.
    pub fn new(status: ExitStatus, text: impl Into<String>) -> Self {
        let text = text.into();
        Self::because_of(status, Cause::Text { text, source: None })
    }

    /// Wrong flags, environment or configuration files.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(ExitStatus::Usage, text)
    }

    /// A failure of this machine: a file, the output, a port in use.
    pub fn internal(text: impl Into<String>) -> Self {
        Self::new(ExitStatus::Internal, text)
    }

    /// A failure with this cause.
    pub fn because_of(status: ExitStatus, cause: Cause) -> Self {
        Self(Box::new(Failure {
            status,
            cause,
            notes: Vec::new(),
            hint: None,
        }))
    }

    /// The label of the MCP server that refused the credentials, if that is the failure.
    pub fn refused_server(&self) -> Option<&str> {
        let (label, status) = self.unlisted_server()?;
        matches!(status, 401 | 403).then_some(label)
    }

    /// The label of the MCP server that gave no list, and the status of its refusal, if that is the
    /// failure.
    pub fn unlisted_server(&self) -> Option<(&str, u16)> {
        let Cause::Responses(responses::Error::FailedDependency(failure)) = &self.0.cause else {
            return None;
        };
        let list = failure.list.as_ref()?;
        Some((list.server_label.as_str(), list.status))
    }

    /// What is underneath it.
    pub fn with_source(mut self, error: impl Into<BoxError>) -> Self {
        if let Cause::Text { source, .. } = &mut self.0.cause {
            *source = Some(error.into());
        }
        self
    }

    /// What else is known about the cause.
    pub fn with_note(mut self, note: Option<String>) -> Self {
        self.0.notes.extend(note);
        self
    }

    /// What to try next.
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        self.with_hint_if(Some(hint))
    }

    /// The same, if there is anything to try.
    pub fn with_hint_if(mut self, hint: Option<impl Into<String>>) -> Self {
        self.0.hint = hint.map(Into::into);
        self
    }

    pub fn exit_status(&self) -> ExitStatus {
        self.0.status
    }

    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    pub fn notes(&self) -> &[String] {
        &self.0.notes
    }

    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.cause.fmt(f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.source()
    }
}

/// The failures that several verbs share.
impl Error {
    pub fn write(path: &Path, source: io::Error) -> Self {
        Self::internal(format!("{} cannot be written", path.display())).with_source(source)
    }

    pub fn not_json(path: &Path, source: serde_json::Error) -> Self {
        Self::usage(format!("{} is not JSON", path.display())).with_source(source)
    }

    /// stdout or stderr could not be written to.
    pub fn output(source: io::Error) -> Self {
        Self::internal("the output could not be written").with_source(source)
    }

    /// The reader of the output, such as `head`, has read enough. That is not a failure.
    pub fn reader_left() -> Self {
        Self::new(ExitStatus::Done, "the reader of the output has closed it")
    }

    /// The system gave no threads or signals.
    pub fn runtime(source: io::Error) -> Self {
        Self::internal("the asynchronous runtime could not be started").with_source(source)
    }

    pub fn listen(address: SocketAddr, source: io::Error) -> Self {
        let hint = match source.kind() {
            io::ErrorKind::AddrInUse => {
                Some("another program listens there; use another port, or -p 0 for a free one")
            }
            io::ErrorKind::PermissionDenied => {
                Some("ports below 1024 need privileges; use another port")
            }
            _ => None,
        };
        Self::internal(format!("cannot listen on {address}"))
            .with_source(source)
            .with_hint_if(hint)
    }

    pub fn no_home() -> Self {
        Self::internal("cannot determine the state directory: HOME is not set")
            .with_hint("set HOME, or name a folder with --key-dir")
    }

    pub fn no_api_key() -> Self {
        Self::new(ExitStatus::Refused, "OPENAI_API_KEY is not set")
            .with_hint("set it, or ask the built-in model with --local")
    }

    pub fn two_on_stdin() -> Self {
        Self::usage("two values are to be read from stdin")
            .with_hint("read one of them from a file, with @FILE")
    }

    pub fn no_server() -> Self {
        Self::usage("no MCP server is named")
            .with_hint("name one by its URL, as -- COMMAND, or with --mcp-config FILE")
    }

    pub fn several_servers(labels: &str) -> Self {
        Self::usage(format!("several MCP servers are named: {labels}"))
            .with_hint("pick one with --server NAME")
    }

    /// The call waits for approval, and nobody named its server.
    pub fn pending_elsewhere(call: &str) -> Self {
        Self::usage(format!(
            "`{call}` waits for approval, but its server is not named"
        ))
        .with_hint("name the same server as before, and its label")
    }

    /// `approve` is what `--approve` takes for the call, if that can be typed.
    pub fn nobody_to_ask(call: &str, approve: Option<&str>) -> Self {
        let named = approve.unwrap_or("LABEL/TOOL");
        let text = format!("`{call}` needs approval and there is no terminal to ask");
        Self::new(ExitStatus::NotApproved, text).with_hint(format!(
            "pass `--approve all`, `--approve none` or `--approve {named}`, now or with -c and the same server"
        ))
    }
}
