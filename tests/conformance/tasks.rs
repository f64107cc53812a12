//! Tools whose result may be a task (SEP-2663). rmcp's `TaskManager` keeps the tasks.

use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, CreateTaskResult, Tool,
};
use rmcp::service::RequestContext;
use rmcp::task_manager::{TaskContext, TaskExit, TaskOptions};
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value, json};

use crate::fixtures::{Fixtures, elicitation, needs, text, wire};
use crate::input_required::{accepted, ask};
use crate::tools;

pub fn list() -> Vec<Tool> {
    wire(json!([
        {
            "name": "greet",
            "description": "Greets, at once",
            "inputSchema": {
                "type": "object",
                "properties": {"name": {"type": "string"}},
                "required": ["name"],
            },
        },
        {
            "name": "slow_compute",
            "description": "Takes its time",
            "inputSchema": {
                "type": "object",
                "properties": {"seconds": {"type": "number"}, "label": {"type": "string"}},
                "required": ["seconds"],
            },
        },
        {
            "name": "confirm_delete",
            "description": "Asks whether to delete a file, which it never does",
            "inputSchema": {
                "type": "object",
                "properties": {"filename": {"type": "string"}},
                "required": ["filename"],
            },
        },
        {"name": "multi_input", "description": "Asks twice at once", "inputSchema": {"type": "object"}},
        {"name": "failing_job", "description": "Fails", "inputSchema": {"type": "object"}},
        {"name": "protocol_error_job", "description": "Breaks", "inputSchema": {"type": "object"}},
        {
            "name": "test_tool_with_task",
            "description": "Asks for a name, and greets in a task",
            "inputSchema": {"type": "object"},
        },
    ]))
}

pub fn has_tool(name: &str) -> bool {
    list().iter().any(|tool| tool.name == name)
}

pub async fn call(
    fixtures: &Fixtures,
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let arguments = json!(request.arguments);
    let capabilities = context.client_capabilities();
    let takes_tasks = capabilities.is_some_and(|it| it.supports_tasks());

    let name = request.name.to_string();
    if name == "greet" {
        return Ok(text(format!("Hello, {}!", said(&arguments["name"]))));
    }
    if name == "slow_compute" && !takes_tasks {
        return Ok(compute(&arguments).await.into());
    }
    if !takes_tasks {
        let tasks = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
        return Err(needs(&tasks));
    }
    let user = accepted(request.input_responses.as_ref(), "user_name", "name");
    let user = user.map(str::to_owned);
    if name == "test_tool_with_task" && user.is_none() {
        let question = elicitation("What is your name?", "name", "string");
        return Ok(ask(json!({"user_name": question}), None).into());
    }

    let task = fixtures.tasks.spawn(TaskOptions::new(), move |task| {
        Box::pin(async move {
            match name.as_str() {
                "slow_compute" => tokio::select! {
                    result = compute(&arguments) => Ok(result),
                    () = task.cancelled() => Err(TaskExit::Cancelled),
                },
                "confirm_delete" => {
                    let file = said(&arguments["filename"]);
                    let answer = confirmation(&task, "confirm", &format!("Delete {file}?")).await?;
                    Ok(result(format!("The answer is {answer}.")))
                }
                "multi_input" => {
                    let (first, second) = tokio::try_join!(
                        confirmation(&task, "first", "The first?"),
                        confirmation(&task, "second", "The second?"),
                    )?;
                    Ok(result(format!("The answers are {first} and {second}.")))
                }
                "failing_job" => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    let problem = ContentBlock::text("This job always fails.");
                    Ok(CallToolResult::error(vec![problem]))
                }
                "protocol_error_job" => {
                    let problem = ErrorData::internal_error("this job always breaks", None);
                    Err(problem.into())
                }
                "test_tool_with_task" => {
                    let name = user.unwrap_or_default();
                    Ok(result(format!("Hello, {name}!")))
                }
                other => Err(tools::unknown(other).into()),
            }
        })
    });
    Ok(CreateTaskResult::new(task).into())
}

async fn compute(arguments: &Value) -> CallToolResult {
    let seconds = arguments["seconds"].as_f64().unwrap_or_default();
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    result(format!("{} took {seconds} s.", said(&arguments["label"])))
}

async fn confirmation(task: &TaskContext, key: &str, question: &str) -> Result<Value, TaskExit> {
    let question = elicitation(question, "confirm", "boolean");
    let answer = task.request_input(key, wire(question)).await?;
    Ok(answer["content"]["confirm"].clone())
}

fn result(text: String) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

fn said(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
