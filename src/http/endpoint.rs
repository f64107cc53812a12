//! An MCP endpoint: reads a message within limits and hands it to the backend of the server.
//!
//! This is what all backends have in common. What answers, and in which form, is the backend's
//! decision: [`super::rmcp_backend`] is one, for servers that are written with rmcp.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{MethodRouter, any};
use futures::StreamExt;
use http::header::{ACCEPT, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio_util::sync::CancellationToken;

use super::access_log::MessageSummary;
use super::body::{BodyLimits, read_body};
use super::headers::is_json;
use super::message::Message;
use super::options::ServerOptions;
use super::response::{self, last_refusal};
use crate::budget::{Budget, Held, parsed_size};

const BOTH_FORMS: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

/// The most bytes that a message takes once it is parsed, for `initialize`, whose `clientInfo` and capabilities a session keeps.
const MAX_PARSED_INITIALIZE: u64 = 32 * 1024;
/// The most bytes that all messages that are being answered take together once they are parsed.
const MEMORY: u64 = 64 * 1024 * 1024;
/// How many times a backend holds a message: rmcp reads it as one type after the other.
const COPIES: u64 = 3;
/// Messages of up to so many parsed bytes are not counted: one for each connection fits in memory.
const UNCOUNTED: u64 = 16 * 1024;

/// A request to an MCP endpoint.
#[derive(Debug)]
pub enum Received {
    /// A POST with a JSON-RPC message, which was read within the limits of the endpoint.
    Message(Parts, Message),
    /// Any other request, such as a GET that opens a stream. Its body was not read.
    Other(Request),
}

/// The handler of all methods of a route, which passes what it received to `backend`.
///
/// It does not check `Host` and `Origin`; the [`super::HostPolicy`] does.
pub fn endpoint<B, F>(backend: B, options: &ServerOptions) -> MethodRouter
where
    B: Fn(Received) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send,
{
    let endpoint = Arc::new(Endpoint {
        backend,
        body: options.body,
        max_parsed: options.max_parsed,
        stop: options.stop.clone(),
        budget: Budget::new(MEMORY),
    });
    any(move |request: Request| {
        let endpoint = Arc::clone(&endpoint);
        async move { endpoint.answer(request).await }
    })
}

struct Endpoint<B> {
    backend: B,
    body: BodyLimits,
    max_parsed: u64,
    stop: CancellationToken,
    budget: Budget,
}

impl<B, F> Endpoint<B>
where
    B: Fn(Received) -> F,
    F: Future<Output = Response>,
{
    async fn answer(&self, request: Request) -> Response {
        let is_stream = request.method() == Method::GET;
        let (received, _held) = match self.receive(request).await {
            Ok(received) => received,
            Err(refusal) => return *refusal,
        };
        let summary = match &received {
            Received::Message(head, message) => MessageSummary::for_log(message, &head.extensions),
            Received::Other(_) => None,
        };
        let mut answer = (self.backend)(received).await;
        if let Some(summary) = summary {
            answer.extensions_mut().insert(summary);
        }
        if is_stream {
            // A client may listen for as long as it likes; a shutdown does not wait for it.
            let stop = self.stop.clone().cancelled_owned();
            return answer.map(|body| Body::from_stream(body.into_data_stream().take_until(stop)));
        }
        answer
    }

    /// What the backend gets, and the memory that it holds; or why the request is rejected.
    async fn receive(
        &self,
        mut request: Request,
    ) -> Result<(Received, Option<Held>), Box<Response>> {
        if accepts_anything(request.headers()) {
            request.headers_mut().insert(ACCEPT, BOTH_FORMS);
        }
        if request.method() != Method::POST || !is_json(request.headers()) {
            return Ok((Received::Other(request), None));
        }
        let (head, body) = request.into_parts();
        let body = read_body(body, self.body).await;
        let body = body.map_err(|why| Box::new(last_refusal(why.status(), &why.to_string())))?;
        let (message, held) = self.admit(body)?;
        Ok((Received::Message(head, message), Some(held)))
    }

    /// The message in a body, and the memory that it holds until it is answered: a short text can
    /// have many small values.
    fn admit(&self, body: Bytes) -> Result<(Message, Held), Box<Response>> {
        let message = Message::read(body)
            .map_err(|(status, error)| Box::new(response::error(status, None, error)))?;
        let size = parsed_size(&message.body);
        if size > self.max_parsed
            || (message.asks_for("initialize") && size > MAX_PARSED_INITIALIZE)
        {
            let message = "the message has too many values";
            return Err(Box::new(response::refusal(
                StatusCode::BAD_REQUEST,
                message,
            )));
        }
        let counted = if size > UNCOUNTED { size * COPIES } else { 0 };
        let held = self.budget.hold(counted).map_err(|_| {
            let message = "Too many large messages are being answered.";
            let mut refusal = response::refusal(StatusCode::SERVICE_UNAVAILABLE, message);
            let seconds = HeaderValue::from_static("2");
            refusal.headers_mut().insert(RETRY_AFTER, seconds);
            Box::new(refusal)
        })?;
        Ok((message, held))
    }
}

/// Whether any media type is accepted: curl sends `*/*`, others list it among other types, and no
/// `Accept` header means the same (RFC 9110 section 12.5.1).
fn accepts_anything(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter().peekable();
    let is_anything = |it: &str| it.split(';').next().unwrap_or_default().trim() == "*/*";
    accepted.peek().is_none()
        || accepted.any(|it| it.to_str().is_ok_and(|it| it.split(',').any(is_anything)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::response::IntoResponse;
    use futures::stream;
    use http::header::CONTENT_TYPE;
    use tower::ServiceExt;

    use super::*;

    /// A backend that repeats the message it received, or says that there was none.
    async fn echo(received: Received) -> Response {
        match received {
            Received::Message(_, message) => message.body.into_response(),
            Received::Other(request) => request.method().to_string().into_response(),
        }
    }

    async fn answer(options: &ServerOptions, method: Method, body: Body) -> (u16, String) {
        let router = super::super::at("/mcp", endpoint(echo, options));
        let request = http::Request::builder().method(method).uri("/mcp");
        let request = request.header(CONTENT_TYPE, "application/json");
        let answer = router.oneshot(request.body(body).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await;
        (status, String::from_utf8(body.unwrap().into()).unwrap())
    }

    #[tokio::test]
    async fn any_backend_gets_the_message_as_it_was_sent() {
        let options = ServerOptions::default();
        let call = r#"{"jsonrpc":"2.0", "id":"é", "method":"x", "params":{"a":1}, "more":true}"#;
        let answered = answer(&options, Method::POST, Body::from(call)).await;
        assert_eq!(answered, (200, call.to_owned()));
        let answered = answer(&options, Method::DELETE, Body::empty()).await;
        assert_eq!(answered, (200, "DELETE".to_owned()));
    }

    #[tokio::test]
    async fn the_limits_of_a_body_are_those_of_the_options() {
        let options = ServerOptions {
            body: BodyLimits {
                max_bytes: 100,
                timeout: Duration::from_millis(20),
            },
            ..ServerOptions::default()
        };
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#,
            "x".repeat(100)
        );
        let (status, _) = answer(&options, Method::POST, Body::from(body)).await;
        assert_eq!(status, 413);
        let stalled = stream::pending::<Result<Bytes, std::io::Error>>();
        let (status, _) = answer(&options, Method::POST, Body::from_stream(stalled)).await;
        assert_eq!(status, 408);
    }

    #[tokio::test]
    async fn a_listening_client_is_let_go_when_the_server_stops() {
        let options = ServerOptions::default();
        let listen = async |_: Received| {
            let endless = stream::pending::<Result<Bytes, std::io::Error>>();
            Body::from_stream(endless).into_response()
        };
        let router = super::super::at("/mcp", endpoint(listen, &options));
        let request = Request::get("/mcp").body(Body::empty()).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        options.stop.cancel();
        let body = axum::body::to_bytes(answer.into_body(), 10).await.unwrap();
        assert!(body.is_empty());
    }
}
