//! `--record FILE`, for every verb that sends or answers messages.

use std::path::PathBuf;

use crate::error::Error;
use crate::record::Recorder;
use crate::ui::Ui;

/// Where messages are recorded.
#[derive(Debug, clap::Args)]
pub struct RecordArgs {
    /// Write every message to this new file, as lines of JSON without secrets; `mcp-cli show` reads it
    #[arg(long, value_name = "FILE", help_heading = None::<&str>)]
    record: Option<PathBuf>,
}

impl RecordArgs {
    /// Begins to record.
    ///
    /// # Errors
    /// The file exists already, or cannot be written.
    pub fn start(&self, ui: &mut Ui) -> Result<(), Error> {
        let Some(path) = &self.record else {
            return Ok(());
        };
        let recorder = Recorder::create(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Error::internal(format!("{} exists already", path.display()))
                    .with_hint("name another file: a recording is never overwritten")
            }
            _ => Error::write(path, source),
        })?;
        ui.set_recorder(recorder);
        Ok(())
    }
}
