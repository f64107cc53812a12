//! The arguments of a tool: as they are typed, as JSON, and validated against its `inputSchema`.

use std::cell::LazyCell;

use serde_json::Value;

use crate::error::Error;
use crate::mcp::JsonObject;
use crate::schema::{self, Checked, Type, Violation, Work};

/// How like a name another one must be to be meant, from 0 to 1, and how long it may be.
const LEAST_LIKENESS: f64 = 0.8;
const LONGEST_NAME: usize = 200;

/// Arguments as they were typed.
#[derive(Debug, Default)]
pub struct Arguments {
    /// Those of `--input-json`.
    base: JsonObject,
    typed: Vec<(String, Typed)>,
}

#[derive(Debug)]
enum Typed {
    /// `key=value`, which means what the schema says.
    Text(String),
    /// `key:=json`.
    Json(Value),
}

impl Arguments {
    /// Reads `key=value` and `key:=json`, which are added to `base` or take the place of what is
    /// there.
    pub fn read(pairs: &[String], base: JsonObject) -> Result<Self, Error> {
        let mut typed: Vec<(String, Typed)> = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let (key, value) = pair.split_once('=').ok_or_else(|| not_an_argument(pair))?;
            let (key, value) = match key.strip_suffix(':') {
                None => (key, Typed::Text(value.to_owned())),
                Some(key) => match serde_json::from_str(value) {
                    Ok(json) => (key, Typed::Json(json)),
                    Err(error) => {
                        return Err(wrong(key, "is not JSON")
                            .with_source(error)
                            .with_hint("a string needs quotes: 'key:=\"text\"', or key=text"));
                    }
                },
            };
            if typed.iter().any(|(known, _)| known == key) {
                return Err(wrong(key, "is given twice").with_hint("write a list as 'key:=[1, 2]'"));
            }
            typed.push((key.to_owned(), value));
        }
        Ok(Self { base, typed })
    }

    /// The arguments as JSON, whether they fit `input_schema` or not: a text that does not stays a text.
    pub fn to_json_unchecked(&self, input_schema: &JsonObject) -> JsonObject {
        let root = Value::Object(input_schema.clone());
        let mut arguments = self.base.clone();
        for (key, typed) in &self.typed {
            let place = Place::of(key, &root);
            let value = match typed {
                Typed::Json(value) => value.clone(),
                Typed::Text(text) => {
                    let value = place.expected(&root).value(text);
                    value.unwrap_or_else(|| text.as_str().into())
                }
            };
            // What is in the way of a path is replaced.
            place.put_over(value, &mut arguments);
        }
        arguments
    }

    /// The arguments as JSON. `to.street` is a property of the object `to`. A text becomes what `input_schema` takes there, and stays a text where
    /// that says nothing of it.
    pub fn to_json(&self, input_schema: &JsonObject) -> Result<JsonObject, Error> {
        let root = LazyCell::new(|| Value::Object(input_schema.clone()));
        let mut arguments = self.base.clone();
        for (key, typed) in &self.typed {
            let place = LazyCell::new(|| Place::of(key, &root));
            let value = match typed {
                Typed::Json(value) => value.clone(),
                Typed::Text(text) => {
                    let expected = place.expected(&root);
                    let value = expected.value(text);
                    value.ok_or_else(|| wrong(key, &format!("must be {expected}")))?
                }
            };
            if !key.contains('.') {
                arguments.insert(key.clone(), value);
            } else if !place.put(value, &mut arguments) {
                return Err(wrong(key, "leads into what is no object"));
            }
        }
        Ok(arguments)
    }
}

/// Where an argument goes: behind the names of objects, each within the one before.
struct Place<'a> {
    objects: Vec<&'a str>,
    name: &'a str,
    schema: &'a Value,
}

impl<'a> Place<'a> {
    /// The place of `key`. A dot leads into an object, unless a property has it in its name.
    fn of(key: &'a str, root: &'a Value) -> Self {
        let mut objects = Vec::new();
        let (mut name, mut object) = (key, root);
        while let Some((first, rest)) = name.split_once('.') {
            let property = resolved(&object["properties"][first], root);
            if object["properties"].get(name).is_some() || !property["properties"].is_object() {
                break;
            }
            objects.push(first);
            (name, object) = (rest, property);
        }
        Self {
            objects,
            name,
            schema: &object["properties"][name],
        }
    }

