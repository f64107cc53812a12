//! Which variables of this program's environment a server that it starts is not given.

use std::ffi::OsString;

/// Words that tell of a secret anywhere in a name. The words of `GH_TOKEN_CI` are `GH`, `TOKEN` and
/// `CI`; case does not count.
const WORDS: [&str; 20] = [
    "APIKEY",
    "APIKEYS",
    "AUTHORIZATION",
    "BEARER",
    "COOKIE",
    "COOKIES",
    "CREDENTIAL",
    "CREDENTIALS",
    "DSN",
    "JWT",
    "PASS",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PASSWORDS",
    "PAT",
    "SECRET",
    "SECRETS",
    "TOKEN",
    "TOKENS",
];
/// What a word that tells of a secret ends with, where words are written together: `AUTHTOKEN`.
const ENDINGS: [&str; 6] = [
    "APIKEY",
    "ACCESSKEY",
    "PRIVATEKEY",
    "SECRETKEY",
    "SECRET",
    "TOKEN",
];
/// What it has anywhere: `PGPASSWORD`.
const PARTS: [&str; 3] = ["PASSWORD", "PASSWD", "PASSPHRASE"];
/// Words that make a key a secret one, whatever follows it: `API_KEY_PROD`.
const KEYS_OF: [&str; 6] = [
    "ACCESS",
    "API",
    "ENCRYPTION",
    "PRIVATE",
    "SECRET",
    "SIGNING",
];
/// Last words that tell of a secret if there are others before them: `MYSQL_PWD`, but not `PWD`.
const LAST_OF_SEVERAL: [&str; 2] = ["PWD", "SK"];
/// Addresses that often have a password in them.
const ADDRESSES: [&str; 4] = ["DATABASE_URL", "POSTGRES_URL", "MONGODB_URI", "REDIS_URL"];

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
    let words: Vec<&str> = name.split(['_', '-', '.']).collect();
    let tells = |word: &&str| {
        WORDS.contains(word)
            || ENDINGS.iter().any(|it| word.ends_with(it))
            || PARTS.iter().any(|it| word.contains(it))
    };
    let is_key = |word: &str| matches!(word, "KEY" | "KEYS");
    let ends_so = match words.as_slice() {
        [.., last] if is_key(last) => true,
        [_, .., last] if LAST_OF_SEVERAL.contains(last) => true,
        [.., "CONNECTION", "STRING"] => true,
        _ => false,
    };
    let mut pairs = words.windows(2);
    ends_so
        || words.iter().any(tells)
        || pairs.any(|pair| KEYS_OF.contains(&pair[0]) && is_key(pair[1]))
        || ADDRESSES.contains(&name.as_str())
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
            "MYSQL_PWD",
            "JWT",
            "BEARER",
            "COOKIE",
            "CREDENTIALS",
            "SECRETS",
            "AUTHORIZATION",
            "TOKEN_X",
            "GH_TOKEN_CI",
            "gh-token.ci",
            "API_KEY_PROD",
            "API_KEYS",
            "SIGNING_KEY_2",
            "STRIPE_SK",
            "accessKey",
            "clientSecret",
            "KEY",
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
            "PWD",
            "OLDPWD",
            "SK",
            "GIT_ASKPASS",
            "KEY_REPEAT",
            "PATH_PATTERN",
            "COMPASS_HOME",
            "",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
