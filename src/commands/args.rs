//! Texts of the command line that become types, and small files that it names.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use crate::address;
use crate::engine::model::{Model, Script};
use crate::error::Error;
use crate::file;
use crate::mcp;
use crate::secret::Secret;

/// The most bytes that are read of a file with a secret, or of headers.
const MAX_SMALL_FILE: u64 = 64 * 1024;
/// The most bytes that are read of an `mcp.json`, which can be a stranger's: parsing one takes up to
/// 40 times as much memory.
const MAX_CONFIG: u64 = 1024 * 1024;
/// The most bytes that are read of a script; parsing one takes up to 100 times as much memory.
const MAX_SCRIPT: u64 = 4 * 1024 * 1024;
/// The most bytes that are read of any other file, or of stdin.
const MAX_TEXT: u64 = 16 * 1024 * 1024;

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
    /// The same for a token where no server is named: what is no token and the name of a file is that
    /// file.
    pub fn or_file(self) -> Self {
        match &self {
            Self::Text(text) if Path::new(text.expose()).is_file() => {
                Self::File(text.expose().into())
            }
            _ => self,
        }
    }

    /// The secret, without the line end that an editor puts behind it. A `Bearer` in front is
    /// dropped: it is sent by whoever sends the token.
    ///
    /// # Errors
    /// It cannot be read, is empty, or cannot be sent in a header. `what` names it in the error.
    pub fn read(&self, what: &str) -> Result<Secret, Error> {
        self.read_if_any(what)?.ok_or_else(|| {
            Error::usage(format!("{what} is empty"))
                .with_hint("@FILE reads it from a file, - from stdin")
        })
    }

    /// The same; `None` if it is empty.
    ///
    /// # Errors
    /// It cannot be read, or cannot be sent in a header.
    pub fn read_if_any(&self, what: &str) -> Result<Option<Secret>, Error> {
        let text = match self {
            Self::Text(secret) => secret.clone(),
            Self::File(path) => Secret::from(read_small(path)?),
            Self::Stdin => Secret::from(read_stdin_to(MAX_SMALL_FILE)?),
        };
        let token = bare(text.expose());
        if token.is_empty() {
            return Ok(None);
        }
        if !token.chars().all(|it| it.is_ascii_graphic()) {
            let text = format!("{what} has characters that are not allowed in an HTTP header");
            return Err(Error::usage(text).with_hint("look for a line break or a space in it"));
        }
        Ok(Some(Secret::from(token.to_owned())))
    }
}

/// A token out of what people paste: a whole header, a `Bearer` in front, quotes around it.
fn bare(text: &str) -> &str {
    let without = |text: &'_ str, prefix: &str| match text.get(..prefix.len()) {
        Some(start) if start.eq_ignore_ascii_case(prefix) => prefix.len(),
        _ => 0,
    };
    let mut token = text.trim();
    for prefix in ["\"", "'", "Authorization:", "Bearer "] {
        token = token[without(token, prefix)..].trim_start();
    }
    token.trim_end_matches(['"', '\'']).trim_end()
}

/// The variables with secrets that are for this program, and not for a server that it starts.
const OWN_VARIABLES: [&str; 3] = [
    "OPENAI_API_KEY",
    "MCP_AUTHORIZATION",
    "CONTROL_PLANE_API_KEY",
];

/// The server that `-- COMMAND` starts. It gets the environment that the person has, without what is for
/// this program.
pub fn own_command(program: &str, arguments: &[String]) -> mcp::Command {
    mcp::Command {
        program: program.to_owned(),
        arguments: arguments.to_vec(),
        withheld: OWN_VARIABLES.map(OsString::from).to_vec(),
        ..mcp::Command::default()
    }
}

/// An http or https URL with a host. A URL can hold a password, so this is not clap's to parse,
/// which repeats what it refuses.
pub fn http_url(text: &str, flag: &'static str) -> Result<Url, Error> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| {
            Error::usage(format!("{flag} is not an http or https URL"))
                .with_hint("write it with http:// or https:// and a host")
        })
}

