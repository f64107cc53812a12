//! Who may call: developer key pairs, the tokens they sign, the bearer layer that demands them.

use std::path::PathBuf;

use crate::file;

mod algorithm;
mod bearer;
mod cache;
mod caller;
mod der;
mod jwk;
mod jwks;
mod key_pem;
mod key_source;
mod keys;
mod metadata;
mod policy;
mod rejection;
mod rsa_public_key;
mod signing_key;
mod token;
mod verifier;
mod verifying_key;

#[cfg(test)]
mod vectors;

pub use algorithm::{Algorithm, KeyFamily};
pub use bearer::{hint_of_challenge, protect};
pub use caller::Caller;
pub use jwk::KeySetRefusal;
pub use jwks::{FetchError, Jwks};
pub use key_pem::KeyRefusal;
pub use key_source::{KeySetPlace, KeySource};
pub use keys::{Keys, NamedKey};
pub use policy::{Policy, Verified};
pub use rejection::Rejection;
pub use signing_key::{Created, DEV_KEY_FILE, KeySize, SigningKey};
pub use token::{Claims, Inspection, inspect, said};
pub use verifier::Verifier;
pub use verifying_key::{PinnedKey, VerifyingKey};

/// The most bytes of a file with keys. A private key of 16384 bits is 13 KiB of PEM.
const MAX_KEY_FILE: u64 = 64 * 1024;

/// Why there is no key, or no token.
///
/// A token that was refused is not an error of ours: see [`Rejection`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    File(#[from] file::Error),
    #[error("{} cannot be used as a key", path.display())]
    KeyFile { path: PathBuf, source: KeyRefusal },
    #[error("the key cannot be used")]
    Key(#[from] KeyRefusal),
    #[error("no key could be generated")]
    Generate,
    #[error("unknown key size: use 2048, 3072 or 4096")]
    UnknownKeySize,
    #[error(
        "unknown algorithm: use RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA"
    )]
    UnknownAlgorithm,
    #[error("an {family} key cannot be used with {algorithm}: use {}", family.algorithms())]
    Misfit {
        family: KeyFamily,
        algorithm: Algorithm,
    },
    /// Does not repeat the URL, which may hold a password.
    #[error("a key set is read from a file, over https, or over http from this machine")]
    KeySetUrl,
    #[error("{} cannot be used as a key set", path.display())]
    KeySetFile {
        path: PathBuf,
        source: KeySetRefusal,
    },
    #[error("the key set at {url} cannot be used")]
    KeySetFetch { url: String, source: FetchError },
    #[error("a token may live ten years at most")]
    Lifetime,
    #[error("the clock of this machine is set to a time before 1970")]
    Clock,
    #[error("the token could not be signed")]
    Sign(#[source] jsonwebtoken::errors::Error),
    /// Says what is wrong in our words, never in those of the text that was given.
    #[error("this is not a JWT: {0}")]
    NotAToken(&'static str),
}
