//! Which MCP servers a request names: the argument group, and the tool entries that it makes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use http::HeaderMap;
use serde_json::{Map, Value};
use url::Url;

use super::args::{self, SecretSource};
use super::label::{self, ServerLabel};
use super::record::RecordArgs;
use super::require_approval::RequireApproval;
use crate::address;
use crate::error::Error;
use crate::mcp::{self, Config, ConfigError, Endpoint};
use crate::responses::{MCPTool, MCPToolAllowedTools, MCPToolFilter, ToolEntry};
use crate::secret::Secret;

/// The `mcp` tool entry of a request.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "MCP server")]
pub struct McpServerArgs {
    /// The URL that stands by itself on the command line.
    #[arg(skip)]
    pub target: Option<String>,

    /// The command that starts the server, which is spoken to over stdio
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,

    /// The URL of the MCP endpoint, such as `https://example.com/mcp`
    #[arg(
        long,
        visible_alias = "url",
        env = "MCP_SERVER_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    server_url: Option<String>,

    /// The label of the server in the request [default: derived from the URL's host]
    #[arg(long, env = "MCP_SERVER_LABEL", value_name = "NAME")]
    server_label: Option<ServerLabel>,

    /// What the server is for, as a description for the model
    #[arg(long, value_name = "TEXT")]
    server_description: Option<String>,

    /// An OpenAI connector instead of a server
    #[arg(long, value_name = "ID")]
    connector_id: Option<String>,

    /// An OpenAI Secure MCP Tunnel instead of a URL
    #[arg(long, value_name = "ID")]
    tunnel_id: Option<String>,

    /// A configuration file with servers: `mcp.json`, `.mcp.json`, `.vscode/mcp.json`
    #[arg(long, value_name = "FILE")]
    mcp_config: Option<PathBuf>,

    /// Use only this server of the file
    #[arg(long, value_name = "NAME", requires = "mcp_config")]
    server: Vec<String>,

    /// A header for the server, `Name: value`; other users can see it while this runs
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<Secret>,

    /// A file with headers for the server, one per line
    #[arg(long, value_name = "FILE")]
    header_file: Option<PathBuf>,

    /// A token for the server; @FILE reads it from a file, - from stdin
    ///
    /// It is written without `Bearer`. As text, other users can see it while this runs.
    #[arg(
        long,
        env = "MCP_AUTHORIZATION",
        hide_env_values = true,
        value_name = "TOKEN|@FILE|-"
    )]
    authorization: Option<SecretSource>,

    /// The only tools that the model may see
    #[arg(long, value_delimiter = ',', value_name = "TOOL,...")]
    allowed_tools: Option<Vec<String>>,

    /// Only tools that the server marks as read-only
    #[arg(long)]
    read_only: bool,

    /// Which calls need approval: always, never, or the API's filter as JSON
    #[arg(long, value_name = "always|never|JSON")]
    require_approval: Option<RequireApproval>,

    /// Let the model search the server's tools when it needs them
    #[arg(long)]
    defer_loading: bool,

    #[command(flatten)]
    pub record: RecordArgs,
}

/// The servers of a request.
#[derive(Default)]
pub struct Servers {
    pub entries: Vec<ToolEntry>,
    /// The servers that are started on this machine, by the label of their entry.
    pub commands: HashMap<String, mcp::Command>,
    /// What is good to know about how they were read.
    pub notes: Vec<String>,
    /// The command lines that check them, by label. There is no secret in them.
    pub checks: HashMap<String, String>,
}

impl McpServerArgs {
    /// The servers that these arguments name.
    pub fn read(&self) -> Result<Servers, Error> {
        let mut servers = Servers::default();
        if let Some(mut entry) = self.target()? {
            entry.server_label = self.label(&entry);
            self.fill(&mut entry);
            self.fill_credentials(&mut entry)?;
            if let Some(url) = entry
                .server_url
                .as_deref()
                .and_then(|url| Url::parse(url).ok())
            {
                let target = ["--server-url".to_owned(), address::shown(&url)];
                let check = self.check(&target, self.credentials());
                servers.checks.insert(entry.server_label.clone(), check);
            }
            servers.entries.push(ToolEntry::Mcp(Box::new(entry)));
        }
        if let [program, arguments @ ..] = self.command.as_slice() {
            self.read_command(program, arguments, &mut servers)?;
        }
        if let Some(path) = &self.mcp_config {
            self.read_config(path, &mut servers)?;
        }
        Ok(servers)
    }

