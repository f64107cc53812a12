//! Tokens: what one says, how it is signed, how it looks to somebody who cannot verify it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Header;
use serde_json::{Map, Value};

use crate::auth::{Algorithm, Error, KeyFamily, SigningKey};
use crate::secret::Secret;

/// Ten years, leap days included. An `exp` further ahead is a mistake, such as milliseconds.
pub(super) const LONGEST_LIFETIME: Duration = Duration::from_secs(3660 * 24 * 60 * 60);

/// What can be inspected; what can be verified is much smaller.
const MAX_INSPECTED: usize = 1024 * 1024;

/// What a new token says. The defaults are those of FastMCP's `RSAKeyPair.create_token`.
#[derive(Clone, Debug)]
pub struct Claims {
    pub subject: String,
    pub issuer: String,
    pub audience: Vec<String>,
    pub scopes: Vec<String>,
    pub expires_in: Duration,
    /// Claims that are added last, and so replace those of the same name.
    pub additional: Map<String, Value>,
    pub kid: Option<String>,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            subject: "fastmcp-user".to_owned(),
            issuer: "https://fastmcp.example.com".to_owned(),
            audience: Vec::new(),
            scopes: Vec::new(),
            expires_in: Duration::from_secs(3600),
            additional: Map::new(),
            kid: None,
        }
    }
}

impl Claims {
    pub fn mint(
        &self,
        key: &SigningKey,
        algorithm: Algorithm,
        now: SystemTime,
    ) -> Result<Secret, Error> {
        let algorithm = KeyFamily::Rsa.pin(Some(algorithm))?;
        let mut header = Header::new(algorithm.into());
        header.kid.clone_from(&self.kid);
        let token = jsonwebtoken::encode(&header, &self.to_json(now)?, key.encoding())
            .map_err(Error::Sign)?;
        Ok(token.into())
    }

    fn to_json(&self, now: SystemTime) -> Result<Map<String, Value>, Error> {
        if self.expires_in > LONGEST_LIFETIME {
            return Err(Error::Lifetime);
        }
        let issued_at = now.duration_since(UNIX_EPOCH).map_err(|_| Error::Clock)?;
        let expires_at = issued_at + self.expires_in;

        let mut claims = Map::new();
        claims.insert("sub".to_owned(), self.subject.as_str().into());
        claims.insert("iss".to_owned(), self.issuer.as_str().into());
        claims.insert("iat".to_owned(), issued_at.as_secs().into());
        claims.insert("exp".to_owned(), expires_at.as_secs().into());
        match self.audience.as_slice() {
            [] => {}
            [one] => {
                claims.insert("aud".to_owned(), one.as_str().into());
            }
            several => {
                claims.insert("aud".to_owned(), several.into());
            }
        }
        if !self.scopes.is_empty() {
            claims.insert("scope".to_owned(), self.scopes.join(" ").into());
        }
        claims.extend(self.additional.clone());
        Ok(claims)
    }
}

/// How many characters of a claim are shown.
const MAX_SAID: usize = 80;

/// The contents of a token that was not verified: do not trust them.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    pub header: Value,
    pub claims: Value,
}

/// Reads a token without verifying anything.
pub fn inspect(token: &str) -> Result<Inspection, Error> {
    if token.len() > MAX_INSPECTED {
        return Err(Error::NotAToken("it is longer than 1 MiB"));
    }
    let parts: Vec<&str> = token.splitn(4, '.').collect();
    let [header, claims, _signature] = parts[..] else {
        return Err(Error::NotAToken(
            "it does not have three parts with dots between them",
        ));
    };
    Ok(Inspection {
        header: object(header).ok_or(Error::NotAToken(
            "its header is not a JSON object in base64url",
        ))?,
        claims: object(claims).ok_or(Error::NotAToken(
            "its claims are not a JSON object in base64url",
        ))?,
    })
}

/// What a token says about itself, in a few words, for whoever wonders why it was refused. Nothing in it
/// was verified.
pub fn said(token: &str, now: SystemTime) -> Option<String> {
    let Inspection { header, claims } = inspect(token).ok()?;
    let shown = |value: &Value| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let text: String = text.chars().take(MAX_SAID).collect();
        format!("{text:?}")
    };
    let named = |value: &Value, name: &str| match value {
        Value::Null => format!("no {name}"),
        value => format!("{name} {}", shown(value)),
    };
    let expires = match claims["exp"].as_f64() {
        None => named(&claims["exp"], "exp"),
        Some(expires) => {
            let clock = now
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs_f64();
            let away = Duration::try_from_secs_f64((expires - clock).abs().trunc());
            let away = humantime::format_duration(away.unwrap_or(Duration::MAX)).to_string();
            // The largest two units say enough.
            let away: Vec<&str> = away.split(' ').take(2).collect();
            match expires > clock {
                true => format!("exp in {}", away.join(" ")),
                false => format!("exp {} ago", away.join(" ")),
            }
        }
    };
    let texts = [
        named(&header["alg"], "alg"),
        named(&claims["iss"], "iss"),
        named(&claims["aud"], "aud"),
        expires,
    ];
    Some(format!("the token says: {}", texts.join(", ")))
}

