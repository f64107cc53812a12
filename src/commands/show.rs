//! `mcp-cli show`: a recording as a timeline.

use std::path::PathBuf;

use crate::error::Error;
use crate::exit::ExitStatus;
use crate::file;
use crate::record::Recording;
use crate::ui::Ui;

/// The most bytes of a recording.
const MAX_RECORDING: u64 = 512 * 1024 * 1024;

/// Show a recording as a timeline
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mcp-cli serve --record calls.jsonl -- node server.mjs
  mcp-cli show calls.jsonl                  a line for each message
  mcp-cli show -v calls.jsonl               with the messages")]
pub struct ShowArgs {
    /// A file of --record
    file: PathBuf,
}

/// Prints the timeline.
///
/// # Errors
/// The file cannot be read, or is not a recording.
pub fn show(args: &ShowArgs, ui: &mut Ui) -> Result<ExitStatus, Error> {
    let path = &args.file;
    let text = file::read(path, MAX_RECORDING)?;
    let recording = Recording::read(&text).map_err(|why| {
        Error::usage(format!("{} is not a recording", path.display()))
            .with_source(why)
            .with_hint("record one with --record FILE")
    })?;
    ui.timeline(&recording)?;
    if recording.dropped > 0 {
        ui.note(&format!(
            "{} messages are missing: they came faster than the disk took them",
            recording.dropped
        ));
    }
    if recording.broken > 0 {
        ui.note(&format!("{} lines cannot be read", recording.broken));
    }
    Ok(ExitStatus::Done)
}
