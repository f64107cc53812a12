//! Texts that are not the key that was asked for, and what is said about each.

use std::path::PathBuf;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING as P256, ECDSA_P384_SHA384_FIXED_SIGNING as P384, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tempfile::TempDir;

use crate::auth::rsa_public_key::RsaPublicKey;
use crate::auth::vectors::test_keys::{OURS, THEIRS};
use crate::auth::{Error, KeyRefusal, KeySize, SigningKey, VerifyingKey, der as der_reader};

fn pem(tag: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(tag, der))
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u16).to_be_bytes();
    let length = match content.len() {
        0..=0x7f => &length[1..],
        0x80..=0xff => &[0x81, length[1]],
        _ => &[0x82, length[0], length[1]],
    };
    [&[tag], length, content].concat()
}

/// A modulus of so many bits, and an exponent.
fn numbers(bits: usize, exponent: &[u8]) -> Vec<u8> {
    let mut modulus = vec![0xa5; bits.div_ceil(8)];
    modulus[0] = 1 << ((bits - 1) % 8);
    if bits.is_multiple_of(8) {
        modulus.insert(0, 0);
    }
    [der(2, &modulus), der(2, exponent)].concat()
}

fn public(bits: usize, exponent: &[u8]) -> String {
    pem("RSA PUBLIC KEY", &der(0x30, &numbers(bits, exponent)))
}

fn private(bits: usize, exponent: &[u8]) -> String {
    let fields = [der(2, &[0]), numbers(bits, exponent)].concat();
    pem("RSA PRIVATE KEY", &der(0x30, &fields))
}

fn pkcs1_public() -> Vec<u8> {
    let key = OURS.verifying_key().clone().pin(None).unwrap();
    key.decoding().try_get_as_bytes().unwrap().to_vec()
}

fn ec_private(curve: &'static EcdsaSigningAlgorithm) -> Vec<u8> {
    let document = EcdsaKeyPair::generate_pkcs8(curve, &SystemRandom::new());
    document.unwrap().as_ref().to_vec()
}

fn ec_public(curve: &'static EcdsaSigningAlgorithm) -> Vec<u8> {
    let pair = EcdsaKeyPair::from_pkcs8(curve, &ec_private(curve)).unwrap();
    let info: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    info.as_ref().to_vec()
}

fn ed25519_private() -> Vec<u8> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    document.unwrap().as_ref().to_vec()
}

fn ed25519_public() -> Vec<u8> {
    let pair = Ed25519KeyPair::generate().unwrap();
    let info: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    info.as_ref().to_vec()
}

/// `SubjectPublicKeyInfo` of any parts at all.
fn info(oid: &[u8], parameters: &[u8], key: &[u8]) -> Vec<u8> {
    let algorithm = der(0x30, &[&der(6, oid), parameters].concat());
    der(0x30, &[algorithm, der(3, &[&[0], key].concat())].concat())
}

fn write(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    crate::secret::Secret::from(text.to_owned())
        .save(&path, false)
        .unwrap();
    (folder, path)
}

fn why_not_public(text: &str) -> KeyRefusal {
    match VerifyingKey::from_pem(text) {
        Err(Error::Key(refusal)) => refusal,
        other => panic!("{other:?} for {text}"),
    }
}

fn why_not_private(text: &str) -> KeyRefusal {
    let (_folder, path) = write(text);
    match SigningKey::load(&path) {
        Err(Error::KeyFile { source, .. }) => source,
        other => panic!("{other:?} for {text}"),
    }
}

pub(in crate::auth) fn same_as_ours(key: &VerifyingKey) -> bool {
    let bytes = |key: &VerifyingKey| {
        let pinned = key.clone().pin(None).unwrap();
        pinned.decoding().try_get_as_bytes().unwrap().to_vec()
    };
    bytes(key) == bytes(OURS.verifying_key())
}

#[test]
fn a_public_key_is_read_however_it_is_wrapped() {
    let ours = OURS.public_pem();
    for text in [
        ours.to_owned(),
        pem("RSA PUBLIC KEY", &pkcs1_public()),
        ours.replace('\n', "\r\n"),
        ours.trim_end().to_owned(),
        format!("\u{feff}{ours}"),
        format!("the key of the dice server\n{ours}\nand that was all\n"),
    ] {
        assert!(
            same_as_ours(&VerifyingKey::from_pem(&text).unwrap()),
            "{text}"
        );
        let (_folder, path) = write(&text);
        assert!(same_as_ours(&VerifyingKey::load(&path).unwrap()), "{text}");
    }
}

#[test]
fn a_private_key_is_read_however_it_is_wrapped() {
    let ours = OURS.private_pem().expose();
    let pkcs1 = pem("RSA PRIVATE KEY", OURS.encoding().as_bytes());
    for text in [
        ours.to_owned(),
        ours.replace('\n', "\r\n"),
        format!("\u{feff}{ours}and that was all"),
        pkcs1,
    ] {
        let (_folder, path) = write(&text);
        let key = SigningKey::load(&path).unwrap();
        assert_eq!(key.private_pem().expose(), ours);
        assert!(same_as_ours(key.verifying_key()));
    }
}

