//! Tokens that try to have a say in how they are verified, against keys of all kinds.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm as Jwa, EncodingKey};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::auth::key_source::KeySource;
use crate::auth::vectors::test_keys::{
    AnyKey, ED25519, P256, P384, RSA, THEIRS, b64, one_of_each, set,
};
use crate::auth::vectors::token::{NOW, at, claims_with, policy, refused};
use crate::auth::{Keys, Policy, Rejection, Verified, Verifier};

fn verify(keys: &Keys, token: &str) -> Result<Verified, Rejection> {
    policy().verify(keys, token, at(NOW))
}

fn claims() -> String {
    claims_with("", None)
}

fn header(alg: &str, kid: &str) -> String {
    json!({ "alg": alg, "kid": kid }).to_string()
}

fn good(key: &AnyKey, kid: &str) -> String {
    key.sign(&header(key.algorithm.as_str(), kid), &claims())
}

/// A token of this header with any signature at all.
fn signed(header: &str, signature: impl AsRef<[u8]>) -> String {
    format!("{}.{}.{}", b64(header), b64(claims()), b64(signature))
}

fn signature_of(token: &str) -> Vec<u8> {
    let (_, signature) = token.rsplit_once('.').unwrap();
    URL_SAFE_NO_PAD.decode(signature).unwrap()
}

fn set_of_each() -> Keys {
    let named = one_of_each().map(|key| key.jwk(key.algorithm.as_str()));
    set(&named)
}

