//! Where the responses are that a request may go on from: the store, and what a connection remembers.

use super::store::{Bounds, Error, Record, Store};
use crate::responses::{Item, Response};

/// How many responses a connection remembers of those that were not to be stored.
const MOST_OF_CONNECTION: usize = 64;

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
        let mut of_connection = Vec::new();
        let mut next = Some(id.to_owned());
        // What a connection remembers comes after what was stored.
        while let (Some(connection), Some(id)) = (&self.connection, &next)
            && let Some(record) = connection.get(id).await?
        {
            next = record.response.previous_response_id().map(str::to_owned);
            of_connection.push(record);
        }
        let mut context = match next {
            None => Vec::new(),
            Some(id) => match self.store.context(&id).await? {
                None => return Ok(None),
                Some(stored) => stored,
            },
        };
        let records = of_connection.into_iter().rev();
        context.extend(records.flat_map(Record::into_items));
        Ok(Some(context))
    }

    /// An item of any response that is kept, or of its input.
    pub async fn item(&self, id: &str) -> Result<Option<Item>, Error> {
        if let Some(connection) = &self.connection
            && let Some(item) = connection.item(id).await?
        {
            return Ok(Some(item));
        }
        self.store.item(id).await
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
        match self.store.get(response.id()).await? {
            Some(record) => self.store.keep(&Record { response, ..record }).await,
            None => Ok(()),
        }
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
