//! `Error`: every failure that a verb can end with, and its exit status. A failure without one does not
//! compile.

mod hint;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::auth::{self, FetchError};
use crate::connector;
use crate::engine::StoreError;
use crate::engine::model::ScriptError;
use crate::exit::ExitStatus;
use crate::file;
use crate::mcp;
use crate::responses;

/// Every failure that a verb can end with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Responses(#[from] responses::Error),
    #[error(transparent)]
    Auth(#[from] auth::Error),
    /// `token verify` found the token wanting.
    #[error(transparent)]
    Rejected(#[from] auth::Rejection),
    #[error("{} is not a script that can be played", path.display())]
    Script { path: PathBuf, source: ScriptError },

    #[error("OPENAI_API_KEY is not set")]
    NoApiKey,
    #[error("{0} is empty")]
    EmptySecret(&'static str),
    #[error("{0} has characters that are not allowed in an HTTP header")]
    UnusableSecret(&'static str),
    #[error(transparent)]
    Header(#[from] mcp::UnusableHeader),
    #[error("no question was given")]
    NoPrompt,
    #[error("there is no conversation to continue")]
    NoConversation,
    #[error("--model {model} is a local model")]
    ModelNeedsLocal { model: String },
    #[error("unknown local model: {model:?}")]
    UnknownLocalModel { model: String },
    #[error("unknown gateway model: {model:?}")]
    UnknownGatewayModel { model: String },
    #[error("{flag} has no meaning without --model upstream")]
    NeedsUpstream { flag: &'static str },
    #[error("--no-auth on {host} would be open to anyone who can reach it")]
    OpenGateway { host: String },
    #[error("{} cannot be used as a store", path.display())]
    Store { path: PathBuf, source: StoreError },
    #[error("{flag} has no meaning without --auth")]
    NeedsAuth { flag: &'static str },
    #[error("{flag} has no meaning with -t stdio: whoever starts the server may call it")]
    NeedsHttp { flag: &'static str },
    #[error("--print-token needs a private key, but --public-key and --jwks name public keys")]
    ForeignKey,
    #[error(
        "--previous-response-id names a response stored at an API, and this machine stores none"
    )]
    LocalPrevious,
    #[error("the last conversation is stored at an API, not on this machine")]
    LocalContinue,
    #[error("`{call}` waits for approval, but its server is not named")]
    PendingElsewhere { call: String },
    #[error(
        "`{call}` waits for approval at {asked}, but {server_label} is now another server: {named}"
    )]
    PendingAtAnother {
        call: String,
        server_label: String,
        asked: String,
        named: String,
    },
    #[error("`{call}` waits for approval at an unknown server")]
    PendingUnknown { call: String },
    #[error("two values are to be read from stdin")]
    TwoOnStdin,
    #[error("more than one of --server-url, --connector-id and --tunnel-id is given")]
    SeveralTargets,
    #[error("both --authorization and an Authorization header are given")]
    TwoCredentials,
    #[error("{flag} is not an http or https URL")]
    NotAUrl { flag: &'static str },
    #[error("a {0} cannot be used from this machine")]
    NotLocal(&'static str),
    #[error("server {server_label:?} is started on this machine, where OpenAI cannot reach it")]
    NotHosted { server_label: String },
    #[error("{} cannot be used", path.display())]
    McpConfig {
        path: PathBuf,
        source: mcp::ConfigError,
    },
    #[error("--authorization and -H are for one server, but several are named")]
    WhoseCredentials,
    #[error("unknown connector: {id:?}")]
    UnknownConnector { id: String },
    #[error(transparent)]
    File(#[from] file::Error),
    #[error("{} cannot be written", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is not JSON", path.display())]
    NotJson {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("cannot determine the state directory: HOME is not set")]
    NoHome,

    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("{host:?} is not an address of this machine")]
    UnknownHost { host: String, source: io::Error },
    #[error("the MCP client at the other end of stdio could not be served")]
    Stdio(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the output could not be written")]
    Output(#[source] io::Error),
    /// The reader of the output, such as `head`, has read enough. That is not a failure.
    #[error("the reader of the output has closed it")]
    ReaderLeft,
    #[error("the clock of this machine is set to a time before 1970 or after 9999")]
    Clock,
    #[error("the asynchronous runtime could not be started")]
    Runtime(#[source] io::Error),

    #[error("`{call}` needs approval and there is no terminal to ask")]
    NobodyToAsk {
        call: String,
        /// What `--approve` takes for it, if that can be typed.
        approve: Option<String>,
    },
    #[error("--approve names the tool {name:?}, which no server of this request has")]
    ApproveUnknown {
        name: String,
        nearest: Option<String>,
    },
    #[error("--approve names the tool {name:?}, which more than one server can have: {servers}")]
    ApproveAmbiguous { name: String, servers: String },
    #[error("a tool call was denied, and no other call succeeded")]
    NothingApproved,
    #[error("no MCP server is named")]
    NoServer,
    #[error("several MCP servers are named: {0}")]
    SeveralServers(String),
    #[error("`{server_label}` has no tool `{name}`")]
    UnknownTool {
        server_label: String,
        name: String,
        nearest: Option<String>,
    },
    #[error("{0:?} is not a KEY=VALUE argument")]
    NotAnArgument(String),
    #[error("{0} is not a JSON object")]
    NotAnObject(&'static str),
    #[error("an OpenAI connector or tunnel cannot be checked from here")]
    OnlyAtOpenAi,
    #[error("{} lists no tools of this server", path.display())]
    NoRecordedList { path: PathBuf },
    #[error("argument `{key}` {problem}")]
    Argument {
        key: String,
        problem: ArgumentProblem,
    },
    #[error("the arguments do not fit the tool: {0}")]
    Arguments(String),
    /// A tool entry that this machine cannot serve.
    #[error(transparent)]
    Connector(#[from] connector::Error),
    #[error("{server_label} gave no list of its tools")]
    List {
        server_label: String,
        source: mcp::Error,
    },
    #[error("`{server_label}.{name}` could not be called")]
    Call {
        server_label: String,
        name: String,
        source: mcp::Error,
    },
    /// The tool was called, and says that it failed (`isError`).
    #[error("`{server_label}.{name}` failed: {message}")]
    ToolFailed {
        server_label: String,
        name: String,
        message: String,
    },
    #[error("data that is not Base64 was not saved: {0}")]
    NotBase64(String),
    /// The client for an MCP server could not be made.
    #[error(transparent)]
    McpClient(mcp::Error),
    #[error("the response still asks for approval after {0} rounds")]
    EndlessApprovals(usize),
    #[error("stopped by Ctrl-C")]
    Interrupted,
    #[error("stopped by SIGTERM")]
    Terminated,
    #[error("stopped by SIGHUP")]
    HungUp,
}

/// What is wrong with an argument that was given, or not given, to a tool.
#[derive(Debug, thiserror::Error)]
pub enum ArgumentProblem {
    #[error("is given twice")]
    Twice,
    #[error("is not JSON")]
    NotJson(#[source] serde_json::Error),
    #[error("must be {0}")]
    Type(String),
    #[error("is missing: it must be {expected}")]
    Missing {
        expected: String,
        /// What was given that may have been meant to be it.
        nearest: Option<String>,
    },
    #[error("is not an argument of the tool")]
    Unknown {
        /// What may have been meant.
        nearest: Option<String>,
    },
    #[error("does not fit: {0}")]
    Unfit(String),
}

impl Error {
    /// What the shell is told.
    pub fn exit_status(&self) -> ExitStatus {
        match self {
            Self::Responses(error) => status_of(error),
            Self::Auth(error) => status_of_auth(error),
            Self::File(error) => status_of_file(error),
            Self::NoApiKey => ExitStatus::Refused,
            Self::EmptySecret(_)
            | Self::UnusableSecret(_)
            | Self::Header(_)
            | Self::NoPrompt
            | Self::NoConversation
            | Self::ModelNeedsLocal { .. }
            | Self::UnknownLocalModel { .. }
            | Self::UnknownGatewayModel { .. }
            | Self::NeedsUpstream { .. }
            | Self::OpenGateway { .. }
            | Self::NeedsAuth { .. }
            | Self::NeedsHttp { .. }
            | Self::ForeignKey
            | Self::LocalPrevious
            | Self::LocalContinue
            | Self::PendingElsewhere { .. }
            | Self::PendingAtAnother { .. }
            | Self::ApproveUnknown { .. }
            | Self::ApproveAmbiguous { .. }
            | Self::PendingUnknown { .. }
            | Self::TwoOnStdin
            | Self::SeveralTargets
            | Self::TwoCredentials
            | Self::NotAUrl { .. }
            | Self::NotLocal(_)
            | Self::NotHosted { .. }
            | Self::McpConfig { .. }
            | Self::WhoseCredentials
            | Self::UnknownConnector { .. }
            | Self::NoServer
            | Self::SeveralServers(_)
            | Self::Connector(_)
            | Self::UnknownTool { .. }
            | Self::NotAnArgument(_)
            | Self::NotAnObject(_)
            | Self::Argument { .. }
            | Self::Arguments(_)
            | Self::OnlyAtOpenAi
            | Self::NoRecordedList { .. }
            | Self::NotJson { .. }
            | Self::Script { .. } => ExitStatus::Usage,
            Self::Rejected(_)
            | Self::NoHome
            | Self::Write { .. }
            | Self::Store { .. }
            | Self::Listen { .. }
            | Self::UnknownHost { .. }
            | Self::Stdio(_)
            | Self::McpClient(_)
            | Self::Output(_)
            | Self::Clock
            | Self::Runtime(_) => ExitStatus::Internal,
            Self::ReaderLeft => ExitStatus::Done,
            Self::NobodyToAsk { .. } | Self::NothingApproved => ExitStatus::NotApproved,
            Self::EndlessApprovals(_) | Self::NotBase64(_) => ExitStatus::BrokenAnswer,
            Self::List { .. } | Self::Call { .. } => ExitStatus::McpServer,
            Self::ToolFailed { .. } => ExitStatus::ToolError,
            Self::Interrupted => ExitStatus::Interrupted,
            Self::Terminated => ExitStatus::Terminated,
            Self::HungUp => ExitStatus::HungUp,
        }
    }

    /// A word for programs: what kind of failure this is.
    pub fn kind(&self) -> &'static str {
        match self.exit_status() {
            ExitStatus::Done => "done",
            ExitStatus::Internal => "internal",
            ExitStatus::Usage => "usage",
            ExitStatus::Refused => "refused",
            ExitStatus::Unreachable => "unreachable",
            ExitStatus::BrokenAnswer => "broken_answer",
            ExitStatus::McpServer => "mcp_server",
            ExitStatus::NotApproved => "not_approved",
            ExitStatus::ToolError => "tool_error",
            ExitStatus::Interrupted => "interrupted",
            ExitStatus::Terminated => "terminated",
            ExitStatus::HungUp => "hung_up",
            ExitStatus::Quit => "quit",
        }
    }

    /// Whether a signal stopped the verb.
    pub fn is_signal(&self) -> bool {
        matches!(self, Self::Interrupted | Self::Terminated | Self::HungUp)
    }
}

fn status_of(error: &responses::Error) -> ExitStatus {
    match error {
        responses::Error::FailedDependency(_) => ExitStatus::McpServer,
        responses::Error::Refused { .. } => ExitStatus::Refused,
        responses::Error::Unreachable { .. }
        | responses::Error::Timeout(_)
        | responses::Error::Idle => ExitStatus::Unreachable,
        responses::Error::Failed(_)
        | responses::Error::NotCompleted { .. }
        | responses::Error::Truncated
        | responses::Error::BrokenOff(_)
        | responses::Error::TooLarge(_)
        | responses::Error::TooMany { .. }
        | responses::Error::NoMemory(_)
        | responses::Error::NotAResponse { .. }
        | responses::Error::NotAnEvent { .. } => ExitStatus::BrokenAnswer,
        responses::Error::Setup(_) => ExitStatus::Internal,
    }
}

fn status_of_auth(error: &auth::Error) -> ExitStatus {
    match error {
        auth::Error::UnknownKeySize
        | auth::Error::UnknownAlgorithm
        | auth::Error::Misfit { .. }
        | auth::Error::KeySetUrl => ExitStatus::Usage,
        auth::Error::KeySetFetch { source, .. } => match source {
            FetchError::Unreachable(_) | FetchError::Timeout => ExitStatus::Unreachable,
            FetchError::Status(_)
            | FetchError::TooLarge
            | FetchError::BrokenOff(_)
            | FetchError::NotUsable(_) => ExitStatus::BrokenAnswer,
            FetchError::Setup(_) => ExitStatus::Internal,
        },
        auth::Error::File(_)
        | auth::Error::KeyFile { .. }
        | auth::Error::Key(_)
        | auth::Error::KeySetFile { .. }
        | auth::Error::Generate
        | auth::Error::Lifetime
        | auth::Error::Clock
        | auth::Error::Sign(_)
        | auth::Error::NotAToken(_) => ExitStatus::Internal,
    }
}

fn status_of_file(error: &file::Error) -> ExitStatus {
    match error {
        file::Error::Read { .. } | file::Error::TooLarge { .. } | file::Error::NotText { .. } => {
            ExitStatus::Usage
        }
        file::Error::Loose { .. }
        | file::Error::Write { .. }
        | file::Error::NotAFile { .. }
        | file::Error::Exists { .. } => ExitStatus::Internal,
    }
}
