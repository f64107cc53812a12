//! Headers that repeat parts of a request, so that a proxy can route it without reading its body
//! (MCP 2026-07-28, standard request headers and `x-mcp-header`).

use std::collections::HashSet;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::tool::JsonObject;

pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
const PARAM_PREFIX: &str = "mcp-param-";
const ANNOTATION: &str = "x-mcp-header";
/// What is around a value in Base64.
const PREFIX: &str = "=?base64?";
const SUFFIX: &str = "?=";

/// An argument of a tool that is sent in a header as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamHeader {
    /// The names of the properties from the root of the arguments.
    path: Vec<String>,
    header: HeaderName,
}

/// The annotations of a tool's `inputSchema`. `None` if one of them is invalid, and clients must reject the
/// tool: the header name is not a token or is a duplicate, the property is not a primitive, or the
/// annotation is not on a path of `properties` from the root.
pub fn read_annotations(input_schema: &JsonObject) -> Option<Vec<ParamHeader>> {
    let mut found = Vec::new();
    let is_valid = walk(input_schema, Some(&mut Vec::new()), &mut found);
    let mut seen = HashSet::new();
    let is_unique = found.iter().all(|it: &ParamHeader| seen.insert(&it.header));
    (is_valid && is_unique).then_some(found)
}

/// Walks a schema. `path` is `None` in places where no annotation may be. Returns whether all
/// annotations are valid.
fn walk(
    schema: &JsonObject,
    mut path: Option<&mut Vec<String>>,
    found: &mut Vec<ParamHeader>,
) -> bool {
    schema.iter().all(|(key, value)| match key.as_str() {
        ANNOTATION => match path.as_deref() {
            Some(path) if !path.is_empty() => match read_annotation(schema, value) {
                Some(header) => {
                    let path = path.clone();
                    found.push(ParamHeader { path, header });
                    true
                }
                None => false,
            },
            _ => false,
        },
        "properties" => value.as_object().is_none_or(|properties| {
            properties.iter().all(|(name, property)| {
                let Some(property) = property.as_object() else {
                    return true;
                };
                let Some(path) = path.as_deref_mut() else {
                    return walk(property, None, found);
                };
                path.push(name.clone());
                let is_valid = walk(property, Some(path), found);
                path.pop();
                is_valid
            })
        }),
        "$defs" | "definitions" | "dependencies" | "dependentSchemas" | "patternProperties" => {
            let schemas = value.as_object().into_iter().flat_map(Map::values);
            schemas.into_iter().all(|it| walk_any(it, found))
        }
        // These hold values or names of properties, no schemas.
        "default" | "const" | "enum" | "examples" | "dependentRequired" => true,
        _ => walk_any(value, found),
    })
}

/// Walks what may be a schema or a list of schemas, where no annotation may be.
fn walk_any(value: &Value, found: &mut Vec<ParamHeader>) -> bool {
    match value {
        Value::Object(schema) => walk(schema, None, found),
        Value::Array(schemas) => schemas.iter().all(|it| walk_any(it, found)),
        _ => true,
    }
}

fn read_annotation(schema: &JsonObject, annotation: &Value) -> Option<HeaderName> {
    let kind = schema.get("type").and_then(Value::as_str);
    let is_primitive = matches!(kind, Some("string" | "integer" | "boolean"));
    let token = annotation
        .as_str()
        .filter(|it| !it.is_empty() && is_primitive)?;
    HeaderName::try_from(format!("{PARAM_PREFIX}{token}")).ok()
}

