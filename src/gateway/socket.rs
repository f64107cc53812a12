//! The WebSocket form of `/v1/responses` (Responses API, WebSocket mode): requests come as frames on
//! one connection, and their events go back as frames.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures::SinkExt;
use futures::channel::mpsc;
use futures::stream::{BoxStream, SelectAll, StreamExt};
use http::StatusCode;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::create::understand;
use super::refusal::{refuse, told};
use super::{Gateway, MAX_BODY, live};
use crate::engine::Engine;
use crate::responses::{Error, Event};

/// How many lanes a connection has, and how many requests wait in each.
const MOST_LANES: usize = 16;
const MOST_WAITING: usize = 16;
/// How often a client that says nothing is asked whether it is there, and how long it may say nothing.
const PING_EVERY: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(90);
/// How long a good-bye may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
/// How long a frame may wait for a client that does not read it.
const SEND_DEADLINE: Duration = Duration::from_secs(30);

/// `GET /v1/responses`, asking for a WebSocket.
pub async fn socket(
    State(gateway): State<Gateway>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(why) => return refuse(why.status(), &why.body_text()),
    };
    let Ok(place) = gateway.sockets.clone().try_acquire_owned() else {
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "There are too many WebSockets.",
        );
    };
    let most = usize::try_from(MAX_BODY).unwrap_or(usize::MAX);
    upgrade
        .max_message_size(most)
        .max_frame_size(most)
        .on_upgrade(async move |socket| {
            let stopped = gateway.stop.clone();
            let mut connection = Connection::new(socket, gateway.engine.of_connection());
            tokio::select! {
                () = connection.serve() => {}
                () = stopped.cancelled() => {}
            }
            connection.close().await;
            drop(place);
        })
}

/// One WebSocket. The requests of a lane are answered one after the other, lanes side by side.
struct Connection {
    socket: WebSocket,
    engine: Engine,
    lanes: HashMap<Lane, mpsc::Sender<Map<String, Value>>>,
    frames: SelectAll<BoxStream<'static, Frame>>,
    heard: Instant,
}

/// `stream_id`, by which a client tells the responses of one connection apart.
type Lane = Option<String>;
type Frame = Map<String, Value>;

impl Connection {
    fn new(socket: WebSocket, engine: Engine) -> Self {
        Self {
            socket,
            engine,
            lanes: HashMap::new(),
            frames: SelectAll::new(),
            heard: Instant::now(),
        }
    }

    /// Until the client leaves, or is silent for too long. What is under way then is cancelled.
    async fn serve(&mut self) {
        let mut pings = tokio::time::interval(PING_EVERY);
        loop {
            let going_on = tokio::select! {
                received = self.socket.recv() => match received {
                    Some(Ok(message)) => self.take(message).await,
                    Some(Err(_)) | None => false,
                },
                Some(frame) = self.frames.next() => self.send(&frame).await,
                _ = pings.tick() => {
                    self.heard.elapsed() < SILENCE && self.tell(Message::Ping(Vec::new().into())).await
                }
            };
            if !going_on {
                break;
            }
        }
    }

    /// Says good-bye, or answers that of the client. What is under way is cancelled.
    async fn close(mut self) {
        self.frames.clear();
        let _ = tokio::time::timeout(CLOSE_DEADLINE, self.socket.close()).await;
    }

    /// Takes in what the client says. Returns whether it is still there.
    async fn take(&mut self, message: Message) -> bool {
        self.heard = Instant::now();
        let text = match message {
            Message::Text(text) => text,
            Message::Close(_) => return false,
            Message::Ping(_) | Message::Pong(_) => return true,
            Message::Binary(_) => {
                return self
                    .send(&refusal(&unknown_frame("a binary frame"), None))
                    .await;
            }
        };
        let frame: Map<String, Value> = match serde_json::from_str(&text) {
            Ok(frame) => frame,
            Err(_) => {
                return self
                    .send(&refusal(&unknown_frame("no JSON object"), None))
                    .await;
            }
        };
        let lane = frame.get("stream_id").and_then(Value::as_str);
        let lane = lane.map(str::to_owned);
        let refused = match frame.get("type").and_then(Value::as_str) {
            Some("response.create") => self.enqueue(&lane, frame),
            kind => Err(unknown_frame(kind.unwrap_or("a frame without a type"))),
        };
        match refused {
            Ok(()) => true,
            Err(error) => self.send(&refusal(&error, lane.as_ref())).await,
        }
    }

    /// Puts a request into its lane.
    fn enqueue(&mut self, lane: &Lane, frame: Frame) -> Result<(), Error> {
        if !self.lanes.contains_key(lane) {
            if self.lanes.len() == MOST_LANES {
                return Err(too_many(
                    "stream_id",
                    format!("There are {MOST_LANES} lanes."),
                ));
            }
            let (sender, requests) = mpsc::channel(MOST_WAITING);
            let engine = self.engine.clone();
            let of_lane = lane.clone();
            let frames = requests.flat_map(move |request| answer(&engine, request, &of_lane));
            self.frames.push(frames.boxed());
            self.lanes.insert(lane.clone(), sender);
        }
        let Some(sender) = self.lanes.get_mut(lane) else {
            unreachable!("the lane was made above");
        };
        sender.try_send(frame).map_err(|_| {
            too_many(
                "type",
                format!("{MOST_WAITING} requests wait for the one before them."),
            )
        })
    }

    async fn send(&mut self, frame: &Frame) -> bool {
        let text = Value::Object(frame.clone()).to_string();
        self.tell(Message::Text(text.into())).await
    }

    async fn tell(&mut self, message: Message) -> bool {
        let sent = tokio::time::timeout(SEND_DEADLINE, self.socket.send(message)).await;
        matches!(sent, Ok(Ok(())))
    }
}

/// The events of the answer to one request.
fn answer(engine: &Engine, request: Frame, lane: &Lane) -> BoxStream<'static, Frame> {
    let engine = engine.clone();
    let lane = lane.clone();
    let of_lane = lane.clone();
    let events = async move {
        match events(&engine, request).await {
            Ok(events) => events.map(|event| event.data().clone()).boxed(),
            Err(error) => futures::stream::iter([refusal(&error, None)]).boxed(),
        }
    };
    futures::stream::once(events)
        .flatten()
        .map(move |mut frame| {
            if let Some(lane) = &of_lane {
                frame.insert("stream_id".to_owned(), lane.as_str().into());
            }
            frame
        })
        .boxed()
}

async fn events(engine: &Engine, mut request: Frame) -> Result<BoxStream<'static, Event>, Error> {
    for of_frame in ["type", "stream_id"] {
        request.remove(of_frame);
    }
    request.insert("stream".to_owned(), true.into());
    let request = understand(request)?;
    if request.is_background() {
        let message = "A response in the background cannot be made over a WebSocket.";
        return Err(Error::bad_request("background", None, message));
    }
    live::begun(engine.create_stream(request).await?).await
}

/// An error frame (Responses API, WebSocket mode).
fn refusal(error: &Error, lane: Option<&String>) -> Frame {
    let (status, error) = told(error);
    let frame = json!({"type": "error", "status": status.as_u16(), "error": error});
    let Value::Object(mut frame) = frame else {
        unreachable!("the frame above is an object");
    };
    if let Some(lane) = lane {
        frame.insert("stream_id".to_owned(), lane.as_str().into());
    }
    frame
}

fn unknown_frame(what: &str) -> Error {
    let message = format!("This server takes frames of the type 'response.create', not {what}.");
    Error::bad_request("type", None, message)
}

fn too_many(param: &str, message: String) -> Error {
    Error::bad_request(param, None, message)
}
