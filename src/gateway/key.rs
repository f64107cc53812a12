//! The key that clients must send.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};

use super::refusal;
use crate::http::one;
use crate::responses::ApiError;
use crate::secret::Secret;

/// The key, as its SHA-256: all that comparing takes.
#[derive(Clone)]
pub struct ApiKey(Arc<[u8]>);

impl ApiKey {
    pub fn new(key: &Secret) -> Self {
        Self(digest_of(key.expose()))
    }

    /// Stands before all of `router`: who does not send the key gets HTTP 401.
    pub fn protect(self, router: Router) -> Router {
        router.layer(from_fn_with_state(self, check))
    }

    /// Digests are of one length, so that comparing them takes one time.
    fn opens(&self, sent: &str) -> bool {
        verify_slices_are_equal(&self.0, &digest_of(sent)).is_ok()
    }
}

fn digest_of(key: &str) -> Arc<[u8]> {
    digest(&SHA256, key.as_bytes()).as_ref().into()
}

async fn check(State(key): State<ApiKey>, request: Request, next: Next) -> Response {
    let refused = match bearer(request.headers()) {
        Some(sent) if key.opens(sent) => return next.run(request).await,
        Some(_) => ("Incorrect API key provided.", Some("invalid_api_key")),
        None => (
            "You didn't provide an API key. Send it in an Authorization header: Authorization: Bearer YOUR_KEY.",
            None,
        ),
    };
    let (message, code) = refused;
    let error = ApiError {
        code: code.map(str::to_owned),
        ..ApiError::invalid_request(message)
    };
    refusal::answer(StatusCode::UNAUTHORIZED, &error)
}

/// RFC 6750 section 2.1. Two headers are none: others may read the other one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let header = one(headers, AUTHORIZATION).ok()??.to_str().ok()?;
    let (scheme, key) = header.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| key.trim())
        .filter(|key| !key.is_empty())
}
