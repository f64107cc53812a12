//! What is kept, in the order of its last use, and what has to go.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
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
    pub parent: Option<Arc<str>>,
    /// The ids of its items, by which a request may refer to them.
    pub items: Box<[Arc<str>]>,
    /// Whether the response was still being made when it was kept.
    pub is_open: bool,
    /// When it was used last, by [`Index::tick`].
    pub used_at: u64,
}

impl Entry {
    /// What keeping the record takes, in bytes.
    pub fn size(&self) -> u64 {
        size(self.bytes, self.items.len())
    }
}

fn size(bytes: u64, items: usize) -> u64 {
    bytes.saturating_add(ITEM.saturating_mul(items as u64))
}

/// When a record was used last. Of the records that one operation uses, one at a later place counts as
/// used later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// By [`Index::tick`].
    pub at: u64,
    pub place: u64,
}

/// What the file says of a record, without the record.
pub struct Row {
    pub id: Arc<str>,
    pub entry: Entry,
    pub kept_at: u64,
    pub used: Use,
}

/// The hash of an item's id, which takes less memory than the id. Hashes can collide, so a lookup has to
/// compare the id in the record.
type ItemHash = u64;

/// An [`Entry`] as the index has it.
struct Slot {
    bytes: u64,
    parent: Option<Arc<str>>,
    items: Box<[ItemHash]>,
    is_open: bool,
    used_at: u64,
}

impl Slot {
    fn size(&self) -> u64 {
        size(self.bytes, self.items.len())
    }
}

/// A response and those that it goes on from, as far back as they are kept.
pub struct Chain {
    pub newest_first: Vec<Arc<str>>,
    /// Whether it goes back to a response that goes on from none.
    pub is_whole: bool,
}

/// What is kept. Of two records, the one that was used longer ago goes first; but for the record
/// that was kept last, none goes before those that go on from it.
///
/// Of a file, this is a cache: what its tables say makes the same index again.
pub struct Index {
    bounds: Bounds,
    entries: LruCache<Arc<str>, Slot>,
    /// The record that has an item, by the item's hash; the one that was kept last, if several have.
    holders: HashMap<ItemHash, Arc<str>>,
    /// The others that have it, the one that was kept last at the end.
    earlier_holders: HashMap<ItemHash, Vec<Arc<str>>>,
    hasher: RandomState,
    bytes: u64,
    ticked_at: u64,
}

