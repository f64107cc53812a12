//! The RSA key pair that signs tokens.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{self, KeyPair};
use aws_lc_rs::signature::KeyPair as _;
use jsonwebtoken::EncodingKey;
use secrecy::zeroize::Zeroizing;
use serde_json::{Value, json};

use crate::auth::rsa_public_key::RsaPublicKey;
use crate::auth::{Error, KeyRefusal, MAX_KEY_FILE, VerifyingKey, der, key_pem, rsa_public_key};
use crate::file;
use crate::private_file;
use crate::secret::Secret;

/// The name of the developer key pair in its folder.
pub const DEV_KEY_FILE: &str = "dev-key.pem";

/// Whether a key pair was made, or found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Created {
    Yes,
    No,
}

/// An RSA key pair.
pub struct SigningKey {
    private_pem: Secret,
    encoding: EncodingKey,
    public: RsaPublicKey,
    verifying: VerifyingKey,
}

impl SigningKey {
    /// Makes a new pair. It takes a while (4096 bits: half a second), so not on an async thread.
    pub fn generate(size: KeySize) -> Result<Self, Error> {
        let pair = KeyPair::generate(size.into()).map_err(|_| Error::Generate)?;
        Ok(Self::from_pair(&pair)?)
    }

    /// Reads a private key in PEM, PKCS#8 or PKCS#1, from a file that only its owner can read.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let bytes = private_file::read_private(path, MAX_KEY_FILE)?;
        let text = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
        Self::parse(&text).map_err(|source| Error::KeyFile {
            path: path.into(),
            source,
        })
    }

    /// The developer key pair of a folder, made on first use.
    pub fn load_or_create(folder: &Path) -> Result<(Self, Created), Error> {
        let path = folder.join(DEV_KEY_FILE);
        match Self::load(&path) {
            Err(Error::File(file::Error::Read { source, .. }))
                if source.kind() == io::ErrorKind::NotFound => {}
            found => return Ok((found?, Created::No)),
        }
        let key = Self::generate(KeySize::default())?;
        match key.save(&path, false) {
            Ok(()) => Ok((key, Created::Yes)),
            // Another process was faster, and both must sign with the same key.
            Err(Error::File(file::Error::Exists { .. })) => Ok((Self::load(&path)?, Created::No)),
            Err(error) => Err(error),
        }
    }

    /// Writes the private key to a file with mode 0600, and creates its folder.
    /// Without `force`, a file that is there already is left alone.
    pub fn save(&self, path: &Path, force: bool) -> Result<(), Error> {
        if let Some(folder) = path.parent() {
            private_file::create_folder(folder)?;
        }
        Ok(self.private_pem.save(path, force)?)
    }

    /// The private key as PKCS#8.
    pub fn private_pem(&self) -> &Secret {
        &self.private_pem
    }

    /// The public key as `SubjectPublicKeyInfo`, which every JWT library reads.
    pub fn public_pem(&self) -> &str {
        self.public.pem()
    }

    /// A key set with the public key alone, named by its thumbprint when it has no other name.
    pub fn jwks(&self, kid: Option<&str>) -> Value {
        json!({ "keys": [self.public.jwk(kid)] })
    }

    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.verifying
    }

    pub(super) fn encoding(&self) -> &EncodingKey {
        &self.encoding
    }

    fn parse(text: &str) -> Result<Self, KeyRefusal> {
        let der = key_pem::read_private(text)?;
        // Before aws-lc, which does not say what is wrong with a key.
        let (modulus, exponent) = der::rsa_private_key(&der).ok_or(KeyRefusal::Damaged)?;
        rsa_public_key::demand_strength(modulus, exponent)?;
        let pair = KeyPair::from_der(&der).map_err(|_| KeyRefusal::Inconsistent)?;
        Self::from_pair(&pair)
    }

    fn from_pair(pair: &KeyPair) -> Result<Self, KeyRefusal> {
        let pkcs8: Pkcs8V1Der = pair.as_der().map_err(|_| KeyRefusal::Inconsistent)?;
        let pkcs1 = der::private_key_info(pkcs8.as_ref()).ok_or(KeyRefusal::Inconsistent)?;
        let public = RsaPublicKey::from_der(pair.public_key().as_ref())?;
        Ok(Self {
            private_pem: key_pem::write("PRIVATE KEY", pkcs8.as_ref()).into(),
            encoding: EncodingKey::from_rsa_der(pkcs1.key),
            verifying: VerifyingKey::from(&public),
            public,
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SigningKey")
            .field("bits", &self.public.bits())
            .finish_non_exhaustive()
    }
}

/// How large a new key is, in bits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum KeySize {
    #[default]
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

impl FromStr for KeySize {
    type Err = Error;

    fn from_str(bits: &str) -> Result<Self, Error> {
        match bits {
            "2048" => Ok(Self::Rsa2048),
            "3072" => Ok(Self::Rsa3072),
            "4096" => Ok(Self::Rsa4096),
            _ => Err(Error::UnknownKeySize),
        }
    }
}

impl From<KeySize> for rsa::KeySize {
    fn from(size: KeySize) -> Self {
        match size {
            KeySize::Rsa2048 => Self::Rsa2048,
            KeySize::Rsa3072 => Self::Rsa3072,
            KeySize::Rsa4096 => Self::Rsa4096,
        }
    }
}
