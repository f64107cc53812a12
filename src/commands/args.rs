//! Argument groups that two or more verbs share, and the texts that become types here.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::{Map, Value};
use url::Url;

use crate::auth::Secret;
use crate::error::Error;
use crate::responses::{
    self, MCPTool, MCPToolAllowedTools, MCPToolFilter, MCPToolRequireApproval, ToolEntry,
};

/// The most bytes that are read of a file with a secret, or of headers.
const MAX_SMALL_FILE: u64 = 64 * 1024;

/// The `mcp` tool entry of a request.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "MCP server")]
pub struct McpServerArgs {
    /// The MCP endpoint, such as `https://example.com/mcp`
    #[arg(long, env = "MCP_SERVER_URL", value_name = "URL", group = "server")]
    server_url: Option<Url>,

    /// How the server is called in the request [default: made from the URL's host]
    #[arg(long, env = "MCP_SERVER_LABEL", value_name = "NAME")]
    server_label: Option<ServerLabel>,

    /// What the server is for, for the model to read
    #[arg(long, value_name = "TEXT")]
    server_description: Option<String>,

    /// A connector of OpenAI's instead of a server
    #[arg(long, value_name = "ID", group = "server")]
    connector_id: Option<String>,

    /// A Secure MCP Tunnel of OpenAI's instead of a URL
    #[arg(long, value_name = "ID", group = "server")]
    tunnel_id: Option<String>,

    /// A header for the server, `Name: value`; other users can read it while this runs
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<Secret>,

    /// A file of headers for the server, one a line
    #[arg(long, value_name = "FILE")]
    header_file: Option<PathBuf>,

    /// A token for the server, without `Bearer`; @FILE reads it from a file, - from stdin. As
    /// text, other users can read it while this runs
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

    /// Only tools that change nothing, as the server says
    #[arg(long)]
    read_only: bool,

    /// Which calls need a yes: always, never, or the API's filter as JSON
    #[arg(long, value_name = "always|never|JSON")]
    require_approval: Option<RequireApproval>,

    /// Let the model look for the server's tools when it needs them
    #[arg(long)]
    defer_loading: bool,
}

impl McpServerArgs {
    /// The tool entry that these arguments make, or nothing where they name no server.
    pub fn entry(&self) -> Result<Option<ToolEntry>, Error> {
        let (Some(label), Some(mut entry)) = (self.label(), self.target()?) else {
            return Ok(None);
        };
        entry.server_label = label;
        self.fill(&mut entry)?;
        Ok(Some(ToolEntry::Mcp(Box::new(entry))))
    }

    /// The entry for a server that the arguments do not name: the bundled one. What they say of a
    /// server goes for it as well.
    pub fn entry_of(&self, url: &Url, label: &str) -> Result<ToolEntry, Error> {
        let mut entry = MCPTool {
            server_label: self
                .server_label
                .as_ref()
                .map_or_else(|| label.to_owned(), |label| label.0.clone()),
            server_url: Some(url.to_string()),
            ..MCPTool::default()
        };
        self.fill(&mut entry)?;
        if entry.require_approval.is_none() {
            entry.require_approval = Some(RequireApproval::never());
        }
        Ok(ToolEntry::Mcp(Box::new(entry)))
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
            (None, None) => None,
        }
    }

    fn target(&self) -> Result<Option<MCPTool>, Error> {
        let mut target = Map::new();
        if let Some(url) = &self.server_url {
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
            .map_err(|_| Error::UnknownConnector {
                id: self.connector_id.clone().unwrap_or_default(),
            })
    }

    fn label(&self) -> Option<String> {
        let given = self.server_label.as_ref().map(|label| label.0.clone());
        let named_after = || {
            let url_host = self.server_url.as_ref().and_then(Url::host_str);
            url_host
                .or(self.connector_id.as_deref())
                .or(self.tunnel_id.as_deref())
                .map(ServerLabel::named_after)
        };
        given.or_else(named_after)
    }

    fn fill(&self, entry: &mut MCPTool) -> Result<(), Error> {
        entry
            .server_description
            .clone_from(&self.server_description);
        entry.headers = self.read_headers()?;
        if let Some(source) = &self.authorization {
            entry.authorization = Some(source.read("--authorization")?.expose().to_owned());
        }
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
        Ok(())
    }

    fn read_headers(&self) -> Result<Option<Value>, Error> {
        let mut lines: Vec<Secret> = Vec::new();
        if let Some(path) = &self.header_file {
            let text = read_small(path)?;
            let filled = text.lines().filter(|line| !line.trim().is_empty());
            lines.extend(filled.map(|line| Secret::from(line.to_owned())));
        }
        lines.extend_from_slice(&self.headers);
        let mut headers = Map::new();
        for line in &lines {
            let (name, value) = responses::read_header(line.expose())?;
            headers.insert(name.to_owned(), value.into());
        }
        Ok((!headers.is_empty()).then_some(Value::Object(headers)))
    }
}

/// A label that the Responses API takes: a letter, then letters, digits, `_` and `-`.
#[derive(Debug, Clone)]
pub struct ServerLabel(String);

impl ServerLabel {
    fn named_after(name: &str) -> String {
        let plain: String = name
            .chars()
            .map(|it| if it.is_ascii_alphanumeric() { it } else { '_' })
            .collect();
        let plain = plain.trim_matches('_');
        match plain.chars().next() {
            Some(first) if first.is_ascii_alphabetic() => plain.to_owned(),
            _ => format!("server_{plain}"),
        }
    }
}