impl Index {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            entries: LruCache::unbounded(),
            holders: HashMap::new(),
            earlier_holders: HashMap::new(),
            hasher: RandomState::new(),
            bytes: 0,
            ticked_at: 0,
        }
    }

    /// The index of what a file has.
    pub fn from_rows(bounds: Bounds, mut rows: Vec<Row>) -> Self {
        let mut index = Self::new(bounds);
        rows.sort_unstable_by_key(|row| row.kept_at);
        for row in &rows {
            let items = index.hashes(&row.entry.items);
            index.hold(&row.id, &items);
        }
        rows.sort_unstable_by_key(|row| row.used);
        for Row {
            id, entry, used, ..
        } in rows
        {
            index.ticked_at = used.at;
            index.bytes = index.bytes.saturating_add(entry.size());
            let used_at = used.at;
            let slot = index.slot(Entry { used_at, ..entry });
            index.entries.put(id, slot);
        }
        index
    }

    /// Puts in its place the index of what the file has by now.
    pub fn rebuild(&mut self, rows: Vec<Row>) {
        let rebuilt = Self::from_rows(self.bounds, rows);
        let ticked_at = self.ticked_at.max(rebuilt.ticked_at);
        *self = Self {
            ticked_at,
            ..rebuilt
        };
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
    pub fn open(&self) -> Vec<Arc<str>> {
        let open = self.entries.iter().filter(|(_, entry)| entry.is_open);
        open.map(|(id, _)| Arc::clone(id)).collect()
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
    pub fn parent(&self, id: &str) -> Option<Arc<str>> {
        self.entries.peek(id)?.parent.clone()
    }

    /// The record that may have the item `id`: if several may, the one that was kept last, or one
    /// that so many were kept after.
    pub fn holder(&self, id: &str, after: usize) -> Option<&Arc<str>> {
        let item = self.hasher.hash_one(id);
        match after {
            0 => self.holders.get(&item),
            _ => self.earlier_holders.get(&item)?.iter().rev().nth(after - 1),
        }
    }

    /// The chain that ends with `id`; all of it is used at `now`.
    pub fn mark_used(&mut self, id: &str, now: u64) -> Chain {
        let mut chain = Chain {
            newest_first: Vec::new(),
            is_whole: false,
        };
        let oldest = self.oldest_given(now);
        let mut next = Some(Arc::from(id));
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
    pub fn surplus(&self, coming: Option<(&str, u64)>, now: u64) -> Vec<Arc<str>> {
        let oldest = self.oldest_given(now);
        let (mut count, mut bytes) = (self.entries.len(), self.bytes);
        if let Some((id, size)) = coming {
            let replaced = self.entries.peek(id).map(Slot::size);
            count += usize::from(replaced.is_none());
            bytes = bytes.saturating_sub(replaced.unwrap_or_default()) + size;
        }
        let coming = coming.map(|(id, _)| id);
        let least_used_first = self.entries.iter().rev();
        least_used_first
            .filter(|(id, _)| Some(&***id) != coming)
            .take_while(|(_, entry)| {
                let must_go =
                    count > self.bounds.most || bytes > self.bounds.bytes || entry.used_at < oldest;
                count -= 1;
                bytes = bytes.saturating_sub(entry.size());
                must_go
            })
            .map(|(id, _)| Arc::clone(id))
            .collect()
    }

    /// Least recently used first.
    #[cfg(test)]
    pub fn ids_by_use(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().rev().map(|(id, _)| &**id)
    }

    pub fn put(&mut self, id: Arc<str>, entry: Entry) {
        if let Some(replaced) = self.entries.pop(&id) {
            self.forget(&id, &replaced);
        }
        // A file that was tampered with can say any length.
        self.bytes = self.bytes.saturating_add(entry.size());
        let slot = self.slot(entry);
        self.hold(&id, &slot.items);
        self.entries.put(id, slot);
    }

    fn slot(&self, entry: Entry) -> Slot {
        Slot {
            bytes: entry.bytes,
            items: self.hashes(&entry.items),
            parent: entry.parent,
            is_open: entry.is_open,
            used_at: entry.used_at,
        }
    }

    fn hashes(&self, items: &[Arc<str>]) -> Box<[ItemHash]> {
        let hashes = items.iter().map(|item| self.hasher.hash_one(&**item));
        hashes.collect()
    }

    pub fn remove(&mut self, ids: &[Arc<str>]) {
        for id in ids {
            if let Some(entry) = self.entries.pop(id) {
                self.forget(id, &entry);
            }
        }
    }

    /// A record is kept that has these items.
    fn hold(&mut self, id: &Arc<str>, items: &[ItemHash]) {
        for item in items {
            let earlier = self.holders.insert(*item, Arc::clone(id));
            if let Some(earlier) = earlier.filter(|it| it != id) {
                let others = self.earlier_holders.entry(*item).or_default();
                others.push(earlier);
            }
        }
    }

    fn forget(&mut self, id: &str, slot: &Slot) {
        self.bytes = self.bytes.saturating_sub(slot.size());
        for item in &slot.items {
            let Some(holder) = self.holders.get_mut(item) else {
                continue;
            };
            let others = self.earlier_holders.get_mut(item);
            if **holder != *id {
                // What goes is mostly what was kept first.
                if let Some(others) = others
                    && let Some(place) = others.iter().position(|it| **it == *id)
                {
                    others.remove(place);
                }
            } else if let Some(last) = others.and_then(Vec::pop) {
                *holder = last;
            } else {
                self.holders.remove(item);
            }
            if self.earlier_holders.get(item).is_some_and(Vec::is_empty) {
                self.earlier_holders.remove(item);
            }
        }
    }

    /// What was used before this is too old.
    fn oldest_given(&self, now: u64) -> u64 {
        let age = u64::try_from(self.bounds.age.as_micros()).unwrap_or(u64::MAX);
        now.saturating_sub(age)
    }
}

/// A time in microseconds since 1970.
pub fn micros(time: SystemTime) -> u64 {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}
