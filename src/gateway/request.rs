//! A request as it comes in: read within bounds, and refused if it cannot be served here.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Gateway;
use super::refusal::{Refusal, refuse};
use crate::budget::{Held, parsed_size};
use crate::engine::{Copies, heavy, no_memory};
use crate::http::{closing, is_json, read_body_while};
use crate::responses::{CreateResponse, Error};

/// The request in a body, and what it holds until it is answered.
pub async fn read(request: Request, gateway: &Gateway) -> Result<(CreateResponse, Held), Response> {
    let (head, body) = request.into_parts();
    if !is_json(&head.headers) {
        let message = "The body is not said to be JSON: the Content-Type must be application/json.";
        return Err(closing(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)));
    }
    let refused = |error: Error| Refusal::from(error).into_response();
    let mut held = gateway.load.budget.empty();
    let mut exhausted = None;
    let has_memory = |bytes| match held.grow(bytes) {
        Ok(()) => true,
        Err(error) => {
            exhausted = Some(error);
            false
        }
    };
    let body = read_body_while(body, gateway.load.options.body, has_memory).await;
    let body = body.map_err(|why| match exhausted {
        Some(exhausted) => closing(refused(no_memory(exhausted))),
        None => closing(refuse(why.status(), &why.to_string())),
    })?;
    admit(&mut held, &body, gateway.engine.copies()).map_err(refused)?;
    let request = heavy(body.len() / 1024, || parse(&body)).map_err(refused)?;
    Ok((request, held))
}

/// Holds what a request takes in memory, beside its text, until it is answered.
pub fn admit(held: &mut Held, text: &[u8], copies: Copies) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Parts<'a> {
        #[serde(borrow)]
        input: Option<&'a RawValue>,
    }
    heavy(text.len() / 1024, || {
        let whole = parsed_size(text);
        // What is no request is refused when it is read.
        let input = match serde_json::from_slice(text) {
            Ok(Parts { input: Some(input) }) => parsed_size(input.get().as_bytes()),
            Ok(Parts { input: None }) | Err(_) => 0,
        };
        let rest = whole.saturating_sub(input);
        held.grow(input * copies.input + rest * copies.rest)
            .map_err(no_memory)
    })
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
