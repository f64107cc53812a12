//! MCP, seen by a client.

mod child;
mod client;
mod config;
mod environment;
mod error;
mod excess;
mod exchange;
mod header;
mod http;
mod lines;
mod message;
mod pool;
mod probe;
mod reach;
mod server;
mod stdio;

pub use child::kill_children;
pub use client::{Called, Redirects, ToolList};
pub use config::{Config, ConfigError};
pub use error::Error;
pub use excess::Excess;
pub use header::{UnusableHeader, is_reserved, read_header};
pub use pool::{ClientPool, PoolOptions};
pub use probe::{Answer, Heard, Probe, Request, Silence, TlsFault};
pub use reach::{Forbidden, Reach};
pub use server::{Command, Endpoint, Secrets, Server};
