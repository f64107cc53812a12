//! `Resolved`: a schema with its references, its `allOf` and its first alternative, side by side.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{TooLarge, Work};

/// The schemas that hold for one value, the nearest first: the schema itself, what its `$ref` leads
/// to, the parts of `allOf`, and the first alternative of `anyOf` or `oneOf` that is not null.
/// Nothing is copied, and each schema is in it once, so that it is never larger than the document.
#[derive(Debug, Clone, Default)]
pub struct Resolved<'a> {
    parts: Vec<&'a Map<String, Value>>,
}

/// Resolves `schema`; `root` is the document that its `$ref`s point into.
///
/// # Errors
/// [`TooLarge`] if that takes more than `work` has left.
pub fn resolve<'a>(
    schema: &'a Value,
    root: &'a Value,
    work: &mut Work,
) -> Result<Resolved<'a>, TooLarge> {
    resolve_with(schema, root, work, first_alternative)
}

/// The same without any alternative: what holds in every case.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_certain<'a>(
    schema: &'a Value,
    root: &'a Value,
    work: &mut Work,
) -> Result<Resolved<'a>, TooLarge> {
    resolve_with(schema, root, work, |_| None)
}

fn resolve_with<'a>(
    schema: &'a Value,
    root: &'a Value,
    work: &mut Work,
    alternative: impl Fn(&'a Value) -> Option<&'a Value>,
) -> Result<Resolved<'a>, TooLarge> {
    let mut resolved = Resolved::default();
    let mut seen = HashSet::new();
    let mut open = vec![schema];
    while let Some(schema) = open.pop() {
        work.spend(1)?;
        let Value::Object(fields) = schema else {
            continue;
        };
        if !seen.insert(std::ptr::from_ref(fields)) {
            continue;
        }
        resolved.parts.push(fields);
        // The stack gives the last one first.
        open.extend(alternative(schema));
        let parts = schema["allOf"].as_array().into_iter().flatten();
        open.extend(parts.rev());
        open.extend(target(schema, root));
    }
    Ok(resolved)
}

fn first_alternative(schema: &Value) -> Option<&Value> {
    let mut keywords = ["anyOf", "oneOf"].into_iter();
    let alternatives = keywords.find_map(|it| schema[it].as_array())?;
    alternatives.iter().find(|it| it["type"] != "null")
}

/// What the `$ref` of a schema leads to, within the document.
fn target<'a>(schema: &Value, root: &'a Value) -> Option<&'a Value> {
    let pointer = schema["$ref"].as_str()?.strip_prefix('#')?;
    root.pointer(pointer)
}

impl<'a> Resolved<'a> {
    /// The value of a keyword, in the nearest schema that has it.
    pub fn get(&self, keyword: &str) -> Option<&'a Value> {
        self.parts.iter().find_map(|it| it.get(keyword))
    }

    /// All properties, each once, in the order of the schemas.
    pub fn properties(&self) -> Vec<(&'a str, &'a Value)> {
        let mut seen = HashSet::new();
        let objects = self
            .parts
            .iter()
            .filter_map(|it| it.get("properties")?.as_object());
        let properties = objects
            .flatten()
            .map(|(name, schema)| (name.as_str(), schema));
        properties.filter(|(name, _)| seen.insert(*name)).collect()
    }

    /// The properties that any of the schemas requires.
    pub fn required(&self) -> HashSet<&'a str> {
        let lists = self
            .parts
            .iter()
            .filter_map(|it| it.get("required")?.as_array());
        lists.flatten().filter_map(Value::as_str).collect()
    }

    /// The kind of value that the schemas take.
    pub fn kind(&self) -> Kind {
        let name = match self.get("type") {
            Some(Value::Array(names)) => names
                .iter()
                .find(|name| *name != "null")
                .and_then(Value::as_str),
            name => name.and_then(Value::as_str),
        };
        match name {
            Some("integer") => Kind::Integer,
            Some("number") => Kind::Number,
            Some("string") => Kind::String,
            Some("boolean") => Kind::Boolean,
            Some("array") => Kind::Array,
            Some("object") => Kind::Object,
            _ if self.get("properties").is_some_and(Value::is_object) => Kind::Object,
            _ => Kind::Any,
        }
    }
}

/// The kind of value that a schema takes (JSON Schema 2020-12, `type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Integer,
    Number,
    String,
    Boolean,
    Array,
    Object,
    Any,
}

impl Kind {
    /// The kind as a word, such as `integer`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Number => "number",
            Self::String => "string",
            Self::Boolean => "boolean",
            Self::Array => "array",
            Self::Object => "object",
            Self::Any => "any value",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `count` references in an `allOf`, `depth` levels deep: `count` to the power of `depth`
    /// schemas once written out.
    fn bomb(count: usize, depth: usize) -> Value {
        let level = |target: usize| vec![json!({"$ref": format!("#/$defs/d{target}")}); count];
        let mut defs = Map::new();
        for number in 0..depth {
            defs.insert(format!("d{number}"), json!({"allOf": level(number + 1)}));
        }
        defs.insert(format!("d{depth}"), json!({"type": "integer"}));
        json!({"$ref": "#/$defs/d0", "$defs": defs})
    }

    #[test]
    fn references_parts_and_alternatives_hold_together() {
        let root = json!({"$defs": {
            "named": {"properties": {"name": {"type": "string"}}, "required": ["name"]},
            "aged": {"properties": {"age": {"type": "integer"}}},
        }});
        let schema = json!({"description": "own", "properties": {"own": {}}, "default": 1,
            "allOf": [{"$ref": "#/$defs/named"}, {"$ref": "#/$defs/aged"}],
            "anyOf": [{"type": "null"}, {"type": "object", "default": 2, "required": ["age"]}]});
        let resolved = resolve(&schema, &root, &mut Work::of_schema()).unwrap();
        let names: Vec<&str> = resolved
            .properties()
            .iter()
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(names, ["own", "name", "age"]);
        assert_eq!(resolved.required(), HashSet::from(["name", "age"]));
        assert_eq!(resolved.kind(), Kind::Object);
        assert_eq!(resolved.get("default"), Some(&json!(1)));
        let nowhere = json!({"$ref": "#/$defs/none", "type": "integer"});
        let resolved = resolve(&nowhere, &root, &mut Work::of_schema()).unwrap();
        assert_eq!(resolved.kind(), Kind::Integer);
    }

    #[test]
    fn a_schema_of_millions_costs_what_it_is_long() {
        let schema = bomb(60, 4);
        let resolved = resolve(&schema, &schema, &mut Work::new(2_000)).unwrap();
        assert_eq!(resolved.kind(), Kind::Integer);
        assert!(resolved.parts.len() < 250, "{}", resolved.parts.len());
    }

    #[test]
    fn references_end_however_long_and_wherever_they_lead() {
        let chain = bomb(1, 10_000);
        let resolved = resolve(&chain, &chain, &mut Work::new(100_000)).unwrap();
        assert_eq!(resolved.kind(), Kind::Integer);
        let short = resolve(&chain, &chain, &mut Work::new(1_000));
        assert_eq!(short.unwrap_err(), TooLarge);
        let circle = json!({"$ref": "#", "allOf": [{"$ref": "#"}, true, 7, null]});
        let resolved = resolve(&circle, &circle, &mut Work::of_schema()).unwrap();
        assert_eq!(resolved.kind(), Kind::Any);
    }
}
