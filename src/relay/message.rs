//! The messages of one side as those of the other: other ids, and what one era of MCP has and the other
//! has not. Everything else stays as it was sent, byte for byte.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use axum::body::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::caller::{Caller, MODERN, Session};
use crate::http::Message;
use crate::mcp::Era;
use crate::mcp::channel::{Answer, splice};

/// What the fields of `_meta` begin with that say who sends a request (MCP 2026-07-28).
const RESERVED: &str = "io.modelcontextprotocol/";

/// What the parameters of a message say that the relay acts on.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Params<'a> {
    #[serde(borrow, rename = "_meta")]
    pub meta: Option<&'a RawValue>,
    /// Of a tool or a prompt.
    pub name: Option<Cow<'a, str>>,
    /// Of a resource.
    pub uri: Option<Cow<'a, str>>,
    /// Of a task.
    pub task_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub arguments: Option<&'a RawValue>,
    /// Of `initialize`.
    pub protocol_version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub capabilities: Option<&'a RawValue>,
    /// Of `notifications/cancelled`.
    #[serde(borrow)]
    pub request_id: Option<&'a RawValue>,
    /// Of `logging/setLevel`.
    pub level: Option<Cow<'a, str>>,
    /// Of a request that is made again with what the server asked for (MCP 2026-07-28).
    pub request_state: Option<Cow<'a, str>>,
    pub input_responses: Option<HashMap<String, Box<RawValue>>>,
}

/// What `_meta` says that the relay acts on.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Meta<'a> {
    #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
    pub version: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "io.modelcontextprotocol/clientCapabilities")]
    pub capabilities: Option<&'a RawValue>,
    #[serde(borrow, rename = "progressToken")]
    pub progress_token: Option<&'a RawValue>,
}

impl<'a> Params<'a> {
    pub fn of(message: &'a Message) -> Self {
        message.params().unwrap_or_default()
    }

    /// What a request of this method is about, as its header `Mcp-Name` repeats it.
    pub fn subject(&self, method: &str) -> Option<&str> {
        match method {
            "tools/call" | "prompts/get" => self.name.as_deref(),
            "resources/read" => self.uri.as_deref(),
            "tasks/get" | "tasks/update" | "tasks/cancel" => self.task_id.as_deref(),
            _ => None,
        }
    }

    pub fn meta(&self) -> Meta<'a> {
        let meta = self.meta.and_then(|it| serde_json::from_str(it.get()).ok());
        meta.unwrap_or_default()
    }
}

