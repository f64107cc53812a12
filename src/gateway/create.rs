//! `POST /v1/responses`, and how many tokens its input has.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::stream::StreamExt;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::refusal::{Refusal, refuse};
use super::{Gateway, MAX_BODY, live, sse};
use crate::http::{closing, is_json, read_body};
use crate::responses::{self, CreateResponse, Error, EventKind, EventStream};

/// `POST /v1/responses` (Responses API, create a model response).
pub async fn create(
    State(gateway): State<Gateway>,
    request: Request,
) -> Result<Response, Response> {
    let request = read(request).await?;
    let answered = if request.is_background() {
        in_background(&gateway, request).await
    } else if request.stream == Some(true) {
        streamed(&gateway, request).await
    } else {
        whole(&gateway, request).await
    };
    answered.map_err(Refusal::into_response)
}

async fn in_background(gateway: &Gateway, request: CreateResponse) -> Result<Response, Refusal> {
    let streams = request.stream == Some(true);
    let run = gateway.runs.start(&gateway.engine, request).await?;
    Ok(if streams {
        sse::answer(run.frames(None))
    } else {
        Json(run.response()).into_response()
    })
}

async fn streamed(gateway: &Gateway, request: CreateResponse) -> Result<Response, Refusal> {
    let events = gateway.engine.create_stream(request).await?;
    let events = live::begun(events).await?;
    Ok(sse::answer(events.map(|event| sse::frame(event.data()))))
}

async fn whole(gateway: &Gateway, request: CreateResponse) -> Result<Response, Refusal> {
    let events = gateway.engine.create_stream(request).await?;
    let mut has_called = false;
    match read_response(events, &mut has_called).await {
        Ok(response) => Ok(Json(response).into_response()),
        Err(error) if has_called => Err(Refusal::for_good(error)),
        Err(error) => Err(error.into()),
    }
}

/// The response at the end of the events, however it ended. Without a list of tools there is none
/// (HTTP 424).
async fn read_response(
    mut events: EventStream,
    has_called: &mut bool,
) -> Result<Map<String, Value>, Error> {
    let mut refusal = None;
    while let Some(event) = events.next().await {
        match event?.kind() {
            EventKind::Error { error } => {
                let error = Error::of_event(error.clone(), None);
                refusal = Some(error).filter(|it| matches!(it, Error::FailedDependency(_)));
            }
            EventKind::McpCallInProgress { .. } => *has_called = true,
            EventKind::Failed { response } => {
                return refusal.map_or_else(|| Ok(response.object().clone()), Err);
            }
            EventKind::Completed { response } | EventKind::Incomplete { response } => {
                return Ok(response.object().clone());
            }
            _ => {}
        }
    }
    Err(Error::Truncated)
}

/// `POST /v1/responses/input_tokens` (Responses API, get input token counts).
pub async fn input_tokens(
    State(gateway): State<Gateway>,
    request: Request,
) -> Result<Response, Response> {
    let request = read(request).await?;
    let input_tokens = gateway.engine.input_tokens(&request).await;
    let input_tokens = input_tokens.map_err(|error| Refusal::from(error).into_response())?;
    let count = json!({"object": "response.input_tokens", "input_tokens": input_tokens});
    Ok(Json(count).into_response())
}

/// The request in a body, if it is one.
async fn read(request: Request) -> Result<CreateResponse, Response> {
    let (head, body) = request.into_parts();
    if !is_json(&head.headers) {
        let message = "The body is not said to be JSON: the Content-Type must be application/json.";
        return Err(closing(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)));
    }
    let body = read_body(body, MAX_BODY).await;
    let body = body.map_err(|why| closing(refuse(why.status(), &why.to_string())))?;
    let request = match serde_json::from_slice(&body) {
        Ok(request) => understand(request),
        Err(error) => Err(malformed(format!(
            "The body could not be read as a JSON object: {error}."
        ))),
    };
    request.map_err(|error| Refusal::from(error).into_response())
}

/// Reads a request, and refuses what cannot be done here.
pub fn understand(body: Map<String, Value>) -> Result<CreateResponse, Error> {
    let request: CreateResponse = serde_json::from_value(body.into())
        .map_err(|error| malformed(format!("The request could not be read: {error}.")))?;
    let is_set = |field| request.rest.get(field).is_some_and(|it| !it.is_null());
    let refusal = if is_set("conversation") {
        Some((
            "conversation",
            "Conversations are kept at OpenAI only: use 'previous_response_id'.",
        ))
    } else if request.is_background() && request.store == Some(false) {
        Some((
            "background",
            "A response in the background must be stored: 'store' must not be false.",
        ))
    } else {
        None
    };
    match refusal {
        None => Ok(request),
        Some((param, message)) => Err(Error::bad_request(param, None, message)),
    }
}

fn malformed(message: String) -> Error {
    Error::refused(
        StatusCode::BAD_REQUEST,
        responses::ApiError {
            message,
            kind: Some("invalid_request_error".to_owned()),
            ..responses::ApiError::default()
        },
    )
}
