//! Responses in the background: made whether or not anybody reads them, read as often as anybody
//! likes (Responses API, background mode).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::live::{self, Snapshot};
use super::load::{Load, Place};
use super::sse;
use crate::engine::Engine;
use crate::responses::{CreateResponse, Error, Event, Response};

/// How many responses can still be read again when they are done, and how many bytes their events have.
const MOST_ENDED: usize = 128;
const MOST_BYTES: usize = 128 * 1024 * 1024;
/// How long the events of a response that is done can be read again.
const READABLE_FOR: Duration = Duration::from_secs(5 * 60);

/// The responses that are being made, by id, and those that were until a moment ago.
#[derive(Clone)]
pub struct Runs {
    runs: Arc<Mutex<HashMap<String, Arc<Run>>>>,
    load: Load,
}

/// One response in the background.
pub struct Run {
    id: String,
    told: watch::Sender<Told>,
    cancel: CancellationToken,
}

#[derive(Default)]
struct Told {
    /// All events so far; each is at the place that its `sequence_number` says.
    frames: Vec<Bytes>,
    bytes: usize,
    snapshot: Snapshot,
    ended: Option<Instant>,
}

impl Runs {
    /// None yet. All of them end when the gateway stops.
    pub fn new(load: Load) -> Self {
        Self {
            runs: Arc::default(),
            load,
        }
    }

    pub fn get(&self, id: &str) -> Option<Arc<Run>> {
        self.lock().get(id).cloned()
    }

    /// Begins to make a response; `body` is the room that its request takes.
    pub async fn start(
        &self,
        engine: &Engine,
        request: CreateResponse,
        body: Place,
    ) -> Result<Arc<Run>, Error> {
        let places = (body, self.load.run()?);
        let mut events = live::begun(engine.create_stream(request).await?).await?;
        let mut told = Told::default();
        if let Some(first) = events.next().await {
            told.take(&first);
        }
        let run = Arc::new(Run {
            id: told.snapshot.id().to_owned(),
            told: watch::Sender::new(told),
            cancel: self.load.stop.child_token(),
        });
        self.lock().insert(run.id.clone(), Arc::clone(&run));
        let (runs, making) = (self.clone(), Arc::clone(&run));
        let engine = engine.clone();
        self.load.tasks.spawn(async move {
            making.finish(events, &engine).await;
            drop(places);
            runs.keep_readable(&making);
        });
        Ok(run)
    }

    /// Lets a response that is done be read again for a while, and those before it make room.
    fn keep_readable(&self, run: &Arc<Run>) {
        let mut runs = self.lock();
        let mut ended: Vec<(Instant, usize, String)> = runs
            .values()
            .filter_map(|run| {
                let told = run.told.borrow();
                Some((told.ended?, told.bytes, run.id.clone()))
            })
            .collect();
        ended.sort_unstable_by(|one, other| other.cmp(one));
        let mut bytes = 0;
        for (index, (_, more, id)) in ended.into_iter().enumerate() {
            bytes += more;
            if index >= MOST_ENDED || bytes > MOST_BYTES {
                runs.remove(&id);
            }
        }
        drop(runs);
        // Not among the tasks that are waited for: nothing is lost with it.
        let (runs, id) = (self.clone(), run.id.clone());
        tokio::spawn(async move {
            tokio::time::sleep(READABLE_FOR).await;
            runs.lock().remove(&id);
        });
    }

    /// Forgets a response, and stops making it.
    pub fn forget(&self, id: &str) {
        if let Some(run) = self.lock().remove(id) {
            run.cancel.cancel();
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

    /// Makes the response to its end, or until it is cancelled.
    async fn finish(&self, mut events: BoxStream<'static, Event>, engine: &Engine) {
        // Whatever happens, those who wait for the end are told of one.
        let _ended = Ended(self);
        let reading = async {
            while let Some(event) = events.next().await {
                self.told.send_modify(|told| told.take(&event));
            }
        };
        tokio::select! {
            () = reading => {}
            () = self.cancel.cancelled() => {}
        }
        drop(events);
        if !self.told.borrow().snapshot.is_done() {
            self.told.send_modify(|told| told.snapshot.cancel());
            // The log has it if that fails; whoever reads is told of the end all the same.
            let _ = engine.replace(Response::new(self.response())).await;
        }
    }
}

impl Told {
    fn take(&mut self, event: &Event) {
        let frame = sse::frame(event.data());
        self.bytes += frame.len();
        self.frames.push(frame);
        self.snapshot.take(event);
    }
}

struct Ended<'a>(&'a Run);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.told.send_modify(|told| {
            if !told.snapshot.is_done() {
                told.snapshot.cancel();
            }
            told.ended = Some(Instant::now());
        });
    }
}
