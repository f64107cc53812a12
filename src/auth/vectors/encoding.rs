//! Tokens in another encoding than that of RFC 7515, and what becomes of each.

use crate::auth::Rejection;
use crate::auth::policy::MAX_TOKEN;
use crate::auth::vectors::token::{NOW, RS256, claims, claims_with, ours, refused, verify};

#[test]
fn text_that_is_not_strict_base64url_is_refused() {
    let token = ours(RS256, claims());
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("three parts");
    };
    let bad = [
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}=.{signature}"),
        format!("{header}.{payload}.{signature}="),
        format!("{header}.{payload}.{signature}=="),
        format!(".{header}.{payload}.{signature}"),
        format!("{token}."),
        format!("{token}.{signature}"),
        format!("{token}.{signature}.x"),
        format!("{header}.{payload}"),
        format!("{header}..{payload}.{signature}"),
        format!(".{payload}.{signature}"),
        format!("\"{token}\""),
        token.replace('.', "%2E"),
        token.replace('.', "\u{3002}"),
        format!(r#"{{"payload":"{payload}","protected":"{header}","signature":"{signature}"}}"#),
        header.to_owned(),
        String::new(),
        ".".to_owned(),
    ];
    for bad in bad {
        assert!(verify(&bad).is_err(), "{bad}");
    }
    for stray in [" ", "\n", "\t", "\r\n", "\0", "\u{a0}", "+", "/", "-\n"] {
        for (at, part) in [
            (header.len() + 9, "claims"),
            (token.len() - 9, "signature"),
            (token.len(), "end"),
        ] {
            let mut bad = token.clone();
            bad.insert_str(at, stray);
            assert!(verify(&bad).is_err(), "{stray:?} in {part}");
        }
    }
    // The 256 bytes of a signature leave four bits of its last letter, which must be zero.
    let mut sloppy = token.clone();
    let last = sloppy.pop().unwrap();
    sloppy.push(char::from(last as u8 + 1));
    assert_eq!(verify(&sloppy), Err(Rejection::Malformed));

    assert_eq!(verify(".."), Err(Rejection::Header));
    assert_eq!(
        verify(&format!("{header}..{signature}")),
        Err(Rejection::Signature)
    );
    assert_eq!(verify(&".".repeat(MAX_TOKEN)), Err(Rejection::Malformed));
    for size in [MAX_TOKEN + 1, 100_000] {
        assert_eq!(verify(&".".repeat(size)), Err(Rejection::TooLong));
    }
}

#[test]
fn json_that_is_not_one_plain_object_is_refused() {
    let good = claims();
    let nested = |depth: usize| {
        claims_with(
            "x",
            Some(&format!("{}{}", "[".repeat(depth), "]".repeat(depth))),
        )
    };
    let bad: [Vec<u8>; 21] = [
        b"[]".to_vec(),
        br#"["fastmcp-user","https://issuer.example","dice_server",9999999999]"#.to_vec(),
        b"null".to_vec(),
        br#""x""#.to_vec(),
        b"1".to_vec(),
        b"".to_vec(),
        b"{\"sub\":\"\xff\"}".to_vec(),
        format!("\u{feff}{good}").into_bytes(),
        format!("{good}x").into_bytes(),
        format!("{good}{good}").into_bytes(),
        format!("/* */{good}").into_bytes(),
        claims_with("x", Some("NaN")).into_bytes(),
        claims_with("x", Some("1,")).into_bytes(),
        claims_with("sub", Some(r#""\ud800""#)).into_bytes(),
        claims_with("exp", Some("1e400")).into_bytes(),
        nested(127).into_bytes(),
        nested(1000).into_bytes(),
        claims_with("exp", Some(&format!("{},\"exp\":{}", NOW - 1, NOW + 9))).into_bytes(),
        claims_with(
            "exp",
            Some(&format!("{},\"\\u0065xp\":{}", NOW + 9, NOW - 1)),
        )
        .into_bytes(),
        claims_with("aud", Some(r#""other","aud":"dice_server""#)).into_bytes(),
        claims_with("iss", Some(r#""https://issuer.example","iss":"other""#)).into_bytes(),
    ];
    for payload in bad {
        refused(
            &verify(&ours(RS256, &payload)),
            Rejection::Claims,
            &String::from_utf8_lossy(&payload),
        );
    }
    for depth in [100, 126] {
        assert!(verify(&ours(RS256, nested(depth))).is_ok(), "{depth} deep");
    }
    refused(
        &verify(&ours(RS256, "{}")),
        Rejection::ClaimMissing("exp"),
        "{}",
    );
    refused(
        &verify(&ours(RS256, nested(100_000))),
        Rejection::TooLong,
        "100000 deep",
    );

    for header in [
        &b"[]"[..],
        b"null",
        b"\xff",
        b"\xef\xbb\xbf{\"alg\":\"RS256\"}",
        br#"{"alg":"RS256"}x"#,
        br#"["RS256","JWT"]"#,
        "[".repeat(2000).as_bytes(),
    ] {
        refused(
            &verify(&ours(header, claims())),
            Rejection::Header,
            &String::from_utf8_lossy(header),
        );
    }
}
