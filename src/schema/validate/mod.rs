//! Validation of a value, when it is known beforehand that it ends.
//!
//! A validator evaluates a schema once for each way that leads to it. [`evaluations`] counts these
//! without walking them one by one, so a schema that stands for millions of others is not
//! validated at all. What is validated runs on a thread of its own, whose stack fits the deepest
//! schema that is let through, and which is left behind if it does not finish in time.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use boon::{CompileError, Compiler, ErrorKind, SchemaIndex, Schemas, UrlLoader, ValidationError};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::walk::children;
use super::{TooLarge, Work, subschemas};

/// How many times subschemas may be evaluated.
const MOST_EVALUATIONS: u64 = 100_000;
/// How deep evaluations may be nested, and the stack for that, in bytes: boon takes some 10 KB for
/// each in a debug build.
const DEEPEST: usize = 300;
const STACK: usize = 32 * 1024 * 1024;
/// How many regular expressions a schema may have, and how many bytes each may take when compiled.
const MOST_PATTERNS: usize = 100;
const PATTERN_BYTES: usize = 512 * 1024;
/// How many JSON values a schema may have, and how many bytes of text: it is copied several times.
const MOST_VALUES: usize = 100_000;
const MOST_TEXT: usize = 4 * 1024 * 1024;
/// How many characters of a reason, or of what is wrong with a value, are shown: a validator repeats
/// what the schema has.
const LONGEST_REASON: usize = 300;
/// How long a validation may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What came of a validation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    Fits,
    Violates(Violation),
    /// The schema cannot be used, for this reason.
    NotChecked(String),
}

impl Checked {
    fn not_checked(why: &impl ToString) -> Self {
        Self::NotChecked(cut(why.to_string()))
    }
}

/// The text, or its first 300 characters and `...`.
fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST_REASON) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// The first thing that is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// The object itself has a property that the schema does not allow.
    Unknown { key: String },
    /// The object itself lacks a property.
    Missing { key: String },
    /// Something else, at this place (`config.size.0`; empty for the whole).
    Unfit { path: String, message: String },
}

/// Validates `instance`, a JSON object, against an untrusted `schema`. Does not block the
/// runtime.
pub async fn validate(instance: Map<String, Value>, schema: &Map<String, Value>) -> Checked {
    if is_large(schema) {
        return Checked::NotChecked("it is too large".to_owned());
    }
    let schema = schema.clone();
    let (sender, checked) = oneshot::channel();
    let validation = move || {
        // Nobody waits any more if this fails.
        let _ = sender.send(check(&instance.into(), schema));
    };
    let started = thread::Builder::new().stack_size(STACK).spawn(validation);
    if let Err(error) = started {
        return Checked::not_checked(&error);
    }
    match tokio::time::timeout(TIMEOUT, checked).await {
        Ok(Ok(checked)) => checked,
        Ok(Err(_)) => Checked::NotChecked("the validator failed".to_owned()),
        Err(_) => Checked::NotChecked(format!("it takes more than {} s", TIMEOUT.as_secs())),
    }
}

fn check(instance: &Value, schema: Map<String, Value>) -> Checked {
    if let Err(why) = refuse_costly(&schema) {
        return Checked::not_checked(&why);
    }
    let root = Value::Object(schema);
    let mut schemas = Schemas::new();
    let compiled = match compile(root.clone(), &mut schemas) {
        Ok(compiled) => compiled,
        Err(error) => return Checked::not_checked(&error),
    };
    if let Err(why) = evaluations(&root, instance) {
        return Checked::not_checked(&why);
    }
    let Err(error) = schemas.validate(instance, compiled) else {
        return Checked::Fits;
    };
    let mut errors = Vec::new();
    leaves(&error, &mut errors);
    // A name that is wrong explains one that is missing.
    let first = errors.into_iter().min_by_key(|error| match error.kind {
        ErrorKind::RefCycle { .. } => 0,
        ErrorKind::AdditionalProperties { .. } => 1,
        ErrorKind::Required { .. } => 2,
        _ => 3,
    });
    let first = first.unwrap_or(&error);
    match &first.kind {
        ErrorKind::RefCycle { .. } => Checked::not_checked(&first.kind),
        _ => Checked::Violates(violation(first)),
    }
}

/// Whether a schema is too large to be copied and compiled, whatever it says.
fn is_large(schema: &Map<String, Value>) -> bool {
    let mut values = MOST_VALUES;
    let mut text = MOST_TEXT;
    !schema.iter().all(|(name, value)| {
        spend(&mut text, name.len()) && is_within(value, &mut values, &mut text)
    })
}

