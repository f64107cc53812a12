//! A property of a tool's arguments.

use serde_json::Value;

use crate::engine::model::rules::forms::form;
use crate::schema::{Kind, Resolved};

/// A property, with its schema resolved.
pub(in crate::engine::model::rules) struct Property<'a> {
    pub(in crate::engine::model::rules) name: &'a str,
    pub(in crate::engine::model::rules) schema: Resolved<'a>,
    pub(super) kind: Kind,
    pub(super) is_required: bool,
}

impl<'a> Property<'a> {
    pub(super) fn new(name: &'a str, schema: Resolved<'a>, is_required: bool) -> Self {
        Self {
            name,
            kind: schema.kind(),
            schema,
            is_required,
        }
    }

    pub(super) fn options(&self) -> Option<&'a [Value]> {
        self.schema.get("enum")?.as_array().map(Vec::as_slice)
    }

    pub(super) fn form(&self) -> Option<fn(&str) -> bool> {
        form(self.name, self.schema.get("format").and_then(Value::as_str))
    }
}
