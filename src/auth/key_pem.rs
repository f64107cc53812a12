//! The PEM text of an RSA key, and what to say about text that is something else.

use pem::{EncodeConfig, LineEnding, Pem};
use secrecy::zeroize::Zeroizing;

use crate::auth::der;

/// Why some text is not the key that was asked for.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyRefusal {
    #[error("it is empty")]
    Empty,
    #[error("it is not PEM: there is no `-----BEGIN` line")]
    NotPem,
    #[error("it holds more than one PEM block: keep the one key that is meant")]
    Several,
    #[error("it is damaged: the PEM block is cut short or holds something else")]
    Damaged,
    #[error("it is a private key where a public key is needed")]
    Private,
    #[error("it is a public key where a private key is needed")]
    Public,
    #[error("it is a private key under a passphrase, which is not supported: decrypt it first")]
    Encrypted,
    #[error("it is an OpenSSH key: convert it with `ssh-keygen -p -m PEM`")]
    OpenSsh,
    #[error("it is a certificate where a key is needed: `openssl x509 -pubkey -noout` extracts it")]
    Certificate,
    #[error("it is {0} key where an RSA key is needed")]
    NotRsa(&'static str),
    #[error("it is PEM, but not a key")]
    NotAKey,
    #[error("it is an RSA key of {bits} bits: at least 2048 are needed")]
    TooSmall { bits: usize },
    #[error("it is an RSA key of {bits} bits: at most 8192 are supported")]
    TooLarge { bits: usize },
    #[error("its public exponent is even or less than 65537, which is not safe")]
    Exponent,
    #[error("its numbers do not make an RSA key")]
    Inconsistent,
}

/// An RSA key as PKCS#1 has it, RFC 8017 appendix A.1.
pub(super) enum RsaKey {
    Public(Vec<u8>),
    Private(Zeroizing<Vec<u8>>),
}

/// Finds the one RSA key in a text; what stands before and after its PEM block does not matter.
pub(super) fn read(text: &str) -> Result<RsaKey, KeyRefusal> {
    if text.trim_start_matches('\u{feff}').trim().is_empty() {
        return Err(KeyRefusal::Empty);
    }
    // Before the blocks are counted: OpenSSL puts the parameters of a curve in a block of their own.
    if text.contains("-----BEGIN EC ") {
        return Err(KeyRefusal::NotRsa("an EC"));
    }
    match text.matches("-----BEGIN ").count() {
        0 => return Err(KeyRefusal::NotPem),
        1 => {}
        _ => return Err(KeyRefusal::Several),
    }
    let block = pem::parse(text).map_err(|_| KeyRefusal::Damaged)?;
    // RFC 1421 section 4.6: how OpenSSL marks an encrypted PKCS#1 key.
    if block.headers().get("Proc-Type").is_some() {
        return Err(KeyRefusal::Encrypted);
    }

    let tag = block.tag().to_owned();
    let contents = Zeroizing::new(block.into_contents());
    match tag.as_str() {
        "PUBLIC KEY" => {
            let (kind, key) = der::subject_public_key_info(&contents).ok_or(KeyRefusal::Damaged)?;
            demand_rsa(kind)?;
            Ok(RsaKey::Public(key.to_vec()))
        }
        "PRIVATE KEY" => {
            let (kind, key) = der::private_key_info(&contents).ok_or(KeyRefusal::Damaged)?;
            demand_rsa(kind)?;
            Ok(RsaKey::Private(Zeroizing::new(key.to_vec())))
        }
        "RSA PUBLIC KEY" => Ok(RsaKey::Public(contents.to_vec())),
        "RSA PRIVATE KEY" => Ok(RsaKey::Private(contents)),
        "ENCRYPTED PRIVATE KEY" => Err(KeyRefusal::Encrypted),
        "OPENSSH PRIVATE KEY" => Err(KeyRefusal::OpenSsh),
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => Err(KeyRefusal::Certificate),
        _ => Err(KeyRefusal::NotAKey),
    }
}

pub(super) fn write(tag: &str, der: &[u8]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&Pem::new(tag, der), config)
}

/// The object identifiers are RFC 8017 appendix A.1 and A.2.3, RFC 5480 section 2.1.1, RFC 8410 section 3.
fn demand_rsa(kind: &[u8]) -> Result<(), KeyRefusal> {
    match kind {
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" => Ok(()),
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a" => Err(KeyRefusal::NotRsa("an RSA-PSS-only")),
        b"\x2a\x86\x48\xce\x3d\x02\x01" => Err(KeyRefusal::NotRsa("an EC")),
        b"\x2b\x65\x70" => Err(KeyRefusal::NotRsa("an Ed25519")),
        b"\x2b\x65\x71" => Err(KeyRefusal::NotRsa("an Ed448")),
        _ => Err(KeyRefusal::NotRsa("another kind of")),
    }
}
