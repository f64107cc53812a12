//! MCP, seen by a client.

mod config;
mod error;
mod http;
mod pool;
mod server;

pub use config::{Config, ConfigError};
pub use error::Error;
pub use pool::ClientPool;
pub use server::{Command, Endpoint, Server};
