//! The errors of the rooms below as failures of a verb: which exit status they have, and what to try.

use super::{Cause, Error};
use crate::auth::{self, FetchError, KeySetRefusal, Rejection};
use crate::connector;
use crate::exit::ExitStatus;
use crate::file;
use crate::mcp;
use crate::relay;
use crate::responses;
use crate::tunnel;

impl Error {
    fn of(status: ExitStatus, error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::because_of(status, Cause::Of(Box::new(error)))
    }
}

impl From<mcp::UnusableHeader> for Error {
    fn from(error: mcp::UnusableHeader) -> Self {
        Self::of(ExitStatus::Usage, error)
    }
}

/// A tool entry that this machine cannot serve.
impl From<connector::Error> for Error {
    fn from(error: connector::Error) -> Self {
        Self::of(ExitStatus::Usage, error)
    }
}

/// `token verify` rejected the token.
impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        let hint = match rejection {
            Rejection::Audience { .. } => {
                Some("mint a token for this audience: `mcp-cli token --audience NAME`")
            }
            Rejection::Signature => Some("the token was signed with another key, or modified"),
            _ => None,
        };
        Self::of(ExitStatus::Internal, rejection).with_hint_if(hint)
    }
}

/// A server behind the door of `serve` that cannot be used.
impl From<relay::Failure> for Error {
    fn from(failure: relay::Failure) -> Self {
        let hint = hint_of_detail(Some(&failure.to_string()));
        Self::of(ExitStatus::McpServer, failure).with_hint_if(hint)
    }
}

impl From<tunnel::program::Error> for Error {
    fn from(error: tunnel::program::Error) -> Self {
        use tunnel::program::Error as Reason;
        let (status, hint) = match &error {
            Reason::NotStarted { install, .. } => (ExitStatus::Internal, Some(*install)),
            Reason::NoName => (
                ExitStatus::Usage,
                Some("pass its public name with --tunnel-domain"),
            ),
            Reason::Ended { .. } | Reason::Late { .. } => (
                ExitStatus::Unreachable,
                Some("run the program by itself to see what it wants"),
            ),
        };
        Self::of(status, error).with_hint_if(hint)
    }
}

#[cfg(feature = "ngrok")]
impl From<tunnel::ngrok::Error> for Error {
    fn from(error: tunnel::ngrok::Error) -> Self {
        use tunnel::ngrok::Error as Reason;
        let status = match &error {
            Reason::NotAnAddress(_) => ExitStatus::Usage,
            Reason::Unreachable(_) | Reason::Late(_) => ExitStatus::Unreachable,
            Reason::Refused { .. } => ExitStatus::Refused,
            Reason::NotAUrl(_) => ExitStatus::BrokenAnswer,
        };
        let hint = error.remedy();
        Self::of(status, error).with_hint_if(hint)
    }
}

impl From<tunnel::openai::Error> for Error {
    fn from(error: tunnel::openai::Error) -> Self {
        Self::of(ExitStatus::Usage, error)
    }
}

impl From<file::Error> for Error {
    fn from(error: file::Error) -> Self {
        let (status, hint) = judge_file(&error);
        Self::of(status, error).with_hint_if(hint)
    }
}

fn judge_file(error: &file::Error) -> (ExitStatus, Option<&'static str>) {
    match error {
        file::Error::NotText { .. } => (ExitStatus::Usage, Some("it must be UTF-8")),
        file::Error::Read { .. } | file::Error::TooLarge { .. } => (ExitStatus::Usage, None),
        file::Error::Exists { .. } => (ExitStatus::Internal, Some("pass --force to replace it")),
        file::Error::Loose { .. } | file::Error::Write { .. } | file::Error::NotAFile { .. } => {
            (ExitStatus::Internal, None)
        }
    }
}

