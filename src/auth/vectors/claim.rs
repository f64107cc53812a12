//! Genuine tokens with claims that a verifier must refuse, and the few that it must take.

use std::time::Duration;

use crate::auth::token::LONGEST_LIFETIME;
use crate::auth::vectors::token::{
    NOW, RS256, at, claims_with, keys, ours, policy, refused, verify, verify_under,
};
use crate::auth::{Algorithm, Policy, Rejection, Verified};

/// The verdict on a genuine token with one claim replaced.
fn with(name: &str, json: &str) -> Result<Verified, Rejection> {
    verify(&ours(RS256, claims_with(name, Some(json))))
}

fn without(name: &str) -> Result<Verified, Rejection> {
    verify(&ours(RS256, claims_with(name, None)))
}

#[test]
fn a_token_lives_until_its_expiry_and_not_a_second_longer() {
    assert!(with("exp", &format!("{}", NOW + 1)).is_ok());
    assert!(with("exp", &format!("{NOW}.5")).is_ok());
    assert_eq!(
        with("exp", &NOW.to_string()),
        Err(Rejection::Expired {
            ago: Duration::ZERO
        })
    );
    assert_eq!(
        with("exp", &(NOW - 30).to_string()),
        Err(Rejection::Expired {
            ago: Duration::from_secs(30)
        })
    );

    let keys = keys(Algorithm::RS256);
    let lenient = Policy {
        leeway: Duration::from_secs(30),
        ..policy()
    };
    let at_the_edge = ours(RS256, claims_with("exp", Some(&(NOW - 30).to_string())));
    assert!(lenient.verify(&keys, &at_the_edge, at(NOW)).is_err());
    assert!(lenient.verify(&keys, &at_the_edge, at(NOW - 1)).is_ok());
    let endless = Policy {
        leeway: Duration::MAX,
        ..policy()
    };
    assert!(verify_under(&endless, &ours(RS256, claims_with("exp", Some("-5")))).is_ok());
}

#[test]
fn an_expiry_that_is_no_time_of_today_is_refused() {
    for exp in [
        "0",
        "-0",
        "-1",
        "-3600",
        "-31536000",
        "-1e300",
        "1.5",
        "1e9",
    ] {
        let verdict = with("exp", exp);
        assert!(
            matches!(verdict, Err(Rejection::Expired { .. })),
            "{exp}: {verdict:?}"
        );
    }
    for exp in [
        "\"2100\"",
        "\"never\"",
        "null",
        "true",
        "[]",
        "{}",
        "\"\"",
        "{\"a\":1}",
    ] {
        let verdict = with("exp", exp);
        assert!(
            matches!(
                verdict,
                Err(Rejection::ClaimType("exp") | Rejection::Claims)
            ),
            "{exp}: {verdict:?}"
        );
    }
    let milliseconds = (NOW * 1000).to_string();
    for exp in [
        &milliseconds,
        "9223372036854775808",
        "18446744073709551616",
        "1e300",
    ] {
        refused(&with("exp", exp), Rejection::ExpiresTooLate, exp);
    }
    let longest = NOW + LONGEST_LIFETIME.as_secs();
    assert!(with("exp", &longest.to_string()).is_ok());
    let longer = (longest + 1).to_string();
    refused(&with("exp", &longer), Rejection::ExpiresTooLate, &longer);
    refused(&without("exp"), Rejection::ClaimMissing("exp"), "no exp");
}

#[test]
fn a_token_is_not_taken_before_its_time() {
    for nbf in [NOW - 3600, NOW] {
        assert!(with("nbf", &nbf.to_string()).is_ok());
    }
    assert_eq!(
        with("nbf", &(NOW + 3600).to_string()),
        Err(Rejection::NotYetValid {
            ahead: Duration::from_secs(3600)
        })
    );
    for claim in ["nbf", "iat"] {
        for value in ["\"1\"", "true", "null", "[]", "{}"] {
            let verdict = with(claim, value);
            assert!(
                matches!(verdict, Err(Rejection::ClaimType(_) | Rejection::Claims)),
                "{claim} {value}"
            );
        }
    }
    assert!(with("iat", &(NOW + 86_400).to_string()).is_ok());

    let keys = keys(Algorithm::RS256);
    let lenient = Policy {
        leeway: Duration::from_secs(60),
        ..policy()
    };
    let early = ours(RS256, claims_with("nbf", Some(&(NOW + 60).to_string())));
    assert!(lenient.verify(&keys, &early, at(NOW)).is_ok());
    assert!(lenient.verify(&keys, &early, at(NOW - 1)).is_err());
}