/// The URL of a server as a person types it: `host:port/path` is `http` on this machine, and `https`
/// elsewhere.
///
/// # Errors
/// It is not the URL of a server.
pub fn target_url(text: &str) -> Result<Url, Error> {
    if text.contains("://") {
        return http_url(text, "the server's URL");
    }
    let https = http_url(&format!("https://{text}"), "the server's URL");
    let has_port = text.split('/').next().is_some_and(|it| it.contains(':'));
    match https {
        Ok(_) if !has_port && !text.contains('.') && !text.starts_with("localhost") => {
            // A password may be in it.
            let shown = match text.contains('@') {
                true => "it".to_owned(),
                false => format!("{text:?}"),
            };
            Err(Error::usage(format!("{shown} is not the URL of a server"))
                .with_hint("write it with http:// or https:// and a host"))
        }
        Ok(https) if address::is_loopback(&https) => {
            http_url(&format!("http://{text}"), "the server's URL")
        }
        url => url,
    }
}

/// A time such as `5s` or `1m 30s`; a number alone is of seconds.
///
/// # Errors
/// It is not a time.
pub fn duration(text: &str) -> Result<Duration, humantime::DurationError> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text),
    }
}

/// A text file with a secret, or with headers.
pub fn read_small(path: &Path) -> Result<String, Error> {
    text(&file::read(path, MAX_SMALL_FILE)?, path)
}

/// An `mcp.json`.
pub fn read_config(path: &Path) -> Result<String, Error> {
    text(&file::read(path, MAX_CONFIG)?, path)
}

/// Any other text file.
pub fn read_text_file(path: &Path) -> Result<String, Error> {
    text(&file::read(path, MAX_TEXT)?, path)
}

/// All of stdin.
pub fn read_stdin() -> Result<String, Error> {
    read_stdin_to(MAX_TEXT)
}

fn read_stdin_to(limit: u64) -> Result<String, Error> {
    let path = Path::new("stdin");
    text(&file::read_from(io::stdin().lock(), path, limit)?, path)
}

fn text(bytes: &[u8], path: &Path) -> Result<String, Error> {
    // Windows writes a byte order mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| file::Error::NotText { path: path.into() });
    Ok(text?.to_owned())
}

/// A word as a shell reads it: in quotes, if it has characters that mean something there.
pub fn shell_word(text: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "-_./:@,+%".contains(it);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// A word of a shell, in quotes.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
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

/// The model of `script:FILE`.
pub fn script(path: &str) -> Result<Model, Error> {
    let path = Path::new(path);
    let script = Script::parse(&text(&file::read(path, MAX_SCRIPT)?, path)?);
    script.map(Model::Script).map_err(|source| {
        let text = format!("{} is not a script that can be played", path.display());
        Error::usage(text).with_source(source).with_hint(
            "a script is a JSON list of steps, such as {\"calls\": [{\"name\": ..., \"arguments\": {...}}]} and {\"say\": \"...\"}",
        )
    })
}

/// A JSON file, such as that of `--schema`.
pub fn read_json(path: &Path) -> Result<Value, Error> {
    let text = read_text_file(path)?;
    serde_json::from_str(&text).map_err(|source| Error::not_json(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_as_a_person_types_it() {
        for (text, url) in [
            ("http://a.example/mcp", "http://a.example/mcp"),
            ("localhost:8000/mcp", "http://localhost:8000/mcp"),
            ("127.0.0.1:8000", "http://127.0.0.1:8000/"),
            ("[::1]:8000/sse", "http://[::1]:8000/sse"),
            ("localhost/mcp", "http://localhost/mcp"),
            ("example.com/mcp", "https://example.com/mcp"),
            ("host:443/mcp", "https://host/mcp"),
        ] {
            assert_eq!(target_url(text).unwrap().as_str(), url, "{text}");
        }
        for text in [
            "not-a-url",
            "ns/tool",
            "ftp://a.example",
            "",
            "http://",
            "a b.example",
        ] {
            assert!(target_url(text).is_err(), "{text}");
        }
        let error = target_url("user@nowhere").unwrap_err().to_string();
        assert_eq!(error, "it is not the URL of a server");
    }

    #[test]
    fn a_time_may_have_no_unit() {
        for (text, seconds) in [("5", 5), ("5s", 5), ("1m 30s", 90)] {
            assert_eq!(duration(text).unwrap(), Duration::from_secs(seconds));
        }
        assert!(duration("soon").is_err() && duration("-1").is_err());
    }

    #[test]
    fn a_token_is_found_in_what_people_paste() {
        for text in [
            "canary",
            " canary\r\n",
            "Bearer canary",
            "bearer  canary",
            "Authorization: Bearer canary",
            "\"canary\"",
            "'Bearer canary'",
        ] {
            assert_eq!(bare(text), "canary", "{text:?}");
        }
        assert_eq!(bare("Basic canary"), "Basic canary");
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
}
