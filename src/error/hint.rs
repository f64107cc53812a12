//! What to try after a failure, for this failure and this user.

use std::io;

use super::{ArgumentProblem, Error};
use crate::auth::{self, FetchError, KeySetRefusal};
use crate::engine::StoreError;
use crate::file;
use crate::mcp;
use crate::responses;

impl Error {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Responses(error) => return hint_of(error),
            Self::NoApiKey => "set it, or ask the built-in model with --local",
            Self::EmptySecret(_) => "@FILE reads it from a file, - from stdin",
            Self::UnusableSecret(_) => "look for a line break or a space in it",
            Self::NoConversation => "omit -c to begin a new conversation",
            Self::NoPrompt => "pass it as an argument, or pipe it to stdin",
            Self::ModelNeedsLocal { .. } => "add --local",
            Self::UnknownLocalModel { .. } => "use --model rules or --model script:FILE",
            Self::UnknownGatewayModel { .. } => {
                "use --model rules, --model script:FILE or --model upstream"
            }
            Self::NeedsUpstream { .. } => "add --model upstream",
            Self::OpenGateway { .. } => "omit --no-auth, or listen on 127.0.0.1",
            Self::NeedsAuth { .. } => "add --auth",
            Self::NeedsHttp { .. } => "serve over HTTP, or omit it",
            Self::LocalPrevious => "-c continues the last conversation",
            Self::LocalContinue => {
                "omit --local and --bridge, or begin a new conversation without -c"
            }
            Self::PendingElsewhere { .. } => "name the same server as before, and its label",
            Self::ApproveUnknown { nearest, .. } => {
                return nearest.as_deref().map(did_you_mean).or_else(|| {
                    Some("write the name as the server lists it: TOOL or LABEL/TOOL".to_owned())
                });
            }
            Self::ApproveAmbiguous { .. } => "name the tool as LABEL/TOOL",
            Self::PendingAtAnother { .. } => {
                "name the server that asked for approval, or ask again without -c"
            }
            Self::PendingUnknown { .. } => {
                "an older mcp-cli wrote this conversation; ask again without -c"
            }
            Self::TwoOnStdin => "read one of them from a file, with @FILE",
            Self::SeveralTargets => "name one; other servers can come from --mcp-config",
            Self::TwoCredentials => "omit one of them",
            Self::NotAUrl { .. } => "write it with http:// or https:// and a host",
            Self::NotHosted { .. } => {
                "add --bridge or --local, or serve it over HTTP behind a tunnel"
            }
            Self::McpConfig {
                source: mcp::ConfigError::Variable { .. },
                ..
            } => "set it, or give it a default: ${VARIABLE:-default}",
            Self::WhoseCredentials => "write the headers to the file, or name one --server",
            Self::NotLocal(_) => "name the server with --server-url, or omit --local and --bridge",
            Self::ForeignKey => "omit it to sign with the developer key pair",
            Self::UnknownConnector { .. } => {
                "the connectors are connector_dropbox, connector_gmail, connector_googlecalendar, connector_googledrive, connector_microsoftteams, connector_outlookcalendar, connector_outlookemail and connector_sharepoint"
            }
            Self::NoServer => "name one with --server-url URL, or with --mcp-config FILE",
            Self::SeveralServers(_) => "pick one with --server NAME",
            Self::UnknownTool { nearest, .. } => {
                let nearest = nearest.as_ref();
                return nearest.map(|it| did_you_mean(it)).or_else(|| {
                    Some("`mcp-cli tools list` with the same server lists its tools".to_owned())
                });
            }
            Self::NotAnArgument(_) => "write key=value, or key:=json",
            Self::Argument { problem, .. } => return hint_of_argument(problem),
            Self::List { source, .. } => return hint_of_list(source).map(str::to_owned),
            Self::Call { source, .. } => return hint_of_call(source).map(str::to_owned),
            Self::OnlyAtOpenAi => "check the MCP server behind it, with --server-url",
            Self::NoRecordedList { .. } => {
                "save a response with an mcp_list_tools item of this server, such as with `ask --json`"
            }
            Self::Store {
                source: StoreError::NewerVersion { .. },
                ..
            } => "use the newer mcp-cli for it, or name another file with --store",
            Self::NoHome => "set HOME, or name a folder with --key-dir",
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                "another program listens there; use another port, or -p 0 for a free one"
            }
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "ports below 1024 need privileges; use another port"
            }
            Self::NobodyToAsk { approve, .. } => {
                let named = approve.as_deref().unwrap_or("LABEL/TOOL");
                return Some(format!(
                    "pass `--approve all`, `--approve none` or `--approve {named}`, now or with -c and the same server"
                ));
            }
            Self::Auth(error) => return hint_of_auth(error).map(str::to_owned),
            Self::File(error) => return hint_of_file(error).map(str::to_owned),
            Self::Rejected(auth::Rejection::Audience { .. }) => {
                "mint a token for this audience: `mcp-cli token --audience NAME`"
            }
            Self::Rejected(auth::Rejection::Signature) => {
                "the token was signed with another key, or modified"
            }
            Self::Script { .. } => {
                "a script is a JSON list of steps, such as {\"calls\": [{\"name\": ..., \"arguments\": {...}}]} and {\"say\": \"...\"}"
            }
            Self::Rejected(_)
            | Self::Header(_)
            | Self::Connector(_)
            | Self::Write { .. }
            | Self::Store { .. }
            | Self::McpConfig { .. }
            | Self::NotJson { .. }
            | Self::Listen { .. }
            | Self::UnknownHost { .. }
            | Self::Stdio(_)
            | Self::McpClient(_)
            | Self::Output(_)
            | Self::ReaderLeft
            | Self::Clock
            | Self::Runtime(_)
            | Self::NothingApproved
            | Self::NotAnObject(_)
            | Self::Arguments(_)
            | Self::ToolFailed { .. }
            | Self::EndlessApprovals(_)
            | Self::NotBase64(_)
            | Self::Interrupted
            | Self::Terminated
            | Self::HungUp => return None,
        };
        Some(hint.to_owned())
    }
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

