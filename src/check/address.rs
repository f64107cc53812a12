//! The step `address`: is this a place that OpenAI can reach?

use std::io;
use std::net::IpAddr;

use http::StatusCode;
use url::{Host, Url};

use super::Outcome;
use super::stage::{fail, pass, warn};
use crate::address::{self, Class};
use crate::mcp::{ProbeError, ProbeResult};
use crate::responses::FailedDependency;

/// The addresses of the URL's host.
pub async fn look_up(url: &Url) -> io::Result<Vec<IpAddr>> {
    let port = url.port_or_known_default().unwrap_or_default();
    match url.host() {
        Some(Host::Ipv4(it)) => Ok(vec![it.into()]),
        Some(Host::Ipv6(it)) => Ok(vec![it.into()]),
        Some(Host::Domain(name)) => {
            let found = tokio::net::lookup_host((name, port)).await?;
            Ok(found.map(|it| it.ip()).collect())
        }
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

/// What there is to say of a URL, of the addresses that were found, and of the first answer. A name
/// that only a proxy can look up is as good as another.
pub fn judge(
    server_label: &str,
    url: &Url,
    found: &io::Result<Vec<IpAddr>>,
    first: &ProbeResult,
) -> Outcome {
    let host = url.host_str().unwrap_or_default();
    if let Err(ProbeError::NoConnection(why)) = &first.answer {
        return match found {
            Err(error) => fail(
                format!("the name {host} is not found: {error}"),
                "check the name and its DNS records",
            ),
            Ok(_) => fail(
                format!("nothing listens at {}: {why}", authority(url)),
                "check that the server runs, and that it listens on this port",
            ),
        };
    }
    let found = found.as_deref().unwrap_or_default();
    let is_private = |it: &IpAddr| address::class(*it) != Class::Public;
    if address::is_local(url) || found.iter().any(is_private) {
        return warn(
            format!(
                "only this machine or its network can reach it; OpenAI answers HTTP 424: {}",
                of_local(server_label)
            ),
            "give it a public name with a tunnel, or ask with --bridge or --local; the steps below take it as it is",
        );
    }
    if url.scheme() == "http" {
        return warn(
            "anyone on the network path can read the requests and the token, because the URL is not https",
            "serve it over https",
        );
    }
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    match found.as_slice() {
        [] => pass("reached through a proxy"),
        found => pass(found.join(", ")),
    }
}

fn authority(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

/// What OpenAI says of an address that only its own machine can egress.
fn of_local(server_label: &str) -> String {
    let failure = FailedDependency::listing(server_label, StatusCode::BAD_REQUEST, String::new());
    failure.error.message
}