    /// The type there; any, where its schema is too large to tell.
    fn expected(&self, root: &'a Value) -> Type<'a> {
        Type::read(self.schema, root, &mut Work::of_schema()).unwrap_or(Type::Any)
    }

    /// Puts a value there. Returns whether only objects led there.
    fn put(&self, value: Value, arguments: &mut JsonObject) -> bool {
        let mut object = arguments;
        for name in &self.objects {
            let next = object
                .entry(*name)
                .or_insert_with(|| JsonObject::new().into());
            let Value::Object(next) = next else {
                return false;
            };
            object = next;
        }
        object.insert(self.name.to_owned(), value);
        true
    }

    fn put_over(&self, value: Value, arguments: &mut JsonObject) {
        if !self.put(value.clone(), arguments)
            && let Some(first) = self.objects.first()
        {
            arguments.remove(*first);
            self.put(value, arguments);
        }
    }
}

/// The schema that a `$ref` within the document leads to, or the schema itself.
fn resolved<'a>(mut schema: &'a Value, root: &'a Value) -> &'a Value {
    const MOST_HOPS: usize = 8;
    for _ in 0..MOST_HOPS {
        let pointer = schema["$ref"].as_str().and_then(|it| it.strip_prefix('#'));
        match pointer.and_then(|it| root.pointer(it)) {
            Some(target) => schema = target,
            None => break,
        }
    }
    schema
}

/// Validates arguments against the `inputSchema` of their tool (MCP 2026-07-28, tools). Returns
/// notes on what may be sent all the same: names that the schema does not have, and a schema that
/// cannot be used.
///
/// # Errors
/// What is wrong with the arguments.
pub async fn check(
    arguments: &JsonObject,
    input_schema: &JsonObject,
) -> Result<Vec<String>, Error> {
    // A schema that is too large is not copied.
    let root = || Value::Object(input_schema.clone());
    match schema::validate(arguments.clone(), input_schema).await {
        Checked::Fits => Ok(unknown(arguments, &root())),
        Checked::NotChecked(why) => Ok(vec![format!(
            "the arguments are not checked against the tool's inputSchema: {why}"
        )]),
        Checked::Violates(violation) => Err(explain(violation, arguments, &root())),
    }
}

/// The one of `names` that was probably meant by `name`.
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    if name.len() > LONGEST_NAME {
        return None;
    }
    let names = names.into_iter().filter(|it| it.len() <= LONGEST_NAME);
    let likeness = names.map(|it| (strsim::jaro_winkler(name, it), it));
    let (_, nearest) = likeness
        .filter(|(likeness, it)| *likeness >= LEAST_LIKENESS && *it != name)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    Some(nearest.to_owned())
}

fn not_an_argument(pair: &str) -> Error {
    Error::usage(format!("{pair:?} is not a KEY=VALUE argument"))
        .with_hint("write key=value, or key:=json")
}

/// What is wrong with the argument `key`.
fn wrong(key: &str, problem: &str) -> Error {
    Error::usage(format!("argument `{key}` {problem}"))
}

/// The hint that another name may have been meant.
pub fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

fn explain(violation: Violation, arguments: &JsonObject, root: &Value) -> Error {
    match violation {
        Violation::Unknown { key } => {
            let left = known(root).filter(|it| !arguments.contains_key(*it));
            let nearest = nearest(&key, left);
            let hint = nearest.as_deref().map(did_you_mean);
            wrong(&key, "is not an argument of the tool").with_hint_if(hint)
        }
        Violation::Missing { key } => {
            let given = arguments.keys().map(String::as_str);
            let strangers = given.filter(|it| !known(root).any(|known| known == *it));
            let problem = format!("is missing: it must be {}", expected(&key, root));
            let hint = nearest(&key, strangers).map(|it| format!("`{it}` was given instead"));
            wrong(&key, &problem).with_hint_if(hint)
        }
        Violation::Unfit { path, message } if path.is_empty() => {
            Error::usage(format!("the arguments do not fit the tool: {message}"))
        }
        Violation::Unfit { path, message } => {
            let expected = expected(&path, root);
            match arguments.get(&path) {
                Some(value) if !expected.has(value) => wrong(&path, &format!("must be {expected}")),
                _ => wrong(&path, &format!("does not fit: {message}")),
            }
        }
    }
}

