//! `EventKind`: what an event says.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::responses::error::ApiError;
use crate::responses::fields::Fields;
use crate::responses::item::Item;
use crate::responses::response::Response;

/// What an event says, for the events that this program acts on or makes.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type")]
pub enum EventKind {
    #[serde(rename = "response.created")]
    Created { response: Response },
    #[serde(rename = "response.queued")]
    Queued { response: Response },
    #[serde(rename = "response.in_progress")]
    InProgress { response: Response },
    #[serde(rename = "response.completed")]
    Completed { response: Response },
    #[serde(rename = "response.failed")]
    Failed { response: Response },
    #[serde(rename = "response.incomplete")]
    Incomplete { response: Response },

    #[serde(rename = "response.output_item.added")]
    OutputItemAdded {
        output_index: usize,
        item: Arc<Item>,
    },
    #[serde(rename = "response.output_item.done")]
    OutputItemDone {
        output_index: usize,
        item: Arc<Item>,
    },

    #[serde(rename = "response.mcp_list_tools.in_progress")]
    McpListToolsInProgress {
        output_index: usize,
        item_id: String,
    },
    #[serde(rename = "response.mcp_list_tools.completed")]
    McpListToolsCompleted {
        output_index: usize,
        item_id: String,
    },
    #[serde(rename = "response.mcp_list_tools.failed")]
    McpListToolsFailed {
        output_index: usize,
        item_id: String,
    },

    #[serde(rename = "response.mcp_call.in_progress")]
    McpCallInProgress {
        output_index: usize,
        item_id: String,
    },
    #[serde(rename = "response.mcp_call_arguments.delta")]
    McpCallArgumentsDelta {
        output_index: usize,
        item_id: String,
        delta: String,
        obfuscation: String,
    },
    #[serde(rename = "response.mcp_call_arguments.done")]
    McpCallArgumentsDone {
        output_index: usize,
        item_id: String,
        arguments: String,
    },
    #[serde(rename = "response.mcp_call.completed")]
    McpCallCompleted {
        output_index: usize,
        item_id: String,
    },
    #[serde(rename = "response.mcp_call.failed")]
    McpCallFailed {
        output_index: usize,
        item_id: String,
    },

    #[serde(rename = "response.content_part.added")]
    ContentPartAdded {
        item_id: String,
        output_index: usize,
        content_index: usize,
        part: Value,
    },
    #[serde(rename = "response.output_text.delta")]
    OutputTextDelta {
        item_id: String,
        output_index: usize,
        content_index: usize,
        delta: String,
        logprobs: Vec<Value>,
        obfuscation: String,
    },
    #[serde(rename = "response.output_text.done")]
    OutputTextDone {
        item_id: String,
        output_index: usize,
        content_index: usize,
        text: String,
        logprobs: Vec<Value>,
    },
    #[serde(rename = "response.content_part.done")]
    ContentPartDone {
        item_id: String,
        output_index: usize,
        content_index: usize,
        part: Value,
    },

    #[serde(rename = "error")]
    Error { error: ApiError },

    /// An event that this program does not know, or whose fields have another type; `Event::as_read`
    /// has it.
    #[serde(untagged)]
    Other(Map<String, Value>),
}

/// The types of the events that end a response.
pub(super) const TERMINAL: [&str; 3] = [
    "response.completed",
    "response.failed",
    "response.incomplete",
];

impl EventKind {
    /// What the fields of an event say.
    pub(super) fn read(fields: &Fields, output_index: Option<usize>) -> Self {
        let read = Self::parse(fields, output_index);
        read.unwrap_or_else(|_| Self::Other(Map::new()))
    }

