//! The ids of a response and its items, and the time that is in them.

use std::time::{SystemTime, UNIX_EPOCH};

use rand::RngExt;

/// The prefix of an item that is of no known kind.
pub const ANY_KIND: &str = "item";

/// Makes the ids of one response, which share their first digits.
pub struct Ids {
    stem: String,
}

impl Ids {
    pub fn new() -> Self {
        Self { stem: hex(16) }
    }

    /// `PREFIX_` and 50 hexadecimal digits: the stem of the response, the time, and chance.
    pub fn next(&self, prefix: &str) -> String {
        format!("{prefix}_{}00{:08x}{}", self.stem, unix_now(), hex(24))
    }
}

fn hex(digits: usize) -> String {
    let mut rng = rand::rng();
    (0..digits)
        .map(|_| char::from(b"0123456789abcdef"[rng.random_range(0..16)]))
        .collect()
}

/// Seconds since 1970.
pub fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
