//! `Fixtures`: every request that a scenario makes, sent to the file that answers it.

#![expect(
    deprecated,
    reason = "MCP 2025-11-25 has logging, and a scenario asks for it"
)]

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CancelTaskParams, CompleteRequestParams,
    CompleteResult, CompletionInfo, ErrorCode, GetPromptRequestParams, GetPromptResponse,
    GetTaskParams, GetTaskResult, Implementation, InitializeResult, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities, SetLevelRequestParams,
    SubscribeRequestParams, SubscriptionFilter, Tool, UnsubscribeRequestParams, UpdateTaskParams,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::task_manager::TaskManager;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::{input_required, prompts, resources, tasks, tools};

/// A list that a tool says has changed.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    Tools,
    Prompts,
}

/// The server that the suite asks for. Clones share what must outlive a request.
#[derive(Clone)]
pub struct Fixtures {
    pub changes: broadcast::Sender<Change>,
    pub tasks: TaskManager,
    seal: hmac::Key,
}

impl Fixtures {
    pub fn new() -> Self {
        Self {
            changes: broadcast::Sender::new(8),
            tasks: TaskManager::new(),
            seal: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
                .expect("the operating system has randomness"),
        }
    }

    /// `state` as a client may carry it: readable, and of no use once changed.
    pub fn seal(&self, state: &str) -> String {
        let tag = hmac::sign(&self.seal, state.as_bytes());
        format!("{state}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
    }

    /// What `seal` was given, or an error for what it never gave.
    pub fn open<'a>(&self, sealed: &'a str) -> Result<&'a str, ErrorData> {
        let opened = || {
            let (state, tag) = sealed.split_once('.')?;
            let tag = BASE64_URL_SAFE_NO_PAD.decode(tag).ok()?;
            let is_ours = hmac::verify(&self.seal, state.as_bytes(), &tag).is_ok();
            is_ours.then_some(state)
        };
        opened().ok_or_else(|| ErrorData::invalid_params("that requestState is not ours", None))
    }
}

impl ServerHandler for Fixtures {
    fn get_info(&self) -> InitializeResult {
        let capabilities = ServerCapabilities::builder()
            .enable_logging()
            .enable_completions()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_tasks()
            .build();
        InitializeResult::new(capabilities).with_server_info(Implementation::new(
            "Conformance fixtures",
            env!("CARGO_PKG_VERSION"),
        ))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::list()))
    }

    /// rmcp compares `Mcp-Param-*` headers with the schema that this gives.
    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::list().into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if input_required::has_tool(&request.name) {
            input_required::call(self, &request, &context)
        } else if tasks::has_tool(&request.name) {
            tasks::call(self, &request, &context).await
        } else {
            tools::call(self, &request, &context).await
        }
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(prompts::list()))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        prompts::get(&request)
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let begun = &request.argument.value;
        let values = ["paris", "park", "party"].map(str::to_owned);
        let values = values.into_iter().filter(|it| it.starts_with(begun));
        CompletionInfo::with_all_values(values.collect())
            .map(CompleteResult::new)
            .map_err(|problem| ErrorData::internal_error(problem, None))
    }

    async fn set_level(
        &self,
        _request: SetLevelRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(resources::list()))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let templates = resources::templates();
        Ok(ListResourceTemplatesResult::with_all_items(templates))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        resources::read(&request.uri)
    }

    async fn subscribe(
        &self,
        _request: SubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.changes.subscribe();
        let sink = subscription.sink();
        loop {
            let change = tokio::select! {
                () = subscription.cancelled() => return Ok(()),
                change = changes.recv() => change,
            };
            // The sink refuses what the client did not ask for, and that is the point.
            let _refused = match change {
                Ok(Change::Tools) => sink.notify_tool_list_changed().await,
                Ok(Change::Prompts) => sink.notify_prompt_list_changed().await,
                Err(_) => return Ok(()),
            };
        }
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        self.tasks
            .get_task(&request.task_id)
            .map(GetTaskResult::new)
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.tasks
            .update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.tasks.cancel_task(&request.task_id)
    }
}

/// A fixture as the suite documents it, in JSON, in rmcp's terms.
pub fn wire<T: DeserializeOwned>(fixture: Value) -> T {
    serde_json::from_value(fixture).expect("a fixture is written as its type is on the wire")
}

/// A result that is all there is; rmcp leaves `resultType` out for those who do not know it.
pub fn complete<T: DeserializeOwned>(mut result: Value) -> T {
    result["resultType"] = json!("complete");
    wire(result)
}

/// The result of a tool that says one thing.
pub fn text(text: impl Into<String>) -> CallToolResponse {
    let content = json!([{"type": "text", "text": text.into()}]);
    CallToolResponse::Complete(complete(json!({"content": content})))
}

/// An `elicitation/create` request for one property.
pub fn elicitation(message: &str, property: &str, kind: &str) -> Value {
    json!({
        "method": "elicitation/create",
        "params": {
            "mode": "form",
            "message": message,
            "requestedSchema": {
                "type": "object",
                "properties": {property: {"type": kind}},
                "required": [property],
            },
        },
    })
}

/// The refusal of a call that needs more of the client than it declared.
pub fn needs(capabilities: &Value) -> ErrorData {
    ErrorData::new(
        ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY,
        "the client has not declared what this call needs",
        Some(json!({"requiredCapabilities": capabilities})),
    )
}

/// Whether the client declared `capability`, such as `sampling`.
pub fn declares(context: &RequestContext<RoleServer>, capability: &str) -> bool {
    let capabilities = json!(context.client_capabilities());
    !capabilities[capability].is_null()
}
