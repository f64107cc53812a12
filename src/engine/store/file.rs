//! Records in one file: an embedded database, whose commits are whole and durable, or not there.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;
use std::{io, mem};

use bytes::Bytes;
use redb::backends::FileBackend;
use redb::{
    DatabaseError, ReadableDatabase, ReadableTable, StorageBackend, StorageError, Table,
    TableDefinition, WriteTransaction,
};

use super::index::{Chain, Entry, Row, Use, micros};
use super::values::Kept;
use super::{Error, Owner, lock, version};
use crate::private_file;

/// The records as JSON, by the id of their response.
pub(super) const RECORDS: TableDefinition<&str, &[u8]> = TableDefinition::new("records");

/// Of each record, when it was kept, its length, the response that it goes on from, the ids of its
/// items and whether the response was still being made: what an index is made of, without reading what
/// was said.
pub(super) const ENTRIES: TableDefinition<&str, Columns<'_>> = TableDefinition::new("entries");

/// When each record was used last: the time, and the place among those that the same operation used.
pub(super) const USES: TableDefinition<&str, (u64, u64)> = TableDefinition::new("uses");

/// Who makes each response that is still being made.
pub(super) const CLAIMS: TableDefinition<&str, u64> = TableDefinition::new("claims");

pub(super) type Columns<'a> = (u64, u64, Option<&'a str>, Vec<&'a str>, bool);

/// How much of the file is held in memory; the operating system holds it as well.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// The place of a record that is kept: whatever the same operation used, it used earlier.
const AFTER_ALL: u64 = u64::MAX;

pub struct Database {
    /// Nothing where the file could not be opened again.
    database: RwLock<Option<redb::Database>>,
    path: PathBuf,
    /// Uses since the last commit. They go with the next one: a record that is read is not a reason
    /// to wait for the disk.
    uses: Mutex<HashMap<Arc<str>, Use>>,
}

impl Database {
    /// Opens the file, or makes it. Returns it with what it says of its records.
    pub fn open(path: &Path) -> Result<(Self, Vec<Row>), Error> {
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
    ) -> Result<(Self, Vec<Row>), Error> {
        let not_a_store = |source| Error::NotAStore {
            path: path.to_owned(),
            source: Box::new(source),
        };
        let database = open(backend, path)?;
        version::migrate(&database, path)?;
        make_tables(&database).map_err(not_a_store)?;
        let mut rows = rows(&database).map_err(not_a_store)?;
        let uses = bring_to_the_present(&mut rows, micros(SystemTime::now()));
        let database = Self {
            database: RwLock::new(Some(database)),
            path: path.to_owned(),
            uses: Mutex::new(uses),
        };
        Ok((database, rows))
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

    /// Writes a value with its entry and its claim, removes those that are `gone`, and writes what else
    /// was used, in one commit that is on the disk when this returns.
    pub fn write(&self, kept: Option<&Kept<'_>>, gone: &[Arc<str>]) -> Result<(), Error> {
        let uses = mem::take(&mut *lock(&self.uses));
        let written = self.run(|database| {
            let transaction = database.begin_write()?;
            Tables::open(&transaction)?.change(kept, gone, &uses)?;
            Ok(transaction.commit()?)
        });
        if written.is_err() {
            let mut noted = lock(&self.uses);
            for (id, used) in uses {
                noted.entry(id).or_insert(used);
            }
        }
        written
    }

    /// Remembers that these records were used.
    pub fn note_use(&self, used: &Chain, at: u64) {
        let mut uses = lock(&self.uses);
        for (place, id) in (0..).zip(&used.newest_first) {
            uses.insert(Arc::clone(id), Use { at, place });
        }
    }

    /// What the tables say of the records.
    pub fn rows(&self) -> Result<Vec<Row>, Error> {
        self.run(rows)
    }

    /// Brings rows to the uses that are not written yet.
    pub fn add_uses(&self, rows: &mut [Row]) {
        let uses = lock(&self.uses);
        for row in rows {
            row.used = uses.get(&row.id).copied().unwrap_or(row.used);
        }
    }

    /// Who makes the response `id`.
    pub fn owner(&self, id: &str) -> Result<Option<Owner>, Error> {
        self.run(|database| {
            let claims = database.begin_read()?.open_table(CLAIMS)?;
            Ok(claims.get(id)?.map(|owner| Owner(owner.value())))
        })
    }

    /// Writes that `owner` makes the response `id`.
    pub fn claim(&self, id: &str, owner: Owner) -> Result<(), Error> {
        self.run(|database| {
            let transaction = database.begin_write()?;
            transaction.open_table(CLAIMS)?.insert(id, owner.0)?;
            Ok(transaction.commit()?)
        })
    }
}

/// The tables while they are written.
struct Tables<'a> {
    records: Table<'a, &'static str, &'static [u8]>,
    entries: Table<'a, &'static str, Columns<'static>>,
    uses: Table<'a, &'static str, (u64, u64)>,
    claims: Table<'a, &'static str, u64>,
}

