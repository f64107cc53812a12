//! Which headers pass the control plane, in both directions.

use std::collections::BTreeMap;

use http::header::CONNECTION;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Headers of a connector that a server does not get: those of one connection, and those that tell where
/// it came from.
const WITHHELD: [&str; 29] = [
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
    "x-envoy-external-address",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-original-forwarded-for",
    "x-real-ip",
];
/// Headers of an answer that are of one connection.
const OF_CONNECTION: [&str; 9] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The headers of a connector as a command carries them.
pub fn of_command(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let named = named_by_connection(headers);
    let mut passing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let is_withheld = WITHHELD.contains(&name.as_str()) || named.contains(name);
        if let (false, Ok(value @ [_, ..])) = (is_withheld, value.to_str().map(str::as_bytes)) {
            let value = String::from_utf8_lossy(value).into_owned();
            passing.entry(name.to_string()).or_default().push(value);
        }
    }
    passing
}

/// The headers of an answer as a connector gets them.
pub fn of_answer(headers: BTreeMap<String, Vec<String>>) -> HeaderMap {
    let mut passing = HeaderMap::new();
    for (name, values) in headers {
        let Ok(name) = HeaderName::try_from(name) else {
            continue;
        };
        if OF_CONNECTION.contains(&name.as_str()) {
            continue;
        }
        let values = values
            .into_iter()
            .filter_map(|it| HeaderValue::try_from(it).ok());
        for value in values {
            passing.append(name.clone(), value);
        }
    }
    passing
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter();
    let names = values
        .filter_map(|it| it.to_str().ok())
        .flat_map(|it| it.split(','));
    names.filter_map(|it| it.trim().parse().ok()).collect()
}
