//! Key sets with keys that must be left out, and those that must be refused as a whole.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::auth::vectors::test_keys::{AnyKey, ED25519, P256, P384, RSA, THEIRS, b64, one_of_each};
use crate::auth::{Algorithm, KeySetRefusal, Keys, jwk};

fn read(keys: &[Value]) -> Result<Keys, KeySetRefusal> {
    read_text(&json!({ "keys": keys }).to_string())
}

fn read_text(text: &str) -> Result<Keys, KeySetRefusal> {
    jwk::read_set(text.as_bytes(), Algorithm::RS256)
}

/// The algorithm of the key under this name, if it can be used.
fn algorithm(keys: &Keys, kid: &str) -> Option<Algorithm> {
    keys.pick(Some(kid)).ok().map(|key| key.algorithm())
}

/// What becomes of one key beside a good one.
#[track_caller]
fn is_left_out(jwk: &Value) {
    let keys = read(&[jwk.clone(), P256.jwk("good")]).unwrap();
    let Keys::Set(set) = &keys else {
        panic!("a set");
    };
    assert_eq!(set.len(), 1, "{jwk}");
    assert_eq!(algorithm(&keys, "good"), Some(Algorithm::ES256), "{jwk}");
    let refusal = read(std::slice::from_ref(jwk)).unwrap_err();
    assert!(
        matches!(refusal, KeySetRefusal::NothingUsable { count: 1, .. }),
        "{refusal}"
    );
}

#[test]
fn a_set_without_a_usable_key_is_told_with_the_kinds_of_its_keys() {
    let told = |keys: &[Value]| read(keys).unwrap_err().to_string();
    let keys = [
        json!({"kty": "oct", "k": "AAAA", "alg": "HS256"}),
        json!({"kty": "EC", "crv": "P-521\u{1b}[2J", "x": "", "y": ""}),
    ];
    let text = told(&keys);
    assert!(
        text.contains("of its 2 keys none can verify a token (EC P-521[2J, oct HS256): "),
        "{text}"
    );
    assert!(told(&[]).contains("(it is empty)"));
    let many: Vec<Value> = (0..9)
        .map(|kind| json!({"kty": format!("{kind}{}", "x".repeat(99))}))
        .collect();
    let text = told(&many);
    assert!(text.contains(", ...)") && text.len() < 300, "{text}");
}

#[test]
fn each_key_has_its_own_algorithm() {
    let keys = read(&[
        RSA.jwk("rsa"),
        RSA.with(json!({ "kid": "pss", "alg": "PS384" })),
        P256.jwk("p256"),
        P384.with(json!({ "kid": "p384", "alg": "ES384", "use": "sig" })),
        ED25519.with(json!({ "kid": "ed", "alg": "EdDSA", "key_ops": ["verify"] })),
        RSA.with(json!({ "kid": "ops", "key_ops": ["encrypt", "verify"], "x5c": ["AAAA"] })),
    ])
    .unwrap();

    for (kid, expected) in [
        ("rsa", Some(Algorithm::RS256)),
        ("pss", Some(Algorithm::PS384)),
        ("p256", Some(Algorithm::ES256)),
        ("p384", Some(Algorithm::ES384)),
        ("ed", Some(Algorithm::EdDSA)),
        ("ops", Some(Algorithm::RS256)),
        ("RSA", None),
        ("", None),
    ] {
        assert_eq!(algorithm(&keys, kid), expected, "{kid}");
    }
    assert!(keys.pick(None).is_err());

    let text = json!({ "keys": [RSA.jwk("rsa"), P256.jwk("p256")] }).to_string();
    let keys = jwk::read_set(text.as_bytes(), Algorithm::PS512).unwrap();
    assert_eq!(algorithm(&keys, "rsa"), Some(Algorithm::PS512));
    assert_eq!(algorithm(&keys, "p256"), Some(Algorithm::ES256));
}

#[test]
fn a_key_for_something_else_is_left_out() {
    for key in one_of_each() {
        for others in [
            json!({ "use": "enc" }),
            json!({ "use": "SIG" }),
            json!({ "use": null }),
            json!({ "use": ["sig"] }),
            json!({ "key_ops": [] }),
            json!({ "key_ops": ["sign"] }),
            json!({ "key_ops": "verify" }),
            json!({ "key_ops": null }),
            json!({ "alg": "HS256" }),
            json!({ "alg": "none" }),
            json!({ "alg": "RSA-OAEP" }),
            json!({ "alg": "ES512" }),
            json!({ "alg": "" }),
            json!({ "alg": null }),
            json!({ "alg": ["RS256"] }),
            json!({ "kid": 1 }),
            json!({ "kid": null }),
            json!({ "kty": "oct" }),
            json!({ "kty": "oct", "k": "AAAA" }),
            json!({ "kty": "rsa" }),
            json!({ "kty": null }),
        ] {
            is_left_out(&key.with(others));
        }
    }
    is_left_out(&json!({}));
    is_left_out(&json!({ "kty": "oct", "k": b64([7; 64]), "alg": "HS256", "kid": "x" }));
}

#[test]
fn a_key_under_the_algorithm_of_another_kind_is_left_out() {
    for key in one_of_each() {
        for algorithm in Algorithm::ALL {
            if algorithm.family() != key.algorithm.family() {
                is_left_out(&key.with(json!({ "alg": algorithm.as_str() })));
            }
        }
    }
    is_left_out(&P256.with(json!({ "crv": "P-384" })));
    is_left_out(&P384.with(json!({ "crv": "P-256" })));
    is_left_out(&P256.with(json!({ "crv": "P-521" })));
    is_left_out(&P256.with(json!({ "crv": "secp256k1" })));
    is_left_out(&P256.with(json!({ "crv": "Ed25519" })));
    is_left_out(&ED25519.with(json!({ "crv": "X25519" })));
    is_left_out(&ED25519.with(json!({ "crv": "Ed448" })));
    is_left_out(&ED25519.with(json!({ "kty": "EC" })));
}

