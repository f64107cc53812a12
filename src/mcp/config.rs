//! `mcp.json`: servers as Claude Desktop, VS Code and Cursor write them, `${VAR}` filled in.

use std::path::{MAIN_SEPARATOR, Path, PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use url::Url;

use super::credential::Credential;
use super::header::is_reserved;
use super::server::{Command, Endpoint, Server};
use crate::secret::Secret;

/// The servers of a configuration file, in its order.
#[derive(Debug)]
pub struct Config {
    servers: Map<String, Value>,
    /// Whether the file asks for inputs (VS Code), which nobody here can be asked for.
    pub has_inputs: bool,
    /// The folder that VS Code has open when it reads the file.
    workspace: PathBuf,
}

/// Why a configuration file, or a server in it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("it is not JSON: {0}")]
    NotJson(String),
    #[error("it has no `mcpServers` and no `servers`")]
    NoServers,
    #[error("it has no server {name:?}; there is {known}")]
    UnknownServer { name: String, known: String },
    #[error("server {server:?} has no {field}, or not as text")]
    Field { server: String, field: &'static str },
    #[error("the URL of server {server:?} is not an http or https URL")]
    Url { server: String },
    #[error("server {server:?} has a header that HTTP cannot carry: {name}")]
    Header { server: String, name: String },
    #[error("server {server:?} sets the header {name}, which the client sets itself")]
    ReservedHeader { server: String, name: String },
    #[error(
        "server {server:?} needs the input {input} of VS Code, and nobody is asked for it here"
    )]
    Input { server: String, input: String },
    #[error("server {server:?} needs ${{{variable}}}, which only VS Code fills in")]
    OfVsCode { server: String, variable: String },
    #[error("server {server:?} needs the variable {variable}, which is not set")]
    Variable { server: String, variable: String },
}

impl Config {
    /// Reads the text of a file: JSON, with comments and trailing commas as VS Code allows them.
    ///
    /// The servers are under `mcpServers` (Claude Desktop, Cursor), `servers` (VS Code's
    /// `mcp.json`) or `mcp.servers` (VS Code's settings).
    /// `path` is where the file is: `${workspaceFolder}` is seen from there.
    pub fn read(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let root: Value =
            jsonc_parser::parse_to_serde_value(text, &jsonc_parser::ParseOptions::default())
                .map_err(|error| ConfigError::NotJson(error.to_string()))?;
        let servers = [
            &root["mcpServers"],
            &root["servers"],
            &root["mcp"]["servers"],
        ]
        .into_iter()
        .find_map(Value::as_object)
        .ok_or(ConfigError::NoServers)?;
        let folder = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let folder = folder.parent().unwrap_or(Path::new(""));
        let workspace = match folder.file_name() {
            Some(name) if name == ".vscode" => folder.parent().unwrap_or(folder),
            _ => folder,
        };
        Ok(Self {
            workspace: workspace.to_owned(),
            servers: servers.clone(),
            has_inputs: [&root["inputs"], &root["mcp"]["inputs"]]
                .into_iter()
                .any(|inputs| inputs.as_array().is_some_and(|it| !it.is_empty())),
        })
    }

    /// The names of the servers.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.servers.keys().map(String::as_str)
    }

    /// The server `name`, with `${VAR}` and `${VAR:-default}` filled in from `variable`.
    pub fn server(
        &self,
        name: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Server, ConfigError> {
        let server = self
            .servers
            .get(name)
            .ok_or_else(|| ConfigError::UnknownServer {
                name: name.to_owned(),
                known: self.names().collect::<Vec<_>>().join(", "),
            })?;
        // Some programs have what says where a server is one level below.
        let server = Some(&server["transport"])
            .filter(|it| it.is_object())
            .unwrap_or(server);
        let reader = Reader {
            name,
            server,
            variable,
            workspace: &self.workspace,
        };
        // Windsurf and Gemini CLI have names of their own. A server of the `type` "sse" is found out by
        // asking it, as OpenAI does.
        let mut urls = ["url", "serverUrl", "httpUrl"].into_iter();
        let endpoint = match urls.find_map(|field| reader.text(field).transpose()) {
            Some(url) => Endpoint::Http(reader.url(&url?)?),
            None => Endpoint::Stdio(reader.command()?),
        };
        Ok(Server {
            headers: reader.headers()?,
            endpoint,
            credential: Credential::None,
        })
    }
}

