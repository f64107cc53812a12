//! Responses in the background: made whether or not anybody reads them, read as often as anybody
//! likes (Responses API, background mode).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::response::Response as HttpResponse;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::live::{self, Snapshot};
use super::load::Load;
use super::refusal::told;
use super::{answer, sse};
use crate::budget::{Exhausted, Held, parsed_size};
use crate::engine::{Engine, no_memory};
use crate::responses::{CreateResponse, Error, Event, EventKind, Response};

/// How many responses can still be read again when they are done, and how many bytes their events
/// take: a quarter of the gateway's budget, so that the rest is for requests.
const MOST_ENDED: usize = 128;
const MOST_BYTES: u64 = 32 * 1024 * 1024;
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

struct Told {
    /// All events so far; each is at the place that its `sequence_number` says.
    frames: Vec<Bytes>,
    snapshot: Snapshot,
    /// How large the snapshot is, at most.
    snapshot_size: u64,
    /// What the frames and the snapshot take.
    held: Held,
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

    /// Begins to make a response; `held` is what its request takes.
    pub async fn start(
        &self,
        engine: &Engine,
        request: CreateResponse,
        held: Held,
    ) -> Result<Arc<Run>, Error> {
        let place = self.load.run()?;
        let mut events = live::begun(engine.create_stream(request).await?).await?;
        let mut told = Told {
            frames: Vec::new(),
            snapshot: Snapshot::default(),
            snapshot_size: 0,
            held: held.sibling(),
            ended: None,
        };
        if let Some(first) = events.next().await {
            told.take(&first).map_err(no_memory)?;
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
            drop((held, place));
            runs.keep_readable(&making);
        });
        Ok(run)
    }

    /// Lets a response that is done be read again for a while, and those before it make room.
    fn keep_readable(&self, run: &Arc<Run>) {
        let mut runs = self.lock();
        let ended = runs.values().filter_map(|run| {
            let told = run.told.borrow();
            Some((told.ended?, told.held.bytes(), run.id.clone()))
        });
        for id in surplus(ended.collect()) {
            runs.remove(&id);
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

/// The ids of the responses that make room, of those that ended at these times and hold so many bytes:
/// the ones that ended first.
fn surplus(mut ended: Vec<(Instant, u64, String)>) -> Vec<String> {
    ended.sort_unstable_by(|one, other| other.cmp(one));
    let mut bytes = 0;
    let surplus = ended
        .into_iter()
        .enumerate()
        .filter(|(index, (_, more, _))| {
            bytes += more;
            *index >= MOST_ENDED || bytes > MOST_BYTES
        });
    surplus.map(|(_, (_, _, id))| id).collect()
}

impl Run {
    /// The response as it is now.
    fn response(&self) -> Response {
        self.told.borrow().snapshot.response()
    }

    /// The same, as the answer to a request.
    pub fn answer(&self, mut held: Held) -> Result<HttpResponse, Error> {
        let size = self.told.borrow().snapshot_size;
        held.grow(size).map_err(no_memory)?;
        answer::json(self.response(), held)
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

    /// Stops making the response, and waits for its end.
    pub async fn cancel(&self) {
        self.cancel.cancel();
        // Its sender is in `self`, so this waits for nothing but the end.
        let _ = self
            .told
            .subscribe()
            .wait_for(|told| told.ended.is_some())
            .await;
    }

    /// Makes the response to its end, or until it is cancelled.
    async fn finish(&self, mut events: BoxStream<'static, Event>, engine: &Engine) {
        // Whatever happens, those who wait for the end get one.
        let _ended = Ended(self);
        let reading = async {
            while let Some(event) = events.next().await {
                let mut taken = Ok(());
                self.told.send_modify(|told| taken = told.take(&event));
                taken?;
            }
            Ok::<(), Exhausted>(())
        };
        let read = tokio::select! {
            read = reading => read,
            () = self.cancel.cancelled() => Ok(()),
        };
        drop(events);
        if !self.told.borrow().snapshot.is_done() {
            self.told.send_modify(|told| match read {
                Ok(()) => told.snapshot.cancel(),
                Err(exhausted) => told.fail(exhausted),
            });
            // A failure is logged; readers get the end either way.
            let _ = engine.finish(self.response()).await;
        }
    }
}

impl Told {
    /// Takes in the next event. The end is taken in also where there is no memory for it.
    fn take(&mut self, event: &Event) -> Result<(), Exhausted> {
        let frame = sse::frame(event);
        let is_end = event.is_terminal();
        // The snapshot keeps a response and an item.
        let kind = event.as_read().is_none().then(|| event.kind());
        let has_response = kind.is_some_and(|it| it.response().is_some());
        let has_item = matches!(
            kind,
            Some(EventKind::OutputItemAdded { .. } | EventKind::OutputItemDone { .. })
        );
        let size = match has_response || has_item {
            true => parsed_size(&frame),
            false => frame.len() as u64,
        };
        match self.held.grow(size) {
            Err(exhausted) if !is_end => return Err(exhausted),
            Ok(()) | Err(_) => {}
        }
        if has_response {
            self.snapshot_size = size;
        } else if has_item {
            self.snapshot_size += size;
        }
        self.frames.push(frame);
        self.snapshot.take(event);
        Ok(())
    }

    /// The response ends because its events take more memory than there is.
    fn fail(&mut self, exhausted: Exhausted) {
        let (_, error) = told(&no_memory(exhausted));
        for event in self.snapshot.last_events(&error) {
            self.frames.push(sse::frame(&event));
            self.snapshot.take(&event);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs that ended one second after the other, each with so many bytes.
    fn ended(count: usize, bytes: u64) -> Vec<(Instant, u64, String)> {
        let began = Instant::now();
        let ended = (0..count).map(|number| {
            let after = Duration::from_secs(number as u64);
            (began + after, bytes, number.to_string())
        });
        ended.collect()
    }

    #[test]
    fn the_responses_that_ended_first_make_room() {
        assert_eq!(surplus(ended(128, 1)), Vec::<String>::new());
        assert_eq!(surplus(ended(130, 1)), ["1", "0"]);
        assert_eq!(surplus(ended(4, 16 * 1024 * 1024)), ["1", "0"]);
    }
}
