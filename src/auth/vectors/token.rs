//! Tokens with a header, a signature or a wrapping that a verifier must refuse, and the few that it must take.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm as Jwa, EncodingKey};

use crate::auth::vectors::test_keys::{ED25519, OURS, THEIRS};
use crate::auth::{Algorithm, Caller, Keys, Policy, Rejection, SigningKey, Verified};

pub(in crate::auth) const NOW: u64 = 1_790_000_000;
pub(in crate::auth) const RS256: &str = r#"{"alg":"RS256","typ":"JWT"}"#;

pub(in crate::auth) fn policy() -> Policy {
    Policy {
        issuers: vec!["https://issuer.example".to_owned()],
        audiences: vec!["dice_server".to_owned()],
        required_scopes: vec!["dice:roll".to_owned()],
        leeway: Duration::ZERO,
    }
}

/// Our RSA key with one of its algorithms.
pub(in crate::auth) fn keys(algorithm: Algorithm) -> Keys {
    let key = OURS.verifying_key().clone();
    Keys::One(key.pin(Some(algorithm)).unwrap())
}

pub(in crate::auth) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

pub(in crate::auth) fn verify(token: &str) -> Result<Verified, Rejection> {
    verify_under(&policy(), token)
}

pub(in crate::auth) fn verify_under(policy: &Policy, token: &str) -> Result<Verified, Rejection> {
    policy.verify(&keys(Algorithm::RS256), token, at(NOW))
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Signs any bytes at all, as if they were a header and claims.
fn sign(header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>, key: &EncodingKey, jwa: Jwa) -> String {
    let message = format!("{}.{}", b64(header), b64(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, jwa).unwrap();
    format!("{message}.{signature}")
}

pub(in crate::auth) fn ours(header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
    sign(header, claims, OURS.encoding(), Jwa::RS256)
}

fn theirs(header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
    sign(header, claims, THEIRS.encoding(), Jwa::RS256)
}

/// Good claims, with the JSON of one replaced, or with it left out.
pub(in crate::auth) fn claims_with(name: &str, json: Option<&str>) -> String {
    let exp = (NOW + 3600).to_string();
    let good = [
        ("sub", r#""fastmcp-user""#),
        ("iss", r#""https://issuer.example""#),
        ("aud", r#""dice_server""#),
        ("scope", r#""dice:roll""#),
        ("exp", &exp),
    ];
    let mut members: Vec<String> = good
        .into_iter()
        .filter(|(kept, _)| *kept != name)
        .map(|(name, json)| format!(r#""{name}":{json}"#))
        .collect();
    members.extend(json.map(|json| format!(r#""{name}":{json}"#)));
    format!("{{{}}}", members.join(","))
}

pub(in crate::auth) fn claims() -> String {
    claims_with("", None)
}

fn with_header(header: &str) -> Result<Verified, Rejection> {
    verify(&ours(header, claims()))
}

#[track_caller]
pub(in crate::auth) fn refused(
    verdict: &Result<Verified, Rejection>,
    expected: Rejection,
    case: &str,
) {
    assert_eq!(*verdict, Err(expected), "{case}");
}

fn other_algorithm() -> Rejection {
    Rejection::Algorithm {
        expected: Algorithm::RS256,
    }
}

#[test]
fn an_ed25519_key_has_the_names_of_two_rfcs_and_no_other() {
    let keys = ED25519.alone();
    let verdict = |header: &str, claims: &str| {
        policy()
            .verify(&keys, &ED25519.sign(header, claims), at(NOW))
            .map(|_| ())
    };
    for header in [
        r#"{"alg":"EdDSA"}"#,
        r#"{"alg":"Ed25519"}"#,
        r#"{"typ":"JWT","alg":"Ed25519"}"#,
    ] {
        assert_eq!(verdict(header, &claims()), Ok(()), "{header}");
    }
    let expected = Algorithm::EdDSA;
    for header in [
        r#"{"alg":"Ed448"}"#,
        r#"{"alg":"ed25519"}"#,
        r#"{"alg":["Ed25519"]}"#,
    ] {
        assert_eq!(
            verdict(header, &claims()),
            Err(Rejection::Algorithm { expected }),
            "{header}"
        );
    }
    // Another parameter is read as strictly as under the other name.
    for header in [
        r#"{"alg":"Ed25519","alg":"Ed25519"}"#,
        r#"{"alg":"Ed25519","nonce":7}"#,
        r#"{"nonce":"Ed25519","alg":"Ed25519"}"#,
    ] {
        assert_eq!(
            verdict(header, &claims()),
            Err(Rejection::Header),
            "{header}"
        );
    }
    for claims in ["[]", "{}x", r#"{"exp":1,"exp":2}"#] {
        assert_eq!(
            verdict(r#"{"alg":"Ed25519"}"#, claims),
            Err(Rejection::Claims),
            "{claims}"
        );
    }
    let good = ED25519.sign(r#"{"alg":"Ed25519"}"#, &claims());
    let (message, _) = good.rsplit_once('.').unwrap();
    let other = ED25519.sign(r#"{"alg":"EdDSA"}"#, &claims());
    let (_, other) = other.rsplit_once('.').unwrap();
    for (signature, rejection) in [
        (other, Rejection::Signature),
        ("", Rejection::Signature),
        ("AA", Rejection::Signature),
        ("!", Rejection::Malformed),
    ] {
        let token = format!("{message}.{signature}");
        let verdict = policy().verify(&keys, &token, at(NOW));
        assert_eq!(verdict, Err(rejection), "{signature}");
    }
    // The name says nothing to a key of another kind.
    refused(
        &with_header(r#"{"alg":"Ed25519"}"#),
        other_algorithm(),
        "an RSA key",
    );
}

#[test]
fn a_good_token_is_taken() {
    let token = ours(RS256, claims());
    let verified = verify(&token).unwrap();

    assert_eq!(
        verified,
        Verified {
            subject: Some("fastmcp-user".to_owned()),
            issuer: Some("https://issuer.example".to_owned()),
            scopes: vec!["dice:roll".to_owned()],
            expires_at: at(NOW + 3600),
            caller: Caller::new(Some("https://issuer.example"), Some("fastmcp-user"), &token),
        }
    );
}

#[test]
fn any_other_algorithm_name_is_refused() {
    for alg in [
        r#""none""#,
        r#""None""#,
        r#""NONE""#,
        r#""nOnE""#,
        r#""""#,
        r#""rs256""#,
        r#""RS256 ""#,
        r#""RS256\u0000""#,
        r#""RS-256""#,
        r#""RSA-OAEP""#,
        r#""dir""#,
        r#""HS256,RS256""#,
        "null",
        "256",
        r#"["RS256"]"#,
        "{}",
        "true",
        r#""RS384""#,
        r#""PS256""#,
        r#""ES256""#,
        r#""EdDSA""#,
    ] {
        let header = format!(r#"{{"alg":{alg},"typ":"JWT"}}"#);
        let genuine = ours(&header, claims());
        let (message, _) = genuine.rsplit_once('.').unwrap();

        refused(&verify(&genuine), other_algorithm(), alg);
        refused(&verify(&format!("{message}.")), other_algorithm(), alg);
    }
    refused(
        &with_header(r#"{"typ":"JWT"}"#),
        other_algorithm(),
        "no alg",
    );
}

#[test]
fn a_mac_keyed_with_the_public_key_is_refused() {
    let pem = OURS.public_pem();
    let info = pem::parse(pem).unwrap().into_contents();
    let pkcs1_key = OURS.verifying_key().clone().pin(None).unwrap();
    let pkcs1 = pkcs1_key.decoding().try_get_as_bytes().unwrap();
    let pkcs1_pem = pem::encode(&pem::Pem::new("RSA PUBLIC KEY", pkcs1));
    let body = STANDARD.encode(&info);
    let secrets: [&[u8]; 9] = [
        pem.as_bytes(),
        pem.trim().as_bytes(),
        &pem.replace('\n', "\r\n").into_bytes(),
        &info,
        pkcs1,
        pkcs1_pem.as_bytes(),
        &modulus(&OURS),
        b"",
        body.as_bytes(),
    ];
    for secret in secrets {
        let key = EncodingKey::from_secret(secret);
        for (name, jwa) in [("HS256", Jwa::HS256), ("HS512", Jwa::HS512)] {
            let header = format!(r#"{{"alg":"{name}","typ":"JWT"}}"#);
            refused(
                &verify(&sign(header, claims(), &key, jwa)),
                other_algorithm(),
                name,
            );
        }
        refused(
            &verify(&sign(RS256, claims(), &key, Jwa::HS256)),
            Rejection::Signature,
            "RS256 in name only",
        );
    }
}

#[test]
fn the_right_key_with_another_algorithm_is_refused() {
    for (name, jwa) in [
        ("RS384", Jwa::RS384),
        ("RS512", Jwa::RS512),
        ("PS256", Jwa::PS256),
        ("PS384", Jwa::PS384),
        ("PS512", Jwa::PS512),
    ] {
        let honest = sign(
            format!(r#"{{"alg":"{name}"}}"#),
            claims(),
            OURS.encoding(),
            jwa,
        );
        let mislabelled = sign(RS256, claims(), OURS.encoding(), jwa);

        refused(&verify(&honest), other_algorithm(), name);
        refused(&verify(&mislabelled), Rejection::Signature, name);

        let expecting = keys(name.parse().unwrap());
        let verify = |token: &str| policy().verify(&expecting, token, at(NOW));
        assert!(verify(&honest).is_ok(), "{name}");
        let pkcs1_in_disguise = ours(format!(r#"{{"alg":"{name}"}}"#), claims());
        refused(&verify(&pkcs1_in_disguise), Rejection::Signature, name);
    }
}

#[test]
fn a_blank_elliptic_curve_signature_is_refused() {
    for (alg, signature) in [
        ("ES256", b64([0; 64])),
        ("ES256", b64([0x30, 6, 2, 1, 0, 2, 1, 0])),
        ("EdDSA", b64([0; 64])),
    ] {
        let header = b64(format!(r#"{{"alg":"{alg}"}}"#));
        let token = format!("{header}.{}.{signature}", b64(claims()));
        refused(&verify(&token), other_algorithm(), alg);
    }
}

#[test]
fn a_header_that_says_something_twice_is_refused() {
    for header in [
        r#"{"alg":"none","alg":"RS256"}"#,
        r#"{"alg":"RS256","alg":"none"}"#,
        r#"{"alg":"RS256","\u0061lg":"RS256"}"#,
        r#"{"alg":"RS256","typ":"JWT","typ":"JWT"}"#,
    ] {
        refused(&with_header(header), Rejection::Header, header);
    }
    assert!(with_header(r#"{"\u0061lg":"RS256"}"#).is_ok());
}

#[test]
fn a_key_id_is_not_looked_at() {
    for kid in [
        "../../../../dev/null",
        "/proc/self/environ",
        "' OR 1=1 --",
        "|id",
        r"a\r\nb",
        r"\u001b[31m",
        r"\u0000",
        "http://127.0.0.1:9/key",
    ] {
        let header = format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#);
        assert!(with_header(&header).is_ok(), "{kid}");
        refused(
            &verify(&theirs(&header, claims())),
            Rejection::Signature,
            kid,
        );
    }
    for kid in ["1", "[]", "{}", "true", "null"] {
        let header = format!(r#"{{"alg":"RS256","kid":{kid}}}"#);
        refused(&with_header(&header), Rejection::Header, kid);
    }
    let long = format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(65536));
    refused(&with_header(&long), Rejection::TooLong, "64 KiB of kid");
}

#[test]
fn a_header_parameter_that_changes_the_rules_is_refused() {
    let jwk = THEIRS.jwks(None)["keys"][0].to_string();
    for (name, value) in [
        ("crit", r#"["exp"]"#),
        ("crit", r#"["x-unknown"]"#),
        ("crit", r#"["b64"],"b64":false"#),
        ("crit", "[]"),
        ("crit", r#"["alg"]"#),
        ("crit", r#"["x","x"]"#),
        ("crit", r#""x""#),
        ("crit", "[1]"),
        ("crit", "null"),
        ("b64", "false"),
        ("b64", "true"),
        ("zip", r#""DEF""#),
        ("enc", r#""A128GCM""#),
        ("jwk", &jwk),
        ("jku", r#""http://127.0.0.1:9/jwks""#),
        ("x5u", r#""http://127.0.0.1:9/x5u""#),
        ("x5c", r#"["AAAA"]"#),
        ("cty", r#""JWT""#),
    ] {
        let header = format!(r#"{{"alg":"RS256","typ":"JWT","{name}":{value}}}"#);
        for token in [ours(&header, claims()), theirs(&header, claims())] {
            refused(&verify(&token), Rejection::HeaderParameter(name), &header);
        }
    }
}

#[test]
fn a_token_of_another_type_is_refused() {
    for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"] {
        assert!(
            with_header(&format!(r#"{{"alg":"RS256","typ":"{typ}"}}"#)).is_ok(),
            "{typ}"
        );
    }
    assert!(with_header(r#"{"alg":"RS256"}"#).is_ok());

    for typ in [
        r#""dpop+jwt""#,
        r#""logout+jwt""#,
        r#""JWE""#,
        r#""id_token+jwt""#,
        r#""""#,
        r#""JWT ""#,
        "null",
        "1",
        r#"["JWT"]"#,
    ] {
        refused(
            &with_header(&format!(r#"{{"alg":"RS256","typ":{typ}}}"#)),
            Rejection::Type,
            typ,
        );
    }
}

#[test]
fn any_change_to_a_signature_is_refused() {
    let token = ours(RS256, claims());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let modulus = modulus(&OURS);

    let mut flipped = signature.clone();
    flipped[100] ^= 1;
    let mut less_one = modulus.clone();
    less_one[255] -= 1;
    let mut one = vec![0; 256];
    one[255] = 1;
    let sum = add(&signature, &modulus);
    let other = ours(RS256, claims_with("sub", Some(r#""other""#)));
    let (_, other) = other.rsplit_once('.').unwrap();
    let payload_only =
        jsonwebtoken::crypto::sign(b64(claims()).as_bytes(), OURS.encoding(), Jwa::RS256).unwrap();
    for changed in [
        flipped,
        signature[..255].to_vec(),
        signature[1..].to_vec(),
        [&signature[..], &[0]].concat(),
        [&[0], &signature[..]].concat(),
        Vec::new(),
        vec![0; 256],
        vec![0xff; 256],
        one,
        modulus,
        less_one,
        sum[1..].to_vec(),
        sum,
        URL_SAFE_NO_PAD.decode(other).unwrap(),
        URL_SAFE_NO_PAD.decode(payload_only).unwrap(),
    ] {
        refused(
            &verify(&format!("{message}.{}", b64(&changed))),
            Rejection::Signature,
            &format!("{changed:x?}"),
        );
    }

    let swapped_header = token.replace(&b64(RS256), &b64(r#"{"alg":"RS256"}"#));
    let swapped_claims = token.replace(&b64(claims()), &b64(claims_with("sub", Some(r#""root""#))));
    for changed in [swapped_header, swapped_claims, theirs(RS256, claims())] {
        refused(&verify(&changed), Rejection::Signature, "swapped");
    }
    refused(
        &verify(&format!("{message}.{}", b64(vec![7; 1 << 20]))),
        Rejection::TooLong,
        "1 MiB",
    );
}

fn modulus(key: &SigningKey) -> Vec<u8> {
    let jwks = key.jwks(None);
    URL_SAFE_NO_PAD
        .decode(jwks["keys"][0]["n"].as_str().unwrap())
        .unwrap()
}

/// The sum of two big-endian numbers of the same length, one byte longer.
fn add(left: &[u8], right: &[u8]) -> Vec<u8> {
    let mut sum = vec![0; left.len() + 1];
    let mut carry = 0;
    for index in (0..left.len()).rev() {
        let digit = u16::from(left[index]) + u16::from(right[index]) + carry;
        sum[index + 1] = (digit & 0xff) as u8;
        carry = digit >> 8;
    }
    sum[0] = carry as u8;
    sum
}