    /// Whether something beside the environment names a server.
    pub fn is_named(&self) -> bool {
        let names_url = self.server_url.is_some() && !self.url_is_of_environment();
        names_url || self.is_named_else()
    }

    /// Whether something beside `--server-url` does.
    fn is_named_else(&self) -> bool {
        self.target.is_some()
            || !self.command.is_empty()
            || self.connector_id.is_some()
            || self.tunnel_id.is_some()
            || self.mcp_config.is_some()
    }

    fn url_is_of_environment(&self) -> bool {
        std::env::var("MCP_SERVER_URL").ok() == self.server_url
    }

    /// The server that `-- COMMAND` starts. It gets the environment that the person has, without what
    /// is for this program.
    fn read_command(
        &self,
        program: &str,
        arguments: &[String],
        servers: &mut Servers,
    ) -> Result<(), Error> {
        let name = || ServerLabel::named_after(&label::of_command(program, arguments));
        let mut entry = MCPTool {
            server_label: self.given_label().map_or_else(name, ToString::to_string),
            ..MCPTool::default()
        };
        self.fill(&mut entry);
        if self.has_credentials() {
            return Err(
                Error::usage("a server that is started takes no headers and no token")
                    .with_hint("give it what it needs in its environment or its arguments"),
            );
        }
        let command = args::own_command(program, arguments);
        let line = std::iter::once(program).chain(arguments.iter().map(String::as_str));
        let words: Vec<String> = line.map(args::shell_word).collect();
        let check = format!(
            "{} -- {}",
            self.check(&[], Vec::new()).trim_end(),
            words.join(" ")
        );
        servers.checks.insert(entry.server_label.clone(), check);
        servers.commands.insert(entry.server_label.clone(), command);
        servers.entries.push(ToolEntry::Mcp(Box::new(entry)));
        Ok(())
    }

    /// The entry of the bundled server. What the arguments say of a server goes for it as well.
    pub fn entry_without_url(&self, label: &str) -> Result<MCPTool, Error> {
        let mut entry = MCPTool {
            server_label: self
                .given_label()
                .map_or_else(|| label.to_owned(), ToString::to_string),
            ..MCPTool::default()
        };
        self.fill(&mut entry);
        self.fill_credentials(&mut entry)?;
        if entry.require_approval.is_none() {
            entry.require_approval = Some(RequireApproval::never());
        }
        Ok(entry)
    }

    /// Whether stdin holds the token.
    pub fn reads_stdin(&self) -> bool {
        matches!(self.authorization, Some(SecretSource::Stdin))
    }

