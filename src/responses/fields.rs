//! `Fields`: a JSON object as its text, with the places of its fields. A value is parsed when somebody asks
//! for it, and an object that is passed on is not parsed at all.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// A JSON object.
#[derive(Clone)]
pub struct Fields {
    text: String,
    fields: Vec<Field>,
}

#[derive(Clone)]
struct Field {
    /// Without its quotes. It has no escapes.
    name: Range<usize>,
    value: Json,
}

#[derive(Clone)]
enum Json {
    /// As it came.
    Read(Range<usize>),
    Set(Box<str>),
}

impl Fields {
    /// Reads the text of an object.
    ///
    /// # Errors
    /// The text, if it is not JSON, or not an object.
    pub fn read(text: String) -> Result<Self, String> {
        let places = match serde_json::from_str(&text) {
            Ok(Found(Some(places))) => places,
            // A name has escapes: it is compared as what it stands for.
            Ok(Found(None)) => {
                let object = serde_json::from_str::<Map<String, Value>>(&text);
                return object.map(|it| Self::from(&it)).map_err(|_| text);
            }
            Err(_) => return Err(text),
        };
        let start = text.as_ptr().addr();
        let range = |part: &str| {
            let from = part.as_ptr().addr() - start;
            from..from + part.len()
        };
        let fields = places.into_iter().map(|(name, value)| Field {
            name: range(name),
            value: Json::Read(range(value.get())),
        });
        Ok(Self {
            fields: fields.collect(),
            text,
        })
    }

    /// The JSON of a field; the last one if there are several of the name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let text = self.text.as_bytes();
        let mut fields = self.fields.iter().rev();
        let field = fields.find(|it| &text[it.name.clone()] == name.as_bytes())?;
        Some(self.json(field))
    }

    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether the field is an object.
    pub fn is_object(&self, name: &str) -> bool {
        self.get(name).is_some_and(|json| json.starts_with('{'))
    }

    /// The text of a field that is a string.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        let json = self.get(name)?;
        match plain(json) {
            Some(text) => Some(Cow::Borrowed(text)),
            None => serde_json::from_str(json).ok().map(Cow::Owned),
        }
    }

    /// The same for a string that stands there without escapes, as names do.
    pub fn plain_text(&self, name: &str) -> Option<&str> {
        plain(self.get(name)?)
    }

    /// The value of a field that is a natural number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// The value of a field.
    ///
    /// # Errors
    /// It is missing, or not of this type.
    pub fn parse<T: DeserializeOwned>(&self, name: &str) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.get(name).unwrap_or("null"))
    }

    /// Sets a field, in its place if it is there, behind the others otherwise.
    pub fn set(&mut self, name: &str, value: &impl Serialize) {
        let Ok(json) = serde_json::to_string(value) else {
            unreachable!("numbers and texts are JSON");
        };
        let json = Json::Set(json.into());
        let mut fields = self.fields.iter_mut().rev();
        let text = &self.text;
        match fields.find(|it| &text[it.name.clone()] == name) {
            Some(field) => field.value = json,
            None => {
                let start = self.text.len();
                self.text.push_str(name);
                self.fields.push(Field {
                    name: start..self.text.len(),
                    value: json,
                });
            }
        }
    }

    /// The object as one line of JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(self.text.len() + 64);
        for field in &self.fields {
            json.extend_from_slice(if json.is_empty() { b"{\"" } else { b",\"" });
            json.extend_from_slice(self.text[field.name.clone()].as_bytes());
            json.extend_from_slice(b"\":");
            json.extend_from_slice(self.json(field).as_bytes());
        }
        // Line ends can stand between values only.
        let mut from = 0;
        while let Some(place) = memchr::memchr2(b'\n', b'\r', &json[from..]) {
            from += place;
            json[from] = b' ';
        }
        json.extend_from_slice(if json.is_empty() { b"{}" } else { b"}" });
        json
    }

    /// The object with all its values.
    ///
    /// # Errors
    /// A value is nested too deeply, or has a text that is not Unicode.
    pub fn to_map(&self) -> Result<Map<String, Value>, serde_json::Error> {
        serde_json::from_slice(&self.to_json())
    }

    fn json<'a>(&'a self, field: &'a Field) -> &'a str {
        match &field.value {
            Json::Read(range) => &self.text[range.clone()],
            Json::Set(json) => json,
        }
    }
}

