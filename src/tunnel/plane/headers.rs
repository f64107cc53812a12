//! Which headers pass the control plane, in both directions.

use std::collections::BTreeMap;

use http::header::{CONNECTION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Headers of a connector that a server does not get: those of its connection, and those that say where it is or
/// belong to the service that stands before it.
const WITHHELD: [&str; 40] = [
    "accept-encoding",
    "cf-connecting-ip",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "forwarded",
    "host",
    "keep-alive",
    "openai-organization",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "user-agent",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-custom-cf-witness-actor",
    "x-custom-cf-witness-authorization",
    "x-envoy-external-address",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-oai-brte-redeemable-token",
    "x-openai-actor-authorization",
    "x-openai-authorization",
    "x-openai-authorization-error",
    "x-openai-brte-redeemable-token",
    "x-openai-internal-caller",
    "x-openai-request-path",
    "x-openai-skip-auth",
    "x-original-forwarded-for",
    "x-real-ip",
    "x-tunnel-traffic-source",
];

/// Headers of an answer that belong to its connection; those of proxies do as well.
const OF_CONNECTION: [&str; 7] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The parameter of a challenge that says where its issuer is described (RFC 9728 section 5.1).
const METADATA: &str = "resource_metadata";

/// The headers of a connector as a command carries them.
pub fn of_command(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let lines = headers.get_all(CONNECTION).iter();
    let named = named(lines.filter_map(|it| it.to_str().ok()));
    let mut passing = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in headers {
        let is_withheld = WITHHELD.contains(&name.as_str()) || named.contains(name);
        let value = value.to_str().ok().filter(|it| !it.is_empty());
        if let (false, Some(value)) = (is_withheld, value) {
            let values = passing.entry(name.to_string()).or_default();
            values.push(value.to_owned());
        }
    }
    passing
}

/// The headers of an answer as a connector gets them. What no header can carry is left out.
pub fn of_answer(posted: BTreeMap<String, Option<Vec<String>>>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, values) in posted {
        let Ok(name) = HeaderName::try_from(name) else {
            continue;
        };
        for value in values.into_iter().flatten() {
            let value = match name == WWW_AUTHENTICATE {
                true => without_metadata(&value),
                false => value,
            };
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.append(name.clone(), value);
            }
        }
    }
    let lines = headers.get_all(CONNECTION).iter();
    let named = named(lines.filter_map(|it| it.to_str().ok()));
    let names: Vec<HeaderName> = headers.keys().cloned().collect();
    for name in names {
        let text = name.as_str();
        if OF_CONNECTION.contains(&text) || text.starts_with("proxy-") || named.contains(&name) {
            headers.remove(name);
        }
    }
    headers
}

/// The headers that `Connection` names (RFC 9110 section 7.6.1).
fn named<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<HeaderName> {
    let names = lines.flat_map(|it| it.split(','));
    names.filter_map(|it| it.trim().parse().ok()).collect()
}

/// A challenge without the address of its metadata: it is that of the server as its own network knows it, and
/// the control plane has no document to put in its place, for the contract has no command that fetches it.
fn without_metadata(challenge: &str) -> String {
    let mut kept = String::new();
    let mut after_scheme = false;
    for part in parts(challenge) {
        let words = part.split_once(char::is_whitespace);
        let words = words.map(|(first, rest)| (first, rest.trim_start()));
        let (scheme, parameter) = match words {
            // Blanks may stand around `=` as well.
            Some((first, rest)) if !first.contains('=') && !rest.starts_with('=') => {
                (Some(first), rest)
            }
            _ => (None, part),
        };
        let name = parameter.split('=').next().unwrap_or_default();
        let is_dropped = name.trim().eq_ignore_ascii_case(METADATA);
        let text = match (is_dropped, scheme) {
            (false, _) => part,
            (true, Some(scheme)) => scheme,
            (true, None) => continue,
        };
        let separator = match (kept.is_empty(), after_scheme && scheme.is_none()) {
            (true, _) => "",
            (false, true) => " ",
            (false, false) => ", ",
        };
        kept.push_str(separator);
        kept.push_str(text);
        after_scheme = is_dropped;
    }
    kept
}

/// The parts of a header between commas; those within quotes belong to their part.
fn parts(value: &str) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = value.split(move |it| {
        let separates = it == ',' && !is_quoted;
        is_quoted ^= it == '"' && !is_escaped;
        is_escaped = is_quoted && it == '\\' && !is_escaped;
        separates
    });
    parts.map(str::trim).filter(|it| !it.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_connection_or_its_service_does_not_reach_the_server() {
        let mut headers = HeaderMap::new();
        for name in WITHHELD {
            headers.insert(name, HeaderValue::from_static("x"));
        }
        headers.insert("connection", HeaderValue::from_static("x-one, X-Two"));
        for (name, value) in [
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-empty", ""),
            ("authorization", "Bearer t"),
            ("accept", "a"),
            ("mcp-session-id", "s"),
            ("mcp-protocol-version", "v"),
            ("last-event-id", "7"),
            ("x-custom", "1"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.append("x-custom", HeaderValue::from_static("2"));
        let passing = of_command(&headers);
        let passing: Vec<_> = passing
            .iter()
            .map(|(name, it)| (&**name, it.join("+")))
            .collect();
        let expected = [
            ("accept", "a"),
            ("authorization", "Bearer t"),
            ("last-event-id", "7"),
            ("mcp-protocol-version", "v"),
            ("mcp-session-id", "s"),
            ("x-custom", "1+2"),
        ];
        assert_eq!(
            passing,
            expected.map(|(name, value)| (name, value.to_owned()))
        );
    }

    #[test]
    fn what_belongs_to_a_connection_does_not_reach_the_connector() {
        let posted = [
            ("Connection", "X-One"),
            ("X-One", "1"),
            ("Content-Length", "7"),
            ("Transfer-Encoding", "chunked"),
            ("Proxy-Authenticate", "x"),
            ("Date", "x"),
            ("Mcp-Session-Id", "s"),
            ("X-Custom", "2"),
            ("bad name", "x"),
            ("X-Bad", "a\nb"),
        ];
        let posted = posted.map(|(name, value)| (name.to_owned(), Some(vec![value.to_owned()])));
        let mut headers = of_answer(
            posted
                .into_iter()
                .chain([("X-None".to_owned(), None)])
                .collect(),
        );
        assert_eq!(headers.remove("mcp-session-id").unwrap(), "s");
        assert_eq!(headers.remove("x-custom").unwrap(), "2");
        assert!(headers.is_empty(), "{headers:?}");
    }

    #[test]
    fn a_challenge_loses_the_address_of_its_metadata_alone() {
        for (challenge, kept) in [
            ("Bearer", "Bearer"),
            ("Bearer realm=\"a, b\"", "Bearer realm=\"a, b\""),
            ("Bearer resource_metadata=\"http://10.0.0.1/x,y\"", "Bearer"),
            (
                "Bearer resource_metadata=\"http://a/\", scope=\"x y\", error=\"z\"",
                "Bearer scope=\"x y\", error=\"z\"",
            ),
            (
                "Bearer realm=\"r\", Resource_Metadata = http://a/, scope=s",
                "Bearer realm=\"r\", scope=s",
            ),
            (
                "Bearer resource_metadata=a, Basic realm=\"x\"",
                "Bearer, Basic realm=\"x\"",
            ),
            (
                r#"Bearer realm="a\", resource_metadata=b", scope=s"#,
                r#"Bearer realm="a\", resource_metadata=b", scope=s"#,
            ),
        ] {
            assert_eq!(without_metadata(challenge), kept);
        }
    }
}
