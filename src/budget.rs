//! `Budget`: how many bytes all requests of a process may hold at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What JSON takes in memory beside its text: an object with its first member, a list with its
/// first element, and each further member or element. Measured with `serde_json::Value`.
const OBJECT: u64 = 400;
const LIST: u64 = 300;
const MEMBER: u64 = 120;

/// A number of bytes that several requests share. Cloning shares the budget.
#[derive(Debug, Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// In bytes.
    limit: u64,
    used: AtomicU64,
}

/// The budget has less left than is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it takes {} MiB of memory, and the budget of {} MiB has less left",
    needed.div_ceil(1024 * 1024), limit / 1024 / 1024
)]
pub struct Exhausted {
    /// The whole budget, in bytes.
    pub limit: u64,
    /// What one share would have held with the bytes that did not fit.
    pub needed: u64,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                limit,
                used: AtomicU64::new(0),
            }),
        }
    }

    /// A budget without a limit, for a program of one person: its answers have limits of their own.
    pub fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// Takes `bytes` out of the budget until the [`Held`] is dropped.
    ///
    /// # Errors
    /// [`Exhausted`] if less is left. Nothing waits: a request that does not fit is rejected.
    pub fn hold(&self, bytes: u64) -> Result<Held, Exhausted> {
        let mut held = self.empty();
        held.grow(bytes)?;
        Ok(held)
    }

    /// A share of no bytes yet.
    pub fn empty(&self) -> Held {
        Held {
            shared: Arc::clone(&self.shared),
            bytes: 0,
        }
    }

    /// How many bytes are held.
    pub fn used(&self) -> u64 {
        self.shared.used.load(Ordering::Relaxed)
    }
}

/// Bytes of a budget, given back on drop.
#[derive(Debug)]
pub struct Held {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Held {
    /// Holds `more` bytes as well.
    ///
    /// # Errors
    /// [`Exhausted`] if less is left; what was held stays held.
    pub fn grow(&mut self, more: u64) -> Result<(), Exhausted> {
        let limit = self.shared.limit;
        let fits = |used: u64| used.checked_add(more).filter(|sum| *sum <= limit);
        self.shared
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map_err(|_| Exhausted {
                limit,
                needed: self.bytes.saturating_add(more),
            })?;
        self.bytes += more;
        Ok(())
    }

    /// Holds `bytes` from now on, whether they are more or less than before.
    ///
    /// # Errors
    /// [`Exhausted`] if less is left; what was held stays held.
    pub fn resize(&mut self, bytes: u64) -> Result<(), Exhausted> {
        self.shrink_to(bytes);
        self.grow(bytes - self.bytes)
    }

    /// Gives back what is held beyond `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        self.shared.used.fetch_sub(less, Ordering::Relaxed);
        self.bytes -= less;
    }

    /// How many bytes are held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A share of no bytes of the same budget.
    pub fn sibling(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            bytes: 0,
        }
    }

    /// Takes over what `other` holds of the same budget.
    pub fn merge(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// The same estimate of a value that is parsed.
pub fn value_size(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len() as u64,
        Value::Array(values) => LIST + values.iter().map(|it| MEMBER + value_size(it)).sum::<u64>(),
        Value::Object(members) => OBJECT + members_size(members),
    }
}

/// The estimate of an object's members.
pub fn members_size(members: &Map<String, Value>) -> u64 {
    let sizes = members.iter();
    sizes
        .map(|(name, value)| MEMBER + name.len() as u64 + value_size(value))
        .sum()
}

/// An estimate of the bytes that a JSON text takes once it is parsed into `serde_json::Value`s, the
/// text included: many small values take many times their length.
pub fn parsed_size(json: &[u8]) -> u64 {
    let mut size = json.len() as u64;
    let mut rest = json.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => rest = after_string(rest.as_slice()).iter(),
            b'{' => size += OBJECT,
            b'[' => size += LIST,
            b',' => size += MEMBER,
            _ => {}
        }
    }
    size
}

/// What follows a string, from behind its first quote.
fn after_string(mut json: &[u8]) -> &[u8] {
    while let Some(place) = memchr::memchr2(b'"', b'\\', json) {
        let is_end = json[place] == b'"';
        let next = place + if is_end { 1 } else { 2 };
        json = json.get(next..).unwrap_or_default();
        if is_end {
            return json;
        }
    }
    &[]
}

/// Parses JSON that takes at most `most` bytes once it is parsed, by [`parsed_size`]: a text that is
/// held as a text may hold many small values. `None` if it takes more, or is not of this type.
pub fn parse_within<T: DeserializeOwned>(json: &str, most: u64) -> Option<T> {
    match parsed_size(json.as_bytes()) <= most {
        true => serde_json::from_str(json).ok(),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back_and_no_more_than_the_limit_is_held() {
        let budget = Budget::new(100);
        let mut first = budget.hold(60).unwrap();
        let (limit, needed) = (100, 41);
        assert_eq!(budget.hold(41).unwrap_err(), Exhausted { limit, needed });
        let second = budget.clone().hold(40).unwrap();
        assert!(first.grow(1).is_err());
        assert_eq!((first.bytes(), budget.used()), (60, 100));
        drop(second);
        first.grow(40).unwrap();
        first.resize(6).unwrap();
        first.merge(budget.hold(4).unwrap());
        assert_eq!((first.bytes(), budget.used()), (10, 10));
        let mut other = first.sibling();
        other.grow(5).unwrap();
        first.merge(other);
        assert_eq!((first.bytes(), budget.used()), (15, 15));
        drop(first);
        assert_eq!(budget.used(), 0);
        assert!(budget.hold(u64::MAX).is_err());
        let unlimited = Budget::unlimited();
        let _all = unlimited.hold(u64::MAX).unwrap();
        assert!(unlimited.hold(1).is_err());
    }

    #[test]
    fn a_value_takes_about_what_its_text_was_estimated_to_take() {
        for text in [
            r#"{"a":[1,2,{"b":"some text"}]}"#,
            "[[],[],{}]",
            "\"text\"",
            "null",
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            let (estimated, is) = (parsed_size(text.as_bytes()), value_size(&value));
            assert!(
                is <= estimated + 4 * MEMBER && estimated <= is + 40,
                "{text}"
            );
        }
    }

    #[test]
    fn json_that_takes_too_much_is_not_parsed() {
        assert_eq!(parse_within("[1]", 1000), Some(vec![1]));
        assert_eq!(parse_within::<Vec<u8>>("[1]", 100), None);
        assert_eq!(parse_within::<Vec<u8>>("{}", 1000), None);
        let nested = "[0],".repeat(1000);
        assert_eq!(
            parse_within::<Value>(&format!("[{nested}0]"), 100_000),
            None
        );
    }

    #[test]
    fn many_small_values_take_more_than_one_large_one() {
        let text = format!("\"{}\"", "[{,\\\"".repeat(100));
        assert_eq!(parsed_size(text.as_bytes()), text.len() as u64);
        assert_eq!(parsed_size(b"[{},{}]"), 7 + LIST + 2 * OBJECT + MEMBER);
        assert_eq!(parsed_size(b"\"\\"), 2);
    }
}
