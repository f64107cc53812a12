//! The PEM text of a key, and what to say about text that is something else.

use pem::{EncodeConfig, LineEnding, Pem};
use secrecy::zeroize::Zeroizing;

use crate::auth::{KeyFamily, der};

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
    #[error("it is {0} key, which is not supported: use RSA, EC P-256, EC P-384 or Ed25519")]
    Unsupported(&'static str),
    #[error("it is PEM, but not a key")]
    NotAKey,
    #[error("it is an RSA key of {bits} bits: at least 2048 are needed")]
    TooSmall { bits: usize },
    #[error("it is an RSA key of {bits} bits: at most 8192 are supported")]
    TooLarge { bits: usize },
    #[error("its public exponent is even or less than 65537, which is not safe")]
    Exponent,
    #[error("its numbers do not make a key")]
    Inconsistent,
}

/// A public key as its kind has it: PKCS#1 (RFC 8017 appendix A.1), a point (SEC 1 section 2.3.3), 32 bytes (RFC 8032).
pub(super) struct PublicKey {
    pub(super) family: KeyFamily,
    pub(super) bytes: Vec<u8>,
}

/// Finds the one public key in a text; what stands before and after its PEM block does not matter.
pub(super) fn read_public(text: &str) -> Result<PublicKey, KeyRefusal> {
    match block(text)? {
        Block::PublicKeyInfo(der) => {
            let info = der::subject_public_key_info(&der).ok_or(KeyRefusal::Damaged)?;
            Ok(PublicKey {
                family: family_of(&info).map_err(KeyRefusal::Unsupported)?,
                bytes: info.key.to_vec(),
            })
        }
        Block::RsaPublicKey(bytes) => Ok(PublicKey {
            family: KeyFamily::Rsa,
            bytes,
        }),
        Block::PrivateKeyInfo(_) | Block::RsaPrivateKey(_) | Block::EcPrivateKey => {
            Err(KeyRefusal::Private)
        }
    }
}

/// Finds the one RSA private key in a text, as PKCS#1 has it.
pub(super) fn read_private(text: &str) -> Result<Zeroizing<Vec<u8>>, KeyRefusal> {
    match block(text)? {
        Block::PrivateKeyInfo(der) => {
            let info = der::private_key_info(&der).ok_or(KeyRefusal::Damaged)?;
            match family_of(&info) {
                Ok(KeyFamily::Rsa) => Ok(Zeroizing::new(info.key.to_vec())),
                Ok(KeyFamily::P256 | KeyFamily::P384) => Err(KeyRefusal::NotRsa("an EC")),
                Ok(KeyFamily::Ed25519) => Err(KeyRefusal::NotRsa("an Ed25519")),
                Err(name) => Err(KeyRefusal::NotRsa(name)),
            }
        }
        Block::RsaPrivateKey(der) => Ok(der),
        Block::EcPrivateKey => Err(KeyRefusal::NotRsa("an EC")),
        Block::PublicKeyInfo(_) | Block::RsaPublicKey(_) => Err(KeyRefusal::Public),
    }
}

/// The content of a PEM block that says it is a key.
enum Block {
    PublicKeyInfo(Vec<u8>),
    RsaPublicKey(Vec<u8>),
    PrivateKeyInfo(Zeroizing<Vec<u8>>),
    RsaPrivateKey(Zeroizing<Vec<u8>>),
    EcPrivateKey,
}

fn block(text: &str) -> Result<Block, KeyRefusal> {
    if text.trim_start_matches('\u{feff}').trim().is_empty() {
        return Err(KeyRefusal::Empty);
    }
    // Before the blocks are counted: OpenSSL puts the parameters of a curve in a block of their own.
    if text.contains("-----BEGIN EC ") {
        return Ok(Block::EcPrivateKey);
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
        "PUBLIC KEY" => Ok(Block::PublicKeyInfo(contents.to_vec())),
        "RSA PUBLIC KEY" => Ok(Block::RsaPublicKey(contents.to_vec())),
        "PRIVATE KEY" => Ok(Block::PrivateKeyInfo(contents)),
        "RSA PRIVATE KEY" => Ok(Block::RsaPrivateKey(contents)),
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

/// What kind of key it is, or the name of a kind that is of no use here.
///
/// The object identifiers are RFC 8017 appendix A.1 and A.2.3, RFC 5480 section 2.1.1, RFC 8410 section 3.
fn family_of(info: &der::KeyInfo<'_>) -> Result<KeyFamily, &'static str> {
    match info.kind {
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" => Ok(KeyFamily::Rsa),
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a" => Err("an RSA-PSS-only"),
        b"\x2a\x86\x48\xce\x3d\x02\x01" => match info.parameters {
            b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07" => Ok(KeyFamily::P256),
            b"\x06\x05\x2b\x81\x04\x00\x22" => Ok(KeyFamily::P384),
            b"\x06\x05\x2b\x81\x04\x00\x23" => Err("an EC P-521"),
            _ => Err("an EC"),
        },
        b"\x2b\x65\x70" => Ok(KeyFamily::Ed25519),
        b"\x2b\x65\x71" => Err("an Ed448"),
        _ => Err("another kind of"),
    }
}
