//! A user's own server behind `serve`: the arguments that name it, and how it is relayed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderMap;

use super::args::{self, SecretSource};
use super::label::ServerLabel;
use crate::error::Error;
use crate::mcp::{self, Config, Credential, Endpoint, Server};
use crate::relay::{Allowed, Limits, Processes};
use crate::secret::Secret;

/// Your own server, and what of it passes the door.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Your server")]
pub struct RelayArgs {
    /// The URL of your server, over Streamable HTTP or HTTP+SSE; `host:port/path` works too
    url: Option<String>,

    /// The command that starts your server, which is spoken to over stdio
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,

    /// A configuration file with servers, each of which is served at /NAME/mcp
    #[arg(long, value_name = "FILE")]
    mcp_config: Option<PathBuf>,

    /// Serve only this server of the file
    #[arg(long, value_name = "NAME", requires = "mcp_config")]
    server: Vec<String>,

    /// How many copies of your server there are [default: caller with --auth, shared without]
    #[arg(long, value_name = "HOW")]
    processes: Option<ProcessesArg>,

    /// End a copy that nobody has used for this long
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = args::duration)]
    idle_exit: Duration,

    /// How long your server may take to start
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = args::duration)]
    start_timeout: Duration,

    /// A token for your server; @FILE reads it from a file, - from stdin
    ///
    /// The tokens of callers are not passed on. As text, other users can see it while this runs.
    #[arg(long, value_name = "TOKEN|@FILE|-")]
    upstream_authorization: Option<SecretSource>,

    /// A header for your server, `Name: value`; other users can see it while this runs
    #[arg(long, value_name = "HEADER")]
    upstream_header: Vec<Secret>,

    /// The only tools that are listed and may be called
    #[arg(long, value_delimiter = ',', value_name = "TOOL,...")]
    allowed_tools: Option<Vec<String>>,

    /// Only tools that your server marks as read-only
    #[arg(long)]
    read_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ProcessesArg {
    /// One for all callers
    Shared,
    /// One for each caller that has a token
    Caller,
    /// One for each session
    Session,
}

/// The servers behind the door. Without any, the dice server is.
#[derive(Default)]
pub struct Targets {
    /// The one that stands by itself.
    pub alone: Option<Server>,
    /// Those of a file, by the name in their path.
    pub named: Vec<(String, Server)>,
}

impl RelayArgs {
    /// Reads which servers are named.
    ///
    /// # Errors
    /// Several are named in different ways, or one cannot be used.
    pub fn read(&self) -> Result<Targets, Error> {
        let ways = [
            self.url.is_some(),
            !self.command.is_empty(),
            self.mcp_config.is_some(),
        ];
        match ways.into_iter().filter(|it| *it).count() {
            0 => return self.read_none(),
            1 => {}
            _ => {
                return Err(Error::usage("the server is named in more than one way")
                    .with_hint("use one of a URL, -- COMMAND and --mcp-config FILE"));
            }
        }
        let mut targets = Targets::default();
        if let Some(url) = &self.url {
            let endpoint = Endpoint::Http(args::target_url(url)?);
            targets.alone = Some(self.with_credentials(endpoint)?);
        }
        if let [program, arguments @ ..] = self.command.as_slice() {
            let command = args::own_command(program, arguments);
            targets.alone = Some(self.with_credentials(Endpoint::Stdio(command))?);
        }
        if let Some(path) = &self.mcp_config {
            targets.named = self.read_config(path)?;
        }
        Ok(targets)
    }

    /// The flags that are of no use without a server of the user's own.
    fn read_none(&self) -> Result<Targets, Error> {
        let given = [
            ("--processes", self.processes.is_some()),
            (
                "--upstream-authorization",
                self.upstream_authorization.is_some(),
            ),
            ("--upstream-header", !self.upstream_header.is_empty()),
            ("--allowed-tools", self.allowed_tools.is_some()),
            ("--read-only", self.read_only),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            None => Ok(Targets::default()),
            Some((flag, _)) => Err(Error::usage(format!(
                "{flag} is for a server of your own, and none is named"
            ))
            .with_hint("name it by its URL, as -- COMMAND, or with --mcp-config FILE")),
        }
    }

