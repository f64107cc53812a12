//! MCP, seen by a client.

mod error;
mod http;
mod pool;

pub use error::Error;
pub use pool::{ClientPool, Server};
