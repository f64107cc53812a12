//! MCP, seen by a client.

mod config;
mod error;
mod http;
mod pool;

pub use config::{Config, ConfigError};
pub use error::Error;
pub use pool::{ClientPool, Command, Endpoint, Server};
