//! `Error`: why an MCP server could not be used.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::egress::Forbidden;
use super::excess::{Excess, MAX_SMALL_ANSWER};
use super::fault::{Exited, Fault};
use super::server::Server;
use crate::budget::Exhausted;

/// Why an MCP server could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered HTTP with a status that is no success.
    #[error(
        "the MCP server answered HTTP {status}{}{}",
        Description(challenge.as_deref()),
        Words(rejection.as_deref(), said)
    )]
    Refused {
        status: StatusCode,
        /// Its `WWW-Authenticate` header.
        challenge: Option<String>,
        /// The JSON-RPC error in the body of the answer.
        rejection: Option<Box<RpcError>>,
        /// How a body begins that is plain text.
        said: String,
    },
    /// It is not connected to, for [`super::EgressPolicy`] does not go there.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The server answered in JSON-RPC that it will not do what was asked.
    #[error("the MCP server answered with error {code}: {message}")]
    Protocol { code: i64, message: String },
    /// There was no HTTP answer: nothing listens, DNS, TLS, or the connection broke off.
    #[error("the MCP server could not be reached")]
    Unreachable(#[source] Box<dyn StdError + Send + Sync>),
    /// There was an answer, but not in MCP.
    #[error("the MCP server's answer is not MCP: {0}")]
    NotMcp(String),
    /// A tool of its list cannot be read.
    #[error("the MCP server's list of tools cannot be read whole: {0}")]
    Tools(String),
    /// Its connection was closed.
    #[error("the MCP server closed the connection before it answered")]
    Closed,
    /// Its process ended.
    #[error(transparent)]
    Exited(Exited),
    /// It sent more than is read: messages of its own, or too large an answer.
    #[error("the MCP server sent too much")]
    Excess(#[from] Excess),
    /// There is no memory left for its answer.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    #[error("the MCP server did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// A server that is spoken to over stdio could not be started.
    #[error("{program:?} could not be started{}", NotFound(program, source))]
    NotStarted {
        program: String,
        #[source]
        source: std::io::Error,
    },
    /// The client for HTTP could not be made.
    #[error("the HTTP client could not be set up")]
    Setup(#[source] reqwest::Error),
}

impl Error {
    /// The error without what the server was shown of `server`: some repeat it.
    pub fn without_secrets(self, server: &Server) -> Self {
        let redacted = |text| told(text, MAX_MESSAGE, server);
        match self {
            Self::Refused {
                status,
                challenge,
                rejection,
                said,
            } => Self::Refused {
                said: redacted(said),
                status,
                challenge: challenge.map(redacted),
                rejection: rejection.map(|error| {
                    let message = redacted(error.message);
                    let code = error.code;
                    let data = error
                        .data
                        .map(|it| told(it.get().to_owned(), MAX_DATA, server));
                    // What was cut is no JSON any more.
                    let data = data.and_then(|it| RawValue::from_string(it).ok());
                    Box::new(RpcError {
                        code,
                        message,
                        data,
                    })
                }),
            },
            Self::Protocol { code, message } => Self::Protocol {
                code,
                message: redacted(message),
            },
            Self::NotMcp(why) => Self::NotMcp(told(why, MAX_WHY, server)),
            Self::Exited(Exited { status, said }) => {
                let said = told(said, MAX_WHY, server);
                Self::Exited(Exited { status, said })
            }
            Self::Excess(Excess::Requests { count, method }) => {
                let method = redacted(method);
                Self::Excess(Excess::Requests { count, method })
            }
            other => other,
        }
    }

    /// The error and what is underneath it, one after the other: `outer: inner`.
    pub fn with_causes(&self) -> String {
        let first: &dyn StdError = self;
        let chain = std::iter::successors(Some(first), |&error| error.source());
        let texts: Vec<String> = chain.map(ToString::to_string).collect();
        texts.join(": ")
    }

    /// Whether a server refuses the version of MCP that it was offered.
    pub fn is_about_version(&self) -> bool {
        let words = |text: &str| text.to_ascii_lowercase().contains("protocol version");
        match self {
            Self::Refused {
                rejection, said, ..
            } => words(said) || rejection.as_ref().is_some_and(|it| words(&it.message)),
            Self::Protocol { message, .. } => words(message),
            _ => false,
        }
    }

    /// The JSON-RPC error in the body of an HTTP error, if there is one: of a call it says more than
    /// the status.
    pub(super) fn prefer_rejection(self) -> Self {
        match self {
            Self::Refused {
                rejection: Some(error),
                ..
            } => (*error).into(),
            other => other,
        }
    }

    pub(super) fn from_connection(error: &reqwest::Error) -> Self {
        match root_cause(error).downcast_ref::<Forbidden>() {
            Some(forbidden) => Self::Forbidden(forbidden.clone()),
            None => Fault::from_connection(error).into(),
        }
    }
}

/// The most bytes that are kept of what a server says of a failure.
const MAX_MESSAGE: usize = 16 * 1024;
/// The most bytes of the `data` of an error that are kept.
const MAX_DATA: usize = 64 * 1024;
/// The most bytes that are kept of why an answer is not MCP: it may repeat the answer.
pub(super) const MAX_WHY: usize = 1024;

/// An error in JSON-RPC 2.0.
#[derive(Debug, Clone, Deserialize)]
pub struct RpcError {
    pub code: i64,
    pub message: String,
    /// The JSON of its `data`.
    #[serde(default)]
    pub data: Option<Box<RawValue>>,
}

impl RpcError {
    /// What the JSON of an error says.
    pub(super) fn read(json: &str) -> Error {
        if json.len() > MAX_SMALL_ANSWER {
            return Excess::Answer(MAX_SMALL_ANSWER).into();
        }
        match serde_json::from_str::<Self>(json) {
            Ok(error) => error.into(),
            Err(error) => Fault::from(error).into(),
        }
    }
}

impl From<RpcError> for Error {
    fn from(error: RpcError) -> Self {
        Self::Protocol {
            code: error.code,
            message: error.message,
        }
    }
}

/// The text without secrets of `server`, and only then cut to `max` bytes: half a secret is not found.
pub(super) fn told(mut text: String, max: usize, server: &Server) -> String {
    text = server.without_secrets(text);
    if text.len() > max {
        let left_out = text.len() - max;
        text.truncate(text.floor_char_boundary(max));
        text.push_str(&format!("... ({left_out} bytes left out)"));
        text.shrink_to_fit();
    }
    text
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Excess(excess) => excess.into(),
            Fault::Exhausted(exhausted) => exhausted.into(),
            Fault::NotMcp(why) => Self::NotMcp(why),
            Fault::BrokenOff(why) => Self::Unreachable(why.into()),
            Fault::Closed => Self::Closed,
            Fault::Exited(exited) => Self::Exited(exited),
        }
    }
}

