//! Which URLs are those of this machine, or of a network that the world cannot reach.

use std::net::{IpAddr, Ipv6Addr};

use url::{Host, Url};

/// Whether the URL's host is this machine, by its name or its address.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether only this machine, or its own network, can reach the URL.
pub fn is_local(url: &Url) -> bool {
    let address = match url.host() {
        Some(Host::Domain(name)) => {
            return is_loopback(url) || name.ends_with(".local") || !name.contains('.');
        }
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => address
            .to_ipv4_mapped()
            .map_or(IpAddr::V6(address), IpAddr::V4),
        None => return false,
    };
    match address {
        IpAddr::V4(it) => {
            it.is_loopback() || it.is_private() || it.is_link_local() || it.is_unspecified()
        }
        IpAddr::V6(it) => it.is_loopback() || it.is_unspecified() || is_private(it),
    }
}

/// Unique local (RFC 4193) and link-local addresses.
fn is_private(address: Ipv6Addr) -> bool {
    let first = address.segments()[0];
    first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80
}

/// The URL without the user and the password that it may have.
pub fn without_userinfo(url: &Url) -> Url {
    let mut bare = url.clone();
    // Neither fails for a URL that has a host, and one without has no user.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    bare
}

/// The URL as it may be shown: without a user, a password, a query, for those can be secrets.
pub fn shown(url: &Url) -> String {
    let mut shown = without_userinfo(url);
    shown.set_query(None);
    shown.set_fragment(None);
    shown.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_the_world_cannot_reach_are_known() {
        for (url, local, loopback) in [
            ("http://localhost:8000/mcp", true, true),
            ("http://dice.localhost/", true, true),
            ("http://127.3.2.1/", true, true),
            ("http://[::1]/", true, true),
            ("http://[::ffff:127.0.0.1]/", true, false),
            ("http://0.0.0.0:8000/", true, false),
            ("http://10.1.2.3/", true, false),
            ("http://172.16.0.1/", true, false),
            ("http://192.168.1.5/", true, false),
            ("http://169.254.169.254/", true, false),
            ("http://[fd00::1]/", true, false),
            ("http://[fe80::1]/", true, false),
            ("http://printer.local/", true, false),
            ("http://intranet/", true, false),
            ("https://a.example/", false, false),
            ("http://8.8.8.8/", false, false),
            ("http://172.32.0.1/", false, false),
            ("http://[2001:db8::1]/", false, false),
        ] {
            let parsed = Url::parse(url).unwrap();
            assert_eq!(
                (is_local(&parsed), is_loopback(&parsed)),
                (local, loopback),
                "{url}"
            );
        }
    }

    #[test]
    fn what_can_be_a_secret_is_not_shown() {
        let url = Url::parse("http://user:canary@a.example/v1?key=canary#canary").unwrap();
        assert_eq!(shown(&url), "http://a.example/v1");
    }
}
