//! Why responses could not be kept or read.

use std::path::PathBuf;

use tokio::task::JoinError;

use crate::budget::Exhausted;

/// Why a store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not there and cannot be made, or may not be read and written.
    #[error("{path:?} cannot be opened")]
    Open {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Another process has the file open, or another store of this one.
    #[error("{path:?} is in use")]
    InUse { path: PathBuf },
    /// The file is something else, or is damaged.
    #[error("{path:?} is not a store of responses, or is damaged")]
    NotAStore {
        path: PathBuf,
        #[source]
        source: Box<redb::Error>,
    },
    /// The file has a form that this program does not know.
    #[error(
        "{path:?} was written by a newer mcp-cli: it has version {found}, and this one reads up to version {known}"
    )]
    NewerVersion {
        path: PathBuf,
        found: u64,
        known: u64,
    },
    /// The file of an open store failed: the disk is full, or gone.
    #[error("the file of the responses could not be read or written")]
    File(#[source] Box<redb::Error>),
    /// A record is not what this program writes.
    #[error("the record of response {id:?} is not one")]
    NotARecord {
        id: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("the response takes {size} bytes, which is more than is kept of all ({most})")]
    TooLarge { size: u64, most: u64 },
    /// There is no memory to read the record.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// The runtime ended before the work on the file began, or that work panicked.
    #[error("the work on the file of the responses was broken off")]
    BrokenOff(#[source] JoinError),
}
