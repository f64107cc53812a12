//! RSA keys: the pair that signs tokens, the public half that verifies them.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{self, KeyPair};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde_json::{Value, json};

use crate::auth::key_pem::{self, RsaKey};
use crate::auth::{Error, KeyRefusal, Secret, der, key_file};

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
    verifying: VerifyingKey,
}

impl SigningKey {
    /// Makes a new pair. It takes a while (4096 bits: half a second), so not on an async thread.
    pub fn generate(size: KeySize) -> Result<Self, Error> {
        let pair = KeyPair::generate(size.into()).map_err(|_| Error::Generate)?;
        Ok(Self::from_pair(&pair)?)
    }

    /// Reads a private key in PEM, PKCS#8 or PKCS#1, from a file that nobody else can read.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = key_file::read_private(path)?;
        Self::parse(&text).map_err(|source| Error::KeyFile {
            path: path.into(),
            source,
        })
    }

    /// The developer key pair of a folder, made on first use.
    pub fn load_or_create(folder: &Path) -> Result<(Self, Created), Error> {
        let path = folder.join(DEV_KEY_FILE);
        match Self::load(&path) {
            Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            found => return Ok((found?, Created::No)),
        }
        let key = Self::generate(KeySize::default())?;
        match key.save(&path, false) {
            Ok(()) => Ok((key, Created::Yes)),
            // Another process was faster, and both must sign with the same key.
            Err(Error::Exists { .. }) => Ok((Self::load(&path)?, Created::No)),
            Err(error) => Err(error),
        }
    }

    /// Writes the private key to a file with mode 0600; its folder is made when there is none.
    /// Without `force`, a file that is there already is left alone.
    pub fn save(&self, path: &Path, force: bool) -> Result<(), Error> {
        if let Some(folder) = path.parent() {
            key_file::create_folder(folder)?;
        }
        self.private_pem.save(path, force)
    }

    /// The private key as PKCS#8.
    pub fn private_pem(&self) -> &Secret {
        &self.private_pem
    }

    pub fn public_pem(&self) -> &str {
        self.verifying.public_pem()
    }

    pub fn jwks(&self, kid: Option<&str>) -> Value {
        self.verifying.jwks(kid)
    }

    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.verifying
    }

    pub(super) fn encoding(&self) -> &EncodingKey {
        &self.encoding
    }

    fn parse(text: &str) -> Result<Self, KeyRefusal> {
        let der = match key_pem::read(text)? {
            RsaKey::Private(der) => der,
            RsaKey::Public(_) => return Err(KeyRefusal::Public),
        };
        // Before aws-lc, which does not say what is wrong with a key.
        let (modulus, exponent) = der::rsa_private_key(&der).ok_or(KeyRefusal::Damaged)?;
        demand_strength(modulus, exponent)?;
        let pair = KeyPair::from_der(&der).map_err(|_| KeyRefusal::Inconsistent)?;
        Self::from_pair(&pair)
    }

    fn from_pair(pair: &KeyPair) -> Result<Self, KeyRefusal> {
        let pkcs8: Pkcs8V1Der = pair.as_der().map_err(|_| KeyRefusal::Inconsistent)?;
        let (_, pkcs1) = der::private_key_info(pkcs8.as_ref()).ok_or(KeyRefusal::Inconsistent)?;
        Ok(Self {
            private_pem: key_pem::write("PRIVATE KEY", pkcs8.as_ref()).into(),
            encoding: EncodingKey::from_rsa_der(pkcs1),
            verifying: VerifyingKey::from_der(pair.public_key().as_ref())?,
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SigningKey")
            .field("bits", &self.verifying.bits())
            .finish_non_exhaustive()
    }
}

/// An RSA public key of 2048 to 8192 bits.
#[derive(Clone)]
pub struct VerifyingKey {
    public_pem: String,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    decoding: DecodingKey,
}

impl VerifyingKey {
    /// Reads a public key in PEM, as `SubjectPublicKeyInfo` or PKCS#1.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = key_file::read_public(path)?;
        Self::parse(&text).map_err(|source| Error::KeyFile {
            path: path.into(),
            source,
        })
    }

    pub fn from_pem(text: &str) -> Result<Self, Error> {
        Ok(Self::parse(text)?)
    }

    /// The key as `SubjectPublicKeyInfo`, which every JWT library reads.
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// The key as a JSON Web Key (RFC 7517), named by its thumbprint when it has no other name.
    pub fn jwk(&self, kid: Option<&str>) -> Value {
        json!({
            "kty": "RSA",
            "n": URL_SAFE_NO_PAD.encode(&self.modulus),
            "e": URL_SAFE_NO_PAD.encode(&self.exponent),
            "alg": "RS256",
            "use": "sig",
            "kid": kid.map_or_else(|| self.thumbprint(), str::to_owned),
        })
    }

    /// A key set with this key alone.
    pub fn jwks(&self, kid: Option<&str>) -> Value {
        json!({ "keys": [self.jwk(kid)] })
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    /// RFC 7638: the SHA-256 of the key's required members, in order and without spaces.
    fn thumbprint(&self) -> String {
        let members = format!(
            r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#,
            URL_SAFE_NO_PAD.encode(&self.exponent),
            URL_SAFE_NO_PAD.encode(&self.modulus),
        );
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, members.as_bytes()))
    }

    fn bits(&self) -> usize {
        bit_length(&self.modulus)
    }

    fn parse(text: &str) -> Result<Self, KeyRefusal> {
        match key_pem::read(text)? {
            RsaKey::Public(der) => Self::from_der(&der),
            RsaKey::Private(_) => Err(KeyRefusal::Private),
        }
    }

    fn from_der(der: &[u8]) -> Result<Self, KeyRefusal> {
        let (modulus, exponent) = der::rsa_public_key(der).ok_or(KeyRefusal::Damaged)?;
        demand_strength(modulus, exponent)?;
        // What aws-lc does not take now, it would not take later, and every token would look forged.
        let key = rsa::PublicKey::from_der(der).map_err(|_| KeyRefusal::Inconsistent)?;
        let info: PublicKeyX509Der<'_> = key.as_der().map_err(|_| KeyRefusal::Inconsistent)?;
        Ok(Self {
            public_pem: key_pem::write("PUBLIC KEY", info.as_ref()),
            modulus: modulus.to_vec(),
            exponent: exponent.to_vec(),
            decoding: DecodingKey::from_rsa_der(der),
        })
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("VerifyingKey")
            .field("bits", &self.bits())
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

fn demand_strength(modulus: &[u8], exponent: &[u8]) -> Result<(), KeyRefusal> {
    match bit_length(modulus) {
        bits @ ..2048 => return Err(KeyRefusal::TooSmall { bits }),
        bits @ 8193.. => return Err(KeyRefusal::TooLarge { bits }),
        _ => {}
    }
    // 65537 is 01 00 01; any other number of three bytes without leading zeros is larger.
    let odd = exponent.last().is_some_and(|byte| byte % 2 == 1);
    if exponent.len() < 3 || !odd {
        return Err(KeyRefusal::Exponent);
    }
    Ok(())
}

/// The number is big-endian without leading zeros.
fn bit_length(number: &[u8]) -> usize {
    match number.first() {
        Some(byte) => number.len() * 8 - byte.leading_zeros() as usize,
        None => 0,
    }
}