/// A request of a caller, as the server gets it under the id `id`.
pub fn outgoing(
    message: &Message,
    params: &Params<'_>,
    id: u64,
    caller: &Caller,
    era: &Era,
) -> Bytes {
    let id = id.to_string();
    let meta = meta_for(params, &id, caller, era);
    let mut parts: Vec<(Range<usize>, Cow<'_, [u8]>)> = Vec::new();
    if let Some(place) = message.place_of_id() {
        parts.push((place, id.as_bytes().into()));
    }
    if let Some(meta) = meta {
        parts.push(place_meta(message, params, &meta));
    }
    spliced(&message.body, parts)
}

/// A notification of a caller, as the server gets it.
pub fn notification(message: &Message, params: &Params<'_>, caller: &Caller, era: &Era) -> Bytes {
    match meta_for(params, "", caller, era) {
        Some(meta) if params.meta.is_some() => {
            let place = place_meta(message, params, &meta);
            spliced(&message.body, vec![place])
        }
        _ => message.body.clone(),
    }
}

fn spliced(body: &[u8], mut parts: Vec<(Range<usize>, Cow<'_, [u8]>)>) -> Bytes {
    parts.sort_by_key(|(place, _)| place.start);
    let parts: Vec<(&Range<usize>, &[u8])> = parts.iter().map(|(at, with)| (at, &**with)).collect();
    splice(body, &parts)
}

/// The `_meta` that the server gets in place of the caller's, if it is another one.
fn meta_for(params: &Params<'_>, id: &str, caller: &Caller, era: &Era) -> Option<String> {
    let has_token = params
        .meta
        .is_some_and(|it| it.get().contains("progressToken"));
    let is_modern = *era == Era::Modern;
    if caller.is_modern == is_modern && !has_token {
        return None;
    }
    let old = params.meta.map_or("{}", RawValue::get);
    let mut meta: BTreeMap<Cow<'_, str>, Cow<'_, RawValue>> = BTreeMap::new();
    let read: BTreeMap<String, &RawValue> = serde_json::from_str(old).ok()?;
    for (name, value) in read {
        let is_reserved = name.starts_with(RESERVED);
        if is_modern || !is_reserved {
            meta.insert(name.into(), Cow::Borrowed(value));
        }
    }
    // Tokens are of one caller, and those of several may be the same.
    if let Some(token) = meta.get_mut("progressToken") {
        *token = Cow::Owned(raw(&id.parse::<u64>().ok()?));
    }
    if is_modern && !caller.is_modern {
        let session = caller.session.as_deref();
        let capabilities = session.map_or_else(|| raw(&json!({})), |it| it.capabilities.clone());
        meta.insert(
            format!("{RESERVED}protocolVersion").into(),
            Cow::Owned(raw(&MODERN)),
        );
        let client = json!({"name": "mcp-cli", "version": env!("CARGO_PKG_VERSION")});
        meta.insert(
            format!("{RESERVED}clientInfo").into(),
            Cow::Owned(raw(&client)),
        );
        meta.insert(
            format!("{RESERVED}clientCapabilities").into(),
            Cow::Owned(capabilities),
        );
        if let Some(level) = session.and_then(Session::log_level) {
            meta.insert(
                format!("{RESERVED}logLevel").into(),
                Cow::Owned(raw(&level)),
            );
        }
    }
    serde_json::to_string(&meta).ok()
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    let Ok(raw) = to_raw_value(value) else {
        unreachable!("texts, numbers and our own objects are JSON");
    };
    raw
}

/// Where a `_meta` goes: in place of the old one, at the beginning of the parameters, or with
/// parameters of its own at the end of the message.
fn place_meta<'a>(
    message: &Message,
    params: &Params<'_>,
    meta: &str,
) -> (Range<usize>, Cow<'a, [u8]>) {
    let body = &message.body;
    if let Some(old) = params.meta {
        let start = old.get().as_ptr().addr() - body.as_ptr().addr();
        return (
            start..start + old.get().len(),
            meta.as_bytes().to_vec().into(),
        );
    }
    into_params(message, &format!(r#""_meta":{meta}"#))
}

/// Where a field of the parameters goes: to their beginning, or to the end of a message without any.
fn into_params<'a>(message: &Message, field: &str) -> (Range<usize>, Cow<'a, [u8]>) {
    let body = &message.body;
    if let Some(place) = message.place_of_params() {
        let inside = &body[place.start + 1..place.end];
        let is_empty = inside.trim_ascii_start().starts_with(b"}");
        let comma = if is_empty { "" } else { "," };
        let at = place.start + 1;
        return (at..at, format!("{field}{comma}").into_bytes().into());
    }
    let end = body.trim_ascii_end().len() - 1;
    let added = format!(r#","params":{{{field}}}"#);
    (end..end, added.into_bytes().into())
}

/// A request with these fields in its parameters as well.
pub fn with_params(message: &Message, fields: &Value) -> Option<Message> {
    let fields = fields.to_string();
    let fields = fields.strip_prefix('{')?.strip_suffix('}')?;
    let place = into_params(message, fields);
    Message::read(spliced(&message.body, vec![place])).ok()
}

/// The server's answer, as the caller gets it.
pub fn incoming(
    answer: &Answer,
    id: &[u8],
    result: Option<&str>,
    caller: &Caller,
    era: &Era,
    method: &str,
) -> Bytes {
    let result = match (answer.outcome(), result) {
        (Err(_), _) => None,
        (Ok(_), Some(result)) => Some(Cow::Borrowed(result)),
        (Ok(result), None) => {
            (caller.is_modern && *era != Era::Modern).then_some(Cow::Borrowed(result))
        }
    };
    let result = match result {
        Some(result) if caller.is_modern && *era != Era::Modern => modern_result(&result, method),
        Some(result) => Some(result.into_owned()),
        None => None,
    };
    answer.with(id, result.as_deref().map(str::as_bytes))
}

/// A result of a server older than MCP 2026-07-28 with what that version demands of results.
fn modern_result(result: &str, method: &str) -> Option<String> {
    let rest = result.trim_start().strip_prefix('{')?;
    let is_cacheable = matches!(
        method,
        "tools/list"
            | "prompts/list"
            | "resources/list"
            | "resources/templates/list"
            | "resources/read"
    );
    let cached = if is_cacheable {
        r#","ttlMs":0,"cacheScope":"private""#
    } else {
        ""
    };
    let comma = if rest.trim_start().starts_with('}') {
        ""
    } else {
        ","
    };
    Some(format!(r#"{{"resultType":"complete"{cached}{comma}{rest}"#))
}

/// A message with another id, or another name of a request.
pub fn with_id(text: &[u8], id: &RawValue, other: &[u8]) -> Bytes {
    let start = id.get().as_ptr().addr() - text.as_ptr().addr();
    splice(text, &[(&(start..start + id.get().len()), other)])
}
