//! HTTP+SSE, the transport before Streamable HTTP: one stream of events for all that the server sends,
//! and a POST for each message to it (MCP 2024-11-05, transports).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::StreamExt;
use http::HeaderMap;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::channel::{Answer, Request};
use super::error::Error;
use super::excess::{MAX_ANSWER, Traffic};
use super::fault::Fault;
use super::observer::Observer;
use super::pending::{Inbox, Pending};
use super::requests::{Events, Requests, read_all};
use crate::budget::Budget;
use crate::sse;

/// The event that tells where messages are posted.
const ENDPOINT: &[u8] = b"endpoint";
/// How long that event may take.
const ENDPOINT_TIMEOUT: Duration = Duration::from_secs(5);

/// A server that is spoken to over HTTP+SSE.
pub struct HttpSse {
    posts: Arc<Posts>,
    pending: Arc<Pending>,
    reader: AbortOnDropHandle<()>,
}

/// Where messages to the server go.
struct Posts {
    requests: Requests,
    endpoint: Url,
}

impl HttpSse {
    /// Opens the stream at `url`, and reads from it where messages go.
    ///
    /// # Errors
    /// It is not such a stream, or it leads to another origin.
    pub async fn open(
        requests: Requests,
        url: &Url,
        budget: &Budget,
        observer: Observer,
    ) -> Result<Self, Error> {
        let opening = async {
            let headers = HeaderMap::new();
            let mut events = requests.events(url, headers, MAX_ANSWER, budget).await?;
            let endpoint = read_endpoint(&mut events).await?;
            Ok::<_, Error>((events, endpoint))
        };
        let late = |_| Error::Timeout(ENDPOINT_TIMEOUT);
        let (mut events, endpoint) = timeout(ENDPOINT_TIMEOUT, opening).await.map_err(late)??;
        let posts = Arc::new(Posts { requests, endpoint });
        let pending = Arc::<Pending>::default();
        let mut inbox = Inbox::new(Arc::clone(&pending), observer);
        let replies = Arc::clone(&posts);
        let reader = tokio::spawn(async move {
            let read = read_all(&mut events, &mut inbox, |reply| {
                let Posts { requests, endpoint } = &*replies;
                requests.reply(endpoint, reply, HeaderMap::new())
            })
            .await;
            inbox.pending.end(&read.err().unwrap_or(Fault::Closed));
        });
        Ok(Self {
            posts,
            pending,
            reader: AbortOnDropHandle::new(reader),
        })
    }

    /// Sends a request, and waits for its answer on the stream.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn request(&self, request: &Request) -> Result<Answer, Error> {
        let mut expected = self.pending.expect(request.id)?;
        self.notify(request.message.clone()).await?;
        Ok(expected.answer().await?)
    }

    /// Sends a notification.
    ///
    /// # Errors
    /// The server refused it or was not reached.
    pub async fn notify(&self, message: Bytes) -> Result<(), Error> {
        let Posts { requests, endpoint } = &*self.posts;
        let post = requests.post(endpoint, message, HeaderMap::new());
        let accepted = requests.accepted(post).await?;
        // Its body says nothing, and the connection is used again.
        sse::drain(accepted.bytes_stream().boxed());
        Ok(())
    }

    /// Whether the stream has ended.
    pub fn is_closed(&self) -> bool {
        self.pending.fault().is_some()
    }

    /// Ends the stream, and with it what the server keeps.
    pub fn close(&self) {
        self.reader.abort();
    }
}

/// Reads where messages go, which must be of the origin of the stream: what the server is shown is for
/// no other.
async fn read_endpoint(events: &mut Events) -> Result<Url, Error> {
    let url = events.url.clone();
    let mut traffic = Traffic::default();
    while let Some((sse::Event { name, data }, _)) = events.next().await? {
        if name != ENDPOINT {
            traffic.notification(data.len())?;
            continue;
        }
        let data = String::from_utf8_lossy(&data);
        let endpoint = url.join(data.trim());
        return match endpoint {
            Ok(endpoint) if endpoint.origin() == url.origin() => Ok(endpoint),
            Ok(endpoint) => Err(Error::NotMcp(format!(
                "its stream leads to another origin: {}",
                endpoint.origin().ascii_serialization()
            ))),
            Err(_) => Err(Error::NotMcp("its endpoint is not a URL".to_owned())),
        };
    }
    Err(Error::NotMcp(
        "the stream ended before its endpoint".to_owned(),
    ))
}
