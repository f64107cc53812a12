//! How a client and a server agree on a version of MCP: `server/discover` first, as OpenAI's connector
//! does, and `initialize` for servers that do not know it.

use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use rmcp::model::{ErrorCode, ProtocolVersion};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::channel::{Answer, Channel, Request};
use super::error::{Error, RpcError};
use super::excess::MAX_SMALL_ANSWER;
use super::fault::Fault;
use super::http::PROTOCOL_VERSION;
use super::param_headers::METHOD;

/// The version without `initialize` (MCP 2026-07-28, lifecycle), and the one that `initialize` offers.
const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";

/// How many of the versions that a server speaks are looked at.
const MOST_VERSIONS: usize = 16;

/// How a server is spoken to once the handshake is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Era {
    /// Every request says who sends it (MCP 2026-07-28).
    Modern,
    /// The server was initialized, and chose this version.
    Legacy { version: String },
}

impl Era {
    /// The version that was agreed on.
    pub fn version(&self) -> &str {
        match self {
            Self::Modern => MODERN,
            Self::Legacy { version } => version,
        }
    }
}

/// What a server and this client agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    pub era: Era,
    /// What the server said of itself: the JSON of its result.
    pub about: Arc<str>,
}

impl Agreed {
    fn new(era: Era, answer: &Answer) -> Self {
        let (Ok(about) | Err(about)) = answer.outcome();
        Self {
            era,
            about: about.into(),
        }
    }
}

/// The `_meta` of a request to a modern server (MCP 2026-07-28, request metadata).
pub static REQUEST_META: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let fields = [
        ("protocolVersion", json!(MODERN)),
        ("clientInfo", client_info()),
        ("clientCapabilities", json!({})),
    ];
    let named = fields.map(|(name, value)| (format!("io.modelcontextprotocol/{name}"), value));
    named.into_iter().collect()
});

fn client_info() -> Value {
    json!({"name": "mcp-cli", "version": env!("CARGO_PKG_VERSION")})
}

/// Agrees with the server on a version. `next_id` gives the ids of requests; `server/discover` is waited
/// for as long as `patience`. `capabilities` is what the client offers to one that is initialized.
///
/// # Errors
/// Why the server cannot be used.
pub async fn agree(
    channel: &Channel,
    mut next_id: impl FnMut() -> u64,
    patience: Duration,
    capabilities: &Value,
) -> Result<Agreed, Error> {
    let probe = discover(channel, next_id());
    let probed = match channel.http() {
        Some(_) => timeout(patience, probe).await,
        None => {
            let mut probe = pin!(probe);
            match timeout(patience, &mut probe).await {
                Ok(outcome) => Ok(outcome),
                Err(_) => {
                    return agree_late(channel, next_id(), probe, patience, capabilities).await;
                }
            }
        }
    };
    // An answer that comes later belongs to no request any more, and is ignored.
    let verdict = probed.map_or(Ok(Verdict::Legacy), judge)?;
    match verdict {
        Verdict::Modern(answer) => Ok(modern(channel, &answer)),
        Verdict::Legacy => initialize(channel, next_id(), capabilities).await,
    }
}

/// A server that was started may take a while until it reads anything. It is asked to initialize
/// meanwhile; if it does not know that, its late answer to `probe` counts.
async fn agree_late(
    channel: &Channel,
    id: u64,
    probe: Pin<&mut impl Future<Output = Result<Answer, Error>>>,
    patience: Duration,
    capabilities: &Value,
) -> Result<Agreed, Error> {
    let refusal = match initialize(channel, id, capabilities).await {
        Err(error @ Error::Protocol { .. }) => error,
        agreed => return agreed,
    };
    match timeout(patience, probe).await.map(judge) {
        Ok(Ok(Verdict::Modern(answer))) => Ok(modern(channel, &answer)),
        _ => Err(refusal),
    }
}

fn modern(channel: &Channel, answer: &Answer) -> Agreed {
    if let Some(http) = channel.http() {
        http.set_version(MODERN);
    }
    Agreed::new(Era::Modern, answer)
}

/// Whether a server that refused a message so may speak HTTP+SSE, the transport before Streamable HTTP.
pub fn may_be_older(error: &Error) -> bool {
    let is_of_credentials = |status| matches!(status, 401 | 403 | 407 | 429);
    match error {
        Error::Refused { status, .. } => {
            status.is_client_error() && !is_of_credentials(status.as_u16())
        }
        _ => false,
    }
}

