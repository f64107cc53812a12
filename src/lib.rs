//! `mcp-cli`: serve MCP, mint tokens for it, and ask a model that calls it, as OpenAI's Responses
//! API does.
//!
//! The rooms, from what the user types down to the wire; `docs/ARCHITECTURE.md` is the map.

pub mod auth;
pub mod dice;
pub mod engine;
pub mod http;
pub mod mcp;
pub mod responses;
