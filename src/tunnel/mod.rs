//! Tunnels to a server of this process without an open port: their clients, and the control plane that a gateway serves.

mod message;
mod names;
#[cfg(feature = "ngrok")]
pub mod ngrok;
pub mod openai;
pub mod plane;
pub mod program;