async fn discover(channel: &Channel, id: u64) -> Result<Answer, Error> {
    const DISCOVER: &str = "server/discover";
    let params = json!({"_meta": *REQUEST_META});
    let mut request = Request::new(id, DISCOVER, &params, MAX_SMALL_ANSWER)?;
    let headers = &mut request.headers;
    headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(MODERN));
    headers.insert(METHOD, HeaderValue::from_static(DISCOVER));
    channel.request(&request).await
}

/// What the outcome of `server/discover` says of a server.
#[derive(Debug)]
enum Verdict {
    /// With the answer in which it says so.
    Modern(Answer),
    Legacy,
}

/// Whether a server is modern. One that does not know `server/discover` may refuse it in any way, and
/// may answer anything; `initialize` then says what is wrong, if something is.
fn judge(outcome: Result<Answer, Error>) -> Result<Verdict, Error> {
    let answer = match outcome {
        Ok(answer) => answer,
        Err(Error::Refused {
            status,
            rejection: Some(error),
            ..
        }) if status.is_client_error() => return judge_error(*error),
        // Refused credentials are refused for `initialize` as well. A redirect that is not followed
        // leads away from every method.
        Err(Error::Refused { status, .. })
            if status != StatusCode::UNAUTHORIZED
                && status != StatusCode::FORBIDDEN
                && !status.is_redirection() =>
        {
            return Ok(Verdict::Legacy);
        }
        Err(Error::NotMcp(_)) => return Ok(Verdict::Legacy),
        Err(error) => return Err(error),
    };
    let is_modern = match answer.outcome() {
        Ok(result) => match serde_json::from_str(result) {
            Ok(Discovered { supported_versions }) => is_modern(&supported_versions)?,
            Err(_) => false,
        },
        Err(error) => return serde_json::from_str(error).map_or(Ok(Verdict::Legacy), judge_error),
    };
    Ok(match is_modern {
        true => Verdict::Modern(answer),
        false => Verdict::Legacy,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Discovered {
    supported_versions: Vec<String>,
}

/// Whether a server that supports these versions is modern.
fn is_modern(supported: &[String]) -> Result<bool, Error> {
    let supported = &supported[..supported.len().min(MOST_VERSIONS)];
    if supported.iter().any(|it| it == MODERN) {
        return Ok(true);
    }
    match supported.iter().any(|version| is_known(version)) {
        true => Ok(false),
        false => Err(Error::NotMcp(format!(
            "no compatible protocol version: the server supports {supported:?}"
        ))),
    }
}

/// The `data` of UNSUPPORTED_PROTOCOL_VERSION.
#[derive(Default, Deserialize)]
struct Supported {
    supported: Vec<String>,
}

fn judge_error(error: RpcError) -> Result<Verdict, Error> {
    match ErrorCode(i32::try_from(error.code).unwrap_or_default()) {
        ErrorCode::UNSUPPORTED_PROTOCOL_VERSION => {
            let data = error.data.as_ref().map_or("null", |it| it.get());
            let supported = serde_json::from_str::<Supported>(data).unwrap_or_default();
            // It does not speak the version that was asked for, whatever it says it supports.
            match is_modern(&supported.supported)? {
                true => Err(error.into()),
                false => Ok(Verdict::Legacy),
            }
        }
        // Only a modern server has these errors.
        ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY | ErrorCode::HEADER_MISMATCH => {
            Err(error.into())
        }
        _ => Ok(Verdict::Legacy),
    }
}

/// Initializes a server (MCP 2025-11-25, lifecycle).
///
/// # Errors
/// Why the server cannot be used.
pub async fn initialize(channel: &Channel, id: u64, capabilities: &Value) -> Result<Agreed, Error> {
    let agreed = initialized(channel, id, capabilities).await?;
    if let Some(http) = channel.http() {
        http.set_version(agreed.era.version());
    }
    if let Era::Legacy { .. } = agreed.era {
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        channel.notify(initialized.to_string().into()).await?;
        if let Some(http) = channel.http() {
            http.listen();
        }
    }
    Ok(agreed)
}

async fn initialized(channel: &Channel, id: u64, capabilities: &Value) -> Result<Agreed, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Initialized {
        protocol_version: String,
    }
    let params = json!({
        "protocolVersion": LEGACY,
        "capabilities": capabilities,
        "clientInfo": client_info(),
    });
    let request = Request::new(id, "initialize", &params, MAX_SMALL_ANSWER)?;
    let answer = channel.request(&request).await?;
    let result = answer.outcome().map_err(RpcError::read)?;
    let Initialized {
        protocol_version: version,
    } = serde_json::from_str(result).map_err(Fault::from)?;
    if !is_known(&version) {
        return Err(Error::NotMcp(format!("its version is {version:?}")));
    }
    let era = match &*version {
        // It may honor a version that has no handshake, and then needs what each request says.
        MODERN => Era::Modern,
        _ => Era::Legacy { version },
    };
    Ok(Agreed::new(era, &answer))
}

/// Whether this program speaks the version.
fn is_known(version: &str) -> bool {
    let mut known = ProtocolVersion::KNOWN_VERSIONS.iter();
    known.any(|known| known.as_str() == version)
}

#[cfg(test)]
mod tests {
    use super::super::channel::read_answer;
    use super::super::excess::Excess;
    use super::super::observer::Observer;
    use super::*;
    use crate::budget::Budget;

    /// Whether the verdict is that the server is modern.
    fn is_modern(verdict: Result<Verdict, Error>) -> Result<bool, String> {
        let verdict = verdict.map_err(|error| error.to_string())?;
        Ok(matches!(verdict, Verdict::Modern(_)))
    }

    /// What the verdict is on this body of an answer.
    fn verdict(body: &str) -> Result<bool, String> {
        let request = Request::new(1, "server/discover", &json!({}), 1000).unwrap();
        let answer = read_answer(
            &request,
            body.into(),
            Budget::unlimited().empty(),
            &Observer::default(),
        );
        is_modern(judge(answer.map_err(Error::from)))
    }

    fn result(result: &Value) -> Result<bool, String> {
        verdict(&json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string())
    }

    fn error(code: i64, data: &Value) -> Result<bool, String> {
        let error = json!({"code": code, "message": "no", "data": data});
        verdict(&json!({"jsonrpc": "2.0", "id": 1, "error": error}).to_string())
    }

    fn refused(status: u16, rejection: Option<i64>) -> Result<bool, String> {
        let rejection = rejection.map(|code| RpcError {
            code,
            message: "no".to_owned(),
            data: None,
        });
        let error = Error::Refused {
            status: StatusCode::from_u16(status).unwrap(),
            challenge: None,
            rejection: rejection.map(Box::new),
            said: String::new(),
        };
        is_modern(judge(Err(error)))
    }

    #[test]
    fn a_server_that_supports_the_version_is_modern() {
        assert_eq!(
            result(&json!({"supportedVersions": ["2026-07-28", "x"], "capabilities": {}})),
            Ok(true)
        );
    }

    #[test]
    fn a_server_that_does_not_know_discovery_is_asked_to_initialize() {
        for verdict in [
            result(&json!({})),
            result(&json!({"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {}})),
            result(&json!({"supportedVersions": ["2025-11-25"]})),
            verdict(r#"{"jsonrpc": "2.0", "id": 1, "result": null}"#),
            verdict(r#"{"jsonrpc": "2.0", "id": 1, "error": "unknown method"}"#),
            verdict("Method not found"),
            verdict(""),
            error(-32601, &json!(null)),
            error(-32022, &json!({"supported": ["2025-06-18"]})),
            refused(400, None),
            refused(404, Some(-32601)),
            refused(500, None),
            refused(501, None),
        ] {
            assert_eq!(verdict, Ok(false));
        }
    }

    #[test]
    fn a_server_that_cannot_be_used_is_not_asked_again() {
        for verdict in [
            refused(401, None),
            refused(403, None),
            refused(307, None),
            refused(400, Some(-32020)),
            error(-32021, &json!(null)),
            error(-32022, &json!({"supported": ["2099-01-01"]})),
            error(-32022, &json!({"supported": ["2026-07-28"]})),
            result(&json!({"supportedVersions": ["2099-01-01"]})),
            is_modern(judge(Err(Excess::Traffic.into()))),
        ] {
            assert!(verdict.is_err(), "{verdict:?}");
        }
    }
}
