//! What a step asks of the upstream: one request, with all that was said.

use serde_json::{Value, json};

use super::input::input;
use crate::engine::choice;
use crate::engine::model::View;
use crate::engine::model::names::Names;
use crate::responses::{self, CreateResponse, Input, ToolChoice, ToolChoiceMode, ToolEntry};

/// The request of one step: the whole conversation, for the upstream keeps nothing of it.
pub fn for_step(view: &View<'_>, names: &Names) -> CreateResponse {
    let CreateResponse {
        model,
        instructions,
        max_output_tokens,
        parallel_tool_calls,
        temperature,
        top_p,
        metadata,
        stream,
        rest,
        // These are the engine's business: whom to call, how often, and what was said before.
        input: _,
        tools: _,
        tool_choice: _,
        max_tool_calls: _,
        previous_response_id: _,
        store: _,
    } = view.request;
    let tools: Vec<ToolEntry> = functions(view, names).chain(clients_tools(view)).collect();
    let tool_choice = tool_choice(view).filter(|_| !tools.is_empty());
    let mut request = CreateResponse {
        model: model.clone(),
        instructions: instructions.clone(),
        input: Input::Items(input(view.items, names)),
        tools: Some(tools).filter(|tools| !tools.is_empty()),
        tool_choice,
        max_output_tokens: *max_output_tokens,
        parallel_tool_calls: *parallel_tool_calls,
        temperature: *temperature,
        top_p: *top_p,
        metadata: metadata.clone(),
        stream: *stream,
        rest: rest.clone(),
        ..CreateResponse::default()
    };
    for of_engine in ["background", "background_options", "generate"] {
        request.rest.remove(of_engine);
    }
    responses::forget(&mut request);
    request
}

/// What the client has of its own, as it is. Where a call of an MCP tool is demanded, no other will do.
fn clients_tools(view: &View<'_>) -> impl Iterator<Item = ToolEntry> {
    let choice = view.request.tool_choice.as_ref();
    let demands_mcp = view.must_call && matches!(choice, Some(ToolChoice::Mcp(_)));
    let tools = view.request.tools.iter().flatten();
    let tools = tools.filter(move |entry| match entry {
        ToolEntry::Mcp(_) => false,
        ToolEntry::Other(fields) => !demands_mcp && choice::leaves_other(choice, fields),
    });
    tools.cloned()
}

/// Which of the tools that go with the step may, or must, be called.
fn tool_choice(view: &View<'_>) -> Option<ToolChoice> {
    match &view.request.tool_choice {
        // MCP tools do not go with it then, but the client's do.
        Some(choice @ ToolChoice::Mode(ToolChoiceMode::None)) => Some(choice.clone()),
        Some(choice @ ToolChoice::Other(_)) if view.must_call => Some(choice.clone()),
        _ => view
            .must_call
            .then_some(ToolChoice::Mode(ToolChoiceMode::Required)),
    }
}

/// The callable tools as functions (Responses API, function tools).
fn functions<'a>(
    view: &'a View<'_>,
    names: &'a Names,
) -> impl Iterator<Item = ToolEntry> + use<'a> {
    view.tools.iter().filter_map(|listed| {
        let name = names.function_name(listed.server_label, &listed.tool.name)?;
        let of_server = description_of(view.request, listed.server_label);
        let descriptions = [listed.tool.description.as_deref(), of_server];
        let descriptions: Vec<&str> = descriptions.into_iter().flatten().collect();
        let function = json!({
            "type": "function",
            "name": name,
            "description": (!descriptions.is_empty()).then(|| descriptions.join("\n\n")),
            "parameters": parameters(&listed.tool.input_schema),
            // Not said, it is true, and the API then refuses most schemas of MCP servers.
            "strict": false,
        });
        match function {
            Value::Object(function) => Some(ToolEntry::Other(function)),
            _ => unreachable!("the function above is an object"),
        }
    })
}

/// The schema as it is; one without properties, as many tools without arguments have, says so.
fn parameters(input_schema: &Value) -> Value {
    let mut parameters = input_schema.clone();
    if let Value::Object(fields) = &mut parameters {
        let fields_of_object = [("type", json!("object")), ("properties", json!({}))];
        for (field, value) in fields_of_object {
            fields.entry(field).or_insert(value);
        }
    }
    parameters
}

fn description_of<'a>(request: &'a CreateResponse, server_label: &str) -> Option<&'a str> {
    let mut entries = request.mcp_tools();
    let entry = entries.find(|it| it.server_label == server_label)?;
    entry.server_description.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::ListedTool;

    /// What goes upstream where the dice server's tool may be called, and must be if `must_call`.
    fn sent(tool_choice: &Value, must_call: bool) -> (Vec<String>, Value) {
        let request: CreateResponse = serde_json::from_value(json!({
            "tools": [{"type": "function", "name": "own"}], "tool_choice": tool_choice,
        }))
        .unwrap();
        let tool = json!({"name": "roll", "input_schema": {}});
        let list = json!({"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "dice",
            "tools": [tool]});
        let list = serde_json::from_value(list).unwrap();
        let tool = serde_json::from_value(tool).unwrap();
        let tools = [ListedTool {
            server_label: "dice",
            tool: &tool,
        }];
        let view = View {
            request: &request,
            items: &[&list],
            tools: &tools,
            must_call,
        };
        let names = Names::new(["own"].into_iter(), view.items);
        let sent = serde_json::to_value(for_step(&view, &names)).unwrap();
        let tools = sent["tools"].as_array().unwrap().iter();
        let names = tools.map(|tool| tool["name"].as_str().unwrap().to_owned());
        (names.collect(), sent["tool_choice"].clone())
    }

    #[test]
    fn a_call_is_demanded_as_the_client_demands_it() {
        let own = json!({"type": "function", "name": "own"});
        let mcp = json!({"type": "mcp", "server_label": "dice"});
        for (tool_choice, must_call, tools, expected) in [
            (json!("auto"), false, &["roll", "own"][..], Value::Null),
            (json!("none"), false, &["roll", "own"], json!("none")),
            (json!("required"), true, &["roll", "own"], json!("required")),
            (own.clone(), true, &["roll", "own"], own.clone()),
            (own, false, &["roll", "own"], Value::Null),
            (mcp.clone(), true, &["roll"], json!("required")),
            (mcp, false, &["roll", "own"], Value::Null),
        ] {
            let (names, choice) = sent(&tool_choice, must_call);
            assert_eq!(names, tools, "{tool_choice} {must_call}");
            assert_eq!(choice, expected, "{tool_choice} {must_call}");
        }
    }
}
