//! Records in one file: an embedded database, whose commits are whole and durable, or not there.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use redb::backends::FileBackend;
use redb::{
    DatabaseError, ReadableDatabase, ReadableTable, StorageBackend, StorageError, TableDefinition,
};

use super::index::Entry;
use super::{Error, version};
use crate::private_file;

/// The records as JSON, by the id of their response.
const RECORDS: TableDefinition<&str, &[u8]> = TableDefinition::new("records");

/// Of each record, when it was kept, its length, the response that it goes on from, the ids of its
/// items and whether the response was still being made: what is to be known when the file is opened, without reading what was said.
const ENTRIES: TableDefinition<&str, Row<'_>> = TableDefinition::new("entries");

type Row<'a> = (u64, u64, Option<&'a str>, Vec<&'a str>, bool);

/// How much of the file is held in memory; the operating system holds it as well.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

pub struct Database {
    /// Nothing where the file could not be opened again.
    database: RwLock<Option<redb::Database>>,
    path: PathBuf,
}

impl Database {
    /// Opens the file, or makes it. Returns it with the entries of its records, whose `used_at` is
    /// when they were kept.
    pub fn open(path: &Path) -> Result<(Self, Vec<(String, Entry)>), Error> {
        let cannot = |source| Error::Open {
            path: path.to_owned(),
            source,
        };
        if !path.exists() {
            create(path).map_err(cannot)?;
        }
        Self::open_on(backend(path)?, path)
    }

    /// Opens what is on `backend`; errors say `path`.
    pub(super) fn open_on(
        backend: impl StorageBackend,
        path: &Path,
    ) -> Result<(Self, Vec<(String, Entry)>), Error> {
        let database = open(backend, path)?;
        version::migrate(&database, path)?;
        let entries = entries(&database).map_err(|source| Error::NotAStore {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let database = Self {
            database: RwLock::new(Some(database)),
            path: path.to_owned(),
        };
        Ok((database, entries))
    }

    /// Does the work. After a failure of the disk, redb refuses all work until the file is opened again;
    /// so it is, for whoever comes next.
    fn run<T>(
        &self,
        work: impl FnOnce(&redb::Database) -> Result<T, redb::Error>,
    ) -> Result<T, Error> {
        let worked = {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            match &*database {
                Some(database) => work(database),
                None => Err(redb::Error::PreviousIo),
            }
        };
        if matches!(worked, Err(redb::Error::Io(_) | redb::Error::PreviousIo)) {
            let mut database = self
                .database
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            // The file is locked by the one before.
            *database = None;
            let opened = backend(&self.path).and_then(|backend| open(backend, &self.path));
            *database = opened.ok();
        }
        worked.map_err(|error| Error::File(Box::new(error)))
    }

    /// The value of `id`, if it is there.
    pub fn read(&self, id: &str) -> Result<Option<Bytes>, Error> {
        self.run(|database| {
            let records = database.begin_read()?.open_table(RECORDS)?;
            let value = records.get(id)?;
            Ok(value.map(|it| Bytes::copy_from_slice(it.value())))
        })
    }

    /// Writes a value with its entry, and removes those that are `gone`, in one commit that is on
    /// the disk when this returns.
    pub fn write(
        &self,
        kept: Option<(&str, &Entry, &Bytes)>,
        gone: &[String],
    ) -> Result<(), Error> {
        self.run(|database| {
            let transaction = database.begin_write()?;
            {
                let mut records = transaction.open_table(RECORDS)?;
                let mut entries = transaction.open_table(ENTRIES)?;
                for id in gone {
                    records.remove(id.as_str())?;
                    entries.remove(id.as_str())?;
                }
                if let Some((id, entry, value)) = kept {
                    records.insert(id, value.as_ref())?;
                    let items = entry.items.iter().map(|it| &**it).collect();
                    let parent = entry.parent.as_deref();
                    let row = (entry.used_at, entry.bytes, parent, items, entry.is_open);
                    entries.insert(id, row)?;
                }
            }
            Ok(transaction.commit()?)
        })
    }
}

fn backend(path: &Path) -> Result<FileBackend, Error> {
    let file = File::options().read(true).write(true).open(path);
    let file = file.map_err(|source| Error::Open {
        path: path.to_owned(),
        source,
    })?;
    FileBackend::new(file).map_err(|error| not_opened(path, error))
}

fn open(backend: impl StorageBackend, path: &Path) -> Result<redb::Database, Error> {
    redb::Database::builder()
        .set_cache_size(CACHE_BYTES)
        // Without it, redb may panic on a file that somebody else wrote to.
        .set_check_integrity_on_open(true)
        .create_with_backend(backend)
        .map_err(|error| not_opened(path, error))
}

fn entries(database: &redb::Database) -> Result<Vec<(String, Entry)>, redb::Error> {
    // A table that is not there yet is made, and one of another type refused.
    let transaction = database.begin_write()?;
    transaction.open_table(RECORDS)?;
    let mut entries = Vec::new();
    for row in transaction.open_table(ENTRIES)?.iter()? {
        let (id, entry) = row?;
        let (used_at, bytes, parent, items, is_open) = entry.value();
        let entry = Entry {
            bytes,
            parent: parent.map(str::to_owned),
            items: items.into_iter().map(Into::into).collect(),
            is_open,
            used_at,
        };
        entries.push((id.value().to_owned(), entry));
    }
    transaction.commit()?;
    Ok(entries)
}

/// Makes an empty file with mode 0600. It gets its name when it is a database: a process that is
/// killed here leaves none that cannot be opened.
fn create(path: &Path) -> io::Result<()> {
    let file = private_file::beside(path)?;
    redb::Database::create(file.path()).map_err(io::Error::other)?;
    match file.persist_noclobber(path) {
        // Another process was faster.
        Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        done => done?,
    };
    private_file::sync_name(path)
}

fn not_opened(path: &Path, error: DatabaseError) -> Error {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            Error::InUse { path }
        }
        // What redb says of a file that is too short, or begins in another way.
        DatabaseError::Storage(StorageError::Io(source))
            if !matches!(
                source.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            Error::Open { path, source }
        }
        error => Error::NotAStore {
            path,
            source: Box::new(error.into()),
        },
    }
}
