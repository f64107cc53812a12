//! What a store does, on a thread that may block.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use bytes::Bytes;

use super::index::{Chain, Entry, Index};
use super::record::{Record, read, read_said};
use super::values::Values;
use super::{Error, lock};
use crate::budget::Held;
use crate::responses::{ApiError, Item};

pub struct Inner {
    pub index: Mutex<Index>,
    pub values: Values,
    /// Whoever changes the records does it alone: what goes is decided before the values are
    /// written, and the index follows when they are.
    pub writing: Arc<tokio::sync::Mutex<()>>,
}

impl Inner {
    /// What was being made when the process before this one ended will not be done any more.
    pub fn end_open(&self) -> Result<(), Error> {
        let error =
            ApiError::server_error("The response was not done when its server was stopped.");
        let open = lock(&self.index).open();
        for id in open {
            if let Some(record) = self.get(&id)? {
                let response = record.response.failed(&error);
                let record = Record { response, ..record };
                let (id, entry, value) = record.as_kept().to_entry()?;
                self.keep(id, entry, &value)?;
            }
        }
        Ok(())
    }

    pub fn keep(&self, id: String, mut entry: Entry, value: &Bytes) -> Result<(), Error> {
        let size = entry.size();
        let gone = {
            let mut index = lock(&self.index);
            entry.used_at = index.tick(SystemTime::now());
            let most = index.bounds().bytes;
            if size > most {
                return Err(Error::TooLarge { size, most });
            }
            if let Some(parent) = &entry.parent {
                index.mark_used(parent, entry.used_at);
            }
            index.surplus(Some((&id, size)), entry.used_at)
        };
        self.values.write(Some((&id, &entry, value)), &gone)?;
        let mut index = lock(&self.index);
        index.remove(&gone);
        index.put(id, entry);
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
        let bytes = lock(&self.index).bytes_of(id);
        held.grow(bytes)?;
        let Some(value) = self.values.read(id)? else {
            return Ok(None);
        };
        let said = read_said(id, &value, held)?;
        drop(value);
        held.shrink_to(held.bytes() - bytes);
        Ok(Some(said))
    }

    pub fn items(&self, ids: &[String], held: &mut Held) -> Result<HashMap<String, Item>, Error> {
        let wanted: HashSet<&str> = ids.iter().map(String::as_str).collect();
        let holders: HashSet<String> = {
            let index = lock(&self.index);
            let holders = wanted.iter().filter_map(|id| index.holder(id));
            holders.map(str::to_owned).collect()
        };
        let mut items = HashMap::new();
        // Each record is read once, however many of its items are wanted.
        for holder in holders {
            let is_kept = !self.mark_used(&holder).newest_first.is_empty();
            let said = is_kept.then(|| self.said(&holder, held)).transpose()?;
            for item in said.flatten().into_iter().flatten() {
                if let Some(id) = item.id().filter(|id| wanted.contains(id)) {
                    items.insert(id.to_owned(), item);
                }
            }
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

    pub fn mark_used(&self, id: &str) -> Chain {
        let mut index = lock(&self.index);
        let now = index.tick(SystemTime::now());
        index.mark_used(id, now)
    }

    pub fn delete(&self, id: String) -> Result<bool, Error> {
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