/// What a server says of a refusal, in JSON-RPC or in plain text.
struct Words<'a>(Option<&'a RpcError>, &'a str);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (Some(error), _) => write!(f, ": {}", error.message),
            (None, "") => Ok(()),
            (None, said) => write!(f, ": {said}"),
        }
    }
}

/// Where a program was looked for that is not there.
struct NotFound<'a>(&'a str, &'a std::io::Error);

impl fmt::Display for NotFound<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(program, error) = self;
        match error.kind() == std::io::ErrorKind::NotFound && !program.contains(['/', '\\']) {
            true => f.write_str(": it was not found in PATH"),
            false => Ok(()),
        }
    }
}

/// The realm of a challenge and its reason (RFC 9110 section 11.5, RFC 6750 section 3).
struct Description<'a>(Option<&'a str>);

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameter = |name| {
            let (_, rest) = self.0?.split_once(name)?;
            rest.strip_prefix("=\"")?.split('"').next()
        };
        if let Some(realm) = parameter("realm") {
            write!(f, " (realm \"{realm}\")")?;
        }
        if let Some(description) = parameter("error_description") {
            write!(f, ": {description}")?;
        }
        Ok(())
    }
}

/// The innermost cause: what the system said, without the URL that `reqwest` puts around it.
pub(super) fn root_cause<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

#[cfg(test)]
mod tests {
    use reqwest::dns::{Name, Resolve, Resolving};

    use super::*;
    use crate::mcp::{Credential, Endpoint};

    /// Refuses every name, as the one of a guarded pool refuses a forbidden one.
    struct Refusing;

    impl Resolve for Refusing {
        fn resolve(&self, name: Name) -> Resolving {
            let host = name.as_str().to_owned();
            Box::pin(async { Err(Forbidden::Host { host }.into()) })
        }
    }

    #[test]
    fn a_long_message_is_cut_and_no_part_of_a_secret_is_left() {
        let server = Server {
            endpoint: Endpoint::Http("http://a.example/?key=query-value-1&x=1".parse().unwrap()),
            credential: Credential::token("secret-token-1").unwrap(),
            headers: http::HeaderMap::new(),
        };
        let start = "x".repeat(MAX_MESSAGE - 8);
        let text = format!("{start}secret-token-1 {}", "\u{e9}".repeat(MAX_MESSAGE));
        let error = Error::Protocol {
            code: -32603,
            message: text,
        }
        .without_secrets(&server);
        let Error::Protocol { message, .. } = error else {
            panic!("it is the message of a server");
        };
        assert!(message.ends_with("bytes left out)"), "{message}");
        assert!(message.len() < MAX_MESSAGE + 50 && !message.contains("secret"));
        assert_eq!(
            told("key query-value-1".to_owned(), MAX_WHY, &server),
            "key [redacted]"
        );
    }

    #[tokio::test]
    async fn a_name_that_is_refused_while_connecting_is_forbidden() {
        let client = reqwest::Client::builder().no_proxy().dns_resolver(Refusing);
        let sent = client.build().unwrap().get("http://a.example/").send();
        let error = Error::from_connection(&sent.await.unwrap_err());
        let Error::Forbidden(Forbidden::Host { host }) = error else {
            panic!("{error}");
        };
        assert_eq!(host, "a.example");
    }
}