    fn with_credentials(&self, endpoint: Endpoint) -> Result<Server, Error> {
        let mut server = Server {
            endpoint,
            credential: Credential::default(),
            headers: HeaderMap::new(),
        };
        let has_any = self.upstream_authorization.is_some() || !self.upstream_header.is_empty();
        if has_any && matches!(server.endpoint, Endpoint::Stdio(_)) {
            return Err(
                Error::usage("a server that is started takes no headers and no token")
                    .with_hint("give it what it needs in its environment or its arguments"),
            );
        }
        if let Some(source) = &self.upstream_authorization {
            let token = source.read("--upstream-authorization")?;
            let unusable = |source| {
                Error::usage("--upstream-authorization cannot be sent in a header")
                    .with_source(source)
            };
            server.credential = Credential::token(token.expose()).map_err(unusable)?;
        }
        for line in &self.upstream_header {
            let (name, value) = mcp::read_header(line.expose())?;
            let name = name.parse::<http::HeaderName>();
            let value = http::HeaderValue::from_str(value);
            let (Ok(name), Ok(mut value)) = (name, value) else {
                return Err(Error::usage("--upstream-header is not a header")
                    .with_hint("write it as `Name: value`"));
            };
            value.set_sensitive(true);
            server.headers.insert(name, value);
        }
        Ok(server)
    }

    fn read_config(&self, path: &std::path::Path) -> Result<Vec<(String, Server)>, Error> {
        if self.upstream_authorization.is_some() || !self.upstream_header.is_empty() {
            return Err(Error::usage(
                "--upstream-authorization and --upstream-header are for one server",
            )
            .with_hint("write the headers to the file"));
        }
        let unusable = |source: mcp::ConfigError| {
            Error::usage(format!("{} cannot be used", path.display())).with_source(source)
        };
        let config = Config::read(&args::read_config(path)?, path).map_err(unusable)?;
        let names: Vec<&str> = match self.server.as_slice() {
            [] => config.names().collect(),
            named => named.iter().map(String::as_str).collect(),
        };
        let mut servers: Vec<(String, Server)> = Vec::new();
        let mut taken: HashMap<String, String> = HashMap::new();
        for name in names {
            let read = config.server(name, &|name| std::env::var(name).ok());
            let mut read = read.map_err(unusable)?;
            if let Endpoint::Stdio(command) = &mut read.endpoint {
                command.withhold_secrets(std::env::vars_os().map(|(name, _)| name));
            }
            let in_path = ServerLabel::named_after(name);
            if let Some(other) = taken.insert(in_path.clone(), name.to_owned()) {
                return Err(Error::usage(format!(
                    "the servers {other:?} and {name:?} would both be served at /{in_path}/mcp"
                ))
                .with_hint("rename one of them, or pick one with --server"));
            }
            servers.push((in_path, read));
        }
        Ok(servers)
    }

    /// How copies of the server are made and ended.
    pub fn limits(&self, has_auth: bool) -> Limits {
        let processes = match self.processes {
            Some(ProcessesArg::Shared) => Processes::Shared,
            Some(ProcessesArg::Caller) => Processes::Caller,
            Some(ProcessesArg::Session) => Processes::Session,
            None if has_auth => Processes::Caller,
            None => Processes::Shared,
        };
        Limits {
            processes,
            start_timeout: self.start_timeout,
            idle_exit: self.idle_exit,
            ..Limits::default()
        }
    }

    /// Which tools pass.
    pub fn allowed(&self) -> Allowed {
        Allowed::new(self.allowed_tools.clone(), self.read_only)
    }
}

impl Targets {
    /// Whether the dice server is served.
    pub fn is_none(&self) -> bool {
        self.alone.is_none() && self.named.is_empty()
    }
}
