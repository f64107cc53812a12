//! Interim.
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::responses::{Item, Response};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    pub response: Response,
    pub input: Vec<Item>,
}
impl Record {
    pub fn into_items(self) -> Vec<Item> {
        let output = self.response.output();
        self.input.into_iter().chain(output).collect()
    }
}
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub most: usize,
    pub bytes: u64,
    pub age: Duration,
}
impl Default for Bounds {
    fn default() -> Self {
        Self {
            most: 10_000,
            bytes: 256 << 20,
            age: Duration::from_secs(30 * 24 * 3600),
        }
    }
}
#[derive(Debug, thiserror::Error)]
pub enum Error {}
pub struct Store {
    records: Mutex<HashMap<String, Record>>,
}
impl Store {
    pub fn in_memory(_: Bounds) -> Self {
        Self {
            records: Mutex::default(),
        }
    }
    pub fn open(_: &std::path::Path, bounds: Bounds) -> Result<Self, Error> {
        Ok(Self::in_memory(bounds))
    }
    pub async fn keep(&self, record: &Record) -> Result<(), Error> {
        self.records
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(record.response.id().to_owned(), record.clone());
        Ok(())
    }
    pub async fn get(&self, id: &str) -> Result<Option<Record>, Error> {
        Ok(self
            .records
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .get(id)
            .cloned())
    }
    pub async fn item(&self, id: &str) -> Result<Option<Item>, Error> {
        let records = self
            .records
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut items = records
            .values()
            .flat_map(|it| it.input.iter().cloned().chain(it.response.output()));
        Ok(items.find(|it| it.id() == Some(id)))
    }
    pub async fn delete(&self, id: &str) -> Result<bool, Error> {
        Ok(self
            .records
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .remove(id)
            .is_some())
    }
}
