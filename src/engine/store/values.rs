//! Where the records are: in memory, or in a file.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;

use super::file::Database;
use super::index::Entry;
use super::{Error, lock};
use crate::budget::{Budget, Held};

pub enum Values {
    Memory(Mutex<InMemory>),
    File(Database),
}

pub struct InMemory {
    /// The records, each with its [`Entry::size`].
    values: HashMap<String, (Bytes, u64)>,
    /// What they take of a budget.
    held: Held,
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
            Self::Memory(memory) => Ok(lock(memory).values.get(id).map(|(value, _)| value.clone())),
            Self::File(database) => database.read(id),
        }
    }

    /// Writes a value, and removes those that are `gone`: both or, if this fails, neither.
    pub fn write(
        &self,
        kept: Option<(&str, &Entry, &Bytes)>,
        gone: &[String],
    ) -> Result<(), Error> {
        match self {
            Self::Memory(memory) => {
                let InMemory { values, held } = &mut *lock(memory);
                let sizes = gone.iter().filter_map(|id| values.get(id));
                let mut freed: u64 = sizes.map(|(_, size)| size).sum();
                if let Some((id, entry, value)) = kept {
                    freed += values.get(id).map_or(0, |(_, size)| *size);
                    held.grow(entry.size().saturating_sub(freed))?;
                    freed = freed.saturating_sub(entry.size());
                    values.insert(id.to_owned(), (value.clone(), entry.size()));
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
}
