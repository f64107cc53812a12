//! `Policy`: whether a token is genuine, of today, and meant for us.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Validation;
use jsonwebtoken::errors::ErrorKind;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::auth::algorithm::ED25519;
use crate::auth::token::LONGEST_LIFETIME;
use crate::auth::{Algorithm, Caller, Keys, PinnedKey, Rejection};

/// A token with a dozen claims is 1 KiB.
pub(super) const MAX_TOKEN: usize = 8 * 1024;

/// Header parameters that change what a signature means or where a key comes from (RFC 7515
/// section 4.1, RFC 7516 section 4.1, RFC 7797). Their values are never looked at, let alone fetched.
const REFUSED_PARAMETERS: [&str; 9] = [
    "crit", "b64", "zip", "enc", "jwk", "jku", "x5u", "x5c", "cty",
];

/// RFC 9068 section 2.1 and RFC 7519 section 5.1; other types are for other doors (RFC 8725 section 3.11).
const TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];

/// What a token must say.
///
/// With no `issuers` or no `audiences`, any will do.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    pub issuers: Vec<String>,
    pub audiences: Vec<String>,
    pub required_scopes: Vec<String>,
    /// How far the clock of the issuer may be off.
    pub leeway: Duration,
}

/// What a token that was accepted says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified {
    pub subject: Option<String>,
    pub issuer: Option<String>,
    pub scopes: Vec<String>,
    pub expires_at: SystemTime,
    pub caller: Caller,
}

impl Policy {
    /// Checks the header, the signature, the times, the issuer, the audience and the scopes, in this order.
    ///
    /// A token may say which of the keys signed it. How it is verified is the key's to say (RFC 8725 section 3.1).
    pub fn verify(&self, keys: &Keys, token: &str, now: SystemTime) -> Result<Verified, Rejection> {
        let (key, is_named_by_curve) = key_for(token, keys)?;
        let claims = match is_named_by_curve {
            true => claims_signed_with_ed25519(token, key)?,
            false => signed_claims(token, key)?,
        };

        let expires_at = self.check_times(&claims, now)?;
        let subject = claims.sub.map(|sub| text(sub, "sub")).transpose()?;
        let issuer = claims.iss.map(|iss| text(iss, "iss")).transpose()?;
        let audience = claims.aud.map(|aud| texts(aud, "aud")).transpose()?;
        self.check_issuer(issuer.as_ref())?;
        self.check_audience(audience.as_deref())?;
        let scopes = scopes(claims.scope);
        self.check_scopes(&scopes)?;

        Ok(Verified {
            caller: Caller::new(issuer.as_deref(), subject.as_deref(), token),
            subject,
            issuer,
            scopes,
            expires_at,
        })
    }

    /// The time at which the token expires, when that is neither past nor absurd.
    fn check_times(&self, claims: &SignedClaims, now: SystemTime) -> Result<SystemTime, Rejection> {
        let expires = date(claims.exp.as_ref(), "exp")?.ok_or(Rejection::ClaimMissing("exp"))?;
        let valid_from = date(claims.nbf.as_ref(), "nbf")?;
        date(claims.iat.as_ref(), "iat")?;

        let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let clock = since_1970.as_secs_f64();
        let leeway = self.leeway.as_secs_f64();
        // RFC 7519 section 4.1.4: on or after this time the token is not accepted.
        if expires + leeway <= clock {
            return Err(Rejection::Expired {
                ago: span(clock - expires),
            });
        }
        if expires - clock > LONGEST_LIFETIME.as_secs_f64() {
            return Err(Rejection::ExpiresTooLate);
        }
        if let Some(valid_from) = valid_from.filter(|valid_from| *valid_from > clock + leeway) {
            return Err(Rejection::NotYetValid {
                ahead: span(valid_from - clock),
            });
        }
        Ok(UNIX_EPOCH.checked_add(span(expires)).unwrap_or(now))
    }

    fn check_issuer(&self, issuer: Option<&String>) -> Result<(), Rejection> {
        if self.issuers.is_empty() {
            return Ok(());
        }
        let issuer = issuer.ok_or(Rejection::ClaimMissing("iss"))?;
        if self.issuers.contains(issuer) {
            Ok(())
        } else {
            Err(Rejection::Issuer {
                expected: self.issuers.clone(),
            })
        }
    }

    fn check_audience(&self, audience: Option<&[String]>) -> Result<(), Rejection> {
        if self.audiences.is_empty() {
            return Ok(());
        }
        let audience = audience.ok_or(Rejection::ClaimMissing("aud"))?;
        if audience.iter().any(|one| self.audiences.contains(one)) {
            Ok(())
        } else {
            Err(Rejection::Audience {
                expected: self.audiences.clone(),
            })
        }
    }

    fn check_scopes(&self, scopes: &[String]) -> Result<(), Rejection> {
        let missing: Vec<String> = self
            .required_scopes
            .iter()
            .filter(|scope| !scopes.contains(scope))
            .cloned()
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(Rejection::InsufficientScope { missing })
        }
    }
}

