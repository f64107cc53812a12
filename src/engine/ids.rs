//! The ids of a response and its items, and the time that is in them.

use std::time::{SystemTime, UNIX_EPOCH};

use rand::RngExt;

/// The prefix of an item that is of no known kind.
pub const ANY_KIND: &str = "item";

/// How many hexadecimal digits are behind the prefix of an id.
const DIGITS: usize = 50;
/// What stands between an id of ours and that of the upstream in it.
const BETWEEN: char = '.';
/// The longest id of an upstream that is kept in one of ours; OpenAI's have 53 characters.
const LONGEST_OF_UPSTREAM: usize = 200;

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

    /// An id of this response for an item of an upstream, which knows it as `upstreams`: the upstream
    /// may want to see its own id again, as OpenAI does beside `encrypted_content`. [`upstreams_id`]
    /// reads it.
    pub fn around(&self, prefix: &str, upstreams: &str) -> String {
        let ours = self.next(prefix);
        let is_usual = upstreams.len() <= LONGEST_OF_UPSTREAM
            && !upstreams.is_empty()
            && upstreams.bytes().all(|it| it.is_ascii_graphic());
        match is_usual {
            true => format!("{ours}{BETWEEN}{upstreams}"),
            false => ours,
        }
    }
}

/// The id that the upstream gave to an item whose id was made by [`Ids::around`].
pub fn upstreams_id(id: &str) -> Option<&str> {
    let (ours, upstreams) = id.split_once(BETWEEN)?;
    let (_, digits) = ours.split_once('_')?;
    let is_ours = digits.len() == DIGITS && digits.bytes().all(|it| it.is_ascii_hexdigit());
    is_ours.then_some(upstreams)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_an_upstream_is_read_back_out_of_ours() {
        let ids = Ids::new();
        let inner = ids.around("rs", "rs_1");
        for upstreams in ["rs_1", "a.b_c", ".", &inner] {
            let id = ids.around("rs", upstreams);
            assert!(id.starts_with(&format!("rs_{}", ids.stem)), "{id}");
            assert_eq!(upstreams_id(&id), Some(upstreams));
            assert_ne!(ids.around("rs", upstreams), id, "an id is given once");
        }
        for odd in ["", "a b", "\u{e9}", &"x".repeat(300)] {
            assert_eq!(upstreams_id(&ids.around("rs", odd)), None);
        }
        for foreign in ["rs_1", "rs_1.2", "a.b", "", &ids.next("rs")] {
            assert_eq!(upstreams_id(foreign), None);
        }
    }
}
