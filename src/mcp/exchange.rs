//! `Exchange`: what came of a request of ours, handed past rmcp to who made it.
//!
//! rmcp reads an answer into an untagged enum of all results there are, which buffers it several
//! times. So the transports read each answer as what its request asked for, put it here, and give
//! rmcp an empty one. Everything else of the protocol stays rmcp's.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::ErrorData;
use rmcp::model::{
    CallToolResult, ClientJsonRpcMessage, ClientRequest, DiscoverResult, GetExtensions,
    Implementation, InitializeResult, JsonRpcMessage, ListToolsResult, RequestId,
    ServerCapabilities, ServerJsonRpcMessage, ServerResult, Tool,
};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::excess::{
    Excess, MAX_ANSWER, MAX_HEADER_TOOLS, MAX_PARSED, MAX_SMALL_ANSWER, MOST_TOOLS,
};
use crate::budget::{Exhausted, Held, parsed_size};

/// How many of the versions that a server speaks are looked at.
const MOST_VERSIONS: usize = 16;

/// Why an answer was not taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Excess(#[from] Excess),
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    #[error("{0}")]
    NotMcp(String),
}

impl Fault {
    /// A message with the id of a request that is no answer to it.
    pub fn unrecognized() -> Self {
        Self::NotMcp("unrecognized JSON-RPC message".to_owned())
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        /// It may repeat what was sent. It is cut to what is told when secrets are out of it.
        const MAX_TEXT: usize = 64 * 1024;
        Self::NotMcp(error.to_string().chars().take(MAX_TEXT).collect())
    }
}

/// Where the answer to one request is put. It travels with the request, in its extensions.
#[derive(Debug, Default)]
pub struct Exchange {
    outcome: Mutex<Option<Result<Received, Fault>>>,
}

/// An answer, and the share of the budget that it takes.
#[derive(Debug)]
pub struct Received {
    pub answer: Answer,
    pub held: Held,
}

#[derive(Debug)]
pub enum Answer {
    Page(Page),
    Called(CallToolResult),
}

/// A page of a list of tools.
#[derive(Debug, Default)]
pub struct Page {
    pub tools: Vec<Tool>,
    pub next_cursor: Option<String>,
    /// The size of the page as it came.
    pub bytes: usize,
    /// The names of the tools that rmcp looks at for `x-mcp-header`, and what these take in memory.
    pub header_tools: HashSet<String>,
    pub header_tool_bytes: u64,
}

impl Exchange {
    /// What came, if it came.
    pub fn take(&self) -> Option<Result<Received, Fault>> {
        self.lock().take()
    }

