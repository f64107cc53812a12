//! Checks the `Host` and `Origin` headers before anything else, then `Content-Length`.

use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::header::{CONTENT_LENGTH, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};
use url::Host;

use super::body::Unreadable;
use super::headers::one;
use super::response::{closing, refusal};
use crate::address::is_loopback_host;

/// The host names that a server accepts in the `Host` header, and the origins of pages that may call
/// it.
///
/// Loopback names are always accepted. Without the check of `Host`, any page could call a server on
/// its visitor's machine by letting its own name point there (DNS rebinding).
#[derive(Debug, Clone)]
pub struct HostPolicy {
    hosts: Vec<AllowedHost>,
    origins: Vec<HeaderValue>,
    /// Pages of this machine may call as well.
    loopback_pages: bool,
    public: PublicHost,
    refuse: Refuse,
}

/// The host that a tunnel has given the server, which may be another one after a while. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct PublicHost(Arc<RwLock<Option<AllowedHost>>>);

impl PublicHost {
    /// From now on, requests for the host of this URL are accepted.
    pub fn set(&self, url: &url::Url) {
        let host = url.host().map(|host| AllowedHost {
            host: host.to_owned(),
            port: None,
        });
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = host;
    }

    fn allows(&self, host: &Host, port: Option<u16>) -> bool {
        let public = self.0.read().unwrap_or_else(PoisonError::into_inner);
        public.as_ref().is_some_and(|it| it.allows(host, port))
    }
}

/// Makes the answer to a rejected request: JSON-RPC and the Responses API have different ones.
pub type Refuse = fn(StatusCode, &str) -> Response;

impl Default for HostPolicy {
    fn default() -> Self {
        Self::new(Vec::new(), Vec::new())
    }
}

/// A host, with any port or with a certain one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    host: Host,
    port: Option<u16>,
}

/// The origin of a page as a browser serializes it: scheme, host, and a port other than the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedOrigin(HeaderValue);

/// Why a text is not a valid host or origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    #[error("a host is a name or an address, with or without a port, such as my.ngrok.app")]
    Host,
    #[error("an origin is a scheme and a host, such as https://app.example.com")]
    Origin,
}

impl FromStr for AllowedHost {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let bracketed = format!("[{text}]");
        let text = if text.parse::<std::net::Ipv6Addr>().is_ok() {
            &bracketed
        } else {
            text
        };
        let (host, port) = host_and_port(text).ok_or(InvalidName::Host)?;
        Ok(Self { host, port })
    }
}

impl FromStr for AllowedOrigin {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let url = url::Url::parse(text).map_err(|_| InvalidName::Origin)?;
        let is_bare = matches!(url.path(), "" | "/") && url.query().is_none();
        let origin = url.origin();
        if !is_bare || !origin.is_tuple() {
            return Err(InvalidName::Origin);
        }
        let origin = HeaderValue::try_from(origin.ascii_serialization());
        origin.map(Self).map_err(|_| InvalidName::Origin)
    }
}

impl HostPolicy {
    /// The policy of an MCP server that accepts these hosts, loopback and pages of these origins.
    pub fn new(hosts: Vec<AllowedHost>, origins: Vec<AllowedOrigin>) -> Self {
        let origins = origins.into_iter().map(|origin| origin.0).collect();
        Self {
            hosts,
            origins,
            loopback_pages: false,
            public: PublicHost::default(),
            refuse: refusal,
        }
    }

    /// The same policy for a server that pages of this machine may call too, such as the MCP Inspector:
    /// one that only this machine reaches.
    pub fn with_loopback_pages(self) -> Self {
        Self {
            loopback_pages: true,
            ..self
        }
    }

    /// The same policy for a server behind a tunnel.
    pub fn with_public(self, public: PublicHost) -> Self {
        Self { public, ..self }
    }

    /// The same policy with other answers to rejected requests.
    pub fn with_refuse(self, refuse: Refuse) -> Self {
        Self { refuse, ..self }
    }

    /// Checks all requests to `router`, also that they announce no more than `max_body` bytes. Allowed
    /// origins get CORS headers; without any there are none.
    pub fn protect(self, router: Router, max_body: u64) -> Router {
        let router = match self.origins.is_empty() && !self.loopback_pages {
            true => router,
            false => router.layer(cors(self.clone())),
        };
        router.layer(from_fn_with_state(Arc::new((self, max_body)), check))
    }