fn unknown(arguments: &JsonObject, root: &Value) -> Vec<String> {
    // Of a tool that names no parameters, nobody knows what it takes.
    let strangers = arguments.keys().filter(|key| {
        let mut known = known(root).peekable();
        known.peek().is_some() && !known.any(|it| it == *key)
    });
    strangers
        .map(|key| match nearest(key, known(root)) {
            Some(nearest) => format!("the tool does not name `{key}`; did you mean `{nearest}`?"),
            None => format!("the tool does not name `{key}`"),
        })
        .collect()
}

fn known(root: &Value) -> impl Iterator<Item = &str> {
    let properties = root["properties"].as_object();
    properties
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
}

/// The type of a property; any, where its schema is too large to tell.
fn expected<'a>(key: &str, root: &'a Value) -> Type<'a> {
    let schema = &root["properties"][key];
    Type::read(schema, root, &mut Work::of_schema()).unwrap_or(Type::Any)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> JsonObject {
        serde_json::from_value(value).unwrap()
    }

    fn read(pairs: &[&str]) -> Result<Arguments, Error> {
        let pairs: Vec<String> = pairs.iter().map(|&it| it.to_owned()).collect();
        Arguments::read(&pairs, object(json!({"n": 1, "base": true})))
    }

    fn checked(arguments: &JsonObject, schema: &JsonObject) -> Result<Vec<String>, Error> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().unwrap();
        runtime.block_on(check(arguments, schema))
    }

    /// What the arguments, or the complaint about them, are for this schema.
    fn told(pairs: &[&str], schema: &Value) -> String {
        let schema = object(schema.clone());
        let checked = read(pairs).and_then(|it| {
            let arguments = it.to_json(&schema)?;
            checked(&arguments, &schema).map(|notes| (arguments, notes))
        });
        match checked {
            Ok((arguments, notes)) => {
                let arguments = Value::Object(arguments).to_string();
                [vec![arguments], notes].concat().join("; ")
            }
            Err(error) => {
                let hint = error.hint();
                let hint = hint.map_or(String::new(), |it| format!("; {it}"));
                format!("{error}{hint}")
            }
        }
    }

    #[test]
    fn a_dot_leads_into_an_object_of_the_schema() {
        let schema = object(json!({"properties": {
            "to": {"$ref": "#/$defs/address"},
            "a.b": {"type": "integer"},
            "text": {"type": "string"},
        }, "$defs": {"address": {"properties": {
            "street": {"type": "string"},
            "number": {"type": "integer"},
            "city": {"type": "object", "properties": {"zip": {"type": "string"}}},
        }}}}));
        let json = |pairs: &[&str]| read(pairs).unwrap().to_json(&schema);
        assert_eq!(
            Value::Object(
                json(&[
                    "to.street=1",
                    "to.number=2",
                    "to.city.zip=3",
                    "a.b=4",
                    "text.x=5"
                ])
                .unwrap()
            ),
            json!({"n": 1, "base": true, "to": {"street": "1", "number": 2, "city": {"zip": "3"}},
                "a.b": 4, "text.x": "5"})
        );
        let error = json(&["to.number=two"]).unwrap_err().to_string();
        assert!(
            error.contains("argument `to.number` must be int"),
            "{error}"
        );
        let error = json(&["to:=7", "to.number=2"]).unwrap_err().to_string();
        assert!(error.contains("no object"), "{error}");
        let unchecked = read(&["to:=7", "to.number=two"]).unwrap();
        assert_eq!(
            Value::Object(unchecked.to_json_unchecked(&schema)),
            json!({"n": 1, "base": true, "to": {"number": "two"}})
        );
    }

    #[test]
    fn a_text_is_what_the_schema_says_and_json_is_json() {
        for (pairs, arguments) in [
            (&["n=3"][..], json!({"n": 3, "base": true})),
            (&["s=3", "n:=4"], json!({"n": 4, "base": true, "s": "3"})),
            (&["s=a=b:=c"], json!({"n": 1, "base": true, "s": "a=b:=c"})),
            (
                &["s=", "x=5"],
                json!({"n": 1, "base": true, "s": "", "x": "5"}),
            ),
            (
                &["l:=[1]", "=x"],
                json!({"n": 1, "base": true, "l": [1], "": "x"}),
            ),
        ] {
            let schema = json!({"properties": {"n": {"type": "integer"}, "s": {"type": "string"}}});
            let read = read(pairs).unwrap().to_json(&object(schema)).unwrap();
            assert_eq!(Value::Object(read), arguments, "{pairs:?}");
        }
        let without_schema = read(&["a=5"]).unwrap().to_json(&JsonObject::new());
        assert_eq!(without_schema.unwrap()["a"], "5");
    }

    #[test]
    fn what_does_not_fit_is_named_with_what_is_wanted() {
        let strict = json!({"type": "object", "additionalProperties": false, "required": ["n_dice"],
            "properties": {"n_dice": {"type": "integer", "minimum": 1}, "n": {}, "base": {},
                "kind": {"enum": ["fair", "loaded"]},
                "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                "colours": {"type": "array", "items": {"type": "string"}}}});
        let mut open = strict.clone();
        open["additionalProperties"] = json!(true);
        for (pairs, schema, complaint) in [
            (
                &["n_dice=three"][..],
                &strict,
                "argument `n_dice` must be int",
            ),
            (
                &["n_dice=0"],
                &strict,
                "argument `n_dice` does not fit: must be >=1, but got 0",
            ),
            (
                &["n_dice=1", "kind=fine"],
                &strict,
                r#"argument `kind` must be "fair" | "loaded""#,
            ),
            (
                &["n_dice=1", r#"seed:="x""#],
                &strict,
                "argument `seed` must be int | null",
            ),
            (
                &["n_dice=1", "colours:=[\"a\", 1]"],
                &strict,
                "argument `colours.1` does not fit: want string, but got number",
            ),
            (
                &["ndice=3"],
                &strict,
                "argument `ndice` is not an argument of the tool; did you mean `n_dice`?",
            ),
            (
                &["ndice=3"],
                &open,
                "argument `n_dice` is missing: it must be int; `ndice` was given instead",
            ),
            (&[], &open, "argument `n_dice` is missing: it must be int"),
            (
                &["n_dice=3", "sed=1"],
                &open,
                r#"{"n":1,"base":true,"n_dice":3,"sed":"1"}; the tool does not name `sed`; did you mean `seed`?"#,
            ),
            (
                &["three"],
                &open,
                r#""three" is not a KEY=VALUE argument; write key=value, or key:=json"#,
            ),
            (
                &["a=1", "a:=2"],
                &open,
                "argument `a` is given twice; write a list as 'key:=[1, 2]'",
            ),
            (
                &["a:=x"],
                &open,
                "argument `a` is not JSON; a string needs quotes: 'key:=\"text\"', or key=text",
            ),
        ] {
            assert_eq!(told(pairs, schema), complaint, "{pairs:?}");
        }
    }

    #[test]
    fn a_schema_that_cannot_be_used_is_a_note_and_nothing_is_fetched() {
        for (schema, why) in [
            (json!({"type": "objekt"}), "is not valid against metaschema"),
            (
                json!({"$ref": "file:///etc/hostname"}),
                "error loading file:///etc/hostname",
            ),
            (
                json!({"$ref": "http://127.0.0.1:9/x"}),
                "error loading http://127.0.0.1:9/x",
            ),
            (
                json!({"$schema": "https://a.example/draft"}),
                "error loading https://a.example/draft",
            ),
            (json!({"$ref": "#"}), "a reference leads back to itself"),
            (json!({"$ref": "#/$defs/none"}), "json-pointer"),
        ] {
            let told = told(&["a=1"], &schema);
            let note = "the arguments are not checked against the tool's inputSchema: ";
            assert!(told.contains(note) && told.contains(why), "{told}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_refused_that_fits_the_schema(n in -3i64..3, text in "[a-c]{0,3}", list in proptest::collection::vec(0..3, 0..4)) {
            let schema = json!({"type": "object", "required": ["n"], "properties": {
                "n": {"type": "integer", "minimum": -1}, "text": {"$ref": "#/$defs/text"},
                "list": {"type": "array", "uniqueItems": true, "items": {"oneOf": [{"const": 0}, {"type": "integer", "maximum": 1}]}}},
                "$defs": {"text": {"type": "string", "minLength": 1, "pattern": "^a"}}});
            let arguments = json!({"n": n, "text": text, "list": list});
            // 0 matches both forms of an item, and so not exactly one.
            let is_fit = n >= -1 && text.starts_with('a') && (list.is_empty() || list == [1]);
            let checked = checked(&object(arguments), &object(schema));
            proptest::prop_assert_eq!(checked.is_ok(), is_fit);
        }
    }
}
