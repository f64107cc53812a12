//! JSON Web Key Sets (RFC 7517): which of their keys can verify a token, and with which algorithm.

use std::collections::{BTreeSet, HashSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::auth::keys::NamedKey;
use crate::auth::rsa_public_key::RsaPublicKey;
use crate::auth::{Algorithm, KeyFamily, Keys, VerifyingKey};

/// Why some text is not a key set that tokens can be verified with.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeySetRefusal {
    #[error("it is not a JSON Web Key Set, which is an object with a list of `keys`")]
    NotAKeySet,
    #[error("it holds a private key, which nobody but the issuer should have")]
    Private,
    #[error(
        "of its {count} keys none can verify a token ({kinds}): \
         RSA of at least 2048 bits, EC P-256, EC P-384 and Ed25519 keys for signatures can"
    )]
    NothingUsable { count: usize, kinds: String },
    #[error("two of its keys have the same `kid`")]
    SameName,
}

/// Reads a key set. Keys that cannot verify a token are left out, for others may need them (RFC 7517 section 5).
pub(super) fn read_set(text: &[u8], rsa_algorithm: Algorithm) -> Result<Keys, KeySetRefusal> {
    #[derive(Deserialize)]
    struct KeySet {
        keys: Vec<Map<String, Value>>,
        /// With this, serde demands an object; an array would fill the fields in their order.
        #[serde(flatten)]
        _others: Map<String, Value>,
    }
    let set: KeySet = serde_json::from_slice(text).map_err(|_| KeySetRefusal::NotAKeySet)?;
    // Somebody has published what signs tokens, so anybody may have signed one.
    if set.keys.iter().any(|jwk| jwk.contains_key("d")) {
        return Err(KeySetRefusal::Private);
    }

    let usable = set.keys.iter().filter_map(|jwk| read(jwk, rsa_algorithm));
    let keys: Vec<NamedKey> = usable.collect();
    if keys.is_empty() {
        return Err(KeySetRefusal::NothingUsable {
            count: set.keys.len(),
            kinds: kinds(&set.keys),
        });
    }
    let mut names = HashSet::new();
    if !keys
        .iter()
        .filter_map(|it| it.kid.as_ref())
        .all(|kid| names.insert(kid))
    {
        return Err(KeySetRefusal::SameName);
    }
    Ok(Keys::Set(keys))
}

/// What kinds of keys there are, in a few words.
fn kinds(keys: &[Map<String, Value>]) -> String {
    const MOST: usize = 5;
    const LONGEST: usize = 20;
    let shown = |text: &str| -> String {
        text.chars()
            .filter(char::is_ascii_graphic)
            .take(LONGEST)
            .collect()
    };
    let kinds = keys.iter().map(|jwk| {
        let names = ["kty", "crv", "alg"]
            .into_iter()
            .filter_map(|name| text(jwk, name));
        names.map(shown).collect::<Vec<_>>().join(" ")
    });
    let kinds: BTreeSet<String> = kinds.collect();
    let mut shown: Vec<String> = kinds.iter().take(MOST).cloned().collect();
    if kinds.len() > MOST {
        shown.push("...".to_owned());
    }
    match keys.is_empty() {
        true => "it is empty".to_owned(),
        false => shown.join(", "),
    }
}

/// The key, if it is one that verifies signatures.
fn read(jwk: &Map<String, Value>, rsa_algorithm: Algorithm) -> Option<NamedKey> {
    let is_for_signatures = jwk.get("use").is_none_or(|it| it == "sig");
    let may_verify = jwk.get("key_ops").is_none_or(|operations| {
        operations
            .as_array()
            .is_some_and(|operations| operations.iter().any(|it| it == "verify"))
    });
    if !is_for_signatures || !may_verify {
        return None;
    }

    let key = match (text(jwk, "kty")?, jwk.get("crv").and_then(Value::as_str)) {
        ("RSA", _) => {
            let key = RsaPublicKey::from_numbers(&bytes(jwk, "n")?, &bytes(jwk, "e")?);
            VerifyingKey::from(&key.ok()?)
        }
        ("EC", Some("P-256")) => VerifyingKey::p256(&point(jwk, 32)?).ok()?,
        ("EC", Some("P-384")) => VerifyingKey::p384(&point(jwk, 48)?).ok()?,
        ("OKP", Some("Ed25519")) => VerifyingKey::ed25519(&bytes(jwk, "x")?).ok()?,
        _ => return None,
    };
    let algorithm = match jwk.get("alg") {
        Some(name) => Some(name.as_str()?.parse().ok()?),
        None => (key.family() == KeyFamily::Rsa).then_some(rsa_algorithm),
    };
    let kid = match jwk.get("kid") {
        Some(kid) => Some(kid.as_str()?.to_owned()),
        None => None,
    };
    Some(NamedKey {
        kid,
        key: key.pin(algorithm).ok()?,
    })
}

fn text<'jwk>(jwk: &'jwk Map<String, Value>, name: &str) -> Option<&'jwk str> {
    jwk.get(name)?.as_str()
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text(jwk, name)?).ok()
}

/// RFC 7518 section 6.2.1: both coordinates have the full size of the curve.
fn point(jwk: &Map<String, Value>, size: usize) -> Option<Vec<u8>> {
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    (x.len() == size && y.len() == size).then(|| [&[4], &x[..], &y].concat())
}
