//! The steps beside the way, `session`, `get`, `host` and `accept`: what an answer to a request that is
//! a little different says of the server.

use http::StatusCode;

use super::opening::{Era, Opening};
use super::stage::{fail, pass, skip, warn};
use super::{Outcome, shown};
use crate::mcp::{Answer, ProbeError, ProbeResult};

/// The step `session`: what the server says to `tools/list` without a session. The connector drops
/// session ids between calls.
pub fn session(era: &Era, dropped: Option<&ProbeResult>) -> Outcome {
    let Some(dropped) = dropped else {
        return pass(match era {
            Era::Modern { .. } => "MCP 2026-07-28 has none",
            Era::Legacy { .. } => "the server keeps none",
        });
    };
    match &dropped.answer {
        Ok(answer) if answer.result().is_some() => {
            pass("the server does well without its session id")
        }
        Ok(answer) => warn(
            format!(
                "without the session id, tools/list is answered with {}; OpenAI drops it between calls, and a call may end with `Session terminated`",
                shown(answer)
            ),
            "run the server stateless, such as with `stateless_http=True`, or without --sessions",
        ),
        Err(error) => warn(
            format!(
                "without the session id, tools/list has no answer: {}",
                told(error)
            ),
            "run the server stateless",
        ),
    }
}

/// The step `get`. A server need not have a stream for it; it must say so.
pub fn get(heard: &ProbeResult) -> Outcome {
    match &heard.answer {
        Ok(answer) if answer.status.is_server_error() => warn(
            format!("a GET is answered with {}", shown(answer)),
            "answer it with HTTP 405, or with a stream of events",
        ),
        Ok(answer) if answer.status.is_success() && answer.is_event_stream() => {
            pass("a stream of events")
        }
        Ok(answer) => pass(format!("HTTP {}", answer.status)),
        Err(error) => fail(
            format!("a GET for a stream of events has no head: {}", told(error)),
            "send the head of the stream at once, or answer with HTTP 405; look for a proxy that buffers",
        ),
    }
}

/// The step `host`: the answer to a `Host` that is not the URL's, which is what a tunnel may send.
pub fn host(foreign: Option<&ProbeResult>) -> Outcome {
    const HINT: &str = "add the tunnel's name to the hosts that the server knows, such as with `mcp-cli serve --allowed-host NAME` or `allowed_hosts`";
    let Some(foreign) = foreign else {
        return skip("the server is not behind a tunnel of this machine");
    };
    match &foreign.answer {
        Ok(answer) if answer.result().is_some() => pass("a foreign name is served"),
        Ok(answer) => warn(
            format!(
                "under a name that it does not know, the server answers with {}; a tunnel may send one",
                shown(answer)
            ),
            HINT,
        ),
        Err(error) => warn(
            format!(
                "under a name that it does not know, the server does not answer: {}",
                told(error)
            ),
            HINT,
        ),
    }
}

/// The answers to requests that accept less than MCP asks for, or anything.
#[derive(Debug)]
pub struct Accepts {
    pub json: ProbeResult,
    pub events: ProbeResult,
    pub anything: ProbeResult,
}

/// The step `accept`.
pub fn accept(opening: &Opening, accepts: Option<&Accepts>) -> Outcome {
    if opening.is_about_accept()
        && let Ok(answer) = &opening.last().answer
    {
        return fail(
            format!(
                "JSON that accepts JSON and events, as MCP says, is answered with {}",
                shown(answer)
            ),
            "accept `application/json, text/event-stream`, in this order and with any case",
        );
    }
    let Some(accepts) = accepts else {
        return skip("there is no answer to compare with");
    };
    if let Ok(answer) = &accepts.json.answer
        && answer.result().is_some()
        && answer.is_event_stream()
    {
        return warn(
            "who accepts JSON alone is answered with events",
            "answer with JSON, or with HTTP 406",
        );
    }
    let forms = [
        ("JSON alone", &accepts.json),
        ("events alone", &accepts.events),
        ("anything", &accepts.anything),
    ];
    let failed = forms.iter().find_map(|(name, heard)| match &heard.answer {
        Ok(answer) if answer.status.is_server_error() => Some((name, shown(answer))),
        Ok(_) => None,
        Err(error) => Some((name, told(error))),
    });
    if let Some((name, why)) = failed {
        return warn(
            format!("who accepts {name} is failed: {why}"),
            "answer with HTTP 406, or in the form that is accepted",
        );
    }
    let is_refused =
        |heard: &ProbeResult| matches!(&heard.answer, Ok(answer) if is_not_acceptable(answer));
    let refused: Vec<&str> = forms
        .iter()
        .filter(|(_, heard)| is_refused(heard))
        .map(|(name, _)| *name)
        .collect();
    match refused.as_slice() {
        [] => pass("all forms"),
        refused => pass(format!(
            "both forms together; refused, as MCP allows: {}",
            refused.join(", ")
        )),
    }
}

fn is_not_acceptable(answer: &Answer) -> bool {
    matches!(
        answer.status,
        StatusCode::NOT_ACCEPTABLE | StatusCode::BAD_REQUEST | StatusCode::UNSUPPORTED_MEDIA_TYPE
    )
}

/// Why there was no answer, in a few words.
pub fn told(error: &ProbeError) -> String {
    match error {
        ProbeError::Timeout(limit) => {
            format!("nothing came for {}", humantime::format_duration(*limit))
        }
        ProbeError::NoConnection(why) | ProbeError::BrokenOff(why) => why.clone(),
        ProbeError::Tls { message, .. } => message.clone(),
    }
}
