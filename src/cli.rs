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
  mcp-cli ask --local \"Roll a few dice!\"      ask the built-in model, without a key or a network
  mcp-cli check --server-url URL              find out why OpenAI would refuse your server
  mcp-cli tools list --server-url URL         list its tools, without a model
  mcp-cli gateway                             serve the Responses API on this machine, for any SDK
  mcp-cli serve --auth                        run the sample server, for callers with a token
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
