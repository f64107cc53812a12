//! `mcp-cli completions` and `mcp-cli man`: what a shell and a reader know of the command line.

use std::io;
use std::path::{Path, PathBuf};

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
    let mut command_line = command_line.disable_help_subcommand(true);
    // This gives each verb the name of its page.
    command_line.build();
    let Some(folder) = args.out else {
        let page = page(command_line).map_err(Error::output)?;
        ui.print(String::from_utf8_lossy(&page).trim_end())?;
        return Ok(ExitStatus::Done);
    };
    std::fs::create_dir_all(&folder)
        .and_then(|()| write_pages(&command_line, &folder))
        .map_err(|source| Error::write(&folder, source))?;
    Ok(ExitStatus::Done)
}

/// Writes the page of a command, and those of the verbs below it, such as `mcp-cli-tools-list.1`.
fn write_pages(command: &clap::Command, folder: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    std::fs::write(folder.join(format!("{name}.1")), page(command.clone())?)?;
    let mut verbs = command.get_subcommands();
    verbs.try_for_each(|verb| write_pages(verb, folder))
}

/// A page as clap knows the command, and what all verbs share.
fn page(command: clap::Command) -> io::Result<Vec<u8>> {
    let man = clap_mangen::Man::new(command);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    // The examples, which clap has as what follows the help.
    let mut examples = Vec::new();
    man.render_extra_section(&mut examples)?;
    let examples = String::from_utf8_lossy(&examples).replacen(".SH EXTRA", ".SH EXAMPLES", 1);
    page.extend_from_slice(examples.as_bytes());
    page.extend_from_slice(SHARED.as_bytes());
    Ok(page)
}

/// What every page ends with, in roff.
const SHARED: &str = r"
.SH ENVIRONMENT
.TP
\fBOPENAI_API_KEY\fR, \fBOPENAI_BASE_URL\fR
The key and the address of the Responses API.
.TP
\fBMCP_SERVER_URL\fR, \fBMCP_SERVER_LABEL\fR, \fBMCP_AUTHORIZATION\fR
The MCP server if no argument names one, its label, and its token.
.TP
\fBMCP_ALLOWED_HOSTS\fR, \fBMCP_ALLOWED_ORIGINS\fR
Names and origins that a server of this program accepts besides loopback.
.TP
\fBMCP_CLI_KEY_DIR\fR
The folder of the developer key pair.
.TP
\fBXDG_DATA_HOME\fR, \fBXDG_STATE_HOME\fR
Where the folders below are.
.TP
\fBSSL_CERT_FILE\fR, \fBHTTPS_PROXY\fR, \fBNO_PROXY\fR, \fBNO_COLOR\fR
As for other programs.
.SH FILES
.TP
\fI~/.local/share/mcp-cli/dev-key.pem\fR
The developer key pair, which only its owner can read.
.TP
\fI~/.local/state/mcp-cli/\fR
The last conversation, for \fBask \-c\fR.
.SH EXIT STATUS
.TP
.B 0
Done.
.TP
.B 1
A local failure: a file, the output, a port in use, a bug.
.TP
.B 2
Usage: flags, environment, an input file.
.TP
.B 3
The Responses API refused the request, or there is no key.
.TP
.B 4
The API could not be reached.
.TP
.B 5
A broken answer; a response that failed or is incomplete.
.TP
.B 6
An MCP server could not be used; a step of \fBcheck\fR failed.
.TP
.B 7
A call needed approval and did not get it.
.TP
.B 8
The tool reported an error (\fBtools call\fR).
.TP
.B 129, 130, 131, 143
Stopped by a signal.
";
