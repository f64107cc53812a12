//! `Allowed`: which tools of the server pass the door.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use serde_json::value::RawValue;

/// The tools that are listed and may be called.
#[derive(Debug, Default)]
pub struct Allowed {
    /// Those with these names; without a list, all.
    names: Option<HashSet<String>>,
    /// Those that the server marks as read-only.
    read_only: bool,
    /// The read-only ones that were listed so far, by name.
    listed: Mutex<HashSet<String>>,
}

/// What a list says of a tool that decides.
#[derive(Deserialize)]
struct Tool {
    name: String,
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Annotations {
    read_only_hint: Option<bool>,
}

impl Allowed {
    pub fn new(names: Option<Vec<String>>, read_only: bool) -> Self {
        Self {
            names: names.map(HashSet::from_iter),
            read_only,
            listed: Mutex::default(),
        }
    }

    /// Whether every tool passes.
    pub fn is_all(&self) -> bool {
        self.names.is_none() && !self.read_only
    }

    /// Whether a call of the tool passes. `None` if that is not known before the tools are listed.
    pub fn passes(&self, name: &str) -> Option<bool> {
        if self.names.as_ref().is_some_and(|it| !it.contains(name)) {
            return Some(false);
        }
        if !self.read_only {
            return Some(true);
        }
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.contains(name).then_some(true)
    }

    /// The result of `tools/list` without the tools that do not pass, and its `nextCursor`. What is not
    /// a tool does not pass.
    pub fn filtered(&self, result: &str) -> Option<(String, Option<String>)> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct List<'a> {
            #[serde(borrow)]
            tools: &'a RawValue,
            next_cursor: Option<String>,
        }
        let list: List = serde_json::from_str(result).ok()?;
        let tools: Vec<&RawValue> = serde_json::from_str(list.tools.get()).ok()?;
        let passing = tools.into_iter().filter(|tool| self.lists(tool));
        let passing: Vec<&str> = passing.map(RawValue::get).collect();
        let start = list.tools.get().as_ptr().addr() - result.as_ptr().addr();
        let end = start + list.tools.get().len();
        let text = format!(
            "{}[{}]{}",
            &result[..start],
            passing.join(","),
            &result[end..]
        );
        Some((text, list.next_cursor))
    }

    fn lists(&self, tool: &RawValue) -> bool {
        let Ok(tool) = serde_json::from_str::<Tool>(tool.get()) else {
            return false;
        };
        let is_named = self.names.as_ref().is_none_or(|it| it.contains(&tool.name));
        if !self.read_only {
            return is_named;
        }
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        // What a server says last counts.
        if tool.annotations.read_only_hint == Some(true) {
            listed.insert(tool.name);
            return is_named;
        }
        listed.remove(&tool.name);
        false
    }
}
