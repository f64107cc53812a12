//! Prompts: one of each kind of content, and one that asks before it answers.

use rmcp::ErrorData;
use rmcp::model::{GetPromptRequestParams, GetPromptResponse, Prompt};
use serde_json::{Value, json};

use crate::fixtures::{complete, elicitation, wire};
use crate::input_required::{accepted, ask};
use crate::tools::PNG;

pub fn list() -> Vec<Prompt> {
    let argument = |name: &str| json!({"name": name, "description": "What is in the prompt", "required": true});
    wire(json!([
        {"name": "test_simple_prompt", "description": "A text"},
        {
            "name": "test_prompt_with_arguments",
            "description": "A text of two arguments",
            "arguments": [argument("arg1"), argument("arg2")],
        },
        {
            "name": "test_prompt_with_embedded_resource",
            "description": "A resource and a text",
            "arguments": [argument("resourceUri")],
        },
        {"name": "test_prompt_with_image", "description": "An image and a text"},
        {"name": "test_input_required_result_prompt", "description": "A text of what the user says"},
    ]))
}

pub fn get(request: &GetPromptRequestParams) -> Result<GetPromptResponse, ErrorData> {
    let arguments = json!(request.arguments);
    let argument = |name: &str| arguments[name].as_str().unwrap_or_default();
    let text = |text: &str| json!({"type": "text", "text": text});
    let contents = match request.name.as_str() {
        "test_simple_prompt" => vec![text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments" => vec![text(&format!(
            "Prompt with arguments: arg1='{}', arg2='{}'",
            argument("arg1"),
            argument("arg2")
        ))],
        "test_prompt_with_embedded_resource" => vec![
            json!({
                "type": "resource",
                "resource": {
                    "uri": argument("resourceUri"),
                    "mimeType": "text/plain",
                    "text": "Embedded resource content for testing.",
                },
            }),
            text("Please process the embedded resource above."),
        ],
        "test_prompt_with_image" => vec![
            json!({"type": "image", "data": PNG, "mimeType": "image/png"}),
            text("Please analyze the image above."),
        ],
        "test_input_required_result_prompt" => {
            let answers = request.input_responses.as_ref();
            let Some(context) = accepted(answers, "user_context", "context") else {
                let question = "What context should the prompt use?";
                let question = elicitation(question, "context", "string");
                return Ok(ask(json!({"user_context": question}), None).into());
            };
            vec![text(&format!("Use this context: {context}"))]
        }
        unknown => {
            let problem = format!("Unknown prompt: {unknown}");
            return Err(ErrorData::invalid_params(problem, None));
        }
    };
    let messages: Vec<Value> = contents
        .into_iter()
        .map(|content| json!({"role": "user", "content": content}))
        .collect();
    Ok(GetPromptResponse::Complete(complete(
        json!({"messages": messages}),
    )))
}
