//! The names of the tunnel's protocol: tunnel ids, runtime keys, channels.

use std::fmt;
use std::str::FromStr;

use crate::secret::Secret;

const TUNNEL_PREFIX: &str = "tunnel_";
const TUNNEL_SUFFIX: usize = 32;
const MAX_CHANNEL: usize = 64;
const MAIN: &str = "main";

/// A malformed name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    #[error("a tunnel id is `tunnel_` and 32 lowercase letters or digits")]
    TunnelId,
    /// The message does not repeat the key.
    #[error("a runtime key has only letters, digits, `_` and `-`, and no blanks around it")]
    RuntimeKey,
    #[error("a channel is at most 64 lowercase letters, digits, `_` or `-`")]
    Channel,
}

/// The id of a tunnel, from OpenAI's platform settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelId(String);

impl TunnelId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TunnelId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let suffix = text.strip_prefix(TUNNEL_PREFIX);
        let is_valid = suffix.is_some_and(|it| {
            let has_valid_bytes = it
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            it.len() == TUNNEL_SUFFIX && has_valid_bytes
        });
        match is_valid {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidName::TunnelId),
        }
    }
}

impl fmt::Display for TunnelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The API key of the tunnel client, for the control plane only: the MCP server never gets it.
#[derive(Debug, Clone)]
pub struct RuntimeKey(Secret);

impl RuntimeKey {
    /// The key itself, for the `Authorization` header.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl TryFrom<Secret> for RuntimeKey {
    type Error = InvalidName;

    fn try_from(secret: Secret) -> Result<Self, InvalidName> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let key = secret.expose();
        match !key.is_empty() && key.bytes().all(is_allowed) {
            true => Ok(Self(secret)),
            false => Err(InvalidName::RuntimeKey),
        }
    }
}

/// A channel: one of several MCP servers behind the same tunnel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Channel(String);

impl Channel {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `main`, the only channel that this client serves.
    pub fn is_main(&self) -> bool {
        self.0 == MAIN
    }
}

impl Default for Channel {
    fn default() -> Self {
        Self(MAIN.to_owned())
    }
}

/// Case and blanks around a name do not matter; an empty name is `main`.
impl FromStr for Channel {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let name = text.trim().to_ascii_lowercase();
        let is_allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
        };
        match name.len() <= MAX_CHANNEL && name.bytes().all(is_allowed) {
            true if name.is_empty() => Ok(Self::default()),
            true => Ok(Self(name)),
            false => Err(InvalidName::Channel),
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_id_is_its_prefix_and_32_lowercase_letters_or_digits() {
        let id = format!("tunnel_{}", "0z".repeat(16));
        assert_eq!(id.parse::<TunnelId>().unwrap().to_string(), id);
        for bad in [
            "",
            "tunnel_",
            &id[1..],
            &format!("{id}0"),
            &id.to_uppercase(),
            &format!("{}-", &id[..38]),
            &format!(" {id}"),
        ] {
            assert_eq!(bad.parse::<TunnelId>(), Err(InvalidName::TunnelId), "{bad}");
        }
    }

    #[test]
    fn a_key_of_other_characters_is_rejected_and_not_repeated() {
        let key = |text: &str| RuntimeKey::try_from(Secret::from(text.to_owned()));
        assert_eq!(key("sk-proj-A_1").unwrap().expose(), "sk-proj-A_1");
        for bad in ["", " sk-1", "sk-1\n", "sk 1", "sk-é"] {
            assert_eq!(key(bad).unwrap_err(), InvalidName::RuntimeKey, "{bad:?}");
        }
        assert!(!format!("{:?}", key("sk-canary")).contains("canary"));
    }

    #[test]
    fn a_channel_is_trimmed_and_lowercase_and_main_if_it_is_empty() {
        let channel = |text: &str| text.parse::<Channel>().map(|it| it.to_string());
        for (text, name) in [("", "main"), ("  ", "main"), (" Tools_1-a ", "tools_1-a")] {
            assert_eq!(channel(text), Ok(name.to_owned()));
        }
        assert!(channel(&"x".repeat(64)).is_ok());
        for bad in ["a b", "a/b", "é", &"x".repeat(65)] {
            assert_eq!(channel(bad), Err(InvalidName::Channel), "{bad}");
        }
    }
}
