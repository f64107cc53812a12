//! Which call a piece of a tool call belongs to: every server says it in another way.

use std::collections::HashMap;

use serde_json::Value;

/// A tool call, as far as it came.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// What the server calls it, if it does.
    id: String,
    pub name: String,
    /// JSON, as text.
    pub arguments: String,
}

/// The calls of one completion, in the order in which they began.
#[derive(Debug, Default)]
pub struct Calls {
    calls: Vec<Call>,
    /// The last call with each `index`, or with none.
    last: HashMap<Option<u64>, usize>,
    /// Bytes of what was put together.
    size: usize,
}

/// What a piece added to a call.
#[derive(Debug)]
pub struct Added {
    /// The place of the call.
    pub call: usize,
    /// It is the call's first piece.
    pub is_new: bool,
    /// More of its arguments.
    pub arguments: String,
}

impl Calls {
    /// Takes a piece: an element of `tool_calls` of a delta, or a whole one of a message.
    ///
    /// OpenAI, llama.cpp and vLLM number the calls and name each in its first piece. Ollama sends
    /// whole calls, which may all have the index 0; others leave out the index, or the id.
    pub fn take(&mut self, piece: &Value) -> Added {
        let function = &piece["function"];
        let index = piece["index"].as_u64();
        let id = piece["id"].as_str().unwrap_or_default();
        let name = function["name"].as_str().unwrap_or_default();
        let arguments = match &function["arguments"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let going_on = self.last.get(&index).copied();
        let going_on = going_on.filter(|it| self.calls[*it].goes_on_with(id, name));
        let place = going_on.unwrap_or(self.calls.len());
        if going_on.is_none() {
            self.calls.push(Call::default());
            self.last.insert(index, place);
        }
        let call = &mut self.calls[place];
        if call.id.is_empty() {
            id.clone_into(&mut call.id);
        }
        if call.name.is_empty() {
            name.clone_into(&mut call.name);
        }
        call.arguments.push_str(&arguments);
        self.size += name.len() + arguments.len();
        Added {
            call: place,
            is_new: going_on.is_none(),
            arguments,
        }
    }

    /// How many bytes the calls have.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The call at this place, of which no more can come.
    pub fn take_out(&mut self, place: usize) -> Call {
        std::mem::take(&mut self.calls[place])
    }

    /// The call at this place.
    pub fn get(&self, place: usize) -> &Call {
        &self.calls[place]
    }
}

impl Call {
    /// Whether a piece with this id and name is more of this call, and not the next one.
    fn goes_on_with(&self, id: &str, name: &str) -> bool {
        if id.is_empty() || self.id.is_empty() {
            name.is_empty() || self.name.is_empty()
        } else {
            id == self.id
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pieces_are_put_together_however_a_server_names_them() {
        let piece = |piece: Value, name: &str, arguments: Value| {
            let mut piece = piece;
            piece["function"] = json!({"arguments": arguments});
            if !name.is_empty() {
                piece["function"]["name"] = name.into();
            }
            piece
        };
        let expected = [("f", r#"{"n":1}"#), ("g", r#"{"n":2}"#)];
        for (server, pieces) in [
            (
                "OpenAI",
                vec![
                    piece(json!({"index": 0, "id": "a"}), "f", json!("")),
                    piece(json!({"index": 0}), "", json!("{\"n\"")),
                    piece(json!({"index": 0}), "", json!(":1}")),
                    piece(json!({"index": 1, "id": "b"}), "g", json!("")),
                    piece(json!({"index": 1}), "", json!("{\"n\":2}")),
                ],
            ),
            (
                "calls side by side, with an id in each piece",
                vec![
                    piece(json!({"index": 0, "id": "a"}), "f", Value::Null),
                    piece(json!({"index": 1, "id": "b"}), "g", json!("{\"n\"")),
                    piece(json!({"index": 0, "id": "a"}), "f", json!("{\"n\":1}")),
                    piece(json!({"index": 1, "id": "b"}), "g", json!(":2}")),
                ],
            ),
            (
                "Ollama",
                vec![
                    piece(json!({"index": 0, "id": "a"}), "f", json!("{\"n\":1}")),
                    piece(json!({"index": 0, "id": "b"}), "g", json!("{\"n\":2}")),
                ],
            ),
            (
                "no index and no id, with objects",
                vec![
                    piece(json!({}), "f", json!({"n": 1})),
                    piece(json!({"id": ""}), "g", json!({"n": 2})),
                ],
            ),
            (
                "an id for all, in pieces without an index",
                vec![
                    piece(json!({"id": "a"}), "", Value::Null),
                    piece(json!({}), "f", json!("{\"n\":")),
                    piece(json!({"id": null}), "", json!("1}")),
                    piece(json!({"id": "b"}), "g", json!("{\"n\":2}")),
                ],
            ),
        ] {
            let mut calls = Calls::default();
            let begun = pieces.iter().filter(|piece| calls.take(piece).is_new);
            assert_eq!(begun.count(), 2, "{server}");
            for (place, (name, arguments)) in expected.into_iter().enumerate() {
                let call = calls.get(place);
                assert_eq!(
                    (&*call.name, &*call.arguments),
                    (name, arguments),
                    "{server}"
                );
            }
        }
    }
}
