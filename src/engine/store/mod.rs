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
mod inner;
mod packed;
mod record;
#[cfg(test)]
mod tests;
mod values;
mod version;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::task;

use super::heavy::heavy;
use crate::budget::{Budget, Held, parsed_size};
use crate::responses::{Item, Response};

pub use error::Error;
pub use record::{Page, Range, Record, Said};

use file::Database;
use index::{Index, Row};
use inner::Inner;
use record::{Draft, read};
use values::Values;

/// How much is kept. Beyond it, what was not used for the longest time goes first.
///
/// A response is used when it is kept, read or gone on from, and so is all that it goes on from: a
/// conversation that goes on does not lose its beginning. A restart forgets what was read since the last
/// time that a response was kept or deleted.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many responses. The one that was kept last stays even if this is none.
    pub most: usize,
    /// How many bytes all records may have together: as JSON, and in the index of their items.
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

/// Who makes the responses that are still being made: one store that was opened, until it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner(u64);

/// The responses that can be read, deleted and gone on from. Cloning shares everything.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// Up to this many bytes of records in memory are worked on in place; more would block the thread's
/// other tasks.
const QUICK: u64 = 64 * 1024;

impl Store {
    /// A store that ends with the process.
    pub fn in_memory(bounds: Bounds) -> Self {
        Self::in_memory_of(bounds, &Budget::unlimited())
    }

    /// A store that ends with the process. What it keeps is held of `budget`.
    pub fn in_memory_of(bounds: Bounds, budget: &Budget) -> Self {
        Self::new(Index::new(bounds), Values::in_memory(budget))
    }

    /// The store in the file at `path`, which is made with mode 0600 if it is not there. What is
    /// beyond `bounds` is removed, and a response that was being made when the file was last used has
    /// failed.
    ///
    /// Blocks while the whole file is checked. Fails with [`Error::Open`], [`Error::InUse`] or
    /// [`Error::NotAStore`].
    pub fn open(path: &Path, bounds: Bounds) -> Result<Self, Error> {
        let (database, rows) = Database::open(path)?;
        Self::from_file(database, rows, bounds)
    }

