//! `Limits`: how much one answer may bring.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;

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

    /// Counts what an event tells of.
    ///
    /// # Errors
    /// [`Error::TooMany`] if there are more items than allowed, or more parts in one.
    pub fn count(&mut self, event: &Event) -> Result<(), Error> {
        self.seen.extend(event.output_index());
        if self.seen.len() > self.most {
            return Err(too_many_items(self.most));
        }
        let Some(data) = event.as_read() else {
            return Ok(());
        };
        data.get("item").map_or(Ok(()), check_parts)?;
        match data.get("response") {
            Some(Value::Object(response)) => {
                let output = response.get("output").and_then(Value::as_array);
                check_output(output.map_or(&[], Vec::as_slice), self.most)
            }
            _ => Ok(()),
        }
    }
}

/// Refuses an output of more than `most` items.
///
/// # Errors
/// [`Error::TooMany`].
pub fn check_output(output: &[Value], most: usize) -> Result<(), Error> {
    if output.len() > most {
        return Err(too_many_items(most));
    }
    output.iter().try_for_each(check_parts)
}

/// What an answer with more items than `most` fails with.
pub fn too_many_items(most: usize) -> Error {
    Error::TooMany {
        what: "items",
        most,
    }
}

fn check_parts(item: &Value) -> Result<(), Error> {
    let parts = ["content", "summary"].map(|field| item.get(field).and_then(Value::as_array));
    match parts.into_iter().flatten().any(|it| it.len() > MOST_PARTS) {
        false => Ok(()),
        true => Err(Error::TooMany {
            what: "parts in an item",
            most: MOST_PARTS,
        }),
    }
}