/// The key that the token names, when its header is one that we accept, and whether its algorithm has
/// the name of RFC 9864.
fn key_for<'keys>(token: &str, keys: &'keys Keys) -> Result<(&'keys PinnedKey, bool), Rejection> {
    if token.len() > MAX_TOKEN {
        return Err(Rejection::TooLong);
    }
    let parts: Vec<&str> = token.splitn(4, '.').collect();
    let [header, _claims, _signature] = parts[..] else {
        return Err(Rejection::Malformed);
    };
    let bytes = URL_SAFE_NO_PAD
        .decode(header)
        .map_err(|_| Rejection::Malformed)?;
    let header: Header = serde_json::from_slice(&bytes).map_err(|_| Rejection::Header)?;

    for name in REFUSED_PARAMETERS {
        if header.others.contains_key(name) {
            return Err(Rejection::HeaderParameter(name));
        }
    }
    let known = |typ: &Value| {
        typ.as_str()
            .is_some_and(|typ| TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ)))
    };
    if !header.typ.as_ref().is_none_or(known) {
        return Err(Rejection::Type);
    }
    let kid = header
        .kid
        .as_ref()
        .map(|kid| kid.as_str().ok_or(Rejection::Header));
    let key = keys.pick(kid.transpose()?)?;
    let is_named_by_curve = header.alg == ED25519 && key.algorithm() == Algorithm::EdDSA;
    if header.alg != key.algorithm().as_str() && !is_named_by_curve {
        return Err(Rejection::Algorithm {
            expected: key.algorithm(),
        });
    }
    // jsonwebtoken reads the header again, with a type for each parameter that it knows. It knows one
    // name of the algorithm.
    let quoted = |name: &str| format!("\"{name}\"");
    let known = String::from_utf8_lossy(&bytes);
    let known = match is_named_by_curve {
        true => known
            .replacen(&quoted(ED25519), &quoted(key.algorithm().as_str()), 1)
            .into(),
        false => known,
    };
    serde_json::from_str::<jsonwebtoken::Header>(&known).map_err(|_| Rejection::Header)?;
    Ok((key, is_named_by_curve))
}

/// The claims of a token whose algorithm has a name that jsonwebtoken does not know.
fn claims_signed_with_ed25519(token: &str, key: &PinnedKey) -> Result<SignedClaims, Rejection> {
    let (message, signature) = token.rsplit_once('.').ok_or(Rejection::Malformed)?;
    let (_, claims) = message.split_once('.').ok_or(Rejection::Malformed)?;
    let algorithm = jsonwebtoken::Algorithm::EdDSA;
    let verdict =
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), key.decoding(), algorithm);
    match verdict {
        Ok(true) => {}
        Ok(false) => return Err(Rejection::Signature),
        Err(_) => return Err(Rejection::Malformed),
    }
    let claims = URL_SAFE_NO_PAD
        .decode(claims)
        .map_err(|_| Rejection::Malformed)?;
    serde_json::from_slice(&claims).map_err(|_| Rejection::Claims)
}

fn signed_claims(token: &str, key: &PinnedKey) -> Result<SignedClaims, Rejection> {
    let mut validation = Validation::new(key.algorithm().into());
    // The claims are checked here, against the clock that was passed in and with stricter types.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    match jsonwebtoken::decode(token, key.decoding(), &validation) {
        Ok(decoded) => Ok(decoded.claims),
        Err(error) => Err(match error.kind() {
            ErrorKind::InvalidSignature => Rejection::Signature,
            ErrorKind::Json(_) => Rejection::Claims,
            _ => Rejection::Malformed,
        }),
    }
}

/// Serde refuses a second field of the same name, which `Value` would not.
#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    alg: Value,
    #[serde(default, deserialize_with = "present")]
    typ: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    kid: Option<Value>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize)]
struct SignedClaims {
    #[serde(default, deserialize_with = "present")]
    sub: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    iss: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    aud: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    exp: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    iat: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    scope: Option<Value>,
    /// With this, serde demands an object; an array would fill the fields in their order.
    #[serde(flatten)]
    _others: Map<String, Value>,
}

/// `null` is a value of the wrong type, not a claim that was left out.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// RFC 7519 section 2: seconds since 1970, perhaps with a fraction.
fn date(claim: Option<&Value>, name: &'static str) -> Result<Option<f64>, Rejection> {
    claim
        .map(|value| value.as_f64().ok_or(Rejection::ClaimType(name)))
        .transpose()
}

fn text(value: Value, name: &'static str) -> Result<String, Rejection> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(Rejection::ClaimType(name)),
    }
}

/// RFC 7519 section 4.1.3: one string, or an array of them.
fn texts(value: Value, name: &'static str) -> Result<Vec<String>, Rejection> {
    match value {
        Value::Array(values) => values.into_iter().map(|value| text(value, name)).collect(),
        value => Ok(vec![text(value, name)?]),
    }
}

/// RFC 8693 section 4.2 has a string with spaces; some issuers send an array.
fn scopes(claim: Option<Value>) -> Vec<String> {
    match claim {
        Some(Value::String(scopes)) => scopes
            .split(' ')
            .filter(|scope| !scope.is_empty())
            .map(str::to_owned)
            .collect(),
        Some(scopes) => texts(scopes, "scope").unwrap_or_default(),
        None => Vec::new(),
    }
}

/// A duration that may be too long, or not a number.
fn span(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
