//! Parses the command line, runs the verb, reports how it ended.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use mcp_cli::cli::Cli;
use mcp_cli::ui::Ui;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut ui = Ui::new(cli.output());
    match cli.command.run(Cli::command(), &mut ui) {
        Ok(status) => status.into(),
        Err(error) => {
            ui.failure(&error);
            error.exit_status().into()
        }
    }
}