    fn parse(fields: &Fields, output_index: Option<usize>) -> Result<Self, serde_json::Error> {
        let response = || fields.parse::<Response>("response");
        let item = || Ok::<_, serde_json::Error>(Arc::new(fields.parse::<Item>("item")?));
        let text = |name| fields.parse::<String>(name);
        let or_default = |name| match fields.contains(name) {
            true => fields.parse::<String>(name),
            false => Ok(String::new()),
        };
        let logprobs = || match fields.contains("logprobs") {
            true => fields.parse::<Vec<Value>>("logprobs"),
            false => Ok(Vec::new()),
        };
        let content_index = || match fields.contains("content_index") {
            true => fields.parse::<usize>("content_index"),
            false => Ok(0),
        };
        let output_index = || output_index.map_or_else(|| fields.parse("output_index"), Ok);
        let name = fields.text("type").unwrap_or_default();
        Ok(match &*name {
            "response.created" => Self::Created {
                response: response()?,
            },
            "response.queued" => Self::Queued {
                response: response()?,
            },
            "response.in_progress" => Self::InProgress {
                response: response()?,
            },
            "response.completed" => Self::Completed {
                response: response()?,
            },
            "response.failed" => Self::Failed {
                response: response()?,
            },
            "response.incomplete" => Self::Incomplete {
                response: response()?,
            },
            "response.output_item.added" => Self::OutputItemAdded {
                output_index: output_index()?,
                item: item()?,
            },
            "response.output_item.done" => Self::OutputItemDone {
                output_index: output_index()?,
                item: item()?,
            },
            "response.mcp_list_tools.in_progress" => Self::McpListToolsInProgress {
                output_index: output_index()?,
                item_id: text("item_id")?,
            },
            "response.mcp_list_tools.completed" => Self::McpListToolsCompleted {
                output_index: output_index()?,
                item_id: text("item_id")?,
            },
            "response.mcp_list_tools.failed" => Self::McpListToolsFailed {
                output_index: output_index()?,
                item_id: text("item_id")?,
            },
            "response.mcp_call.in_progress" => Self::McpCallInProgress {
                output_index: output_index()?,
                item_id: text("item_id")?,
            },
            "response.mcp_call_arguments.delta" => Self::McpCallArgumentsDelta {
                output_index: output_index()?,
                item_id: text("item_id")?,
                delta: text("delta")?,
                obfuscation: or_default("obfuscation")?,
            },
            "response.mcp_call_arguments.done" => Self::McpCallArgumentsDone {
                output_index: output_index()?,
                item_id: text("item_id")?,
                arguments: text("arguments")?,
            },
            "response.mcp_call.completed" => Self::McpCallCompleted {
                output_index: output_index()?,
                item_id: text("item_id")?,
            },
            "response.mcp_call.failed" => Self::McpCallFailed {
                output_index: output_index()?,
                item_id: text("item_id")?,
            },
            "response.content_part.added" => Self::ContentPartAdded {
                item_id: text("item_id")?,
                output_index: output_index()?,
                content_index: content_index()?,
                part: fields.parse("part")?,
            },
            "response.output_text.delta" => Self::OutputTextDelta {
                item_id: text("item_id")?,
                output_index: output_index()?,
                content_index: content_index()?,
                delta: text("delta")?,
                logprobs: logprobs()?,
                obfuscation: or_default("obfuscation")?,
            },
            "response.output_text.done" => Self::OutputTextDone {
                item_id: text("item_id")?,
                output_index: output_index()?,
                content_index: content_index()?,
                text: text("text")?,
                logprobs: logprobs()?,
            },
            "response.content_part.done" => Self::ContentPartDone {
                item_id: text("item_id")?,
                output_index: output_index()?,
                content_index: content_index()?,
                part: fields.parse("part")?,
            },
            // The documented shape is flat, the recorded one nests.
            "error" => Self::Error {
                error: match fields.parse("error") {
                    Ok(error) => error,
                    Err(_) => ApiError::read(&fields.to_map()?),
                },
            },
            _ => Self::Other(Map::new()),
        })
    }

    /// The response in the event, if it has one.
    pub fn response(&self) -> Option<&Response> {
        match self {
            Self::Created { response }
            | Self::Queued { response }
            | Self::InProgress { response }
            | Self::Completed { response }
            | Self::Failed { response }
            | Self::Incomplete { response } => Some(response),
            _ => None,
        }
    }

    /// Whether this ends a response.
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::Completed { .. } | Self::Failed { .. } | Self::Incomplete { .. }
        )
    }
}
