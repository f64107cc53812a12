//! The step `credentials`: are those that were given taken, and no others?

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::Value;

use super::opening::is_about_credentials;
use super::requests::{Form, Requests};
use super::stage::{fail, pass, skip, warn};
use super::{Outcome, shown};
use crate::auth;
use crate::mcp::{Answer, ProbeResult};

/// What the server says to a request without credentials, and to one with broken ones.
#[derive(Debug)]
pub struct Others {
    pub none: ProbeResult,
    pub broken: ProbeResult,
}

/// The form of a request that has no `Authorization`.
pub fn without(requests: &Requests) -> Form {
    let mut form = requests.side();
    form.headers.remove(AUTHORIZATION);
    form
}

/// The form of a request whose `Authorization` is of the same kind and worth nothing.
pub fn broken(requests: &Requests) -> Form {
    let mut form = requests.side();
    let given = requests.authorization().unwrap_or_default();
    let (scheme, _) = given.split_once(' ').unwrap_or(("Bearer", ""));
    if let Ok(mut value) =
        HeaderValue::try_from(format!("{scheme} mcp-cli-check-of-a-broken-token"))
    {
        value.set_sensitive(true);
        form.headers.insert(AUTHORIZATION, value);
    }
    form
}

/// What there is to say of the first answer, and of those to other credentials. `authorization` is
/// what was given.
pub fn judge(
    authorization: Option<&str>,
    first: &ProbeResult,
    others: Option<&Others>,
    now: SystemTime,
) -> Outcome {
    let Ok(answer) = &first.answer else {
        return skip("there is no answer");
    };
    let own_words = authorization.and_then(|given| token_fault(given, now));
    if is_about_credentials(answer.status) {
        return match authorization {
            None => nothing_given(answer),
            Some(given) => refused(given, answer, own_words.as_deref()),
        };
    }
    let Some(_) = authorization else {
        return match answer.result() {
            Some(_) => pass("none are given and none are required"),
            None => skip("the server does not mention credentials"),
        };
    };
    match others {
        None => skip("the server does not mention credentials"),
        Some(others) => taken(others, own_words.as_deref()),
    }
}

fn nothing_given(answer: &Answer) -> Outcome {
    let asks = answer.status == StatusCode::UNAUTHORIZED
        || answer.header(WWW_AUTHENTICATE.as_str()).is_some();
    if !asks {
        return fail(
            format!("the request is refused: {}", shown(answer)),
            "add this host name to the server's allowed hosts, or pass credentials with --authorization @FILE",
        );
    }
    fail(
        format!(
            "no credentials are given, but the server requires them: {}",
            challenge(answer)
        ),
        auth::hint_of_challenge(Some(&challenge(answer))),
    )
}

fn refused(given: &str, answer: &Answer, own_words: Option<&str>) -> Outcome {
    let challenge = challenge(answer);
    let (cause, hint) = match (own_words, answer.status) {
        (Some(fault), _) => (
            format!("the credentials are refused: {challenge}; {fault}"),
            "get a new token, and pass it with --authorization @FILE",
        ),
        (None, StatusCode::FORBIDDEN) => (
            format!("the credentials do not suffice: {challenge}"),
            "pass a token with the scopes that the server demands, or let it allow this Host",
        ),
        (None, _) => (
            format!(
                "the credentials are refused: {challenge}{}",
                audience(given)
            ),
            "pass a token for the audience, from the issuer and signed with the key that the server expects",
        ),
    };
    fail(cause, hint)
}