    fn refuses(&self, uri: &Uri, headers: &HeaderMap, max_body: u64) -> Option<Response> {
        match self.check_host(uri, headers) {
            Ok(true) => {}
            Ok(false) => {
                let message = "this server does not answer under the name in the Host header";
                return Some((self.refuse)(StatusCode::FORBIDDEN, message));
            }
            Err(message) => {
                return Some(closing((self.refuse)(StatusCode::BAD_REQUEST, message)));
            }
        }
        if !self.allows_origin(headers) {
            let message = "this server does not answer pages of the origin in the Origin header";
            return Some((self.refuse)(StatusCode::FORBIDDEN, message));
        }
        let length = headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok());
        let length = length.and_then(|length| length.parse::<u64>().ok());
        let is_too_large = length.is_some_and(|length| length > max_body);
        is_too_large.then(|| {
            let why = Unreadable::TooLarge;
            closing((self.refuse)(why.status(), &why.to_string()))
        })
    }

    /// RFC 9112 section 3.2: one `Host`, and the same as in an absolute request target.
    fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<bool, &'static str> {
        let host = one(headers, HOST).map_err(|()| "there is more than one Host header")?;
        let host = host.ok_or("there is no Host header")?;
        let host = host.to_str().ok().and_then(host_and_port);
        let (host, port) = host.ok_or("the Host header is not a host")?;
        let target = uri
            .authority()
            .map(|authority| host_and_port(authority.as_str()));
        if target.is_some_and(|target| target != Some((host.clone(), port))) {
            return Err("the Host header is not the host of the request target");
        }
        let mut hosts = self.hosts.iter();
        let is_allowed = is_loopback_host(&host) || hosts.any(|it| it.allows(&host, port));
        Ok(is_allowed || self.public.allows(&host, port))
    }

    fn allows_origin(&self, headers: &HeaderMap) -> bool {
        match one(headers, ORIGIN) {
            Ok(None) => true,
            Ok(Some(origin)) => self.knows_origin(origin),
            Err(()) => false,
        }
    }

    fn knows_origin(&self, origin: &HeaderValue) -> bool {
        self.origins.contains(origin) || (self.loopback_pages && is_loopback_origin(origin))
    }
}

impl AllowedHost {
    fn allows(&self, host: &Host, port: Option<u16>) -> bool {
        self.host == *host && (self.port.is_none() || self.port == port)
    }
}

async fn check(
    State(policy): State<Arc<(HostPolicy, u64)>>,
    request: Request,
    next: Next,
) -> Response {
    let (policy, max_body) = &*policy;
    match policy.refuses(request.uri(), request.headers(), *max_body) {
        None => next.run(request).await,
        Some(refusal) => refusal,
    }
}

/// Whether a page of this origin comes from this machine. A browser does not let a page choose its
/// origin, and a name that points here is none of these.
fn is_loopback_origin(origin: &HeaderValue) -> bool {
    let origin = origin.to_str().ok();
    let known = origin.and_then(|text| Some((text, text.parse::<AllowedOrigin>().ok()?)));
    let url = known.filter(|(text, known)| known.0 == *text);
    let url = url.and_then(|(text, _)| url::Url::parse(text).ok());
    url.is_some_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url
                .host()
                .is_some_and(|host| is_loopback_host(&host.to_owned()))
    })
}

fn cors(policy: HostPolicy) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _| {
            policy.knows_origin(origin)
        }))
        .allow_methods(AllowMethods::mirror_request())
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            HeaderName::from_static("mcp-session-id"),
            HeaderName::from_static("x-request-id"),
            http::header::WWW_AUTHENTICATE,
        ])
}

