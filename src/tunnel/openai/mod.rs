//! The client of OpenAI's Secure MCP Tunnel (<https://github.com/openai/tunnel-client>).
//!
//! The client polls a control plane for commands, sends each to an MCP server, and posts the answer. The server
//! is a router in this process. Nothing listens; all connections are outbound. [`run`] is the entry point, and
//! `fixtures/tunnel/openapi.json` is the contract.

mod answer;
mod backoff;
mod command;
mod control;
mod error;
mod event;
mod failure;
mod headers;
mod options;
mod refusal;
mod target;
mod tunnel;
mod work;

pub use super::names::{Channel, InvalidName, RuntimeKey, TunnelId};
pub use control::Metadata;
pub use error::Error;
pub use event::Event;
pub use options::{BASE_URL, Limits, Options, ServerInfo};
pub use refusal::{Fault, Refusal};
pub use tunnel::run;
