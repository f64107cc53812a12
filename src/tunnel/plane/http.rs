//! The control plane over HTTP.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::stream::{self, StreamExt};
use http::header::{ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{Asked, Place, Plane, Posted, Refusal, ResponseType, headers};
use crate::http::{BodyLimits, json as json_answer, read_body};

const SHARD_TOKEN: HeaderName = HeaderName::from_static("x-tunnel-shard-token");
const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The channel that is meant where none is named.
const MAIN: &str = "main";
/// The most commands of one poll.
const MOST_COMMANDS: usize = 25;
/// How long a poll is held that does not say.
const POLL: Duration = Duration::from_secs(30);

/// The endpoints for makers and clients of tunnels, and for connectors that send the key of the control
/// plane. Their `Authorization` is that key, which no server gets.
pub fn for_connectors(plane: Plane) -> Router {
    let connectors = connectors(plane.clone()).layer(axum::middleware::from_fn(without_key));
    Router::new()
        .route("/v1/tunnels", get(list).post(create))
        .route("/v1/tunnels/{id}", get(show).post(update).delete(delete))
        .route("/v1/tunnels/{id}/poll", get(poll))
        .route("/v1/tunnels/{id}/response", post(respond))
        .with_state(plane)
        .merge(connectors)
}

/// The endpoint of connectors for the engine in this process, whose `Authorization` is for the server.
pub fn for_engine(plane: Plane) -> Router {
    connectors(plane)
}

fn connectors(plane: Plane) -> Router {
    let main = |state: State<Plane>, Path(id): Path<String>, request: Request| {
        connect(state, (id, MAIN.to_owned()), request)
    };
    let named = |state: State<Plane>, Path(path): Path<(String, String)>, request: Request| {
        connect(state, path, request)
    };
    Router::new()
        .route("/v1/mcp/{id}", axum::routing::any(main))
        .route("/v1/mcp/{id}/{channel}", axum::routing::any(named))
        .with_state(plane)
}

async fn without_key(mut request: Request, next: axum::middleware::Next) -> Response {
    request.headers_mut().remove(AUTHORIZATION);
    next.run(request).await
}

async fn list(State(plane): State<Plane>) -> Response {
    let state = plane.lock();
    let all = state.tunnels.iter();
    let all: Vec<Value> = all
        .map(|(id, tunnel)| described(id, &tunnel.fields))
        .collect();
    json_answer(StatusCode::OK, &json!({"object": "list", "data": all}))
}

fn described(id: &str, fields: &Map<String, Value>) -> Value {
    let mut all = json!({"id": id, "name": "", "description": ""});
    if let Some(object) = all.as_object_mut() {
        object.extend(fields.clone());
    }
    all
}

async fn create(State(plane): State<Plane>, request: Request) -> Result<Response, Refusal> {
    let fields = fields(&plane, request).await?;
    let id = plane.create(fields.clone())?;
    Ok(json_answer(StatusCode::OK, &described(&id, &fields)))
}

async fn show(State(plane): State<Plane>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let fields = plane.with(&id, |tunnel| tunnel.fields.clone())?;
    Ok(json_answer(StatusCode::OK, &described(&id, &fields)))
}

async fn update(
    State(plane): State<Plane>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let changed = fields(&plane, request).await?;
    let fields = plane.with(&id, |tunnel| {
        tunnel.fields.extend(changed);
        tunnel.fields.clone()
    })?;
    Ok(json_answer(StatusCode::OK, &described(&id, &fields)))
}

async fn delete(State(plane): State<Plane>, Path(id): Path<String>) -> Result<Response, Refusal> {
    plane.delete(&id)?;
    Ok(json_answer(
        StatusCode::OK,
        &json!({"id": id, "object": "tunnel", "deleted": true}),
    ))
}

/// What a maker says of a tunnel. What is not known is left out, so that a tunnel stays small.
async fn fields(plane: &Plane, request: Request) -> Result<Map<String, Value>, Refusal> {
    const KNOWN: [&str; 5] = [
        "name",
        "description",
        "tenant_ids",
        "workspace_ids",
        "organization_ids",
    ];
    const MAX: u64 = 16 * 1024;
    let body = read(plane, request, MAX).await?;
    if body.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    let fields: Map<String, Value> = serde_json::from_slice(&body).map_err(|_| Refusal::Payload)?;
    let known = fields
        .into_iter()
        .filter(|(name, _)| KNOWN.contains(&name.as_str()));
    Ok(known.collect())
}

async fn read(plane: &Plane, request: Request, max: u64) -> Result<Bytes, Refusal> {
    let limits = BodyLimits {
        max_bytes: max.min(plane.0.limits.max_body),
        ..BodyLimits::default()
    };
    let body = read_body(request.into_body(), limits).await;
    body.map_err(|_| Refusal::Payload)
}

async fn poll(
    State(plane): State<Plane>,
    Path(id): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Refusal> {
    let mut most = MOST_COMMANDS;
    let mut wait = POLL;
    let mut channels = Vec::new();
    for (name, value) in query {
        match name.as_str() {
            "limit" => most = value.parse().map_err(|_| Refusal::Limit)?,
            "timeout_ms" => {
                wait = Duration::from_millis(value.parse().map_err(|_| Refusal::Limit)?);
            }
            "channel" => channels.push(channel(&value)?),
            _ => {}
        }
    }
    if !(1..=MOST_COMMANDS).contains(&most) {
        return Err(Refusal::Limit);
    }
    let commands = plane.poll(&id, most, &channels, wait).await?;
    if commands.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(json_answer(StatusCode::OK, &json!({"commands": commands})))
}

fn channel(text: &str) -> Result<String, Refusal> {
    let channel = text.trim().to_ascii_lowercase();
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-');
    match channel.len() {
        0 => Ok(MAIN.to_owned()),
        1..=64 if channel.bytes().all(is_plain) => Ok(channel),
        _ => Err(Refusal::Channel),
    }
}

async fn respond(
    State(plane): State<Plane>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let token = request.headers().get(SHARD_TOKEN);
    let token = token.and_then(|it| it.to_str().ok()).map(str::to_owned);
    let body = read(&plane, request, u64::MAX).await?;
    let posted: Posted = serde_json::from_slice(&body).map_err(|_| Refusal::Payload)?;
    plane.answer(&id, &token.ok_or(Refusal::ShardToken)?, posted)?;
    Ok(json_answer(StatusCode::OK, &json!({"status": "ok"})))
}

async fn connect(
    State(plane): State<Plane>,
    (id, named): (String, String),
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let answered = async {
        let channel = channel(&named)?;
        let jsonrpc = match head.method {
            Method::POST => {
                let request = Request::from_parts(head.clone(), body);
                Some(message(&read(&plane, request, u64::MAX).await?)?)
            }
            Method::DELETE if head.headers.contains_key(SESSION_ID) => None,
            Method::DELETE => return Err(Refusal::NoSession),
            _ => return Ok(not_allowed()),
        };
        let place = plane.ask(
            &id,
            Asked {
                channel,
                headers: headers::of_command(&head.headers),
                jsonrpc,
            },
        )?;
        answer(place, &head).await
    };
    answered.await.unwrap_or_else(IntoResponse::into_response)
}

/// A JSON-RPC message as it was sent: an object.
fn message(body: &[u8]) -> Result<Box<RawValue>, Refusal> {
    #[derive(Deserialize)]
    struct Message {
        #[serde(rename = "jsonrpc")]
        _version: String,
    }
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let is_message = serde_json::from_slice::<Message>(body).is_ok();
    match is_object && is_message {
        true => serde_json::from_slice(body).map_err(|_| Refusal::Payload),
        false => Err(Refusal::Payload),
    }
}

fn not_allowed() -> Response {
    let mut response = StatusCode::METHOD_NOT_ALLOWED.into_response();
    let allowed = HeaderValue::from_static("POST, DELETE");
    response.headers_mut().insert(ALLOW, allowed);
    response
}

/// The answer of the server: a stream if a note comes before it and the connector takes one.
async fn answer(mut place: Place, head: &Parts) -> Result<Response, Refusal> {
    let takes_events = takes_events(&head.headers);
    loop {
        let posted = place.next().await?;
        if posted.resp_type != ResponseType::JsonrpcNotify {
            return Ok(whole(posted));
        }
        if takes_events {
            return Ok(streamed(&posted, place));
        }
    }
}

fn takes_events(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter();
    accepted.any(|it| it.to_str().is_ok_and(|it| it.contains("text/event-stream")))
}

fn whole(posted: Posted) -> Response {
    let status = StatusCode::from_u16(posted.resp_code);
    let status = status.ok().filter(|it| it.as_u16() >= 200);
    let mut headers = headers::of_answer(posted.resp_headers);
    let body = match posted.resp_json {
        Some(json) => json.get().to_owned(),
        None => String::new(),
    };
    // The body is one message, whatever the server had it in.
    headers.remove(CONTENT_TYPE);
    if !body.is_empty() {
        headers.insert(CONTENT_TYPE, JSON);
    }
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status.unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = headers;
    response
}

fn streamed(first: &Posted, place: Place) -> Response {
    let mut headers = headers::of_answer(first.resp_headers.clone());
    headers.insert(CONTENT_TYPE, EVENT_STREAM);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let first = stream::iter([Ok::<_, Infallible>(event(first))]);
    let rest = stream::unfold(Some(place), |place| async move {
        let mut place = place?;
        // A stream that is cut short says that there is no answer.
        let posted = place.next().await.ok()?;
        let is_note = posted.resp_type == ResponseType::JsonrpcNotify;
        Some((Ok(event(&posted)), is_note.then_some(place)))
    });
    let mut response = Response::new(Body::from_stream(first.chain(rest)));
    *response.headers_mut() = headers;
    response
}

fn event(posted: &Posted) -> Bytes {
    let json = posted.resp_json.as_ref().map_or("{}", |it| it.get());
    // A line break in a text is escaped in JSON; between values it may go.
    let line = json.replace(['\n', '\r'], " ");
    format!("event: message\ndata: {line}\n\n").into()
}
