//! Which variables of this program's environment a server that it starts is not given.

use std::ffi::OsString;

/// What the name of a variable that holds a secret ends with; case does not count.
const ENDINGS: [&str; 12] = [
    "_KEY",
    "APIKEY",
    "TOKEN",
    "_SECRET",
    "_SECRETS",
    "_PAT",
    "_PASS",
    "_CREDENTIAL",
    "_CREDENTIALS",
    "_AUTHORIZATION",
    "_DSN",
    "_CONNECTION_STRING",
];
/// What it has anywhere.
const PARTS: [&str; 5] = ["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET_", "PRIVATE_KEY"];
/// Other names: these by themselves, and addresses that often have a password in them.
const NAMES: [&str; 5] = [
    "SECRET",
    "DATABASE_URL",
    "POSTGRES_URL",
    "MONGODB_URI",
    "REDIS_URL",
];

/// Those of the variables that a server is not given, unless the `env` of its configuration names
/// them.
pub fn withheld(names: impl Iterator<Item = OsString>) -> Vec<OsString> {
    names
        .filter(|name| is_secret(&name.to_string_lossy()))
        .collect()
}

/// Whether a variable of this name may hold a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ENDINGS.iter().any(|it| name.ends_with(it))
        || PARTS.iter().any(|it| name.contains(it))
        || NAMES.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_whether_a_variable_may_hold_a_secret() {
        for name in [
            "OPENAI_API_KEY",
            "anthropic_api_key",
            "MCP_AUTHORIZATION",
            "GITHUB_TOKEN",
            "NGROK_AUTHTOKEN",
            "TOKEN",
            "GITHUB_PAT",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "CLIENT_SECRET",
            "Client_Secret_Value",
            "PGPASSWORD",
            "MYSQL_PASSWORD_FILE",
            "SSH_PASSPHRASE",
            "SENTRY_DSN",
            "DATABASE_URL",
            "AZURE_STORAGE_CONNECTION_STRING",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "STRIPE_KEY",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "PATH",
            "HOME",
            "LANG",
            "SSH_AUTH_SOCK",
            "HTTPS_PROXY",
            "NODE_OPTIONS",
            "PYTHONPATH",
            "KEYBOARD",
            "XDG_CONFIG_HOME",
            "AWS_PROFILE",
            "AWS_REGION",
            "MCP_SERVER_URL",
            "TOKENIZERS_PARALLELISM",
            "",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
