//! The last conversation, in a file that only its owner can read.

use std::io;
use std::path::PathBuf;

use directories::ProjectDirs;
use serde::{Deserialize, Serialize};

use super::args;
use super::identity::Identities;
use crate::error::Error;
use crate::file;
use crate::private_file;
use crate::responses::Conversation;

/// What `--continue` goes on from.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    #[serde(flatten)]
    pub conversation: Conversation,
    /// The servers that it was held with. A file of before has none.
    #[serde(default, skip_serializing_if = "Identities::is_empty")]
    pub servers: Identities,
}

/// The conversation of the last `ask`.
pub fn load() -> Result<Kept, Error> {
    let path = path()?;
    let text = match args::read_text_file(&path) {
        Err(Error::File(file::Error::Read { source, .. }))
            if source.kind() == io::ErrorKind::NotFound =>
        {
            return Err(Error::NoConversation);
        }
        text => text?,
    };
    serde_json::from_str(&text).map_err(|source| Error::NotJson { path, source })
}

/// Keeps the conversation in place of the one before.
pub fn save(kept: &Kept) -> Result<(), Error> {
    let path = path()?;
    if let Some(folder) = path.parent() {
        private_file::create_folder(folder)?;
    }
    // A conversation is not for the other users of the machine. It can be long, and is not copied.
    let written =
        private_file::replace_unsynced(&path, |file| Ok(serde_json::to_writer(file, kept)?));
    Ok(written?)
}

fn path() -> Result<PathBuf, Error> {
    let folders = ProjectDirs::from("", "", "mcp-cli").ok_or(Error::NoHome)?;
    let folder = folders.state_dir().unwrap_or_else(|| folders.data_dir());
    Ok(folder.join("last-conversation.json"))
}
