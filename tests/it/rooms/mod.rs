//! Rooms together, without a process: the engine, its models and the real dice server.

mod approvals;
mod budget;
mod chat;
mod conversation;
mod deadlines;
mod engine;
mod mcp_bounds;
mod mcp_faults;
mod mcp_pool;
mod mcp_transports;
mod parity;
mod script;
mod strangers;
mod upstream;
