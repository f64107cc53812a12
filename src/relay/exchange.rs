//! `Exchange`: a request of a caller, and all that comes back until its answer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::asked::To;
use super::caller::Caller;
use super::failure::Failure;
use super::message;
use super::running::Run;
use super::upstream::{Call, FromServer, Step};
use super::{Relay, call_on};
use crate::http::Message;
use crate::mcp::channel::Answer;
use crate::mcp::{self, Era};

/// How often a server may answer a request with a wish to have it made once more.
const MOST_ROUNDS: u32 = 10;
/// How long the first such round is waited for if the server asks for nothing; each further one takes
/// twice as long.
const FIRST_ROUND: Duration = Duration::from_millis(50);
/// The name under which a modern caller is asked for what an older server asked for.
const INPUT: &str = "input";

/// A request in flight.
pub struct Exchange {
    relay: Arc<Relay>,
    pub caller: Caller,
    /// As the caller sent it.
    message: Message,
    /// The caller's id.
    pub id: Bytes,
    method: String,
    /// `None` once it has ended or was parked.
    call: Option<Call>,
    /// What the caller was asked: under which id, and the id of the server's request.
    asked: Vec<(String, Option<Box<RawValue>>)>,
    /// How an older caller cancels it.
    run: Option<Run>,
    round: Option<Round>,
    rounds: u32,
    /// Whether anything came of it yet.
    is_fresh: bool,
}

/// What a modern server wants to have before a request is made again.
struct Round {
    state: Option<String>,
    missing: usize,
    got: BTreeMap<String, Box<RawValue>>,
    answers: mpsc::Receiver<(String, String)>,
}

/// What a caller is sent.
pub enum Told {
    /// A message before the answer.
    Message(Bytes),
    Answer(Reply),
}

/// An answer, and the status that it has over HTTP.
pub struct Reply {
    pub status: StatusCode,
    pub body: Bytes,
}

impl Reply {
    /// The result of a request that the relay answers itself.
    pub fn result(id: &[u8], result: &str) -> Self {
        let parts = [
            br#"{"jsonrpc":"2.0","id":"#,
            id,
            br#","result":"#,
            result.as_bytes(),
            b"}",
        ];
        Self {
            status: StatusCode::OK,
            body: parts.concat().into(),
        }
    }

    /// Why a request has no result.
    pub fn failure(id: &[u8], failure: &Failure) -> Self {
        let error = serde_json::to_string(&failure.error).unwrap_or_default();
        let parts = [
            br#"{"jsonrpc":"2.0","id":"#,
            id,
            br#","error":"#,
            error.as_bytes(),
            b"}",
        ];
        Self {
            status: failure.status,
            body: parts.concat().into(),
        }
    }
}

impl Exchange {
    pub fn new(relay: Arc<Relay>, caller: Caller, message: Message, call: Call) -> Self {
        let id = message.id().cloned().unwrap_or_default();
        let run = (!caller.is_modern).then(|| relay.running.begin(&caller, id.clone()));
        Self {
            relay,
            caller,
            id,
            run,
            method: message.method.clone().unwrap_or_default(),
            message,
            call: Some(call),
            asked: Vec::new(),
            round: None,
            rounds: 0,
            is_fresh: true,
        }
    }

    /// What the caller is sent next. After the answer there is nothing more.
    pub async fn next(&mut self) -> Told {
        let Some(cancelled) = self.run.as_ref().map(|it| it.cancelled.clone()) else {
            return self.go_on().await;
        };
        tokio::select! {
            told = self.go_on() => told,
            () = cancelled.cancelled() => self.failed(&Failure::cancelled()),
        }
    }

    async fn go_on(&mut self) -> Told {
        loop {
            if let Some(round) = &mut self.round {
                let Some((name, answer)) = round.answers.recv().await else {
                    return self.failed(&Failure::cancelled());
                };
                if let Some(told) = self.take_input(name, &answer) {
                    return told;
                }
                continue;
            }
            let Some(call) = &mut self.call else {
                return std::future::pending().await;
            };
            let step = call.next().await;
            if let Some(told) = self.take(step).await {
                return told;
            }
        }
    }

    async fn take(&mut self, step: Step) -> Option<Told> {
        let is_fresh = std::mem::replace(&mut self.is_fresh, false);
        match step {
            Step::Message(FromServer::Notification(text)) => {
                self.translate(text).map(Told::Message)
            }
            Step::Message(FromServer::Request { id, text }) => self.ask(id, &text),
            Step::Answer(answer) => match *answer {
                Ok(answer) => self.answered(&answer).await,
                // The server was started again, and knows nothing of the session with it.
                Err(error) if is_fresh && self.is_stale(&error) => match self.restart().await {
                    Ok(()) => None,
                    Err(failure) => Some(self.failed(&failure)),
                },
                Err(error) => Some(self.failed(&Failure::of(&error))),
            },
        }
    }

