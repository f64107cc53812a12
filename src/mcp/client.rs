//! `Client`: one connection to an MCP server.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::channel::{Answer, Channel, Request};
use super::connect::Connection;
use super::error::{Error, RpcError};
use super::excess::{Excess, MAX_ANSWER, MAX_PARSED};
use super::fault::Fault;
use super::handshake::{self, Era};
use super::observer::Observer;
use super::page::{HeaderTools, NextCursor, Page, ToolList};
use super::param_headers;
use super::remark::Remark;
use super::tool::{CallResult, JsonObject};
use crate::budget::{Budget, Held, parsed_size};

/// How often a server may answer a call with the request to make it once more.
const MOST_ROUNDS: u32 = 10;
/// How long the first such round is waited for; each further one takes twice as long.
const FIRST_ROUND: Duration = Duration::from_millis(50);
/// How many characters of a cursor are shown.
const MAX_CURSOR: usize = 40;
/// How long a server may take to accept the notification that a request was cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// What came of a call.
#[derive(Debug)]
pub struct Called {
    pub result: CallResult,
    /// The share of the budget that it takes.
    pub held: Held,
}

/// A connected client. Dropping it ends the connection.
pub struct Client {
    channel: Arc<Channel>,
    era: Era,
    next_id: AtomicU64,
    /// Those of the last list.
    header_tools: Mutex<HeaderTools>,
    observer: Observer,
    budget: Budget,
    /// Notifications that requests were cancelled, on their way.
    cancellations: TaskTracker,
    close_timeout: Duration,
}

/// The parameters of the requests that a client makes.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Params<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a JsonObject>,
    /// What the server wants back with the next round of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_state: Option<&'a str>,
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    meta: Option<Meta>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(flatten)]
    modern: Option<&'static JsonObject>,
    /// Progress shows a proxy on the way that the connection is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress_token: Option<u64>,
}

impl Client {
    /// A client on a connection, which holds answers of `budget`.
    pub fn new(connection: Connection, budget: Budget) -> Self {
        Self {
            channel: Arc::new(connection.channel),
            era: connection.agreed.era,
            next_id: connection.next_id,
            header_tools: Mutex::default(),
            observer: connection.observer,
            budget,
            cancellations: TaskTracker::new(),
            close_timeout: connection.close_timeout,
        }
    }

    /// All pages of `tools/list`, as long as there is an end to them (MCP 2026-07-28, tools/list).
    pub async fn list(&self) -> Result<ToolList, Error> {
        let mut list = ToolList {
            tools: Vec::new(),
            pages: 0,
            bytes: 0,
            remarks: Vec::new(),
            unreadable: Vec::new(),
            held: self.budget.empty(),
        };
        let mut header_tools = HeaderTools::new();
        let mut cursors = HashSet::new();
        let mut cursor = None;
        loop {
            let (page, held) = self.page(cursor.as_deref(), list.places()).await?;
            list.held.merge(held);
            list.pages += 1;
            list.bytes += page.bytes;
            list.tools.extend(page.tools);
            list.unreadable.extend(page.unreadable);
            list.check_limits()?;
            header_tools.extend(page.header_tools);
            let next = match page.next_cursor {
                NextCursor::None => break,
                NextCursor::Null => {
                    self.observer.add(Remark::NullCursor);
                    break;
                }
                NextCursor::Some(next) => next,
            };
            if next.is_empty() {
                self.observer.add(Remark::EmptyCursor);
            }
            if !cursors.insert(next.clone()) {
                let shown: String = next.chars().take(MAX_CURSOR).collect();
                return Err(Error::NotMcp(format!(
                    "its list of tools has no end: page {} has the `nextCursor` {shown:?} of an earlier page",
                    list.pages
                )));
            }
            cursor = Some(next);
        }
        *self.lock_header_tools() = header_tools;
        list.remarks = self.observer.remarks();
        Ok(list)
    }

    async fn page(&self, cursor: Option<&str>, first: usize) -> Result<(Page, Held), Error> {
        let params = Params {
            cursor,
            ..Params::default()
        };
        let mut answer = self
            .ask("tools/list", params, param_headers::for_list)
            .await?;
        let size = hold_parsed(&mut answer, MAX_PARSED)?;
        let result = answer.outcome().map_err(RpcError::read)?;
        let page = Page::read(result, first, self.sends_headers())?;
        let mut held = answer.held;
        held.shrink_to(size);
        Ok((page, held))
    }

