//! The fields of a request that a question may set.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use serde_json::{Map, json};

use super::args;
use crate::error::Error;
use crate::responses::{CreateResponse, ToolChoice, ToolChoiceMcp, ToolChoiceMode};

/// The fields of the request that have no more to them than a name.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Request")]
pub struct FieldArgs {
    /// Instructions for the model (the system prompt)
    #[arg(short = 's', long, value_name = "TEXT")]
    instructions: Option<String>,

    /// Which tools the model must or may call: auto, none, required, LABEL or LABEL/TOOL
    #[arg(long, value_name = "CHOICE")]
    tool_choice: Option<ToolChoiceArg>,

    /// The maximum number of tool calls
    #[arg(long, value_name = "N")]
    max_tool_calls: Option<u64>,

    /// The maximum number of output tokens
    #[arg(long, value_name = "N")]
    max_output_tokens: Option<u64>,

    /// The sampling temperature, from 0 to 2
    #[arg(long, value_name = "NUMBER")]
    temperature: Option<f64>,

    /// Nucleus sampling, from 0 to 1
    #[arg(long, value_name = "NUMBER")]
    top_p: Option<f64>,

    /// The reasoning effort, such as low or high
    #[arg(long, value_name = "EFFORT")]
    reasoning_effort: Option<String>,

    /// A JSON Schema that the answer must match
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,

    /// Metadata to store with the response, as key=value
    #[arg(long, value_name = "K=V", value_parser = args::key_value)]
    metadata: Vec<(String, String)>,

    /// Do not store the response at the API; -c and approvals then resend the conversation, which is
    /// kept in the state folder
    #[arg(long)]
    pub no_store: bool,

    /// Continue the last conversation
    ///
    /// Without a question, only its approval requests are answered.
    #[arg(short, long, conflicts_with = "previous_response_id")]
    pub r#continue: bool,

    /// The response to continue from
    #[arg(long, value_name = "ID")]
    pub previous_response_id: Option<String>,
}

impl FieldArgs {
    /// A request with the fields that are given, and nothing asked yet.
    pub fn request(&self) -> Result<CreateResponse, Error> {
        let mut rest = Map::new();
        if let Some(effort) = &self.reasoning_effort {
            rest.insert("reasoning".to_owned(), json!({"effort": effort}));
        }
        if let Some(path) = &self.schema {
            let schema = args::read_json(path)?;
            let format =
                json!({"type": "json_schema", "name": "answer", "schema": schema, "strict": true});
            rest.insert("text".to_owned(), json!({"format": format}));
        }
        let metadata: BTreeMap<String, String> = self.metadata.iter().cloned().collect();
        Ok(CreateResponse {
            instructions: self.instructions.clone(),
            tool_choice: self.tool_choice.clone().map(|choice| choice.0),
            max_tool_calls: self.max_tool_calls,
            max_output_tokens: self.max_output_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            metadata: Some(metadata).filter(|metadata| !metadata.is_empty()),
            rest,
            ..CreateResponse::default()
        })
    }
}

/// `tool_choice`, as text.
#[derive(Debug, Clone)]
struct ToolChoiceArg(ToolChoice);

impl FromStr for ToolChoiceArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(match text {
            "auto" => ToolChoice::Mode(ToolChoiceMode::Auto),
            "none" => ToolChoice::Mode(ToolChoiceMode::None),
            "required" => ToolChoice::Mode(ToolChoiceMode::Required),
            "" => return Err("use auto, none, required, LABEL or LABEL/TOOL"),
            text => {
                let (server_label, name) = match text.split_once('/') {
                    Some((label, name)) => (label, Some(name.to_owned())),
                    None => (text, None),
                };
                ToolChoice::Mcp(ToolChoiceMcp {
                    server_label: server_label.to_owned(),
                    name,
                })
            }
        }))
    }
}
