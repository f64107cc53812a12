//! A server on HTTP: connections, who may speak to it, and MCP at a path of it.

mod access_log;
mod body;
mod endpoint;
mod fast_path;
mod headers;
mod host_policy;
mod linger;
mod listener;
mod message;
mod read_limit;
mod response;
mod sessions;

use axum::Router;
use axum::routing::{MethodRouter, get};

pub use access_log::{AccessLog, Exchange};
pub use body::{Unreadable, read_body, read_body_with_room};
pub use endpoint::{EndpointOptions, endpoint};
pub use headers::is_json;
pub(crate) use headers::one;
pub use host_policy::{AllowedHost, AllowedOrigin, HostPolicy, InvalidName, Refuse};
pub use listener::{MOST_CONNECTIONS, serve, serve_up_to};
pub use read_limit::ReadLimit;
pub use response::{closing, json};
pub use sessions::CallerFrom;

/// `endpoint` at exactly `path` and `path/`, without a redirect. Nothing below it is answered.
pub fn at(path: &str, endpoint: MethodRouter) -> Router {
    // Two routes, not a nested service: nesting would also answer below the path.
    let path = path.trim_end_matches('/');
    let router = Router::new().route(&format!("{path}/"), endpoint.clone());
    match path {
        "" => router,
        path => router.route(path, endpoint),
    }
}

/// `router`, and a word for those who watch whether the server lives.
pub fn with_health(router: Router) -> Router {
    router.route("/healthz", get(async || "ok\n"))
}
