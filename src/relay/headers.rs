//! Headers that repeat parts of a request of MCP 2026-07-28: whether those of a caller agree with its
//! message, and those that the server gets.

use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use rmcp::ErrorData;
use rmcp::model::{ErrorCode, ProtocolVersion};
use serde_json::json;
use serde_json::value::RawValue;

use super::caller::MODERN;
use super::failure::Failure;
use super::message::{Meta, Params};
use crate::http::Message;
use crate::mcp::{self, HeaderTools};

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Whether a request is of a client of MCP 2026-07-28.
///
/// # Errors
/// Its headers do not agree with it (standard request headers), or it has a version that nobody knows.
pub fn is_modern(
    headers: &HeaderMap,
    message: &Message,
    params: &Params<'_>,
    meta: &Meta<'_>,
) -> Result<bool, Failure> {
    let version = one(headers, &PROTOCOL_VERSION)?;
    let Some(said) = meta.version.as_deref() else {
        let claims = version.is_some_and(|it| it == MODERN);
        return match claims && message.is_request() {
            true => Err(missing("protocolVersion")),
            false => check_version(version).map(|()| claims),
        };
    };
    if version.is_some_and(|it| it != said) {
        return Err(mismatch(&PROTOCOL_VERSION));
    }
    check_version(Some(said))?;
    if said != MODERN {
        return Ok(false);
    }
    if version.is_none() {
        return Err(mismatch(&PROTOCOL_VERSION));
    }
    let is_object = |it: &&RawValue| it.get().starts_with('{');
    if message.is_request() && meta.capabilities.filter(is_object).is_none() {
        return Err(missing("clientCapabilities"));
    }
    let method = message.method.as_deref().unwrap_or_default();
    if one(headers, &METHOD)? != Some(method) {
        return Err(mismatch(&METHOD));
    }
    if let Some(subject) = params.subject(method) {
        let sent = one(headers, &NAME)?.map(mcp::header_text);
        if sent.as_deref() != Some(subject) {
            return Err(mismatch(&NAME));
        }
    }
    Ok(true)
}

/// Checks the headers that repeat arguments of a tool.
///
/// # Errors
/// One of them is missing, or says something else.
pub fn check_arguments(
    headers: &HeaderMap,
    params: &Params<'_>,
    tools: &HeaderTools,
) -> Result<(), Failure> {
    let expected = of_call(params, tools);
    let wrong = expected.iter().find(|(name, value)| {
        let expected = value.to_str().map(mcp::header_text).ok();
        let is_param = name.as_str().starts_with("mcp-param-");
        is_param && one(headers, name).ok().flatten().map(mcp::header_text) != expected
    });
    wrong.map_or(Ok(()), |(name, _)| Err(mismatch(name)))
}

/// The headers of a request of an older caller.
pub fn of_older(method: &str, params: &Params<'_>, tools: &HeaderTools) -> HeaderMap {
    match method {
        "tools/call" => of_call(params, tools),
        method => mcp::headers_for(method, params.subject(method)),
    }
}

/// The headers of a modern caller's request that the server gets.
pub fn of_modern(headers: &HeaderMap, method: &str, params: &Params<'_>) -> HeaderMap {
    let mut all = mcp::headers_for(method, params.subject(method));
    let is_param = |name: &HeaderName| name.as_str().starts_with("mcp-param-");
    let theirs = headers.iter().filter(|(name, _)| is_param(name));
    all.extend(theirs.map(|(name, value)| (name.clone(), value.clone())));
    all
}

fn of_call(params: &Params<'_>, tools: &HeaderTools) -> HeaderMap {
    let name = params.name.as_deref().unwrap_or_default();
    let annotated = tools.get(name).map_or(&[][..], |it| it);
    let arguments = match annotated {
        [] => None,
        _ => params.arguments,
    };
    let arguments = arguments.and_then(|it| serde_json::from_str(it.get()).ok());
    mcp::for_call(name, &arguments.unwrap_or_default(), annotated)
}

fn check_version(version: Option<&str>) -> Result<(), Failure> {
    let known = ProtocolVersion::KNOWN_VERSIONS;
    let is_unknown = |it: &&str| known.iter().all(|known| known.as_str() != *it);
    let Some(unknown) = version.filter(is_unknown) else {
        return Ok(());
    };
    match serde_json::from_value(json!(unknown)) {
        Ok(unknown) => Err(bad(ErrorData::unsupported_protocol_version(unknown, known))),
        Err(_) => Err(mismatch(&PROTOCOL_VERSION)),
    }
}

/// The value of a header that must not be there twice.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Failure> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(value)), None) => Ok(Some(value)),
        _ => Err(mismatch(name)),
    }
}

fn missing(field: &str) -> Failure {
    let message = format!("the request has no `io.modelcontextprotocol/{field}` in its `_meta`");
    bad(ErrorData::invalid_params(message, None))
}

fn mismatch(header: &HeaderName) -> Failure {
    let message = format!("the header `{header}` does not agree with the body");
    bad(ErrorData::new(ErrorCode::HEADER_MISMATCH, message, None))
}

fn bad(error: ErrorData) -> Failure {
    Failure {
        status: StatusCode::BAD_REQUEST,
        error,
    }
}
