//! Tools that answer in one go: each kind of content, notifications on the way, and what a server of
//! MCP 2025-11-25 asks its client while it works.

use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ProgressNotificationParam, ProtocolVersion,
    ServerNotification, ServerRequest, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServiceError};
use serde_json::{Value, json};

use crate::fixtures::{Change, Fixtures, complete, text, wire};
use crate::{input_required, tasks};

/// One red pixel.
pub const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";
/// No sound at all: the header of a WAV file without samples.
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";

/// How long a tool works between two things that it says.
const WORK: Duration = Duration::from_millis(50);

const TOOLS: [(&str, &str); 13] = [
    ("test_simple_text", "Gives a text"),
    ("test_image_content", "Gives an image"),
    ("test_audio_content", "Gives a sound"),
    ("test_embedded_resource", "Gives a resource"),
    (
        "test_multiple_content_types",
        "Gives three kinds of content",
    ),
    ("test_error_handling", "Fails"),
    ("test_tool_with_logging", "Logs while it works"),
    ("test_logging_tool", "Logs if the request asks for it"),
    ("test_tool_with_progress", "Tells how far it is"),
    ("test_elicitation_sep1034_defaults", "Asks with defaults"),
    ("test_elicitation_sep1330_enums", "Asks for choices"),
    (
        "test_trigger_tool_change",
        "Says that the tools have changed",
    ),
    (
        "test_trigger_prompt_change",
        "Says that the prompts have changed",
    ),
];

pub fn list() -> Vec<Tool> {
    let mut list = without_arguments(&TOOLS);
    list.extend(wire::<Vec<Tool>>(with_arguments()));
    list.extend(input_required::list());
    list.extend(tasks::list());
    list
}

pub fn without_arguments(tools: &[(&str, &str)]) -> Vec<Tool> {
    let tool = |(name, description): &(&str, &str)| {
        wire(json!({"name": name, "description": description, "inputSchema": {"type": "object"}}))
    };
    tools.iter().map(tool).collect()
}

fn with_arguments() -> Value {
    json!([
        {
            "name": "test_sampling",
            "description": "Asks the model",
            "inputSchema": {
                "type": "object",
                "properties": {"prompt": {"type": "string"}},
                "required": ["prompt"],
            },
        },
        {
            "name": "test_elicitation",
            "description": "Asks the user",
            "inputSchema": {
                "type": "object",
                "properties": {"message": {"type": "string"}},
                "required": ["message"],
            },
        },
        {
            "name": "test_header_argument",
            "description": "Takes an argument that is in a header as well",
            "inputSchema": {
                "type": "object",
                "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
                "required": ["region"],
            },
        },
        {
            "name": "json_schema_2020_12_tool",
            "description": "Tool with JSON Schema 2020-12 features",
            "inputSchema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "$defs": {
                    "address": {
                        "$anchor": "addressDef",
                        "type": "object",
                        "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
                    },
                },
                "properties": {
                    "name": {"type": "string"},
                    "address": {"$ref": "#/$defs/address"},
                    "contactMethod": {"type": "string", "enum": ["phone", "email"]},
                    "phone": {"type": "string"},
                    "email": {"type": "string"},
                },
                "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
                "if": {
                    "properties": {"contactMethod": {"const": "phone"}},
                    "required": ["contactMethod"],
                },
                "then": {"required": ["phone"]},
                "else": {"required": ["email"]},
                "additionalProperties": false,
            },
        },
    ])
}

pub async fn call(
    fixtures: &Fixtures,
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let arguments = json!(request.arguments);
    match &*request.name {
        "test_tool_with_logging" | "test_logging_tool" => {
            for said in ["started", "processing data", "completed"] {
                log(context, &format!("Tool execution {said}")).await?;
                tokio::time::sleep(WORK).await;
            }
            Ok(text("It is in the log."))
        }
        "test_tool_with_progress" => {
            for progress in [0.0, 50.0, 100.0] {
                if let Some(token) = context.meta.get_progress_token() {
                    let progress = ProgressNotificationParam::new(token, progress);
                    let sent = context.peer.notify_progress(progress.with_total(100.0));
                    sent.await.map_err(failed)?;
                }
                tokio::time::sleep(WORK).await;
            }
            Ok(text("All of it is done."))
        }
        "test_sampling" => {
            let content = json!({"type": "text", "text": arguments["prompt"]});
            let message = json!({"role": "user", "content": content});
            let params = json!({"messages": [message], "maxTokens": 100});
            let answer = ask(context, "sampling/createMessage", &params).await?;
            Ok(text(format!("LLM response: {}", answer["content"]["text"])))
        }
        "test_elicitation" => {
            let property = |what: &str| json!({"type": "string", "description": what});
            let properties = json!({
                "username": property("User's response"),
                "email": property("User's email address"),
            });
            let required = json!(["username", "email"]);
            elicit(context, &arguments["message"], &properties, &required).await
        }
        "test_elicitation_sep1034_defaults" => {
            let message = json!("Please check the defaults");
            elicit(context, &message, &defaults(), &json!([])).await
        }
        "test_elicitation_sep1330_enums" => {
            let message = json!("Please choose");
            elicit(context, &message, &choices(), &json!([])).await
        }
        "test_trigger_tool_change" => Ok(change(fixtures, Change::Tools).await),
        "test_trigger_prompt_change" => Ok(change(fixtures, Change::Prompts).await),
        "test_header_argument" => Ok(text(format!("The region is {}.", arguments["region"]))),
        "json_schema_2020_12_tool" => Ok(text(format!("The arguments are {arguments}."))),
        name => match constant(name) {
            Some(result) => Ok(CallToolResponse::Complete(complete(result))),
            None => Err(unknown(name)),
        },
    }
}