    /// What is named that exists at OpenAI only.
    pub fn hosted_only(&self) -> Option<&'static str> {
        match (&self.connector_id, &self.tunnel_id) {
            (Some(_), _) => Some("connector"),
            (_, Some(_)) => Some("tunnel"),
            (None, None) => self
                .defer_loading
                .then_some("list of tools that is loaded later"),
        }
    }

    /// The command line that checks a server, with what this one says of it.
    fn check(&self, target: &[String], credentials: Vec<String>) -> String {
        let label = self
            .given_label()
            .map(|label| ["--server-label".to_owned(), label.to_string()]);
        let words = target.iter().cloned().chain(label.into_iter().flatten());
        let words = words.chain(credentials).map(|word| args::shell_word(&word));
        let words: Vec<String> = words.collect();
        format!("mcp-cli check {}", words.join(" "))
    }

    /// The flags that name credentials, without those that are one.
    fn credentials(&self) -> Vec<String> {
        let token = match self.authorization() {
            Some(SecretSource::File(path)) => Some(format!("@{}", path.display())),
            Some(SecretSource::Stdin) => Some("-".to_owned()),
            Some(SecretSource::Text(_)) | None => None,
        };
        let token = token.map(|token| ["--authorization".to_owned(), token]);
        let file = self.header_file.as_ref();
        let file = file.map(|path| ["--header-file".to_owned(), path.display().to_string()]);
        token.into_iter().chain(file).flatten().collect()
    }

    fn read_config(&self, path: &Path, servers: &mut Servers) -> Result<(), Error> {
        let unusable = |source: ConfigError| {
            let hint = match &source {
                ConfigError::Variable { .. } => {
                    Some("set it, or give it a default: ${VARIABLE:-default}")
                }
                _ => None,
            };
            Error::usage(format!("{} cannot be used", path.display()))
                .with_source(source)
                .with_hint_if(hint)
        };
        let config = Config::read(&args::read_config(path)?, path).map_err(unusable)?;
        if config.has_inputs {
            servers.notes.push(format!(
                "the inputs of {} are not asked for; a server that needs one cannot be used",
                path.display()
            ));
        }
        let names: Vec<&str> = match self.server.as_slice() {
            [] => config.names().collect(),
            named => named.iter().map(String::as_str).collect(),
        };
        // A token for one server is not for all the others.
        let takes_credentials = names.len() == 1 && servers.entries.is_empty();
        if !takes_credentials && servers.entries.is_empty() && self.has_credentials() {
            return Err(Error::usage(
                "--authorization and -H are for one server, but several are named",
            )
            .with_hint("write the headers to the file, or name one --server"));
        }
        for name in names {
            let mut server = config
                .server(name, &|name| std::env::var(name).ok())
                .map_err(unusable)?;
            if let Endpoint::Stdio(command) = &mut server.endpoint {
                command.withhold_secrets(std::env::vars_os().map(|(name, _)| name));
            }
            let given = self.given_label().filter(|_| takes_credentials);
            let label = given.map_or_else(|| ServerLabel::named_after(name), ToString::to_string);
            let mut entry = MCPTool {
                server_label: servers.free_label(label),
                headers: shown_headers(&server.headers)?,
                ..MCPTool::default()
            };
            self.fill(&mut entry);
            if takes_credentials {
                self.fill_credentials(&mut entry)?;
            }
            let credentials = match takes_credentials {
                true => self.credentials(),
                false => Vec::new(),
            };
            let target = [
                "--mcp-config".to_owned(),
                path.display().to_string(),
                "--server".to_owned(),
                name.to_owned(),
            ];
            let check = self.check(&target, credentials);
            servers.checks.insert(entry.server_label.clone(), check);
            match server.endpoint {
                Endpoint::Http(url) => entry.server_url = Some(url.to_string()),
                Endpoint::Stdio(command) => {
                    servers.commands.insert(entry.server_label.clone(), command);
                }
                // No file names one.
                Endpoint::InProcess(_) => {}
            }
            servers.entries.push(ToolEntry::Mcp(Box::new(entry)));
        }
        Ok(())
    }

    fn target(&self) -> Result<Option<MCPTool>, Error> {
        let mut target = Map::new();
        let url = self.server_url()?;
        let targets = [
            url.is_some(),
            self.connector_id.is_some(),
            self.tunnel_id.is_some(),
            !self.command.is_empty(),
            self.mcp_config.is_some() && self.target.is_some(),
            self.mcp_config.is_some() && !self.command.is_empty(),
        ];
        if targets.into_iter().filter(|it| *it).count() > 1 {
            return Err(
                Error::usage("the server is named in more than one way").with_hint(
                    "use one of a URL, -- COMMAND, --server-url, --connector-id and --tunnel-id; \
                 only --mcp-config can add more servers to a --server-url",
                ),
            );
        }
        if let Some(url) = url {
            target.insert("server_url".to_owned(), url.as_str().into());
        } else if let Some(id) = &self.connector_id {
            target.insert("connector_id".to_owned(), id.as_str().into());
        } else if let Some(id) = &self.tunnel_id {
            target.insert("tunnel_id".to_owned(), id.as_str().into());
        } else {
            return Ok(None);
        }
        target.insert("server_label".to_owned(), "".into());
        // `MCPTool` knows the connectors there are.
        serde_json::from_value(Value::Object(target))
            .map(Some)
            .map_err(|_| {
                let id = self.connector_id.as_deref().unwrap_or_default();
                Error::usage(format!("unknown connector: {id:?}")).with_hint(
                    "the connectors are connector_dropbox, connector_gmail, connector_googlecalendar, connector_googledrive, connector_microsoftteams, connector_outlookcalendar, connector_outlookemail and connector_sharepoint",
                )
            })
    }

    /// The URL, unless it comes from the environment and something else is named by a flag.
    fn server_url(&self) -> Result<Option<Url>, Error> {
        let is_overruled = self.is_named_else() && self.url_is_of_environment();
        let given = self.server_url.as_deref();
        let given = given.filter(|url| !url.is_empty() && !is_overruled);
        if let Some(target) = &self.target {
            return match given {
                None => args::target_url(target).map(Some),
                Some(_) => Err(Error::usage("the server is named in more than one way")
                    .with_hint("omit --server-url")),
            };
        }
        given
            .map(|url| args::http_url(url, "--server-url"))
            .transpose()
    }

    fn label(&self, entry: &MCPTool) -> String {
        let named_after = || {
            let url = entry
                .server_url
                .as_deref()
                .and_then(|url| Url::parse(url).ok());
            let host = url.as_ref().and_then(Url::host_str);
            let id = self.connector_id.as_deref().or(self.tunnel_id.as_deref());
            ServerLabel::named_after(host.or(id).unwrap_or_default())
        };
        self.given_label()
            .map_or_else(named_after, ToString::to_string)
    }

    /// The label that was given. An environment variable that is empty is one that is not set.
    fn given_label(&self) -> Option<&ServerLabel> {
        self.server_label.as_ref().filter(|it| !it.is_unset())
    }

    /// What goes for every server of the request.
    fn fill(&self, entry: &mut MCPTool) {
        entry
            .server_description
            .clone_from(&self.server_description);
        entry.allowed_tools = match (&self.allowed_tools, self.read_only) {
            (None, false) => None,
            (Some(names), false) => Some(MCPToolAllowedTools::List(names.clone())),
            (names, true) => Some(MCPToolAllowedTools::Filter(MCPToolFilter {
                read_only: Some(true),
                tool_names: names.clone(),
            })),
        };
        entry.require_approval = self.require_approval.as_ref().map(|it| it.0.clone());
        entry.defer_loading = self.defer_loading.then_some(true);
    }

    /// Whether flags give credentials; those of the environment are for no server in particular.
    fn has_credentials(&self) -> bool {
        let of_flag = self
            .authorization()
            .is_some_and(|it| !is_of_environment(it));
        of_flag || !self.headers.is_empty() || self.header_file.is_some()
    }

    /// Where the token comes from. An environment variable that is empty is one that is not set.
    fn authorization(&self) -> Option<&SecretSource> {
        let is_empty =
            |it: &SecretSource| matches!(it, SecretSource::Text(it) if it.expose().is_empty());
        let given = self.authorization.as_ref();
        given.filter(|it| !(is_empty(it) && is_of_environment(it)))
    }

    fn fill_credentials(&self, entry: &mut MCPTool) -> Result<(), Error> {
        if let Some(source) = self.authorization() {
            entry.authorization = Some(source.read("--authorization")?.expose().to_owned());
        }
        let mut lines: Vec<Secret> = Vec::new();
        if let Some(path) = &self.header_file {
            let text = args::read_small(path)?;
            let filled = text.lines().filter(|line| !line.trim().is_empty());
            lines.extend(filled.map(|line| Secret::from(line.to_owned())));
        }
        lines.extend_from_slice(&self.headers);
        for line in &lines {
            let (name, value) = mcp::read_header(line.expose())?;
            let headers = entry
                .headers
                .get_or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(headers) = headers {
                // The name of a header has no case: the last one counts.
                headers.retain(|known, _| !known.eq_ignore_ascii_case(name));
                headers.insert(name.to_owned(), value.into());
            }
        }
        let mut names = entry
            .headers
            .iter()
            .filter_map(Value::as_object)
            .flat_map(Map::keys);
        if entry.authorization.is_some() && names.any(|it| it.eq_ignore_ascii_case("authorization"))
        {
            return Err(
                Error::usage("both --authorization and an Authorization header are given")
                    .with_hint("omit one of them"),
            );
        }
        Ok(())
    }
}

fn is_of_environment(source: &SecretSource) -> bool {
    let variable = std::env::var("MCP_AUTHORIZATION").ok();
    matches!(source, SecretSource::Text(it) if variable.as_deref() == Some(it.expose()))
}

impl Servers {
    /// The label, or one like it that no other server has.
    fn free_label(&self, label: String) -> String {
        let others = || self.entries.iter().filter_map(ToolEntry::as_mcp);
        label::free(label, |label| others().any(|it| it.server_label == label))
    }
}

/// Headers as a tool entry has them, if they are none that the client sets itself.
fn shown_headers(headers: &HeaderMap) -> Result<Option<Value>, Error> {
    let mut shown = Map::new();
    for (name, value) in headers {
        let line = format!("{name}: {}", value.to_str().unwrap_or("\0"));
        let (name, value) = mcp::read_header(&line)?;
        shown.insert(name.to_owned(), value.into());
    }
    Ok((!shown.is_empty()).then_some(Value::Object(shown)))
}
