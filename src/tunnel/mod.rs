//! Tunnel clients: they make a server of this process reachable from outside without an open port.

pub mod openai;
pub mod plane;
pub mod program;
