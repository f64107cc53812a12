//! MCP, seen by a client.

mod client;
mod config;
mod error;
mod header;
mod http;
mod pool;
mod probe;
mod reach;
mod server;

pub use client::{Redirects, ToolList};
pub use config::{Config, ConfigError};
pub use error::Error;
pub use header::{UnusableHeader, is_reserved, read_header};
pub use pool::{ClientPool, PoolOptions};
pub use probe::{Answer, Heard, Probe, Request, Silence, TlsFault};
pub use reach::{Forbidden, Reach};
pub use server::{Command, Endpoint, Server};
