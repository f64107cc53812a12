//! The ids of tunnels. Half of one is random, and the other half shows that it was made under this key, so
//! that a control plane that was started again knows the ids it gave out.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};

const PREFIX: &str = "tunnel_";
const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
/// The characters of each half.
const HALF: usize = 16;

/// Makes ids, and knows its own again.
pub struct Ids(Key);

impl Ids {
    /// Those of the holders of a key. Without a key, everybody may use every tunnel.
    pub fn of(secret: &str) -> Self {
        let derived = digest(&SHA256, format!("mcp-cli tunnel ids\n{secret}").as_bytes());
        Self(Key::new(HMAC_SHA256, derived.as_ref()))
    }

    /// A new id.
    pub fn make(&self) -> String {
        let first = letters(&rand::random::<[u8; HALF]>());
        format!("{PREFIX}{first}{}", self.second(&first))
    }

    /// Whether the id was made here.
    pub fn knows(&self, id: &str) -> bool {
        let halves = id
            .strip_prefix(PREFIX)
            .and_then(|it| it.split_at_checked(HALF));
        halves.is_some_and(|(first, second)| {
            let expected = self.second(first);
            let both = (expected.as_bytes(), second.as_bytes());
            aws_lc_rs::constant_time::verify_slices_are_equal(both.0, both.1).is_ok()
        })
    }

    fn second(&self, first: &str) -> String {
        letters(&sign(&self.0, first.as_bytes()).as_ref()[..HALF])
    }
}

fn letters(bytes: &[u8]) -> String {
    let letter = |byte: &u8| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]);
    bytes.iter().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::names::TunnelId;

    #[test]
    fn an_id_is_known_to_those_who_have_the_key() {
        let ids = Ids::of("one");
        let id = ids.make();
        assert!(id.parse::<TunnelId>().is_ok(), "{id}");
        assert_ne!(id, ids.make());
        assert!(Ids::of("one").knows(&id));
        assert!(!Ids::of("two").knows(&id));
        for other in [
            "",
            "tunnel_",
            &id[..id.len() - 1],
            &format!("{id}x"),
            "tunnel_é",
        ] {
            assert!(!ids.knows(other), "{other}");
        }
    }
}
