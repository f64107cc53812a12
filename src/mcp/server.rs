//! An MCP server as a client names it: where it is, how it is started, what it is shown.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::hash::{Hash, Hasher};

use axum::Router;
use http::HeaderMap;
use serde_json::Value;
use url::Url;

use super::credential::Credential;
use super::environment;
use crate::secret::Secret;

/// Where an MCP server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// It listens there (MCP 2026-07-28, Streamable HTTP).
    Http(Url),
    /// It is started, and spoken to over its stdin and stdout (MCP 2026-07-28, stdio).
    Stdio(Command),
    /// A router of this process answers for it, over Streamable HTTP without a connection.
    InProcess(InProcess),
}

/// A router of this process, and the path of an MCP endpoint in it.
#[derive(Clone)]
pub struct InProcess {
    /// What it is called where it is shown; two with one name are the same.
    pub name: String,
    pub path: String,
    pub router: Router,
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InProcess").field(&self.name).finish()
    }
}

impl PartialEq for InProcess {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.path) == (&other.name, &other.path)
    }
}

impl Eq for InProcess {}

impl Hash for InProcess {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.name, &self.path).hash(state);
    }
}

/// How a server is started. Its environment is that of this program, without what is withheld.
#[derive(Debug, Clone, Default)]
pub struct Command {
    pub program: String,
    pub arguments: Vec<String>,
    /// Variables of this program that it is not given, unless `environment` names them.
    pub withheld: Vec<OsString>,
    /// Variables that it is given as well.
    pub environment: Vec<(String, Secret)>,
    /// The folder that it is started in.
    pub folder: Option<String>,
}

impl Command {
    /// Withholds those of `variables`, the names of this program's own, that may hold a secret.
    pub fn withhold_secrets(&mut self, variables: impl Iterator<Item = OsString>) {
        self.withheld = environment::withheld(variables);
    }
}

impl PartialEq for Command {
    fn eq(&self, other: &Self) -> bool {
        let environment = |command: &Self| -> Vec<(String, String)> {
            let variables = command.environment.iter();
            variables
                .map(|(name, value)| (name.clone(), value.expose().to_owned()))
                .collect()
        };
        self.program == other.program
            && self.arguments == other.arguments
            && self.folder == other.folder
            && environment(self) == environment(other)
    }
}

impl Eq for Command {}

impl Hash for Command {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.program, &self.arguments, &self.folder).hash(state);
    }
}

/// An MCP server and what it is shown of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub endpoint: Endpoint,
    pub credential: Credential,
    /// Sent as they are; their values are marked sensitive, so that `Debug` hides them.
    pub headers: HeaderMap,
}

impl Server {
    /// What a server says of a request, without what it was shown: some repeat it.
    pub fn without_secrets(&self, text: String) -> String {
        self.secrets().redact(text)
    }

    /// What it was shown and should not repeat. For many texts, have it once.
    pub fn secrets(&self) -> Secrets<'_> {
        /// What is shorter is a word of many texts.
        const SHORTEST: usize = 6;
        let headers = self.headers.values().filter_map(|it| it.to_str().ok());
        let token = self.credential.secret();
        let (password, query, environment) = match &self.endpoint {
            Endpoint::Http(url) => (url.password(), url.query(), &[][..]),
            Endpoint::Stdio(command) => (None, None, &command.environment[..]),
            Endpoint::InProcess(_) => (None, None, &[][..]),
        };
        let environment = environment.iter().map(|(_, value)| value.expose());
        let whole = headers
            .chain(token)
            .chain(password)
            .chain(query)
            .chain(environment);
        // `Bearer TOKEN`, and the token alone.
        let parts = whole.flat_map(|it| [it, it.split_once(' ').map_or("", |(_, token)| token)]);
        let mut secrets: Vec<Cow<'_, str>> = parts.map(Cow::Borrowed).collect();
        if let Endpoint::Http(url) = &self.endpoint {
            secrets.extend(url.query_pairs().map(|(_, value)| value));
            let values = query.into_iter().flat_map(|it| it.split('&'));
            let values = values.filter_map(|it| Some(it.split_once('=')?.1));
            secrets.extend(values.map(Cow::Borrowed));
        }
        secrets.retain(|it| it.len() >= SHORTEST);
        // One may be the beginning of another.
        secrets.sort_unstable_by_key(|it| std::cmp::Reverse(it.len()));
        Secrets(secrets)
    }
}

/// The credentials of one server, the longest first.
pub struct Secrets<'a>(Vec<Cow<'a, str>>);

impl Secrets<'_> {
    /// The text with `[redacted]` in place of each of them.
    pub fn redact(&self, mut text: String) -> String {
        for secret in &self.0 {
            if text.contains(&**secret) {
                text = text.replace(&**secret, "[redacted]");
            }
        }
        text
    }

    /// The same of every text in a value, names of fields included.
    pub fn redact_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.redact(std::mem::take(text)),
            Value::Array(values) => values.iter_mut().for_each(|it| self.redact_value(it)),
            Value::Object(fields) => {
                let redacted = std::mem::take(fields).into_iter().map(|(name, mut value)| {
                    self.redact_value(&mut value);
                    (self.redact(name), value)
                });
                fields.extend(redacted);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

impl Hash for Server {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.endpoint.hash(state);
        self.credential.hash(state);
        // Equal maps may have their names in another order.
        let pairs = self.headers.iter();
        let mut pairs: Vec<_> = pairs
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        pairs.sort_unstable();
        pairs.hash(state);
    }
}
