//! `Type`: what a JSON Schema says of a value, as a person writes it: `int`, `list[str]`, `"a" | "b"`.

use std::fmt;

use serde_json::Value;

use super::sanitize::one_line;

/// How many schemas are looked at for one type: the references of a schema may never end.
const MOST_SCHEMAS: usize = 100;
/// How many members of a union are shown, and how long a value in it may be.
const MOST_SHOWN: usize = 8;
const LONGEST_VALUE: usize = 40;
/// Up to here, every integer is a number of its own as a float: 2^53.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

/// What a value may be (JSON Schema 2020-12), as far as a signature tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
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
    Exactly(Value),
    OneOf(Vec<Self>),
}

impl Type {
    /// The type that `schema` describes; `root` is the document that its `$ref`s point into.
    pub fn read(schema: &Value, root: &Value) -> Self {
        Reader {
            root,
            left: MOST_SCHEMAS,
        }
        .read(schema)
    }

    /// The value that a typed text stands for: the text itself where a text may stand, else what it
    /// says as JSON. `None` if that is not of this type.
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
            Self::Exactly(value) => value == text,
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
            // `3.0` is an integer to JSON Schema. One that is too large would be sent as another.
            Self::Int => {
                let is_exact = |it: f64| it.fract() == 0.0 && it.abs() <= LARGEST_EXACT;
                value.is_i64() || value.is_u64() || value.as_f64().is_some_and(is_exact)
            }
            Self::Number => value.is_number(),
            Self::Str => value.is_string(),
            Self::Object => value.is_object(),
            // What is in it is for the whole schema to judge, which can say where it is wrong.
            Self::List(_) => value.is_array(),
            Self::Exactly(exactly) => value == exactly,
            Self::OneOf(types) => types.iter().any(|it| it.has(value)),
        }
    }

    /// One of these, each told once.
    fn one_of(types: impl IntoIterator<Item = Self>) -> Self {
        let mut told = Vec::new();
        for each in types {
            let members = match each {
                Self::OneOf(members) => members,
                single => vec![single],
            };
            for member in members {
                // More than is shown is not looked at: a server may send any number.
                if told.len() > MOST_SHOWN {
                    break;
                }
                if !told.contains(&member) {
                    told.push(member);
                }
            }
        }
        match told.len() {
            1 => told.remove(0),
            _ if told.is_empty() || told.contains(&Self::Any) => Self::Any,
            _ => Self::OneOf(told),
        }
    }
}

struct Reader<'a> {
    root: &'a Value,
    left: usize,
}

impl Reader<'_> {
    fn read(&mut self, schema: &Value) -> Type {
        let Some(left) = self.left.checked_sub(1) else {
            return Type::Any;
        };
        self.left = left;
        if let Some(reference) = schema["$ref"].as_str() {
            return match reference.strip_prefix('#') {
                Some(pointer) => self
                    .root
                    .pointer(pointer)
                    .map_or(Type::Any, |it| self.read(it)),
                None => Type::Any,
            };
        }
        if let Some(value) = schema.get("const") {
            return Type::Exactly(value.clone());
        }
        if let Some(values) = schema["enum"].as_array() {
            return Type::one_of(values.iter().cloned().map(Type::Exactly));
        }
        match &schema["type"] {
            Value::String(name) => return self.named(name, schema),
            Value::Array(names) => {
                let names = names.iter().filter_map(Value::as_str);
                return Type::one_of(names.map(|name| self.named(name, schema)));
            }
            _ => {}
        }
        if let Some(any) = [&schema["anyOf"], &schema["oneOf"]]
            .into_iter()
            .find_map(Value::as_array)
        {
            return Type::one_of(any.iter().map(|it| self.read(it)));
        }
        if let Some(all) = schema["allOf"].as_array() {
            let mut types = all.iter().map(|it| self.read(it));
            return types.find(|it| *it != Type::Any).unwrap_or(Type::Any);
        }
        match schema.get("properties") {
            Some(_) => Type::Object,
            None => Type::Any,
        }
    }

    fn named(&mut self, name: &str, schema: &Value) -> Type {
        match name {
            "null" => Type::Null,
            "boolean" => Type::Bool,
            "integer" => Type::Int,
            "number" => Type::Number,
            "string" => Type::Str,
            "object" => Type::Object,
            "array" => Type::List(Box::new(self.read(&schema["items"]))),
            _ => Type::Any,
        }
    }
}

impl fmt::Display for Type {
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
            Self::Exactly(value) => f.write_str(&shown(value)),
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

/// A value of a server's on one line, and not a long one.
pub fn shown(value: &Value) -> String {
    let line = one_line(&value.to_string());
    match line.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(schema: &Value) -> Type {
        Type::read(schema, schema)
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
            (json!({"const": "\u{202e}"}), r#""\u{202e}""#),
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
        assert_eq!(read(&tree), Type::Any);
        let list = json!({"type": "array", "items": {"$ref": "#"}});
        assert!(read(&list).to_string().starts_with("list[list["));
        assert_eq!(read(&json!({"$ref": "#"})), Type::Any);
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
