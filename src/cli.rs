//! The command line: what every verb shares, and the verb.

use anstream::ColorChoice;
use clap::{ArgAction, Parser, ValueEnum};

use crate::commands::Command;
use crate::ui::OutputOptions;

/// Run, secure and ask MCP servers the way OpenAI's Responses API does
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "\
Examples:
  mcp-cli ask --local \"Roll a few dice!\"      ask the built-in model; needs nothing at all
  mcp-cli serve --auth                        the dice server, for those who have a token
  mcp-cli token --audience dice-server        such a token
  mcp-cli check --server-url URL              why OpenAI would refuse a server
  mcp-cli tools list --server-url URL         what a server offers, without a model
  mcp-cli gateway                             the Responses API on this machine, for any SDK

Exit status: 0 done, 1 this side, 2 usage, 3 refused by the API, 4 unreachable, 5 broken answer,
6 an MCP server could not be used, 7 not approved, 8 a tool reported an error.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// Say nothing but the answer and errors
    #[arg(short, long, global = true)]
    quiet: bool,

    /// Say more; twice for the log of this program's parts
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

impl Cli {
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
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
