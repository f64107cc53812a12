//! `Channel`: JSON-RPC messages to a server and back, as they are. What they mean is up to its user:
//! the typed client is one, and nothing that a server sends is lost on the way to it.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Error;
use super::fault::Fault;
use super::http::Http;
use super::http_sse::HttpSse;
use super::message::Message;
use super::observer::Observer;
use super::stdio::Stdio;
use crate::budget::Held;

/// A connection to a server.
pub struct Channel {
    transport: Transport,
    observer: Observer,
}

/// How messages travel. A further transport is a variant here.
pub enum Transport {
    Http(Http),
    HttpSse(HttpSse),
    Stdio(Stdio),
}

/// A request as it goes out.
pub struct Request {
    /// No two requests on a channel have the same.
    pub id: u64,
    pub method: Cow<'static, str>,
    /// The whole JSON-RPC message.
    pub message: Bytes,
    /// HTTP headers that repeat parts of the message (MCP 2026-07-28, standard request headers).
    pub headers: HeaderMap,
    /// The most bytes that its answer may have.
    pub max_answer: usize,
}

impl Request {
    /// A request without headers of its own.
    ///
    /// # Errors
    /// The parameters are no JSON.
    pub fn new(
        id: u64,
        method: &'static str,
        params: &impl Serialize,
        max_answer: usize,
    ) -> Result<Self, Error> {
        #[derive(Serialize)]
        struct Envelope<'a, P> {
            jsonrpc: &'static str,
            id: u64,
            method: &'static str,
            params: &'a P,
        }
        let envelope = Envelope {
            jsonrpc: "2.0",
            id,
            method,
            params,
        };
        Ok(Self {
            id,
            method: method.into(),
            message: serde_json::to_vec(&envelope).map_err(Fault::from)?.into(),
            headers: HeaderMap::new(),
            max_answer,
        })
    }

    /// Whether an answer with this id is to this request: some servers send a number back as text.
    /// An error without an id is the answer if nothing else can be.
    pub fn is_answered_by(&self, id: Option<&RawValue>, is_error: bool) -> bool {
        id.map_or(is_error, |id| has_id(id, self.id))
    }
}

/// Whether an id that came back is this one.
pub fn has_id(id: &RawValue, sent: u64) -> bool {
    id.get().trim_matches('"').parse() == Ok(sent)
}

/// The answer to a request: the text of the whole message, and where in it its parts are.
#[derive(Debug)]
pub struct Answer {
    text: String,
    place: Place,
    /// The share of the budget that the text takes.
    pub held: Held,
}

impl Answer {
    /// Keeps an answer whose `outcome` was read from `text`.
    ///
    /// # Errors
    /// The text is not UTF-8.
    pub fn new(text: Vec<u8>, place: Place, held: Held) -> Result<Self, Fault> {
        let text = String::from_utf8(text).map_err(|_| Fault::unrecognized())?;
        Ok(Self { text, place, held })
    }

    /// The whole message.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The JSON of its `result`, or of its `error`.
    pub fn outcome(&self) -> Result<&str, &str> {
        match &self.place.outcome {
            Ok(range) => Ok(&self.text[range.clone()]),
            Err(range) => Err(&self.text[range.clone()]),
        }
    }

    /// The whole message with another id, and with another result or error if there is one.
    pub fn with(&self, id: &[u8], outcome: Option<&[u8]>) -> Bytes {
        let (Ok(range) | Err(range)) = &self.place.outcome;
        let mut parts = vec![(
            range,
            outcome.unwrap_or(&self.text.as_bytes()[range.clone()]),
        )];
        match &self.place.id {
            Some(place) => parts.push((place, id)),
            // An error without an id is to be given one all the same.
            None => return self.rebuilt(id, parts[0].1),
        }
        parts.sort_by_key(|(place, _)| place.start);
        splice(self.text.as_bytes(), &parts)
    }

    fn rebuilt(&self, id: &[u8], outcome: &[u8]) -> Bytes {
        let name: &[u8] = match &self.place.outcome {
            Ok(_) => b"result",
            Err(_) => b"error",
        };
        let parts = [
            br#"{"jsonrpc":"2.0","id":"#,
            id,
            br#","#,
            br#"""#,
            name,
            br#"":"#,
            outcome,
            b"}",
        ];
        parts.concat().into()
    }
}

/// The text with other bytes in these places, which are in order.
pub fn splice(text: &[u8], parts: &[(&Range<usize>, &[u8])]) -> Bytes {
    let added: usize = parts.iter().map(|(_, with)| with.len()).sum();
    let mut spliced = Vec::with_capacity(text.len() + added);
    let mut end = 0;
    for (place, with) in parts {
        spliced.extend_from_slice(&text[end..place.start]);
        spliced.extend_from_slice(with);
        end = place.end;
    }
    spliced.extend_from_slice(&text[end..]);
    spliced.into()
}