#[test]
fn a_weak_or_damaged_key_is_left_out() {
    let modulus = |bytes: usize| b64(vec![0xa5; bytes]);
    for others in [
        json!({ "n": modulus(64) }),
        json!({ "n": modulus(128) }),
        json!({ "n": modulus(255) }),
        json!({ "n": b64([&[0], &[0xa5; 255][..]].concat()) }),
        json!({ "n": modulus(1025) }),
        json!({ "n": "" }),
        json!({ "n": b64([0; 256]) }),
        json!({ "n": 5 }),
        json!({ "n": null }),
        json!({ "n": format!("{}=", modulus(256)) }),
        json!({ "n": "+/+/" }),
        json!({ "e": "AQ" }),
        json!({ "e": "Aw" }),
        json!({ "e": "AQAA" }),
        json!({ "e": "" }),
    ] {
        is_left_out(&RSA.with(others));
    }
    for key in [&P256, &P384, &ED25519] {
        let x = key.jwk["x"].as_str().unwrap();
        for x in [
            json!(""),
            json!(null),
            json!(x[4..]),
            json!(format!("AAAA{x}")),
            json!(format!("{x}=")),
        ] {
            is_left_out(&key.with(json!({ "x": x })));
        }
    }
    let size = |key: &AnyKey| key.jwk["x"].as_str().unwrap().len() * 3 / 4;
    // The same point, cut elsewhere into two.
    let decoded = |name: &str| {
        URL_SAFE_NO_PAD
            .decode(P256.jwk[name].as_str().unwrap())
            .unwrap()
    };
    let (x, y) = (decoded("x"), decoded("y"));
    let shifted = [&x[31..], &y].concat();
    is_left_out(&P256.with(json!({ "x": b64(&x[..31]), "y": b64(shifted) })));
    for key in [&P256, &P384] {
        is_left_out(
            &key.with(json!({ "x": b64(vec![0; size(key)]), "y": b64(vec![0; size(key)]) })),
        );
        is_left_out(&key.with(json!({ "x": key.jwk["y"], "y": key.jwk["x"] })));
    }
    is_left_out(&json!({ "kty": "RSA", "n": THEIRS.jwks(None)["keys"][0]["n"] }));
}

#[test]
fn a_leading_zero_does_not_make_a_modulus_larger_or_unusable() {
    let n = RSA.jwk["n"].as_str().unwrap();
    let padded = [&[0], &URL_SAFE_NO_PAD.decode(n).unwrap()[..]].concat();

    assert!(read(&[RSA.with(json!({ "n": b64(padded) }))]).is_ok());
}

#[test]
fn a_private_key_spoils_the_set_whatever_it_is_for() {
    for private in [
        RSA.with(json!({ "d": "AAAA" })),
        P256.with(json!({ "d": "AAAA", "use": "enc" })),
        ED25519.with(json!({ "d": null })),
        json!({ "kty": "XYZ", "d": 1 }),
    ] {
        assert_eq!(
            read(&[P256.jwk("good"), private.clone()]).unwrap_err(),
            KeySetRefusal::Private,
            "{private}"
        );
    }
}

#[test]
fn two_keys_of_one_name_are_refused_unless_one_is_of_no_use() {
    for second in [RSA.jwk("a"), P256.jwk("a"), P384.jwk("a")] {
        assert_eq!(
            read(&[P256.jwk("a"), second]).unwrap_err(),
            KeySetRefusal::SameName
        );
    }
    let keys = read(&[
        RSA.with(json!({ "kid": "a", "use": "enc" })),
        P256.jwk("a"),
        P384.with(json!({})),
        ED25519.with(json!({})),
    ]);
    assert_eq!(algorithm(&keys.unwrap(), "a"), Some(Algorithm::ES256));
}

#[test]
fn text_that_is_no_key_set_is_refused() {
    for text in [
        "",
        "null",
        "[]",
        "{}",
        r#"[[{"kty":"RSA"}]]"#,
        r#"{"keys":null}"#,
        r#"{"keys":{}}"#,
        r#"{"keys":[1]}"#,
        r#"{"keys":[null]}"#,
        r#"{"keys":[],"keys":[]}"#,
        r#"{"keys":[]}x"#,
        "\u{feff}{\"keys\":[]}",
        "<!doctype html><title>Sign in</title>",
        "-----BEGIN PUBLIC KEY-----",
        &format!("{}{}", r#"{"keys":"#, "[".repeat(10_000)),
        &RSA.jwk("a").to_string(),
    ] {
        assert_eq!(
            read_text(text).unwrap_err(),
            KeySetRefusal::NotAKeySet,
            "{text}"
        );
    }
    assert_eq!(
        read_text(r#"{"keys":[]}"#).unwrap_err().to_string(),
        "of its 0 keys none can verify a token (it is empty): RSA of at least 2048 bits, EC P-256, EC P-384 \
         and Ed25519 keys for signatures can"
    );
}

#[test]
fn the_set_of_rfc_7517_is_read() {
    // Appendix A.1: an EC key for encryption, and an RSA key.
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let keys = read(&[
        json!({
            "kty": "EC", "crv": "P-256", "use": "enc", "kid": "1",
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        }),
        json!({ "kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29" }),
    ])
    .unwrap();

    assert_eq!(algorithm(&keys, "2011-04-29"), Some(Algorithm::RS256));
    assert_eq!(algorithm(&keys, "1"), None);
    assert!(keys.pick(None).is_ok());
}
