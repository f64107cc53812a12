//! A recording, read again.

use serde::Deserialize;

use super::{Line, VERSION};

/// The messages of a recording.
#[derive(Debug, Default)]
pub struct Recording {
    pub started: String,
    pub lines: Vec<Line>,
    /// How many messages were lost while it was made.
    pub dropped: u64,
    /// How many lines cannot be read, such as one that was cut short.
    pub broken: usize,
}

/// Why a file is not a recording.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("it is empty")]
    Empty,
    #[error("its first line is not that of a recording")]
    NotARecording,
    #[error("it has version {0}, and this program reads version {VERSION}")]
    Version(u32),
}

#[derive(Deserialize)]
struct Head {
    mcp_cli_record: u32,
    #[serde(default)]
    started: String,
}

#[derive(Deserialize)]
struct Dropped {
    dropped: u64,
}

impl Recording {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(text: &[u8]) -> Result<Self, Unreadable> {
        let mut lines = text
            .split(|it| *it == b'\n')
            .filter(|it| !it.trim_ascii().is_empty());
        let head = lines.next().ok_or(Unreadable::Empty)?;
        let head: Head = serde_json::from_slice(head).map_err(|_| Unreadable::NotARecording)?;
        if head.mcp_cli_record != VERSION {
            return Err(Unreadable::Version(head.mcp_cli_record));
        }
        let mut recording = Self {
            started: head.started,
            ..Self::default()
        };
        for line in lines {
            if let Ok(line) = serde_json::from_slice::<Line>(line) {
                recording.lines.push(line);
            } else if let Ok(Dropped { dropped }) = serde_json::from_slice(line) {
                recording.dropped += dropped;
            } else {
                recording.broken += 1;
            }
        }
        Ok(recording)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_cut_short_is_read_as_far_as_it_goes() {
        let line = r#"{"time":"t","direction":"in","peer":"client","transport":"http","new":1}"#;
        let text = format!(
            "{{\"mcp_cli_record\":1}}\n{line}\n{{\"dropped\":3}}\n{}",
            &line[..20]
        );
        let read = Recording::read(text.as_bytes()).unwrap();
        assert_eq!((read.lines.len(), read.dropped, read.broken), (1, 3, 1));
        for (text, why) in [
            ("\n", Unreadable::Empty),
            ("{}\n", Unreadable::NotARecording),
            ("[]", Unreadable::NotARecording),
            (r#"{"mcp_cli_record":2}"#, Unreadable::Version(2)),
        ] {
            assert_eq!(Recording::read(text.as_bytes()).unwrap_err(), why);
        }
    }
}