fn taken(others: &Others, own_words: Option<&str>) -> Outcome {
    let (Ok(none), Ok(broken)) = (&others.none.answer, &others.broken.answer) else {
        return warn(
            "a request without the credentials, or with broken ones, has no answer",
            "answer it with HTTP 401 and a `WWW-Authenticate` header",
        );
    };
    let is_taken = |it: &Answer| it.result().is_some();
    let is_bare = |it: &Answer| {
        it.status != StatusCode::UNAUTHORIZED || it.header(WWW_AUTHENTICATE.as_str()).is_none()
    };
    match (is_taken(broken), is_taken(none)) {
        (true, _) => warn(
            "the server accepts an invalid token: it is open to anyone who can reach it",
            "let the server verify tokens, such as with `mcp-cli serve --auth`",
        ),
        (false, true) => warn(
            "the server requires no credentials, but rejects invalid ones",
            "leave --authorization out, or let the server demand a token",
        ),
        (false, false) if is_bare(none) || is_bare(broken) => {
            let bare = if is_bare(none) { none } else { broken };
            warn(
                format!("other credentials are refused with {}", challenge(bare)),
                "answer with HTTP 401 and a `WWW-Authenticate` header (RFC 6750 section 3)",
            )
        }
        (false, false) => match own_words {
            Some(fault) => warn(
                format!("the credentials are accepted, although {fault}"),
                "let the server check the times of a token",
            ),
            None => pass("taken; none and broken ones are refused with HTTP 401"),
        },
    }
}

/// How the server refused, and whether it said how to do better.
fn challenge(answer: &Answer) -> String {
    match answer.header(WWW_AUTHENTICATE.as_str()) {
        Some(challenge) => format!("HTTP {}, {challenge}", answer.status),
        None => format!("{}, without a `WWW-Authenticate` header", shown(answer)),
    }
}

/// What the token says against itself. Nothing of it is verified.
fn token_fault(authorization: &str, now: SystemTime) -> Option<String> {
    let (_, token) = authorization.split_once(' ')?;
    if token.trim_start().starts_with("Bearer ") {
        return Some("`Bearer` is written twice".to_owned());
    }
    let claims = auth::inspect(token).ok()?.claims;
    let now = now
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    let time = |name: &str| claims.get(name).and_then(Value::as_f64);
    let expired = time("exp").filter(|at| *at <= now);
    let ahead = time("nbf").filter(|at| *at > now);
    match (expired, ahead) {
        (Some(at), _) => Some(format!("the token expired {} ago", span(now - at))),
        (None, Some(at)) => Some(format!(
            "the token is not valid for another {}",
            span(at - now)
        )),
        (None, None) => None,
    }
}

/// The audience (`aud`) that the token names.
fn audience(authorization: &str) -> String {
    let token = authorization.split_once(' ').map(|(_, token)| token);
    let claims = token.and_then(|token| auth::inspect(token).ok());
    match claims.map(|it| it.claims["aud"].clone()) {
        None => String::new(),
        Some(Value::Null) => "; the token names no audience".to_owned(),
        Some(Value::String(one)) => format!("; the token is for the audience {one:?}"),
        Some(several) => format!("; the token is for the audiences {several}"),
    }
}

fn span(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.round()).unwrap_or(Duration::MAX);
    humantime::format_duration(whole).to_string()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    fn bearer(claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!(
            "Bearer {}.{}.x",
            part(&json!({"alg": "RS256"})),
            part(claims)
        )
    }

    #[test]
    fn a_token_is_asked_what_it_says_against_itself() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        for (given, fault) in [
            (
                bearer(&json!({"exp": 400})),
                Some("the token expired 10m ago"),
            ),
            (
                bearer(&json!({"exp": 2000, "nbf": 1060})),
                Some("the token is not valid for another 1m"),
            ),
            (bearer(&json!({"exp": 2000, "nbf": 900})), None),
            (bearer(&json!({"exp": 1e300})), None),
            (bearer(&json!({"exp": -1e300})), Some("ago")),
            ("Bearer opaque".to_owned(), None),
            (
                "Bearer Bearer opaque".to_owned(),
                Some("`Bearer` is written twice"),
            ),
        ] {
            let found = token_fault(&given, now);
            match fault {
                None => assert_eq!(found, None, "{given}"),
                Some(fault) => assert!(found.unwrap().contains(fault), "{given}"),
            }
        }
        assert_eq!(
            audience(&bearer(&json!({"aud": "dice"}))),
            "; the token is for the audience \"dice\""
        );
    }
}
