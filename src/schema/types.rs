//! `Type`: what a JSON Schema says of a value, as a person writes it: `int`, `list[str]`, `"a" | "b"`.

use std::collections::HashSet;
use std::fmt;

use serde_json::Value;

use super::resolve::resolve_certain;
use super::{TooLarge, Work};

/// How deep a type is read: lists of lists, alternatives of alternatives.
const DEEPEST: usize = 32;
/// How many members of a union are shown, and how many characters of a value in it.
const MOST_SHOWN: usize = 8;
const LONGEST_VALUE: usize = 40;
/// The largest integer up to which every integer is exact as a float: 2^53.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

/// What a value may be (JSON Schema 2020-12), as far as a signature tells. Shown, it may hold any
/// characters that a server put into an `enum`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Type<'a> {
    /// The schema does not say, or not in a way that has a short name.
    Any,
    Null,
    Bool,
    Int,
    Number,
    Str,
    Object,
    List(Box<Self>),
    /// This value, of an `enum` or a `const`.
    Exactly(&'a Value),
    OneOf(Vec<Self>),
}

impl<'a> Type<'a> {
    /// The type that `schema` describes; `root` is the document that its `$ref`s point into.
    ///
    /// # Errors
    /// [`TooLarge`] if reading it takes more than `work` has left.
    pub fn read(schema: &'a Value, root: &'a Value, work: &mut Work) -> Result<Self, TooLarge> {
        Reader { root, work }.read(schema, 0)
    }

    /// The value that a typed text stands for: the text itself where a string is allowed, else the
    /// text parsed as JSON. `None` if that is not of this type.
    pub fn value(&self, text: &str) -> Option<Value> {
        if self.takes_text(text) {
            return Some(text.into());
        }
        let value: Value = serde_json::from_str(text).ok()?;
        self.has(&value).then_some(value)
    }

    fn takes_text(&self, text: &str) -> bool {
        match self {
            Self::Any | Self::Str => true,
            Self::Exactly(value) => *value == text,
            Self::OneOf(types) => types.iter().any(|it| it.takes_text(text)),
            _ => false,
        }
    }

    /// Whether a value is of this type, as far as the type tells.
    pub fn has(&self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Null => value.is_null(),
            Self::Bool => value.is_boolean(),
            // `3.0` is an integer to JSON Schema. A larger one would be sent as another number.
            Self::Int => {
                let is_exact = |it: f64| it.fract() == 0.0 && it.abs() <= LARGEST_EXACT;
                value.is_i64() || value.is_u64() || value.as_f64().is_some_and(is_exact)
            }
            Self::Number => value.is_number(),
            Self::Str => value.is_string(),
            Self::Object => value.is_object(),
            // The validation of the whole schema checks the elements, and says which one is wrong.
            Self::List(_) => value.is_array(),
            Self::Exactly(exactly) => value == *exactly,
            Self::OneOf(types) => types.iter().any(|it| it.has(value)),
        }
    }

    /// A union of these, each once.
    fn one_of(types: Vec<Self>) -> Self {
        let mut seen = HashSet::new();
        let mut members = Vec::new();
        for each in types {
            let flat = match each {
                Self::OneOf(members) => members,
                single => vec![single],
            };
            members.extend(flat.into_iter().filter(|it| seen.insert(it.clone())));
        }
        match members.len() {
            1 => members.remove(0),
            _ if members.is_empty() || seen.contains(&Self::Any) => Self::Any,
            _ => Self::OneOf(members),
        }
    }
}

struct Reader<'a, 'w> {
    root: &'a Value,
    work: &'w mut Work,
}

impl<'a> Reader<'a, '_> {
    fn read(&mut self, schema: &'a Value, depth: usize) -> Result<Type<'a>, TooLarge> {
        if depth == DEEPEST {
            return Ok(Type::Any);
        }
        let certain = resolve_certain(schema, self.root, self.work)?;
        if let Some(value) = certain.get("const") {
            return Ok(Type::Exactly(value));
        }
        if let Some(values) = certain.get("enum").and_then(Value::as_array) {
            self.work.spend(values.len() as u64)?;
            return Ok(Type::one_of(values.iter().map(Type::Exactly).collect()));
        }
        let items = certain.get("items");
        match certain.get("type") {
            Some(Value::String(name)) => return self.named(name, items, depth),
            Some(Value::Array(names)) => {
                let names = names.iter().filter_map(Value::as_str);
                let types: Result<_, _> =
                    names.map(|name| self.named(name, items, depth)).collect();
                return types.map(Type::one_of);
            }
            _ => {}
        }
        let mut keywords = ["anyOf", "oneOf"].into_iter();
        let alternatives = keywords.find_map(|it| certain.get(it)?.as_array());
        if let Some(alternatives) = alternatives {
            let read = |it: &'a Value| self.read(it, depth + 1);
            let types: Result<_, _> = alternatives.iter().map(read).collect();
            return types.map(Type::one_of);
        }
        Ok(match certain.get("properties") {
            Some(_) => Type::Object,
            None => Type::Any,
        })
    }

    fn named(
        &mut self,
        name: &str,
        items: Option<&'a Value>,
        depth: usize,
    ) -> Result<Type<'a>, TooLarge> {
        Ok(match name {
            "null" => Type::Null,
            "boolean" => Type::Bool,
            "integer" => Type::Int,
            "number" => Type::Number,
            "string" => Type::Str,
            "object" => Type::Object,
            "array" => {
                let items = items.map_or(Ok(Type::Any), |it| self.read(it, depth + 1))?;
                Type::List(Box::new(items))
            }
            _ => Type::Any,
        })
    }
}

