//! What a store does, on a thread that may block.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use bytes::Bytes;

use super::index::{Chain, Entry, Index};
use super::record::{Record, read, read_input, read_said};
use super::values::{Kept, Values};
use super::{Error, Owner, lock};
use crate::budget::Held;
use crate::responses::{ApiError, Item};

pub struct Inner {
    pub index: Mutex<Index>,
    pub values: Values,
    /// Serializes writes: which records to evict is decided before the values are written, and the
    /// index is updated afterwards.
    pub writing: Arc<tokio::sync::Mutex<()>>,
    /// Who makes the responses that are kept while they are made.
    pub owner: Owner,
}

impl Inner {
    /// What was being made by an owner that is gone will not be done any more.
    pub fn end_open(&self) -> Result<(), Error> {
        let error =
            ApiError::server_error("The response was not done when its server was stopped.");
        let open = lock(&self.index).open();
        for id in open {
            if self.claim(&id)?
                && let Some(record) = self.get(&id)?
            {
                let response = record.response.failed(&error);
                self.keep_record(&Record { response, ..record })?;
            }
        }
        Ok(())
    }

    /// Makes this store the owner of a response that is being made. Whether it is.
    pub fn claim(&self, id: &str) -> Result<bool, Error> {
        if lock(&self.index).is_open(id) != Some(true) {
            return Ok(false);
        }
        match &self.values {
            Values::Memory(_) => {}
            // One process has the file at a time, so that any other owner is gone.
            Values::File(database) => database.claim(id, self.owner)?,
        }
        Ok(true)
    }

    pub fn owner_of(&self, id: &str) -> Result<Option<Owner>, Error> {
        match &self.values {
            Values::Memory(_) => {
                let is_open = lock(&self.index).is_open(id) == Some(true);
                Ok(is_open.then_some(self.owner))
            }
            Values::File(database) => database.owner(id),
        }
    }

    pub fn keep_record(&self, record: &Record) -> Result<(), Error> {
        let (id, entry, value) = record.as_draft().to_entry()?;
        self.keep(id, entry, &value)
    }

    pub fn keep(&self, id: Arc<str>, mut entry: Entry, value: &Bytes) -> Result<(), Error> {
        let size = entry.size();
        let gone = {
            let mut index = lock(&self.index);
            entry.used_at = index.tick(SystemTime::now());
            let most = index.bounds().bytes;
            if size > most {
                return Err(Error::TooLarge { size, most });
            }
            if let Some(parent) = &entry.parent {
                self.mark_used_at(&mut index, parent, entry.used_at);
            }
            index.surplus(Some((&id, size)), entry.used_at)
        };
        let kept = Kept {
            id: &id,
            entry: &entry,
            value,
            owner: entry.is_open.then_some(self.owner),
        };
        self.write(Some(&kept), &gone)?;
        let mut index = lock(&self.index);
        index.remove(&gone);
        index.put(id, entry);
        Ok(())
    }

    fn write(&self, kept: Option<&Kept<'_>>, gone: &[Arc<str>]) -> Result<(), Error> {
        let written = self.values.write(kept, gone);
        // A commit that failed may be on the disk all the same.
        if let Err(Error::File(_)) = written
            && let Err(error) = self.rebuild_index()
        {
            let error: &dyn std::error::Error = &error;
            tracing::debug!(error, "the index stays as it was");
        }
        written
    }

    /// Rebuilds the index from the tables. No writes may happen meanwhile.
    pub fn rebuild_index(&self) -> Result<(), Error> {
        if let Some(mut rows) = self.values.rows()? {
            let mut index = lock(&self.index);
            self.values.add_uses(&mut rows);
            index.rebuild(rows);
        }
        Ok(())
    }

    pub fn get(&self, id: &str) -> Result<Option<Record>, Error> {
        let value = self.value(id)?;
        value.map(|value| read(id, &value)).transpose()
    }

