//! The bearer layer: a request goes on only with a token that the `Verifier` accepts (RFC 6750).

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use futures::future::{BoxFuture, Either};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;
use tower::{Layer, Service};

use crate::auth::{Rejection, Verified, Verifier, metadata, token};

/// The realm of this program's own server, which shows whose tokens it accepts (RFC 9110 section 11.5).
const REALM: &str = r#""mcp-cli""#;

/// What to try after a 401 with this challenge, or with a text that has its realm. Our tokens are for our
/// server alone; any other has tokens of its own.
pub fn hint_of_challenge(challenge: Option<&str>) -> &'static str {
    match challenge.is_some_and(|it| it.contains(REALM)) {
        true => {
            "mint a token with `mcp-cli token --audience dice-server` and pass it with --authorization @FILE"
        }
        false => "pass a token that the server accepts with --authorization @FILE",
    }
}

/// Puts the bearer layer on all routes of a router, and beside them the metadata of the MCP endpoint at `path`, which
/// everybody may read.
///
/// A request that goes on has the [`Caller`](crate::auth::Caller) among its extensions.
pub fn protect(router: Router, path: &str, verifier: Arc<Verifier>) -> Router {
    router
        .route_layer(RequireBearer(Arc::clone(&verifier)))
        .merge(metadata::routes(path, verifier))
}

/// The layer. A token is looked for in the `Authorization` header and nowhere else: what stands in a URL ends up in logs.
///
/// It is a service and no function of axum's, since one of those takes a microsecond on every call.
#[derive(Clone)]
struct RequireBearer(Arc<Verifier>);

impl<S> Layer<S> for RequireBearer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            verifier: Arc::clone(&self.0),
        }
    }
}

#[derive(Clone)]
struct Guarded<S> {
    inner: S,
    verifier: Arc<Verifier>,
}

impl<S> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Response> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        if let Ok(token) = bearer_token(request.headers())
            && let Some(verified) = self.verifier.known(token, SystemTime::now())
        {
            request.extensions_mut().insert(verified.caller);
            return Either::Left(self.inner.call(request));
        }
        // The clone has not been polled until it is ready; this one has (tower's `Service`).
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let verifier = Arc::clone(&self.verifier);
        Either::Right(Box::pin(async move {
            match check(request.headers(), &verifier).await {
                Ok(verified) => {
                    request.extensions_mut().insert(verified.caller);
                    inner.call(request).await
                }
                Err(refusal) => {
                    let said = bearer_token(request.headers()).ok();
                    let said = said.and_then(|token| token::said(token, SystemTime::now()));
                    tracing::debug!(reason = %refusal, said, "request refused");
                    let metadata = metadata::url(request.headers(), request.uri().path());
                    let scopes = &verifier.policy().required_scopes;
                    Ok(refusal.response(scopes, metadata.as_deref()))
                }
            }
        }))
    }
}

async fn check(headers: &HeaderMap, verifier: &Verifier) -> Result<Arc<Verified>, Refusal> {
    let token = bearer_token(headers)?;
    match verifier.verify(token, SystemTime::now()).await {
        Ok(verified) => Ok(verified),
        // What is accepted has no such characters, so that they are looked for only here.
        Err(_) if !is_b64token(token) => Err(Refusal::Malformed(
            "the Authorization header is not `Bearer`, one space and one token",
        )),
        Err(rejection) => Err(rejection.into()),
    }
}

fn bearer_token(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::NoToken)?;
    // With two, a proxy in front of us may have checked the other one.
    if values.next().is_some() {
        return Err(Refusal::Malformed(
            "there is more than one Authorization header",
        ));
    }
    let value = std::str::from_utf8(value.as_bytes())
        .map_err(|_| Refusal::Malformed("the Authorization header is not text"))?;

    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("Bearer") || token.is_empty() {
        return Err(Refusal::NoToken);
    }
    Ok(token)
}

