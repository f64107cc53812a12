//! What a JSON Schema has that not everybody takes.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::check::words::{few, member, quoted};
use crate::schema::{TooLarge, Work, subschemas};

/// Keywords that strict mode refuses (Structured Outputs, supported schemas).
const NOT_STRICT: [&str; 11] = [
    "allOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "patternProperties",
    "propertyNames",
    "uniqueItems",
];

/// The values of `format` that strict mode knows (Structured Outputs, supported properties).
const STRICT_FORMATS: [&str; 9] = [
    "date-time",
    "time",
    "date",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uuid",
];

type Schema = Map<String, Value>;

/// What keeps it from being the parameters of a function.
pub fn shape(schema: &Schema) -> Vec<String> {
    let is_object = schema.get("type") == Some(&"object".into());
    let has_properties = schema.get("properties").is_some_and(Value::is_object);
    [
        (!is_object).then_some("`type` is not `object`"),
        (!has_properties).then_some("no `properties`"),
    ]
    .into_iter()
    .flatten()
    .map(str::to_owned)
    .collect()
}

/// The parts of it that OpenAI refuses in the parameters of a function, each with its JSON pointer.
pub fn refused_parts(schema: &Schema, work: &mut Work) -> Result<Vec<String>, TooLarge> {
    let mut found = Vec::new();
    for (path, part) in subschemas(schema, member, work)? {
        let is_array = match part.get("type") {
            Some(Value::Array(types)) => types.contains(&"array".into()),
            of_type => of_type == Some(&"array".into()),
        };
        if is_array && !part.contains_key("items") && !part.contains_key("prefixItems") {
            found.push(format!("an array without `items` at {}", quoted(&path)));
        }
        let properties = part.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            if !property.is_object() && !property.is_boolean() {
                let at = member(&member(&path, "properties"), name);
                found.push(format!(
                    "a property that is not a schema at {}",
                    quoted(&at)
                ));
            }
        }
    }
    Ok(found)
}

/// Every `$ref` to another document, or to nothing in this one.
pub fn lost_references(schema: &Schema, work: &mut Work) -> Result<Vec<String>, TooLarge> {
    let root = Value::Object(schema.clone());
    let lost = |target: &str| match target.strip_prefix('#') {
        None => true,
        // An anchor, or a pointer with characters written as %XX, is not looked for.
        Some(pointer) if pointer.contains('%') || !pointer.starts_with('/') => false,
        Some(pointer) => root.pointer(pointer).is_none(),
    };
    let references = references(schema, work)?.into_iter();
    let lost = references.filter(|(_, target)| lost(target));
    Ok(lost.map(|(_, target)| quoted(target)).collect())
}

/// Whether a part of the schema refers to what it is a part of.
pub fn is_recursive(schema: &Schema, work: &mut Work) -> Result<bool, TooLarge> {
    let references = references(schema, work)?;
    Ok(references.iter().any(|(path, target)| {
        let within = target
            .strip_prefix('#')
            .and_then(|it| path.strip_prefix(it));
        within.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }))
}

fn references<'a>(schema: &'a Schema, work: &mut Work) -> Result<Vec<(String, &'a str)>, TooLarge> {
    let parts = subschemas(schema, member, work)?.into_iter();
    let references = parts.filter_map(|(path, schema)| Some((path, schema.get("$ref")?.as_str()?)));
    Ok(references.collect())
}

/// What strict mode refuses: each finding, and the JSON pointer to where it is.
pub fn not_strict(schema: &Schema, work: &mut Work) -> Result<Vec<String>, TooLarge> {
    let mut found = Vec::new();
    for (path, schema) in subschemas(schema, member, work)? {
        let at = match path.as_str() {
            "" => String::new(),
            path => format!(" at {}", quoted(path)),
        };
        if is_object(schema) && schema.get("additionalProperties") != Some(&false.into()) {
            found.push(format!("`additionalProperties` that is not `false`{at}"));
        }
        let optional = optional(schema);
        if !optional.is_empty() {
            let optional = few(&optional, ", ");
            found.push(format!("the optional {optional}{at}"));
        }
        let refused = NOT_STRICT.iter().filter(|it| schema.contains_key(**it));
        found.extend(refused.map(|it| format!("`{it}`{at}")));
        if path.is_empty() && schema.contains_key("anyOf") {
            found.push("`anyOf` as the whole".to_owned());
        }
        if let Some(format) = schema.get("format").and_then(Value::as_str)
            && !STRICT_FORMATS.contains(&format)
        {
            found.push(format!("the `format` {}{at}", quoted(format)));
        }
    }
    Ok(found)
}

fn is_object(schema: &Schema) -> bool {
    match schema.get("type") {
        Some(Value::Array(types)) => types.contains(&"object".into()),
        Some(of_type) => of_type == "object",
        None => schema.contains_key("properties"),
    }
}

/// The properties that `required` does not name.
fn optional(schema: &Schema) -> Vec<String> {
    let required = schema.get("required").and_then(Value::as_array);
    let required = required.into_iter().flatten().filter_map(Value::as_str);
    let required: HashSet<&str> = required.collect();
    let properties = schema.get("properties").and_then(Value::as_object);
    let names = properties.into_iter().flat_map(Map::keys);
    names
        .filter(|name| !required.contains(name.as_str()))
        .map(|name| quoted(name))
        .collect()
}
