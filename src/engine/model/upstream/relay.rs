//! Passes on what an upstream response says, with the numbers and ids of this one.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value};

use super::function_call;
use crate::engine::emit::{Emitter, Open};
use crate::engine::model::names::{Function, Names};
use crate::engine::response::Usage;
use crate::responses::{Event, EventKind, Item, Response};

/// Passes on what an upstream response says, but for its calls of MCP tools.
pub struct Relay<'a> {
    emitter: &'a mut Emitter,
    names: &'a Names,
    /// The items that were passed on and are not done, by their index upstream.
    open: HashMap<usize, Open>,
    done: HashSet<usize>,
    /// The calls of MCP tools, by their index upstream.
    calls: BTreeMap<usize, Map<String, Value>>,
}

impl<'a> Relay<'a> {
    pub fn new(emitter: &'a mut Emitter, names: &'a Names) -> Self {
        Self {
            emitter,
            names,
            open: HashMap::new(),
            done: HashSet::new(),
            calls: BTreeMap::new(),
        }
    }

    /// The calls that were not passed on, in the order in which they were asked for.
    pub fn into_calls(self) -> impl Iterator<Item = Map<String, Value>> {
        self.calls.into_values()
    }

    /// Passes an event on, if it tells of an item.
    pub fn take(&mut self, event: &Event) {
        match event.kind() {
            EventKind::OutputItemAdded { output_index, item } => {
                if is_of_model(item) && !self.is_held_back(item) {
                    let open = self.emitter.relay_added(item.clone());
                    self.open.insert(*output_index, open);
                }
            }
            EventKind::OutputItemDone { output_index, item } => {
                self.end(*output_index, item.clone());
            }
            // The response as a whole is the engine's own.
            EventKind::Created { .. }
            | EventKind::InProgress { .. }
            | EventKind::Completed { .. }
            | EventKind::Incomplete { .. }
            | EventKind::Error { .. } => {}
            EventKind::Failed { response } => self.rest(response),
            _ => {
                let open = event.output_index().and_then(|it| self.open.get(&it));
                if let Some(open) = open {
                    self.emitter.relay(open, event.data().clone());
                }
            }
        }
    }

    /// What the stream did not tell item by item, and what it took.
    pub fn rest(&mut self, response: &Response) {
        for (index, item) in response.output().into_iter().enumerate() {
            self.end(index, item);
        }
        self.emitter.used(Usage::of(response));
    }

    fn end(&mut self, index: usize, item: Item) {
        if !self.done.insert(index) {
            return;
        }
        if !is_of_model(&item) {
            return;
        }
        if let Some(call) = function_call(&item).filter(|_| self.is_held_back(&item)) {
            self.calls.insert(index, call.clone());
            return;
        }
        match self.open.remove(&index) {
            Some(open) => self.emitter.relay_done(&open, item),
            None => self.emitter.whole(item),
        }
    }

    /// A call is passed on only if it is of the client's own function.
    fn is_held_back(&self, item: &Item) -> bool {
        function_call(item).is_some_and(|call| {
            let name = call.get("name").and_then(Value::as_str);
            name.and_then(|name| self.names.function(name)) != Some(&Function::Client)
        })
    }
}

/// Which tools there are, which calls were made and what was approved is known here and not upstream:
/// of an item that says so, the next turn would believe it.
fn is_of_model(item: &Item) -> bool {
    match item {
        Item::McpListTools(_)
        | Item::McpCall(_)
        | Item::McpApprovalRequest(_)
        | Item::McpApprovalResponse(_) => false,
        Item::Message(_) | Item::Other(_) => !item.kind().starts_with("mcp_"),
    }
}
