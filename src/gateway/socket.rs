//! The WebSocket form of `/v1/responses` (Responses API, WebSocket mode): requests come as frames on
//! one connection, and their events go back as frames.

use std::collections::HashMap;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse, Response};
use futures::SinkExt;
use futures::channel::mpsc;
use futures::stream::{self, BoxStream, SelectAll, StreamExt};
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::incoming::{Incoming, ONE_READ, is_out_of_memory};
use super::load::full;
use super::refusal::{Refusal, refuse, told};
use super::request::{admit, understand};
use super::{Gateway, live};
use crate::budget::Held;
use crate::engine::{Engine, heavy, no_memory};
use crate::http::ReadLimit;
use crate::responses::{CreateResponse, Error, Event};

/// How many lanes a connection has at a time, and how many requests wait in each.
const MOST_LANES: usize = 16;
const MOST_WAITING: usize = 16;
/// How long a good-bye may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
/// How long a frame may wait for a client that does not read it.
const SEND_DEADLINE: Duration = Duration::from_secs(30);

/// `GET /v1/responses`, asking for a WebSocket.
pub async fn socket(
    State(gateway): State<Gateway>,
    Extension(read_limit): Extension<ReadLimit>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(why) => return refuse(why.status(), &why.body_text()),
    };
    let place = match gateway.load.socket() {
        Ok(place) => place,
        Err(error) => return Refusal::from(error).into_response(),
    };
    let most = gateway.load.options.body.max_bytes;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let tasks = gateway.load.tasks.clone();
    upgrade
        .max_message_size(most)
        .max_frame_size(most)
        .read_buffer_size(ONE_READ as usize)
        .on_upgrade(move |socket| {
            tasks.track_future(async move {
                let _place = place;
                let incoming = Incoming::new(gateway.load.budget.empty(), &read_limit);
                Connection::new(socket, incoming, gateway).serve().await;
            })
        })
}

/// One WebSocket. The requests of a lane are answered one after the other, lanes side by side.
struct Connection {
    socket: WebSocket,
    incoming: Incoming,
    gateway: Gateway,
    /// The engine, with what this connection remembers.
    engine: Engine,
    lanes: HashMap<Lane, Queue>,
    said: SelectAll<BoxStream<'static, Said>>,
    heard: Instant,
}

/// `stream_id`, by which a client tells the responses of one connection apart.
type Lane = Option<String>;

/// The requests of a lane that are not answered.
struct Queue {
    sender: mpsc::Sender<Waiting>,
    count: usize,
}

/// A request as it came: read only when it is its turn.
struct Waiting {
    text: Utf8Bytes,
    held: Held,
}

/// What an answer brings.
enum Said {
    Frame(String),
    /// A request of the lane is answered.
    Done(Lane),
}

/// What decides where a frame goes.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    r#type: Option<&'a RawValue>,
    #[serde(borrow)]
    stream_id: Option<&'a RawValue>,
}

/// A short text of a frame, such as its type.
fn word(json: &RawValue) -> Option<String> {
    const LONGEST: usize = 1024;
    let json = Some(json.get()).filter(|it| it.len() <= LONGEST);
    serde_json::from_str(json?).ok()
}

impl Connection {
    fn new(socket: WebSocket, incoming: Incoming, gateway: Gateway) -> Self {
        Self {
            socket,
            incoming,
            engine: gateway.engine.of_connection(),
            gateway,
            lanes: HashMap::new(),
            said: SelectAll::new(),
            heard: Instant::now(),
        }
    }

    /// Until the client leaves or is silent for too long, which cancels what is under way; or until
    /// the gateway stops, and then what is under way is told to its end.
    async fn serve(mut self) {
        let stop = self.gateway.load.stop.clone();
        let max_silence = self.gateway.load.options.max_silence;
        let mut pings = tokio::time::interval(self.gateway.load.options.ping_interval);
        loop {
            let goes_on = tokio::select! {
                received = self.socket.recv() => match received {
                    Some(Ok(message)) => self.take(message).await,
                    Some(Err(error)) => {
                        self.explain(error).await;
                        false
                    }
                    None => false,
                },
                Some(said) = self.said.next() => self.pass(said).await,
                _ = pings.tick() => {
                    self.heard.elapsed() < max_silence
                        && self.tell(Message::Ping(Vec::new().into())).await
                }
                () = stop.cancelled(), if self.lanes.is_empty() => false,
            };
            if !goes_on {
                break;
            }
        }
        self.said.clear();
        let _ = tokio::time::timeout(CLOSE_DEADLINE, self.socket.close()).await;
    }

    /// Takes in what the client says. Returns whether it is still there.
    async fn take(&mut self, message: Message) -> bool {
        self.heard = Instant::now();
        self.incoming.complete(&message);
        let text = match message {
            Message::Text(text) => text,
            Message::Close(_) => return false,
            Message::Ping(_) | Message::Pong(_) => return true,
            Message::Binary(_) => {
                let refusal = refusal(&unknown_frame("a binary frame"), None);
                return self.tell(Message::Text(refusal.into())).await;
            }
        };
        match self.enqueue(text) {
            Ok(()) => true,
            Err((lane, error)) => {
                let refusal = refusal(&error, lane.as_deref());
                self.tell(Message::Text(refusal.into())).await
            }
        }
    }

    /// Tells the client why nothing more is read, if it can have no idea.
    async fn explain(&mut self, error: axum::Error) {
        if is_out_of_memory(&error) {
            let message = "Too many large requests are being answered.";
            let error = full(StatusCode::SERVICE_UNAVAILABLE, message);
            self.tell(Message::Text(refusal(&error, None).into())).await;
        }
    }

