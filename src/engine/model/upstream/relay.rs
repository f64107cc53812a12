//! Passes on what an upstream response says, with the numbers and ids of this one.

use std::collections::{HashMap, HashSet};

use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::function_call;
use super::kind::{self, id_prefix};
use crate::engine::emit::{Emitter, Open};
use crate::engine::model::names::{Function, Names};
use crate::engine::response::Usage;
use crate::responses::{Ending, Error, Event, EventKind, EventStream, Item, Limits, Response};

/// Passes on what an upstream response says, but for its calls of MCP tools.
pub struct Relay<'a> {
    emitter: &'a mut Emitter,
    names: &'a Names,
    limits: &'a Limits,
    /// The state of the items in the stream, by their index upstream.
    items: HashMap<usize, Told>,
    /// The index of each of these items that has an id.
    indexes: HashMap<String, usize>,
    /// The calls of MCP tools, with their index upstream.
    calls: Vec<(usize, Map<String, Value>)>,
}

/// What became of an item.
enum Told {
    /// It was passed on, and is not done.
    Open { open: Open, kind: String },
    /// It is done, or is not passed on.
    Over,
}

impl<'a> Relay<'a> {
    pub fn new(emitter: &'a mut Emitter, names: &'a Names, limits: &'a Limits) -> Self {
        Self {
            emitter,
            names,
            limits,
            items: HashMap::new(),
            indexes: HashMap::new(),
            calls: Vec::new(),
        }
    }

    /// The calls that were not passed on, in the order in which they were asked for.
    pub fn into_calls(mut self) -> impl Iterator<Item = Map<String, Value>> {
        self.calls.sort_by_key(|(index, _)| *index);
        self.calls.into_iter().map(|(_, call)| call)
    }

    /// Passes on what the events tell, until the response ends.
    pub async fn read(&mut self, mut events: EventStream) -> Result<(), Error> {
        let mut ending = Ending::default();
        while let Some(event) = events.next().await {
            let event = event?;
            match event.name() {
                "response.output_item.added" => self.begin(event).await?,
                "response.output_item.done" => self.end(event).await?,
                name if kind::is_of_part(name) => self.part(event).await,
                "response.created" | "response.queued" | "response.in_progress" => {}
                _ => {
                    let kind = event.into_kind();
                    let ended = ending.take(&kind);
                    // Send what it did say first, and then why it stopped.
                    if let EventKind::Completed { response }
                    | EventKind::Incomplete { response }
                    | EventKind::Failed { response } = &kind
                    {
                        self.rest(response).await?;
                    }
                    match ended {
                        None => {}
                        // An item that is never done would be one without its text.
                        Some(Ok(_) | Err(Error::NotCompleted { .. })) if self.has_open() => {
                            return Err(Error::Truncated);
                        }
                        Some(ended) => return ended.map(|_| ()),
                    }
                }
            }
        }
        Err(ending.missing())
    }

    async fn begin(&mut self, event: Event) -> Result<(), Error> {
        let Some((index, item)) = item_of(&event) else {
            return Ok(());
        };
        if self.items.contains_key(&index) {
            return Ok(());
        }
        self.remember(index, &item);
        if !kind::is_of_model(&item) {
            self.items.insert(index, Told::Over);
        } else if !self.is_held_back(&item) {
            self.count()?;
            self.hold(&item)?;
            let kind = item.kind().to_owned();
            let item = self.adopted(item);
            let open = self.emitter.added(item).await;
            self.items.insert(index, Told::Open { open, kind });
        }
        Ok(())
    }

    async fn part(&mut self, event: Event) {
        let told = event.output_index().and_then(|it| self.items.get(&it));
        let is_of_whole = event.as_read().is_none_or(|fields| {
            let of_whole = ["response", "item", "error"];
            of_whole.iter().any(|it| fields.contains(it))
        });
        if let Some(Told::Open { open, .. }) = told
            && !is_of_whole
        {
            self.emitter.relay(open, event).await;
        }
    }

    async fn end(&mut self, event: Event) -> Result<(), Error> {
        match item_of(&event) {
            Some((index, item)) => self.done(index, item).await,
            None => Ok(()),
        }
    }

    /// What the stream did not tell item by item, and what it took.
    async fn rest(&mut self, response: &Response) -> Result<(), Error> {
        self.emitter.used(Usage::of(response));
        let output = response.output_as_it_came();
        for (value, index) in output.iter().zip(self.indexes_of(output)) {
            if !matches!(self.items.get(&index), Some(Told::Over))
                && let Some(item) = read(value.clone())
            {
                self.done(index, item).await?;
            }
        }
        Ok(())
    }

