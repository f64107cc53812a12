//! `Opening`: the first words with a server, `server/discover` and, for older ones, `initialize`.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use super::requests::{Form, LEGACY, Message, Requests};
use super::stage::{fail, pass, skip, warn};
use super::{Outcome, shown};
use crate::mcp::{Answer, ProbeError, ProbeResult};

/// The versions of MCP over Streamable HTTP.
const STREAMABLE: [&str; 4] = ["2025-03-26", "2025-06-18", LEGACY, super::requests::MODERN];
/// How long `server/discover` is waited for before `initialize` is tried, as `mcp` does.
const DISCOVER_LIMIT: Duration = Duration::from_secs(10);

/// What a server said first.
#[derive(Debug)]
pub struct Opening {
    discover: ProbeResult,
    initialize: Option<ProbeResult>,
}

/// Which MCP a server speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Era {
    /// MCP 2026-07-28, with these versions on offer.
    Modern { versions: Vec<String> },
    /// With `initialize`, and this version.
    Legacy { version: String },
}

impl Opening {
    /// Asks as the connector does: `server/discover` first, `initialize` if that is not known.
    pub async fn make(requests: &Requests) -> Self {
        let form = requests.plain();
        let limited = Form {
            limit: form.limit.min(DISCOVER_LIMIT),
            ..form.clone()
        };
        let discover = requests.post(limited, &Message::discover()).await;
        let initialize = match asks_again(&discover) {
            true => Some(requests.post(form, &Message::initialize()).await),
            false => None,
        };
        Self {
            discover,
            initialize,
        }
    }

    /// The answer that counts.
    pub fn last(&self) -> &ProbeResult {
        self.initialize.as_ref().unwrap_or(&self.discover)
    }

    pub fn took(&self) -> Duration {
        self.discover.took
            + self
                .initialize
                .as_ref()
                .map(|it| it.took)
                .unwrap_or_default()
    }

    /// The MCP that is spoken, if it is any.
    pub fn era(&self) -> Option<Era> {
        let result = self.last().answer.as_ref().ok()?.result()?;
        match &self.initialize {
            None => {
                let versions = result["supportedVersions"].as_array()?.iter();
                let versions = versions.filter_map(Value::as_str).map(str::to_owned);
                Some(Era::Modern {
                    versions: versions.collect(),
                })
            }
            Some(_) => Some(Era::Legacy {
                version: result["protocolVersion"].as_str()?.to_owned(),
            }),
        }
    }

    /// Whether the server opened a session.
    pub fn has_session(&self) -> bool {
        let answer = self.last().answer.as_ref().ok();
        answer.is_some_and(|answer| answer.header("mcp-session-id").is_some())
    }

    /// Whether the server refused what the request looks like, and not what it says.
    pub fn is_about_accept(&self) -> bool {
        let refused = [
            StatusCode::NOT_ACCEPTABLE,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ];
        matches!(&self.last().answer, Ok(answer) if refused.contains(&answer.status))
    }
}

/// Whether the answer to `server/discover` is that of a server which does not know it.
fn asks_again(discover: &ProbeResult) -> bool {
    match &discover.answer {
        Ok(answer) if answer.status.is_success() => {
            answer.message.is_some() && answer.result().is_none()
        }
        Ok(answer) => answer.status.is_client_error() && !is_about_credentials(answer.status),
        Err(error) => matches!(error, ProbeError::Timeout(_)),
    }
}

pub fn is_about_credentials(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

impl Era {
    /// The message that this server answers first.
    pub fn opening(&self) -> Message {
        match self {
            Self::Modern { .. } => Message::discover(),
            Self::Legacy { .. } => Message::initialize(),
        }
    }
}

/// The step `protocol`.
pub fn protocol(opening: &Opening) -> Outcome {
    if opening.is_about_accept() {
        return skip("`accept` comes first");
    }
    match (opening.era(), &opening.last().answer) {
        (Some(Era::Modern { versions }), _) => {
            pass(format!("server/discover: MCP {}", versions.join(", ")))
        }
        (Some(Era::Legacy { version }), _) if STREAMABLE.contains(&version.as_str()) => pass(
            format!("initialize: MCP {version}; the server does not know server/discover"),
        ),
        (Some(Era::Legacy { version }), _) if version == "2024-11-05" => warn(
            "the server speaks MCP 2024-11-05 and nothing newer: that version has no Streamable HTTP",
            "update the server's SDK",
        ),
        (Some(Era::Legacy { version }), _) => fail(
            format!("the server answers initialize with the version {version:?}, which is unknown"),
            format!("answer with a version of MCP, such as {LEGACY}"),
        ),
        (None, Ok(answer)) => fail(
            format!(
                "neither server/discover nor initialize is answered with MCP: {}",
                shown(answer)
            ),
            hint(answer),
        ),
        (None, Err(_)) => skip("`path` comes first"),
    }
}

fn hint(answer: &Answer) -> &'static str {
    let is_about_version = answer
        .start
        .to_ascii_lowercase()
        .contains("protocol version");
    match answer.status.as_u16() {
        400 if is_about_version => {
            "accept the version that the client offers, or answer `initialize` with one of your own: update the server's SDK"
        }
        500.. => "check the server's log",
        400 => "run it stateless: the first message has no session and no header but those of MCP",
        421 => "add this host name to the server's allowed hosts",
        429 => "the server limits requests; allow the connector more of them",
        _ => "check that the URL is that of the MCP endpoint, not of a page or another API",
    }
}
