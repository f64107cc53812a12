//! The command line: what every verb shares, and the verb.

use anstream::ColorChoice;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, ValueEnum};

use crate::commands::Command;
use crate::ui::OutputOptions;

/// Run, secure and ask MCP servers the way OpenAI's Responses API does
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
#[command(after_help = "\
Examples:
  mcp-cli ask --local \"Roll a few dice!\"      ask the built-in model, without a key or a network
  mcp-cli tools list -- python server.py      list the tools of a server, without a model
  mcp-cli check URL                           find out why OpenAI would refuse it
  mcp-cli gateway                             serve the Responses API on this machine, for any SDK
  mcp-cli serve --auth -- node server.mjs     serve your own server, for callers with a token
  mcp-cli token --audience dice-server        mint such a token

Exit status: 0 done, 1 local failure, 2 usage, 3 refused by the API, 4 unreachable, 5 broken answer,
6 an MCP server could not be used, 7 not approved, 8 a tool reported an error.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// Print only the answer and errors
    #[arg(short, long, global = true)]
    quiet: bool,

    /// Print more; twice for this program's log
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,

    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

/// The flags of `ask` that most people need: `-h` shows these, and `--help` all.
const FIRST_OF_ASK: [&str; 15] = [
    "prompt",
    "command",
    "local",
    "bridge",
    "model",
    "approve",
    "format",
    "server_url",
    "mcp_config",
    "authorization",
    "require_approval",
    "continue",
    "quiet",
    "verbose",
    "help",
];

/// The command line as clap knows it.
pub fn command_line() -> clap::Command {
    Cli::command().mut_subcommand("ask", |ask| {
        let ask = ask.mut_args(|arg| match FIRST_OF_ASK.contains(&arg.get_id().as_str()) {
            true => arg,
            false => arg.hide_short_help(true),
        });
        let examples = ask.get_after_help().cloned().unwrap_or_default();
        ask.after_help("`mcp-cli ask --help` shows all options, and examples.")
            .after_long_help(examples)
    })
}

impl Cli {
    /// Reads the command line of the process, or ends it with help or an error.
    pub fn read() -> Self {
        let matches = command_line().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// How the verb shall talk to the user.
    pub fn output(&self) -> OutputOptions {
        OutputOptions {
            quiet: self.quiet,
            verbose: self.verbose,
            color: match self.color {
                Color::Auto => ColorChoice::Auto,
                Color::Always => ColorChoice::Always,
                Color::Never => ColorChoice::Never,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command_line().debug_assert();
        let ask = command_line().find_subcommand("ask").unwrap().clone();
        let known: Vec<&str> = ask.get_arguments().map(|it| it.get_id().as_str()).collect();
        let of_all = ["quiet", "verbose", "help"];
        for first in FIRST_OF_ASK.iter().filter(|it| !of_all.contains(it)) {
            assert!(known.contains(first), "{first}");
        }
    }
}
