//! Events from a turn to their reader, one at a time. The reader polls the turn itself, so neither
//! has to wake the other: a channel would, and each event would cost the task a second poll and
//! the runtime a thread.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures::stream::{self, Stream};

use crate::responses::{Error, Event};

type Told = Result<Event, Error>;

/// The turn's end.
pub struct Sender {
    place: Place,
    is_cut: bool,
}

/// The reader's end.
pub struct Receiver(Place);

/// Where an event waits until it is read.
type Place = Arc<Mutex<Option<Told>>>;

/// Both ends.
pub fn handover() -> (Sender, Receiver) {
    let place = Place::default();
    let sender = Sender {
        place: Arc::clone(&place),
        is_cut: false,
    };
    (sender, Receiver(place))
}

impl Sender {
    /// Gives an event to the reader, and waits until it was read.
    pub async fn send(&mut self, event: Told) {
        if self.is_cut {
            return;
        }
        *locked(&self.place) = Some(event);
        // Nothing wakes this: the reader polls it again after it has taken the event.
        poll_fn(|_| match *locked(&self.place) {
            None => Poll::Ready(()),
            Some(_) => Poll::Pending,
        })
        .await;
    }

    /// Discards all later events.
    pub fn cut(&mut self) {
        self.is_cut = true;
    }
}

impl Receiver {
    /// The events of `turn`, which has the other end, and runs only while somebody reads them.
    pub fn events_of(
        self,
        turn: impl Future<Output = ()> + Send + 'static,
    ) -> impl Stream<Item = Told> + Send {
        let mut turn = Some(Box::pin(turn));
        stream::poll_fn(move |context| {
            if let Some(event) = self.take() {
                return Poll::Ready(Some(event));
            }
            let running = turn.as_mut().map(|it| it.as_mut().poll(context));
            if running == Some(Poll::Ready(())) {
                turn = None;
            }
            match self.take() {
                None if turn.is_some() => Poll::Pending,
                told => Poll::Ready(told),
            }
        })
    }

    fn take(&self) -> Option<Told> {
        locked(&self.0).take()
    }
}

fn locked(place: &Place) -> MutexGuard<'_, Option<Told>> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}