    fn put(&self, outcome: Result<Received, Fault>) {
        *self.lock() = Some(outcome);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Result<Received, Fault>>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request of ours whose answer is waited for.
#[derive(Debug, Clone)]
pub struct Awaited {
    id: RequestId,
    kind: Kind,
    exchange: Option<Arc<Exchange>>,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Discovery,
    Initialization,
    Page,
    Call,
    Other,
}

impl Awaited {
    /// The request in this message, if it is one.
    pub fn read(message: &ClientJsonRpcMessage) -> Option<Self> {
        let JsonRpcMessage::Request(request) = message else {
            return None;
        };
        let kind = match &request.request {
            ClientRequest::DiscoverRequest(_) => Kind::Discovery,
            ClientRequest::InitializeRequest(_) => Kind::Initialization,
            ClientRequest::ListToolsRequest(_) => Kind::Page,
            ClientRequest::CallToolRequest(_) => Kind::Call,
            _ => Kind::Other,
        };
        Some(Self {
            id: request.id.clone(),
            kind,
            exchange: request.request.extensions().get().cloned(),
        })
    }

    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// Whether it is `server/discover`, which older servers refuse in any way.
    pub fn is_discovery(&self) -> bool {
        self.kind == Kind::Discovery
    }

    /// Whether an answer with this id is to this request; numbers may come back as text.
    pub fn has_id(&self, id: &RawValue) -> bool {
        id.get().trim_matches('"') == self.id.to_string()
    }

    /// The most bytes that its answer may have.
    pub fn limit(&self) -> usize {
        match self.kind {
            Kind::Page | Kind::Call => MAX_ANSWER,
            Kind::Discovery | Kind::Initialization | Kind::Other => MAX_SMALL_ANSWER,
        }
    }

    /// Reads the answer, and puts it where it is waited for; what is returned is for rmcp. `held` is
    /// the share of the bytes that came; afterwards it is that of what was made of them.
    ///
    /// # Errors
    /// The answer is not what was asked for, or too large.
    pub fn answer(
        &self,
        outcome: Result<&RawValue, &RawValue>,
        held: Held,
    ) -> Result<ServerJsonRpcMessage, Fault> {
        let result = match outcome {
            Ok(result) => self.result(result, held)?,
            Err(error) => {
                let mut error: ErrorData = parse_small(error, held)?;
                if self.kind != Kind::Discovery {
                    error.data = None;
                }
                return Ok(ServerJsonRpcMessage::error(error, Some(self.id.clone())));
            }
        };
        Ok(ServerJsonRpcMessage::response(result, self.id.clone()))
    }

    /// Tells who waits why there is no answer; what is returned is for rmcp. `None` if it is rmcp
    /// itself that waits.
    pub fn fail(&self, fault: Fault) -> Option<ServerJsonRpcMessage> {
        let exchange = self.exchange.as_ref()?;
        exchange.put(Err(fault));
        let error = ErrorData::internal_error("the answer was not taken", None);
        Some(ServerJsonRpcMessage::error(error, Some(self.id.clone())))
    }

    fn result(&self, result: &RawValue, mut held: Held) -> Result<ServerResult, Fault> {
        match (self.kind, &self.exchange) {
            // Of what a server says of itself, which rmcp keeps, only the version is of use.
            (Kind::Discovery, _) => {
                let mut result: DiscoverResult = parse_small(result, held)?;
                result.supported_versions.truncate(MOST_VERSIONS);
                result.capabilities = ServerCapabilities::default();
                result.instructions = None;
                result.meta = None;
                Ok(ServerResult::DiscoverResult(result))
            }
            (Kind::Initialization, _) => {
                let mut result: InitializeResult = parse_small(result, held)?;
                result.capabilities = ServerCapabilities::default();
                result.server_info = Implementation::default();
                result.instructions = None;
                result.meta = None;
                Ok(ServerResult::InitializeResult(result))
            }
            (Kind::Page, Some(exchange)) => {
                let size = hold_parsed(result, MAX_PARSED, &mut held)?;
                let (page, for_rmcp) = read_page(result)?;
                held.shrink_to(size);
                let answer = Answer::Page(page);
                exchange.put(Ok(Received { answer, held }));
                Ok(ServerResult::ListToolsResult(for_rmcp))
            }
            (Kind::Call, Some(exchange)) if is_complete(result)? => {
                let size = hold_parsed(result, MAX_PARSED, &mut held)?;
                let answer = Answer::Called(serde_json::from_str(result.get())?);
                held.shrink_to(size);
                exchange.put(Ok(Received { answer, held }));
                Ok(ServerResult::CallToolResult(CallToolResult::default()))
            }
            _ => parse_small(result, held),
        }
    }
}

/// Whether the result of a call is the last word of it (MCP 2026-07-28, `resultType`).
fn is_complete(result: &RawValue) -> Result<bool, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        result_type: Option<String>,
    }
    let Typed { result_type } = serde_json::from_str(result.get())?;
    Ok(result_type.is_none_or(|it| it == "complete"))
}