impl FromStr for ServerLabel {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let starts_well = text.starts_with(|it: char| it.is_ascii_alphabetic());
        let goes_on_well = text
            .chars()
            .all(|it| it.is_ascii_alphanumeric() || matches!(it, '_' | '-'));
        if starts_well && goes_on_well {
            Ok(Self(text.to_owned()))
        } else {
            Err("a label is a letter, then letters, digits, `_` and `-`")
        }
    }
}

/// Where a secret comes from: the text itself, `@FILE`, or `-` for stdin.
#[derive(Debug, Clone)]
pub enum SecretSource {
    Text(Secret),
    File(PathBuf),
    Stdin,
}

impl FromStr for SecretSource {
    type Err = Infallible;

    // Nothing is refused here, for clap repeats what it refuses; `read` looks at the text.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix('@') {
            Some(path) => Self::File(path.into()),
            None if text == "-" => Self::Stdin,
            None => Self::Text(Secret::from(text.to_owned())),
        })
    }
}

impl SecretSource {
    /// The secret, without the line end that an editor puts behind it. A `Bearer` in front is
    /// dropped: it is sent by whoever sends the token.
    ///
    /// `what` names the secret in the error of one that no header could carry.
    pub fn read(&self, what: &'static str) -> Result<Secret, Error> {
        let text = match self {
            Self::Text(secret) => secret.clone(),
            Self::File(path) => Secret::from(read_small(path)?),
            Self::Stdin => Secret::from(read_text(io::stdin().lock(), Path::new("stdin"))?),
        };
        let token = text.expose().trim();
        let token = token.strip_prefix("Bearer ").unwrap_or(token);
        if token.is_empty() {
            return Err(Error::EmptySecret(what));
        }
        if !token.chars().all(|it| it.is_ascii_graphic()) {
            return Err(Error::UnusableSecret(what));
        }
        Ok(Secret::from(token.to_owned()))
    }
}

/// A small text file.
pub fn read_small(path: &Path) -> Result<String, Error> {
    let file = File::open(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    read_text(file, path)
}

fn read_text(source: impl Read, path: &Path) -> Result<String, Error> {
    let mut bytes = Vec::new();
    source
        .take(MAX_SMALL_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() as u64 > MAX_SMALL_FILE {
        return Err(Error::TooLarge {
            path: path.to_owned(),
            limit: MAX_SMALL_FILE,
        });
    }
    String::from_utf8(bytes).map_err(|_| Error::NotText {
        path: path.to_owned(),
    })
}

/// `require_approval`, as text or as JSON.
#[derive(Debug, Clone)]
pub struct RequireApproval(MCPToolRequireApproval);

impl RequireApproval {
    fn never() -> MCPToolRequireApproval {
        responses::MCPToolApprovalSetting::Never.into()
    }
}

impl FromStr for RequireApproval {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let json = match text {
            "always" | "never" => Value::from(text),
            _ => serde_json::from_str(text).unwrap_or(Value::Null),
        };
        let is_known = match &json {
            Value::Object(filter) => filter
                .keys()
                .all(|key| matches!(key.as_str(), "always" | "never")),
            _ => true,
        };
        serde_json::from_value(json)
            .ok()
            .filter(|_| is_known)
            .map(Self)
            .ok_or(
                "use always, never, or JSON such as {\"never\": {\"tool_names\": [\"roll_dice\"]}}",
            )
    }
}

/// `key=value`, for `--metadata`.
pub fn key_value(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("use key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// `key=json`, for `--claim`.
pub fn key_json(text: &str) -> Result<(String, Value), String> {
    let (key, json) = text.split_once('=').ok_or("use key=json")?;
    let value = serde_json::from_str(json).map_err(|error| {
        format!("the value is not JSON ({error}); a text needs quotes: key='\"text\"'")
    })?;
    Ok((key.to_owned(), value))
}

/// `@FILE`-less JSON files, such as `--schema`.
pub fn read_json(path: &Path) -> Result<Value, Error> {
    let text = read_small(path)?;
    serde_json::from_str(&text).map_err(|source| Error::NotJson {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_made_from_a_host() {
        for (host, label) in [
            ("dice.example.com", "dice_example_com"),
            ("localhost", "localhost"),
            ("127.0.0.1", "server_127_0_0_1"),
            ("[::1]", "server_1"),
        ] {
            let made = ServerLabel::named_after(host);
            assert_eq!(made, label);
            assert!(made.parse::<ServerLabel>().is_ok());
        }
    }

    #[test]
    fn a_secret_is_taken_without_its_line_end_and_without_its_scheme() {
        for (text, secret) in [("abc\n", "abc"), ("Bearer abc", "abc"), ("abc", "abc")] {
            let source: SecretSource = text.parse().unwrap();
            assert_eq!(source.read("it").unwrap().expose(), secret);
        }
        for text in ["", " ", "a b", "a\nb", "caf\u{e9}"] {
            let source: SecretSource = text.parse().unwrap();
            assert!(source.read("it").is_err(), "{text:?}");
        }
    }

    #[test]
    fn approval_is_a_word_or_a_filter() {
        for text in ["always", "never", r#"{"never": {"tool_names": ["a"]}}"#] {
            assert!(text.parse::<RequireApproval>().is_ok(), "{text}");
        }
        for text in ["sometimes", "", "{}}", "[1]", r#"{"nevr": {}}"#, "7"] {
            assert!(text.parse::<RequireApproval>().is_err(), "{text}");
        }
    }
}
