//! Parses the command line, runs the verb, reports how it ended.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use mcp_cli::cli::Cli;
use mcp_cli::ui::Ui;

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