/// One server of the file.
struct Reader<'a> {
    name: &'a str,
    server: &'a Value,
    variable: &'a dyn Fn(&str) -> Option<String>,
    workspace: &'a Path,
}

impl Reader<'_> {
    fn text(&self, field: &'static str) -> Result<Option<String>, ConfigError> {
        match self.server.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => self.filled(text).map(Some),
            Some(_) => Err(self.missing(field)),
        }
    }

    fn url(&self, text: &str) -> Result<Url, ConfigError> {
        Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| ConfigError::Url {
                server: self.name.to_owned(),
            })
    }

    fn command(&self) -> Result<Command, ConfigError> {
        let program = self
            .text("command")?
            .ok_or_else(|| self.missing("url and no command"))?;
        let arguments = match self.server.get("args") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(arguments)) => arguments
                .iter()
                .map(|it| self.filled(it.as_str().ok_or_else(|| self.missing("args"))?))
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(self.missing("args")),
        };
        let environment = self
            .pairs("env")?
            .into_iter()
            .map(|(name, value)| (name, Secret::from(value)))
            .collect();
        Ok(Command {
            program,
            arguments,
            environment,
            folder: self.text("cwd")?,
            ..Command::default()
        })
    }

    fn headers(&self) -> Result<HeaderMap, ConfigError> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.pairs("headers")? {
            let parsed = HeaderName::try_from(name.as_str()).ok();
            let value = HeaderValue::try_from(value).ok();
            let (Some(parsed), Some(mut value)) = (parsed, value) else {
                return Err(ConfigError::Header {
                    server: self.name.to_owned(),
                    name,
                });
            };
            if is_reserved(&parsed) {
                return Err(ConfigError::ReservedHeader {
                    server: self.name.to_owned(),
                    name,
                });
            }
            value.set_sensitive(true);
            headers.insert(parsed, value);
        }
        Ok(headers)
    }

    fn pairs(&self, field: &'static str) -> Result<Vec<(String, String)>, ConfigError> {
        let pairs = match self.server.get(field) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Object(pairs)) => pairs,
            Some(_) => return Err(self.missing(field)),
        };
        pairs
            .iter()
            .map(|(name, value)| {
                let value = value.as_str().ok_or_else(|| self.missing(field))?;
                Ok((name.clone(), self.filled(value)?))
            })
            .collect()
    }

    /// The text with its variables: `${VAR}`, `${VAR:-default}`, and VS Code's `${env:VAR}`.
    fn filled(&self, text: &str) -> Result<String, ConfigError> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let Some(length) = rest[start..].find('}') else {
                break;
            };
            let inner = &rest[start + 2..start + length];
            let (variable, default) = match inner.split_once(":-") {
                Some((variable, default)) => (variable, Some(default)),
                None => (inner, None),
            };
            if let Some(input) = variable.strip_prefix("input:") {
                return Err(ConfigError::Input {
                    server: self.name.to_owned(),
                    input: input.to_owned(),
                });
            }
            let known = self.known(variable);
            let variable = variable.strip_prefix("env:").unwrap_or(variable);
            if known.is_none() && variable.contains(':') {
                return Err(ConfigError::OfVsCode {
                    server: self.name.to_owned(),
                    variable: variable.to_owned(),
                });
            }
            let value = known
                .or_else(|| (self.variable)(variable))
                .filter(|value| default.is_none() || !value.is_empty())
                .or_else(|| default.map(str::to_owned))
                .ok_or_else(|| ConfigError::Variable {
                    server: self.name.to_owned(),
                    variable: variable.to_owned(),
                })?;
            filled.push_str(&rest[..start]);
            filled.push_str(&value);
            rest = &rest[start + length + 1..];
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// What VS Code fills in by itself.
    fn known(&self, variable: &str) -> Option<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        match variable {
            "workspaceFolder" => Some(text(self.workspace)),
            "workspaceFolderBasename" => Some(text(self.workspace.file_name()?.as_ref())),
            "userHome" => (self.variable)("HOME").or_else(|| (self.variable)("USERPROFILE")),
            "pathSeparator" | "/" => Some(MAIN_SEPARATOR.to_string()),
            _ => None,
        }
    }

    fn missing(&self, field: &'static str) -> ConfigError {
        ConfigError::Field {
            server: self.name.to_owned(),
            field,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<String> {
        match name {
            "TOKEN" => Some("canary".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn server(text: &str, name: &str) -> Result<Server, ConfigError> {
        Config::read(text, Path::new("/work/mcp.json"))
            .unwrap()
            .server(name, &variable)
    }

    #[test]
    fn the_forms_of_claude_cursor_and_vs_code_are_read() {
        let claude = r#"{"mcpServers": {"dice": {"command": "mcp-cli", "args": ["serve", "-t", "stdio"],
            "env": {"A": "${TOKEN}"}}}}"#;
        let Endpoint::Stdio(command) = server(claude, "dice").unwrap().endpoint else {
            panic!("not a command");
        };
        assert_eq!(command.program, "mcp-cli");
        assert_eq!(command.arguments, ["serve", "-t", "stdio"]);
        assert_eq!(command.environment[0].1.expose(), "canary");

        let cursor = r#"{"mcpServers": {"dice": {"url": "https://a.example/mcp",
            "headers": {"Authorization": "Bearer ${TOKEN}"}}}}"#;
        let read = server(cursor, "dice").unwrap();
        assert!(
            matches!(&read.endpoint, Endpoint::Http(url) if url.as_str() == "https://a.example/mcp")
        );
        assert_eq!(read.headers["authorization"], "Bearer canary");
        assert!(!format!("{read:?}").contains("canary"));

        let vs_code = r#"{
            // where the servers are
            "inputs": [{"id": "key", "type": "promptString"}],
            "servers": {"dice": {"type": "http", "url": "http://127.0.0.1:${PORT:-8000}/mcp"},},
        }"#;
        let config = Config::read(vs_code, Path::new("mcp.json")).unwrap();
        assert!(config.has_inputs);
        let read = config.server("dice", &variable).unwrap();
        assert!(matches!(&read.endpoint, Endpoint::Http(url) if url.port() == Some(8000)));
        assert!(server(r#"{"mcp": {"servers": {"a": {"url": "http://a/"}}}}"#, "a").is_ok());
    }

    #[test]
    fn variables_are_filled_in_or_named() {
        let filled = |text: &str| {
            let server = serde_json::json!({"command": text});
            let reader = Reader {
                name: "a",
                server: &server,
                variable: &variable,
                workspace: Path::new("/work"),
            };
            reader
                .command()
                .map(|it| it.program)
                .map_err(|it| it.to_string())
        };
        for (text, expected) in [
            ("${TOKEN}", "canary"),
            ("a${env:TOKEN}b${TOKEN}", "acanarybcanary"),
            ("${NONE:-x}", "x"),
            ("${NONE:-}", ""),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY}", ""),
            ("$TOKEN ${open", "$TOKEN ${open"),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(expected), "{text}");
        }
        assert!(
            filled("${input:key}")
                .unwrap_err()
                .contains("the input key of VS Code")
        );
        for text in ["${NONE}", "${}"] {
            assert!(
                filled(text).unwrap_err().contains("which is not set"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_without_its_secrets() {
        for (text, name, words) in [
            (r#"{"mcpServers": {"a": {}}}"#, "a", "no url and no command"),
            (
                r#"{"mcpServers": {"a": {}, "b": {}}}"#,
                "c",
                "there is a, b",
            ),
            (
                r#"{"mcpServers": {"a": {"url": "canary"}}}"#,
                "a",
                "not an http or https URL",
            ),
            (
                r#"{"mcpServers": {"a": {"command": "x", "args": "canary"}}}"#,
                "a",
                "no args",
            ),
            (
                r#"{"mcpServers": {"a": {"command": "x", "env": {"canary": 1}}}}"#,
                "a",
                "no env",
            ),
            (
                r#"{"mcpServers": {"a": {"url": "http://a/", "headers": {"X": "canary\n"}}}}"#,
                "a",
                "cannot carry: X",
            ),
            (
                r#"{"mcpServers": {"a": {"url": "http://a/", "headers": {"Mcp-Session-Id": "canary"}}}}"#,
                "a",
                "sets the header Mcp-Session-Id",
            ),
        ] {
            let error = server(text, name).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
        assert!(matches!(
            Config::read("[]", Path::new("mcp.json")),
            Err(ConfigError::NoServers)
        ));
        assert!(matches!(
            Config::read("{", Path::new("mcp.json")),
            Err(ConfigError::NotJson(_))
        ));
    }
}
