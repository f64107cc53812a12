//! Protected resource metadata (RFC 9728): what a client reads to find out whom to ask for a token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header::HOST;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use url::{Host, Url};

use crate::address;
use crate::auth::{Policy, Verifier};

/// RFC 9728 section 3: the path of the resource goes behind it.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

struct Published {
    /// The path of the MCP endpoint, without a slash behind it.
    path: String,
    verifier: Arc<Verifier>,
}

/// The metadata of the endpoint at `path`, with and without that path, for everybody.
pub(super) fn routes(path: &str, verifier: Arc<Verifier>) -> Router {
    let path = path.trim_end_matches('/').to_owned();
    let mut places = vec![WELL_KNOWN.to_owned(), format!("{WELL_KNOWN}{path}/")];
    if !path.is_empty() {
        places.push(format!("{WELL_KNOWN}{path}"));
    }
    let mut router = Router::new();
    for place in &places {
        router = router.route(place, get(metadata));
    }
    router.with_state(Arc::new(Published { path, verifier }))
}

/// The URL of the metadata of the resource at `path`, under the name that the client used for this server.
pub(super) fn url(headers: &HeaderMap, path: &str) -> Option<String> {
    let path = if path == "/" { "" } else { path };
    Some(format!("{}{WELL_KNOWN}{path}", origin(headers)?))
}

async fn metadata(State(published): State<Arc<Published>>, request: Request) -> Response {
    let Some(origin) = origin(request.headers()) else {
        let error = json!({
            "error": "invalid_request",
            "error_description": "the request does not say under which host it reached this server",
        });
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    };
    let path = match request.uri().path().strip_prefix(WELL_KNOWN) {
        None | Some("") if published.path.is_empty() => "/",
        None | Some("") => &published.path,
        Some(path) => path,
    };
    let document = document(&format!("{origin}{path}"), published.verifier.policy());
    Json(document).into_response()
}

/// RFC 9728 section 2: what is empty is left out.
fn document(resource: &str, policy: &Policy) -> Value {
    let is_server = |issuer: &&String| {
        Url::parse(issuer).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
    };
    let servers: Vec<&String> = policy.issuers.iter().filter(is_server).collect();
    let mut document = json!({ "resource": resource });
    if !servers.is_empty() {
        document["authorization_servers"] = json!(servers);
    }
    if !policy.required_scopes.is_empty() {
        document["scopes_supported"] = json!(policy.required_scopes);
    }
    document["bearer_methods_supported"] = json!(["header"]);
    document
}

/// How a client calls this server: the scheme and the authority of its URL.
///
/// TLS ends in a proxy in front of us, which says so or not. A name is reached through one, this machine or an address is not.
fn origin(headers: &HeaderMap) -> Option<String> {
    let authority = only(headers, HOST.as_str())?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if !authority.bytes().all(is_plain) {
        return None;
    }
    let url = Url::parse(&format!("http://{authority}/")).ok()?;
    let scheme = match only(headers, "x-forwarded-proto") {
        Some("http") => "http",
        Some("https") => "https",
        _ if address::is_loopback(&url) => "http",
        _ if matches!(url.host(), Some(Host::Domain(_))) => "https",
        _ => "http",
    };
    Some(format!("{scheme}://{authority}"))
}

fn only<'headers>(headers: &'headers HeaderMap, name: &str) -> Option<&'headers str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(named: &[(&'static str, &str)]) -> HeaderMap {
        let named = named.iter();
        let named = named.map(|(name, value)| {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            (http::HeaderName::from_static(name), value)
        });
        let mut headers = HeaderMap::new();
        for (name, value) in named {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn the_origin_is_what_the_client_calls_this_server() {
        for (host, proto, expected) in [
            ("localhost:8000", None, "http://localhost:8000"),
            ("127.0.0.1:8000", None, "http://127.0.0.1:8000"),
            ("[::1]:8000", None, "http://[::1]:8000"),
            ("192.168.1.5:8000", None, "http://192.168.1.5:8000"),
            ("dice.localhost", None, "http://dice.localhost"),
            ("my.ngrok.app", None, "https://my.ngrok.app"),
            ("my.ngrok.app:8443", None, "https://my.ngrok.app:8443"),
            ("my.ngrok.app", Some("http"), "http://my.ngrok.app"),
            ("localhost:8000", Some("https"), "https://localhost:8000"),
            ("my.ngrok.app", Some("HTTP"), "https://my.ngrok.app"),
            ("my.ngrok.app", Some("http, https"), "https://my.ngrok.app"),
            ("localhost", Some("javascript"), "http://localhost"),
        ] {
            let mut named = vec![("host", host)];
            named.extend(proto.map(|proto| ("x-forwarded-proto", proto)));
            assert_eq!(
                origin(&headers(&named)).as_deref(),
                Some(expected),
                "{host} {proto:?}"
            );
        }
    }

    #[test]
    fn a_host_that_is_no_plain_authority_makes_no_url() {
        for host in [
            "",
            "a\"b",
            "a b",
            "user@a.example",
            "a.example/path",
            "a.example?x",
            "a.example:99999",
            "a.example:80:80",
            "a\\b",
            "[::1",
            "\u{e9}.example",
            "a%41.example",
        ] {
            assert_eq!(origin(&headers(&[("host", host)])), None, "{host}");
        }
        assert_eq!(origin(&headers(&[])), None);
        assert_eq!(origin(&headers(&[("host", "a"), ("host", "b")])), None);
    }

    #[test]
    fn the_metadata_of_a_root_has_no_slash_behind_it() {
        let headers = headers(&[("host", "localhost")]);
        for (path, expected) in [
            ("/", "http://localhost/.well-known/oauth-protected-resource"),
            (
                "/mcp",
                "http://localhost/.well-known/oauth-protected-resource/mcp",
            ),
            (
                "/mcp/",
                "http://localhost/.well-known/oauth-protected-resource/mcp/",
            ),
        ] {
            assert_eq!(url(&headers, path).as_deref(), Some(expected));
        }
    }

    #[test]
    fn the_document_says_what_is_known_and_no_more() {
        let texts = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let policy = Policy {
            issuers: texts(&[
                "https://a.example",
                "joe",
                "http://b.example/",
                "file:///etc",
            ]),
            required_scopes: texts(&["dice:roll"]),
            ..Policy::default()
        };
        assert_eq!(
            document("https://dice.example/mcp", &policy).to_string(),
            concat!(
                r#"{"resource":"https://dice.example/mcp","#,
                r#""authorization_servers":["https://a.example","http://b.example/"],"#,
                r#""scopes_supported":["dice:roll"],"bearer_methods_supported":["header"]}"#
            )
        );
        assert_eq!(
            document("https://dice.example/mcp", &Policy::default()).to_string(),
            r#"{"resource":"https://dice.example/mcp","bearer_methods_supported":["header"]}"#
        );
    }
}