fn object(part: &str) -> Option<Value> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    let value: Value = serde_json::from_slice(&bytes).ok()?;
    value.is_object().then_some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::vectors::test_keys::OURS;

    const NOW: u64 = 1_790_000_000;

    #[test]
    fn a_token_is_told_by_what_it_says_of_itself() {
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        let token = |header: Value, claims: Value| {
            let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
            said(&format!("{}.{}.x", part(header), part(claims)), now).unwrap()
        };
        assert_eq!(
            token(
                json!({"alg": "HS256"}),
                json!({"iss": "https://a.example", "aud": ["b", "c"], "exp": NOW - 90_061})
            ),
            r#"the token says: alg "HS256", iss "https://a.example", aud "[\"b\",\"c\"]", exp 1day 1h ago"#
        );
        assert_eq!(
            token(json!({}), json!({"aud": "\u{1b}[2J", "exp": NOW + 60})),
            r#"the token says: no alg, no iss, aud "\u{1b}[2J", exp in 1m"#
        );
        assert!(token(json!({}), json!({"iss": "x".repeat(1000), "exp": 1e300})).len() < 250);
        assert_eq!(said("opaque", now), None);
    }

    fn minted(claims: &Claims) -> Inspection {
        let now = UNIX_EPOCH + Duration::from_millis(NOW * 1000 + 999);
        let token = claims.mint(&OURS, Algorithm::RS256, now).unwrap();
        inspect(token.expose()).unwrap()
    }

    #[test]
    fn a_token_says_what_fastmcp_would_say() {
        let inspection = minted(&Claims::default());

        assert_eq!(inspection.header, json!({ "alg": "RS256", "typ": "JWT" }));
        assert_eq!(
            inspection.claims,
            json!({
                "sub": "fastmcp-user",
                "iss": "https://fastmcp.example.com",
                "iat": NOW,
                "exp": NOW + 3600,
            })
        );
    }

    #[test]
    fn audiences_scopes_and_a_key_id_are_added_when_there_are_any() {
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let one = minted(&Claims {
            audience: texts(&["dice_server"]),
            scopes: texts(&["dice:roll", "dice:read"]),
            kid: Some("dev".to_owned()),
            ..Claims::default()
        });
        let two = minted(&Claims {
            audience: texts(&["a", "b"]),
            ..Claims::default()
        });

        assert_eq!(one.header["kid"], "dev");
        assert_eq!(one.claims["aud"], "dice_server");
        assert_eq!(one.claims["scope"], "dice:roll dice:read");
        assert_eq!(two.claims["aud"], json!(["a", "b"]));
    }

    #[test]
    fn additional_claims_have_the_last_word() {
        let Value::Object(additional) =
            json!({ "sub": 7, "iss": null, "iat": "then", "exp": 1, "aud": [], "a": {} })
        else {
            panic!("an object");
        };

        let inspection = minted(&Claims {
            audience: vec!["dice_server".to_owned()],
            additional: additional.clone(),
            ..Claims::default()
        });

        assert_eq!(inspection.claims, Value::Object(additional));
    }

    #[test]
    fn control_characters_and_long_names_are_carried_unharmed() {
        let subject = format!("a\r\n\u{1b}[31m\0{}", "s".repeat(1 << 19));

        let inspection = minted(&Claims {
            subject: subject.clone(),
            issuer: String::new(),
            audience: vec![String::new()],
            ..Claims::default()
        });

        assert_eq!(inspection.claims["sub"], subject);
        assert_eq!(inspection.claims["iss"], "");
        assert_eq!(inspection.claims["aud"], "");
    }

    #[test]
    fn a_lifetime_is_ten_years_at_most() {
        for (expires_in, minted) in [
            (Duration::ZERO, true),
            (LONGEST_LIFETIME, true),
            (LONGEST_LIFETIME + Duration::from_secs(1), false),
            (Duration::from_secs(u64::MAX), false),
            (Duration::MAX, false),
        ] {
            let claims = Claims {
                expires_in,
                ..Claims::default()
            };
            let token = claims.mint(&OURS, Algorithm::RS256, SystemTime::now());
            assert_eq!(token.is_ok(), minted, "{expires_in:?}");
        }
    }

    #[test]
    fn a_clock_before_1970_is_an_error() {
        let now = UNIX_EPOCH - Duration::from_secs(1);

        let token = Claims::default().mint(&OURS, Algorithm::RS256, now);

        assert!(matches!(token, Err(Error::Clock)));
    }

    #[test]
    fn every_algorithm_is_read_as_it_is_written() {
        for name in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
            let algorithm: Algorithm = name.parse().unwrap();
            let token = Claims::default()
                .mint(&OURS, algorithm, SystemTime::now())
                .unwrap();

            assert_eq!(algorithm.to_string(), name);
            assert_eq!(inspect(token.expose()).unwrap().header["alg"], name);
        }
    }

    #[test]
    fn an_rsa_key_does_not_sign_as_another_kind_of_key() {
        for algorithm in [Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA] {
            let error = Claims::default()
                .mint(&OURS, algorithm, SystemTime::now())
                .unwrap_err();

            assert_eq!(
                error.to_string(),
                format!(
                    "an RSA key cannot be used with {algorithm}: \
                     use RS256, RS384, RS512, PS256, PS384 or PS512"
                )
            );
        }
    }

    #[test]
    fn text_that_is_no_token_is_refused_without_repeating_it() {
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        for text in [
            String::new(),
            "XYZZY".to_owned(),
            "XYZZY.XYZZY.XYZZY".to_owned(),
            format!("{}.{}.", part("{}"), part("[1]")),
            format!("{}.{}", part("{}"), part("{}")),
            format!("{0}.{0}.{0}.{0}.{0}", part("{}")),
            format!("{}.{}.", part("{}"), part(&"[".repeat(5000))),
            ".".repeat(100_000),
            "x".repeat(MAX_INSPECTED + 1),
        ] {
            let error = inspect(&text).unwrap_err();
            assert!(error.to_string().starts_with("this is not a JWT: "));
            assert!(!error.to_string().contains("XYZZY"));
        }
        assert!(inspect(&format!("{0}.{0}.", part("{}"))).is_ok());
    }
}