fn parse_small<T: DeserializeOwned>(json: &RawValue, mut held: Held) -> Result<T, Fault> {
    /// Such an answer is read again by rmcp's untagged enums.
    const MAX_PARSED_SMALL: u64 = MAX_PARSED / 8;
    if json.get().len() > MAX_SMALL_ANSWER {
        return Err(Excess::Answer(MAX_SMALL_ANSWER).into());
    }
    hold_parsed(json, MAX_PARSED_SMALL, &mut held)?;
    Ok(serde_json::from_str(json.get())?)
}

/// Holds what the text takes once it is parsed.
fn hold_parsed(json: &RawValue, limit: u64, held: &mut Held) -> Result<u64, Fault> {
    let size = parsed_size(json.get().as_bytes());
    if size > limit {
        return Err(Excess::Parsed(limit).into());
    }
    held.grow(size)?;
    Ok(size)
}

/// Reads a page of tools, and what rmcp is told of it: the tools whose arguments it is to send in
/// headers (MCP 2026-07-28, `x-mcp-header`), for it remembers these, and drops those whose
/// annotations are invalid.
fn read_page(result: &RawValue) -> Result<(Page, ListToolsResult), Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RawPage<'a> {
        #[serde(borrow)]
        tools: RawTools<'a>,
        next_cursor: Option<String>,
    }
    let RawPage { tools, next_cursor } = serde_json::from_str(result.get())?;
    if tools.is_more {
        return Err(Excess::Tools.into());
    }
    let mut page = Page {
        tools: Vec::with_capacity(tools.tools.len()),
        next_cursor,
        bytes: result.get().len(),
        ..Page::default()
    };
    let mut for_rmcp = Vec::new();
    for json in tools.tools {
        let tool: Tool = serde_json::from_str(json.get())?;
        if json.get().contains("x-mcp-header") {
            page.header_tool_bytes += parsed_size(json.get().as_bytes());
            if page.header_tool_bytes > MAX_HEADER_TOOLS {
                return Err(Excess::HeaderTools.into());
            }
            page.header_tools.insert(tool.name.to_string());
            for_rmcp.push(tool.clone());
        }
        page.tools.push(tool);
    }
    Ok((page, ListToolsResult::with_all_items(for_rmcp)))
}