pub fn unknown(tool: &str) -> ErrorData {
    ErrorData::invalid_params(format!("Unknown tool: {tool}"), None)
}

/// The results that are always the same.
fn constant(tool: &str) -> Option<Value> {
    let image = json!({"type": "image", "data": PNG, "mimeType": "image/png"});
    let content = match tool {
        "test_simple_text" => {
            json!([{"type": "text", "text": "This is a simple text response for testing."}])
        }
        "test_image_content" => json!([image]),
        "test_audio_content" => json!([{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]),
        "test_embedded_resource" => json!([{
            "type": "resource",
            "resource": {
                "uri": "test://embedded-resource",
                "mimeType": "text/plain",
                "text": "This is an embedded resource content.",
            },
        }]),
        "test_multiple_content_types" => json!([
            {"type": "text", "text": "Multiple content types test:"},
            image,
            {
                "type": "resource",
                "resource": {
                    "uri": "test://mixed-content-resource",
                    "mimeType": "application/json",
                    "text": "{\"test\":\"data\",\"value\":123}",
                },
            },
        ]),
        "test_error_handling" => {
            let problem = "This tool intentionally returns an error for testing";
            let content = json!([{"type": "text", "text": problem}]);
            return Some(json!({"content": content, "isError": true}));
        }
        _ => return None,
    };
    Some(json!({"content": content}))
}

fn defaults() -> Value {
    json!({
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": true},
    })
}

fn choices() -> Value {
    let options = json!(["option1", "option2", "option3"]);
    let titled = |what: &str| {
        let option = |number, title: &str| json!({"const": format!("value{number}"), "title": format!("{title} {what}")});
        json!([option(1, "First"), option(2, "Second"), option(3, "Third")])
    };
    json!({
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled("Option")},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled("Choice")}},
    })
}

async fn elicit(
    context: &RequestContext<RoleServer>,
    message: &Value,
    properties: &Value,
    required: &Value,
) -> Result<CallToolResponse, ErrorData> {
    let schema = json!({"type": "object", "properties": properties, "required": required});
    let params = json!({"mode": "form", "message": message, "requestedSchema": schema});
    let answer = ask(context, "elicitation/create", &params).await?;
    Ok(text(format!(
        "Elicitation completed: action={}, content={}",
        answer["action"], answer["content"]
    )))
}

/// A request to the client, and what it says to it.
async fn ask(
    context: &RequestContext<RoleServer>,
    method: &str,
    params: &Value,
) -> Result<Value, ErrorData> {
    let request: ServerRequest = wire(json!({"method": method, "params": params}));
    let answer = context.peer.send_request(request).await.map_err(failed)?;
    Ok(json!(answer))
}

/// A session has said which messages it wants; a request of MCP 2026-07-28 says it itself.
async fn log(context: &RequestContext<RoleServer>, message: &str) -> Result<(), ErrorData> {
    let is_stateless = context.protocol_version() >= Some(ProtocolVersion::V_2026_07_28);
    if is_stateless && context.meta.log_level().is_none() {
        return Ok(());
    }
    let params = json!({"level": "info", "data": message});
    let notification = json!({"method": "notifications/message", "params": params});
    let notification: ServerNotification = wire(notification);
    let sent = context.peer.send_notification(notification).await;
    sent.map_err(failed)
}

async fn change(fixtures: &Fixtures, change: Change) -> CallToolResponse {
    // A listener is acknowledged a moment before it listens.
    tokio::time::sleep(WORK).await;
    // Without listeners nobody is to be told.
    let _listeners = fixtures.changes.send(change);
    text("It has changed.")
}

#[expect(clippy::needless_pass_by_value, reason = "it is for `map_err`")]
fn failed(error: ServiceError) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}
