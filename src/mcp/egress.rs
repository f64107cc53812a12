//! `EgressPolicy`: where connections to MCP servers may go, checked when they are made.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::address::{self, Class};

/// The names under which clouds answer with credentials of the machine.
const METADATA_NAMES: [&str; 2] = ["metadata", "metadata.google.internal"];

/// Where connections to MCP servers may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EgressPolicy {
    /// Wherever the person at the terminal says.
    #[default]
    Anywhere,
    /// For untrusted URLs: not to what only this machine can reach.
    ///
    /// Public addresses are allowed, private networks with `allow_private`, this machine with
    /// `allow_loopback`, and link-local addresses and the metadata services of clouds never. No
    /// proxy is used, for it would look up the name elsewhere.
    Guarded {
        allow_private: bool,
        /// Loopback, and every other address of this machine: what listens there may trust anyone who
        /// comes from here.
        allow_loopback: bool,
    },
}

/// Why a place is not connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    #[error("{host} is not an address that may be connected to")]
    Host { host: String },
    #[error("{host} is this machine, which the gateway connects to only with --allow-loopback")]
    Loopback { host: String },
    #[error("the URL has a user or a password")]
    Userinfo,
}

impl EgressPolicy {
    /// Whether the URL names a place that may be connected to, as far as can be told from it: the
    /// addresses of a name are checked when it is looked up.
    pub fn check(self, url: &Url) -> Result<(), Forbidden> {
        if self == Self::Anywhere {
            return Ok(());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Forbidden::Userinfo);
        }
        let host = url.host_str().unwrap_or_default();
        match url.host() {
            Some(Host::Domain(name))
                if !METADATA_NAMES.contains(&name.strip_suffix('.').unwrap_or(name)) =>
            {
                Ok(())
            }
            Some(Host::Ipv4(address)) => self.check_address(host, IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => self.check_address(host, IpAddr::V6(address)),
            Some(Host::Domain(_)) | None => Err(Forbidden::Host {
                host: host.to_owned(),
            }),
        }
    }

    /// The HTTP client that goes no further than this. A connection is made to the very addresses
    /// that were checked, so a name cannot have others by then.
    pub fn guard(self, client: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        match self {
            Self::Anywhere => client,
            Self::Guarded { .. } => client.no_proxy().dns_resolver(Resolver(self)),
        }
    }

    /// Whether this address of `host` may be connected to.
    fn check_address(self, host: &str, address: IpAddr) -> Result<(), Forbidden> {
        let Self::Guarded {
            allow_private,
            allow_loopback,
        } = self
        else {
            return Ok(());
        };
        let host = || host.to_owned();
        match address::class(address) {
            Class::Forbidden => Err(Forbidden::Host { host: host() }),
            Class::Private if !allow_private => Err(Forbidden::Host { host: host() }),
            _ if !allow_loopback && is_of_this_machine(address) => {
                // Whoever runs the gateway can change it; its clients cannot.
                tracing::warn!(
                    host = host(),
                    "a client named an MCP server on this machine; --allow-loopback allows it"
                );
                Err(Forbidden::Loopback { host: host() })
            }
            Class::Public | Class::Private | Class::Loopback => Ok(()),
        }
    }

