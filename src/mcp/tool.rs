//! `Tool` and `CallResult`: what a server lists and answers, with every field that it sent.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::Error;
use super::fault::Fault;

/// A JSON object with its fields in the order in which they came.
pub type JsonObject = Map<String, Value>;

/// A tool as its server describes it (MCP 2026-07-28, Tool). It serializes as it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "JsonObject")]
pub struct Tool(JsonObject);

/// What a field of a tool has to be.
type Check = (&'static str, fn(&Value) -> bool, &'static str);

impl TryFrom<JsonObject> for Tool {
    type Error = Fault;

    /// Checks the fields that this program reads; the error names the tool and the field.
    fn try_from(fields: JsonObject) -> Result<Self, Fault> {
        const OPTIONAL: [Check; 5] = [
            ("title", Value::is_string, "a string"),
            ("description", Value::is_string, "a string"),
            ("outputSchema", Value::is_object, "an object"),
            ("annotations", Value::is_object, "an object"),
            ("_meta", Value::is_object, "an object"),
        ];
        const REQUIRED: [Check; 2] = [
            ("name", Value::is_string, "a string"),
            ("inputSchema", Value::is_object, "an object"),
        ];
        let refused = |field: &str, wanted: &str| {
            let name = fields.get("name").and_then(Value::as_str);
            let name: String = name.unwrap_or_default().chars().take(80).collect();
            let is = match fields.contains_key(field.split('.').next().unwrap_or_default()) {
                true => format!("not {wanted}"),
                false => "missing".to_owned(),
            };
            Fault::NotMcp(format!("{name:?}: `{field}` is {is}"))
        };
        for (field, is_right, wanted) in REQUIRED {
            if !fields.get(field).is_some_and(is_right) {
                return Err(refused(field, wanted));
            }
        }
        for (field, is_right, wanted) in OPTIONAL {
            if fields
                .get(field)
                .is_some_and(|it| !it.is_null() && !is_right(it))
            {
                return Err(refused(field, wanted));
            }
        }
        for hint in ["readOnlyHint", "destructiveHint"] {
            let value = fields.get("annotations").and_then(|it| it.get(hint));
            if value.is_some_and(|it| !it.is_null() && !it.is_boolean()) {
                return Err(refused(&format!("annotations.{hint}"), "a boolean"));
            }
        }
        Ok(Self(fields))
    }
}

impl Tool {
    pub fn name(&self) -> &str {
        self.text("name").unwrap_or_default()
    }

    /// A field, as it came.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field)
    }

    pub fn title(&self) -> Option<&str> {
        self.text("title")
    }

    pub fn description(&self) -> Option<&str> {
        self.text("description")
    }

    /// The JSON Schema of its arguments.
    pub fn input_schema(&self) -> &JsonObject {
        static EMPTY: LazyLock<JsonObject> = LazyLock::new(JsonObject::new);
        let schema = self.0.get("inputSchema").and_then(Value::as_object);
        // No tool is made without one.
        schema.unwrap_or(&EMPTY)
    }

    /// A hint of its annotations, such as `readOnlyHint`.
    pub fn hint(&self, name: &str) -> Option<bool> {
        self.0.get("annotations")?.get(name)?.as_bool()
    }

    /// Whether it can only be called as a task (MCP 2025-11-25, tasks).
    pub fn requires_task(&self) -> bool {
        let execution = self.0.get("execution");
        execution.is_some_and(|it| it["taskSupport"] == "required")
    }

    /// A field of its `_meta`.
    pub fn meta(&self, name: &str) -> Option<&Value> {
        self.0.get("_meta")?.get(name)
    }

    /// Its name, its description and its schema, taken out of it.
    pub fn into_parts(mut self) -> (String, Option<String>, Value) {
        let mut take = |field| self.0.get_mut(field).map(Value::take);
        let text = |value| match value {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let name = text(take("name")).unwrap_or_default();
        let schema = take("inputSchema").unwrap_or_default();
        (name, text(take("description")), schema)
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_str()
    }
}

/// The result of a call (MCP 2026-07-28, CallToolResult). It serializes as it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "JsonObject")]
pub struct CallResult(JsonObject);

impl TryFrom<JsonObject> for CallResult {
    type Error = Fault;

    fn try_from(fields: JsonObject) -> Result<Self, Fault> {
        let is_result = ["content", "structuredContent", "isError"];
        if !is_result.iter().any(|field| fields.contains_key(*field)) {
            let why = "expected a result with `content` or `structuredContent`";
            return Err(Fault::NotMcp(why.to_owned()));
        }
        let blocks = match fields.get("content") {
            None | Some(Value::Null) => &[][..],
            Some(Value::Array(blocks)) => blocks,
            Some(_) => return Err(Fault::NotMcp("its `content` is not a list".to_owned())),
        };
        if let Some(why) = blocks.iter().find_map(misshapen) {
            return Err(Fault::NotMcp(why.to_owned()));
        }
        if fields
            .get("isError")
            .is_some_and(|it| !it.is_null() && !it.is_boolean())
        {
            return Err(Fault::NotMcp("its `isError` is not a boolean".to_owned()));
        }
        Ok(Self(fields))
    }
}

