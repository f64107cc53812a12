//! The Responses API over HTTP: the engine, for every client that speaks it.

mod create;
mod key;
mod live;
mod models;
mod refusal;
mod runs;
mod socket;
mod sse;
mod stored;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;

use runs::Runs;

pub use key::ApiKey;
pub use refusal::refuse;

/// The most bytes of a request's body: images travel in it.
pub const MAX_BODY: u64 = 32 * 1024 * 1024;
/// How many WebSockets there are at a time.
const MOST_SOCKETS: usize = 64;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What all endpoints share.
#[derive(Clone)]
struct Gateway {
    engine: Engine,
    runs: Runs,
    sockets: Arc<Semaphore>,
    stop: CancellationToken,
}

/// The endpoints of `engine`, below `/v1`. Without a `key` everybody may use them. What goes on by
/// itself, such as responses in the background, ends when `stop` is cancelled.
pub fn router(engine: Engine, key: Option<ApiKey>, stop: CancellationToken) -> Router {
    let gateway = Gateway {
        engine,
        runs: Runs::new(stop.clone()),
        sockets: Arc::new(Semaphore::new(MOST_SOCKETS)),
        stop,
    };
    let router = Router::new()
        .route("/v1/responses", post(create::create).get(socket::socket))
        .route("/v1/responses/input_tokens", post(create::input_tokens))
        .route(
            "/v1/responses/{id}",
            get(stored::retrieve).delete(stored::delete),
        )
        .route("/v1/responses/{id}/cancel", post(stored::cancel))
        .route("/v1/responses/{id}/input_items", get(stored::input_items))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::retrieve))
        .fallback(unknown_url)
        .method_not_allowed_fallback(unknown_method)
        .with_state(gateway);
    let router = match key {
        Some(key) => key.protect(router),
        None => router,
    };
    router.layer(from_fn(with_request_id))
}

/// Every answer has an id, by which a client can name it.
async fn with_request_id(request: Request, next: Next) -> Response {
    let id = format!("req_{:032x}", rand::random::<u128>());
    let mut response = next.run(request).await;
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn unknown_url(method: Method, uri: Uri) -> Response {
    let message = format!("Invalid URL ({method} {})", uri.path());
    refuse(StatusCode::NOT_FOUND, &message)
}

async fn unknown_method(method: Method, uri: Uri) -> Response {
    let message = format!("Not allowed to {method} on {}.", uri.path());
    refuse(StatusCode::METHOD_NOT_ALLOWED, &message)
}