fn hint_of_argument(problem: &ArgumentProblem) -> Option<String> {
    match problem {
        ArgumentProblem::Missing { nearest, .. } => nearest
            .as_ref()
            .map(|it| format!("`{it}` was given instead")),
        ArgumentProblem::Unknown { nearest } => nearest.as_deref().map(did_you_mean),
        ArgumentProblem::NotJson(_) => {
            Some("a string needs quotes: 'key:=\"text\"', or key=text".to_owned())
        }
        ArgumentProblem::Twice => Some("write a list as 'key:=[1, 2]'".to_owned()),
        ArgumentProblem::Type(_) | ArgumentProblem::Unfit(_) => None,
    }
}

/// What to try with a server that gave no list.
fn hint_of_list(error: &mcp::Error) -> Option<&'static str> {
    match error {
        mcp::Error::Timeout(_) => Some("check the server's log: it accepted the connection"),
        mcp::Error::Refused {
            status, challenge, ..
        } => match status.as_u16() {
            401 => Some(auth::hint_of_challenge(challenge.as_deref())),
            403 => {
                Some("the token needs other scopes, or the server has to allow this Host or Origin")
            }
            404 => Some("check the path: many servers distinguish `/mcp` from `/mcp/`"),
            400 => Some("check the server's log; it may require a session"),
            405 | 406 | 415 => Some("check the path: it does not accept a POST of JSON-RPC"),
            421 => Some("add the host name of the URL to the server's allowed hosts"),
            300..=399 => Some("name the URL that it redirects to"),
            500.. => Some("check the server's log"),
            _ => None,
        },
        mcp::Error::Unreachable(_) => Some("check that the server runs, and that the URL is right"),
        mcp::Error::NotMcp(_) => Some("check that the URL is that of the server's MCP endpoint"),
        mcp::Error::NotStarted { .. } => Some("check `command` and `args`"),
        mcp::Error::Forbidden(_)
        | mcp::Error::Protocol { .. }
        | mcp::Error::Excess(_)
        | mcp::Error::Exhausted(_)
        | mcp::Error::Setup(_) => None,
    }
}

/// What to try after a call that brought no result from a server that gave its list.
fn hint_of_call(error: &mcp::Error) -> Option<&'static str> {
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
        | mcp::Error::NotStarted { .. }
        | mcp::Error::Excess(_)
        | mcp::Error::Exhausted(_)
        | mcp::Error::Setup(_) => None,
    }
}

fn hint_of_file(error: &file::Error) -> Option<&'static str> {
    match error {
        file::Error::NotText { .. } => Some("it must be UTF-8"),
        file::Error::Exists { .. } => Some("pass --force to replace it"),
        file::Error::Read { .. }
        | file::Error::TooLarge { .. }
        | file::Error::Loose { .. }
        | file::Error::Write { .. }
        | file::Error::NotAFile { .. } => None,
    }
}

