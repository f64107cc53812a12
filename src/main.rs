//! Parses the command line, runs the verb, reports how it ended.

use std::process::ExitCode;

use mcp_cli::cli::{Cli, command_line};
use mcp_cli::ui::Ui;

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::read();
    let mut ui = Ui::new(cli.output());
    match cli.command.run(command_line(), &mut ui) {
        Ok(status) => status.into(),
        Err(error) => {
            ui.failure(&error);
            error.exit_status().into()
        }
    }
}