    /// Whether the server does not know the session with it any more.
    fn is_stale(&self, error: &mcp::Error) -> bool {
        let is_older = |call: &Call| call.upstream.connection.agreed.era != Era::Modern;
        let is_unknown = match error {
            mcp::Error::Refused {
                status, rejection, ..
            } => {
                *status == StatusCode::NOT_FOUND
                    && rejection.as_ref().is_none_or(|it| it.code != -32601)
            }
            _ => false,
        };
        is_unknown && self.call.as_ref().is_some_and(is_older)
    }

    fn failed(&mut self, failure: &Failure) -> Told {
        self.call = None;
        Told::Answer(Reply::failure(&self.id, failure))
    }

    /// A notification with the id that the caller knows, if it cancels what the caller was asked.
    fn translate(&self, text: Bytes) -> Option<Bytes> {
        #[derive(Deserialize)]
        struct Cancelled<'a> {
            method: Cow<'a, str>,
            #[serde(borrow)]
            params: Named<'a>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Named<'a> {
            #[serde(borrow)]
            request_id: &'a RawValue,
        }
        if !contains(&text, b"notifications/cancelled") {
            return Some(text);
        }
        let Ok(read) = serde_json::from_slice::<Cancelled>(&text) else {
            return Some(text);
        };
        if read.method != "notifications/cancelled" {
            return Some(text);
        }
        let id = read.params.request_id;
        let is_it = |ours: &RawValue| ours.get() == id.get();
        let mut asked = self.asked.iter();
        // What nobody was asked needs no cancelling.
        let (theirs, _) = asked.find(|(_, ours)| ours.as_deref().is_some_and(is_it))?;
        Some(message::with_id(
            &text,
            id,
            format!("{theirs:?}").as_bytes(),
        ))
    }

    async fn restart(&mut self) -> Result<(), Failure> {
        if let Some(call) = self.call.take() {
            self.relay.copies.forget(&call.upstream).await;
        }
        let (relay, caller) = (Arc::clone(&self.relay), self.caller.clone());
        self.call = Some(relay.call(&caller, &self.message, None).await?);
        Ok(())
    }

