//! The MCP server behind the tunnel: a router in this process, called without a connection.

use std::collections::VecDeque;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, Uri};
use tower::ServiceExt;

use super::error::Error;
use super::failure::{Failure, Kind};
use super::headers::JSON;
use crate::budget::Held;
use crate::sse;

/// The most bytes of the body of an HTTP error.
const MAX_REFUSAL: usize = 100 * 1024;

/// An MCP endpoint.
#[derive(Debug, Clone)]
pub struct Target {
    router: Router,
    path: Uri,
}

impl Target {
    /// # Errors
    /// `path` is not the path of a request.
    pub fn new(router: Router, path: &str) -> Result<Self, Error> {
        let uri = path.parse().ok().filter(|_| path.starts_with('/'));
        let path = uri.ok_or_else(|| Error::Path(path.to_owned()))?;
        Ok(Self { router, path })
    }

    /// Sends a JSON-RPC message.
    pub async fn post(&self, mut headers: HeaderMap, message: Bytes) -> Response {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        self.call(Method::POST, headers, message.into()).await
    }

    /// Ends the session that the headers name.
    pub async fn delete(&self, headers: HeaderMap) -> Response {
        self.call(Method::DELETE, headers, Body::empty()).await
    }

    async fn call(&self, method: Method, headers: HeaderMap, body: Body) -> Response {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = headers;
        let localhost = HeaderValue::from_static("localhost");
        request.headers_mut().insert(HOST, localhost);
        match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Reads the body of an HTTP error, within a limit.
pub async fn read_refusal(body: Body) -> Result<Vec<u8>, Kind> {
    let mut chunks = body.into_data_stream();
    let mut read = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Kind::ResponseBodyUnreadable)?;
        if read.len() + chunk.len() > MAX_REFUSAL {
            return Err(Kind::ResponseBodyTooLarge);
        }
        read.extend_from_slice(&chunk);
    }
    match read.trim_ascii().is_empty() {
        true => Err(Kind::ResponseBodyMissing),
        false => Ok(read),
    }
}

/// The messages in the body of a success: one JSON body, or the events of a stream.
pub struct Messages {
    chunks: BodyDataStream,
    /// Without a decoder, the body is one message.
    decoder: Option<sse::Decoder>,
    decoded: VecDeque<sse::Event>,
    /// The most bytes of a message.
    limit: usize,
    /// The share of the budget that the current message holds.
    held: Held,
}

impl Messages {
    /// The body is one message of at most `limit` bytes, which are held while it is read and posted.
    pub fn whole(body: Body, limit: usize, held: Held) -> Self {
        Self {
            chunks: body.into_data_stream(),
            decoder: None,
            decoded: VecDeque::new(),
            limit,
            held,
        }
    }

    /// The body is a stream of events, each a message of at most `limit` bytes.
    pub fn events(body: Body, limit: usize, held: Held) -> Self {
        Self {
            decoder: Some(sse::Decoder::default()),
            ..Self::whole(body, limit, held)
        }
    }

    /// The next message; events of other names and comments are skipped.
    ///
    /// # Errors
    /// There is no further message; the end of the body is an error as well.
    pub async fn next(&mut self) -> Result<Vec<u8>, Failure> {
        match self.decoder.take() {
            Some(decoder) => self.next_event(decoder).await,
            None => self.read_whole().await,
        }
    }

    /// The share of the budget that the last message holds.
    pub fn into_held(self) -> Held {
        self.held
    }

    async fn read_whole(&mut self) -> Result<Vec<u8>, Failure> {
        let mut message = Vec::new();
        while let Some(chunk) = self.chunks.next().await {
            let chunk = chunk.map_err(|error| Failure::from_error(&error))?;
            if message.len() + chunk.len() > self.limit {
                return Err(Failure::not_mcp(Kind::ResponseBodyTooLarge));
            }
            message.extend_from_slice(&chunk);
            self.hold(message.len())?;
        }
        match message.trim_ascii().is_empty() {
            true => Err(Failure::ended(Kind::Eof)),
            false => Ok(message),
        }
    }

    async fn next_event(&mut self, mut decoder: sse::Decoder) -> Result<Vec<u8>, Failure> {
        loop {
            while let Some(sse::Event { name, data }) = self.decoded.pop_front() {
                if name.is_empty() || name == b"message" {
                    self.decoder = Some(decoder);
                    return Ok(data);
                }
            }
            let Some(chunk) = self.chunks.next().await else {
                return Err(Failure::ended(Kind::UnexpectedEof));
            };
            let chunk = chunk.map_err(|error| Failure::from_error(&error))?;
            decoder.push(&chunk, &mut self.decoded);
            let sizes = self.decoded.iter().map(|it| it.data.len());
            let (longest, all) = sizes.fold((0, 0), |(longest, all), size| {
                (size.max(longest), all + size)
            });
            if decoder.unfinished().max(longest) > self.limit {
                return Err(Failure::not_mcp(Kind::ResponseBodyTooLarge));
            }
            self.hold(decoder.unfinished() + all)?;
        }
    }

    /// Holds twice as many bytes: a message is in memory once as received and once in the body of its post.
    fn hold(&mut self, bytes: usize) -> Result<(), Failure> {
        let held = self.held.resize(2 * bytes as u64);
        held.map_err(|_| Failure::not_mcp(Kind::ResponseBodyTooLarge))
    }
}
