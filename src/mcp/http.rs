//! One MCP message over Streamable HTTP (MCP 2026-07-28, transports), keeping what a refusal said.
//!
//! rmcp has a client of its own for `reqwest`; it drops the HTTP status of most refusals, and the
//! status is what the Responses API reports of a server it could not use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use http::header::{ACCEPT, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use rmcp::ErrorData;
use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, JsonRpcMessage, RequestId, ServerJsonRpcMessage,
};
use rmcp::transport::common::http_header::{
    EVENT_STREAM_MIME_TYPE, HEADER_SESSION_ID, JSON_MIME_TYPE,
};
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use sse_stream::{Sse, SseStream};
use tokio_util::sync::CancellationToken;

/// The most bytes that one answer may have, as JSON or as a stream of events.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// The most bytes that are read of a refusal.
const MAX_REFUSAL: usize = 64 * 1024;
/// How long a server may take to hear that a session is over.
const DELETE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a POST brought no MCP message.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The server answered, with a status that is no success.
    #[error("the server answered HTTP {}", .0.status)]
    Refused(Box<Refusal>),
    /// There was no answer, or it broke off.
    #[error(transparent)]
    Transport(reqwest::Error),
    #[error("the answer is larger than {} MiB", MAX_ANSWER / 1024 / 1024)]
    TooLarge,
    #[error("the answer is not to the request that was made")]
    NotTheAnswer,
    #[error("nobody waits for the answer any more")]
    Stopped,
}

/// An HTTP answer that is no success.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub status: StatusCode,
    /// The `WWW-Authenticate` header, if there is one.
    pub challenge: Option<String>,
    /// The JSON-RPC error in the body, if there is one.
    pub error: Option<ErrorData>,
}

/// The HTTP side of one MCP client. Clones share `last_refusal`.
#[derive(Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    /// Ends what is under way. rmcp's own worker does not look up while it waits for the answer to
    /// its first message, and would outlive the one who asked.
    stop: CancellationToken,
    /// What became of the last POST; while a connection is made, a refusal may reach rmcp as a
    /// message, which has no place for it.
    last_refusal: Arc<Mutex<Option<Refusal>>>,
}

impl HttpClient {
    pub fn new(client: reqwest::Client, stop: CancellationToken) -> Self {
        Self {
            client,
            stop,
            last_refusal: Arc::default(),
        }
    }

    /// The refusal of the last message that was sent, if it was refused.
    pub fn last_refusal(&self) -> Option<Refusal> {
        self.lock().clone()
    }

