//! OpenAI's Secure MCP Tunnel: the client against a scripted control plane, and the control plane of the gateway.

mod answers;
mod calls;
mod deadlines;
mod plane;
mod plane_calls;
mod plane_engine;
mod polls;
mod posts;
