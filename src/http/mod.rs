//! An HTTP server: connections, checks of their requests, and MCP endpoints.

mod access_log;
mod body;
mod endpoint;
mod fast_path;
mod headers;
mod host_policy;
mod linger;
mod listener;
mod message;
mod options;
mod read_limit;
mod response;
mod rmcp_backend;
mod sessions;

use axum::Router;
use axum::routing::{MethodRouter, get};

pub use access_log::{AccessLog, Exchange};
pub use body::{BodyLimits, Unreadable, read_body, read_body_while};
pub use endpoint::{Received, endpoint};
pub use headers::is_json;
pub(crate) use headers::one;
pub use host_policy::{AllowedHost, AllowedOrigin, HostPolicy, InvalidName, PublicHost, Refuse};
pub use linger::LingerLimits;
pub use listener::{accepted, serve};
pub use message::Message;
pub use options::ServerOptions;
pub use read_limit::ReadLimit;
pub use response::{closing, json};
pub use rmcp_backend::rmcp_endpoint;
pub use sessions::{CallerFrom, Sessions};

/// `endpoint` at exactly `path` and `path/`, without a redirect. Paths below it are not found.
pub fn at(path: &str, endpoint: MethodRouter) -> Router {
    // Two routes, not a nested service: nesting would also answer below the path.
    let path = path.trim_end_matches('/');
    let router = Router::new().route(&format!("{path}/"), endpoint.clone());
    match path {
        "" => router,
        path => router.route(path, endpoint),
    }
}

/// `router` with a health check at `/healthz`.
pub fn with_health(router: Router) -> Router {
    router.route("/healthz", get(async || "ok\n"))
}