#[test]
fn the_tokens_of_rfc_7515_are_taken() {
    // Appendices A.2 and A.3; both have the claims of A.1.
    let payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let rsa = json!({
        "kty": "RSA", "e": "AQAB",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    });
    let ec = json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let policy = Policy::default();
    for (key, header, signature) in [
        (
            rsa,
            "eyJhbGciOiJSUzI1NiJ9",
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        (
            ec,
            "eyJhbGciOiJFUzI1NiJ9",
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
    ] {
        let token = format!("{header}.{payload}.{signature}");
        let verified = policy
            .verify(&set(&[key]), &token, at(1_300_819_379))
            .unwrap();
        assert_eq!(verified.issuer.as_deref(), Some("joe"));
        assert_eq!(verified.expires_at, at(1_300_819_380));
    }
}

#[test]
fn every_kind_of_key_verifies_its_own_tokens_and_no_others() {
    let all = set_of_each();
    for key in one_of_each() {
        let kid = key.algorithm.as_str();
        assert!(verify(&key.alone(), &good(key, kid)).is_ok(), "{kid}");
        assert!(verify(&all, &good(key, kid)).is_ok(), "{kid}");

        for other in one_of_each() {
            if other.algorithm == key.algorithm {
                continue;
            }
            let expected = Rejection::Algorithm {
                expected: key.algorithm,
            };
            let honest = good(other, kid);
            refused(&verify(&all, &honest), expected.clone(), kid);
            refused(&verify(&key.alone(), &honest), expected, kid);
            // Under the name of the right algorithm.
            let disguised = signed(&header(kid, kid), signature_of(&honest));
            refused(&verify(&all, &disguised), Rejection::Signature, kid);
            refused(&verify(&key.alone(), &disguised), Rejection::Signature, kid);
        }
    }
}

#[test]
fn a_mac_keyed_with_any_public_key_is_refused() {
    let all = set_of_each();
    for key in one_of_each() {
        let kid = key.algorithm.as_str();
        let der = pem::parse(&key.pem).unwrap().into_contents();
        let coordinates: Vec<u8> = ["n", "x", "y"]
            .iter()
            .filter_map(|name| key.jwk[name].as_str())
            .flat_map(|text| URL_SAFE_NO_PAD.decode(text).unwrap())
            .collect();
        let secrets = [
            key.pem.clone().into_bytes(),
            key.pem.trim().as_bytes().to_vec(),
            key.jwk.to_string().into_bytes(),
            [&[4], &coordinates[..]].concat(),
            coordinates,
            der,
            Vec::new(),
        ];
        for secret in secrets {
            let secret = EncodingKey::from_secret(&secret);
            for (name, jwa) in [
                ("HS256", Jwa::HS256),
                ("HS384", Jwa::HS384),
                ("HS512", Jwa::HS512),
            ] {
                for (alg, expected) in [
                    (
                        name,
                        Rejection::Algorithm {
                            expected: key.algorithm,
                        },
                    ),
                    (kid, Rejection::Signature),
                ] {
                    let message = format!("{}.{}", b64(header(alg, kid)), b64(claims()));
                    let mac = jsonwebtoken::crypto::sign(message.as_bytes(), &secret, jwa).unwrap();
                    let token = format!("{message}.{mac}");
                    refused(&verify(&key.alone(), &token), expected.clone(), name);
                    refused(&verify(&all, &token), expected, name);
                }
            }
        }
    }
}

#[test]
fn a_symmetric_key_in_a_set_opens_nothing() {
    let secret = [7; 64];
    let keys = set(&[
        RSA.jwk("rsa"),
        json!({ "kty": "oct", "k": b64(secret), "alg": "HS256", "kid": "oct" }),
    ]);
    for kid in ["oct", "rsa"] {
        let message = format!("{}.{}", b64(header("HS256", kid)), b64(claims()));
        let secret = EncodingKey::from_secret(&secret);
        let mac = jsonwebtoken::crypto::sign(message.as_bytes(), &secret, Jwa::HS256).unwrap();
        assert!(verify(&keys, &format!("{message}.{mac}")).is_err(), "{kid}");
    }
}

#[test]
fn a_blank_or_reshaped_elliptic_curve_signature_is_refused() {
    // The orders of P-256 (FIPS 186) and of Ed25519 (RFC 8032, little-endian).
    const N: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    const L: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let number = |hex: &str| -> Vec<u8> {
        (0..32)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect()
    };
    let es256 = header("ES256", "k");
    let genuine = signature_of(&P256.sign(&es256, &claims()));
    let (r, s) = genuine.split_at(32);
    let (zero, n) = ([0; 32], number(N));
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &P256.private).unwrap();
    let message = format!("{}.{}", b64(&es256), b64(claims()));
    let der = pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();

    for signature in [
        vec![0; 64],
        vec![0; 96],
        vec![0xff; 64],
        vec![0x30, 6, 2, 1, 0, 2, 1, 0],
        der.as_ref().to_vec(),
        [r, &zero].concat(),
        [&zero, s].concat(),
        [s, r].concat(),
        [&n[..], &n].concat(),
        [r, &n].concat(),
        [&n, s].concat(),
        genuine[..63].to_vec(),
        genuine[1..].to_vec(),
        [&genuine[..], &[0]].concat(),
        [&[0], &genuine[..]].concat(),
        [&[0; 16], r, &[0; 16], s].concat(),
        Vec::new(),
    ] {
        let token = signed(&es256, &signature);
        refused(
            &verify(&P256.alone(), &token),
            Rejection::Signature,
            &format!("{signature:x?}"),
        );
        let token = signed(&header("ES384", "k"), &signature);
        refused(
            &verify(&P384.alone(), &token),
            Rejection::Signature,
            &format!("{signature:x?}"),
        );
    }

    let eddsa = header("EdDSA", "k");
    let genuine = signature_of(&ED25519.sign(&eddsa, &claims()));
    let (r, s) = genuine.split_at(32);
    let mut carry = 0;
    let s_and_l: Vec<u8> = s
        .iter()
        .zip(number(L))
        .map(|(s, l)| {
            let sum = u16::from(*s) + u16::from(l) + carry;
            carry = sum >> 8;
            (sum & 0xff) as u8
        })
        .collect();
    let mut identity = vec![0; 64];
    identity[0] = 1;
    for signature in [
        vec![0; 64],
        vec![0xff; 64],
        identity,
        [r, &s_and_l].concat(),
        [r, &[0; 32]].concat(),
        genuine[..63].to_vec(),
        [&genuine[..], &[0]].concat(),
        Vec::new(),
    ] {
        let token = signed(&eddsa, &signature);
        refused(
            &verify(&ED25519.alone(), &token),
            Rejection::Signature,
            &format!("{signature:x?}"),
        );
    }
}

#[test]
fn a_key_id_picks_a_key_and_does_nothing_else() {
    let two = set(&[RSA.jwk("rsa"), P256.jwk("p256")]);
    for kid in [
        "",
        "RSA",
        "rsa ",
        "rsa\0",
        "../../../../dev/null",
        "/proc/self/environ",
        "' OR 1=1 --",
        "|id",
        "a\r\nb",
        "\u{1b}[31m",
        "http://127.0.0.1:9/key",
        &"k".repeat(4000),
    ] {
        let rejection = verify(&two, &good(&RSA, kid)).unwrap_err();
        assert_eq!(rejection, Rejection::UnknownKey, "{kid}");
        let told = format!("{rejection} {rejection:?}");
        assert!(
            kid.is_empty() || !told.contains(kid.trim()),
            "{kid}: {told}"
        );
    }
    for kid in ["1", "[]", "{}", "true", "null"] {
        let header = format!(r#"{{"alg":"RS256","kid":{kid}}}"#);
        refused(
            &verify(&two, &RSA.sign(&header, &claims())),
            Rejection::Header,
            kid,
        );
    }
    let twice = r#"{"alg":"RS256","kid":"p256","kid":"rsa"}"#;
    refused(
        &verify(&two, &RSA.sign(twice, &claims())),
        Rejection::Header,
        twice,
    );
    refused(
        &verify(&two, &good(&RSA, "p256")),
        Rejection::Algorithm {
            expected: P256.algorithm,
        },
        "",
    );
}

#[test]
fn a_token_without_a_key_id_is_for_the_only_key() {
    let unnamed = RSA.sign(r#"{"alg":"RS256"}"#, &claims());
    let encryption = P256.with(json!({ "kid": "enc", "use": "enc" }));

    assert!(verify(&set(&[RSA.jwk("rsa")]), &unnamed).is_ok());
    assert!(verify(&set(&[RSA.with(json!({})), encryption]), &unnamed).is_ok());
    let two = set(&[RSA.jwk("rsa"), P256.jwk("p256")]);
    refused(&verify(&two, &unnamed), Rejection::NoKeyId, "two keys");
    let nameless = set(&[RSA.with(json!({}))]);
    refused(
        &verify(&nameless, &good(&RSA, "rsa")),
        Rejection::UnknownKey,
        "a name of nothing",
    );
}

/// Everything that a header can bring along to be verified with, pointing to a port of ours.
fn luring_headers(port: u16) -> Vec<Value> {
    let url = format!("http://127.0.0.1:{port}/jwks");
    let jwk = THEIRS.jwks(Some("theirs"))["keys"][0].clone();
    vec![
        json!({ "alg": "RS256", "jwk": jwk }),
        json!({ "alg": "RS256", "jwk": jwk, "kid": "theirs" }),
        json!({ "alg": "RS256", "jku": url }),
        json!({ "alg": "RS256", "jku": url, "kid": "theirs" }),
        json!({ "alg": "RS256", "x5u": url }),
        json!({ "alg": "RS256", "x5c": ["AAAA"] }),
        json!({ "alg": "RS256", "kid": url }),
    ]
}

#[tokio::test]
async fn a_key_that_a_token_brings_along_is_not_taken_and_not_fetched() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let theirs = AnyKey::rsa(&THEIRS);

    for keys in [RSA.alone(), set(&[RSA.jwk("ours")])] {
        let verifier = Verifier::new(KeySource::Fixed(Arc::new(keys)), policy());
        for header in luring_headers(port) {
            let by_reference =
                header.get("kid").is_some() && header.as_object().unwrap().len() == 2;
            let forged = theirs.sign(&header.to_string(), &claims());
            assert!(verifier.verify(&forged, at(NOW)).await.is_err(), "{header}");
            let genuine = RSA.sign(&header.to_string(), &claims());
            let verdict = verifier.verify(&genuine, at(NOW)).await;
            assert!(by_reference || verdict.is_err(), "{header}");
        }
    }
    let nobody_came = listener.accept().unwrap_err();
    assert_eq!(nobody_came.kind(), ErrorKind::WouldBlock);
}

/// A good token of each kind of key, and who verifies it.
static GOOD: LazyLock<Vec<(String, Keys)>> = LazyLock::new(|| {
    let pinned = one_of_each().map(|key| (good(key, "k"), key.alone()));
    pinned.into_iter().collect()
});

#[test]
fn bits_that_belong_to_no_byte_must_be_zero() {
    for (token, keys) in GOOD.iter() {
        assert!(verify(keys, token).is_ok());
        let ends = token.match_indices('.').map(|(at, _)| at);
        for end in ends.chain([token.len()]) {
            let letters = (b'A'..=b'Z')
                .chain(b'a'..=b'z')
                .chain(b'0'..=b'9')
                .chain(*b"-_=+/.");
            for letter in letters {
                let mut changed = token.clone().into_bytes();
                if changed[end - 1] == letter {
                    continue;
                }
                changed[end - 1] = letter;
                let changed = String::from_utf8(changed).unwrap();
                assert!(verify(keys, &changed).is_err(), "{changed}");
            }
        }
    }
}

/// One change to some bytes: at a place, of a kind.
fn change(bytes: &mut Vec<u8>, place: usize, kind: u8, byte: u8) {
    if bytes.is_empty() {
        return bytes.push(byte);
    }
    let place = place % bytes.len();
    let other = usize::from(byte) % bytes.len();
    match kind {
        0 => bytes[place] ^= 1 << (byte % 7),
        1 => bytes.insert(place, byte),
        2 => {
            bytes.remove(place);
        }
        3 => bytes[place] = byte,
        4 => bytes.swap(place, other),
        _ => bytes.truncate(place.max(1)),
    }
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn a_mutated_token_is_never_accepted(
        key in 0..4_usize,
        changes in proptest::collection::vec((any::<usize>(), 0..6_u8, 0..128_u8), 1..4),
    ) {
        let (token, keys) = &GOOD[key];
        let mut bytes = token.clone().into_bytes();
        for (place, kind, byte) in changes {
            change(&mut bytes, place, kind, byte);
        }
        let changed = String::from_utf8(bytes).unwrap();
        prop_assert_eq!(verify(keys, &changed).is_ok(), &changed == token, "{}", changed);
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn no_text_makes_the_verifier_panic(
        text in "\\PC{0,200}",
        header in "\\PC{0,60}",
        claims in "\\PC{0,60}",
    ) {
        prop_assert!(verify(&P256.alone(), &text).is_err());
        prop_assert!(verify(&P256.alone(), &P256.sign(&header, &claims)).is_err());
    }
}
