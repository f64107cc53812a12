//! The endpoints for the owner of tunnels and for tunnel clients.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::refusal::Refusal;
use super::tunnel::About;
use super::{Plane, body, command, connector, posted};
use crate::http::{BodyLimits, json as json_answer};
use crate::tunnel::names::Channel;

const SHARD_TOKEN: HeaderName = HeaderName::from_static("x-tunnel-shard-token");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The most commands of one poll.
const MAX_LIMIT: usize = 25;
/// The most bytes of what an owner says of a tunnel, and how many ids a list of it has. It is kept as long as
/// the tunnel.
const MAX_ABOUT: u64 = 4 * 1024;
const MAX_IDS: usize = 100;

/// The endpoints for owners, for tunnel clients, and for connectors that are elsewhere.
pub fn for_connectors(plane: Plane) -> Router {
    Router::new()
        .route("/v1/tunnels", get(list).post(create))
        .route("/v1/tunnels/{id}", get(show).post(update).delete(delete))
        .route("/v1/tunnels/{id}/poll", get(poll))
        .route("/v1/tunnels/{id}/response", post(respond))
        .with_state(plane.clone())
        .merge(connector::elsewhere(plane))
}

async fn list(State(plane): State<Plane>) -> Response {
    let all = plane.list();
    let all: Vec<Value> = all.iter().map(|(id, about)| described(id, about)).collect();
    json_answer(StatusCode::OK, &json!({"tunnels": all}))
}

fn described(id: &str, about: &About) -> Value {
    let mut described = json!({"id": id});
    if let (Value::Object(described), Value::Object(about)) = (&mut described, json!(about)) {
        described.extend(about);
    }
    described
}

async fn create(State(plane): State<Plane>, request: Request) -> Result<Response, Refusal> {
    let mut about = About::default();
    Change::read(&plane, request).await?.apply(&mut about);
    let id = plane.create(about.clone())?;
    Ok(json_answer(StatusCode::OK, &described(&id, &about)))
}

async fn show(State(plane): State<Plane>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let about = plane.with(&id, |tunnel| tunnel.about.clone())?;
    Ok(json_answer(StatusCode::OK, &described(&id, &about)))
}

async fn update(
    State(plane): State<Plane>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let change = Change::read(&plane, request).await?;
    let about = plane.with(&id, |tunnel| {
        change.apply(&mut tunnel.about);
        tunnel.about.clone()
    })?;
    Ok(json_answer(StatusCode::OK, &described(&id, &about)))
}

async fn delete(State(plane): State<Plane>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let about = plane.delete(&id)?;
    let mut deleted = described(&id, &about);
    deleted["deleted"] = true.into();
    Ok(json_answer(StatusCode::OK, &deleted))
}

/// What an owner wants to change. Lists are replaced as a whole; other fields are ignored.
#[derive(Debug, Default, Deserialize)]
struct Change {
    name: Option<String>,
    description: Option<String>,
    tenant_ids: Option<Vec<String>>,
    workspace_ids: Option<Vec<String>>,
    organization_ids: Option<Vec<String>>,
}

impl Change {
    /// The change in a body; no body is no change.
    async fn read(plane: &Plane, request: Request) -> Result<Self, Refusal> {
        let options = plane.options();
        let limits = BodyLimits {
            max_bytes: MAX_ABOUT.min(options.body.max_bytes),
            ..options.body
        };
        let (body, _held) = body::read(request.into_body(), limits, &options.budget).await?;
        let change: Self = match body.trim_ascii() {
            [] => Self::default(),
            json => serde_json::from_slice(json).map_err(|_| Refusal::Payload)?,
        };
        let lists = [
            &change.tenant_ids,
            &change.workspace_ids,
            &change.organization_ids,
        ];
        let fits = lists.into_iter().flatten().all(|it| it.len() <= MAX_IDS);
        match fits {
            true => Ok(change),
            false => Err(Refusal::Payload),
        }
    }

    fn apply(self, about: &mut About) {
        fn set<T>(field: &mut T, change: Option<T>) {
            if let Some(change) = change {
                *field = change;
            }
        }
        set(&mut about.name, self.name);
        set(&mut about.description, self.description);
        set(&mut about.tenant_ids, self.tenant_ids);
        set(&mut about.workspace_ids, self.workspace_ids);
        set(&mut about.organization_ids, self.organization_ids);
    }
}

async fn poll(
    State(plane): State<Plane>,
    Path(id): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Refusal> {
    let Wanted {
        limit,
        wait,
        channels,
    } = Wanted::read(&query)?;
    let wait = wait.unwrap_or(plane.options().max_poll);
    let commands = plane.poll(&id, limit, &channels, wait).await?;
    if commands.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let held = plane.options().budget.empty();
    let (body, held) = command::write(commands, Instant::now(), held);
    let mut response = Response::new(Body::from(body::held(body, held)));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    Ok(response)
}

/// What a client polls for.
struct Wanted {
    limit: usize,
    wait: Option<Duration>,
    channels: Vec<Channel>,
}

impl Wanted {
    /// Unknown parameters are ignored.
    fn read(query: &[(String, String)]) -> Result<Self, Refusal> {
        let mut wanted = Self {
            limit: MAX_LIMIT,
            wait: None,
            channels: Vec::new(),
        };
        for (name, value) in query {
            match name.as_str() {
                "limit" => wanted.limit = value.parse().map_err(|_| Refusal::Query)?,
                "timeout_ms" => {
                    let wait: u64 = value.parse().map_err(|_| Refusal::Query)?;
                    wanted.wait = Some(Duration::from_millis(wait));
                }
                "channel" => {
                    let channel = value.parse().map_err(|_| Refusal::Channel)?;
                    wanted.channels.push(channel);
                }
                _ => {}
            }
        }
        let waits = wanted.wait.is_none_or(|it| !it.is_zero());
        match waits && (1..=MAX_LIMIT).contains(&wanted.limit) {
            true => Ok(wanted),
            false => Err(Refusal::Query),
        }
    }
}

async fn respond(
    State(plane): State<Plane>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    // Before the body is read, which may be large.
    plane.with(&id, |_| ())?;
    let (head, body) = request.into_parts();
    let options = plane.options();
    let (body, held) = body::read(body, options.body, &options.budget).await?;
    let spare = held.sibling();
    let read = posted::read(&body, held)?;
    let token = head.headers.get(SHARD_TOKEN);
    let token = token.and_then(|it| it.to_str().ok()).unwrap_or_default();
    plane.answer(&id, token, read, spare)?;
    // The official client takes no other success than 200.
    Ok(json_answer(StatusCode::OK, &json!({"status": "ok"})))
}