    /// Puts a request into its lane.
    fn enqueue(&mut self, text: Utf8Bytes) -> Result<(), (Lane, Error)> {
        let Ok(head) = serde_json::from_str::<Head>(&text) else {
            return Err((None, unknown_frame("no JSON object")));
        };
        let lane = match head.stream_id.map(word) {
            None => None,
            Some(Some(lane)) => Some(lane),
            Some(None) => {
                let message = "The 'stream_id' must be a text of at most 1 kB.";
                return Err((None, Error::bad_request("stream_id", None, message)));
            }
        };
        let refused = |error| Err((lane.clone(), error));
        match head.r#type.and_then(word).as_deref() {
            Some("response.create") => {}
            kind => return refused(unknown_frame(kind.unwrap_or("one without a type"))),
        }
        if self.gateway.load.stop.is_cancelled() {
            let message = "The gateway is stopping.";
            return refused(full(StatusCode::SERVICE_UNAVAILABLE, message));
        }
        // From here on it waits in memory, so even a short one counts.
        let held = match self.gateway.load.budget.hold(text.len() as u64) {
            Ok(held) => held,
            Err(exhausted) => return refused(no_memory(exhausted)),
        };
        if !self.lanes.contains_key(&lane) {
            if self.lanes.len() == MOST_LANES {
                let message = format!("{MOST_LANES} lanes are in use.");
                return refused(full(StatusCode::TOO_MANY_REQUESTS, &message));
            }
            self.open(lane.clone());
        }
        let Some(queue) = self.lanes.get_mut(&lane) else {
            unreachable!("the lane was opened above");
        };
        if queue.sender.try_send(Waiting { text, held }).is_err() {
            let message = format!("{MOST_WAITING} requests wait for the one before them.");
            return refused(full(StatusCode::TOO_MANY_REQUESTS, &message));
        }
        queue.count += 1;
        Ok(())
    }

    fn open(&mut self, lane: Lane) {
        let (sender, waiting) = mpsc::channel(MOST_WAITING);
        let engine = self.engine.clone();
        let of_lane = lane.clone();
        let said = waiting.flat_map(move |it| answer(engine.clone(), it, of_lane.clone()));
        self.said.push(said.boxed());
        self.lanes.insert(lane, Queue { sender, count: 0 });
    }

    /// Passes on what an answer brings. Returns whether the client is still there.
    async fn pass(&mut self, said: Said) -> bool {
        match said {
            Said::Frame(frame) => self.tell(Message::Text(frame.into())).await,
            Said::Done(lane) => {
                // An idle lane is closed: their number is limited.
                if let Some(queue) = self.lanes.get_mut(&lane) {
                    queue.count -= 1;
                    if queue.count == 0 {
                        self.lanes.remove(&lane);
                    }
                }
                true
            }
        }
    }

    async fn tell(&mut self, message: Message) -> bool {
        let sent = tokio::time::timeout(SEND_DEADLINE, self.socket.send(message)).await;
        matches!(sent, Ok(Ok(())))
    }
}

/// The answer to one request, and that it is done.
fn answer(engine: Engine, waiting: Waiting, lane: Lane) -> BoxStream<'static, Said> {
    let Waiting { text, mut held } = waiting;
    let of_lane = lane.clone();
    let frames = async move {
        match events(&engine, text, &mut held).await {
            Ok(events) => events
                .map(move |event| {
                    let _until_the_end = &held;
                    frame(event.to_json(), of_lane.as_deref())
                })
                .boxed(),
            Err(error) => stream::iter([refusal(&error, of_lane.as_deref())]).boxed(),
        }
    };
    let frames = stream::once(frames).flatten().map(Said::Frame);
    frames.chain(stream::iter([Said::Done(lane)])).boxed()
}

async fn events(
    engine: &Engine,
    text: Utf8Bytes,
    held: &mut Held,
) -> Result<BoxStream<'static, Event>, Error> {
    admit(held, text.as_bytes(), engine.copies())?;
    let request = heavy(text.len() / 1024, || read(&text))?;
    drop(text);
    if request.is_background() {
        let message = "A response in the background cannot be made over a WebSocket.";
        return Err(Error::bad_request("background", None, message));
    }
    live::begun(engine.create_stream(request).await?).await
}

fn read(text: &str) -> Result<CreateResponse, Error> {
    let request = serde_json::from_str(text);
    let mut request: Map<String, Value> = request.map_err(|_| unknown_frame("no JSON object"))?;
    for of_frame in ["type", "stream_id"] {
        request.remove(of_frame);
    }
    request.insert("stream".to_owned(), true.into());
    understand(request)
}

/// The JSON object of an event, with the lane that it belongs to.
fn frame(mut json: Vec<u8>, lane: Option<&str>) -> String {
    if let (Some(lane), Some(b'}')) = (lane, json.last()) {
        json.pop();
        let lane = Value::from(lane);
        json.extend_from_slice(format!(",\"stream_id\":{lane}}}").as_bytes());
    }
    String::from_utf8(json).expect("serde_json writes UTF-8")
}

/// An error frame (Responses API, WebSocket mode).
fn refusal(error: &Error, lane: Option<&str>) -> String {
    let (status, error) = told(error);
    let refusal = json!({"type": "error", "status": status.as_u16(), "error": error});
    frame(refusal.to_string().into_bytes(), lane)
}

fn unknown_frame(what: &str) -> Error {
    let message = format!("This server takes frames of the type 'response.create', not {what}.");
    Error::bad_request("type", None, message)
}