/// The host in the spelling of the URL standard, and the port.
fn host_and_port(text: &str) -> Option<(Host, Option<u16>)> {
    let authority: Authority = text.parse().ok()?;
    let host = authority.host();
    // What follows the host is a colon and a port, or the header is invalid.
    let rest = authority.as_str().strip_prefix(host)?;
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        Some(port) => Some(port.parse().ok()?),
        None => return None,
    };
    // Only an IPv6 address has brackets, and it must have them (RFC 3986 section 3.2.2).
    let host = Host::parse(host).ok()?;
    Some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> HostPolicy {
        HostPolicy::new(
            vec!["My.Example".parse().unwrap(), "other:8443".parse().unwrap()],
            vec!["https://App.example/".parse().unwrap()],
        )
    }

    fn status(target: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        let refusal = policy().refuses(&target.parse().unwrap(), &map, 262_144);
        refusal.map(|response| response.status().as_u16())
    }

    #[test]
    fn an_unknown_host_name_is_rejected() {
        for (host, refused) in [
            ("localhost", None),
            ("LOCALHOST:8000", None),
            ("127.0.0.1:8000", None),
            ("127.9.9.9", None),
            ("[::1]:8000", None),
            ("localhost.:8000", None),
            ("dice.localhost", None),
            ("dice.localhost.:8000", None),
            ("127.1", None),
            ("[::ffff:127.0.0.1]:8000", None),
            ("my.example", None),
            ("MY.EXAMPLE:443", None),
            ("other:8443", None),
            ("other", Some(403)),
            ("other:1", Some(403)),
            ("evil.example", Some(403)),
            ("localhost.evil.example", Some(403)),
            ("my.example.", Some(403)),
            ("192.168.0.1", Some(403)),
            ("0.0.0.0", Some(403)),
            ("[::]", Some(403)),
            ("[::ffff:192.168.0.1]", Some(403)),
            ("", Some(400)),
            ("[127.0.0.1]", Some(400)),
            ("[localhost]", Some(400)),
            ("[::1", Some(400)),
            ("::1", Some(400)),
            ("[::1]x", Some(400)),
            ("user@localhost", Some(400)),
            ("localhost:port", Some(400)),
            ("localhost:99999", Some(400)),
            ("localhost/", Some(400)),
            ("local host", Some(400)),
        ] {
            assert_eq!(status("/mcp", &[("host", host)]), refused, "{host:?}");
        }
    }

    #[test]
    fn there_is_one_host_and_the_request_target_has_the_same() {
        let localhost = ("host", "localhost");
        assert_eq!(status("/mcp", &[]), Some(400));
        assert_eq!(status("/mcp", &[localhost, localhost]), Some(400));
        assert_eq!(status("/mcp", &[localhost, ("host", "evil")]), Some(400));
        assert_eq!(status("http://localhost/mcp", &[localhost]), None);
        assert_eq!(status("http://evil.example/mcp", &[localhost]), Some(400));
    }

    #[test]
    fn only_allowed_origins_may_call() {
        for (origin, refused) in [
            ("https://app.example", None),
            ("https://app.example:443", Some(403)),
            ("http://app.example", Some(403)),
            ("https://app.example.evil", Some(403)),
            ("http://localhost", Some(403)),
            ("http://127.0.0.1:8000", Some(403)),
            ("null", Some(403)),
            ("", Some(403)),
        ] {
            let headers = [("host", "localhost"), ("origin", origin)];
            assert_eq!(status("/mcp", &headers), refused, "{origin:?}");
        }
        let good = ("origin", "https://app.example");
        assert_eq!(
            status("/mcp", &[("host", "localhost"), good, good]),
            Some(403)
        );
    }

    #[test]
    fn pages_of_this_machine_may_call_where_that_is_said() {
        let policy = policy().with_loopback_pages();
        for (origin, is_known) in [
            ("http://localhost:6274", true),
            ("https://localhost", true),
            ("http://127.0.0.1:8000", true),
            ("http://[::1]:8000", true),
            ("https://app.example", true),
            ("http://localhost.evil.example", false),
            ("http://evil.example:127", false),
            ("http://127.0.0.1.evil.example", false),
            ("http://localhost/", false),
            ("http://LOCALHOST", false),
            ("http://user@localhost", false),
            ("file://localhost", false),
            ("null", false),
            ("", false),
        ] {
            let origin = HeaderValue::from_static(origin);
            assert_eq!(policy.knows_origin(&origin), is_known, "{origin:?}");
        }
    }

    #[test]
    fn a_body_that_announces_too_many_bytes_is_rejected_unread() {
        for (length, refused) in [
            ("0", None),
            ("262144", None),
            ("262145", Some(413)),
            ("100000000000", Some(413)),
        ] {
            let headers = [("host", "localhost"), ("content-length", length)];
            assert_eq!(status("/mcp", &headers), refused, "{length}");
        }
    }

    #[test]
    fn invalid_hosts_and_origins_cannot_be_allowed() {
        for host in [
            "",
            "https://my.example",
            "my.example/",
            "a b",
            "me@my.example",
        ] {
            assert_eq!(
                host.parse::<AllowedHost>(),
                Err(InvalidName::Host),
                "{host:?}"
            );
        }
        for host in ["::1", "[::1]:8000", "0.0.0.0", "my.example:80"] {
            assert!(host.parse::<AllowedHost>().is_ok(), "{host:?}");
        }
        for origin in [
            "",
            "null",
            "my.example",
            "https://a/b",
            "file:///",
            "https://a?b",
        ] {
            assert_eq!(
                origin.parse::<AllowedOrigin>(),
                Err(InvalidName::Origin),
                "{origin:?}"
            );
        }
    }
}
