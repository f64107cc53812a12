//! The public keys that tokens are verified with, each with the one algorithm that it verifies.

use std::fmt;
use std::path::Path;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    VerificationAlgorithm,
};
use jsonwebtoken::DecodingKey;

use crate::auth::rsa_public_key::RsaPublicKey;
use crate::auth::{Algorithm, Error, KeyFamily, KeyRefusal, MAX_KEY_FILE, key_pem};
use crate::file;

/// A public key: RSA of 2048 to 8192 bits, EC P-256 or P-384, or Ed25519.
#[derive(Clone)]
pub struct VerifyingKey {
    family: KeyFamily,
    decoding: DecodingKey,
}

impl VerifyingKey {
    /// Reads a public key in PEM, as `SubjectPublicKeyInfo`; an RSA key as PKCS#1 as well.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let bytes = file::read(path, MAX_KEY_FILE)?;
        Self::parse(&String::from_utf8_lossy(&bytes)).map_err(|source| Error::KeyFile {
            path: path.into(),
            source,
        })
    }

    pub fn from_pem(text: &str) -> Result<Self, Error> {
        Ok(Self::parse(text)?)
    }

    /// The key with the one algorithm that it verifies: RS256 for an RSA key unless another is given.
    pub fn pin(self, algorithm: Option<Algorithm>) -> Result<PinnedKey, Error> {
        Ok(PinnedKey {
            algorithm: self.family.pin(algorithm)?,
            decoding: self.decoding,
        })
    }

    pub(super) fn family(&self) -> KeyFamily {
        self.family
    }

    /// An uncompressed or compressed point, SEC 1 section 2.3.3.
    pub(super) fn p256(point: &[u8]) -> Result<Self, KeyRefusal> {
        demand_point(&ECDSA_P256_SHA256_FIXED, point)?;
        Ok(Self {
            family: KeyFamily::P256,
            decoding: DecodingKey::from_ec_der(point),
        })
    }

    pub(super) fn p384(point: &[u8]) -> Result<Self, KeyRefusal> {
        demand_point(&ECDSA_P384_SHA384_FIXED, point)?;
        Ok(Self {
            family: KeyFamily::P384,
            decoding: DecodingKey::from_ec_der(point),
        })
    }

    pub(super) fn ed25519(bytes: &[u8]) -> Result<Self, KeyRefusal> {
        if bytes.len() != 32 || ParsedPublicKey::new(&ED25519, bytes).is_err() {
            return Err(KeyRefusal::Inconsistent);
        }
        Ok(Self {
            family: KeyFamily::Ed25519,
            decoding: DecodingKey::from_ed_der(bytes),
        })
    }

    fn parse(text: &str) -> Result<Self, KeyRefusal> {
        let key = key_pem::read_public(text)?;
        match key.family {
            KeyFamily::Rsa => Ok(Self::from(&RsaPublicKey::from_der(&key.bytes)?)),
            KeyFamily::P256 => Self::p256(&key.bytes),
            KeyFamily::P384 => Self::p384(&key.bytes),
            KeyFamily::Ed25519 => Self::ed25519(&key.bytes),
        }
    }
}

impl From<&RsaPublicKey> for VerifyingKey {
    fn from(key: &RsaPublicKey) -> Self {
        Self {
            family: KeyFamily::Rsa,
            decoding: DecodingKey::from_rsa_der(key.der()),
        }
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "VerifyingKey({})", self.family)
    }
}

/// A public key with the one algorithm that it verifies, whatever a token says (RFC 8725 section 3.1).
#[derive(Clone)]
pub struct PinnedKey {
    algorithm: Algorithm,
    decoding: DecodingKey,
}

impl PinnedKey {
    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }
}

impl fmt::Debug for PinnedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PinnedKey({})", self.algorithm)
    }
}

/// aws-lc looks whether the point is on the curve; it would take `SubjectPublicKeyInfo` as well.
fn demand_point(
    algorithm: &'static dyn VerificationAlgorithm,
    point: &[u8],
) -> Result<(), KeyRefusal> {
    let is_point = matches!(point.first(), Some(2..=4));
    if is_point && ParsedPublicKey::new(algorithm, point).is_ok() {
        Ok(())
    } else {
        Err(KeyRefusal::Inconsistent)
    }
}
