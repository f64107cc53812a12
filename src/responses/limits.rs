//! `Limits`: how much one answer may bring.

use std::collections::HashSet;
use std::time::Duration;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::Error;
use super::event::Event;
use crate::budget::Budget;

/// A model that thinks, speaks and calls tools makes some dozens of items in an answer.
const MOST_ITEMS: usize = 1000;
/// A model streams an event a token, and no model makes as many tokens in an answer.
const MOST_EVENTS: usize = 1_000_000;
/// Of one item: a message has a part for each text, reasoning has one for each summary.
const MOST_PARTS: usize = 1000;

/// How much one answer may bring.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Between two bytes of the answer; a model may think for a while.
    pub idle_timeout: Duration,
    /// Bytes of the whole answer as it comes.
    pub max_bytes: usize,
    /// Bytes that an event, or all items of a response, take in memory: many small values take many
    /// times their length.
    pub max_memory: usize,
    pub max_events: usize,
    pub max_items: usize,
    /// What all answers hold together.
    pub budget: Budget,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(300),
            max_bytes: 256 * 1024 * 1024,
            max_memory: 256 * 1024 * 1024,
            max_events: MOST_EVENTS,
            max_items: MOST_ITEMS,
            budget: Budget::unlimited(),
        }
    }
}

/// Counts the items of an answer.
#[derive(Debug)]
pub struct Items {
    /// By the index that events name them with.
    seen: HashSet<usize>,
    most: usize,
}

impl Items {
    /// None yet, and no more than `most` to come.
    pub fn up_to(most: usize) -> Self {
        Self {
            seen: HashSet::new(),
            most,
        }
    }

    /// Counts the items of an event.
    ///
    /// # Errors
    /// [`Error::TooMany`] if there are more items than allowed, or more parts in one.
    pub fn count(&mut self, event: &Event) -> Result<(), Error> {
        self.seen.extend(event.output_index());
        if self.seen.len() > self.most {
            return Err(too_many_items(self.most));
        }
        let Some(fields) = event.as_read() else {
            return Ok(());
        };
        // An element of a list takes two bytes at least: a short text has no long list.
        let can_have_long_list = |json: &&str| json.len() > 2 * MOST_PARTS.min(self.most);
        if let Some(item) = fields.get("item").filter(can_have_long_list) {
            check_lengths(&serde_json::from_str(item).unwrap_or_default())?;
        }
        if let Some(response) = fields.get("response").filter(can_have_long_list) {
            let response: ResponseLengths = serde_json::from_str(response).unwrap_or_default();
            let output = response.output.0;
            if output.len() > self.most {
                return Err(too_many_items(self.most));
            }
            output.iter().try_for_each(|item| check_lengths(&item.0))?;
        }
        Ok(())
    }
}

/// How long the lists of a response are, counted without making them.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseLengths {
    output: Lenient<Vec<Lenient<Lengths>>>,
}

/// How long the lists of an item are.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Lengths {
    content: Lenient<Vec<IgnoredAny>>,
    summary: Lenient<Vec<IgnoredAny>>,
}

/// A value that counts as an empty one if it has another type.
#[derive(Default)]
struct Lenient<T>(T);

impl<'de, T: Default + DeserializeOwned> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(json.get()).unwrap_or_default()))
    }
}

fn check_lengths(item: &Lengths) -> Result<(), Error> {
    check_parts(item.content.0.len().max(item.summary.0.len()))
}

/// Refuses an output of more than `most` items.
///
/// # Errors
/// [`Error::TooMany`].
pub fn check_output(output: &[Value], most: usize) -> Result<(), Error> {
    if output.len() > most {
        return Err(too_many_items(most));
    }
    let fields = ["content", "summary"];
    let parts = |item: &Value| {
        let lists = fields.map(|field| item.get(field).and_then(Value::as_array));
        lists.into_iter().flatten().map(Vec::len).max()
    };
    let parts = output.iter().filter_map(parts).max();
    check_parts(parts.unwrap_or(0))
}

/// What an answer with more items than `most` fails with.
pub fn too_many_items(most: usize) -> Error {
    Error::TooMany {
        what: "items",
        most,
    }
}

fn check_parts(parts: usize) -> Result<(), Error> {
    match parts <= MOST_PARTS {
        true => Ok(()),
        false => Err(Error::TooMany {
            what: "parts in an item",
            most: MOST_PARTS,
        }),
    }
}
