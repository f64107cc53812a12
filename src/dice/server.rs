//! `DiceServer`: the roll in MCP's terms.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, GetPromptRequestParams,
    GetPromptResponse, Implementation, InitializeResult, JsonObject, ListToolsResult,
    PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities,
    Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};

use super::roll::{N_DICE, Roller, n_dice};

/// The dice server: one tool, `roll_dice(n_dice: int) -> list[int]`. Cloning shares the roller.
#[derive(Debug, Clone, Default)]
pub struct DiceServer {
    roller: Arc<Roller>,
}

impl DiceServer {
    /// A dice server that rolls with `roller`.
    pub fn new(roller: Roller) -> Self {
        Self {
            roller: Arc::new(roller),
        }
    }

    /// The result of a call; a defect of ours is an error of the protocol, for rmcp would never
    /// answer a call that panics.
    fn roll_dice(&self, arguments: &JsonObject) -> Result<CallToolResult, ErrorData> {
        let n_dice = match n_dice(arguments) {
            Ok(n_dice) => n_dice,
            Err(refusal) => {
                let refusal = ContentBlock::text(refusal.to_string());
                return Ok(CallToolResult::error(vec![refusal]));
            }
        };
        let dice = catch_unwind(AssertUnwindSafe(|| self.roller.roll(n_dice)))
            .map_err(|_| ErrorData::internal_error("the dice could not be rolled", None))?;
        let dice = json!(dice);
        // FastMCP's text of a wrapped result is the list alone; a model reads that with less noise.
        let text = ContentBlock::text(dice.to_string());
        let mut result = CallToolResult::structured(json!({"result": dice}));
        result.content = vec![text];
        Ok(result)
    }
}

impl ServerHandler for DiceServer {
    fn get_info(&self) -> InitializeResult {
        // Clients that ask for prompts, resources or completions get empty lists, which rmcp answers for
        // declared capabilities only.
        let capabilities = ServerCapabilities::builder()
            .enable_completions()
            .enable_prompts()
            .enable_resources()
            .enable_tools()
            .build();
        InitializeResult::new(capabilities).with_server_info(Implementation::new(
            "Dice Roller",
            env!("CARGO_PKG_VERSION"),
        ))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(vec![roll_dice_tool()]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if request.name != "roll_dice" {
            return Err(ErrorData::invalid_params(
                format!("Unknown tool: {}", request.name),
                None,
            ));
        }
        let result = self.roll_dice(&request.arguments.unwrap_or_default())?;
        Ok(result.into())
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        Err(ErrorData::invalid_params(
            format!("Unknown prompt: {}", request.name),
            None,
        ))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        Err(ErrorData::resource_not_found(
            "Resource not found",
            Some(json!({"uri": request.uri})),
        ))
    }
}

fn roll_dice_tool() -> Tool {
    Tool::new(
        "roll_dice",
        "Roll `n_dice` 6-sided dice and return the results.",
        object(json!({
            "type": "object",
            "properties": {
                "n_dice": {
                    "type": "integer",
                    "minimum": N_DICE.start(),
                    "maximum": N_DICE.end(),
                },
            },
            "required": ["n_dice"],
            "additionalProperties": false,
        })),
    )
    .with_title("Roll Dice")
    .with_raw_output_schema(Arc::new(object(json!({
        "type": "object",
        "properties": {"result": {"type": "array", "items": {"type": "integer"}}},
        "required": ["result"],
        // FastMCP's client gives its caller the list then.
        "x-fastmcp-wrap-result": true,
    }))))
    .with_annotations(
        ToolAnnotations::new()
            .read_only(true)
            .destructive(false)
            .open_world(false),
    )
}

fn object(schema: Value) -> JsonObject {
    match schema {
        Value::Object(object) => object,
        other => unreachable!("the schemas above are objects, not {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roll_that_panics_is_answered() {
        let server = DiceServer::new(Roller::Broken);
        let arguments = object(json!({"n_dice": 1}));
        let error = server.roll_dice(&arguments).unwrap_err();
        assert_eq!(error.code.0, -32603);
    }
}
