//! `serve --tunnel`: a public address for the server, or OpenAI's Secure MCP Tunnel, and what to do with it.

mod polled;
mod public;

#[cfg(feature = "ngrok")]
use std::path::PathBuf;

use http::HeaderValue;

pub use self::polled::poll;
pub use self::public::{Public, keep};
use super::args::{self, SecretSource};
use crate::error::Error;
use crate::secret::Secret;
#[cfg(feature = "ngrok")]
use crate::tunnel::ngrok;
use crate::tunnel::openai::{self, RuntimeKey, ServerInfo, TunnelId};
use crate::tunnel::program::{self, Kind, Wanted};

/// How the server is reached from outside.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Public address")]
pub struct TunnelArgs {
    /// Give the server a public address with this tunnel, or connect it to OpenAI's Secure MCP Tunnel
    #[arg(long, value_name = "TUNNEL")]
    tunnel: Option<TunnelArg>,

    /// The public name: of ngrok, of a named Cloudflare tunnel, of localtunnel, or the host of a bore server
    #[arg(long, value_name = "NAME", requires = "tunnel")]
    tunnel_domain: Option<String>,

    /// The id of an OpenAI Secure MCP Tunnel
    #[arg(long, value_name = "ID", env = "CONTROL_PLANE_TUNNEL_ID")]
    tunnel_id: Option<String>,

    /// The control plane of the tunnel
    #[arg(
        long,
        value_name = "URL",
        env = "CONTROL_PLANE_BASE_URL",
        default_value = openai::BASE_URL,
        hide = true
    )]
    control_plane_url: String,

    /// The key for the control plane
    #[arg(
        long,
        env = "CONTROL_PLANE_API_KEY",
        hide = true,
        hide_env_values = true
    )]
    control_plane_key: Option<SecretSource>,

    /// The same, if the other is not set
    #[arg(long, env = "OPENAI_API_KEY", hide = true, hide_env_values = true)]
    openai_key: Option<SecretSource>,

    /// The organization that the key is used for
    #[arg(long, env = "CONTROL_PLANE_ORGANIZATION_ID", hide = true)]
    organization: Option<String>,

    /// The authtoken of ngrok
    #[cfg(feature = "ngrok")]
    #[arg(long, env = "NGROK_AUTHTOKEN", hide = true, hide_env_values = true)]
    ngrok_authtoken: Option<SecretSource>,

    /// The address of the ngrok service, HOST:PORT, if it is another one
    #[cfg(feature = "ngrok")]
    #[arg(long, env = "NGROK_SERVER_ADDR", hide = true)]
    ngrok_server: Option<String>,

    /// The certificates, as PEM, that the ngrok service is verified with
    #[cfg(feature = "ngrok")]
    #[arg(long, value_name = "FILE", env = "NGROK_CA_FILE", hide = true)]
    ngrok_ca: Option<PathBuf>,

    /// The token of a named Cloudflare tunnel
    #[arg(long, env = program::CLOUDFLARE_TOKEN, hide = true, hide_env_values = true)]
    cloudflare_token: Option<SecretSource>,

    /// Let everybody call the server through the tunnel
    #[arg(long, conflicts_with = "auth", requires = "tunnel")]
    no_auth: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum TunnelArg {
    Openai,
    #[cfg(feature = "ngrok")]
    Ngrok,
    Cloudflared,
    Tailscale,
    Bore,
    Localtunnel,
}

/// A tunnel that is wanted.
pub enum Plan {
    /// OpenAI's, whose client polls.
    OpenAi(Box<openai::Options>),
    /// One with a public URL.
    Public(Public),
}

impl TunnelArgs {
    /// Whether a tunnel is asked for.
    pub fn is_given(&self) -> bool {
        self.tunnel.is_some()
    }

    /// The tunnel that the arguments ask for. `keeps_sessions` says whether state is kept in this process.
    ///
    /// # Errors
    /// A key or an id is missing, or it was not said who may call the server.
    pub fn read(&self, has_auth: bool, keeps_sessions: bool) -> Result<Option<Plan>, Error> {
        let Some(tunnel) = self.tunnel else {
            return Ok(None);
        };
        if !has_auth && !self.no_auth {
            return Err(Error::usage(
                "a tunnel lets the world call the server, and the server requires no token",
            )
            .with_hint("add --auth, or say --no-auth if everybody may call it"));
        }
        let kind = match tunnel {
            TunnelArg::Openai => {
                let options = self.openai(keeps_sessions)?;
                return Ok(Some(Plan::OpenAi(Box::new(options))));
            }
            #[cfg(feature = "ngrok")]
            TunnelArg::Ngrok => return Ok(Some(Plan::Public(self.ngrok()?))),
            TunnelArg::Cloudflared => Kind::Cloudflared,
            TunnelArg::Tailscale => Kind::Tailscale,
            TunnelArg::Bore => Kind::Bore,
            TunnelArg::Localtunnel => Kind::Localtunnel,
        };
        let token = match &self.cloudflare_token {
            Some(source) if kind == Kind::Cloudflared => source.read_if_any("TUNNEL_TOKEN")?,
            _ => None,
        };
        let wanted = Wanted {
            port: 0,
            domain: self.tunnel_domain.clone(),
            token,
        };
        Ok(Some(Plan::Public(Public::Program(kind, wanted))))
    }