#[test]
fn text_that_is_neither_key_is_called_what_it_is() {
    let ours = OURS.public_pem();
    let private = OURS.private_pem().expose();
    let theirs = THEIRS.public_pem();
    let cases = [
        (String::new(), KeyRefusal::Empty),
        ("\u{feff} \r\n".to_owned(), KeyRefusal::Empty),
        ("ssh-rsa AAAAB3Nza".to_owned(), KeyRefusal::NotPem),
        ("\0\u{fffd}\u{1}".to_owned(), KeyRefusal::NotPem),
        (format!("{ours}{theirs}"), KeyRefusal::Several),
        (format!("{private}{ours}"), KeyRefusal::Several),
        (ours[..200].to_owned(), KeyRefusal::Damaged),
        (ours.replacen("QEF", "", 1), KeyRefusal::Damaged),
        (ours.replacen('M', "", 1), KeyRefusal::Damaged),
        (ours.replacen('M', "!", 1), KeyRefusal::Damaged),
        (ours.replace("END PUBLIC", "END PRIVATE"), KeyRefusal::Damaged),
        (pem("CERTIFICATE", b"any"), KeyRefusal::Certificate),
        (pem("CERTIFICATE REQUEST", b"any"), KeyRefusal::NotAKey),
        (pem("OPENSSH PRIVATE KEY", b"any"), KeyRefusal::OpenSsh),
        (pem("ENCRYPTED PRIVATE KEY", b"any"), KeyRefusal::Encrypted),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
             -----END RSA PRIVATE KEY-----\n"
                .to_owned(),
            KeyRefusal::Encrypted,
        ),
    ];
    for (text, refusal) in cases {
        assert_eq!(why_not_public(&text), refusal, "{text}");
        assert_eq!(why_not_private(&text), refusal, "{text}");
    }
}

#[test]
fn a_block_with_something_else_in_it_is_damaged_or_the_other_half() {
    for content in [&b"nothing"[..], b"", b"\x30\0"] {
        let (public, private) = (pem("PUBLIC KEY", content), pem("PRIVATE KEY", content));
        assert_eq!(why_not_public(&public), KeyRefusal::Damaged);
        assert_eq!(why_not_public(&private), KeyRefusal::Private);
        assert_eq!(why_not_private(&public), KeyRefusal::Public);
        assert_eq!(why_not_private(&private), KeyRefusal::Damaged);
    }
}

#[test]
fn a_public_key_of_every_kind_is_read() {
    for (der, kind) in [
        (ec_public(&P256), "EC P-256"),
        (ec_public(&P384), "EC P-384"),
        (ed25519_public(), "Ed25519"),
    ] {
        let text = pem("PUBLIC KEY", &der);
        for text in [
            text.replace('\n', "\r\n"),
            format!("\u{feff}{text}and that was all"),
            text,
        ] {
            let key = VerifyingKey::from_pem(&text).unwrap();
            assert_eq!(format!("{key:?}"), format!("VerifyingKey({kind})"));
        }
        assert_eq!(
            why_not_private(&pem("PUBLIC KEY", &der)),
            KeyRefusal::Public
        );
    }
}

#[test]
fn another_kind_of_key_is_called_by_its_name() {
    let ec = "an EC";
    for (text, name) in [
        (pem("PRIVATE KEY", &ec_private(&P256)), ec),
        (pem("PRIVATE KEY", &ec_private(&P384)), ec),
        (
            pem("EC PARAMETERS", b"any") + &pem("EC PRIVATE KEY", b"any"),
            ec,
        ),
        (pem("PRIVATE KEY", &ed25519_private()), "an Ed25519"),
    ] {
        assert_eq!(why_not_public(&text), KeyRefusal::Private, "{text}");
        assert_eq!(why_not_private(&text), KeyRefusal::NotRsa(name), "{text}");
    }

    let ec_curve = [0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    for (oid, parameters, name) in [
        (
            &ec_curve[..],
            &[6, 5, 0x2b, 0x81, 4, 0, 0x23][..],
            "an EC P-521",
        ),
        (&ec_curve, &[6, 5, 0x2b, 0x81, 4, 0, 10], "an EC"),
        (&ec_curve, &[5, 0], "an EC"),
        (&[0x2b, 0x65, 0x71], &[], "an Ed448"),
        (&[0x2b, 0x65, 0x6e], &[], "another kind of"),
        (
            &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10],
            &[],
            "an RSA-PSS-only",
        ),
    ] {
        let text = pem("PUBLIC KEY", &info(oid, parameters, &[4; 133]));
        assert_eq!(
            why_not_public(&text),
            KeyRefusal::Unsupported(name),
            "{text}"
        );
    }
}

