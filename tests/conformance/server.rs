//! The fixtures of the official conformance suite behind this program's HTTP; for `run`, never shipped.
//!
//! It listens on a free port and prints its URL. `--sessions` keeps sessions and streams its answers, as
//! MCP 2025-11-25 needs for what a server asks of its client; without it each request stands alone. `--stdio`
//! serves one client on stdin and stdout instead.

mod fixtures;
mod input_required;
mod prompts;
mod resources;
mod tasks;
mod tools;

use std::io;

use ::http::Extensions;
use mcp_cli::http::{self, CallerFrom, HostPolicy, ServerOptions};
use rmcp::ServiceExt;
use tokio::net::TcpListener;

use crate::fixtures::Fixtures;

#[tokio::main]
async fn main() -> io::Result<()> {
    let sessions = match std::env::args().nth(1).as_deref() {
        Some("--stdio") => {
            let running = Fixtures::new().serve(rmcp::transport::stdio()).await;
            let running = running.map_err(io::Error::other)?;
            return running.waiting().await.map(drop).map_err(io::Error::other);
        }
        None => false,
        Some("--sessions") => true,
        Some(other) => return Err(io::Error::other(format!("what is `{other}`?"))),
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let origin = format!("http://{}", listener.local_addr()?);
    say(&format!("{origin}/mcp"));

    // The suite's DNS rebinding scenario calls as a page of this very server would.
    let origin = origin.parse().map_err(io::Error::other)?;
    let policy = HostPolicy::new(Vec::new(), vec![origin]);
    let options = ServerOptions {
        only_answers: false,
        sessions: sessions.then_some(anybody as CallerFrom),
        ..ServerOptions::default()
    };
    let router = http::at("/mcp", http::rmcp_endpoint(Fixtures::new(), &options));
    let router = policy.protect(router, options.body.max_bytes);
    http::serve(http::accepted(listener), router, options).await;
    Ok(())
}

fn anybody(_: &Extensions) -> Option<[u8; 32]> {
    None
}

#[expect(
    clippy::print_stdout,
    reason = "whoever starts this server reads its URL"
)]
fn say(url: &str) {
    println!("{url}");
}