    fn from_file(database: Database, rows: Vec<Row>, bounds: Bounds) -> Result<Self, Error> {
        let mut index = Index::from_rows(bounds, rows);
        let now = index.tick(SystemTime::now());
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
                owner: Owner(rand::random()),
            }),
        }
    }

    /// Keeps a record under the id of its response, in place of the one that may be there. When
    /// this returns, a record in a file survives whatever becomes of the process or the machine. A
    /// response that is still being made is claimed with that.
    ///
    /// Once begun, it finishes even if the future is dropped. Fails with
    /// [`Error::TooLarge`], or when the file does.
    pub async fn create(&self, response: &Response, input: &[Item]) -> Result<(), Error> {
        let draft = Draft { response, input };
        let (id, entry, value) = heavy(input.len(), || draft.to_entry())?;
        let size = entry.size();
        self.run_alone(size, move |inner| inner.keep(id, entry, &value))
            .await
    }

    /// Puts a response in the place of what is kept of it; if that is nothing any more, it stays so.
    pub async fn finish(&self, response: Response) -> Result<(), Error> {
        let bytes = lock(&self.inner.index).bytes_of(response.id());
        self.run_alone(bytes, move |inner| {
            let Some(kept) = inner.get(response.id())? else {
                return Ok(());
            };
            inner.keep_record(&Record { response, ..kept })
        })
        .await
    }

    /// Whether the response `id` is still being made, if it is kept.
    pub async fn is_open(&self, id: &str) -> Result<Option<bool>, Error> {
        Ok(lock(&self.inner.index).is_open(id))
    }

    /// Claims the response `id` for this store, if it is still being made and its owner is gone. Returns
    /// whether this store makes it now.
    pub async fn claim(&self, id: &str) -> Result<bool, Error> {
        let id = id.to_owned();
        self.run_alone(0, move |inner| inner.claim(&id)).await
    }

    /// Who makes the response `id`, if it is still being made.
    pub async fn owner(&self, id: &str) -> Result<Option<Owner>, Error> {
        let id = id.to_owned();
        self.run(0, move |inner| inner.owner_of(&id)).await
    }

    /// The record of the response `id`, if it is kept. What it takes is held by `held`.
    pub async fn get(&self, id: &str, held: &mut Held) -> Result<Option<Record>, Error> {
        let bytes = lock(&self.inner.index).bytes_of(id);
        let id = id.to_owned();
        self.read(bytes, held, move |inner, held| {
            held.grow(bytes)?;
            let Some(value) = inner.value(&id)? else {
                return Ok(None);
            };
            held.grow(parsed_size(&value))?;
            let record = read(&id, &value)?;
            held.shrink_to(held.bytes() - bytes);
            Ok(Some(record))
        })
        .await
    }

    /// What was said in the one record of the response `id`, if it is kept.
    pub async fn said(&self, id: &str, held: &mut Held) -> Result<Option<Said>, Error> {
        let bytes = lock(&self.inner.index).bytes_of(id);
        let id = id.to_owned();
        self.read(bytes, held, move |inner, held| {
            if inner.mark_used(&id).newest_first.is_empty() {
                return Ok(None);
            }
            let parent = lock(&inner.index).parent(&id);
            let items = inner.said(&id, held)?;
            let parent = parent.map(|it| it.to_string());
            Ok(items.map(|items| Said { items, parent }))
        })
        .await
    }

    /// The items in `range` of the input of the response `id`, if it is kept.
    pub async fn input_items(
        &self,
        id: &str,
        range: Range,
        held: &mut Held,
    ) -> Result<Option<Page>, Error> {
        let bytes = lock(&self.inner.index).bytes_of(id);
        let id = id.to_owned();
        self.read(bytes, held, move |inner, held| {
            if inner.mark_used(&id).newest_first.is_empty() {
                return Ok(None);
            }
            let items = inner.input(&id, held)?;
            Ok(items.map(|items| range.of(items)))
        })
        .await
    }

    /// The items of these ids, by their id, as far as a response that is kept has them, or answered
    /// them. One that several have is the one that was kept last.
    pub async fn items(
        &self,
        ids: Vec<String>,
        held: &mut Held,
    ) -> Result<HashMap<String, Item>, Error> {
        let bytes = {
            let index = lock(&self.inner.index);
            let holders: HashSet<_> = ids.iter().filter_map(|id| index.holder(id, 0)).collect();
            holders.into_iter().map(|id| index.bytes_of(id)).sum()
        };
        self.read(bytes, held, move |inner, held| inner.items(&ids, held))
            .await
    }

    /// Everything that was said up to the response `id` and in it: input, then output, of each
    /// response that it goes on from, oldest first. Nothing if any of it is gone.
    pub async fn context(&self, id: &str, held: &mut Held) -> Result<Option<Vec<Item>>, Error> {
        let chain = self.inner.mark_used(id);
        let bytes = {
            let index = lock(&self.inner.index);
            let ids = chain.newest_first.iter();
            ids.map(|id| index.bytes_of(id)).sum()
        };
        self.read(bytes, held, move |inner, held| inner.context(&chain, held))
            .await
    }

    /// Deletes the record of the response `id`. Returns whether it was kept; what goes on from it
    /// can be read, and not be gone on from.
    pub async fn forget(&self, id: &str) -> Result<bool, Error> {
        let id = id.to_owned();
        self.run_alone(0, move |inner| inner.forget(&id)).await
    }

    /// Does work that changes the records. It is alone until it ends, not until its caller goes.
    async fn run_alone<T: Send + 'static>(
        &self,
        bytes: u64,
        work: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let alone = Arc::clone(&self.inner.writing).lock_owned().await;
        self.run(bytes, move |inner| {
            let _alone = alone;
            work(inner)
        })
        .await
    }

    /// Does work that reads. `held` holds what is left of it.
    async fn read<T: Send + 'static>(
        &self,
        bytes: u64,
        held: &mut Held,
        work: impl FnOnce(&Inner, &mut Held) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let mut own = held.sibling();
        let reading = self.run(bytes, move |inner| {
            let read = work(inner, &mut own)?;
            Ok((read, own))
        });
        let (read, own) = reading.await?;
        held.merge(own);
        Ok(read)
    }

    /// Does work on so many bytes: here, or where it may block if there is a file to wait for, or
    /// much to do.
    async fn run<T: Send + 'static>(
        &self,
        bytes: u64,
        work: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        match self.inner.values {
            Values::Memory(_) if bytes <= QUICK => work(&self.inner),
            Values::Memory(_) | Values::File(_) => {
                let inner = Arc::clone(&self.inner);
                let work = task::spawn_blocking(move || work(&inner));
                work.await.map_err(Error::BrokenOff)?
            }
        }
    }
}

/// What is under these locks is whole at every step, so a panic elsewhere is no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