    /// Those of the addresses of `host` that may be connected to; without any, why the first one
    /// may not.
    fn allowed(
        self,
        host: &str,
        found: impl Iterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, Forbidden> {
        let mut allowed = Vec::new();
        let mut refusal = None;
        for address in found {
            match self.check_address(host, address.ip()) {
                Ok(()) => allowed.push(address),
                Err(why) => refusal = refusal.or(Some(why)),
            }
        }
        match refusal {
            Some(why) if allowed.is_empty() => Err(why),
            _ => Ok(allowed),
        }
    }
}

/// Whether the address is loopback, or a network interface has it: only such an address can be bound.
fn is_of_this_machine(address: IpAddr) -> bool {
    address::class(address) == Class::Loopback || UdpSocket::bind((address, 0)).is_ok()
}

/// Looks up names as the system does, and leaves out what may not be connected to.
struct Resolver(EgressPolicy);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = self.0;
        Box::pin(async move {
            // The port is the one of the URL; reqwest puts it in.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed = egress.allowed(name.as_str(), found)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: EgressPolicy = EgressPolicy::Guarded {
        allow_private: false,
        allow_loopback: true,
    };
    const PRIVATE: EgressPolicy = EgressPolicy::Guarded {
        allow_private: true,
        allow_loopback: true,
    };
    const NOT_HERE: EgressPolicy = EgressPolicy::Guarded {
        allow_private: true,
        allow_loopback: false,
    };

    fn is_allowed(egress: EgressPolicy, url: &str) -> bool {
        egress.check(&Url::parse(url).unwrap()).is_ok()
    }

    #[test]
    fn a_literal_address_is_judged_however_it_is_spelt() {
        for (url, strict, private) in [
            ("https://a.example/mcp", true, true),
            ("http://8.8.8.8/", true, true),
            ("http://localhost:8000/mcp", true, true),
            ("http://127.1/", true, true),
            ("http://0x7f.0.0.1/", true, true),
            ("http://[::1]/", true, true),
            ("http://192.168.1.5/", false, true),
            ("http://3232235781/", false, true),
            ("http://[fd12::1]/", false, true),
            ("http://169.254.169.254/latest/meta-data", false, false),
            ("http://2852039166/", false, false),
            ("http://0xa9fea9fe/", false, false),
            ("http://0251.0376.0251.0376/", false, false),
            ("http://0xa9.254.0251.254/", false, false),
            ("http://169.254.43518/", false, false),
            ("http://169.254.169.254./", false, false),
            ("http://\u{ff11}\u{ff16}\u{ff19}.254.169.254/", false, false),
            ("http://[::ffff:169.254.169.254]/", false, false),
            ("http://[::ffff:a9fe:a9fe]/", false, false),
            ("http://[64:ff9b::a9fe:a9fe]/", false, false),
            ("http://[2002:a9fe:a9fe::]/", false, false),
            ("http://[fe80::1]/", false, false),
            ("http://[fd00:ec2::254]/", false, false),
            ("http://100.100.100.200/", false, false),
            ("http://0/", false, false),
            ("http://[::]/", false, false),
            ("http://metadata/computeMetadata/v1/", false, false),
            ("http://METADATA.google.internal/", false, false),
            ("http://metadata.google.internal./", false, false),
            ("http://user@a.example/", false, false),
            ("http://user:password@a.example/", false, false),
            ("http://:password@a.example/", false, false),
        ] {
            assert_eq!(
                (is_allowed(STRICT, url), is_allowed(PRIVATE, url)),
                (strict, private),
                "{url}"
            );
            assert!(is_allowed(EgressPolicy::Anywhere, url), "{url}");
        }
    }

    #[test]
    fn of_the_addresses_of_a_name_the_forbidden_ones_are_left_out() {
        let allowed = |egress: EgressPolicy, addresses: &str| {
            let found = addresses.split(' ').map(|it| it.parse().unwrap());
            let allowed = egress.allowed("a.example", found);
            allowed.map(|it| it.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let all = "169.254.169.254:0 10.0.0.1:0 8.8.8.8:0 [fe80::1]:0 [2606:4700::1111]:0";
        let public = ["8.8.8.8:0", "[2606:4700::1111]:0"];
        assert_eq!(allowed(STRICT, all).unwrap(), public);
        assert_eq!(
            allowed(PRIVATE, all).unwrap(),
            [&["10.0.0.1:0"], &public[..]].concat()
        );
        assert_eq!(
            allowed(STRICT, "10.0.0.1:0 [::ffff:10.0.0.1]:0")
                .unwrap_err()
                .to_string(),
            "a.example is not an address that may be connected to"
        );
    }

    #[test]
    fn without_allow_loopback_no_address_of_this_machine_is_connected_to() {
        for url in [
            "http://127.0.0.1:8000/",
            "http://127.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
        ] {
            let refused = NOT_HERE.check(&Url::parse(url).unwrap());
            assert!(
                matches!(refused, Err(Forbidden::Loopback { .. })),
                "{url}: {refused:?}"
            );
        }
        assert!(is_allowed(NOT_HERE, "http://8.8.8.8/"));
        // The address that this machine has in its network, if it is in one. Nothing is sent.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("192.0.2.1:9").is_ok() {
            let address = socket.local_addr().unwrap().ip();
            assert!(is_of_this_machine(address), "{address}");
            assert!(!is_allowed(NOT_HERE, &format!("http://{address}/")));
        }
        let found = ["127.0.0.1:0".parse().unwrap()].into_iter();
        assert_eq!(
            NOT_HERE
                .allowed("localhost", found)
                .unwrap_err()
                .to_string(),
            "localhost is this machine, which the gateway connects to only with --allow-loopback"
        );
    }

    #[tokio::test]
    async fn a_name_is_looked_up_and_its_addresses_are_checked() {
        let found = Resolver(STRICT).resolve("localhost".parse().unwrap()).await;
        assert!(found.unwrap().all(|it| it.ip().is_loopback()));
    }
}
