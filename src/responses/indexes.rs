//! Which item an event is about, for servers that do not number them.

use std::borrow::Cow;

use serde::Deserialize;

use super::fields::Fields;

/// The ids of the items so far. OpenAI numbers items with `output_index`; llama.cpp names them by
/// id, or sends events about the last one without an id.
#[derive(Debug, Default)]
pub struct Indexes {
    ids: Vec<Option<String>>,
}

impl Indexes {
    /// The `output_index` of an event about an item.
    pub fn of(&mut self, event: &Fields) -> Option<usize> {
        #[derive(Deserialize)]
        struct Item {
            id: Option<String>,
        }
        let said = event.number("output_index");
        let said = said.and_then(|it| usize::try_from(it).ok());
        let is_added = event.plain_text("type") == Some("response.output_item.added");
        if said.is_some() && !is_added {
            return said;
        }
        let id = match event.contains("item_id") {
            true => event.text("item_id").map(Cow::into_owned),
            false => event.parse::<Item>("item").ok().and_then(|item| item.id),
        };
        if is_added {
            let next = self.ids.len();
            if said.is_none_or(|said| said == next) {
                self.ids.push(id);
            }
            return said.or(Some(next));
        }
        if !event.contains("item") && id.is_none() {
            return None;
        }
        let named = self.ids.iter().rposition(|it| *it == id);
        named.or_else(|| self.ids.len().checked_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_item_without_a_number_is_known_by_its_id_or_is_the_last() {
        let mut indexes = Indexes::default();
        for (event, expected) in [
            (json!({"type": "response.created"}), None),
            (
                json!({"type": "response.output_item.added", "item": {"id": "rs_1"}}),
                Some(0),
            ),
            (
                json!({"type": "response.output_item.added", "item": {"id": "msg_1"}}),
                Some(1),
            ),
            (
                json!({"type": "response.output_text.delta", "item_id": "msg_1"}),
                Some(1),
            ),
            (
                json!({"type": "response.output_item.done", "item": {"id": "rs_1"}}),
                Some(0),
            ),
            (
                json!({"type": "response.output_text.done", "item_id": "other"}),
                Some(1),
            ),
            (
                json!({"type": "response.output_text.done", "item_id": "rs_1", "output_index": 7}),
                Some(7),
            ),
            (
                json!({"type": "response.output_item.added", "output_index": 2, "item": {}}),
                Some(2),
            ),
            (
                json!({"type": "response.output_item.done", "item": {}}),
                Some(2),
            ),
        ] {
            assert_eq!(
                indexes.of(&Fields::from(event.as_object().unwrap())),
                expected,
                "{event}"
            );
        }
    }
}