fn hint_of_auth(error: &auth::Error) -> Option<&'static str> {
    match error {
        auth::Error::File(error) => hint_of_file(error),
        auth::Error::Misfit { .. } => Some("omit --algorithm to use that of the key"),
        auth::Error::KeySetUrl => Some("write it with https://, or save the key set into a file"),
        auth::Error::KeySetFetch { source, .. } => match source {
            FetchError::Status(300..=399) => {
                Some("use the URL that it redirects to: redirects are not followed")
            }
            FetchError::Status(_) | FetchError::NotUsable(KeySetRefusal::NotAKeySet) => {
                Some("look for `jwks_uri` in the issuer's /.well-known/openid-configuration")
            }
            FetchError::Unreachable(_)
            | FetchError::Timeout
            | FetchError::TooLarge
            | FetchError::BrokenOff(_)
            | FetchError::NotUsable(_)
            | FetchError::Setup(_) => None,
        },
        auth::Error::KeySetFile {
            source: KeySetRefusal::NotAKeySet,
            ..
        } => Some("pass a key in PEM with --public-key"),
        auth::Error::KeyFile { .. }
        | auth::Error::Key(_)
        | auth::Error::KeySetFile { .. }
        | auth::Error::Generate
        | auth::Error::UnknownKeySize
        | auth::Error::UnknownAlgorithm
        | auth::Error::Lifetime
        | auth::Error::Clock
        | auth::Error::Sign(_)
        | auth::Error::NotAToken(_) => None,
    }
}

fn hint_of(error: &responses::Error) -> Option<String> {
    let hint = match error {
        responses::Error::FailedDependency(failure) => {
            match failure.list.as_ref().map(|list| list.status) {
                Some(401) => auth::hint_of_challenge(failure.detail.as_deref()),
                Some(403) => {
                    "pass a token with the scopes that the server demands, or let the server allow this Host"
                }
                Some(404) => "check the path: many servers distinguish `/mcp` from `/mcp/`",
                Some(400) => {
                    "use --bridge or --local for a server on this machine, or a tunnel; run the server stateless"
                }
                Some(405 | 406 | 415) => "check the path, and let the server accept JSON and SSE",
                Some(421) => "add the host name of the URL to the server's allowed hosts",
                Some(301 | 302 | 303 | 307 | 308) => {
                    "let the server answer at `/mcp` and at `/mcp/` without a redirect"
                }
                Some(424) => {
                    "check that the server runs, that its name resolves, and that the URL is that of its MCP endpoint"
                }
                Some(500..) => "check the server's log",
                _ => return None,
            }
        }
        responses::Error::Refused {
            status: 300..=399, ..
        } => "check --base-url: redirects are not followed, because they would receive the key",
        responses::Error::Refused {
            status: 400, error, ..
        } => return hint_of_bad_request(&error.message).map(str::to_owned),
        responses::Error::Refused { status: 401, .. } => "check OPENAI_API_KEY",
        responses::Error::Refused { status: 404, .. } => "check --base-url and --model",
        responses::Error::Refused { status: 429, .. } => {
            "wait, or check the limits of your account"
        }
        responses::Error::Unreachable { .. } => {
            "check --base-url, or ask the built-in model with --local"
        }
        responses::Error::Timeout(_) => "raise it with --timeout",
        responses::Error::TooLarge(_) => "raise it with --max-bytes",
        responses::Error::NotAResponse { .. } => {
            "check --base-url: it ends in /v1 for most servers"
        }
        responses::Error::Idle => "raise it with --idle-timeout",
        responses::Error::NotCompleted {
            reason: Some(reason),
            ..
        } if reason == "max_output_tokens" => "raise it with --max-output-tokens",
        responses::Error::Refused { .. }
        | responses::Error::Failed(_)
        | responses::Error::NotCompleted { .. }
        | responses::Error::Truncated
        | responses::Error::BrokenOff(_)
        | responses::Error::TooMany { .. }
        | responses::Error::NoMemory(_)
        | responses::Error::NotAnEvent { .. }
        | responses::Error::Setup(_) => return None,
    };
    Some(hint.to_owned())
}

/// What to try after the refusals that requests with MCP tools are known to meet. The API gives
/// them no code, so this reads what they say; a message that changes only loses its hint.
fn hint_of_bad_request(message: &str) -> Option<&'static str> {
    let known = [
        (
            "approval responses but weren't passed as input",
            "include the approval request, or answer it once",
        ),
        (
            "Duplicate item found with id mcpr_",
            "the API has the approval request: send only the answer with previous_response_id",
        ),
        (
            "string does not match pattern",
            "rename the tool: letters, digits, `_` and `-` only",
        ),
        (
            "object schema missing properties",
            "add `properties` to the tool's inputSchema, even if it is empty",
        ),
        (
            "'additionalProperties' is required to be supplied and to be false",
            "add `\"additionalProperties\": false` to the tool's inputSchema",
        ),
    ];
    let known = known.into_iter().find(|(part, _)| message.contains(part));
    known.map(|(_, hint)| hint)
}
