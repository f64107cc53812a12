//! `mcp-cli completions` and `mcp-cli man`: what a shell and a reader know of the command line.

use std::path::PathBuf;

use clap_complete::Shell;

use crate::error::Error;
use crate::exit::ExitStatus;
use crate::ui::Ui;

/// Print the completion script of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  mcp-cli completions bash > ~/.local/share/bash-completion/completions/mcp-cli")]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Print the manual page, or write those of all verbs to a folder
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mcp-cli man | man -l -
  mcp-cli man --out ~/.local/share/man/man1")]
pub struct ManArgs {
    /// The folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn completions(
    args: &CompletionsArgs,
    mut command_line: clap::Command,
    ui: &mut Ui,
) -> Result<ExitStatus, Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command_line, "mcp-cli", &mut script);
    // For bash, clap_complete writes the name of the program in two ways if it has a hyphen, and what
    // stands below a verb is never found.
    let script = String::from_utf8_lossy(&script).replace("mcp__subcmd__cli", "mcp__cli");
    ui.print(script.trim_end())?;
    Ok(ExitStatus::Done)
}

pub fn man(args: ManArgs, command_line: clap::Command, ui: &mut Ui) -> Result<ExitStatus, Error> {
    match args.out {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command_line)
                .render(&mut page)
                .map_err(Error::output)?;
            ui.print(String::from_utf8_lossy(&page).trim_end())?;
        }
        Some(path) => std::fs::create_dir_all(&path)
            .and_then(|()| clap_mangen::generate_to(command_line, &path))
            .map_err(|source| Error::write(&path, source))?,
    }
    Ok(ExitStatus::Done)
}
