//! What all connections to other servers have in common.

mod certificates;

use std::time::Duration;

use url::Url;

use crate::address;

/// How long a connection may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The HTTP client for `url`; the caller adds the redirect policy that is safe there.
///
/// Requests to this machine never go through a proxy, whatever `NO_PROXY` says: a proxy has another
/// loopback, and would see the token. No client of this program follows a redirect to another
/// origin, so that a request stays on the side of the proxy where it began.
pub fn client_for(url: &Url) -> reqwest::ClientBuilder {
    let mut client = reqwest::Client::builder()
        .user_agent(concat!("mcp-cli/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT);
    // Without it, reqwest reads the certificates for every client, and says why it cannot.
    if let Ok(config) = certificates::client_config() {
        client = client.tls_backend_preconfigured(config);
    }
    if address::is_loopback(url) {
        client.no_proxy()
    } else {
        client
    }
}
