//! Events as they are compared: a text each, without what may differ.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::differences::{DIFFERENCES, How};
use super::recording::Turn;

/// Rows of the table by their number, with one of their keys.
pub type Used = BTreeSet<(usize, String)>;

/// Whose events they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Ours,
    Recorded,
}

/// The events of a turn as they are compared: without what may differ, with ids counted as they
/// come up. The rows of the table that were met go to `used`, each with the key.
pub fn compared(turn: &Turn, side: Side, mut events: Vec<Value>, used: &mut Used) -> Vec<String> {
    if turn.entries().len() > 1 {
        events = in_order_of_servers(events, side);
    }
    let mut comparison = Comparison {
        created_at: turn.created_at(),
        side,
        ids: HashMap::new(),
        used,
    };
    let events = events.iter().map(|event| comparison.value("", event));
    let is_sorted = turn.is_sorted();
    let events = events.map(|event| {
        if is_sorted {
            sorted(event, true)
        } else {
            event
        }
    });
    events.map(|event| format!("{event:#}")).collect()
}

struct Comparison<'a> {
    /// When the recording was made, in seconds since 1970.
    created_at: u64,
    side: Side,
    ids: HashMap<String, usize>,
    used: &'a mut Used,
}

impl Comparison<'_> {
    fn value(&mut self, at: &str, value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let (before_key, is_ordered) = match at {
                    "" => (String::new(), false),
                    "item" | "response.output[]" => {
                        (format!("{}.", value["type"].as_str().unwrap()), true)
                    }
                    _ => (format!("{at}."), true),
                };
                let entries = fields.iter().filter_map(|(key, value)| {
                    let value = self.field(&format!("{before_key}{key}"), value)?;
                    Some((key.clone(), value))
                });
                let fields = Value::Object(entries.collect());
                // The keys of an event stood in another order in 2025 than in 2026.
                if is_ordered {
                    fields
                } else {
                    sorted(fields, false)
                }
            }
            Value::Array(values) => {
                let at = format!("{at}[]");
                values.iter().map(|it| self.value(&at, it)).collect()
            }
            Value::String(text) if is_id(text) => {
                let next = self.ids.len();
                let number = *self.ids.entry(text.clone()).or_insert(next);
                let (prefix, _) = text.split_once('_').unwrap();
                json!(format!("{prefix}_{number}"))
            }
            other => other.clone(),
        }
    }

    /// The value of a key as it is compared, or nothing where the other side has no such key.
    fn field(&mut self, at: &str, value: &Value) -> Option<Value> {
        let mut compared = Some(self.value(at, value));
        for (row, difference) in DIFFERENCES.iter().enumerate() {
            if !difference.at.contains(&at) || self.created_at >= difference.before {
                continue;
            }
            let instead = match (&difference.how, self.side) {
                (How::New, Side::Ours) | (How::Gone, Side::Recorded) => None,
                (How::New, Side::Recorded) | (How::Gone, Side::Ours) => continue,
                (How::ValueUnlessNull, _) if value.is_null() => continue,
                (How::Value | How::ValueUnlessNull, _) => Some(json!("...")),
                (How::After(start), _) => match value.as_str() {
                    Some(text) if text.starts_with(start) => Some(json!(start)),
                    _ => continue,
                },
            };
            compared = compared.and(instead);
            self.used.insert((row, at.to_owned()));
        }
        compared
    }
}

fn is_id(text: &str) -> bool {
    let digits = text.split_once('_').map(|(_, digits)| digits);
    digits.is_some_and(|it| it.len() >= 48 && it.bytes().all(|it| it.is_ascii_hexdigit()))
}

/// The value with its keys sorted: its own, and with `deep` those of all that is in it.
fn sorted(value: Value, deep: bool) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> = fields
                .into_iter()
                .map(|(key, value)| (key, if deep { sorted(value, deep) } else { value }))
                .collect();
            fields.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(fields.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(values) if deep => values.into_iter().map(|it| sorted(it, deep)).collect(),
        other => other,
    }
}

/// Several servers are done in whatever order. And of their `output_item.done` OpenAI sent the
/// last only (pydantic-ai issue 5443), where we send each, at once after the list is completed.
fn in_order_of_servers(events: Vec<Value>, side: Side) -> Vec<Value> {
    let is_completed = |it: &Value| it["type"] == "response.mcp_list_tools.completed";
    let is_done = |it: &Value| {
        it["type"] == "response.output_item.done" && it["item"]["type"] == "mcp_list_tools"
    };
    if side == Side::Ours {
        for pair in events.windows(2).filter(|pair| is_completed(&pair[0])) {
            assert!(is_done(&pair[1]), "{}", pair[1]);
            assert_eq!(pair[0]["item_id"], pair[1]["item"]["id"]);
        }
    }
    let mut events: Vec<Value> = events.into_iter().filter(|it| !is_done(it)).collect();
    let first = events.iter().position(is_completed).unwrap();
    let count = events.iter().filter(|it| is_completed(it)).count();
    events[first..first + count].sort_by_key(|it| it["output_index"].as_u64());
    events
}

/// The first event that differs, from a little before the line that does.
pub fn first_difference(ours: &[String], recorded: &[String]) -> Option<String> {
    let most = ours.len().max(recorded.len());
    let index = (0..most).find(|&index| ours.get(index) != recorded.get(index))?;
    let event = |events: &[String]| -> Vec<String> {
        let lines = events
            .get(index)
            .into_iter()
            .flat_map(|event| event.lines());
        lines.map(str::to_owned).collect()
    };
    let (ours, recorded) = (event(ours), event(recorded));
    let lines = ours.iter().zip(&recorded);
    let same = lines
        .take_while(|(ours, recorded)| ours == recorded)
        .count();
    let excerpt = |lines: &[String]| {
        let lines = &lines[same.saturating_sub(3)..];
        lines[..lines.len().min(8)].join("\n")
    };
    let (ours, recorded) = (excerpt(&ours), excerpt(&recorded));
    Some(format!(
        "event {index}, ours:\n{ours}\nrecorded:\n{recorded}"
    ))
}