impl From<auth::Error> for Error {
    fn from(error: auth::Error) -> Self {
        let (status, hint) = match &error {
            auth::Error::File(error) => (ExitStatus::Internal, judge_file(error).1),
            auth::Error::Misfit { .. } => (
                ExitStatus::Usage,
                Some("omit --algorithm to use that of the key"),
            ),
            auth::Error::KeySetUrl => (
                ExitStatus::Usage,
                Some("write it with https://, or save the key set into a file"),
            ),
            auth::Error::UnknownKeySize | auth::Error::UnknownAlgorithm => {
                (ExitStatus::Usage, None)
            }
            auth::Error::KeySetFetch { source, .. } => judge_fetch(source),
            auth::Error::KeySetFile {
                source: KeySetRefusal::NotAKeySet,
                ..
            } => (
                ExitStatus::Internal,
                Some("pass a key in PEM with --public-key"),
            ),
            auth::Error::KeyFile { .. }
            | auth::Error::Key(_)
            | auth::Error::KeySetFile { .. }
            | auth::Error::Generate
            | auth::Error::Lifetime
            | auth::Error::Clock
            | auth::Error::Sign(_)
            | auth::Error::NotAToken(_) => (ExitStatus::Internal, None),
        };
        Self::of(status, error).with_hint_if(hint)
    }
}

fn judge_fetch(error: &FetchError) -> (ExitStatus, Option<&'static str>) {
    match error {
        FetchError::Status(300..=399) => (
            ExitStatus::BrokenAnswer,
            Some("use the URL that it redirects to: redirects are not followed"),
        ),
        FetchError::Status(_) | FetchError::NotUsable(KeySetRefusal::NotAKeySet) => (
            ExitStatus::BrokenAnswer,
            Some("look for `jwks_uri` in the issuer's /.well-known/openid-configuration"),
        ),
        FetchError::Unreachable(_) | FetchError::Timeout => (ExitStatus::Unreachable, None),
        FetchError::TooLarge | FetchError::BrokenOff(_) | FetchError::NotUsable(_) => {
            (ExitStatus::BrokenAnswer, None)
        }
        FetchError::Setup(_) => (ExitStatus::Internal, None),
    }
}

impl From<responses::Error> for Error {
    fn from(error: responses::Error) -> Self {
        let (status, hint) = (status_of(&error), hint_of(&error));
        Self::because_of(status, Cause::Responses(error)).with_hint_if(hint)
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

/// What to try where this machine knows what a server did that did not answer in HTTP.
fn hint_of_detail(detail: Option<&str>) -> Option<&'static str> {
    let known = HINTS_OF_DETAILS
        .into_iter()
        .find(|(words, _)| detail.is_some_and(|it| it.contains(words)));
    known.map(|(_, hint)| hint)
}

/// Words of an [`mcp::Error`], which is text once it has been in a response, and what to try.
const HINTS_OF_DETAILS: [(&str, &str); 5] = [
    (
        "cannot be read whole",
        "correct the tool's definition: OpenAI rejects the whole list because of it",
    ),
    ("could not be started", "install it, or name it by its path"),
    (
        "the MCP server ended with",
        "run the command by itself: it must wait for input",
    ),
    (
        "did not answer within",
        "check what the server logs: it took the request and did not answer",
    ),
    (
        "answer is not MCP",
        "check that a URL is that of the MCP endpoint, and that a command writes nothing but JSON-RPC to stdout",
    ),
];

fn hint_of(error: &responses::Error) -> Option<&'static str> {
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
                Some(424) if let Some(hint) = hint_of_detail(failure.detail.as_deref()) => hint,
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
        } => return hint_of_bad_request(&error.message),
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
    Some(hint)
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::*;

    /// The hints are found by words, so that the words must be those of the errors.
    #[test]
    fn each_hint_of_a_detail_belongs_to_an_error_of_an_mcp_server() {
        let errors = [
            mcp::Error::Tools("tools[3]".to_owned()),
            mcp::Error::NotStarted {
                program: "node".to_owned(),
                source: io::ErrorKind::NotFound.into(),
            },
            mcp::Error::Exited(mcp::Exited {
                status: "exit status 1".to_owned(),
                said: String::new(),
            }),
            mcp::Error::Timeout(Duration::from_secs(60)),
            mcp::Error::NotMcp("it is HTML".to_owned()),
        ];
        let hints = errors.map(|error| hint_of_detail(Some(&error.to_string())));
        assert_eq!(hints, HINTS_OF_DETAILS.map(|(_, hint)| Some(hint)));
        assert_eq!(hint_of_detail(Some("an error of its own")), None);
    }
}
