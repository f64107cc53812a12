//! Responses by id, with what they answered: in memory, or in a file that outlives the process.
//!
//! A record holds its own items alone, and names the response that it goes on from. What was said
//! is put together when it is asked for, so a conversation takes as much room as it is long.
//!
//! Nothing here is a secret: a response repeats its tools without their credentials, and items
//! have none. What was said is private all the same, so the file is its owner's alone.

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod crash;
mod error;
mod file;
mod index;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::task;

use crate::responses::{ApiError, Item, Response};

pub use error::Error;

use file::Database;
use index::{Chain, Entry, Index};

/// One response, and the items that it answered. What it goes on from is its
/// `previous_response_id` (Responses API, the response object).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub response: Response,
    /// The request's own input, without what came before it.
    pub input: Vec<Item>,
}

impl Record {
    /// What was said, in order: the input, then the output.
    pub fn into_items(self) -> Vec<Item> {
        let output = self.response.output();
        self.input.into_iter().chain(output).collect()
    }

    /// The id, what the index knows of it, and the record as it is kept.
    fn to_entry(&self) -> Result<(String, Entry, Bytes), Error> {
        let id = self.response.id().to_owned();
        let value = match serde_json::to_vec(self) {
            // Without the room that a vector has to grow.
            Ok(value) => Bytes::from(value.into_boxed_slice()),
            Err(source) => return Err(Error::NotARecord { id, source }),
        };
        let entry = Entry {
            bytes: value.len() as u64,
            parent: self.response.previous_response_id().map(str::to_owned),
            items: self.item_ids(),
            is_open: self.response.is_open(),
            used_at: 0,
        };
        Ok((id, entry, value))
    }

    fn item_ids(&self) -> Vec<String> {
        let output = self.response.output();
        let ids = self.input.iter().chain(&output).filter_map(Item::id);
        ids.map(str::to_owned).collect()
    }
}

/// How much is kept. Beyond it, what was not used for the longest time goes first.
///
/// A response is used when it is kept, read or gone on from, and so is all that it goes on from: a
/// conversation that goes on does not lose its beginning. After a restart, what was merely read is
/// as old as when it was kept or gone on from.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many responses. The one that was kept last stays even if this is none.
    pub most: usize,
    /// How many bytes all records may have together, as JSON.
    pub bytes: u64,
    /// How long after its last use a response is given.
    pub age: Duration,
}

