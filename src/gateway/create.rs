//! `POST /v1/responses`, and how many tokens its input has.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::stream::StreamExt;
use serde_json::json;

use super::refusal::Refusal;
use super::{Gateway, answer, live, request, sse};
use crate::budget::Held;
use crate::responses::{self, CreateResponse, Error, EventKind, EventStream};

/// `POST /v1/responses` (Responses API, create a model response).
pub async fn create(State(gateway): State<Gateway>, asked: Request) -> Result<Response, Response> {
    let (request, held) = request::read(asked, &gateway).await?;
    let answered = if request.is_background() {
        in_background(&gateway, request, held).await
    } else if request.stream == Some(true) {
        streamed(&gateway, request, held).await
    } else {
        whole(&gateway, request, held).await
    };
    answered.map_err(Refusal::into_response)
}

async fn in_background(
    gateway: &Gateway,
    request: CreateResponse,
    held: Held,
) -> Result<Response, Refusal> {
    let streams = request.stream == Some(true);
    let of_answer = held.sibling();
    let run = gateway.runs.start(&gateway.engine, request, held).await?;
    Ok(if streams {
        sse::answer(run.frames(None))
    } else {
        run.answer(of_answer)?
    })
}

async fn streamed(
    gateway: &Gateway,
    request: CreateResponse,
    held: Held,
) -> Result<Response, Refusal> {
    let events = gateway.engine.create_stream(request).await?;
    let events = live::begun(events).await?;
    Ok(sse::answer(events.map(move |event| {
        let _until_the_end = &held;
        sse::frame(&event)
    })))
}

async fn whole(
    gateway: &Gateway,
    request: CreateResponse,
    held: Held,
) -> Result<Response, Refusal> {
    let events = gateway.engine.create_stream(request).await?;
    let mut has_called = false;
    match read_response(events, &mut has_called).await {
        Ok(response) => answer::json(response, held).map_err(Refusal::for_good),
        Err(error) if has_called => Err(Refusal::for_good(error)),
        Err(error) => Err(error.into()),
    }
}

/// The response at the end of the events, also if it failed.
///
/// # Errors
/// The tools of a server could not be listed (HTTP 424), or the stream broke off.
async fn read_response(
    mut events: EventStream,
    has_called: &mut bool,
) -> Result<responses::Response, Error> {
    let mut refusal = None;
    while let Some(event) = events.next().await {
        match event?.into_kind() {
            EventKind::Error { error } => {
                let error = Error::from_event(error, &[]);
                refusal = Some(error).filter(|it| matches!(it, Error::FailedDependency(_)));
            }
            EventKind::McpCallInProgress { .. } => *has_called = true,
            EventKind::Failed { response } => {
                return refusal.map_or(Ok(response), Err);
            }
            EventKind::Completed { response } | EventKind::Incomplete { response } => {
                return Ok(response);
            }
            _ => {}
        }
    }
    Err(Error::Truncated)
}

/// `POST /v1/responses/input_tokens` (Responses API, get input token counts).
pub async fn input_tokens(
    State(gateway): State<Gateway>,
    asked: Request,
) -> Result<Response, Response> {
    let (request, _held) = request::read(asked, &gateway).await?;
    let input_tokens = gateway.engine.input_tokens(request).await;
    let input_tokens = input_tokens.map_err(|error| Refusal::from(error).into_response())?;
    let count = json!({"object": "response.input_tokens", "input_tokens": input_tokens});
    Ok(Json(count).into_response())
}
