//! The client of OpenAI's Secure MCP Tunnel against a scripted control plane.

mod answers;
mod calls;
mod deadlines;
mod polls;
mod posts;
