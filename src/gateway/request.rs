//! A request as it comes in: read within bounds, and refused if it cannot be served here.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use serde_json::{Map, Value};

use super::load::{Load, Place};
use super::refusal::{Refusal, refuse};
use crate::http::{closing, is_json, read_body};
use crate::responses::{CreateResponse, Error};

/// The most bytes of a request's body: images travel in it.
pub const MAX_BODY: u64 = 16 * 1024 * 1024;

/// The request in a body, and the room that it takes until it is answered.
pub async fn read(request: Request, load: &Load) -> Result<(CreateResponse, Place), Response> {
    let (head, body) = request.into_parts();
    if !is_json(&head.headers) {
        let message = "The body is not said to be JSON: the Content-Type must be application/json.";
        return Err(closing(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)));
    }
    let refused = |error: Error| Refusal::from(error).into_response();
    let length = head.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|it| it.to_str().ok()?.parse().ok());
    let place = load.body(length.unwrap_or(MAX_BODY).min(MAX_BODY));
    let place = place.map_err(|error| closing(refused(error)))?;
    let body = read_body(body, MAX_BODY).await;
    let body = body.map_err(|why| closing(refuse(why.status(), &why.to_string())))?;
    Ok((parse(&body).map_err(refused)?, place))
}

fn parse(body: &[u8]) -> Result<CreateResponse, Error> {
    let body = serde_json::from_slice(body).map_err(|error| {
        let message = format!("The body could not be read as a JSON object: {error}.");
        Error::malformed(message)
    });
    understand(body?)
}

/// Reads a request, and refuses what cannot be done here.
pub fn understand(body: Map<String, Value>) -> Result<CreateResponse, Error> {
    let request: CreateResponse = serde_json::from_value(body.into())
        .map_err(|error| Error::malformed(format!("The request could not be read: {error}.")))?;
    let given = |field| request.rest.get(field).filter(|it| !it.is_null());
    let refusal = if given("conversation").is_some() {
        Some((
            "conversation",
            "Conversations are kept at OpenAI only: use 'previous_response_id'.",
        ))
    } else if given("background").is_some_and(|it| !it.is_boolean()) {
        Some((
            "background",
            "The field 'background' must be true or false.",
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
