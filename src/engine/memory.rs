//! Where the responses are that a request may go on from: the store, and what a connection remembers.

use std::collections::HashMap;

use super::store::{Bounds, Error, Page, Range, Record, Store};
use crate::budget::{Budget, Held};
use crate::responses::{Item, Response};

/// How many responses a connection remembers of those that were not to be stored.
const MOST_OF_CONNECTION: usize = 64;
/// How many bytes these take; they are held as long as the connection lasts, of the budget of all
/// requests. A conversation beyond it is sent again by its client.
const BYTES_OF_CONNECTION: u64 = 4 * 1024 * 1024;

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
    pub fn of_connection(&self, budget: &Budget) -> Self {
        let bounds = Bounds {
            most: MOST_OF_CONNECTION,
            bytes: BYTES_OF_CONNECTION,
            ..Bounds::default()
        };
        Self {
            store: self.store.clone(),
            connection: Some(Store::in_memory_of(bounds, budget)),
        }
    }

    pub async fn get(&self, id: &str, held: &mut Held) -> Result<Option<Record>, Error> {
        if let Some(connection) = &self.connection
            && let Some(record) = connection.get(id, held).await?
        {
            return Ok(Some(record));
        }
        self.store.get(id, held).await
    }

    /// Whether the response `id` is kept and still being made.
    pub async fn is_open(&self, id: &str) -> Result<bool, Error> {
        if let Some(connection) = &self.connection
            && let Some(is_open) = connection.is_open(id).await?
        {
            return Ok(is_open);
        }
        Ok(self.store.is_open(id).await? == Some(true))
    }

    /// The items in `range` of the input of the response `id`, if it is kept.
    pub async fn input_items(
        &self,
        id: &str,
        range: Range,
        held: &mut Held,
    ) -> Result<Option<Page>, Error> {
        if let Some(connection) = &self.connection
            && let Some(page) = connection.input_items(id, range.clone(), held).await?
        {
            return Ok(Some(page));
        }
        self.store.input_items(id, range, held).await
    }

    /// Everything that was said up to the response `id` and in it, oldest first. Nothing if any of
    /// the responses on the way is gone. What it takes is held by `held`.
    pub async fn context(&self, id: &str, held: &mut Held) -> Result<Option<Vec<Item>>, Error> {
        let Some(connection) = &self.connection else {
            return self.store.context(id, held).await;
        };
        let mut newest_first = Vec::new();
        let mut context = Vec::new();
        let mut next = Some(id.to_owned());
        while let Some(id) = next {
            let said = match connection.said(&id, held).await? {
                Some(said) => said,
                None => {
                    if let Some(stored) = self.store.context(&id, held).await? {
                        context = stored;
                        break;
                    }
                    // It may go on from what the connection remembers.
                    match self.store.said(&id, held).await? {
                        Some(said) => said,
                        None => return Ok(None),
                    }
                }
            };
            next = said.parent;
            newest_first.push(said.items);
        }
        context.extend(newest_first.into_iter().rev().flatten());
        Ok(Some(context))
    }

    /// Items of any response that is kept, or of its input, by their id.
    pub async fn items(
        &self,
        ids: Vec<String>,
        held: &mut Held,
    ) -> Result<HashMap<String, Item>, Error> {
        let mut items = self.store.items(ids.clone(), held).await?;
        if let Some(connection) = &self.connection {
            items.extend(connection.items(ids, held).await?);
        }
        Ok(items)
    }

    /// Keeps a response and its input where its `store` says.
    pub async fn keep(&self, response: &Response, input: &[Item]) -> Result<(), Error> {
        match (&self.connection, response.is_stored()) {
            (_, true) => self.store.create(response, input).await,
            (Some(connection), false) => match connection.create(response, input).await {
                // It is not remembered then; the client sends the conversation again.
                Err(Error::Exhausted(_) | Error::TooLarge { .. }) => {
                    tracing::debug!("a connection has no room to remember a response");
                    Ok(())
                }
                kept => kept,
            },
            (None, false) => Ok(()),
        }
    }

    /// Puts the response as it ended in the place of what was kept of it.
    pub async fn finish(&self, response: Response) -> Result<(), Error> {
        self.store.finish(response).await
    }

    /// A turn failed: the connection forgets what it went on from (Responses API, WebSocket mode).
    pub async fn forget(&self, id: &str) -> Result<(), Error> {
        match &self.connection {
            Some(connection) => connection.forget(id).await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// Whether there was anything to delete.
    pub async fn delete(&self, id: &str) -> Result<bool, Error> {
        self.store.forget(id).await
    }
}
