//! The Responses API over HTTP: the engine, for every client that speaks it.

mod answer;
mod create;
mod incoming;
mod key;
mod live;
mod load;
mod models;
mod options;
mod refusal;
mod request;
mod runs;
mod socket;
mod sse;
mod stored;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};

use crate::engine::Engine;

use load::Load;
use runs::Runs;

pub use key::ApiKey;
pub use options::GatewayOptions;
pub use refusal::refuse;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The Responses API of one engine. Cloning shares everything.
#[derive(Clone)]
pub struct Gateway {
    engine: Engine,
    runs: Runs,
    load: Load,
}

impl Gateway {
    /// A gateway with these limits, which ends its background responses when `options.stop` is
    /// cancelled.
    pub fn new(engine: Engine, options: GatewayOptions) -> Self {
        let load = Load::new(engine.budget().clone(), options);
        Self {
            engine,
            runs: Runs::new(load.clone()),
            load,
        }
    }

    /// Waits for background responses and WebSockets, for [`GatewayOptions::shutdown_grace`], and closes
    /// the connections to MCP servers.
    pub async fn close(&self) {
        self.load.tasks.close();
        // What is still running after that ends with the process.
        let grace = self.load.options.shutdown_grace;
        let _ = tokio::time::timeout(grace, self.load.tasks.wait()).await;
        self.engine.close().await;
    }
}

/// The endpoints of the gateway, below `/v1`. Without a `key` everybody may use them.
/// `tunnels` are the endpoints of the control plane of tunnels, for those who have the key too.
pub fn router(gateway: Gateway, tunnels: Router, key: Option<ApiKey>) -> Router {
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
        .with_state(gateway)
        .merge(tunnels)
        .fallback(unknown_url)
        .method_not_allowed_fallback(unknown_method);
    let router = match key {
        Some(key) => key.protect(router),
        None => router,
    };
    router.layer(from_fn(with_request_id))
}

/// Each of their answers has an id, by which a client can name it.
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