#[test]
fn a_point_that_is_not_on_its_curve_is_refused() {
    let (p256, p384) = (ec_public(&P256), ec_public(&P384));
    let flipped = |der: &[u8]| {
        let mut der = der.to_vec();
        *der.last_mut().unwrap() ^= 1;
        der
    };
    let curve = |der: &[u8], point: &[u8]| {
        let parsed = der_reader::subject_public_key_info(der).unwrap();
        info(parsed.kind, parsed.parameters, point)
    };
    for der in [
        flipped(&p256),
        flipped(&p384),
        // The point at infinity, nothing, and what aws-lc would take for a key with a label.
        curve(&p256, &[0]),
        curve(&p256, &[]),
        curve(&p256, &p256),
        curve(&p256, &[4; 65]),
        // The point of one curve under the name of another.
        curve(
            &p256,
            der_reader::subject_public_key_info(&p384).unwrap().key,
        ),
        curve(
            &p384,
            der_reader::subject_public_key_info(&p256).unwrap().key,
        ),
        info(&[0x2b, 0x65, 0x70], &[], &[7; 31]),
        info(&[0x2b, 0x65, 0x70], &[], &[7; 33]),
        info(&[0x2b, 0x65, 0x70], &[], &ed25519_public()),
    ] {
        assert_eq!(
            why_not_public(&pem("PUBLIC KEY", &der)),
            KeyRefusal::Inconsistent,
            "{der:x?}"
        );
    }
}

#[test]
fn the_other_half_of_a_pair_is_refused() {
    assert_eq!(
        why_not_public(OURS.private_pem().expose()),
        KeyRefusal::Private
    );
    assert_eq!(why_not_private(OURS.public_pem()), KeyRefusal::Public);

    let (_folder, path) = write(OURS.private_pem().expose());
    let error = VerifyingKey::load(&path).unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(
        source.to_string(),
        "it is a private key where a public key is needed"
    );
}

#[test]
fn a_weak_or_outsized_key_is_refused_with_its_size() {
    let e = [1, 0, 1];
    for bits in [512, 1024, 2047] {
        assert_eq!(
            why_not_public(&public(bits, &e)),
            KeyRefusal::TooSmall { bits }
        );
        assert_eq!(
            why_not_private(&private(bits, &e)),
            KeyRefusal::TooSmall { bits }
        );
    }
    for bits in [8193, 16384] {
        assert_eq!(
            why_not_public(&public(bits, &e)),
            KeyRefusal::TooLarge { bits }
        );
        assert_eq!(
            why_not_private(&private(bits, &e)),
            KeyRefusal::TooLarge { bits }
        );
    }
    for bits in [2048, 4096, 8192] {
        assert!(VerifyingKey::from_pem(&public(bits, &e)).is_ok(), "{bits}");
        assert_eq!(
            why_not_private(&private(bits, &e)),
            KeyRefusal::Inconsistent
        );
    }
}

#[test]
fn an_unsafe_exponent_is_refused() {
    for exponent in [
        &[0][..],
        &[1],
        &[3],
        &[0xff, 0xff],
        &[0, 0xff, 0xff],
        &[1, 0, 0],
    ] {
        assert_eq!(
            why_not_public(&public(2048, exponent)),
            KeyRefusal::Exponent,
            "{exponent:x?}"
        );
        assert_eq!(
            why_not_private(&private(2048, exponent)),
            KeyRefusal::Exponent
        );
    }
    assert_eq!(
        why_not_public(&public(2048, &[1; 9])),
        KeyRefusal::Inconsistent
    );
}

#[test]
fn debug_shows_no_key_material() {
    assert_eq!(format!("{:?}", *OURS), "SigningKey { bits: 2048, .. }");
    assert_eq!(format!("{:?}", OURS.verifying_key()), "VerifyingKey(RSA)");
}

#[test]
fn a_key_set_names_its_key_by_thumbprint_unless_told_otherwise() {
    // The key and the thumbprint of RFC 7638 section 3.1.
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let modulus = [&[0], &URL_SAFE_NO_PAD.decode(n).unwrap()[..]].concat();
    let fields = [der(2, &modulus), der(2, &[1, 0, 1])].concat();
    let key = RsaPublicKey::from_der(&der(0x30, &fields)).unwrap();

    let named = key.jwk(Some("dev"));
    let unnamed = key.jwk(None);

    assert_eq!(
        named,
        serde_json::json!({
            "kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "use": "sig", "kid": "dev"
        })
    );
    assert_eq!(
        unnamed["kid"],
        Value::from("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")
    );
}

#[test]
fn a_key_is_as_large_as_was_asked_for() {
    let key = SigningKey::generate("3072".parse().unwrap()).unwrap();

    assert_eq!(format!("{key:?}"), "SigningKey { bits: 3072, .. }");
    assert!("1024".parse::<KeySize>().is_err());
}