#[test]
fn an_audience_must_be_ours_to_the_letter() {
    for aud in [
        r#""dice_server""#,
        r#"["dice_server"]"#,
        r#"["other","dice_server"]"#,
    ] {
        assert!(with("aud", aud).is_ok(), "{aud}");
    }
    let expected = Rejection::Audience {
        expected: vec!["dice_server".to_owned()],
    };
    for aud in [
        r#""other""#,
        r#""""#,
        "[]",
        r#"["other"]"#,
        r#""DICE_SERVER""#,
        r#""dice_server.evil""#,
        r#""dice_server/""#,
        r#""dice_server other""#,
        r#""*""#,
        r#""dice_server\u200b""#,
        r#""dice_server\u0000""#,
    ] {
        refused(&with("aud", aud), expected.clone(), aud);
    }
    for aud in [
        "null",
        "1",
        "true",
        "{}",
        r#"[["dice_server"]]"#,
        r#"[1,"other"]"#,
        r#"["dice_server",1]"#,
        r#"[null,"dice_server"]"#,
    ] {
        refused(&with("aud", aud), Rejection::ClaimType("aud"), aud);
    }
    refused(&without("aud"), Rejection::ClaimMissing("aud"), "no aud");
}

#[test]
fn an_issuer_must_be_ours_to_the_letter() {
    let expected = Rejection::Issuer {
        expected: vec!["https://issuer.example".to_owned()],
    };
    for iss in [
        r#""other""#,
        r#""""#,
        r#""https://issuer.example/""#,
        r#""HTTPS://issuer.example""#,
        r#""https://issuer.example@evil.example""#,
    ] {
        refused(&with("iss", iss), expected.clone(), iss);
    }
    for iss in [
        "null",
        "7",
        r#"["https://issuer.example"]"#,
        r#"["evil","https://issuer.example"]"#,
        "{}",
    ] {
        refused(&with("iss", iss), Rejection::ClaimType("iss"), iss);
    }
    refused(&without("iss"), Rejection::ClaimMissing("iss"), "no iss");
}

#[test]
fn what_is_not_asked_for_may_be_anything_of_its_type() {
    let open = Policy {
        issuers: Vec::new(),
        audiences: Vec::new(),
        required_scopes: Vec::new(),
        ..policy()
    };
    for (name, json) in [
        ("iss", None),
        ("aud", None),
        ("scope", None),
        ("scope", Some("5")),
        ("aud", Some("[]")),
    ] {
        assert!(
            verify_under(&open, &ours(RS256, claims_with(name, json))).is_ok(),
            "{name} {json:?}"
        );
    }
    for name in ["iss", "aud"] {
        refused(
            &verify_under(&open, &ours(RS256, claims_with(name, Some("5")))),
            Rejection::ClaimType(name),
            name,
        );
    }
}

#[test]
fn a_missing_scope_is_told_from_everything_else() {
    for scope in [
        r#""dice:roll""#,
        r#""a dice:roll b""#,
        r#"["dice:roll"]"#,
        r#""dice:roll","scp":"x""#,
    ] {
        assert!(with("scope", scope).is_ok(), "{scope}");
    }
    let insufficient = Rejection::InsufficientScope {
        missing: vec!["dice:roll".to_owned()],
    };
    for scope in [
        r#""""#,
        r#""other""#,
        r#""dice:rollx""#,
        r#""DICE:ROLL""#,
        r#""dice:roll\t""#,
        "1",
        "null",
        "{}",
        r#"[["dice:roll"]]"#,
        r#"["dice:roll",1]"#,
    ] {
        refused(&with("scope", scope), insufficient.clone(), scope);
    }
    refused(&without("scope"), insufficient.clone(), "no scope");
    let elsewhere = claims_with("scope", None).replace("{", r#"{"scp":"dice:roll","#);
    refused(
        &verify(&ours(RS256, elsewhere)),
        insufficient.clone(),
        "scp",
    );
    let expired = claims_with("exp", Some("1")).replace("dice:roll", "other");
    assert!(matches!(
        verify(&ours(RS256, expired)),
        Err(Rejection::Expired { .. })
    ));
}

#[test]
fn a_strange_subject_harms_nobody() {
    for sub in [r#""""#, r#""a\r\nb""#, r#""\u001b[31m""#] {
        assert!(with("sub", sub).is_ok(), "{sub}");
    }
    assert_eq!(without("sub").unwrap().subject, None);
    for sub in ["5", "null", "true"] {
        refused(&with("sub", sub), Rejection::ClaimType("sub"), sub);
    }
    refused(&with("sub", "[]"), Rejection::Claims, "an array");
    for size in [8 << 10, 64 << 10, 1 << 20] {
        let long = format!("\"{}\"", "s".repeat(size));
        refused(&with("sub", &long), Rejection::TooLong, "a long subject");
    }
}

#[test]
fn a_rejection_repeats_nothing_that_the_token_says() {
    let marked = |name| claims_with(name, Some(r#""XYZZY""#));
    for name in ["iss", "aud", "exp", "nbf", "iat", "scope"] {
        let rejection = verify(&ours(RS256, marked(name))).unwrap_err();
        assert!(
            !format!("{rejection} {rejection:?}").contains("XYZZY"),
            "{rejection}"
        );
    }
}
