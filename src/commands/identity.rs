//! Which server a label means: an approval is for that server, and for no other of its label.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use url::Url;

use super::args;
use super::servers::Servers;
use crate::address;
use crate::error::Error;
use crate::mcp;
use crate::responses::{Conversation, MCPTool, ToolEntry};
use crate::ui;

/// The servers of a request, by their labels.
pub type Identities = BTreeMap<String, Identity>;

/// A server, and who calls it. There is no secret in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its address or command, as a person reads it.
    pub shown: String,
    /// SHA-256 of the whole address or command, with what is not shown.
    digest: String,
    mode: Mode,
}

/// Who calls the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Hosted,
    Bridge,
    Local,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            Mode::Hosted => "called by the API",
            Mode::Bridge => "called with --bridge",
            Mode::Local => "called with --local",
        };
        write!(f, "{} ({mode})", self.shown)
    }
}

impl Identity {
    fn new(mode: Mode, shown: String, parts: &[&str]) -> Self {
        // The length in front keeps ["a", "bc"] and ["ab", "c"] apart.
        let parts = parts.iter().map(|part| format!("{}:{part}", part.len()));
        let digest = digest(&SHA256, parts.collect::<String>().as_bytes());
        let digest = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
        Self {
            shown,
            digest: digest.collect(),
            mode,
        }
    }

    fn bundled() -> Self {
        let shown = "the bundled dice server".to_owned();
        Self::new(Mode::Local, shown, &["bundled"])
    }

    fn from_command(command: &mcp::Command, mode: Mode) -> Self {
        let mut parts = vec!["command", &command.program];
        parts.extend(command.arguments.iter().map(String::as_str));
        // A folder behind a NUL cannot be mistaken for an argument.
        parts.extend(command.folder.iter().flat_map(|it| ["\0", it.as_str()]));
        Self::new(mode, shown_command(command), &parts)
    }

    fn from_entry(entry: &MCPTool, mode: Mode) -> Self {
        let entry = serde_json::to_value(entry).unwrap_or_default();
        let field = |name: &str| entry[name].as_str().unwrap_or_default();
        match (
            field("server_url"),
            field("connector_id"),
            field("tunnel_id"),
        ) {
            ("", "", id) => Self::new(mode, format!("tunnel {id}"), &["tunnel", id]),
            ("", id, _) => Self::new(mode, format!("connector {id}"), &["connector", id]),
            (url, ..) => {
                let shown = Url::parse(url).map(|it| address::shown(&it));
                Self::new(mode, shown.unwrap_or_default(), &["url", url])
            }
        }
    }
}

/// The identities of the servers that are named, and of the bundled one where that is used.
pub fn identities(servers: &Servers, bundled: Option<&MCPTool>, mode: Mode) -> Identities {
    let named = servers.entries.iter().filter_map(|entry| match entry {
        ToolEntry::Mcp(entry) => {
            let label = &entry.server_label;
            let identity = match servers.commands.get(label) {
                Some(command) => Identity::from_command(command, mode),
                None => Identity::from_entry(entry, mode),
            };
            Some((label.clone(), identity))
        }
        ToolEntry::Other(_) => None,
    });
    let bundled = bundled.map(|entry| (entry.server_label.clone(), Identity::bundled()));
    named.chain(bundled).collect()
}

/// Refuses to go on with calls that wait for approval at a server which is not named, or is another
/// one than `before`. Tools of servers that are others now are forgotten, to be listed again;
/// returns the labels of these.
pub fn go_on(
    conversation: &mut Conversation,
    before: &Identities,
    now: &Identities,
) -> Result<Vec<String>, Error> {
    for call in &conversation.pending {
        let server_label = call.server_label.clone();
        let call = ui::tool_name(&server_label, &call.name);
        match (before.get(&server_label), now.get(&server_label)) {
            (_, None) => return Err(Error::pending_elsewhere(&call)),
            (None, Some(_)) => {
                let text = format!("`{call}` waits for approval at an unknown server");
                return Err(Error::usage(text)
                    .with_hint("an older mcp-cli wrote this conversation; ask again without -c"));
            }
            (Some(before), Some(now)) if before != now => {
                let (asked, named) = (before.to_string(), now.to_string());
                let named = match asked == named {
                    true => format!("{named}, with other parameters"),
                    false => named,
                };
                let text = format!(
                    "`{call}` waits for approval at {asked}, but {server_label} is now another server: {named}"
                );
                return Err(Error::usage(text).with_hint(
                    "name the server that asked for approval, or ask again without -c",
                ));
            }
            (Some(_), Some(_)) => {}
        }
    }
    let changed = now
        .iter()
        .filter(|(label, now)| before.get(*label) != Some(now));
    let changed = changed.map(|(label, _)| label);
    Ok(changed
        .filter(|label| conversation.forget_tools(label))
        .cloned()
        .collect())
}

