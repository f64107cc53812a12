//! Listening: sockets, connections, and when they end.

mod listener;

pub use listener::serve;