    #[cfg(feature = "ngrok")]
    fn ngrok(&self) -> Result<Public, Error> {
        let token = self.ngrok_authtoken.as_ref();
        let token = token.map(|it| it.read_if_any("NGROK_AUTHTOKEN"));
        let token = token.transpose()?.flatten().ok_or_else(|| {
            Error::usage("there is no authtoken for ngrok")
                .with_hint("set NGROK_AUTHTOKEN; ngrok's dashboard shows it")
        })?;
        let named = self.tunnel_domain.as_deref();
        let named = named.map(|it| {
            it.strip_prefix("https://")
                .unwrap_or(it)
                .trim_end_matches('/')
        });
        let authorities = self.ngrok_ca.as_deref().map(args::read_small);
        Ok(Public::ngrok(ngrok::Options {
            token,
            domain: named.map(str::to_owned),
            server: self.ngrok_server.clone(),
            authorities: authorities.transpose()?.map(String::into_bytes),
            limit: program::START_TIMEOUT,
        }))
    }

    fn openai(&self, keeps_sessions: bool) -> Result<openai::Options, Error> {
        let id = self.tunnel_id.as_deref().filter(|it| !it.is_empty());
        let id = id.ok_or_else(|| {
            Error::usage("the id of the tunnel is missing")
                .with_hint("pass --tunnel-id, or set CONTROL_PLANE_TUNNEL_ID")
        })?;
        let id: TunnelId = id.parse().map_err(|error: openai::InvalidName| {
            Error::usage(format!("{id:?} is not the id of a tunnel")).with_source(error)
        })?;
        let key = self.control_plane_key.as_ref().or(self.openai_key.as_ref());
        let key = key.map(|key| key.read_if_any("the key for the control plane"));
        let key = key.transpose()?.flatten().ok_or_else(|| {
            Error::usage("there is no key for the control plane")
                .with_hint("set CONTROL_PLANE_API_KEY, or OPENAI_API_KEY")
        })?;
        let key = RuntimeKey::try_from(key).map_err(|error| {
            Error::usage("the key for the control plane cannot be used").with_source(error)
        })?;
        let base_url = args::http_url(&self.control_plane_url, "CONTROL_PLANE_BASE_URL")?;
        if base_url.scheme() == "http" && !crate::address::is_loopback(&base_url) {
            return Err(Error::usage(
                "CONTROL_PLANE_BASE_URL is not https, and the key would be sent as text",
            )
            .with_hint("write it with https://"));
        }
        let organization = self.organization.as_deref().filter(|it| !it.is_empty());
        let organization = organization.map(HeaderValue::from_str).transpose();
        Ok(openai::Options {
            base_url,
            url_path: String::new(),
            tunnel_id: id,
            key,
            organization: organization.map_err(|error| {
                Error::usage("CONTROL_PLANE_ORGANIZATION_ID cannot be sent in a header")
                    .with_source(error)
            })?,
            channels: Vec::new(),
            server: ServerInfo {
                stateless: true,
                proc_affinity: keeps_sessions,
            },
            limits: openai::Limits::default(),
        })
    }
}

/// How the server is reached, for what is printed.
pub struct Door<'a> {
    pub path: &'a str,
    /// A label for the server in a request.
    pub label: &'a str,
    /// A token that it accepts, if this program can mint one.
    pub token: Option<Secret>,
    pub has_auth: bool,
}

impl Door<'_> {
    /// The lines to paste: a question, and a tool entry that names the server by this field.
    fn to_paste(&self, field: &str, value: &str) -> String {
        let (label, option) = (self.label, field.replace('_', "-"));
        let (flag, entry) = match self.has_auth {
            true => (
                " --authorization @TOKEN_FILE",
                r#""authorization": "TOKEN", "#,
            ),
            false => ("", ""),
        };
        format!(
            "ask:        mcp-cli ask --{option} {value} --server-label {label}{flag} \"...\"\n\
             tool entry: {{\"type\": \"mcp\", \"server_label\": \"{label}\", \"{field}\": \"{value}\", {entry}\"require_approval\": \"never\"}}"
        )
    }
}
