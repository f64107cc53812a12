//! The endpoint of connectors: Streamable HTTP towards them, commands towards the tunnel client.

use std::convert::Infallible;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures::stream::{self, StreamExt};
use http::header::{ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::value::RawValue;

use super::command::{Action, Asked};
use super::posted::{Kind, Posted};
use super::refusal::Refusal;
use super::unicode::has_lone_surrogate;
use super::{Call, Plane, body, headers};
use crate::budget::Held;
use crate::tunnel::message::{Id, Message};

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// Somebody with the key of the control plane, in `Authorization`: no server may get it.
    Elsewhere,
    /// The engine of this process, whose `Authorization` is for the server.
    Engine,
}

#[derive(Clone)]
struct Connectors {
    plane: Plane,
    caller: Caller,
}

/// The endpoint for connectors that are elsewhere.
pub fn elsewhere(plane: Plane) -> Router {
    router(plane, Caller::Elsewhere)
}

/// The endpoint for the engine of this process, `/v1/mcp/{id}`. It is told refusals in plain text.
pub fn for_engine(plane: Plane) -> Router {
    router(plane, Caller::Engine)
}

fn router(plane: Plane, caller: Caller) -> Router {
    let main = |state: State<Connectors>, Path(id): Path<String>, request: Request| {
        connect(state, id, String::new(), request)
    };
    let named = |state: State<Connectors>, Path((id, channel)), request: Request| {
        connect(state, id, channel, request)
    };
    Router::new()
        .route("/v1/mcp/{id}", any(main))
        .route("/v1/mcp/{id}/{channel}", any(named))
        .with_state(Connectors { plane, caller })
}

async fn connect(
    State(Connectors { plane, caller }): State<Connectors>,
    id: String,
    channel: String,
    request: Request,
) -> Response {
    match answer(&plane, caller, &id, &channel, request).await {
        Ok(response) => response,
        Err(refusal) if caller == Caller::Engine => refusal.as_text(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn answer(
    plane: &Plane,
    caller: Caller,
    id: &str,
    channel: &str,
    request: Request,
) -> Result<Response, Refusal> {
    let (mut head, body) = request.into_parts();
    if !matches!(head.method, Method::POST | Method::DELETE) {
        return Ok(not_allowed());
    }
    let channel = channel.parse().map_err(|_| Refusal::Channel)?;
    // Before the body is read, which may be large.
    plane.with(id, |_| ())?;
    let action = match head.method {
        Method::DELETE if head.headers.contains_key(SESSION_ID) => Action::EndSession,
        Method::DELETE => return Err(Refusal::NoSession),
        _ => {
            let options = plane.options();
            let (body, held) = body::read(body, options.body, &options.budget).await?;
            message(&body, held)?
        }
    };
    if caller == Caller::Elsewhere && plane.0.has_key {
        head.headers.remove(AUTHORIZATION);
    }
    let request_id = match &action {
        Action::Message { id, .. } => id.clone(),
        Action::EndSession => None,
    };
    let asked = Asked {
        channel,
        headers: headers::of_command(&head.headers),
        action,
    };
    let call = plane.ask(id, asked)?;
    reply(call, takes_events(&head.headers), request_id).await
}

fn not_allowed() -> Response {
    let mut response = StatusCode::METHOD_NOT_ALLOWED.into_response();
    let allowed = HeaderValue::from_static("POST, DELETE");
    response.headers_mut().insert(ALLOW, allowed);
    response
}

/// The message in a body. The answer to a request of the server is refused: the client of a tunnel drops it
/// without a word, and so no server can ask anything through one.
fn message(body: &[u8], held: Held) -> Result<Action, Refusal> {
    if has_lone_surrogate(body) {
        return Err(Refusal::Payload);
    }
    let message: Box<RawValue> = serde_json::from_slice(body).map_err(|_| Refusal::Payload)?;
    let id = match Message::read(&message) {
        Some(Message::Request(id)) => Some(id),
        Some(Message::Notification) => None,
        Some(Message::Answer { .. }) | None => return Err(Refusal::Payload),
    };
    Ok(Action::Message { message, id, held })
}

fn takes_events(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter();
    accepted.any(|it| it.to_str().is_ok_and(|it| it.contains("text/event-stream")))
}

/// The answer of the server: a stream if a note comes before it and the connector takes one.
async fn reply(mut call: Call, takes_events: bool, id: Option<Id>) -> Result<Response, Refusal> {
    loop {
        let posted = call.next().await?;
        if posted.kind.is_final() {
            return Ok(whole(posted));
        }
        if takes_events {
            return Ok(streamed(posted, call, id));
        }
    }
}

/// An answer that is JSON, whatever the server had it in: some connectors refuse a stream of one event.
fn whole(posted: Posted) -> Response {
    let status = status(posted.code);
    let mut headers = headers::of_answer(posted.headers);
    headers.remove(CONTENT_TYPE);
    let json = match posted.kind {
        Kind::JsonrpcResponse => posted.json,
        _ => None,
    };
    let has_body = !matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    );
    let body = match json.filter(|_| has_body) {
        Some(json) => {
            headers.insert(CONTENT_TYPE, JSON);
            Body::from(body::held(
                String::from(Box::<str>::from(json)),
                posted.held,
            ))
        }
        None => Body::empty(),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The status that a connector gets: known ones as they are, others as what their class allows.
fn status(code: i64) -> StatusCode {
    let status = u16::try_from(code).ok();
    let status = status.and_then(|it| StatusCode::from_u16(it).ok());
    match status {
        Some(status) if status.is_informational() => StatusCode::BAD_GATEWAY,
        Some(status) if status.canonical_reason().is_some() => status,
        Some(status) if status.is_success() => StatusCode::OK,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// The notes and the answer as events. Their status is 200, because the one of the answer comes too late.
fn streamed(mut first: Posted, call: Call, id: Option<Id>) -> Response {
    let mut headers = headers::of_answer(std::mem::take(&mut first.headers));
    headers.insert(CONTENT_TYPE, EVENT_STREAM);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let rest = stream::unfold(Some(call), move |call| {
        let id = id.clone();
        async move {
            let mut call = call?;
            let posted = match call.next().await {
                Ok(posted) => posted,
                Err(refusal) => {
                    let code = refusal.status();
                    let reason = code.canonical_reason().unwrap_or_default();
                    let held = call.plane.options().budget.empty();
                    Posted::failure(id.as_ref(), code.as_u16().into(), reason, held)
                }
            };
            let goes_on = !posted.kind.is_final();
            Some((event(posted), goes_on.then_some(call)))
        }
    });
    let events = stream::once(async { event(first) }).chain(rest);
    let mut response = Response::new(Body::from_stream(events.map(Ok::<_, Infallible>)));
    *response.headers_mut() = headers;
    response
}

/// A message as an event; an acknowledgement, which has none, is an empty comment.
fn event(posted: Posted) -> Bytes {
    let Some(json) = posted.json else {
        return Bytes::from_static(b":\n\n");
    };
    // Line breaks stand between the values of JSON only, where a blank is as good.
    let line = json.get().replace(['\n', '\r'], " ");
    body::held(format!("data: {line}\n\n"), posted.held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_nobody_knows_is_200_or_502() {
        for (code, expected) in [
            (200, 200),
            (202, 202),
            (299, 200),
            (307, 307),
            (404, 404),
            (418, 418),
            (100, 502),
            (399, 502),
            (499, 502),
            (599, 502),
            (600, 502),
            (0, 502),
            (-1, 502),
            (70_000, 502),
        ] {
            assert_eq!(status(code).as_u16(), expected, "{code}");
        }
    }
}
