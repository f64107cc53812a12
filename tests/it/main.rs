//! The program from outside: its rooms together, and the binary as a shell runs it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cli;
mod rooms;
mod support;
mod tunnel;
