//! `Caller`: who a token speaks for, as a value that can be compared and tells nothing.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

/// The subject of an issuer, across all of its tokens.
///
/// A session can be bound to it. A token without a subject is a caller of its own.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Caller([u8; 32]);

impl Caller {
    pub(super) fn new(issuer: Option<&str>, subject: Option<&str>, token: &str) -> Self {
        let mut digest = Context::new(&SHA256);
        let subject = subject.map(|subject| ("sub", subject));
        for (kind, name) in [
            ("iss", issuer.unwrap_or("")),
            subject.unwrap_or(("jwt", token)),
        ] {
            // The length prefix keeps two pairs of names from being the same text.
            digest.update(kind.as_bytes());
            digest.update(&name.len().to_be_bytes());
            digest.update(name.as_bytes());
        }
        let mut caller = [0; 32];
        caller.copy_from_slice(digest.finish().as_ref());
        Self(caller)
    }

    /// The caller as bytes, for those who know nothing of tokens.
    pub fn digest(self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Caller")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_an_issuer_and_a_subject_and_nothing_else() {
        let caller = Caller::new(Some("a"), Some("b"), "token");

        assert_eq!(caller, Caller::new(Some("a"), Some("b"), "another token"));
        for other in [
            Caller::new(Some("b"), Some("a"), "token"),
            Caller::new(Some("ab"), Some(""), "token"),
            Caller::new(Some(""), Some("ab"), "token"),
            Caller::new(None, Some("b"), "token"),
            Caller::new(Some("a"), None, "token"),
            Caller::new(Some("a"), None, "b"),
        ] {
            assert_ne!(caller, other);
        }
    }

    #[test]
    fn without_a_subject_each_token_is_its_own_caller() {
        assert_eq!(Caller::new(None, None, "a"), Caller::new(None, None, "a"));
        assert_ne!(Caller::new(None, None, "a"), Caller::new(None, None, "b"));
        assert_ne!(
            Caller::new(None, None, "a"),
            Caller::new(None, Some("a"), "a")
        );
    }

    #[test]
    fn debug_tells_nothing() {
        assert_eq!(
            format!("{:?}", Caller::new(Some("a"), Some("b"), "c")),
            "Caller"
        );
    }
}
