//! The label of a server in a request.

use std::fmt;
use std::str::FromStr;

/// A label that the Responses API takes: a letter, then letters, digits, `_` and `-`.
#[derive(Debug, Clone)]
pub struct ServerLabel(String);

impl ServerLabel {
    /// Whether it is empty, as an environment variable is that was meant to be unset.
    pub fn is_unset(&self) -> bool {
        self.0.is_empty()
    }

    /// A label made from a name, such as a host.
    pub fn named_after(name: &str) -> String {
        let plain: String = name
            .chars()
            .map(|it| {
                if it.is_ascii_alphanumeric() || it == '-' {
                    it
                } else {
                    '_'
                }
            })
            .collect();
        let plain = plain.trim_matches(['_', '-']);
        match plain.chars().next() {
            Some(first) if first.is_ascii_alphabetic() => plain.to_owned(),
            _ => format!("server_{plain}"),
        }
    }
}

/// The label, with a number behind it if it is taken.
pub fn free(label: String, is_taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|number| format!("{label}_{number}"));
    let mut labels = std::iter::once(label.clone()).chain(numbered);
    labels.find(|label| !is_taken(label)).unwrap_or(label)
}

/// What a command is called: the program, or what a program that runs others was given.
pub fn of_command(program: &str, arguments: &[String]) -> String {
    const RUNNERS: [&str; 14] = [
        "npx", "bunx", "pnpx", "uvx", "uv", "pipx", "node", "deno", "bun", "python", "python3",
        "ruby", "php", "java",
    ];
    const WORDS: [&str; 3] = ["run", "exec", "dlx"];
    let last = |path: &str| {
        path.rsplit(['/', '\\'])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let program = last(program);
    let is_runner = RUNNERS.contains(&program.trim_end_matches(".exe"));
    let run = arguments.iter().map(String::as_str);
    let run = run
        .filter(|it| !it.starts_with('-') && !WORDS.contains(it))
        .find(|_| is_runner);
    let name = run.map_or(program, last);
    // `server@1.2.3` and `server.mjs` are `server`.
    let name = name
        .split('@')
        .find(|it| !it.is_empty())
        .unwrap_or_default();
    name.rsplit_once('.')
        .map_or(name, |(stem, _)| stem)
        .to_owned()
}

impl FromStr for ServerLabel {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Empty is what an environment variable is that was meant to be unset.
        let starts_well = text.is_empty() || text.starts_with(|it: char| it.is_ascii_alphabetic());
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

impl fmt::Display for ServerLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
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
}
