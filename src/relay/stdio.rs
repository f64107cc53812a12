//! One caller over stdin and stdout: a client that only starts programs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::asked::unguessable;
use super::caller::{Caller, Offered, Session};
use super::exchange::{Reply, Told};
use super::message::Params;
use super::{Begun, MAX_MESSAGE, Relay, about};
use crate::http::Message;
use crate::mcp::{Line, Lines};

/// How many requests are answered at a time.
const MOST_REQUESTS: usize = 256;
/// How many lines wait for a client that does not read.
const MOST_UNREAD: usize = 64;

/// The client, and what it is answered.
struct Connection {
    relay: Arc<Relay>,
    outbox: mpsc::Sender<Bytes>,
    /// The session that `initialize` opened.
    session: Mutex<Option<Arc<Session>>>,
    /// The requests in flight, by their id.
    in_flight: Mutex<HashMap<Bytes, CancellationToken>>,
}

impl Relay {
    /// Serves the client at the other end until it sends no more.
    ///
    /// # Errors
    /// It cannot be read or written to.
    pub async fn serve_stdio<R, W>(self: Arc<Self>, input: R, output: W) -> std::io::Result<()>
    where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (outbox, lines) = mpsc::channel(MOST_UNREAD);
        let writing = tokio::spawn(write(output, lines));
        let connection = Arc::new(Connection {
            relay: Arc::clone(&self),
            outbox,
            session: Mutex::default(),
            in_flight: Mutex::default(),
        });
        let permits = Arc::new(Semaphore::new(MOST_REQUESTS));
        let tasks = TaskTracker::new();
        let mut input = Lines::new(
            input,
            MAX_MESSAGE as usize,
            crate::budget::Budget::unlimited(),
        );
        while let Ok(Some(line)) = input.next().await {
            let Line::Text { text, .. } = line else {
                connection.refuse(b"null", "the message is too long").await;
                continue;
            };
            let Ok(message) = Message::read(text.into()) else {
                connection
                    .refuse(b"null", "the line is not a JSON-RPC message")
                    .await;
                continue;
            };
            // What comes first is answered first where the order counts.
            if !message.is_request() || message.asks_for("initialize") {
                connection.take(message).await;
                continue;
            }
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                break;
            };
            let connection = Arc::clone(&connection);
            tasks.spawn(async move {
                connection.take(message).await;
                drop(permit);
            });
        }
        tasks.close();
        tasks.wait().await;
        drop(connection);
        writing.await.map_err(std::io::Error::other)?
    }
}

impl Connection {
    async fn take(&self, message: Message) {
        let id = message.id().cloned().unwrap_or_default();
        let caller = {
            let params = Params::of(&message);
            let meta = params.meta();
            if message.method.as_deref() == Some("notifications/cancelled") {
                return self.cancel(params.request_id);
            }
            if message.asks_for("initialize") {
                let capabilities = params.capabilities.map(ToOwned::to_owned);
                let version =
                    about::version(params.protocol_version.as_deref().unwrap_or_default());
                let session =
                    Session::new(unguessable(), capabilities.unwrap_or_default(), version);
                *lock(&self.session) = Some(Arc::new(session));
            }
            let session = lock(&self.session).clone();
            let is_modern = meta.version.is_some();
            let of_session = session.as_ref().map(|it| it.offered);
            let of_request = meta.capabilities.map(Offered::read);
            let offered = if is_modern { of_request } else { of_session };
            Caller {
                is_modern,
                offered: offered.unwrap_or_default(),
                who: None,
                session: session.filter(|_| !is_modern),
            }
        };
        let cancelled = CancellationToken::new();
        lock(&self.in_flight).insert(id.clone(), cancelled.clone());
        tokio::select! {
            () = self.answer(caller, message, &id) => {}
            () = cancelled.cancelled() => {}
        }
        lock(&self.in_flight).remove(&id);
    }

    async fn answer(&self, caller: Caller, message: Message, id: &[u8]) {
        let begun = self.relay.begin(caller, message, None).await;
        let mut exchange = match begun {
            Ok(Begun::Now(None)) => return,
            Ok(Begun::Now(Some(reply))) => return self.send(reply.body).await,
            Ok(Begun::Exchange(exchange)) => exchange,
            Err(failure) => return self.send(Reply::failure(id, &failure).body).await,
        };
        loop {
            match exchange.next().await {
                Told::Message(text) => self.send(text).await,
                Told::Answer(reply) => return self.send(reply.body).await,
            }
        }
    }

    fn cancel(&self, id: Option<&RawValue>) {
        let in_flight = lock(&self.in_flight);
        let request = id.and_then(|it| in_flight.get(it.get().as_bytes()));
        if let Some(request) = request {
            request.cancel();
        }
    }

    async fn refuse(&self, id: &[u8], message: &'static str) {
        let failure = super::Failure {
            status: ::http::StatusCode::BAD_REQUEST,
            error: rmcp::ErrorData::parse_error(message, None),
        };
        self.send(Reply::failure(id, &failure).body).await;
    }

    async fn send(&self, message: Bytes) {
        // A client that reads no more has no use for an answer.
        let _ = self.outbox.send(message).await;
    }
}

/// Writes lines until there are no more.
async fn write<W: AsyncWrite + Unpin>(
    mut output: W,
    mut lines: mpsc::Receiver<Bytes>,
) -> std::io::Result<()> {
    while let Some(line) = lines.recv().await {
        output.write_all(line.trim_ascii_end()).await?;
        output.write_all(b"\n").await?;
        if lines.is_empty() {
            output.flush().await?;
        }
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
