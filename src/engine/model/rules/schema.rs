//! What a JSON Schema asks for, as far as the rules need to know.

use serde_json::{Map, Value};

/// How far `$ref`, `anyOf` and `allOf` are followed; a schema may refer to itself.
const DEEPEST: usize = 8;

/// The kind of value that a schema takes.
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

/// The schema without indirection: `$ref` inside of `root` followed, the first alternative that is
/// not null taken, `allOf` put together.
pub fn resolve(schema: &Value, root: &Value) -> Value {
    resolve_to(schema, root, DEEPEST)
}

fn resolve_to(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let target = reference.strip_prefix('#').and_then(|it| root.pointer(it));
        return match target {
            Some(target) => resolve_to(target, root, depth - 1),
            None => Value::Null,
        };
    }
    let alternatives = schema["anyOf"].as_array().or(schema["oneOf"].as_array());
    if let Some(first) = alternatives.and_then(|it| it.iter().find(|it| it["type"] != "null")) {
        let mut chosen = resolve_to(first, root, depth - 1);
        // pydantic writes the default of an optional value next to its alternatives.
        if let (Some(default), Value::Object(chosen)) = (schema.get("default"), &mut chosen) {
            chosen.insert("default".to_owned(), default.clone());
        }
        return chosen;
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let mut whole = schema.as_object().cloned().unwrap_or_default();
        whole.remove("allOf");
        for part in parts {
            merge(&mut whole, &resolve_to(part, root, depth - 1));
        }
        return Value::Object(whole);
    }
    schema.clone()
}

fn merge(whole: &mut Map<String, Value>, part: &Value) {
    for (key, value) in part.as_object().into_iter().flatten() {
        match (whole.get_mut(key), value) {
            (Some(Value::Object(known)), Value::Object(more)) => known.extend(more.clone()),
            (Some(Value::Array(known)), Value::Array(more)) => known.extend(more.iter().cloned()),
            (Some(_), _) => {}
            (None, _) => {
                whole.insert(key.clone(), value.clone());
            }
        }
    }
}

/// The kind of value that a resolved schema takes.
pub fn kind(schema: &Value) -> Kind {
    let name = match &schema["type"] {
        Value::Array(names) => names
            .iter()
            .find(|name| *name != "null")
            .and_then(Value::as_str),
        name => name.as_str(),
    };
    match name {
        Some("integer") => Kind::Integer,
        Some("number") => Kind::Number,
        Some("string") => Kind::String,
        Some("boolean") => Kind::Boolean,
        Some("array") => Kind::Array,
        Some("object") => Kind::Object,
        _ if schema["properties"].is_object() => Kind::Object,
        _ => Kind::Any,
    }
}
