//! Whole answers, which count as long as they are in memory.

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Serialize;

use crate::budget::Held;
use crate::engine::no_memory;
use crate::responses::Error;

/// `body` as JSON. What it takes is held until the client has it, and what `held` holds beyond that
/// is given back.
pub fn json(body: impl Serialize, mut held: Held) -> Result<Response, Error> {
    let Ok(json) = serde_json::to_vec(&body) else {
        unreachable!("what is answered has string keys and no failing serializer");
    };
    drop(body);
    let size = json.len() as u64;
    held.grow(size.saturating_sub(held.bytes()))
        .map_err(no_memory)?;
    held.shrink_to(size);
    let json = Bytes::from_owner(Written { json, _held: held });
    let mut response = Response::new(Body::from(json));
    let content_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}

struct Written {
    json: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for Written {
    fn as_ref(&self) -> &[u8] {
        &self.json
    }
}