impl CallResult {
    /// Its blocks: text, images, audio, resources, and kinds that this program does not know.
    pub fn content(&self) -> &[Value] {
        let content = self.0.get("content").and_then(Value::as_array);
        content.map_or(&[], Vec::as_slice)
    }

    /// Whether all blocks are of types that MCP defines. OpenAI fails a call with any other.
    ///
    /// # Errors
    /// [`Error::NotMcp`] with the type of the first other block.
    pub fn require_known_types(&self) -> Result<(), Error> {
        let known = ["text", "image", "audio", "resource", "resource_link"];
        let mut types = self.content().iter().filter_map(|it| it["type"].as_str());
        match types.find(|it| !known.contains(it)) {
            None => Ok(()),
            Some(other) => {
                let other: String = other.chars().take(80).collect();
                let why = format!(
                    "a block of its `content` has type {other:?}, which MCP does not define"
                );
                Err(Error::NotMcp(why))
            }
        }
    }

    /// The blocks, taken out of it.
    pub fn take_content(&mut self) -> Vec<Value> {
        match self.0.get_mut("content").map(Value::take) {
            Some(Value::Array(blocks)) => blocks,
            _ => Vec::new(),
        }
    }

    pub fn structured_content(&self) -> Option<&Value> {
        self.0.get("structuredContent")
    }

    /// Whether the tool failed.
    pub fn is_error(&self) -> bool {
        self.0.get("isError") == Some(&Value::Bool(true))
    }
}

/// What is wrong with a block of a result.
fn misshapen(block: &Value) -> Option<&'static str> {
    let has_text = |field: &str| block.get(field).is_some_and(Value::is_string);
    match block.get("type").and_then(Value::as_str) {
        None => Some("a block of its `content` has no `type`"),
        Some("text") if !has_text("text") => Some("a text block of its `content` has no `text`"),
        Some("image" | "audio") if !has_text("data") => {
            Some("an image or audio block of its `content` has no `data`")
        }
        Some("resource") if !block.get("resource").is_some_and(Value::is_object) => {
            Some("a resource block of its `content` has no `resource`")
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tool_and_a_result_are_given_out_as_they_came() {
        let tool = r#"{"x":[1],"name":"a","inputSchema":{"b":1},"annotations":{"readOnlyHint":true,"y":2}}"#;
        let read: Tool = serde_json::from_str(tool).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), tool);
        assert_eq!(read.hint("readOnlyHint"), Some(true));
        let parts = read.into_parts();
        assert_eq!(parts, ("a".to_owned(), None, json!({"b": 1})));

        let result = r#"{"z":null,"content":[{"type":"new","a":1}],"isError":true}"#;
        let read: CallResult = serde_json::from_str(result).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), result);
        assert!(read.is_error());
    }

    #[test]
    fn a_field_of_the_wrong_type_is_named_with_its_tool() {
        for (field, value, message) in [
            ("name", json!(7), r#""": `name` is not a string"#),
            (
                "inputSchema",
                json!([]),
                r#""a": `inputSchema` is not an object"#,
            ),
            (
                "inputSchema",
                json!(null),
                r#""a": `inputSchema` is not an object"#,
            ),
            (
                "description",
                json!(7),
                r#""a": `description` is not a string"#,
            ),
            (
                "annotations",
                json!([]),
                r#""a": `annotations` is not an object"#,
            ),
            ("_meta", json!(""), r#""a": `_meta` is not an object"#),
            (
                "annotations",
                json!({"readOnlyHint": "yes"}),
                r#""a": `annotations.readOnlyHint` is not a boolean"#,
            ),
        ] {
            let mut tool = json!({"name": "a", "inputSchema": {}});
            tool[field] = value;
            let error = serde_json::from_value::<Tool>(tool).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        let error = serde_json::from_value::<Tool>(json!({"name": "a"})).unwrap_err();
        assert_eq!(error.to_string(), r#""a": `inputSchema` is missing"#);
        let tool = json!({"name": "a", "inputSchema": {}, "description": null, "title": null});
        assert!(serde_json::from_value::<Tool>(tool).is_ok());
    }

    #[test]
    fn a_result_has_content_of_the_right_form() {
        for (result, words) in [
            (json!({}), "expected a result"),
            (json!({"content": 1}), "not a list"),
            (json!({"content": [1]}), "no `type`"),
            (json!({"content": [{"type": "text"}]}), "no `text`"),
            (json!({"content": [{"type": "image"}]}), "no `data`"),
            (json!({"content": [{"type": "resource"}]}), "no `resource`"),
            (json!({"content": [], "isError": "no"}), "not a boolean"),
        ] {
            let error = serde_json::from_value::<CallResult>(result).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
        for result in [json!({"structuredContent": null}), json!({"content": null})] {
            let result: CallResult = serde_json::from_value(result).unwrap();
            assert!(result.require_known_types().is_ok());
        }
        let other = json!({"content": [{"type": "text", "text": "a"}, {"type": "json"}]});
        let other: CallResult = serde_json::from_value(other).unwrap();
        assert_eq!(
            other.require_known_types().unwrap_err().to_string(),
            "the MCP server's answer is not MCP: \
             a block of its `content` has type \"json\", which MCP does not define"
        );
    }
}
