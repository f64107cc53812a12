//! `Keys`: the keys that are trusted, and which of them a token names.

use crate::auth::{PinnedKey, Rejection};

/// The keys that are trusted.
#[derive(Clone, Debug)]
pub enum Keys {
    /// The one key, whatever a token calls the key that signed it.
    One(PinnedKey),
    /// A JSON Web Key Set; no two of its keys have the same name.
    Set(Vec<NamedKey>),
}

/// A key of a set. Its name is the issuer's choice, and means nothing but itself.
#[derive(Clone, Debug)]
pub struct NamedKey {
    pub(super) kid: Option<String>,
    pub(super) key: PinnedKey,
}

impl Keys {
    /// The key that a token names (RFC 7515 section 4.1.4), or the only one there is.
    pub(super) fn pick(&self, kid: Option<&str>) -> Result<&PinnedKey, Rejection> {
        match (self, kid) {
            (Self::One(key), _) => Ok(key),
            (Self::Set(keys), Some(kid)) => {
                let named = keys.iter().find(|it| it.kid.as_deref() == Some(kid));
                named.map(|it| &it.key).ok_or(Rejection::UnknownKey)
            }
            (Self::Set(keys), None) => match keys.as_slice() {
                [only] => Ok(&only.key),
                _ => Err(Rejection::NoKeyId),
            },
        }
    }
}