/// RFC 6750 section 2.1, `b64token`.
fn is_b64token(token: &str) -> bool {
    let in_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    token.bytes().all(in_token)
}

/// Why a request does not go on.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("a bearer token is required")]
    NoToken,
    #[error("{0}")]
    Malformed(&'static str),
    #[error(transparent)]
    Rejected(#[from] Rejection),
}

impl Refusal {
    fn response(&self, required_scopes: &[String], metadata: Option<&str>) -> Response {
        let (status, error) = match self {
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::NoToken => (StatusCode::UNAUTHORIZED, "invalid_token"),
            Self::Rejected(Rejection::InsufficientScope { .. }) => {
                (StatusCode::FORBIDDEN, "insufficient_scope")
            }
            Self::Rejected(_) => (StatusCode::UNAUTHORIZED, "invalid_token"),
        };
        let description = self.to_string();

        let mut challenge = format!("Bearer realm={REALM}");
        // RFC 6750 section 3.1: without a token, the challenge has no error code.
        if !matches!(self, Self::NoToken) {
            challenge += &format!(
                r#", error="{error}", error_description="{}""#,
                quotable(&description)
            );
        }
        if status == StatusCode::FORBIDDEN {
            challenge += &format!(r#", scope="{}""#, quotable(&required_scopes.join(" ")));
        }
        // RFC 9728 section 5.1: where to read who gives out tokens.
        if let Some(metadata) = metadata {
            challenge += &format!(r#", resource_metadata="{}""#, quotable(metadata));
        }
        let challenge = HeaderValue::try_from(challenge)
            .expect("the words are ours and `quotable` leaves printable ASCII only");

        let body = json!({ "error": error, "error_description": description });
        (status, [(WWW_AUTHENTICATE, challenge)], Json(body)).into_response()
    }
}

/// RFC 6750 section 3: printable ASCII without `"` and `\`. Names from the configuration may have more.
fn quotable(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '"' | '\\' => '\'',
            ' '..='~' => character,
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Extension;
    use axum::body::{Body, to_bytes};
    use axum::routing::post;
    use http::request;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;
    use crate::auth::vectors::test_keys::{OURS, THEIRS};
    use crate::auth::{Algorithm, Caller, Claims, Policy, SigningKey};

    const CHALLENGE: &str = r#"Bearer realm="mcp-cli""#;

    fn claims() -> Claims {
        Claims {
            audience: vec!["dice_server".to_owned()],
            scopes: vec!["dice:roll".to_owned(), "dice:read".to_owned()],
            ..Claims::default()
        }
    }

    fn token_of(key: &SigningKey, claims: &Claims) -> String {
        let token = claims
            .mint(key, Algorithm::RS256, SystemTime::now())
            .unwrap();
        token.expose().to_owned()
    }

    fn token() -> String {
        token_of(&OURS, &claims())
    }

    fn router() -> Router {
        let policy = Policy {
            issuers: vec!["https://fastmcp.example.com".to_owned()],
            audiences: vec!["dice_server".to_owned()],
            required_scopes: vec!["dice:roll".to_owned(), "dice:read".to_owned()],
            leeway: Duration::ZERO,
        };
        let key = OURS.verifying_key().clone().pin(None).unwrap();
        let endpoint = post(async |Extension(_caller): Extension<Caller>| "rolled");
        let router = Router::new()
            .route("/mcp", endpoint.clone())
            .route("/mcp/", endpoint);
        protect(router, "/mcp", Arc::new(Verifier::new(key, policy)))
    }

    /// What comes back: the status, the challenge and the body.
    async fn answer(request: Request) -> (StatusCode, Option<String>, String) {
        let response = router().oneshot(request).await.unwrap();
        let status = response.status();
        let challenge = response
            .headers()
            .get(WWW_AUTHENTICATE)
            .map(|value| value.to_str().unwrap().to_owned());
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, challenge, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn send(request: request::Builder) -> (StatusCode, Option<String>, String) {
        let body = Body::from(format!("access_token={}", token()));
        answer(request.method("POST").body(body).unwrap()).await
    }

    fn request() -> request::Builder {
        http::Request::builder().uri("/mcp")
    }

    async fn with(authorization: &str) -> (StatusCode, Option<String>, String) {
        send(request().header("authorization", authorization)).await
    }

    #[tokio::test]
    async fn a_good_token_goes_on_whatever_the_case_of_its_scheme() {
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let answer = with(&format!("{scheme} {}", token())).await;
            assert_eq!(
                answer,
                (StatusCode::OK, None, "rolled".to_owned()),
                "{scheme}"
            );
        }
    }

    #[tokio::test]
    async fn a_request_without_a_bearer_token_is_challenged_and_no_more() {
        let token = token();
        let places = [
            request(),
            request().header("authorization", "Bearer"),
            request().header("authorization", "Bearer "),
            request().header("authorization", ""),
            request().header("authorization", "Basic dXNlcjpwYXNz"),
            request().header("authorization", &token),
            request().header("authorization", format!("Bearer\t{token}")),
            request().header("proxy-authorization", format!("Bearer {token}")),
            request().header("x-authorization", format!("Bearer {token}")),
            request().header("cookie", format!("access_token={token}")),
            request().uri(format!("/mcp?access_token={token}")),
        ];
        for place in places {
            let described = format!("{place:?}");
            let (status, challenge, body) = send(place).await;

            assert_eq!(status, StatusCode::UNAUTHORIZED, "{described}");
            assert_eq!(challenge.as_deref(), Some(CHALLENGE), "{described}");
            assert_eq!(
                body,
                r#"{"error":"invalid_token","error_description":"a bearer token is required"}"#
            );
        }
    }

    #[tokio::test]
    async fn a_malformed_header_is_a_bad_request() {
        let token = token();
        for authorization in [
            format!("Bearer  {token}"),
            format!("Bearer \t{token}"),
            format!("Bearer {token} extra"),
            format!("Bearer \"{token}\""),
            format!("Bearer {token}, Bearer {token}"),
            format!("Bearer {token}\u{e9}"),
        ] {
            let (status, challenge, _) = with(&authorization).await;

            assert_eq!(status, StatusCode::BAD_REQUEST, "{authorization}");
            assert!(
                challenge
                    .unwrap()
                    .starts_with(r#"Bearer realm="mcp-cli", error="invalid_request", "#)
            );
        }
    }

    #[tokio::test]
    async fn two_authorization_headers_are_a_bad_request_in_either_order() {
        let (good, bad) = (format!("Bearer {}", token()), "Bearer x".to_owned());
        for (first, second) in [(&good, &bad), (&bad, &good), (&good, &good)] {
            let (status, _, body) = send(
                request()
                    .header("authorization", first)
                    .header("authorization", second),
            )
            .await;

            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert_eq!(
                body,
                r#"{"error":"invalid_request","error_description":"there is more than one Authorization header"}"#
            );
        }
    }

    #[tokio::test]
    async fn an_invalid_token_is_told_why() {
        let elsewhere = Claims {
            audience: vec!["other".to_owned()],
            ..claims()
        };
        let expired = Claims {
            expires_in: Duration::ZERO,
            ..claims()
        };
        for (token, description) in [
            (
                token_of(&THEIRS, &claims()),
                "the token was not signed with the key that is trusted here",
            ),
            (
                token_of(&OURS, &elsewhere),
                "the token's audience is not dice_server",
            ),
            (
                token_of(&OURS, &expired),
                // How long ago depends on how busy the machine is.
                "the token expired ",
            ),
            ("a".repeat(8193), "the token is longer than 8 KiB"),
            ("a".repeat(100 << 10), "the token is longer than 8 KiB"),
            ("a".repeat(500 << 10), "the token is longer than 8 KiB"),
        ] {
            let (status, challenge, body) = with(&format!("Bearer {token}")).await;

            assert_eq!(status, StatusCode::UNAUTHORIZED, "{description}");
            let challenge = challenge.unwrap();
            let expected =
                format!(r#"{CHALLENGE}, error="invalid_token", error_description="{description}"#);
            assert!(challenge.starts_with(&expected), "{challenge}");
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["error"], "invalid_token");
            let told = body["error_description"].as_str().unwrap();
            assert!(told.starts_with(description), "{told}");
        }
    }

    #[tokio::test]
    async fn a_missing_scope_is_forbidden_and_named() {
        let narrow = Claims {
            scopes: vec!["dice:read".to_owned()],
            ..claims()
        };

        let (status, challenge, body) = with(&format!("Bearer {}", token_of(&OURS, &narrow))).await;

        assert_eq!(status, StatusCode::FORBIDDEN);
        assert_eq!(
            challenge.unwrap(),
            format!(
                "{CHALLENGE}, error=\"insufficient_scope\", \
                 error_description=\"the token lacks the scope dice:roll\", scope=\"dice:roll dice:read\""
            )
        );
        assert_eq!(
            body,
            r#"{"error":"insufficient_scope","error_description":"the token lacks the scope dice:roll"}"#
        );
    }

    #[tokio::test]
    async fn the_challenge_says_where_the_metadata_is_under_the_name_that_the_client_used() {
        for (path, host, metadata) in [
            (
                "/mcp",
                "localhost:8000",
                "http://localhost:8000/.well-known/oauth-protected-resource/mcp",
            ),
            (
                "/mcp/",
                "my.ngrok.app",
                "https://my.ngrok.app/.well-known/oauth-protected-resource/mcp/",
            ),
        ] {
            let request = http::Request::builder().uri(path).header("host", host);
            let (_, challenge, _) = send(request).await;
            assert_eq!(
                challenge.unwrap(),
                format!(r#"{CHALLENGE}, resource_metadata="{metadata}""#)
            );
        }
        let (_, challenge, _) = send(request().header("host", "a\"b")).await;
        assert_eq!(challenge.unwrap(), CHALLENGE);
    }

    #[tokio::test]
    async fn the_metadata_is_for_everybody_and_nothing_below_it_is() {
        const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
        for (suffix, resource) in [
            ("", "https://my.ngrok.app/mcp"),
            ("/mcp", "https://my.ngrok.app/mcp"),
            ("/mcp/", "https://my.ngrok.app/mcp/"),
        ] {
            let request = http::Request::builder()
                .uri(format!("{WELL_KNOWN}{suffix}"))
                .header("host", "my.ngrok.app");
            let (status, challenge, body) = answer(request.body(Body::empty()).unwrap()).await;

            assert_eq!((status, challenge), (StatusCode::OK, None), "{suffix}");
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(
                body,
                json!({
                    "resource": resource,
                    "authorization_servers": ["https://fastmcp.example.com"],
                    "scopes_supported": ["dice:roll", "dice:read"],
                    "bearer_methods_supported": ["header"],
                })
            );
        }
        for (suffix, host, expected) in [
            ("/other", "a.example", StatusCode::NOT_FOUND),
            ("/mcp/x", "a.example", StatusCode::NOT_FOUND),
            ("/mcp", "a\"b", StatusCode::BAD_REQUEST),
        ] {
            let request = http::Request::builder()
                .uri(format!("{WELL_KNOWN}{suffix}"))
                .header("host", host);
            let (status, _, body) = answer(request.body(Body::empty()).unwrap()).await;
            assert_eq!(status, expected, "{suffix}");
            assert!(!body.contains("dice:roll"), "{suffix}");
        }
    }

    #[test]
    fn a_name_from_the_configuration_cannot_end_the_quotes() {
        assert_eq!(quotable("a\"b\\c\r\n\u{e9}"), "a'b'c???");
    }
}