impl Default for Bounds {
    /// Thirty days is how long OpenAI keeps responses.
    fn default() -> Self {
        Self {
            most: 10_000,
            bytes: 256 * 1024 * 1024,
            age: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

/// The responses that can be read, deleted and gone on from. Cloning shares everything.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    index: Mutex<Index>,
    values: Values,
    /// Whoever changes the records does it alone: what goes is decided before the values are
    /// written, and the index follows when they are.
    writing: Arc<tokio::sync::Mutex<()>>,
}

enum Values {
    Memory(Mutex<HashMap<String, Bytes>>),
    File(Database),
}

impl Store {
    /// A store that ends with the process.
    pub fn in_memory(bounds: Bounds) -> Self {
        Self::new(Index::new(bounds), Values::Memory(Mutex::default()))
    }

    /// The store in the file at `path`, which is made with mode 0600 if it is not there. What is
    /// beyond `bounds` is removed, and a response that was being made when the file was last used has
    /// failed.
    ///
    /// Blocks while the whole file is checked. Fails with [`Error::Open`], [`Error::InUse`] or
    /// [`Error::NotAStore`].
    pub fn open(path: &Path, bounds: Bounds) -> Result<Self, Error> {
        let (database, entries) = Database::open(path)?;
        Self::of_file(database, entries, bounds)
    }

    fn of_file(
        database: Database,
        entries: Vec<(String, Entry)>,
        bounds: Bounds,
    ) -> Result<Self, Error> {
        let now = SystemTime::now();
        let mut index = Index::restored(bounds, entries, now);
        let now = index.tick(now);
        let gone = index.surplus(None, now);
        if !gone.is_empty() {
            database.write(None, &gone)?;
            index.remove(&gone);
        }
        let store = Self::new(index, Values::File(database));
        store.inner.end_open()?;
        Ok(store)
    }

    fn new(index: Index, values: Values) -> Self {
        Self {
            inner: Arc::new(Inner {
                index: Mutex::new(index),
                values,
                writing: Arc::default(),
            }),
        }
    }

    /// Keeps a record under the id of its response, in place of the one that may be there. When
    /// this returns, a record in a file survives whatever becomes of the process or the machine.
    ///
    /// Once begun, it is done even if nobody waits for it any more. Fails with
    /// [`Error::TooLarge`], or when the file does.
    pub async fn keep(&self, record: &Record) -> Result<(), Error> {
        let (id, entry, value) = record.to_entry()?;
        self.run_alone(move |inner| inner.keep(id, entry, &value))
            .await
    }

    /// Puts a response in the place of what is kept of it; if that is nothing any more, it stays so.
    pub async fn replace(&self, response: Response) -> Result<(), Error> {
        self.run_alone(move |inner| {
            let Some(kept) = inner.get(response.id())? else {
                return Ok(());
            };
            let (id, entry, value) = Record { response, ..kept }.to_entry()?;
            inner.keep(id, entry, &value)
        })
        .await
    }

    /// The record of the response `id`, if it is kept.
    pub async fn get(&self, id: &str) -> Result<Option<Record>, Error> {
        let id = id.to_owned();
        self.run(move |inner| inner.get(&id)).await
    }

    /// The items of these ids, by their id, as far as a response that is kept has them, or answered
    /// them. One that several have is the one that was kept last.
    pub async fn items(&self, ids: Vec<String>) -> Result<HashMap<String, Item>, Error> {
        self.run(move |inner| inner.items(&ids)).await
    }

    /// Everything that was said up to the response `id` and in it: input, then output, of each
    /// response that it goes on from, oldest first. Nothing if any of it is gone.
    pub async fn context(&self, id: &str) -> Result<Option<Vec<Item>>, Error> {
        let id = id.to_owned();
        self.run(move |inner| inner.context(&id)).await
    }

    /// Deletes the record of the response `id`. Returns whether it was kept; what goes on from it
    /// can be read, and not be gone on from.
    pub async fn delete(&self, id: &str) -> Result<bool, Error> {
        let id = id.to_owned();
        self.run_alone(move |inner| inner.delete(id)).await
    }

    /// Does work that changes the records. It is alone until it ends, not until its caller goes.
    async fn run_alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let alone = Arc::clone(&self.inner.writing).lock_owned().await;
        self.run(move |inner| {
            let _alone = alone;
            work(inner)
        })
        .await
    }

    /// Does the work here, or where it may block if there is a file to wait for.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        match self.inner.values {
            Values::Memory(_) => work(&self.inner),
            Values::File(_) => {
                let inner = Arc::clone(&self.inner);
                let work = task::spawn_blocking(move || work(&inner));
                work.await.map_err(Error::BrokenOff)?
            }
        }
    }
}

impl Inner {
    /// What was being made when the process before this one ended will not be done any more.
    fn end_open(&self) -> Result<(), Error> {
        let error =
            ApiError::server_error("The response was not done when its server was stopped.");
        let open = lock(&self.index).open();
        for id in open {
            if let Some(record) = self.get(&id)? {
                let response = record.response.failed(&error);
                let (id, entry, value) = Record { response, ..record }.to_entry()?;
                self.keep(id, entry, &value)?;
            }
        }
        Ok(())
    }