/// The headers of any request: its method, and the name of what it is about.
pub fn headers_for(method: &str, name: Option<&str>) -> HeaderMap {
    let method = HeaderValue::from_str(method).ok();
    let name = name.and_then(header_value);
    let named = [(METHOD, method), (NAME, name)].into_iter();
    named
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

/// The headers of a `tools/list`.
pub fn for_list() -> HeaderMap {
    headers_for("tools/list", None)
}

/// The headers of a `tools/call`.
pub fn for_call(name: &str, arguments: &JsonObject, annotated: &[ParamHeader]) -> HeaderMap {
    let mut headers = headers_for("tools/call", Some(name));
    for ParamHeader { path, header } in annotated {
        let mut steps = path.iter();
        let first = steps.next().and_then(|name| arguments.get(name));
        let value = steps.try_fold(first, |value, name| Some(value?.get(name)));
        let text = match value.flatten() {
            Some(Value::String(text)) => text.clone(),
            Some(value @ (Value::Bool(_) | Value::Number(_))) => value.to_string(),
            _ => continue,
        };
        headers.extend(header_value(&text).map(|value| (header.clone(), value)));
    }
    headers
}

/// What the value of such a header says.
pub fn header_text(value: &str) -> String {
    let encoded = value
        .strip_prefix(PREFIX)
        .and_then(|it| it.strip_suffix(SUFFIX));
    let decoded = encoded.and_then(|it| BASE64_STANDARD.decode(it).ok());
    let decoded = decoded.and_then(|it| String::from_utf8(it).ok());
    decoded.unwrap_or_else(|| value.to_owned())
}

/// The text as the value of a header; in Base64 if it cannot stand in one as it is.
fn header_value(text: &str) -> Option<HeaderValue> {
    let is_edge = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let bytes = text.as_bytes();
    let needs_base64 = is_edge(bytes.first())
        || is_edge(bytes.last())
        || bytes.iter().any(|byte| !(0x20..=0x7e).contains(byte))
        || (text.starts_with(PREFIX) && text.ends_with(SUFFIX));
    let value = match needs_base64 {
        true => HeaderValue::try_from(format!("{PREFIX}{}{SUFFIX}", BASE64_STANDARD.encode(text))),
        false => HeaderValue::from_str(text),
    };
    value.ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> JsonObject {
        serde_json::from_value(value).unwrap()
    }

    fn annotations(schema: Value) -> Option<Vec<String>> {
        let read = read_annotations(&object(schema))?;
        Some(
            read.iter()
                .map(|it| format!("{} {}", it.path.join("."), it.header))
                .collect(),
        )
    }

    #[test]
    fn annotations_are_found_along_properties_and_nowhere_else() {
        let city = json!({"type": "string", "x-mcp-header": "City"});
        let nested = json!({"properties": {"place": {"properties": {"city": city}}, "a": true}});
        assert_eq!(annotations(nested).unwrap(), ["place.city mcp-param-city"]);
        assert_eq!(annotations(json!({})).unwrap(), [""; 0]);
        assert!(annotations(json!({"default": {"x-mcp-header": 1}})).is_some());
        for invalid in [
            json!({"x-mcp-header": "Root"}),
            json!({"properties": {"a": {"type": "string", "x-mcp-header": ""}}}),
            json!({"properties": {"a": {"type": "string", "x-mcp-header": "a b"}}}),
            json!({"properties": {"a": {"type": "string", "x-mcp-header": 1}}}),
            json!({"properties": {"a": {"type": "number", "x-mcp-header": "A"}}}),
            json!({"properties": {"a": city, "b": {"type": "string", "x-mcp-header": "CITY"}}}),
            json!({"properties": {"a": {"items": city}}}),
            json!({"$defs": {"a": city}}),
            json!({"allOf": [{"properties": {"a": city}}]}),
        ] {
            assert_eq!(annotations(invalid.clone()), None, "{invalid}");
        }
    }

    #[test]
    fn a_call_repeats_its_name_and_the_annotated_arguments() {
        let schema = json!({"properties": {
            "city": {"type": "string", "x-mcp-header": "City"},
            "deep": {"properties": {"count": {"type": "integer", "x-mcp-header": "Count"}}},
            "list": {"type": "boolean", "x-mcp-header": "List"},
        }});
        let annotated = read_annotations(&object(schema)).unwrap();
        let arguments = json!({"city": " Z\u{fc}rich", "deep": {"count": 7}, "list": [1]});
        let headers = for_call("get", &object(arguments), &annotated);
        let text = |name| headers.get(name).map(|it| it.to_str().unwrap());
        assert_eq!(text("mcp-method"), Some("tools/call"));
        assert_eq!(text("mcp-name"), Some("get"));
        assert_eq!(text("mcp-param-city"), Some("=?base64?IFrDvHJpY2g=?="));
        assert_eq!(text("mcp-param-count"), Some("7"));
        assert_eq!(text("mcp-param-list"), None);
        assert_eq!(
            header_value("=?base64?x?=").unwrap(),
            "=?base64?PT9iYXNlNjQ/eD89?="
        );
    }
}
