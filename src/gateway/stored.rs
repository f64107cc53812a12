//! The responses that are kept: read, deleted, cancelled, and what they answered.

use axum::Json;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::Uri;
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::{Gateway, answer, sse};
use crate::budget::Held;
use crate::engine::{Page, Range, Record};
use crate::responses::{Error, Item};

/// The response id in a path.
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Refusal;

    async fn from_request_parts(head: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::from_request_parts(head, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(Error::not_found(None, "The response id is not valid UTF-8.").into()),
        }
    }
}

/// How a response is to be read; what else there is in a query is not looked at.
#[derive(Debug, Deserialize)]
struct Reading {
    #[serde(default)]
    stream: bool,
    starting_after: Option<u64>,
}

/// `GET /v1/responses/{id}` (Responses API, get a model response).
pub async fn retrieve(
    State(gateway): State<Gateway>,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, Refusal> {
    let reading: Reading = query(&uri)?;
    match gateway.runs.get(&id) {
        Some(run) if reading.stream => Ok(sse::answer(run.frames(reading.starting_after))),
        Some(run) => Ok(run.answer(gateway.load.budget.empty())?),
        None => {
            let mut held = gateway.load.budget.empty();
            let record = find(&gateway, &id, &mut held).await?;
            if reading.stream {
                let message =
                    "This response can be streamed no longer, or was not made in the background.";
                return Err(Error::bad_request("stream", None, message).into());
            }
            Ok(answer::json(record.response, held)?)
        }
    }
}

/// `DELETE /v1/responses/{id}` (Responses API, delete a model response).
pub async fn delete(State(gateway): State<Gateway>, Id(id): Id) -> Result<Response, Refusal> {
    find(&gateway, &id, &mut gateway.load.budget.empty()).await?;
    gateway.runs.forget(&id);
    gateway.engine.delete(&id).await?;
    Ok(Json(json!({"id": id, "object": "response", "deleted": true})).into_response())
}

/// `POST /v1/responses/{id}/cancel` (Responses API, cancel a response). One that is done stays as
/// it is.
pub async fn cancel(State(gateway): State<Gateway>, Id(id): Id) -> Result<Response, Refusal> {
    if let Some(run) = gateway.runs.get(&id) {
        run.cancel().await;
        return Ok(run.answer(gateway.load.budget.empty())?);
    }
    let mut held = gateway.load.budget.empty();
    let response = find(&gateway, &id, &mut held).await?.response;
    if !response.is_background() {
        let message = "Cannot cancel a synchronous response.";
        return Err(Error::bad_request("response_id", None, message).into());
    }
    Ok(answer::json(response, held)?)
}

/// Which part of a list is wanted.
#[derive(Debug, Deserialize)]
struct Wanted {
    #[serde(default = "usual_limit")]
    limit: usize,
    #[serde(default)]
    order: Order,
    after: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    Asc,
    #[default]
    Desc,
}

fn usual_limit() -> usize {
    20
}

/// `GET /v1/responses/{id}/input_items` (Responses API, list input items): the newest first, if
/// nothing else is said.
pub async fn input_items(
    State(gateway): State<Gateway>,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, Refusal> {
    let wanted: Wanted = query(&uri)?;
    let (range, after) = (wanted.range()?, wanted.after.unwrap_or_default());
    let mut held = gateway.load.budget.empty();
    let page = gateway.engine.input_items(&id, range, &mut held).await?;
    match page.ok_or_else(|| not_found(&id))? {
        Page::Items { items, has_more } => Ok(answer::json(list(&items, has_more), held)?),
        Page::NoSuchItem => {
            let message = format!("No item has the id '{after}'.");
            Err(Error::bad_request("after", None, message).into())
        }
    }
}

impl Wanted {
    fn range(&self) -> Result<Range, Error> {
        if !(1..=100).contains(&self.limit) {
            let message = "The 'limit' must be from 1 to 100.";
            return Err(Error::bad_request("limit", None, message));
        }
        Ok(Range {
            newest_first: self.order == Order::Desc,
            after: self.after.clone(),
            limit: self.limit,
        })
    }
}

fn list(page: &[Item], has_more: bool) -> Value {
    let id = |item: Option<&Item>| item.and_then(Item::id).unwrap_or_default().to_owned();
    json!({
        "object": "list",
        "data": page,
        "first_id": id(page.first()),
        "last_id": id(page.last()),
        "has_more": has_more,
    })
}

fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Error> {
    let query = Query::try_from_uri(uri);
    let understood = query.map(|Query(query)| query);
    understood.map_err(|error| Error::malformed(format!("{}.", error.body_text())))
}

/// The record of a response; what it takes is held by `held`.
async fn find(gateway: &Gateway, id: &str, held: &mut Held) -> Result<Record, Error> {
    let record = gateway.engine.record(id, held).await?;
    record.ok_or_else(|| not_found(id))
}

fn not_found(id: &str) -> Error {
    Error::not_found(None, format!("Response with id '{id}' not found."))
}
