//! The binary: exit status, stdout and stderr of each run.

mod abuse;
mod approvals;
mod ask;
mod background;
mod bridge;
mod check;
mod children;
mod durability;
mod faults;
mod files;
mod gateway;
mod hosted;
mod loopback;
mod mcp_config;
#[cfg(feature = "ngrok")]
mod ngrok;
mod record;
mod relay;
mod serve;
mod sessions;
mod signals;
mod terminal;
mod token;
mod tools;
mod tunnel;
mod unread;
mod usage;
mod websocket;
