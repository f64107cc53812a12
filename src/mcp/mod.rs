//! MCP, seen by a client.

mod client;
mod config;
mod error;
mod http;
mod pool;
mod reach;
mod server;

pub use config::{Config, ConfigError};
pub use error::Error;
pub use pool::{ClientPool, PoolOptions};
pub use reach::{Forbidden, Reach};
pub use server::{Command, Endpoint, Server};