impl<'a> Tables<'a> {
    fn open(transaction: &'a WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            records: transaction.open_table(RECORDS)?,
            entries: transaction.open_table(ENTRIES)?,
            uses: transaction.open_table(USES)?,
            claims: transaction.open_table(CLAIMS)?,
        })
    }

    fn change(
        &mut self,
        kept: Option<&Kept<'_>>,
        gone: &[Arc<str>],
        uses: &HashMap<Arc<str>, Use>,
    ) -> Result<(), redb::Error> {
        for id in gone.iter().map(|id| &**id) {
            self.records.remove(id)?;
            self.entries.remove(id)?;
            self.uses.remove(id)?;
            self.claims.remove(id)?;
        }
        for (id, used) in uses {
            // It may have gone since it was used.
            if self.entries.get(&**id)?.is_some() {
                self.uses.insert(&**id, (used.at, used.place))?;
            }
        }
        if let Some(kept) = kept {
            self.keep(kept)?;
        }
        Ok(())
    }

    fn keep(&mut self, kept: &Kept<'_>) -> Result<(), redb::Error> {
        let (id, entry) = (&**kept.id, kept.entry);
        self.records.insert(id, kept.value.as_ref())?;
        let items = entry.items.iter().map(|it| &**it).collect();
        let parent = entry.parent.as_deref();
        let columns = (entry.used_at, entry.bytes, parent, items, entry.is_open);
        self.entries.insert(id, columns)?;
        self.uses.insert(id, (entry.used_at, AFTER_ALL))?;
        match kept.owner {
            Some(owner) => self.claims.insert(id, owner.0)?,
            None => self.claims.remove(id)?,
        };
        Ok(())
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

/// A table that is not there yet is made, and one of another type refused.
fn make_tables(database: &redb::Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    Tables::open(&transaction)?;
    Ok(transaction.commit()?)
}

fn rows(database: &redb::Database) -> Result<Vec<Row>, redb::Error> {
    let transaction = database.begin_read()?;
    let uses = transaction.open_table(USES)?;
    let mut rows = Vec::new();
    for row in transaction.open_table(ENTRIES)?.iter()? {
        let (id, columns) = row?;
        let (kept_at, bytes, parent, items, is_open) = columns.value();
        let used = uses.get(id.value())?.map(|used| used.value());
        let (at, place) = used.unwrap_or((kept_at, AFTER_ALL));
        let entry = Entry {
            bytes,
            parent: parent.map(Arc::from),
            items: items.into_iter().map(Arc::from).collect(),
            is_open,
            used_at: at,
        };
        rows.push(Row {
            id: id.value().into(),
            entry,
            kept_at,
            used: Use { at, place },
        });
    }
    Ok(rows)
}

/// A clock that was ahead would make records that never age: they are used now. Returns these uses.
fn bring_to_the_present(rows: &mut [Row], now: u64) -> HashMap<Arc<str>, Use> {
    let mut ahead: Vec<&mut Row> = rows.iter_mut().filter(|row| row.used.at > now).collect();
    ahead.sort_unstable_by_key(|row| row.used);
    let uses = (0..).zip(ahead).map(|(place, row)| {
        row.used = Use { at: now, place };
        (Arc::clone(&row.id), row.used)
    });
    uses.collect()
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
