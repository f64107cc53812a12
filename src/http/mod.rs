//! A server on HTTP: connections, who may speak to it, and MCP at a path of it.

mod answer;
mod body;
mod endpoint;
mod guard;
mod headers;
mod in_place;
mod intake;
mod linger;
mod listener;
mod message;
mod sessions;
mod watch;

use axum::Router;
use axum::routing::{MethodRouter, get};

pub use answer::{closing, json};
pub use body::{Unreadable, read_body, read_body_with_room};
pub use endpoint::{EndpointOptions, endpoint};
pub use guard::{AllowedHost, AllowedOrigin, Guard, Refuse, Unusable};
pub use headers::is_json;
pub(crate) use headers::one;
pub use intake::Intake;
pub use listener::{MOST_CONNECTIONS, serve, serve_up_to};
pub use sessions::CallerOf;
pub use watch::{Seen, Watcher};

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