/// A command without what can be a secret in its arguments: what follows a name such as `--token`,
/// and all but the place of a URL.
fn shown_command(command: &mcp::Command) -> String {
    let mut words = vec![args::shell_word(&command.program)];
    let mut before = "";
    for argument in &command.arguments {
        let shown = match shown_argument(before, argument) {
            Some(shown) => shown,
            None => argument.clone(),
        };
        words.push(args::shell_word(&shown));
        before = argument;
    }
    words.join(" ")
}

/// The argument as it may be shown, if it may not be shown as it is.
fn shown_argument(before: &str, argument: &str) -> Option<String> {
    const HIDDEN: &str = "[redacted]";
    if before.starts_with('-') && !before.contains('=') && is_secret(before) {
        return Some(HIDDEN.to_owned());
    }
    // `--token=abc`, `TOKEN=abc`, `X-Api-Key: abc`; what precedes the `:` of a URL does not name a secret.
    let end = argument.find(['=', ':']);
    if let Some(end) = end.filter(|end| is_secret(&argument[..*end])) {
        return Some(format!("{}{HIDDEN}", &argument[..=end]));
    }
    let url = Url::parse(argument).ok().filter(Url::has_host)?;
    Some(address::shown(&url))
}

/// Whether what has this name is likely a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = ["key", "token", "secret", "pass", "auth", "credential"];
    words.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn command(words: &[&str]) -> mcp::Command {
        mcp::Command {
            program: words[0].to_owned(),
            arguments: words[1..].iter().map(|it| (*it).to_owned()).collect(),
            environment: Vec::new(),
            withheld: Vec::new(),
            folder: None,
        }
    }

    fn url(url: &str) -> Identity {
        let entry = MCPTool {
            server_url: Some(url.to_owned()),
            ..MCPTool::default()
        };
        Identity::from_entry(&entry, Mode::Local)
    }

    #[test]
    fn a_command_is_shown_without_its_secrets() {
        for (words, shown) in [
            (
                &["npx", "-y", "files", "/home/me"][..],
                "npx -y files /home/me",
            ),
            (&["a", "--api-key", "k1", "b"], "a --api-key '[redacted]' b"),
            (&["a", "--token=k1"], "a '--token=[redacted]'"),
            (&["env", "API_KEY=k1", "a"], "env 'API_KEY=[redacted]' a"),
            (
                &["a", "--header", "Authorization: Bearer k1"],
                "a --header 'Authorization:[redacted]'",
            ),
            (
                &["pg", "postgres://me:k1@db/x?password=k1"],
                "pg postgres://db/x",
            ),
            (&["my program"], "'my program'"),
        ] {
            assert_eq!(shown_command(&command(words)), shown);
        }
    }

    #[test]
    fn servers_are_the_same_only_in_every_part() {
        let same = || Identity::from_command(&command(&["a", "b", "c"]), Mode::Local);
        assert_eq!(same(), same());
        let mut in_folder = command(&["a", "b", "c"]);
        in_folder.folder = Some("/tmp".to_owned());
        for other in [
            Identity::from_command(&command(&["a", "bc"]), Mode::Local),
            Identity::from_command(&command(&["a", "b", "c", "--token", "x"]), Mode::Local),
            Identity::from_command(&command(&["a", "b", "c"]), Mode::Bridge),
            Identity::from_command(&in_folder, Mode::Local),
            Identity::bundled(),
            url("http://a/"),
        ] {
            assert_ne!(same(), other);
        }
        let urls = [
            "http://a/?k=1",
            "http://a/?k=2",
            "http://u@a/?k=1",
            "http://a/b",
        ];
        for (index, one) in urls.iter().enumerate() {
            for (other_index, other) in urls.iter().enumerate() {
                assert_eq!(
                    url(one) == url(other),
                    index == other_index,
                    "{one} {other}"
                );
            }
        }
        assert_eq!(url("http://u:p@a/?k=1#f").shown, "http://a/");
    }

    #[test]
    fn a_call_goes_on_at_the_server_that_asked_and_at_no_other() {
        let kept = json!({
            "items": [{"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "s", "tools": []}],
            "lists": [{"id": "mcpl_1", "server_label": "s", "tools": []}],
            "pending": [{"id": "mcpr_1", "arguments": "{}", "name": "n", "server_label": "s"}],
        });
        let mut kept: Conversation = serde_json::from_value(kept).unwrap();
        let at = |it: Identity| Identities::from([("s".to_owned(), it)]);
        let (one, other) = (at(url("http://a/")), at(url("http://b/")));
        let none = Identities::new();

        assert!(go_on(&mut kept, &one, &one).unwrap().is_empty());
        let mut refused = |before, now| go_on(&mut kept, before, now).unwrap_err().to_string();
        let another = refused(&one, &other);
        assert!(another.contains("at http://a/"), "{another}");
        assert!(another.contains("another server: http://b/"), "{another}");
        assert!(refused(&none, &one).contains("at an unknown server"));
        assert!(refused(&one, &none).contains("its server is not named"));

        // Where nothing waits, the tools of before are not those of the server that is named now.
        kept.pending.clear();
        assert_eq!(go_on(&mut kept, &one, &other).unwrap(), ["s"]);
        assert_eq!(kept, Conversation::default());
    }
}
