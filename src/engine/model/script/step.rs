//! One step of a script: as it is written, and what of it the conversation keeps.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::responses::{ApiError, Error, Item, Response, Role, Status};

/// What the model does when it is asked once: the fields in the order in which they are played.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Written")]
pub struct ScriptStep {
    pub delay: Duration,
    pub event: Option<Map<String, Value>>,
    pub reasoning: Option<String>,
    pub item: Option<Item>,
    pub say: Option<Pieces>,
    pub pause: Duration,
    pub end: End,
}

/// A text, in the pieces that it is sent in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "`say` is a text, or a list of its pieces")]
pub enum Pieces {
    One(String),
    Several(Vec<String>),
}

/// How a step ends.
#[derive(Debug, Clone)]
pub enum End {
    /// With calls to be made; without any, the answer is complete.
    Calls(Vec<ScriptCall>),
    Fail(Failure),
    Refuse(Refusal),
    Incomplete(String),
    Cut,
}

/// A call as a script asks for it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptCall {
    pub server_label: Option<String>,
    pub name: String,
    #[serde(default)]
    pub arguments: Arguments,
}

/// What a model writes as arguments: an object, or what should have been one.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "`arguments` is an object or a text")]
pub enum Arguments {
    Object(Map<String, Value>),
    Text(String),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    code: String,
    message: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    status: u16,
    message: String,
    r#type: Option<String>,
    param: Option<String>,
    code: Option<String>,
}

impl ScriptStep {
    /// How many items this step leaves that the next request has again, whoever sends it.
    pub fn size(&self) -> usize {
        let calls = match &self.end {
            End::Calls(calls) => calls.len(),
            End::Fail(_) | End::Refuse(_) | End::Incomplete(_) | End::Cut => 0,
        };
        let item = self.item.as_ref().is_some_and(is_of_model);
        calls + usize::from(item) + usize::from(self.say.is_some())
    }
}

/// Whether an item stands for something that the model said or asked for, counted once: a call
/// that was approved is the same as its approval request. What a client may leave out of what it
/// sends back, as reasoning and items that it does not know, is not counted.
pub fn is_of_model(item: &Item) -> bool {
    match item {
        Item::Message(message) => message.role == Role::Assistant,
        Item::McpCall(call) => call.approval_request_id.is_none(),
        Item::McpApprovalRequest(_) => true,
        Item::Other(fields) => type_of(fields).is_some_and(|it| it.ends_with("_call")),
        Item::McpListTools(_) | Item::McpApprovalResponse(_) => false,
    }
}

impl Pieces {
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(pieces) => pieces,
        }
    }
}

impl Default for Arguments {
    fn default() -> Self {
        Self::Object(Map::new())
    }
}

impl Arguments {
    /// The arguments as an `mcp_call` has them.
    pub fn to_text(&self) -> String {
        match self {
            Self::Object(fields) => Value::Object(fields.clone()).to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

impl From<&Failure> for Error {
    fn from(failure: &Failure) -> Self {
        Self::Failed(ApiError {
            message: failure.message.clone(),
            code: Some(failure.code.clone()),
            ..ApiError::default()
        })
    }
}

impl From<&Refusal> for Error {
    fn from(refusal: &Refusal) -> Self {
        let error = ApiError {
            message: refusal.message.clone(),
            kind: refusal.r#type.clone(),
            param: refusal.param.clone(),
            code: refusal.code.clone(),
        };
        Self::from_refusal(refusal.status, error, None)
    }
}

/// Why an answer is `incomplete`; the response itself is the engine's to make.
pub fn incomplete(reason: &str) -> Error {
    Error::NotCompleted {
        status: Some(Status::Incomplete),
        reason: Some(reason.to_owned()),
        response: Box::new(Response::new(Map::new())),
    }
}

/// A step with the fields that it may have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, deserialize_with = "duration")]
    delay: Duration,
    event: Option<Map<String, Value>>,
    reasoning: Option<String>,
    item: Option<Item>,
    say: Option<Pieces>,
    #[serde(default, deserialize_with = "duration")]
    pause: Duration,
    #[serde(default)]
    calls: Vec<ScriptCall>,
    fail: Option<Failure>,
    refuse: Option<Refusal>,
    incomplete: Option<String>,
    #[serde(default)]
    cut: bool,
}

impl TryFrom<Written> for ScriptStep {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let ends = [
            (!written.calls.is_empty()).then_some(End::Calls(written.calls)),
            written.fail.map(End::Fail),
            written.refuse.map(End::Refuse),
            written.incomplete.map(End::Incomplete),
            written.cut.then_some(End::Cut),
        ];
        let mut ends = ends.into_iter().flatten();
        let end = ends.next().unwrap_or(End::Calls(Vec::new()));
        if ends.next().is_some() {
            return Err(
                "a step ends in one way: with `calls`, `fail`, `refuse`, `incomplete` or `cut`",
            );
        }
        if let Some(event) = &written.event
            && type_of(event).is_none()
        {
            return Err("an `event` has a `type`");
        }
        if let Some(Item::Other(fields)) = &written.item
            && type_of(fields).is_none()
        {
            return Err("an `item` has a `type`");
        }
        if let End::Refuse(refusal) = &end {
            if !(400..600).contains(&refusal.status) {
                return Err("the `status` of `refuse` is one from 400 to 599");
            }
            if written.event.is_some()
                || written.reasoning.is_some()
                || written.item.is_some()
                || written.say.is_some()
            {
                return Err("a step with `refuse` says nothing before it");
            }
        }
        Ok(Self {
            delay: written.delay,
            event: written.event,
            reasoning: written.reasoning,
            item: written.item,
            say: written.say,
            pause: written.pause,
            end,
        })
    }
}

fn type_of(fields: &Map<String, Value>) -> Option<&str> {
    fields.get("type").and_then(Value::as_str)
}

/// A time as a person writes it, such as `250ms` or `1s`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}
