//! One response as it is kept: its record, as JSON and read again.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Error;
use super::index::Entry;
use crate::budget::{Held, parsed_size};
use crate::responses::{Item, Response};

/// One response, and the items that it answered. What it goes on from is its
/// `previous_response_id` (Responses API, the response object).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub response: Response,
    /// The request's own input, without what came before it.
    pub input: Vec<Item>,
}

impl Record {
    pub(super) fn as_draft(&self) -> Draft<'_> {
        Draft {
            response: &self.response,
            input: &self.input,
        }
    }
}

/// A [`Record`] of what somebody else has: to keep it, nothing is copied but its JSON.
#[derive(Serialize)]
pub(super) struct Draft<'a> {
    pub(super) response: &'a Response,
    pub(super) input: &'a [Item],
}

impl Draft<'_> {
    /// The id, what the index knows of it, and the record as it is kept.
    pub(super) fn to_entry(&self) -> Result<(Arc<str>, Entry, Bytes), Error> {
        let id = self.response.id();
        let value = match serde_json::to_vec(self) {
            // Without the room that a vector has to grow.
            Ok(value) => Bytes::from(value.into_boxed_slice()),
            Err(source) => {
                let id = id.to_owned();
                return Err(Error::NotARecord { id, source });
            }
        };
        let entry = Entry {
            bytes: value.len() as u64,
            parent: self.response.previous_response_id().map(Arc::from),
            items: self.item_ids(),
            is_open: self.response.is_open(),
            used_at: 0,
        };
        Ok((id.into(), entry, value))
    }

    fn item_ids(&self) -> Box<[Arc<str>]> {
        let output = self.response.output();
        let items = self.input.iter().chain(output.iter().map(Arc::as_ref));
        items.filter_map(Item::id).map(Arc::from).collect()
    }
}

/// What was said in one record, and the response that it goes on from.
pub struct Said {
    /// The input, then the output.
    pub items: Vec<Item>,
    pub parent: Option<String>,
}

/// Which items of a list are wanted.
#[derive(Debug, Clone)]
pub struct Range {
    pub newest_first: bool,
    /// Begin behind the item of this id.
    pub after: Option<String>,
    pub limit: usize,
}

/// The items of a list that are in a [`Range`].
#[derive(Debug, PartialEq)]
pub enum Page {
    Items {
        items: Vec<Item>,
        /// Whether there are more behind them.
        has_more: bool,
    },
    /// No item has the id that the range begins behind.
    NoSuchItem,
}

impl Range {
    pub(super) fn of(&self, mut items: Vec<Item>) -> Page {
        if self.newest_first {
            items.reverse();
        }
        if let Some(after) = &self.after {
            let place = items.iter().position(|item| item.id() == Some(after));
            let Some(place) = place else {
                return Page::NoSuchItem;
            };
            items.drain(..=place);
        }
        let has_more = items.len() > self.limit;
        items.truncate(self.limit);
        Page::Items { items, has_more }
    }
}

pub(super) fn read(id: &str, value: &[u8]) -> Result<Record, Error> {
    serde_json::from_slice(value).map_err(not_a_record(id))
}

/// The parts of a record in which something was said, as they are.
#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(borrow)]
    response: Answer<'a>,
    #[serde(borrow)]
    input: &'a RawValue,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    output: Option<&'a RawValue>,
}

/// What was said in a record, read without the rest of it: a response repeats its tools.
pub(super) fn read_said(id: &str, value: &[u8], held: &mut Held) -> Result<Vec<Item>, Error> {
    let not_a_record = not_a_record(id);
    let Parts { response, input } = serde_json::from_slice(value).map_err(&not_a_record)?;
    let output = response.output.map_or("[]", RawValue::get);
    held.grow(parsed_size(input.get().as_bytes()) + parsed_size(output.as_bytes()))?;
    let mut said: Vec<Item> = serde_json::from_str(input.get()).map_err(&not_a_record)?;
    let output: Vec<&RawValue> = serde_json::from_str(output).map_err(&not_a_record)?;
    // As `Response::output` does, leave out what is not an item.
    said.extend(
        output
            .iter()
            .filter_map(|it| serde_json::from_str::<Item>(it.get()).ok()),
    );
    Ok(said)
}

/// The input of a record, read without the rest of it.
pub(super) fn read_input(id: &str, value: &[u8], held: &mut Held) -> Result<Vec<Item>, Error> {
    let not_a_record = not_a_record(id);
    let Parts { input, .. } = serde_json::from_slice(value).map_err(&not_a_record)?;
    held.grow(parsed_size(input.get().as_bytes()))?;
    serde_json::from_str(input.get()).map_err(not_a_record)
}

fn not_a_record(id: &str) -> impl Fn(serde_json::Error) -> Error {
    let id = id.to_owned();
    move |source| Error::NotARecord {
        id: id.clone(),
        source,
    }
}
