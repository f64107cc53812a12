//! Finished responses by id, for `previous_response_id`. In memory, and bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::responses::Item;

/// How many conversations are kept; the oldest goes first.
const MOST: usize = 1000;

/// The conversations that a later request may go on with.
#[derive(Default)]
pub struct Store {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    contexts: HashMap<String, Vec<Item>>,
    oldest_first: VecDeque<String>,
}

impl Store {
    /// Everything that was said up to the response `id` and in it.
    pub fn context(&self, id: &str) -> Option<Vec<Item>> {
        self.lock().contexts.get(id).cloned()
    }

    /// Keeps `context` under the id of the response that ends it. Items hold no credentials.
    pub fn keep(&self, id: &str, context: Vec<Item>) {
        let mut kept = self.lock();
        kept.contexts.insert(id.to_owned(), context);
        kept.oldest_first.push_back(id.to_owned());
        if kept.oldest_first.len() > MOST
            && let Some(oldest) = kept.oldest_first.pop_front()
        {
            kept.contexts.remove(&oldest);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_conversation_makes_room() {
        let store = Store::default();
        for number in 0..=MOST {
            store.keep(&format!("resp_{number}"), Vec::new());
        }
        assert!(store.context("resp_0").is_none());
        assert!(store.context("resp_1").is_some());
        assert!(store.context(&format!("resp_{MOST}")).is_some());
    }
}