/// Subtracts the values and bytes of text of `value` from what is left. Returns whether they fit.
fn is_within(value: &Value, values: &mut usize, text: &mut usize) -> bool {
    spend(values, 1)
        && match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => true,
            Value::String(it) => spend(text, it.len()),
            Value::Array(elements) => elements.iter().all(|it| is_within(it, values, text)),
            Value::Object(members) => members
                .iter()
                .all(|(name, it)| spend(text, name.len()) && is_within(it, values, text)),
        }
}

fn spend(left: &mut usize, count: usize) -> bool {
    let rest = left.checked_sub(count);
    *left = rest.unwrap_or(0);
    rest.is_some()
}

/// Refuses a schema that costs too much before it is even compiled.
fn refuse_costly(schema: &Map<String, Value>) -> Result<(), String> {
    let parts = subschemas(schema, |_, _| String::new(), &mut Work::of_schema());
    let parts = parts.map_err(|error| error.to_string())?;
    let patterns = parts.iter().flat_map(|(_, schema)| {
        let pattern = schema.get("pattern").and_then(Value::as_str);
        let named = schema.get("patternProperties").and_then(Value::as_object);
        pattern.into_iter().chain(
            named
                .into_iter()
                .flat_map(|it| it.keys().map(String::as_str)),
        )
    });
    let patterns: Vec<&str> = patterns.collect();
    if patterns.len() > MOST_PATTERNS {
        return Err(format!("it has more than {MOST_PATTERNS} patterns"));
    }
    let is_costly = |pattern: &&str| {
        let compiled = regex::RegexBuilder::new(pattern)
            .size_limit(PATTERN_BYTES)
            .build();
        matches!(compiled, Err(regex::Error::CompiledTooBig(_)))
    };
    match patterns.iter().any(is_costly) {
        true => Err("it has a pattern that is too large".to_owned()),
        false => Ok(()),
    }
}

fn compile(schema: Value, schemas: &mut Schemas) -> Result<SchemaIndex, Box<CompileError>> {
    const URL: &str = "tool:///inputSchema";
    let mut compiler = Compiler::new();
    compiler.use_loader(Box::new(Nowhere));
    compiler.add_resource(URL, schema)?;
    Ok(compiler.compile(URL, schemas)?)
}

/// The schema is untrusted: nothing outside of it is loaded.
struct Nowhere;

impl UrlLoader for Nowhere {
    fn load(&self, _: &str) -> Result<Value, Box<dyn std::error::Error>> {
        Err("what is not in the schema itself is not fetched".into())
    }
}

/// Why a value is not validated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Uncountable {
    #[error("validation takes more than {MOST_EVALUATIONS} evaluations of its parts")]
    TooMany,
    #[error("its parts are nested more than {DEEPEST} deep")]
    TooDeep,
    #[error("a reference leads back to itself")]
    Cycle,
    #[error("its reference {0:?} is neither a JSON pointer nor an anchor")]
    Reference(String),
}

impl From<TooLarge> for Uncountable {
    fn from(_: TooLarge) -> Self {
        Self::TooMany
    }
}

/// How often a validator evaluates a schema when it validates `instance`: once for each way that
/// leads to a schema at a value.
fn evaluations(root: &Value, instance: &Value) -> Result<u64, Uncountable> {
    let Value::Object(schema) = root else {
        return Ok(1);
    };
    let parts = subschemas(schema, |_, _| String::new(), &mut Work::of_schema())?;
    let mut anchors = HashMap::new();
    for (index, (_, part)) in parts.into_iter().enumerate() {
        let text = |keyword: &str| part.get(keyword).and_then(Value::as_str);
        if let Some(id) = text("$id").or_else(|| text("id")).filter(|_| index > 0) {
            // From here on, references are relative to another document.
            return Err(Uncountable::Reference(id.chars().take(80).collect()));
        }
        let names = [text("$anchor"), text("$dynamicAnchor")];
        anchors.extend(names.into_iter().flatten().map(|name| (name, part)));
    }
    let mut count = Count {
        root,
        anchors,
        known: HashMap::new(),
        work: Work::new(MOST_EVALUATIONS),
    };
    count.of(schema, instance, 0)
}

struct Count<'a> {
    root: &'a Value,
    anchors: HashMap<&'a str, &'a Map<String, Value>>,
    /// The counts of schemas at values, both by their address; none while it is being counted.
    known: HashMap<(*const Map<String, Value>, *const Value), Option<u64>>,
    work: Work,
}