    /// The record of the response `id` as JSON, which is used with that.
    pub fn value(&self, id: &str) -> Result<Option<Bytes>, Error> {
        if self.mark_used(id).newest_first.is_empty() {
            return Ok(None);
        }
        self.values.read(id)
    }

    /// What was said in the record of the response `id`.
    pub fn said(&self, id: &str, held: &mut Held) -> Result<Option<Vec<Item>>, Error> {
        self.read_part(id, held, read_said)
    }

    /// The input in the record of the response `id`.
    pub fn input(&self, id: &str, held: &mut Held) -> Result<Option<Vec<Item>>, Error> {
        self.read_part(id, held, read_input)
    }

    fn read_part(
        &self,
        id: &str,
        held: &mut Held,
        read: impl FnOnce(&str, &[u8], &mut Held) -> Result<Vec<Item>, Error>,
    ) -> Result<Option<Vec<Item>>, Error> {
        let bytes = lock(&self.index).bytes_of(id);
        held.grow(bytes)?;
        let Some(value) = self.values.read(id)? else {
            return Ok(None);
        };
        let items = read(id, &value, held)?;
        drop(value);
        held.shrink_to(held.bytes() - bytes);
        Ok(Some(items))
    }

    pub fn items(&self, ids: &[String], held: &mut Held) -> Result<HashMap<String, Item>, Error> {
        let mut wanted: HashSet<&str> = ids.iter().map(String::as_str).collect();
        let mut items = HashMap::new();
        // The first holders have all, but for ids that share a hash.
        for after in 0.. {
            let mut holders: HashMap<Arc<str>, HashSet<&str>> = HashMap::new();
            {
                let index = lock(&self.index);
                for id in &wanted {
                    if let Some(holder) = index.holder(id, after) {
                        holders.entry(Arc::clone(holder)).or_default().insert(id);
                    }
                }
            }
            if holders.is_empty() {
                break;
            }
            // Each record is read once, even if several of its items are wanted.
            for (holder, its) in holders {
                let is_kept = !self.mark_used(&holder).newest_first.is_empty();
                let said = is_kept.then(|| self.said(&holder, held)).transpose()?;
                for item in said.flatten().into_iter().flatten() {
                    if let Some(id) = item.id().filter(|id| its.contains(id)) {
                        items.insert(id.to_owned(), item);
                    }
                }
            }
            wanted.retain(|id| !items.contains_key(*id));
        }
        Ok(items)
    }

    pub fn context(&self, chain: &Chain, held: &mut Held) -> Result<Option<Vec<Item>>, Error> {
        if !chain.is_whole {
            return Ok(None);
        }
        let mut said = Vec::new();
        for id in chain.newest_first.iter().rev() {
            match self.said(id, held)? {
                Some(items) if said.is_empty() => said = items,
                Some(items) => said.extend(items),
                None => return Ok(None),
            }
        }
        Ok(Some(said))
    }

    /// The chain that ends with `id`, which is used with that.
    pub fn mark_used(&self, id: &str) -> Chain {
        let mut index = lock(&self.index);
        let now = index.tick(SystemTime::now());
        self.mark_used_at(&mut index, id, now)
    }

    fn mark_used_at(&self, index: &mut Index, id: &str, now: u64) -> Chain {
        let chain = index.mark_used(id, now);
        self.values.note_use(&chain, now);
        chain
    }

    pub fn forget(&self, id: &str) -> Result<bool, Error> {
        let (is_kept, gone) = {
            let mut index = lock(&self.index);
            let now = index.tick(SystemTime::now());
            let mut gone = index.surplus(None, now);
            let is_kept = index.contains(id) && !gone.iter().any(|it| **it == *id);
            if is_kept {
                gone.push(id.into());
            }
            (is_kept, gone)
        };
        if !gone.is_empty() {
            self.write(None, &gone)?;
            lock(&self.index).remove(&gone);
        }
        Ok(is_kept)
    }
}
