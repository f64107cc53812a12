//! Where the responses are that a request may go on from: the store, and what a connection remembers.

use std::collections::HashMap;

use super::store::{Bounds, Error, Record, Store};
use crate::responses::{Item, Response};

/// How many responses a connection remembers of those that were not to be stored.
const MOST_OF_CONNECTION: usize = 64;
/// How many bytes these have.
const BYTES_OF_CONNECTION: u64 = 16 * 1024 * 1024;

/// Cloning shares everything.
#[derive(Clone)]
pub struct Memory {
    store: Store,
    /// What `store: false` keeps out of the store is known to the connection that it came over, if
    /// that is one that lasts (Responses API, WebSocket mode).
    connection: Option<Store>,
}

impl Memory {
    pub fn new(store: Store) -> Self {
        Self {
            store,
            connection: None,
        }
    }

    /// The same, and what is remembered for as long as the connection lasts.
    pub fn of_connection(&self) -> Self {
        let bounds = Bounds {
            most: MOST_OF_CONNECTION,
            bytes: BYTES_OF_CONNECTION,
            ..Bounds::default()
        };
        Self {
            store: self.store.clone(),
            connection: Some(Store::in_memory(bounds)),
        }
    }

    pub async fn get(&self, id: &str) -> Result<Option<Record>, Error> {
        if let Some(connection) = &self.connection
            && let Some(record) = connection.get(id).await?
        {
            return Ok(Some(record));
        }
        self.store.get(id).await
    }

    /// Everything that was said up to the response `id` and in it, oldest first. Nothing if any of
    /// the responses on the way is gone.
    pub async fn context(&self, id: &str) -> Result<Option<Vec<Item>>, Error> {
        let Some(connection) = &self.connection else {
            return self.store.context(id).await;
        };
        let mut newest_first = Vec::new();
        let mut context = Vec::new();
        let mut next = Some(id.to_owned());
        while let Some(id) = next {
            let record = match connection.get(&id).await? {
                Some(record) => record,
                None => {
                    if let Some(stored) = self.store.context(&id).await? {
                        context = stored;
                        break;
                    }
                    // It may go on from what the connection remembers.
                    match self.store.get(&id).await? {
                        Some(record) => record,
                        None => return Ok(None),
                    }
                }
            };
            next = record.response.previous_response_id().map(str::to_owned);
            newest_first.push(record);
        }
        let records = newest_first.into_iter().rev();
        context.extend(records.flat_map(Record::into_items));
        Ok(Some(context))
    }

    /// Items of any response that is kept, or of its input, by their id.
    pub async fn items(&self, ids: Vec<String>) -> Result<HashMap<String, Item>, Error> {
        let mut items = self.store.items(ids.clone()).await?;
        if let Some(connection) = &self.connection {
            items.extend(connection.items(ids).await?);
        }
        Ok(items)
    }

    /// Keeps a response where its `store` says.
    pub async fn keep(&self, record: &Record) -> Result<(), Error> {
        match (&self.connection, record.response.is_stored()) {
            (_, true) => self.store.keep(record).await,
            (Some(connection), false) => connection.keep(record).await,
            (None, false) => Ok(()),
        }
    }

    /// Puts the response as it is now in the place of what was kept of it.
    pub async fn replace(&self, response: Response) -> Result<(), Error> {
        self.store.replace(response).await
    }

    /// A turn failed: the connection forgets what it went on from (Responses API, WebSocket mode).
    pub async fn forget(&self, id: &str) -> Result<(), Error> {
        match &self.connection {
            Some(connection) => connection.delete(id).await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// Whether there was anything to delete.
    pub async fn delete(&self, id: &str) -> Result<bool, Error> {
        self.store.delete(id).await
    }
}
