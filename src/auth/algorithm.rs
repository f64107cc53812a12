//! How a token is signed, and with which keys that goes.

use std::fmt;
use std::str::FromStr;

use crate::auth::Error;

/// What EdDSA with the curve Ed25519 is called since RFC 9864.
pub const ED25519: &str = "Ed25519";

/// The algorithms of RFC 7518 section 3 and RFC 8037 with a public key, but for ES512, which jsonwebtoken does not have.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Algorithm {
    #[default]
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The keys that sign like this.
    pub fn family(self) -> KeyFamily {
        match self {
            Self::RS256 | Self::RS384 | Self::RS512 | Self::PS256 | Self::PS384 | Self::PS512 => {
                KeyFamily::Rsa
            }
            Self::ES256 => KeyFamily::P256,
            Self::ES384 => KeyFamily::P384,
            Self::EdDSA => KeyFamily::Ed25519,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        // RFC 9864 names the curve where RFC 8037 names the family.
        if name == ED25519 {
            return Ok(Self::EdDSA);
        }
        let mut known = Self::ALL.into_iter();
        known
            .find(|algorithm| algorithm.as_str() == name)
            .ok_or(Error::UnknownAlgorithm)
    }
}

impl From<Algorithm> for jsonwebtoken::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::RS256 => Self::RS256,
            Algorithm::RS384 => Self::RS384,
            Algorithm::RS512 => Self::RS512,
            Algorithm::PS256 => Self::PS256,
            Algorithm::PS384 => Self::PS384,
            Algorithm::PS512 => Self::PS512,
            Algorithm::ES256 => Self::ES256,
            Algorithm::ES384 => Self::ES384,
            Algorithm::EdDSA => Self::EdDSA,
        }
    }
}

/// The kinds of keys, each with its own algorithms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyFamily {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl KeyFamily {
    /// The one algorithm for a key of this kind: the one that was asked for, when it fits.
    pub fn pin(self, algorithm: Option<Algorithm>) -> Result<Algorithm, Error> {
        let algorithm = algorithm.unwrap_or(match self {
            Self::Rsa => Algorithm::RS256,
            Self::P256 => Algorithm::ES256,
            Self::P384 => Algorithm::ES384,
            Self::Ed25519 => Algorithm::EdDSA,
        });
        if algorithm.family() == self {
            Ok(algorithm)
        } else {
            Err(Error::Misfit {
                family: self,
                algorithm,
            })
        }
    }

    /// What fits instead, for the error message.
    pub(super) fn algorithms(self) -> &'static str {
        match self {
            Self::Rsa => "RS256, RS384, RS512, PS256, PS384 or PS512",
            Self::P256 => "ES256",
            Self::P384 => "ES384",
            Self::Ed25519 => "EdDSA",
        }
    }
}

impl fmt::Display for KeyFamily {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Rsa => "RSA",
            Self::P256 => "EC P-256",
            Self::P384 => "EC P-384",
            Self::Ed25519 => "Ed25519",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_to_the_letter() {
        for algorithm in Algorithm::ALL {
            assert_eq!(
                algorithm.to_string().parse::<Algorithm>().unwrap(),
                algorithm
            );
        }
        for name in [
            "HS256", "none", "rs256", "ES512", "ES256K", "Ed448", "ed25519", " RS256", "",
        ] {
            assert!(name.parse::<Algorithm>().is_err(), "{name}");
        }
        assert_eq!(ED25519.parse::<Algorithm>().unwrap(), Algorithm::EdDSA);
    }

    #[test]
    fn a_key_has_one_algorithm_and_only_one_of_its_own() {
        for family in [
            KeyFamily::Rsa,
            KeyFamily::P256,
            KeyFamily::P384,
            KeyFamily::Ed25519,
        ] {
            assert_eq!(family.pin(None).unwrap().family(), family);
            for algorithm in Algorithm::ALL {
                let fits = family.algorithms().contains(algorithm.as_str());
                let pinned = family.pin(Some(algorithm));
                assert_eq!(pinned.is_ok(), fits, "{family} {algorithm}");
            }
        }
    }
}
