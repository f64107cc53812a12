//! The one walk over the schemas within a schema.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{TooLarge, Work};

/// The keywords of a schema.
type Schema = Map<String, Value>;

/// Keywords whose value is a schema (JSON Schema 2020-12, and `items` of earlier drafts).
const SCHEMA: [&str; 12] = [
    "items",
    "additionalItems",
    "additionalProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
    "propertyNames",
    "contains",
    "contentSchema",
    "not",
    "if",
    "then",
    "else",
];

/// Keywords whose value is a list of schemas.
const LIST: [&str; 5] = ["allOf", "anyOf", "oneOf", "prefixItems", "items"];

/// Keywords whose value is an object of schemas.
const NAMED: [&str; 6] = [
    "properties",
    "patternProperties",
    "dependentSchemas",
    "dependencies",
    "$defs",
    "definitions",
];

/// The schemas that a schema has directly below it: the keyword, the name or index there, the
/// schema. A property may have the name of a keyword and a default may look like a schema, so only
/// places of schemas are looked at.
pub fn children(schema: &Schema) -> impl Iterator<Item = (&str, Option<Cow<'_, str>>, &Schema)> {
    schema.iter().flat_map(|(keyword, value)| {
        let keyword = keyword.as_str();
        let single = value.as_object().filter(|_| SCHEMA.contains(&keyword));
        let list = value.as_array().filter(|_| LIST.contains(&keyword));
        let named = value.as_object().filter(|_| NAMED.contains(&keyword));
        let single = single.into_iter().map(move |it| (keyword, None, it));
        let list = list.into_iter().flatten().enumerate();
        let list = list.filter_map(move |(index, it)| {
            Some((keyword, Some(index.to_string().into()), it.as_object()?))
        });
        let named = named.into_iter().flatten();
        let named = named.filter_map(move |(name, it)| {
            Some((keyword, Some(name.as_str().into()), it.as_object()?))
        });
        single.chain(list).chain(named)
    })
}

/// The schema and all schemas in it, each with the JSON pointer to it. `member` makes the pointer of
/// a part out of the pointer of the whole and a token.
///
/// # Errors
/// [`TooLarge`] if there are more of them than `work` allows.
pub fn subschemas<'a>(
    schema: &'a Schema,
    member: impl Fn(&str, &str) -> String,
    work: &mut Work,
) -> Result<Vec<(String, &'a Schema)>, TooLarge> {
    let mut found = vec![(String::new(), schema)];
    let mut next = 0;
    while let Some((path, schema)) = found.get(next).cloned() {
        next += 1;
        work.spend(1 + schema.len() as u64)?;
        for (keyword, name, part) in children(schema) {
            let mut pointer = member(&path, keyword);
            if let Some(name) = name {
                pointer = member(&pointer, &name);
            }
            work.copy(pointer.len())?;
            found.push((pointer, part));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pointers(schema: &Value, work: &mut Work) -> Result<Vec<String>, TooLarge> {
        let member = |pointer: &str, token: &str| format!("{pointer}/{token}");
        let found = subschemas(schema.as_object().unwrap(), member, work)?;
        Ok(found.into_iter().map(|(pointer, _)| pointer).collect())
    }

    #[test]
    fn only_places_of_schemas_are_visited() {
        let schema = json!({"default": {"properties": {"no": {}}}, "enum": [{"items": {}}],
            "properties": {"items": {"anyOf": [{}, true]}}, "items": [{}], "not": {}});
        let pointers = pointers(&schema, &mut Work::of_schema()).unwrap();
        assert_eq!(
            pointers,
            [
                "",
                "/properties/items",
                "/items/0",
                "/not",
                "/properties/items/anyOf/0"
            ]
        );
    }

    #[test]
    fn a_schema_with_more_parts_than_allowed_is_too_large() {
        let parts: Vec<Value> = (0..100).map(|_| json!({})).collect();
        let schema = json!({"allOf": parts});
        assert_eq!(pointers(&schema, &mut Work::new(50)), Err(TooLarge));
        assert!(pointers(&schema, &mut Work::new(200)).is_ok());
    }
}
