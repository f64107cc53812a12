//! Who may call: developer key pairs, the tokens they sign, the bearer layer that demands them.

use std::io;
use std::path::PathBuf;

mod bearer;
mod der;
mod key_file;
mod key_pem;
mod keys;
mod rejection;
mod secret;
mod token;
mod verifier;

#[cfg(test)]
mod claim_vectors;
#[cfg(test)]
mod key_vectors;
#[cfg(test)]
mod test_keys;
#[cfg(test)]
mod token_vectors;

pub use bearer::require_bearer;
pub use key_pem::KeyRefusal;
pub use keys::{Created, DEV_KEY_FILE, KeySize, SigningKey, VerifyingKey};
pub use rejection::Rejection;
pub use secret::Secret;
pub use token::{Algorithm, Claims, Inspection, inspect};
pub use verifier::{Verified, Verifier};

/// Why there is no key, or no token.
///
/// A token that was refused is not an error of ours: see [`Rejection`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} cannot be written", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is not a regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("{} is too large for a key file: more than 64 KiB", path.display())]
    TooLarge { path: PathBuf },
    #[error("{} exists already", path.display())]
    Exists { path: PathBuf },
    /// ssh refuses such a key as well.
    #[error(
        "the private key {0} is open to other users (mode {mode:04o}): run `chmod 600 {0}`",
        path.display()
    )]
    Loose { path: PathBuf, mode: u32 },
    #[error("{} cannot be used as a key", path.display())]
    KeyFile { path: PathBuf, source: KeyRefusal },
    #[error("the key cannot be used")]
    Key(#[from] KeyRefusal),
    #[error("no key could be generated")]
    Generate,
    #[error("unknown key size: use 2048, 3072 or 4096")]
    UnknownKeySize,
    #[error("unknown algorithm: use RS256, RS384, RS512, PS256, PS384 or PS512")]
    UnknownAlgorithm,
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