impl fmt::Display for Type<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Number => f.write_str("number"),
            Self::Str => f.write_str("str"),
            Self::Object => f.write_str("object"),
            Self::List(items) if **items == Self::Any => f.write_str("list"),
            Self::List(items) => write!(f, "list[{items}]"),
            Self::Exactly(value) => f.write_str(&shortened(value)),
            Self::OneOf(types) => {
                for (index, each) in types.iter().take(MOST_SHOWN).enumerate() {
                    let bar = if index > 0 { " | " } else { "" };
                    write!(f, "{bar}{each}")?;
                }
                let rest = if types.len() > MOST_SHOWN {
                    " | ..."
                } else {
                    ""
                };
                f.write_str(rest)
            }
        }
    }
}

/// A value as JSON, cut where it is long.
pub fn shortened(value: &Value) -> String {
    let line = value.to_string();
    match line.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(schema: &Value) -> Type<'_> {
        Type::read(schema, schema, &mut Work::of_schema()).unwrap()
    }

    #[test]
    fn a_schema_is_told_in_a_word_or_two() {
        for (schema, name) in [
            (json!({"type": "integer"}), "int"),
            (json!({"type": "string"}), "str"),
            (json!({"type": "number", "minimum": 0}), "number"),
            (
                json!({"type": "array", "items": {"type": "integer"}}),
                "list[int]",
            ),
            (json!({"type": "array"}), "list"),
            (json!({"type": "object", "properties": {"a": {}}}), "object"),
            (json!({"enum": ["a", "b", 3]}), r#""a" | "b" | 3"#),
            (json!({"const": "a", "type": "string"}), r#""a""#),
            (json!({"type": ["integer", "null"]}), "int | null"),
            (
                json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}),
                "int | null",
            ),
            (
                json!({"oneOf": [{"enum": ["a"]}, {"enum": ["a", "b"]}]}),
                r#""a" | "b""#,
            ),
            (
                json!({"$ref": "#/$defs/d", "$defs": {"d": {"type": "boolean"}}}),
                "bool",
            ),
            (
                json!({"allOf": [{"minimum": 1}, {"type": "integer"}]}),
                "int",
            ),
            (
                json!({"enum": [1, 2, 3, 4, 5, 6, 7, 8, 9]}),
                "1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | ...",
            ),
            (json!({"const": "\u{1b}[2J\n"}), r#""\u001b[2J\n""#),
            (json!({"type": "integre"}), "any"),
            (json!({"$ref": "https://a.example/schema"}), "any"),
            (json!(true), "any"),
            (json!(null), "any"),
        ] {
            assert_eq!(read(&schema).to_string(), name, "{schema}");
        }
    }

    #[test]
    fn references_without_an_end_have_one() {
        let tree = json!({"anyOf": [{"$ref": "#"}, {"type": "array", "items": {"$ref": "#"}}]});
        let type_of_tree = Type::read(&tree, &tree, &mut Work::of_schema());
        assert_eq!(type_of_tree, Err(TooLarge));
        let list = json!({"type": "array", "items": {"$ref": "#"}});
        assert!(read(&list).to_string().starts_with("list[list["));
        assert_eq!(read(&json!({"$ref": "#"})), Type::Any);
    }

    #[test]
    fn an_enum_takes_each_of_its_values_though_few_are_shown() {
        let values: Vec<String> = (0..1000).map(|it| format!("v{it}")).collect();
        let schema = json!({"enum": values});
        assert_eq!(read(&schema).value("v999"), Some(json!("v999")));
        assert_eq!(read(&schema).value("v1000"), None);
        assert!(read(&schema).to_string().len() < 100);
    }

    #[test]
    fn a_text_is_read_as_what_the_schema_says() {
        let optional = json!({"anyOf": [{"type": "integer"}, {"type": "null"}]});
        for (schema, text, value) in [
            (json!({}), "5", Some(json!("5"))),
            (json!({"type": "string"}), "5", Some(json!("5"))),
            (
                json!({"type": ["integer", "string"]}),
                "5",
                Some(json!("5")),
            ),
            (json!({"type": "integer"}), "5", Some(json!(5))),
            (json!({"type": "integer"}), "5.5", None),
            (json!({"type": "integer"}), "five", None),
            (json!({"type": "integer"}), "3.0", Some(json!(3.0))),
            (
                json!({"type": "integer"}),
                "18446744073709551615",
                Some(json!(u64::MAX)),
            ),
            (json!({"type": "integer"}), "18446744073709551616", None),
            (json!({"type": "number"}), "-1e3", Some(json!(-1000.0))),
            (json!({"type": "boolean"}), "true", Some(json!(true))),
            (json!({"type": "boolean"}), "yes", None),
            (json!({"type": "array"}), "[1, 2]", Some(json!([1, 2]))),
            (json!({"type": "array"}), "1,2", None),
            (
                json!({"type": "object"}),
                r#"{"a": 1}"#,
                Some(json!({"a": 1})),
            ),
            (json!({"enum": ["1", 2]}), "1", Some(json!("1"))),
            (json!({"enum": ["1", 2]}), "2", Some(json!(2))),
            (json!({"enum": ["1", 2]}), "3", None),
            (optional.clone(), "null", Some(json!(null))),
            (optional, "7", Some(json!(7))),
        ] {
            assert_eq!(read(&schema).value(text), value, "{schema} {text}");
        }
    }
}