    fn keep(&self, id: String, mut entry: Entry, value: &Bytes) -> Result<(), Error> {
        let bytes = entry.bytes;
        let gone = {
            let mut index = lock(&self.index);
            entry.used_at = index.tick(SystemTime::now());
            let most = index.bounds().bytes;
            if bytes > most {
                return Err(Error::TooLarge { bytes, most });
            }
            if let Some(parent) = &entry.parent {
                index.mark_used(parent, entry.used_at);
            }
            index.surplus(Some((&id, bytes)), entry.used_at)
        };
        self.values.write(Some((&id, &entry, value)), &gone)?;
        let mut index = lock(&self.index);
        index.remove(&gone);
        index.put(id, entry);
        Ok(())
    }

    fn get(&self, id: &str) -> Result<Option<Record>, Error> {
        if self.mark_used(id).newest_first.is_empty() {
            return Ok(None);
        }
        let value = self.values.read(&[id])?.and_then(|mut values| values.pop());
        value.map(|value| read(id, &value)).transpose()
    }

    fn items(&self, ids: &[String]) -> Result<HashMap<String, Item>, Error> {
        let wanted: HashSet<&str> = ids.iter().map(String::as_str).collect();
        let holders: HashSet<String> = {
            let index = lock(&self.index);
            let holders = wanted.iter().filter_map(|id| index.holder(id));
            holders.map(str::to_owned).collect()
        };
        let mut items = HashMap::new();
        // Each record is read once, however many of its items are wanted.
        for holder in holders {
            let said = self.get(&holder)?.map(Record::into_items);
            for item in said.into_iter().flatten() {
                if let Some(id) = item.id().filter(|id| wanted.contains(id)) {
                    items.insert(id.to_owned(), item);
                }
            }
        }
        Ok(items)
    }

    fn context(&self, id: &str) -> Result<Option<Vec<Item>>, Error> {
        let chain = self.mark_used(id);
        if !chain.is_whole {
            return Ok(None);
        }
        let oldest_first = chain.newest_first.iter().rev();
        let ids: Vec<&str> = oldest_first.map(String::as_str).collect();
        let Some(values) = self.values.read(&ids)? else {
            return Ok(None);
        };
        let mut said = Vec::new();
        for (id, value) in ids.iter().zip(values) {
            let record = read(id, &value)?;
            said.extend(record.into_items());
        }
        Ok(Some(said))
    }

    fn mark_used(&self, id: &str) -> Chain {
        let mut index = lock(&self.index);
        let now = index.tick(SystemTime::now());
        index.mark_used(id, now)
    }

    fn delete(&self, id: String) -> Result<bool, Error> {
        let (is_kept, gone) = {
            let mut index = lock(&self.index);
            let now = index.tick(SystemTime::now());
            let mut gone = index.surplus(None, now);
            let is_kept = index.contains(&id) && !gone.contains(&id);
            if is_kept {
                gone.push(id);
            }
            (is_kept, gone)
        };
        if !gone.is_empty() {
            self.values.write(None, &gone)?;
            lock(&self.index).remove(&gone);
        }
        Ok(is_kept)
    }
}

impl Values {
    /// The values of `ids`, in their order. Nothing if one went since the index was asked.
    fn read(&self, ids: &[&str]) -> Result<Option<Vec<Bytes>>, Error> {
        match self {
            Self::Memory(values) => {
                let values = lock(values);
                Ok(ids.iter().map(|&id| values.get(id).cloned()).collect())
            }
            Self::File(database) => database.read(ids),
        }
    }

    /// Writes a value, and removes those that are `gone`: both or, if this fails, neither.
    fn write(&self, kept: Option<(&str, &Entry, &Bytes)>, gone: &[String]) -> Result<(), Error> {
        match self {
            Self::Memory(values) => {
                let mut values = lock(values);
                for id in gone {
                    values.remove(id);
                }
                if let Some((id, _, value)) = kept {
                    values.insert(id.to_owned(), value.clone());
                }
                Ok(())
            }
            Self::File(database) => database.write(kept, gone),
        }
    }
}

fn read(id: &str, value: &[u8]) -> Result<Record, Error> {
    serde_json::from_slice(value).map_err(|source| Error::NotARecord {
        id: id.to_owned(),
        source,
    })
}

/// What is under these locks is whole at every step, so a panic elsewhere is no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
