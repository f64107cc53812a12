//! Key pairs for the tests of this room, made once a run because that is slow.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm as Jwa, EncodingKey};
use serde_json::{Value, json};

use crate::auth::{Algorithm, KeySize, Keys, SigningKey, VerifyingKey, jwk};

/// The key that the verifier under test trusts.
pub(in crate::auth) static OURS: LazyLock<SigningKey> = LazyLock::new(generate);

/// A key that it does not trust.
pub(in crate::auth) static THEIRS: LazyLock<SigningKey> = LazyLock::new(generate);

/// Trusted keys of all kinds, one for each.
pub(in crate::auth) static RSA: LazyLock<AnyKey> = LazyLock::new(|| AnyKey::rsa(&OURS));
pub(in crate::auth) static P256: LazyLock<AnyKey> =
    LazyLock::new(|| AnyKey::ec(&ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::ES256, "P-256"));
pub(in crate::auth) static P384: LazyLock<AnyKey> =
    LazyLock::new(|| AnyKey::ec(&ECDSA_P384_SHA384_FIXED_SIGNING, Algorithm::ES384, "P-384"));
pub(in crate::auth) static ED25519: LazyLock<AnyKey> = LazyLock::new(AnyKey::ed25519);

pub(in crate::auth) fn one_of_each() -> [&'static AnyKey; 4] {
    [&RSA, &P256, &P384, &ED25519]
}

fn generate() -> SigningKey {
    SigningKey::generate(KeySize::Rsa2048).unwrap()
}

/// A key pair of any kind, and all forms of its public half.
pub(in crate::auth) struct AnyKey {
    pub(in crate::auth) algorithm: Algorithm,
    pub(in crate::auth) encoding: EncodingKey,
    /// PKCS#8.
    pub(in crate::auth) private: Vec<u8>,
    pub(in crate::auth) pem: String,
    /// Without `alg`, `use` and `kid`.
    pub(in crate::auth) jwk: Value,
}

impl AnyKey {
    pub(in crate::auth) fn rsa(key: &SigningKey) -> Self {
        let jwks = key.jwks(None);
        let (n, e) = (&jwks["keys"][0]["n"], &jwks["keys"][0]["e"]);
        Self {
            algorithm: Algorithm::RS256,
            encoding: key.encoding().clone(),
            private: pem::parse(key.private_pem().expose())
                .unwrap()
                .into_contents(),
            pem: key.public_pem().to_owned(),
            jwk: json!({ "kty": "RSA", "n": n, "e": e }),
        }
    }

    fn ec(curve: &'static EcdsaSigningAlgorithm, algorithm: Algorithm, name: &str) -> Self {
        let private = EcdsaKeyPair::generate_pkcs8(curve, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(curve, private.as_ref()).unwrap();
        let info: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let point = &pair.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        Self {
            algorithm,
            encoding: EncodingKey::from_ec_der(private.as_ref()),
            private: private.as_ref().to_vec(),
            pem: pem::encode(&pem::Pem::new("PUBLIC KEY", info.as_ref())),
            jwk: json!({ "kty": "EC", "crv": name, "x": b64(x), "y": b64(y) }),
        }
    }

    fn ed25519() -> Self {
        let private = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).unwrap();
        let info: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let x = b64(pair.public_key().as_ref());
        Self {
            algorithm: Algorithm::EdDSA,
            encoding: EncodingKey::from_ed_der(private.as_ref()),
            private: private.as_ref().to_vec(),
            pem: pem::encode(&pem::Pem::new("PUBLIC KEY", info.as_ref())),
            jwk: json!({ "kty": "OKP", "crv": "Ed25519", "x": x }),
        }
    }

    /// The key as one of a set, under this name.
    pub(in crate::auth) fn jwk(&self, kid: &str) -> Value {
        self.with(json!({ "kid": kid }))
    }

    /// The key as one of a set, with other parameters as well.
    pub(in crate::auth) fn with(&self, others: Value) -> Value {
        let mut jwk = self.jwk.clone();
        let Value::Object(others) = others else {
            panic!("parameters are an object");
        };
        jwk.as_object_mut().unwrap().extend(others);
        jwk
    }

    /// The key as the only one, from its PEM.
    pub(in crate::auth) fn alone(&self) -> Keys {
        Keys::One(
            VerifyingKey::from_pem(&self.pem)
                .unwrap()
                .pin(None)
                .unwrap(),
        )
    }

    /// A token with this header and these claims.
    pub(in crate::auth) fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", b64(header), b64(claims));
        let jwa: Jwa = self.algorithm.into();
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.encoding, jwa).unwrap();
        format!("{message}.{signature}")
    }
}

/// The keys of a set.
pub(in crate::auth) fn set(keys: &[Value]) -> Keys {
    let text = json!({ "keys": keys }).to_string();
    jwk::read_set(text.as_bytes(), Algorithm::RS256).unwrap()
}

pub(in crate::auth) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