/// The tools of a page, unread, and no more of them than a server may have.
#[derive(Default)]
struct RawTools<'a> {
    tools: Vec<&'a RawValue>,
    is_more: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for RawTools<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tools;

        impl<'de> Visitor<'de> for Tools {
            type Value = RawTools<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of tools")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut read = RawTools::default();
                while read.tools.len() < MOST_TOOLS {
                    match seq.next_element()? {
                        Some(tool) => read.tools.push(tool),
                        None => return Ok(read),
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    read.is_more = true;
                }
                Ok(read)
            }
        }

        deserializer.deserialize_seq(Tools)
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::{CallToolRequest, CallToolRequestParams, ListToolsRequest};
    use serde_json::{Value, json};

    use super::*;
    use crate::budget::Budget;

    /// A request with a place for its answer.
    fn asked(mut request: ClientRequest) -> (Awaited, Arc<Exchange>) {
        let exchange = Arc::<Exchange>::default();
        request.extensions_mut().insert(Arc::clone(&exchange));
        let message = ClientJsonRpcMessage::request(request, RequestId::Number(7));
        (Awaited::read(&message).unwrap(), exchange)
    }

    fn list() -> ClientRequest {
        ClientRequest::ListToolsRequest(ListToolsRequest::default())
    }

    fn call() -> ClientRequest {
        ClientRequest::CallToolRequest(CallToolRequest::new(CallToolRequestParams::new("a")))
    }

    fn raw(json: &Value) -> Box<RawValue> {
        RawValue::from_string(json.to_string()).unwrap()
    }

    fn tools(number: usize) -> Value {
        let tool = |number| json!({"name": format!("tool_{number}"), "inputSchema": {}});
        json!({"tools": (0..number).map(tool).collect::<Vec<_>>()})
    }

    #[test]
    fn an_answer_goes_to_who_asked_and_rmcp_gets_an_empty_one() {
        let budget = Budget::new(1_000_000);
        let (awaited, exchange) = asked(list());
        let json = raw(&json!({"tools": [
            {"name": "a", "inputSchema": {}},
            {"name": "b", "inputSchema": {"properties": {"c": {"x-mcp-header": "C"}}}},
        ], "nextCursor": "2"}));
        let bytes = json.get().len() as u64;
        let held = budget.hold(bytes).unwrap();
        let told = awaited.answer(Ok(&json), held).unwrap();
        let JsonRpcMessage::Response(told) = told else {
            panic!("{told:?}");
        };
        let ServerResult::ListToolsResult(told) = told.result else {
            panic!("{told:?}");
        };
        assert_eq!(told.tools[0].name, "b");
        assert_eq!(told.tools.len(), 1);
        let Received { answer, held } = exchange.take().unwrap().unwrap();
        let Answer::Page(page) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!((page.tools.len(), page.bytes as u64), (2, bytes));
        assert_eq!(page.next_cursor.as_deref(), Some("2"));
        assert!(page.header_tools.contains("b"));
        // The text itself is given back, and what was made of it is held.
        assert_eq!(budget.used(), parsed_size(json.get().as_bytes()));
        drop(held);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_list_of_too_many_tools_is_not_read() {
        let fault = |result: Value| {
            let (awaited, exchange) = asked(list());
            let held = Budget::unlimited().empty();
            let fault = awaited.answer(Ok(&raw(&result)), held).unwrap_err();
            assert!(exchange.take().is_none());
            fault.to_string()
        };
        let most = tools(MOST_TOOLS);
        let (awaited, _) = asked(list());
        let held = Budget::unlimited().empty();
        assert!(awaited.answer(Ok(&raw(&most)), held).is_ok());
        assert_eq!(
            fault(tools(MOST_TOOLS + 1)),
            "a list of more than 20000 tools"
        );
        let deep = json!({"tools": [], "x": vec![json!({}); 600_000]});
        assert_eq!(
            fault(deep),
            "an answer that takes more than 96 MiB in memory"
        );
        let header = json!({"x-mcp-header": "A", "description": "x".repeat(600 * 1024)});
        let header = json!({"properties": {"a": header}});
        assert_eq!(
            fault(json!({"tools": [{"name": "a", "inputSchema": header}]})),
            "tools with `x-mcp-header` that take more than 512 KiB in memory"
        );
        assert!(fault(json!({})).contains("missing field `tools`"));
    }

    #[test]
    fn an_answer_that_does_not_fit_the_budget_is_not_parsed() {
        let budget = Budget::new(2000);
        let (awaited, exchange) = asked(call());
        let json = raw(&json!({"content": [{"type": "text", "text": "a"}, {}, {}]}));
        let held = budget.hold(json.get().len() as u64).unwrap();
        let fault = awaited.answer(Ok(&json), held).unwrap_err();
        assert!(matches!(fault, Fault::Exhausted(_)), "{fault}");
        assert!(exchange.take().is_none());
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_call_that_needs_input_is_left_to_rmcp() {
        let (awaited, exchange) = asked(call());
        let json = raw(&json!({"resultType": "input_required", "requestState": "a"}));
        let told = awaited.answer(Ok(&json), Budget::unlimited().empty());
        let Ok(JsonRpcMessage::Response(told)) = told else {
            panic!("{told:?}");
        };
        assert!(matches!(told.result, ServerResult::InputRequiredResult(_)));
        assert!(exchange.take().is_none());
        for json in [json!({}), json!({"content": 1}), json!([])] {
            let told = awaited.answer(Ok(&raw(&json)), Budget::unlimited().empty());
            assert!(matches!(told, Err(Fault::NotMcp(_))), "{json}");
        }
    }
}
