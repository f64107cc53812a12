//! What is kept, in the order of its last use, and what has to go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use lru::LruCache;

use super::Bounds;

/// What an item takes in the index: its id, and whose it is. Measured with the ids that we make.
const ITEM: u64 = 160;

/// What is known of a record without reading it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// How long it is as JSON.
    pub bytes: u64,
    /// The response that it goes on from.
    pub parent: Option<String>,
    /// The ids of its items, by which a request may refer to them.
    pub items: Vec<Arc<str>>,
    /// Whether the response was still being made when it was kept.
    pub is_open: bool,
    /// When it was used last, by [`Index::tick`].
    pub used_at: u64,
}

impl Entry {
    /// What keeping the record takes, in bytes.
    pub fn size(&self) -> u64 {
        self.bytes
            .saturating_add(ITEM.saturating_mul(self.items.len() as u64))
    }
}

/// A response and those that it goes on from, as far back as they are kept.
pub struct Chain {
    pub newest_first: Vec<String>,
    /// Whether it goes back to a response that goes on from none.
    pub is_whole: bool,
}

/// What is kept. Of two records, the one that was used longer ago goes first; but for the record
/// that was kept last, none goes before those that go on from it.
pub struct Index {
    bounds: Bounds,
    entries: LruCache<String, Entry>,
    /// The record that has an item, by the item's id; the one that was kept last, if several have.
    holders: HashMap<Arc<str>, Arc<str>>,
    bytes: u64,
    ticked_at: u64,
}

impl Index {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            entries: LruCache::unbounded(),
            holders: HashMap::new(),
            bytes: 0,
            ticked_at: 0,
        }
    }

    /// The index of records that were kept before. `used_at` of an entry is when it was kept; that
    /// was a use of all that it goes on from.
    pub fn restored(bounds: Bounds, entries: Vec<(String, Entry)>, now: SystemTime) -> Self {
        let times = entries
            .iter()
            .map(|(id, entry)| (entry.used_at, id.clone()));
        let mut newest_first: Vec<(u64, String)> = times.collect();
        newest_first.sort_unstable_by(|one, other| other.cmp(one));
        let mut entries: HashMap<String, Entry> = entries.into_iter().collect();
        let mut last_used_first = Vec::with_capacity(entries.len());
        for (used_at, id) in newest_first {
            let mut chain = Vec::new();
            let mut next = Some(id);
            // What is gone from the map was used later still, and so was all that it goes on from.
            while let Some(id) = next.take()
                && let Some(entry) = entries.remove(&id)
            {
                next.clone_from(&entry.parent);
                chain.push((id, Entry { used_at, ..entry }));
            }
            last_used_first.extend(chain.into_iter().rev());
        }
        let mut index = Self::new(bounds);
        for (id, mut entry) in last_used_first.into_iter().rev() {
            // A clock that was ahead would make a record that never ages.
            entry.used_at = entry.used_at.min(micros(now));
            index.ticked_at = entry.used_at;
            index.put(id, entry);
        }
        index
    }

    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// The time of an operation, in microseconds since 1970. It never comes twice, whatever the
    /// clock says, so that it is an order as well.
    pub fn tick(&mut self, clock: SystemTime) -> u64 {
        self.ticked_at = micros(clock).max(self.ticked_at + 1);
        self.ticked_at
    }

    /// The responses that were being made when they were kept.
    pub fn open(&self) -> Vec<String> {
        let open = self.entries.iter().filter(|(_, entry)| entry.is_open);
        open.map(|(id, _)| id.clone()).collect()
    }

    pub fn contains(&self, id: &str) -> bool {
        self.entries.contains(id)
    }

    /// Whether the response is still being made, if it is kept.
    pub fn is_open(&self, id: &str) -> Option<bool> {
        self.entries.peek(id).map(|entry| entry.is_open)
    }

    /// How long the record is as JSON; nothing if it is not kept.
    pub fn bytes_of(&self, id: &str) -> u64 {
        self.entries.peek(id).map_or(0, |entry| entry.bytes)
    }

    /// The response that it goes on from.
    pub fn parent(&self, id: &str) -> Option<String> {
        self.entries.peek(id)?.parent.clone()
    }

    /// The record that has the item `id`.
    pub fn holder(&self, id: &str) -> Option<&str> {
        self.holders.get(id).map(|holder| &**holder)
    }

    /// The chain that ends with `id`; all of it is used at `now`.
    pub fn mark_used(&mut self, id: &str, now: u64) -> Chain {
        let mut chain = Chain {
            newest_first: Vec::new(),
            is_whole: false,
        };
        let oldest = self.oldest_given(now);
        let mut next = Some(id.to_owned());
        // Only a file that was tampered with has a cycle; it must have an end as well.
        for _ in 0..self.entries.len() {
            let Some(id) = next.take() else { break };
            let entry = self.entries.peek_mut(&id);
            let Some(entry) = entry.filter(|entry| entry.used_at >= oldest) else {
                return chain;
            };
            entry.used_at = now;
            next.clone_from(&entry.parent);
            self.entries.promote(&id);
            chain.newest_first.push(id);
        }
        chain.is_whole = next.is_none() && !chain.newest_first.is_empty();
        chain
    }

    /// What has to go, so that all is within the bounds with the record that is `coming`: its id
    /// and its [`Entry::size`].
    pub fn surplus(&self, coming: Option<(&str, u64)>, now: u64) -> Vec<String> {
        let oldest = self.oldest_given(now);
        let (mut count, mut bytes) = (self.entries.len(), self.bytes);
        if let Some((id, size)) = coming {
            let replaced = self.entries.peek(id).map(Entry::size);
            count += usize::from(replaced.is_none());
            bytes = bytes.saturating_sub(replaced.unwrap_or_default()) + size;
        }
        let coming = coming.map(|(id, _)| id);
        let least_used_first = self.entries.iter().rev();
        least_used_first
            .filter(|(id, _)| Some(id.as_str()) != coming)
            .take_while(|(_, entry)| {
                let must_go =
                    count > self.bounds.most || bytes > self.bounds.bytes || entry.used_at < oldest;
                count -= 1;
                bytes = bytes.saturating_sub(entry.size());
                must_go
            })
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Least recently used first.
    #[cfg(test)]
    pub fn ids_by_use(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().rev().map(|(id, _)| id.as_str())
    }

    pub fn put(&mut self, id: String, entry: Entry) {
        // A file that was tampered with can say any length.
        self.bytes = self.bytes.saturating_add(entry.size());
        if let Some(replaced) = self.entries.pop(&id) {
            self.forget(&id, &replaced);
        }
        let holder: Arc<str> = id.as_str().into();
        for item in &entry.items {
            self.holders.insert(Arc::clone(item), Arc::clone(&holder));
        }
        self.entries.put(id, entry);
    }

    pub fn remove(&mut self, ids: &[String]) {
        for id in ids {
            if let Some(entry) = self.entries.pop(id) {
                self.forget(id, &entry);
            }
        }
    }

    fn forget(&mut self, id: &str, entry: &Entry) {
        self.bytes = self.bytes.saturating_sub(entry.size());
        for item in &entry.items {
            if self.holders.get(item).is_some_and(|holder| **holder == *id) {
                self.holders.remove(item);
            }
        }
    }

    /// What was used before this is too old.
    fn oldest_given(&self, now: u64) -> u64 {
        let age = u64::try_from(self.bounds.age.as_micros()).unwrap_or(u64::MAX);
        now.saturating_sub(age)
    }
}

fn micros(time: SystemTime) -> u64 {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}
