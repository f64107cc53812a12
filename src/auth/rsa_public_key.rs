//! An RSA public key: its strength, and the forms that others read it in.

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::auth::{KeyRefusal, der, key_pem};

/// An RSA public key of 2048 to 8192 bits.
#[derive(Clone)]
pub(super) struct RsaPublicKey {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    der: Vec<u8>,
    pem: String,
}

impl RsaPublicKey {
    /// Reads PKCS#1.
    pub(super) fn from_der(der: &[u8]) -> Result<Self, KeyRefusal> {
        let (modulus, exponent) = der::rsa_public_key(der).ok_or(KeyRefusal::Damaged)?;
        demand_strength(modulus, exponent)?;
        // What aws-lc does not take now, it would not take later, and every token would look forged.
        let key = rsa::PublicKey::from_der(der).map_err(|_| KeyRefusal::Inconsistent)?;
        let info: PublicKeyX509Der<'_> = key.as_der().map_err(|_| KeyRefusal::Inconsistent)?;
        Ok(Self {
            modulus: modulus.to_vec(),
            exponent: exponent.to_vec(),
            der: der.to_vec(),
            pem: key_pem::write("PUBLIC KEY", info.as_ref()),
        })
    }

    /// The two numbers, big-endian.
    pub(super) fn from_numbers(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyRefusal> {
        Self::from_der(&der::write_rsa_public_key(modulus, exponent))
    }

    /// The key as PKCS#1.
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// The key as `SubjectPublicKeyInfo`.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// The key as a JSON Web Key (RFC 7517).
    pub(super) fn jwk(&self, kid: Option<&str>) -> Value {
        json!({
            "kty": "RSA",
            "n": URL_SAFE_NO_PAD.encode(&self.modulus),
            "e": URL_SAFE_NO_PAD.encode(&self.exponent),
            "alg": "RS256",
            "use": "sig",
            "kid": kid.map_or_else(|| self.thumbprint(), str::to_owned),
        })
    }

    pub(super) fn bits(&self) -> usize {
        bit_length(&self.modulus)
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
}

pub(super) fn demand_strength(modulus: &[u8], exponent: &[u8]) -> Result<(), KeyRefusal> {
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