impl From<&Map<String, Value>> for Fields {
    fn from(object: &Map<String, Value>) -> Self {
        let mut text = String::new();
        let fields = object.iter().map(|(name, value)| {
            let start = text.len();
            // As it stands in JSON, without its quotes.
            let quoted = Value::from(name.as_str()).to_string();
            text.push_str(&quoted[1..quoted.len() - 1]);
            Field {
                name: start..text.len(),
                value: Json::Set(value.to_string().into()),
            }
        });
        let fields = fields.collect();
        Self { text, fields }
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_json()))
    }
}

/// The text of a JSON string without escapes.
fn plain(json: &str) -> Option<&str> {
    let text = json.strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains('\\')).then_some(text)
}

/// The names and values of an object; `None` if a name has escapes.
struct Found<'a>(Option<Vec<(&'a str, &'a RawValue)>>);

impl<'de: 'a, 'a> Deserialize<'de> for Found<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Found<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut found = Some(Vec::with_capacity(8));
                while let Some((Name(name), value)) = map.next_entry()? {
                    match (name, &mut found) {
                        (Cow::Borrowed(name), Some(found)) => found.push((name, value)),
                        _ => found = None,
                    }
                }
                Ok(Found(found))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// A name, borrowed if it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::read(text.to_owned()).unwrap()
    }

    fn written(fields: &Fields) -> String {
        String::from_utf8(fields.to_json()).unwrap()
    }

    #[test]
    fn an_object_is_written_as_it_came_and_on_one_line() {
        for (text, line) in [
            ("{}", "{}"),
            (" { } ", "{}"),
            (
                r#"{"a":1.0,"b":{"c": [ 1 ]}}"#,
                r#"{"a":1.0,"b":{"c": [ 1 ]}}"#,
            ),
            (
                "{ \"a\" : [\r\n1,\n2] , \"b\":\"\\n\"}",
                "{\"a\":[  1, 2],\"b\":\"\\n\"}",
            ),
            (r#"{"a":1,"a":2}"#, r#"{"a":1,"a":2}"#),
            (r#"{"\u0061":"\u0062","\"":1}"#, r#"{"a":"b","\"":1}"#),
        ] {
            assert_eq!(written(&fields(text)), line);
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(Value::Object(fields(text).to_map().unwrap()), value);
        }
        for text in [
            "",
            "null",
            "[]",
            "{\"a\":}",
            "{\"a\":1",
            "{\"a\":\"\n\"}",
            "{} {}",
        ] {
            assert!(Fields::read(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_field_is_found_parsed_and_set() {
        let text = r#"{"type":"a.b","n":7,"text":"x\ty","o":{},"n":8,"s":"\ud800"}"#;
        let mut read = fields(text);
        assert_eq!(read.plain_text("type"), Some("a.b"));
        assert_eq!(read.number("n"), Some(8));
        assert_eq!(read.text("text").as_deref(), Some("x\ty"));
        assert_eq!(read.plain_text("text"), None);
        assert!(read.is_object("o") && !read.is_object("n") && !read.contains("x"));
        assert_eq!(read.text("s"), None);
        assert!(read.to_map().is_err());
        assert_eq!(read.parse::<Value>("o").unwrap(), json!({}));
        assert!(read.parse::<String>("n").is_err());
        read.set("type", &"c");
        read.set("new", &1);
        read.set("new", &2);
        assert_eq!(
            written(&read),
            r#"{"type":"c","n":7,"text":"x\ty","o":{},"n":8,"s":"\ud800","new":2}"#
        );
    }
}
