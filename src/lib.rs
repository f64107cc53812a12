//! `mcp-cli`: serve MCP, mint tokens for it, and ask a model that calls it, as OpenAI's Responses
//! API does.
//!
//! The rooms, from what the user types down to the wire; `docs/ARCHITECTURE.md` is the map.

pub mod cli;
pub mod commands;
pub mod ui;

pub mod error;
pub mod exit;
pub mod route;

pub mod gateway;

pub mod check;
pub mod connector;
pub mod engine;
pub mod mcp;
pub mod relay;
pub mod responses;

pub mod address;
pub mod auth;
pub mod budget;
pub mod child;
pub mod dice;
pub mod file;
pub mod http;
pub mod outgoing;
pub mod private_file;
pub mod record;
pub mod schema;
pub mod secret;
pub mod sse;
pub mod tunnel;
