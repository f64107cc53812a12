//! `KeySource`: where the trusted keys come from, and so whether they can change.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use url::Url;

use crate::address;
use crate::auth::jwks::Jwks;
use crate::auth::{Algorithm, Error, KeyFamily, Keys, MAX_KEY_FILE, PinnedKey, jwk};
use crate::file;

/// Where the trusted keys come from.
#[derive(Debug)]
pub enum KeySource {
    /// A file: what it held when the program began.
    Fixed(Arc<Keys>),
    /// A URL, which is asked again from time to time.
    Published(Arc<Jwks>),
}

impl KeySource {
    /// Reads a JSON Web Key Set from a file. RSA keys without an algorithm get this one, or RS256.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a key set.
    pub fn read(path: PathBuf, algorithm: Option<Algorithm>) -> Result<Self, Error> {
        let rsa = KeyFamily::Rsa.pin(algorithm)?;
        let text = file::read(&path, MAX_KEY_FILE)?;
        let keys =
            jwk::read_set(&text, rsa).map_err(|source| Error::KeySetFile { path, source })?;
        Ok(Self::Fixed(Arc::new(keys)))
    }

    /// Fetches a JSON Web Key Set. RSA keys without an algorithm get this one, or RS256.
    ///
    /// # Errors
    /// If the key set cannot be fetched, or is not one.
    pub async fn fetch(
        url: Url,
        algorithm: Option<Algorithm>,
        now: SystemTime,
    ) -> Result<Self, Error> {
        let rsa = KeyFamily::Rsa.pin(algorithm)?;
        Ok(Self::Published(Jwks::load(url, rsa, now).await?))
    }

    /// The keys, if nothing has to be fetched for them.
    pub(super) fn at_hand(&self, now: SystemTime) -> Option<Arc<Keys>> {
        match self {
            Self::Fixed(keys) => Some(Arc::clone(keys)),
            Self::Published(jwks) => jwks.fresh(now),
        }
    }

    pub(super) async fn current(&self, now: SystemTime) -> Arc<Keys> {
        match self {
            Self::Fixed(keys) => Arc::clone(keys),
            Self::Published(jwks) => jwks.current(now).await,
        }
    }

    /// Other keys than these, if there are any by now.
    pub(super) async fn newer_than(&self, keys: &Arc<Keys>, now: SystemTime) -> Option<Arc<Keys>> {
        match self {
            Self::Fixed(_) => None,
            Self::Published(jwks) => jwks.newer_than(keys, now).await,
        }
    }
}

impl From<PinnedKey> for KeySource {
    fn from(key: PinnedKey) -> Self {
        Self::Fixed(Arc::new(Keys::One(key)))
    }
}

/// Where a JSON Web Key Set is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeySetPlace {
    File(PathBuf),
    Url(Url),
}

impl FromStr for KeySetPlace {
    type Err = Error;

    /// Anyone on the path can replace keys that are fetched over plain HTTP; only loopback has no path.
    fn from_str(text: &str) -> Result<Self, Error> {
        if !text.contains("://") {
            return Ok(Self::File(text.into()));
        }
        let url = Url::parse(text).map_err(|_| Error::KeySetUrl)?;
        match url.scheme() {
            "https" => Ok(Self::Url(url)),
            "http" if address::is_loopback(&url) => Ok(Self::Url(url)),
            _ => Err(Error::KeySetUrl),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_a_file_over_https_or_from_this_machine() {
        for place in ["jwks.json", "./https/jwks.json", "C:\\jwks.json", ""] {
            assert_eq!(
                place.parse::<KeySetPlace>().unwrap(),
                KeySetPlace::File(place.into())
            );
        }
        for url in [
            "https://issuer.example/.well-known/jwks.json",
            "HTTPS://issuer.example/jwks",
            "http://127.0.0.1:8080/jwks",
            "http://localhost/jwks",
            "http://[::1]/jwks",
            "http://[::ffff:127.0.0.1]/jwks",
        ] {
            assert_eq!(
                url.parse::<KeySetPlace>().unwrap(),
                KeySetPlace::Url(Url::parse(url).unwrap())
            );
        }
        for url in [
            "http://issuer.example/jwks",
            "http://10.0.0.1/jwks",
            "http://localhost.evil.example/jwks",
            "http://127.0.0.1@evil.example/jwks",
            "ftp://127.0.0.1/jwks",
            "file:///etc/passwd",
            "https://",
            "://",
        ] {
            let error = url.parse::<KeySetPlace>().unwrap_err();
            assert!(matches!(error, Error::KeySetUrl), "{url}");
        }
    }
}