    /// Calls the tool `name` (MCP 2026-07-28, tools/call). Dropping the future cancels the call.
    pub async fn call(&self, name: &str, arguments: &JsonObject) -> Result<Called, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Round {
            result_type: Option<String>,
            input_requests: Option<Value>,
            request_state: Option<String>,
        }
        let annotated = self.lock_header_tools().get(name).cloned();
        let headers = || {
            let annotated = annotated.as_deref().unwrap_or_default();
            param_headers::for_call(name, arguments, annotated)
        };
        let mut state: Option<String> = None;
        for round in 0..MOST_ROUNDS {
            let params = Params {
                name: Some(name),
                arguments: Some(arguments),
                request_state: state.as_deref(),
                ..Params::default()
            };
            let asked = self.ask("tools/call", params, headers).await;
            let mut answer = asked.map_err(Error::prefer_rejection)?;
            let size = hold_parsed(&mut answer, MAX_PARSED)?;
            let result = answer.outcome().map_err(RpcError::read)?;
            let told: Round = serde_json::from_str(result).map_err(Fault::from)?;
            if told.result_type.is_none_or(|it| it == "complete") {
                let result = serde_json::from_str(result).map_err(Fault::from)?;
                let mut held = answer.held;
                held.shrink_to(size);
                return Ok(Called { result, held });
            }
            // MCP 2026-07-28, multi round-trip requests. This client has offered no input.
            let wanted = told.input_requests.as_ref().and_then(Value::as_object);
            if wanted.is_some_and(|it| !it.is_empty()) {
                return Err(Error::NotMcp(
                    "it asks for input that this client does not offer".to_owned(),
                ));
            }
            state = told.request_state;
            tokio::time::sleep(FIRST_ROUND * 2_u32.pow(round.min(3))).await;
        }
        Err(Error::NotMcp(format!(
            "the call was to be made again {MOST_ROUNDS} times"
        )))
    }

    /// Sends a request, and waits for its answer. Dropping the future cancels the request.
    async fn ask(
        &self,
        method: &'static str,
        mut params: Params<'_>,
        headers: impl FnOnce() -> HeaderMap,
    ) -> Result<Answer, Error> {
        let id = next(&self.next_id);
        let modern = (self.era == Era::Modern).then_some(&*handshake::REQUEST_META);
        let progress_token = params.name.map(|_| id);
        if modern.is_some() || progress_token.is_some() {
            params.meta = Some(Meta {
                modern,
                progress_token,
            });
        }
        let mut request = Request::new(id, method, &params, MAX_ANSWER)?;
        if self.sends_headers() {
            request.headers = headers();
        }
        let mut cancel = CancelOnDrop {
            client: self,
            id: Some(id),
        };
        let answer = self.channel.request(&request).await;
        cancel.id = None;
        answer
    }

    /// Whether its requests repeat parts of them in headers (MCP 2026-07-28, Streamable HTTP).
    fn sends_headers(&self) -> bool {
        self.era == Era::Modern && self.channel.http().is_some()
    }

    /// The version of MCP that was agreed on.
    pub fn version(&self) -> &str {
        self.era.version()
    }

    /// Whether nothing can be asked on it any more.
    pub fn is_closed(&self) -> bool {
        self.channel.is_closed()
    }

    /// Ends the connection, and the session or the process behind it. A server that does not answer is
    /// left.
    pub async fn close(self) {
        let closing = async {
            self.cancellations.close();
            self.cancellations.wait().await;
            self.channel.close().await;
        };
        let _ = timeout(self.close_timeout, closing).await;
    }

    /// Tells the server that nobody waits for the answer to a request any more. A modern server on
    /// HTTP learns it from the connection (MCP 2026-07-28, cancellation).
    fn cancel(&self, id: u64) {
        if self.sends_headers() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let cancelled = json!({
            "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id},
        });
        let message = Bytes::from(cancelled.to_string());
        let channel = Arc::clone(&self.channel);
        let sending = async move {
            // Without a connection there is nothing to cancel.
            let _ = timeout(CANCEL_TIMEOUT, channel.notify(message)).await;
        };
        self.cancellations.spawn_on(sending, &runtime);
    }

    fn lock_header_tools(&self) -> MutexGuard<'_, HeaderTools> {
        self.header_tools
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next id of a request.
pub fn next(id: &AtomicU64) -> u64 {
    id.fetch_add(1, Ordering::Relaxed)
}

/// Holds what the result or the error takes once it is parsed, and returns that.
fn hold_parsed(answer: &mut Answer, limit: u64) -> Result<u64, Fault> {
    let (Ok(json) | Err(json)) = answer.outcome();
    let size = parsed_size(json.as_bytes());
    if size > limit {
        return Err(Excess::Parsed(limit).into());
    }
    answer.held.grow(size)?;
    Ok(size)
}

/// Cancels a request whose future is dropped before the answer came.
struct CancelOnDrop<'a> {
    client: &'a Client,
    id: Option<u64>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.client.cancel(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::channel::read_answer;
    use super::*;

    #[test]
    fn an_answer_is_held_with_what_it_takes_once_it_is_parsed() {
        let request = Request::new(1, "tools/call", &json!({}), MAX_ANSWER).unwrap();
        let answer = |result: &str, budget: &Budget| {
            let text = format!(r#"{{"jsonrpc": "2.0", "id": 1, "result": {result}}}"#);
            let held = budget.hold(text.len() as u64).unwrap();
            read_answer(&request, text.into_bytes(), held, &Observer::default()).unwrap()
        };
        let result = r#"{"content": [{"type": "text", "text": "a"}, {}, {}]}"#;
        let budget = Budget::new(1_000_000);
        let mut fits = answer(result, &budget);
        let size = hold_parsed(&mut fits, MAX_PARSED).unwrap();
        assert_eq!(size, parsed_size(result.as_bytes()));
        assert!(budget.used() > size);

        let budget = Budget::new(2000);
        let mut too_large = answer(result, &budget);
        let fault = hold_parsed(&mut too_large, MAX_PARSED).unwrap_err();
        assert!(matches!(fault, Fault::Exhausted(_)), "{fault}");
        drop(too_large);
        assert_eq!(budget.used(), 0);

        let many = format!("[{}0]", "{},".repeat(600_000));
        let fault = hold_parsed(&mut answer(&many, &Budget::unlimited()), MAX_PARSED);
        assert_eq!(
            fault.unwrap_err().to_string(),
            "an answer that takes more than 96 MiB in memory"
        );
    }
}
