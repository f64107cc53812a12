//! What the tests share: the binary, a stand-in for the API, dice servers, the contract's schema.

mod api;
mod chat_api;
mod contract;
mod control_plane;
mod desk;
mod faults;
mod gateway;
mod mcp;
mod mcp_cli;
#[cfg(feature = "ngrok")]
pub mod ngrok;
mod servers;
mod serving;
mod tls;
mod tunnel_client;
pub mod tunnel_contract;
pub mod tunnel_gateway;

pub use api::{Answer, Api, KEY};
pub use chat_api::{chunk, completion, streamed_chunks};
pub use contract::{assert_is_event, assert_is_response};
pub use control_plane::{ControlPlane, Reply, Seen, command, request};
pub use desk::Desk;
pub use faults::{Faulty, Step};
pub use gateway::{Events, Gateway};
pub use mcp::{Asked, Mcp, event_stream, roll_dice};
pub use mcp_cli::{McpCli, Run};
pub use servers::{
    Server, dice_router, dice_server, dice_server_with_auth, http_server, http_server_with,
};
pub use serving::{BOTH_FORMS, POST, Serving};

pub use tls::{Authority, tls_1_0_server, tls_server};
pub use tunnel_client::{Behind, Call, TunnelClient};

use std::path::PathBuf;

/// The path of a fixture.
pub fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fixtures", name]
        .iter()
        .collect()
}

/// The names of the recordings that end so, without the ending.
pub fn recordings(ends_with: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(fixture("recordings"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(ends_with).map(str::to_owned))
        .collect();
    names.sort();
    assert!(!names.is_empty());
    names
}

/// A fixture as JSON.
pub fn json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}
