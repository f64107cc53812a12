//! What a model speaks in: text, a refusal, its thoughts.

use serde_json::{Value, json};

/// What a model speaks in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Refusal,
    /// What llama.cpp, vLLM and Ollama give of a model's thoughts. It is no answer, and an item of
    /// its own: who waits sees that the model is at work.
    Reasoning,
}

impl Kind {
    /// The events are `response.{name}.delta` and `.done`, the part's type is the name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "output_text",
            Self::Refusal => "refusal",
            Self::Reasoning => "reasoning_text",
        }
    }

    /// The field of the part that has what is said.
    pub fn field(self) -> &'static str {
        match self {
            Self::Text | Self::Reasoning => "text",
            Self::Refusal => "refusal",
        }
    }

    /// The part with this text.
    pub fn part(self, text: &str) -> Value {
        let mut part = json!({"type": self.name()});
        if self == Self::Text {
            part["annotations"] = json!([]);
            part["logprobs"] = json!([]);
        }
        part[self.field()] = text.into();
        part
    }

    /// The item of these parts.
    pub fn item(self, id: &str, status: &str, parts: Vec<Value>) -> Value {
        let mut item = match self {
            Self::Reasoning => {
                json!({"type": "reasoning", "id": id, "status": status, "summary": []})
            }
            Self::Text | Self::Refusal => {
                json!({"type": "message", "id": id, "status": status, "role": "assistant"})
            }
        };
        item["content"] = parts.into();
        item
    }

    /// What the id of the item begins with.
    pub fn id_prefix(self) -> &'static str {
        match self {
            Self::Reasoning => "rs",
            Self::Text | Self::Refusal => "msg",
        }
    }
}