    async fn exchange(
        &self,
        request: reqwest::RequestBuilder,
        message: &ClientJsonRpcMessage,
        has_session: bool,
    ) -> Result<StreamableHttpPostResponse, Error> {
        let sent = request.json(message).send().await;
        let response = sent.map_err(HttpError::Transport)?;
        let status = response.status();
        *self.lock() = None;
        if status.is_success() {
            return read_answer(message, response).await;
        }
        let challenge = header(&response, WWW_AUTHENTICATE);
        let error = match status {
            // Refused credentials are that, whatever else is said.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => None,
            StatusCode::NOT_FOUND if has_session => None,
            _ => read_error(&read_refusal(response).await),
        };
        let refusal = Refusal {
            status,
            challenge,
            error,
        };
        *self.lock() = Some(refusal.clone());
        read_refused_message(message, &refusal)
            .map(|answer| StreamableHttpPostResponse::Json(answer, None))
            .ok_or_else(|| HttpError::Refused(Box::new(refusal)).into())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Refusal>> {
        self.last_refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

type Error = StreamableHttpError<HttpError>;

impl From<HttpError> for Error {
    fn from(error: HttpError) -> Self {
        Self::Client(error)
    }
}

impl StreamableHttpClient for HttpClient {
    type Error = HttpError;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Error> {
        let has_session = session_id.is_some();
        let mut request = self
            .client
            .post(uri.as_ref())
            .header(
                ACCEPT,
                format!("{JSON_MIME_TYPE}, {EVENT_STREAM_MIME_TYPE}"),
            )
            .headers(custom_headers.into_iter().collect());
        if let Some(token) = auth_header {
            request = request.bearer_auth(token);
        }
        if let Some(session_id) = session_id {
            request = request.header(HEADER_SESSION_ID, session_id.as_ref());
        }
        let exchange = self.exchange(request, &message, has_session);
        tokio::select! {
            answer = exchange => answer,
            () = self.stop.cancelled() => Err(HttpError::Stopped.into()),
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Error> {
        let mut request = self
            .client
            .delete(uri.as_ref())
            .header(HEADER_SESSION_ID, session_id.as_ref())
            .headers(custom_headers.into_iter().collect());
        if let Some(token) = auth_header {
            request = request.bearer_auth(token);
        }
        let request = request.timeout(DELETE_TIMEOUT);
        // 405 is how a server says that clients do not end its sessions.
        request.send().await.map_err(HttpError::Transport)?;
        Ok(())
    }

    async fn get_stream(
        &self,
        _uri: Arc<str>,
        _session_id: Option<Arc<str>>,
        _last_event_id: Option<String>,
        _auth_header: Option<String>,
        _custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Error> {
        // Only answers to our own requests are of interest, and those come with the POST.
        Err(Error::ServerDoesNotSupportSse)
    }
}

async fn read_answer(
    message: &ClientJsonRpcMessage,
    response: reqwest::Response,
) -> Result<StreamableHttpPostResponse, Error> {
    let JsonRpcMessage::Request(request) = message else {
        return Ok(StreamableHttpPostResponse::Accepted);
    };
    let session_id = header(&response, HeaderName::from_static("mcp-session-id"));
    let content_type = header(&response, CONTENT_TYPE);
    let is = |mime_type: &str| {
        let start = content_type
            .as_ref()
            .and_then(|it| it.get(..mime_type.len()));
        start.is_some_and(|start| start.eq_ignore_ascii_case(mime_type))
    };
    match () {
        () if is(EVENT_STREAM_MIME_TYPE) => {
            let events = SseStream::from_bytes_stream(bounded(response));
            let events = events.map_ok(without_resumption).boxed();
            Ok(StreamableHttpPostResponse::Sse(events, session_id))
        }
        () if is(JSON_MIME_TYPE) => {
            let body = read_to_end(response).await?;
            let answer = read_message(&request.id, &body)?;
            Ok(StreamableHttpPostResponse::Json(answer, session_id))
        }
        () => Err(Error::UnexpectedContentType(content_type)),
    }
}

/// An event without what rmcp would take up a broken stream with: it would wait for a stream that
/// is never asked for, as long as the server says.
fn without_resumption(event: Sse) -> Sse {
    Sse {
        id: None,
        retry: None,
        ..event
    }
}

/// Reads the answer to the request `id`. rmcp ignores an answer that is to none of its requests,
/// and nobody would hear of it.
fn read_message(id: &RequestId, body: &[u8]) -> Result<ServerJsonRpcMessage, Error> {
    let is_ours = |answered: &RequestId| answered.to_string() == id.to_string();
    match serde_json::from_slice::<ServerJsonRpcMessage>(body)? {
        JsonRpcMessage::Response(response) if is_ours(&response.id) => {
            Ok(JsonRpcMessage::Response(response))
        }
        // An error without an id cannot be of another request: this is the answer to ours.
        JsonRpcMessage::Error(error) if error.id.as_ref().is_none_or(is_ours) => {
            Ok(ServerJsonRpcMessage::error(error.error, Some(id.clone())))
        }
        _ => Err(HttpError::NotTheAnswer.into()),
    }
}

/// What rmcp shall be told of a refusal while it connects: a JSON-RPC error.
///
/// A server older than MCP 2026-07-28 may refuse `server/discover` in any way; rmcp falls back to
/// `initialize` if that looks like a JSON-RPC error with the request's id. Refused credentials are
/// never turned into a message.
fn read_refused_message(
    message: &ClientJsonRpcMessage,
    refusal: &Refusal,
) -> Option<ServerJsonRpcMessage> {
    let JsonRpcMessage::Request(request) = message else {
        return None;
    };
    let is_told = matches!(request.request, ClientRequest::DiscoverRequest(_))
        && refusal.status.is_client_error()
        && !matches!(
            refusal.status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        );
    let error = refusal.error.clone().unwrap_or_else(|| {
        let message = format!("server/discover was refused with HTTP {}", refusal.status);
        ErrorData::invalid_request(message, None)
    });
    is_told.then(|| ServerJsonRpcMessage::error(error, Some(request.id.clone())))
}

/// The JSON-RPC error in the body of a refusal, if there is one.
fn read_error(body: &[u8]) -> Option<ErrorData> {
    match serde_json::from_slice::<ServerJsonRpcMessage>(body) {
        Ok(JsonRpcMessage::Error(error)) => Some(error.error),
        _ => None,
    }
}

async fn read_refusal(response: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        let room = MAX_REFUSAL - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == MAX_REFUSAL {
            break;
        }
    }
    body
}

async fn read_to_end(response: reqwest::Response) -> Result<Vec<u8>, HttpError> {
    bounded(response)
        .try_fold(Vec::new(), async |mut body, chunk| {
            body.extend_from_slice(&chunk);
            Ok(body)
        })
        .await
}

/// The body of an answer, up to [`MAX_ANSWER`] bytes.
fn bounded(response: reqwest::Response) -> BoxStream<'static, Result<Bytes, HttpError>> {
    response
        .bytes_stream()
        .map_err(HttpError::Transport)
        .scan(0, |seen: &mut usize, chunk| {
            let chunk = chunk.and_then(|chunk| {
                *seen += chunk.len();
                if *seen > MAX_ANSWER {
                    Err(HttpError::TooLarge)
                } else {
                    Ok(chunk)
                }
            });
            std::future::ready(Some(chunk))
        })
        .boxed()
}

fn header(response: &reqwest::Response, name: HeaderName) -> Option<String> {
    let value = response.headers().get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}