    /// The indexes by which the stream told of the items of the output, as far as it did: servers
    /// number items as they like, and give an id twice.
    fn indexes_of(&self, output: &[Value]) -> Vec<usize> {
        let mut told: Vec<usize> = self.items.keys().copied().collect();
        told.sort_unstable();
        let in_order = told.len() == output.len();
        let mut taken = HashSet::new();
        let places = output.iter().enumerate().map(|(place, item)| {
            let id = item.get("id").and_then(Value::as_str);
            let by_id = id.and_then(|id| self.indexes.get(id)).copied();
            let by_place = self.items.contains_key(&place).then_some(place);
            let by_order = in_order.then(|| told[place]);
            let candidates = [by_id, by_place, by_order, Some(place)];
            let index = candidates
                .into_iter()
                .flatten()
                .find(|it| !taken.contains(it));
            let index = index.unwrap_or(usize::MAX - place);
            taken.insert(index);
            index
        });
        places.collect()
    }

    async fn done(&mut self, index: usize, item: Item) -> Result<(), Error> {
        self.remember(index, &item);
        let is_held_back = self.is_held_back(&item);
        match self.items.get(&index) {
            Some(Told::Over) => return Ok(()),
            // As another item than it began, it is not done.
            Some(Told::Open { kind, .. })
                if is_held_back || !kind::is_of_model(&item) || item.kind() != kind =>
            {
                return Ok(());
            }
            Some(Told::Open { .. }) | None => {}
        }
        let told = self.items.insert(index, Told::Over);
        if !kind::is_of_model(&item) {
            return Ok(());
        }
        if told.is_none() {
            self.count()?;
        }
        self.hold(&item)?;
        match (told, item) {
            (Some(Told::Open { open, .. }), item) => self.emitter.done(&open, item).await,
            (_, Item::Other(call)) if is_held_back => self.calls.push((index, call)),
            (_, item) => {
                let item = self.adopted(item);
                self.emitter.whole(item).await;
            }
        }
        Ok(())
    }

    fn remember(&mut self, index: usize, item: &Item) {
        if let Some(id) = item.id().filter(|it| !it.is_empty()) {
            self.indexes.entry(id.to_owned()).or_insert(index);
        }
    }

    /// Whether an item was passed on, and is not done.
    fn has_open(&self) -> bool {
        let mut told = self.items.values();
        told.any(|it| matches!(it, Told::Open { .. }))
    }

    /// The item with an id of this response.
    fn adopted(&self, mut item: Item) -> Item {
        let ids = self.emitter.ids();
        let prefix = id_prefix(item.kind());
        let id = match &item {
            // The upstream is never sent the id of a message.
            Item::Message(_) => ids.next(prefix),
            _ => ids.around(prefix, item.id().unwrap_or_default()),
        };
        item.set_id(id);
        item
    }

    /// Counts one more item.
    fn count(&self) -> Result<(), Error> {
        let most = self.limits.max_items;
        let items = self.emitter.output().len() + self.calls.len();
        match items < most {
            true => Ok(()),
            false => Err(Error::TooMany {
                what: "items",
                most,
            }),
        }
    }

    /// Takes the memory for an item.
    fn hold(&mut self, item: &Item) -> Result<(), Error> {
        let Limits {
            max_memory, budget, ..
        } = self.limits;
        self.emitter.hold(item.size(), *max_memory, budget)
    }

    /// A call is passed on only if it is of the client's own function.
    fn is_held_back(&self, item: &Item) -> bool {
        function_call(item).is_some_and(|call| {
            let name = call.get("name").and_then(Value::as_str);
            name.and_then(|name| self.names.function(name)) != Some(&Function::Client)
        })
    }
}

/// The item of an event that tells where it is.
fn item_of(event: &Event) -> Option<(usize, Item)> {
    let index = event.output_index()?;
    let fields = event.as_read()?;
    let _: Typed = fields.parse("item").ok()?;
    Some((index, fields.parse("item").ok()?))
}

/// An item of an output has a type.
#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type")]
    _type: String,
}

/// An item of an output, which has a type.
fn read(item: Value) -> Option<Item> {
    let has_type = item.get("type").is_some_and(Value::is_string);
    has_type
        .then(|| serde_json::from_value(item).ok())
        .flatten()
}
