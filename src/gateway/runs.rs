//! Responses in the background: made whether or not anybody reads them, read as often as anybody
//! likes (Responses API, background mode).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use http::StatusCode;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::live::{self, Snapshot};
use super::sse;
use crate::engine::Engine;
use crate::responses::{ApiError, CreateResponse, Error, Event, Response};

/// How many responses there are at a time, those that can still be read again included.
const MOST: usize = 256;
/// How long the events of a response that is done can be read again.
const READABLE_FOR: Duration = Duration::from_secs(5 * 60);

/// The responses that are being made, by id, and those that were until a moment ago.
#[derive(Clone)]
pub struct Runs {
    runs: Arc<Mutex<HashMap<String, Arc<Run>>>>,
    stop: CancellationToken,
}

/// One response in the background.
pub struct Run {
    told: watch::Sender<Told>,
    cancel: CancellationToken,
}

#[derive(Default)]
struct Told {
    /// All events so far; each is at the place that its `sequence_number` says.
    frames: Vec<Bytes>,
    snapshot: Snapshot,
    ended: Option<Instant>,
}

impl Runs {
    /// None yet. All of them end when `stop` is cancelled.
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            runs: Arc::default(),
            stop,
        }
    }

    pub fn get(&self, id: &str) -> Option<Arc<Run>> {
        self.lock().get(id).cloned()
    }

    /// Begins to make a response.
    pub async fn start(&self, engine: &Engine, request: CreateResponse) -> Result<Arc<Run>, Error> {
        self.make_room()?;
        let mut events = live::begun(engine.create_stream(request).await?).await?;
        let run = Arc::new(Run {
            told: watch::Sender::new(Told::default()),
            cancel: self.stop.child_token(),
        });
        if let Some(first) = events.next().await {
            run.tell(&first);
        }
        let id = run.told.borrow().snapshot.id().to_owned();
        self.lock().insert(id, Arc::clone(&run));
        tokio::spawn(Arc::clone(&run).finish(events, engine.clone()));
        Ok(run)
    }

    /// Forgets a response, and stops making it.
    pub fn forget(&self, id: &str) {
        if let Some(run) = self.lock().remove(id) {
            run.cancel.cancel();
        }
    }

    fn make_room(&self) -> Result<(), Error> {
        let mut runs = self.lock();
        runs.retain(|_, run| run.ended().is_none_or(|it| it.elapsed() < READABLE_FOR));
        if runs.len() < MOST {
            return Ok(());
        }
        let ended = runs.iter().filter_map(|(id, run)| Some((run.ended()?, id)));
        let oldest = ended.min().map(|(_, id)| id.clone());
        match oldest {
            Some(id) => {
                runs.remove(&id);
                Ok(())
            }
            None => Err(Error::refused(
                StatusCode::TOO_MANY_REQUESTS,
                ApiError {
                    message: format!("{MOST} responses are being made in the background."),
                    kind: Some("rate_limit_error".to_owned()),
                    code: Some("rate_limit_exceeded".to_owned()),
                    param: None,
                },
            )),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Run>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    /// The response as it is now.
    pub fn response(&self) -> Map<String, Value> {
        self.told.borrow().snapshot.response()
    }

    /// The frames of all events behind that number, those that are still to come included.
    pub fn frames(
        self: &Arc<Self>,
        starting_after: Option<u64>,
    ) -> impl Stream<Item = Bytes> + use<> {
        let first = starting_after.map_or(0, |number| number.saturating_add(1));
        let place = usize::try_from(first).unwrap_or(usize::MAX);
        let changes = self.told.subscribe();
        stream::unfold((changes, place), async |(mut changes, place)| {
            let frame = {
                let is_there = |told: &Told| place < told.frames.len() || told.ended.is_some();
                let told = changes.wait_for(is_there).await.ok()?;
                told.frames.get(place)?.clone()
            };
            Some((frame, (changes, place + 1)))
        })
    }

    /// Stops making the response. Returns it as it is in the end.
    pub async fn cancel(&self) -> Map<String, Value> {
        self.cancel.cancel();
        // Its sender is in `self`, so this waits for nothing but the end.
        let _ = self
            .told
            .subscribe()
            .wait_for(|told| told.ended.is_some())
            .await;
        self.response()
    }

    fn ended(&self) -> Option<Instant> {
        self.told.borrow().ended
    }

    fn tell(&self, event: &Event) {
        self.told.send_modify(|told| {
            told.frames.push(sse::frame(event.data()));
            told.snapshot.take(event);
        });
    }

    async fn finish(self: Arc<Self>, mut events: BoxStream<'static, Event>, engine: Engine) {
        let reading = async {
            while let Some(event) = events.next().await {
                self.tell(&event);
            }
        };
        tokio::select! {
            () = reading => {}
            () = self.cancel.cancelled() => {}
        }
        drop(events);
        self.cut_off(&engine).await;
        self.told
            .send_modify(|told| told.ended = Some(Instant::now()));
    }

    /// A response that has no end by now is cancelled.
    async fn cut_off(&self, engine: &Engine) {
        if self.told.borrow().snapshot.is_done() {
            return;
        }
        self.told.send_modify(|told| told.snapshot.cancel());
        // The log has it if that fails; whoever reads is told of the end all the same.
        let _ = engine.replace(Response::new(self.response())).await;
    }
}