/// Where `part` is in the text that it was read from.
pub fn place_of(part: &RawValue, text: &[u8]) -> Range<usize> {
    let start = part.get().as_ptr().addr() - text.as_ptr().addr();
    start..start + part.get().len()
}

/// Where the id and the result or the error are in the text of an answer.
#[derive(Debug)]
pub struct Place {
    id: Option<Range<usize>>,
    outcome: Result<Range<usize>, Range<usize>>,
}

impl Place {
    /// The places of an id and an outcome that `Message::read` found in `text`.
    pub fn of(id: Option<&RawValue>, outcome: Result<&RawValue, &RawValue>, text: &[u8]) -> Self {
        let place = |part| place_of(part, text);
        Self {
            id: id.map(place),
            outcome: outcome.map(place).map_err(place),
        }
    }
}

/// Reads a body that has to be the answer to `request`.
///
/// # Errors
/// It is not, or not JSON-RPC.
pub fn read_answer(
    request: &Request,
    body: Vec<u8>,
    held: Held,
    observer: &Observer,
) -> Result<Answer, Fault> {
    let place = match Message::read(&body)? {
        Message::Answer { id, outcome } if request.is_answered_by(id, outcome.is_err()) => {
            observer.of_id(id);
            Place::of(id, outcome, &body)
        }
        Message::Unknown { .. } => return Err(Fault::unrecognized()),
        _ => {
            let why = "the answer is not to the request that was made";
            return Err(Fault::NotMcp(why.to_owned()));
        }
    };
    Answer::new(body, place, held)
}

impl Channel {
    /// A connection over `transport`, which `observer` watches.
    pub fn new(transport: Transport, observer: Observer) -> Self {
        Self {
            transport,
            observer,
        }
    }

    /// The connection, if it is Streamable HTTP.
    pub fn http(&self) -> Option<&Http> {
        match &self.transport {
            Transport::Http(http) => Some(http),
            Transport::HttpSse(_) | Transport::Stdio(_) => None,
        }
    }

    /// Sends a request, and waits for its answer. Dropping the future gives the answer up.
    ///
    /// # Errors
    /// There is no answer: an error in JSON-RPC is one.
    pub async fn request(&self, request: &Request) -> Result<Answer, Error> {
        let started = Instant::now();
        let answer = match &self.transport {
            Transport::Http(http) => http.request(request).await,
            Transport::HttpSse(http) => http.request(request).await,
            Transport::Stdio(stdio) => stdio.request(request).await.map_err(Error::from),
        };
        self.observer.of_request(request, &answer, started);
        answer
    }

    /// Sends a notification.
    ///
    /// # Errors
    /// It could not be sent, or was refused.
    pub async fn notify(&self, message: Bytes) -> Result<(), Error> {
        match &self.transport {
            Transport::Http(http) => http.notify(message).await,
            Transport::HttpSse(http) => http.notify(message).await,
            Transport::Stdio(stdio) => Ok(stdio.send(message).await?),
        }
    }

    /// Whether nothing can be sent on it any more.
    pub fn is_closed(&self) -> bool {
        match &self.transport {
            Transport::Http(_) => false,
            Transport::HttpSse(http) => http.is_closed(),
            Transport::Stdio(stdio) => stdio.is_closed(),
        }
    }

    /// Ends it, and the session or the process behind it.
    pub async fn close(&self) {
        match &self.transport {
            Transport::Http(http) => http.close().await,
            Transport::HttpSse(http) => http.close(),
            Transport::Stdio(stdio) => stdio.close().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::budget::Budget;

    #[test]
    fn an_answer_has_the_id_of_its_request_or_is_an_error_without_one() {
        let request = Request::new(7, "tools/call", &json!({}), 1000).unwrap();
        let read = |answer: &str| {
            let body = format!(r#"{{"jsonrpc": "2.0", {answer}}}"#).into_bytes();
            let answer = read_answer(
                &request,
                body,
                Budget::unlimited().empty(),
                &Observer::default(),
            )
            .ok()?;
            let outcome = answer.outcome().map(str::to_owned);
            Some(outcome.map_err(str::to_owned))
        };
        let result = |json: &str| Some(Ok(json.to_owned()));
        let error = |json: &str| Some(Err(json.to_owned()));
        assert_eq!(
            read(r#""id": 7, "result": {"a": [1]}"#),
            result(r#"{"a": [1]}"#)
        );
        assert_eq!(read(r#""id": "7", "result": null"#), None);
        assert_eq!(read(r#""id": "7", "result": 1"#), result("1"));
        assert_eq!(read(r#""id": 7, "error": {"b": 2}"#), error(r#"{"b": 2}"#));
        assert_eq!(read(r#""id": null, "error": {}"#), error("{}"));
        for other in [
            r#""id": 8, "result": {}"#,
            r#""id": null, "result": {}"#,
            r#""result": {}"#,
            r#""id": 7, "method": "ping""#,
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
