//! Which URLs are those of this machine, or of a network that the world cannot reach, and what an
//! address is good for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Whether the host is this machine, by a name of RFC 6761 section 6.3 (`localhost` and all below it,
/// fully qualified or not) or by a loopback address.
pub fn is_loopback_host<S: AsRef<str>>(host: &Host<S>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.as_ref().to_ascii_lowercase();
            let name = name.strip_suffix('.').unwrap_or(&name);
            name == "localhost" || name.ends_with(".localhost")
        }
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.to_canonical().is_loopback(),
    }
}

/// Whether a connection to the URL stays on this machine. One to the unspecified address does
/// (`0.0.0.0`, `::`): the system connects to loopback.
pub fn is_loopback(url: &Url) -> bool {
    let is_unspecified = |host: &Host<&str>| match host {
        Host::Domain(_) => false,
        Host::Ipv4(address) => address.is_unspecified(),
        Host::Ipv6(address) => address.to_canonical().is_unspecified(),
    };
    url.host()
        .is_some_and(|host| is_loopback_host(&host) || is_unspecified(&host))
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

/// What kind of address it is, for a program that connects to addresses chosen by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The world can reach it.
    Public,
    /// This machine.
    Loopback,
    /// A network of one's own: RFC 1918, RFC 6598 (carrier-grade NAT), RFC 4193.
    Private,
    /// Never allowed for untrusted URLs: link-local addresses, where clouds keep their metadata,
    /// and all that is no address of one host in the world.
    Forbidden,
}

/// The class of an address (IANA, special-purpose address registries).
///
/// An IPv4 address that is written as an IPv6 address is judged as what it is.
pub fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(it) => class_v4(it),
        IpAddr::V6(it) => class_v6(it),
    }
}

fn class_v4(address: Ipv4Addr) -> Class {
    match address.octets() {
        // The metadata of Alibaba and of Azure, which are not link-local.
        [100, 100, 100, 200] | [168, 63, 129, 16] => Class::Forbidden,
        [127, ..] => Class::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Class::Private,
        // "This network", link-local, IETF protocols, documentation, 6to4 relays, benchmarks,
        // multicast and all that is reserved, broadcast included.
        [0, ..]
        | [169, 254, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18..=19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [224..=255, ..] => Class::Forbidden,
        _ => Class::Public,
    }
}

fn class_v6(address: Ipv6Addr) -> Class {
    let [.., high, low] = address.segments();
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    let last = Ipv4Addr::new(a, b, c, d);
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Loopback,
        // IPv4-mapped: the system connects to the IPv4 address itself.
        [0, 0, 0, 0, 0, 0xffff, ..] => class_v4(last),
        // IPv4-compatible, IPv4-translated and NAT64 (RFC 4291, 2765, 6052).
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            carried(last)
        }
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            carried(Ipv4Addr::new(a, b, c, d))
        }
        // The metadata of Amazon and of Google, in the unique local range.
        [0xfd00, 0xec2, ..] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => Class::Forbidden,
        [0xfc00..=0xfdff, ..] => Class::Private,
        // IETF protocols (Teredo among them) and documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Class::Forbidden,
        // All of the world is in here (RFC 4291 section 2.4).
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => Class::Forbidden,
    }
}

/// The class of an IPv4 address that a gateway elsewhere connects to: its own network is not ours.
fn carried(address: Ipv4Addr) -> Class {
    match class_v4(address) {
        Class::Public => Class::Public,
        Class::Loopback | Class::Private | Class::Forbidden => Class::Forbidden,
    }
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
            ("http://LocalHost:8000/", true, true),
            ("http://localhost.:8000/", true, true),
            ("http://dice.localhost./", true, true),
            ("http://127.1/", true, true),
            ("http://2130706433/", true, true),
            ("http://0x7f.1/", true, true),
            ("http://0177.0.0.1/", true, true),
            ("http://127.0.0.1./", true, true),
            ("http://[::ffff:127.0.0.1]/", true, true),
            ("http://[::ffff:7f00:1]/", true, true),
            ("http://0.0.0.0:8000/", true, true),
            ("http://0/", true, true),
            ("http://[::]/", true, true),
            ("http://[::ffff:0.0.0.0]/", true, true),
            ("http://localhost..:8000/", false, false),
            ("http://localhost.example/", false, false),
            ("http://notlocalhost/", true, false),
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
    fn an_address_has_the_class_of_what_it_leads_to() {
        for (class_of_all, addresses) in [
            (
                Class::Public,
                "8.8.8.8 1.1.1.1 172.15.0.1 172.32.0.1 100.63.0.1 100.128.0.1 169.253.0.1 192.0.1.1 \
                 198.17.0.1 198.20.0.1 223.255.255.255 168.63.129.17 2606:4700::1111 2001:200::1 \
                 2001:db9::1 3ffe::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1 ::8.8.8.8",
            ),
            (
                Class::Loopback,
                "127.0.0.1 127.255.255.254 ::1 ::ffff:127.0.0.1",
            ),
            (
                Class::Private,
                "10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 100.64.0.1 \
                 100.127.255.255 fc00::1 fdff::1 ::ffff:10.0.0.1",
            ),
            (
                Class::Forbidden,
                "169.254.169.254 169.254.0.1 169.254.170.2 100.100.100.200 168.63.129.16 0.0.0.0 \
                 0.1.2.3 192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.1 198.19.255.255 198.51.100.1 \
                 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: fe80::1 febf::1 \
                 fec0::1 ff02::1 fd00:ec2::254 fd20:ce::254 2001::1 2001:db8::1 3fff::1 100::1 4000::1 \
                 64:ff9b:1::1 ::ffff:169.254.169.254 ::ffff:0.0.0.0 ::169.254.169.254 ::127.0.0.1 \
                 ::ffff:0:169.254.169.254 64:ff9b::169.254.169.254 64:ff9b::10.0.0.1 \
                 64:ff9b::127.0.0.1 2002:a9fe:a9fe::1 2002:7f00:1::1 2002:c0a8:1::1",
            ),
        ] {
            for address in addresses.split_whitespace() {
                let class = class(address.parse().unwrap());
                assert_eq!(class, class_of_all, "{address}");
            }
        }
    }

    #[test]
    fn what_can_be_a_secret_is_not_shown() {
        let url = Url::parse("http://user:canary@a.example/v1?key=canary#canary").unwrap();
        assert_eq!(shown(&url), "http://a.example/v1");
    }
}
