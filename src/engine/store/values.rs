//! Where the records are: in memory, or in a file.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::file::Database;
use super::index::{Chain, Entry, Row};
use super::packed::Packed;
use super::{Error, Owner, lock};
use crate::budget::{Budget, Held};

pub enum Values {
    Memory(Mutex<InMemory>),
    File(Database),
}

pub struct InMemory {
    /// The records, each with its [`Entry::size`].
    values: HashMap<Arc<str>, (Packed, u64)>,
    /// What they take of a budget.
    held: Held,
}

/// A record that is to be kept.
pub struct Kept<'a> {
    pub id: &'a Arc<str>,
    pub entry: &'a Entry,
    pub value: &'a Bytes,
    /// Who makes the response, if it is still being made.
    pub owner: Option<Owner>,
}

impl Values {
    /// No values yet; what they will take is held of `budget`.
    pub fn in_memory(budget: &Budget) -> Self {
        Self::Memory(Mutex::new(InMemory {
            values: HashMap::new(),
            held: budget.empty(),
        }))
    }

    /// The value of `id`. Nothing if it went since the index was asked.
    pub fn read(&self, id: &str) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Memory(memory) => {
                let packed = lock(memory).values.get(id).map(|(value, _)| value.clone());
                // Not under the lock, for it can be long.
                Ok(packed.and_then(|packed| packed.unpack()))
            }
            Self::File(database) => database.read(id),
        }
    }

    /// Writes a value, and removes those that are `gone`: both or, if this fails, neither.
    pub fn write(&self, kept: Option<&Kept<'_>>, gone: &[Arc<str>]) -> Result<(), Error> {
        match self {
            Self::Memory(memory) => {
                let packed = kept.map(|kept| Packed::new(kept.value));
                let InMemory { values, held } = &mut *lock(memory);
                let sizes = gone.iter().filter_map(|id| values.get(id));
                let mut freed: u64 = sizes.map(|(_, size)| size).sum();
                if let Some((Kept { id, entry, .. }, packed)) = kept.zip(packed) {
                    freed += values.get(*id).map_or(0, |(_, size)| *size);
                    held.grow(entry.size().saturating_sub(freed))?;
                    freed = freed.saturating_sub(entry.size());
                    values.insert(Arc::clone(id), (packed, entry.size()));
                }
                held.shrink_to(held.bytes() - freed);
                for id in gone {
                    values.remove(id);
                }
                Ok(())
            }
            Self::File(database) => database.write(kept, gone),
        }
    }

    /// Remembers that these records were used, for the next time the index is rebuilt.
    pub fn note_use(&self, used: &Chain, at: u64) {
        match self {
            Self::Memory(_) => {}
            Self::File(database) => database.note_use(used, at),
        }
    }

    /// What there is to make the index of; in memory, the index is all that there is.
    pub fn rows(&self) -> Result<Option<Vec<Row>>, Error> {
        match self {
            Self::Memory(_) => Ok(None),
            Self::File(database) => database.rows().map(Some),
        }
    }

    /// Brings rows to the uses that are not written yet.
    pub fn add_uses(&self, rows: &mut [Row]) {
        match self {
            Self::Memory(_) => {}
            Self::File(database) => database.add_uses(rows),
        }
    }
}
