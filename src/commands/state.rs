//! The last conversation, in a file that only its owner can read.

use std::path::PathBuf;

use directories::ProjectDirs;
use serde::{Deserialize, Serialize};

use super::args;
use super::identity::Identities;
use crate::error::Error;
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
    if !path.exists() {
        return Err(Error::usage("there is no conversation to continue")
            .with_hint("omit -c to begin a new conversation"));
    }
    let text = args::read_text_file(&path)?;
    serde_json::from_str(&text).map_err(|source| Error::not_json(&path, source))
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
    let folders = ProjectDirs::from("", "", "mcp-cli").ok_or_else(Error::no_home)?;
    let folder = folders.state_dir().unwrap_or_else(|| folders.data_dir());
    Ok(folder.join("last-conversation.json"))
}
