//! MCP, as a client speaks it: channels that carry JSON-RPC messages, and a typed client on top.

mod channel;
mod child;
mod client;
mod config;
mod credential;
mod egress;
mod environment;
mod error;
mod excess;
mod fault;
mod handshake;
mod header;
mod http;
mod lines;
mod message;
mod page;
mod param_headers;
mod pool;
mod probe;
mod server;
mod stdio;
mod tool;

pub use child::kill_children;
pub use client::{Called, Redirects};
pub use config::{Config, ConfigError};
pub use credential::Credential;
pub use egress::{EgressPolicy, Forbidden};
pub use error::Error;
pub use excess::Excess;
pub use header::{UnusableHeader, is_reserved, read_header};
pub use page::ToolList;
pub use pool::{ClientPool, PoolOptions};
pub use probe::{Answer, Probe, ProbeError, ProbeResult, Request, TlsFault};
pub use server::{Command, Endpoint, Secrets, Server};
pub use tool::{CallResult, JsonObject, Tool};
