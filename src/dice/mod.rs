//! The MCP server we ship: it rolls dice.

mod roll;
mod server;

pub use roll::{N_DICE, Roller, UnusableNDice};
pub use server::DiceServer;
