//! Tools that ask before they answer, as MCP 2026-07-28 does it: the question is a result, and the call
//! comes again with the answer.

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, InputRequiredResult, InputResponses, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value, json};

use crate::fixtures::{Fixtures, declares, elicitation, needs, text, wire};
use crate::tools;

const TOOLS: [(&str, &str); 10] = [
    ("test_input_required_result_elicitation", "Asks for a name"),
    ("test_input_required_result_sampling", "Asks the model"),
    ("test_input_required_result_list_roots", "Asks for roots"),
    (
        "test_input_required_result_request_state",
        "Asks, and has the client keep its state",
    ),
    (
        "test_input_required_result_tampered_state",
        "Asks, and has the client keep its state",
    ),
    (
        "test_input_required_result_multiple_inputs",
        "Asks for three things at once",
    ),
    (
        "test_input_required_result_multi_round",
        "Asks once more after the first answer",
    ),
    (
        "test_input_required_result_capabilities",
        "Asks for what the client can do",
    ),
    ("test_streaming_elicitation", "Asks for a name"),
    ("test_missing_capability", "Cannot do without sampling"),
];

pub fn list() -> Vec<Tool> {
    tools::without_arguments(&TOOLS)
}

pub fn has_tool(name: &str) -> bool {
    TOOLS.iter().any(|(tool, _)| *tool == name)
}

pub fn call(
    fixtures: &Fixtures,
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let answers = request.input_responses.as_ref();
    let answer = |key: &str| answers.and_then(|answers| answers.get(key));
    let state = request.request_state.as_deref();
    let state = state.map(|sealed| fixtures.open(sealed)).transpose()?;

    let name = || elicitation("What is your name?", "name", "string");
    let asked = match (&*request.name, state) {
        ("test_input_required_result_elicitation" | "test_streaming_elicitation", _) => {
            if let Some(name) = accepted(answers, "user_name", "name") {
                return Ok(text(format!("Hello, {name}!")));
            }
            ask(json!({"user_name": name()}), None)
        }
        ("test_input_required_result_sampling", _) => {
            if let Some(answer) = answer("capital_question") {
                return Ok(text(format!(
                    "The model says: {}",
                    answer["content"]["text"]
                )));
            }
            let question = sampling("What is the capital of France?", 100);
            ask(json!({"capital_question": question}), None)
        }
        ("test_input_required_result_list_roots", _) => {
            if let Some(answer) = answer("client_roots") {
                return Ok(text(format!("The roots are: {}", answer["roots"])));
            }
            ask(json!({"client_roots": roots()}), None)
        }
        (
            "test_input_required_result_request_state"
            | "test_input_required_result_tampered_state",
            state,
        ) => {
            if state == Some("asked") && answer("confirm").is_some() {
                return Ok(text("state-ok"));
            }
            let question = elicitation("Please confirm", "ok", "boolean");
            ask(json!({"confirm": question}), Some(fixtures.seal("asked")))
        }
        ("test_input_required_result_multiple_inputs", state) => {
            let keys = ["user_name", "greeting", "client_roots"];
            if state == Some("asked") && keys.iter().all(|key| answer(key).is_some()) {
                return Ok(text("All three were answered."));
            }
            let questions = json!({
                "user_name": name(),
                "greeting": sampling("Generate a greeting", 50),
                "client_roots": roots(),
            });
            ask(questions, Some(fixtures.seal("asked")))
        }
        ("test_input_required_result_multi_round", Some("2")) => {
            return Ok(text("Both steps were answered."));
        }
        ("test_input_required_result_multi_round", Some("1")) => {
            let question = elicitation("Step 2: What is your favorite color?", "color", "string");
            ask(json!({"step2": question}), Some(fixtures.seal("2")))
        }
        ("test_input_required_result_multi_round", _) => {
            let question = elicitation("Step 1: What is your name?", "name", "string");
            ask(json!({"step1": question}), Some(fixtures.seal("1")))
        }
        ("test_input_required_result_capabilities", _) => {
            let mut questions = json!({});
            if declares(context, "elicitation") {
                questions["user_name"] = name();
            }
            if declares(context, "sampling") {
                questions["greeting"] = sampling("Generate a greeting", 50);
            }
            ask(questions, None)
        }
        ("test_missing_capability", _) if declares(context, "sampling") => {
            return Ok(text("The client can sample."));
        }
        ("test_missing_capability", _) => return Err(needs(&json!({"sampling": {}}))),
        (other, _) => return Err(tools::unknown(other)),
    };
    Ok(asked.into())
}

/// The questions of a call, by name, and what the client shall bring back with the answers.
pub fn ask(questions: Value, state: Option<String>) -> InputRequiredResult {
    InputRequiredResult::new(Some(wire(questions)), state)
}

/// The `property` of the elicitation `key`, if the user accepted it and filled it in.
pub fn accepted<'a>(
    answers: Option<&'a InputResponses>,
    key: &str,
    property: &str,
) -> Option<&'a str> {
    let answer = answers?.get(key)?;
    (answer["action"] == "accept").then_some(())?;
    answer["content"][property].as_str()
}

fn sampling(question: &str, max_tokens: u32) -> Value {
    let message = json!({"role": "user", "content": {"type": "text", "text": question}});
    json!({
        "method": "sampling/createMessage",
        "params": {"messages": [message], "maxTokens": max_tokens},
    })
}

fn roots() -> Value {
    json!({"method": "roots/list", "params": {}})
}
