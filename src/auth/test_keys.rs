//! Key pairs for the tests of this room, made once a run because that is slow.

use std::sync::LazyLock;

use crate::auth::{KeySize, SigningKey};

/// The key that the verifier under test trusts.
pub(super) static OURS: LazyLock<SigningKey> = LazyLock::new(generate);

/// A key that it does not trust.
pub(super) static THEIRS: LazyLock<SigningKey> = LazyLock::new(generate);

fn generate() -> SigningKey {
    SigningKey::generate(KeySize::Rsa2048).unwrap()
}
