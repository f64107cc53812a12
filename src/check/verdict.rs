//! The verdict: what the engine answers, asked as the Responses API is.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::Verdict;
use crate::engine::Engine;
use crate::responses::{self, CreateResponse, Error, Item, MCPTool, McpListToolsTool, ToolEntry};

/// Asks for a response that has no more to it than the tools of this server. The list is that of
/// the response, as far as there is one.
pub async fn ask(
    engine: &Engine,
    entry: &MCPTool,
) -> Result<(Verdict, Vec<McpListToolsTool>), Error> {
    let mut rest = Map::new();
    rest.insert("generate".to_owned(), Value::Bool(false));
    let request = CreateResponse {
        tools: Some(vec![ToolEntry::Mcp(Box::new(entry.clone()))]),
        store: Some(false),
        rest,
        ..CreateResponse::default()
    };
    let events = engine.create_stream(request).await?;
    match responses::read_to_end(events, |_| Ok::<_, Error>(())).await {
        Ok(response) => {
            let lists = response.output().into_iter();
            let lists = lists.filter_map(|item| match Arc::unwrap_or_clone(item) {
                Item::McpListTools(list) => Some(list.tools),
                _ => None,
            });
            let tools: Vec<McpListToolsTool> = lists.flatten().collect();
            let verdict = Verdict::Listed { tools: tools.len() };
            Ok((verdict, tools))
        }
        Err(Error::FailedDependency(failure)) => {
            Ok((Verdict::FailedDependency(failure.error), Vec::new()))
        }
        Err(error) => Err(error),
    }
}