    /// Passes a request of the server to the caller.
    fn ask(&mut self, id: Box<RawValue>, text: &[u8]) -> Option<Told> {
        if self.caller.is_modern {
            return Some(self.park(id, text));
        }
        let upstream = &self.call.as_ref()?.upstream;
        let to = To::Server(Arc::downgrade(upstream), id.clone());
        let theirs = self.relay.waiting.ask(&self.caller, to)?;
        #[derive(Deserialize)]
        struct Asked<'a> {
            #[serde(borrow)]
            id: &'a RawValue,
        }
        let read: Asked = serde_json::from_slice(text).ok()?;
        let message = message::with_id(text, read.id, format!("{theirs:?}").as_bytes());
        self.asked.push((theirs, Some(id)));
        Some(Told::Message(message))
    }

    /// Tells a modern caller to make the request again with what the server asks for.
    fn park(&mut self, id: Box<RawValue>, text: &[u8]) -> Told {
        #[derive(Deserialize)]
        struct Asked<'a> {
            method: String,
            #[serde(borrow)]
            params: Option<&'a RawValue>,
        }
        let Ok(asked) = serde_json::from_slice::<Asked>(text) else {
            return self.failed(&Failure::cancelled());
        };
        let parked = Self {
            relay: Arc::clone(&self.relay),
            caller: self.caller.clone(),
            message: self.message.clone(),
            id: self.id.clone(),
            method: self.method.clone(),
            call: self.call.take(),
            asked: std::mem::take(&mut self.asked),
            run: None,
            round: None,
            rounds: self.rounds,
            is_fresh: false,
        };
        let Some(state) = self.relay.waiting.park(parked, id) else {
            return self.failed(&Failure::busy());
        };
        let mut request = json!({"method": asked.method});
        if let Some(params) = asked.params {
            request["params"] = json!(params);
        }
        let result = json!({
            "resultType": "input_required",
            "inputRequests": {INPUT: request},
            "requestState": state,
        });
        Told::Answer(Reply::result(&self.id, &result.to_string()))
    }

    /// Goes on with a call that was parked, now that its caller made the request again.
    pub async fn resume(
        &mut self,
        message: &Message,
        server_id: &RawValue,
        responses: Option<&RawValue>,
    ) -> Result<(), Failure> {
        self.message = message.clone();
        self.id = message.id().cloned().unwrap_or_default();
        let Some(call) = &self.call else {
            return Err(Failure::cancelled());
        };
        let outcome = match responses {
            Some(response) => format!(r#""result":{}"#, response.get()),
            None => r#""error":{"code":-32603,"message":"the client gave no response"}"#.to_owned(),
        };
        let reply = format!(r#"{{"jsonrpc":"2.0","id":{},{outcome}}}"#, server_id.get());
        let sent = call.upstream.notify(reply.into()).await;
        sent.map_err(|error| Failure::of(&error))
    }

    async fn answered(&mut self, answer: &Answer) -> Option<Told> {
        let era = self.call.as_ref()?.upstream.connection.agreed.era.clone();
        if era == Era::Modern
            && !self.caller.is_modern
            && let Ok(result) = answer.outcome()
            && result.contains("input_required")
            && let Some(wanted) = Wanted::read(result)
        {
            return self.begin_round(wanted).await;
        }
        let mut filtered = None;
        if self.method == "tools/list"
            && let Ok(result) = answer.outcome()
        {
            self.call.as_ref()?.upstream.learn(result);
        }
        if self.method == "tools/list"
            && !self.relay.allowed.is_all()
            && let Ok(result) = answer.outcome()
        {
            let Some((passing, _)) = self.relay.allowed.filtered(result) else {
                return Some(self.failed(&Failure::not_a_list()));
            };
            filtered = Some(passing);
        }
        let body = message::incoming(
            answer,
            &self.id,
            filtered.as_deref(),
            &self.caller,
            &era,
            &self.method,
        );
        self.call = None;
        let status = match answer.outcome() {
            Err(error) if self.caller.is_modern => status_of(error),
            _ => StatusCode::OK,
        };
        Some(Told::Answer(Reply { status, body }))
    }

    /// Asks an older caller for what a modern server wants to have.
    async fn begin_round(&mut self, wanted: Wanted) -> Option<Told> {
        self.rounds += 1;
        if self.rounds > MOST_ROUNDS {
            return Some(self.failed(&Failure::too_many_rounds(MOST_ROUNDS)));
        }
        let requests = wanted.input_requests.unwrap_or_default();
        let is_offered = |it: &InputRequest| self.caller.offered.serves(&it.method);
        if let Some(other) = requests.values().find(|it| !is_offered(it)) {
            let failure = Failure::not_offered(&other.method);
            return Some(self.failed(&failure));
        }
        let (sender, answers) = mpsc::channel(requests.len().max(1));
        let mut messages = Vec::new();
        for (name, request) in &requests {
            let to = To::Exchange(name.clone(), sender.clone());
            let Some(id) = self.relay.waiting.ask(&self.caller, to) else {
                return Some(self.failed(&Failure::busy()));
            };
            let mut message = json!({"jsonrpc": "2.0", "id": id, "method": request.method});
            if let Some(params) = &request.params {
                message["params"] = json!(params);
            }
            self.asked.push((id, None));
            messages.push(message.to_string());
        }
        self.round = Some(Round {
            state: wanted.request_state,
            missing: requests.len(),
            got: BTreeMap::new(),
            answers,
        });
        if messages.is_empty() {
            tokio::time::sleep(FIRST_ROUND * 2_u32.pow(self.rounds.min(4) - 1)).await;
            return self.end_round();
        }
        // One line each; an event stream carries several as several events.
        Some(Told::Message(messages.join("\n").into()))
    }

    /// Takes what the caller answered; with the last, the request is made again.
    fn take_input(&mut self, name: String, answer: &str) -> Option<Told> {
        #[derive(Deserialize)]
        struct Answered {
            result: Option<Box<RawValue>>,
            error: Option<Box<RawValue>>,
        }
        let read = serde_json::from_str(answer).unwrap_or(Answered {
            result: None,
            error: None,
        });
        let round = self.round.as_mut()?;
        match (read.result, read.error) {
            (Some(result), _) => round.got.insert(name, result),
            (None, error) => {
                let error = error.map_or("null".to_owned(), |it| it.get().to_owned());
                return Some(self.failed(&Failure::input_refused(&error)));
            }
        };
        round.missing -= 1;
        if round.missing > 0 {
            return None;
        }
        self.end_round()
    }

    fn end_round(&mut self) -> Option<Told> {
        let round = self.round.take()?;
        self.relay.waiting.forget(&std::mem::take(&mut self.asked));
        let call = self.call.take()?;
        let mut added = json!({"inputResponses": round.got});
        if let Some(state) = round.state {
            added["requestState"] = state.into();
        }
        let Some(message) = message::with_params(&self.message, &added) else {
            return Some(self.failed(&Failure::cancelled()));
        };
        let upstream = Arc::clone(&call.upstream);
        drop(call);
        self.call = Some(call_on(&upstream, &self.caller, &message, None));
        None
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.asked.is_empty() {
            self.relay.waiting.forget(&self.asked);
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

/// A result that asks for the request once more (MCP 2026-07-28, multi round-trip requests).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    result_type: String,
    input_requests: Option<BTreeMap<String, InputRequest>>,
    request_state: Option<String>,
}

#[derive(Deserialize)]
struct InputRequest {
    method: String,
    params: Option<Box<RawValue>>,
}

impl Wanted {
    fn read(result: &str) -> Option<Self> {
        let read: Self = serde_json::from_str(result).ok()?;
        (read.result_type == "input_required").then_some(read)
    }
}

/// The status that an error has over HTTP (MCP 2026-07-28, Streamable HTTP, error responses).
fn status_of(error: &str) -> StatusCode {
    #[derive(Deserialize)]
    struct Code {
        code: i64,
    }
    match serde_json::from_str(error) {
        Ok(Code { code: -32601 }) => StatusCode::NOT_FOUND,
        Ok(Code {
            code: -32022..=-32020,
        }) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}