impl<'a> Count<'a> {
    fn of(
        &mut self,
        schema: &'a Map<String, Value>,
        value: &Value,
        depth: usize,
    ) -> Result<u64, Uncountable> {
        if depth == DEEPEST {
            return Err(Uncountable::TooDeep);
        }
        let place = (std::ptr::from_ref(schema), std::ptr::from_ref(value));
        match self.known.insert(place, None) {
            None => {}
            Some(None) => return Err(Uncountable::Cycle),
            Some(Some(known)) => {
                self.known.insert(place, Some(known));
                return Ok(known);
            }
        }
        self.work.spend(1 + schema.len() as u64)?;
        let mut sum = 1;
        let mut add = |count: u64| {
            sum += count;
            match sum > MOST_EVALUATIONS {
                true => Err(Uncountable::TooMany),
                false => Ok(()),
            }
        };
        for keyword in ["$ref", "$dynamicRef", "$recursiveRef"] {
            if let Some(reference) = schema.get(keyword).and_then(Value::as_str) {
                let target = self.target(reference)?;
                add(self.of(target, value, depth + 1)?)?;
            }
        }
        for (keyword, name, part) in children(schema) {
            for value in values_at(keyword, name.as_deref(), value) {
                self.work.spend(1)?;
                add(self.of(part, value, depth + 1)?)?;
            }
        }
        self.known.insert(place, Some(sum));
        Ok(sum)
    }

    /// What a reference leads to. A validator knows more ways to refer than this; a schema that
    /// uses one is not validated.
    fn target(&self, reference: &str) -> Result<&'a Map<String, Value>, Uncountable> {
        let fragment = reference.strip_prefix('#').filter(|it| !it.contains('%'));
        let target = fragment.and_then(|fragment| match fragment {
            "" => self.root.as_object(),
            pointer if pointer.starts_with('/') => self.root.pointer(pointer)?.as_object(),
            anchor => self.anchors.get(anchor).copied(),
        });
        target.ok_or_else(|| Uncountable::Reference(reference.chars().take(80).collect()))
    }
}

/// The values that a keyword applies its schema to: the value itself, or what is in it.
fn values_at<'v>(keyword: &str, name: Option<&str>, value: &'v Value) -> Vec<&'v Value> {
    match (keyword, value) {
        ("$defs" | "definitions", _) => Vec::new(),
        ("properties", Value::Object(fields)) => {
            name.and_then(|it| fields.get(it)).into_iter().collect()
        }
        (
            "patternProperties"
            | "additionalProperties"
            | "unevaluatedProperties"
            | "propertyNames",
            Value::Object(fields),
        ) => fields.values().collect(),
        (
            "items" | "additionalItems" | "unevaluatedItems" | "contains" | "prefixItems",
            Value::Array(elements),
        ) => elements.iter().collect(),
        (
            "properties"
            | "patternProperties"
            | "additionalProperties"
            | "unevaluatedProperties"
            | "propertyNames"
            | "items"
            | "additionalItems"
            | "unevaluatedItems"
            | "contains"
            | "prefixItems",
            _,
        ) => Vec::new(),
        _ => vec![value],
    }
}

/// The errors that say something themselves. Of alternatives, each has a complaint of its own, and
/// none of them says what is wanted.
fn leaves<'a, 's, 'v>(
    error: &'a ValidationError<'s, 'v>,
    found: &mut Vec<&'a ValidationError<'s, 'v>>,
) {
    match error.kind {
        ErrorKind::AnyOf | ErrorKind::OneOf(_) => found.push(error),
        _ if error.causes.is_empty() => found.push(error),
        _ => error.causes.iter().for_each(|cause| leaves(cause, found)),
    }
}

fn violation(error: &ValidationError<'_, '_>) -> Violation {
    let path = error.instance_location.to_string();
    // `/config/size/0`, as a person writes it: `config.size.0`.
    let path = path.trim_start_matches('/').replace('/', ".");
    match &error.kind {
        ErrorKind::AdditionalProperties { got } if path.is_empty() => Violation::Unknown {
            key: got.first().map_or_else(String::new, ToString::to_string),
        },
        ErrorKind::Required { want } if path.is_empty() => Violation::Missing {
            key: want.first().copied().unwrap_or_default().to_owned(),
        },
        kind => Violation::Unfit {
            path,
            message: cut(kind.to_string()),
        },
    }
}
