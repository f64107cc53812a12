//! Ctrl-C and SIGTERM: the first ends a verb politely, the second at once, whatever its threads do.

use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::error::Error;
use crate::exit::ExitStatus;
use crate::mcp;

/// How long a verb that asks may take to end after the first signal: a cancelled call is announced,
/// a server that was started is asked to end.
pub const CLIENT_GRACE: Duration = Duration::from_secs(5);
/// How long a verb that serves may take: calls finish for 10 s, then connections are closed.
pub const SERVER_GRACE: Duration = Duration::from_secs(13);
/// How long it may still take after the second signal.
const LAST_GRACE: Duration = Duration::from_millis(500);

/// The signals that stop a verb, from the moment that this is made.
///
/// They are received on a thread of their own, which ends the process itself if the verb does not:
/// a runtime whose threads are all busy never sees a signal.
pub struct StopSignals {
    received: mpsc::UnboundedReceiver<Stop>,
}

#[derive(Debug, Clone, Copy)]
enum Stop {
    Interrupt,
    #[cfg(unix)]
    Terminate,
}

impl StopSignals {
    /// Receives signals from now on. A verb that has not ended within `grace` of the first is ended.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the system refuses.
    pub fn new(grace: Duration) -> Result<Self, Error> {
        let (sender, received) = mpsc::unbounded_channel();
        listen(move |count, stop| {
            // A verb that listens no more is about to end.
            let _ = sender.send(stop);
            match count {
                1 => drop(thread::spawn(move || end(stop, grace))),
                _ => end(stop, LAST_GRACE),
            }
        })?;
        Ok(Self { received })
    }

    /// Waits for the next one and says which.
    pub async fn next(&mut self) -> Error {
        match self.received.recv().await {
            Some(stop) => stop.error(),
            // The thread that sends never ends before the process.
            None => std::future::pending().await,
        }
    }

    /// Runs `work` until it ends or a signal comes, and then `close`, which another signal cuts
    /// short.
    ///
    /// # Errors
    /// What the work ended with, or the signal.
    pub async fn until_stopped<T>(
        mut self,
        work: impl Future<Output = Result<T, Error>>,
        close: impl AsyncFnOnce(&Result<T, Error>),
    ) -> Result<T, Error> {
        let ended = tokio::select! {
            ended = work => ended,
            stopped = self.next() => Err(stopped),
        };
        tokio::select! {
            () = close(&ended) => ended,
            stopped = self.next() => Err(stopped),
        }
    }
}

impl Stop {
    fn error(self) -> Error {
        match self {
            Self::Interrupt => Error::Interrupted,
            #[cfg(unix)]
            Self::Terminate => Error::Terminated,
        }
    }
}

#[cfg(unix)]
fn listen(mut on_signal: impl FnMut(usize, Stop) + Send + 'static) -> Result<(), Error> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(Error::Runtime)?;
    let receive = move || {
        for (index, signal) in signals.forever().enumerate() {
            let stop = match signal {
                SIGTERM => Stop::Terminate,
                _ => Stop::Interrupt,
            };
            on_signal(index + 1, stop);
        }
    };
    let thread = thread::Builder::new().name("signals".to_owned());
    thread.spawn(receive).map_err(Error::Runtime)?;
    Ok(())
}

#[cfg(not(unix))]
fn listen(mut on_signal: impl FnMut(usize, Stop) + Send + 'static) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all();
    let runtime = runtime.build().map_err(Error::Runtime)?;
    let receive = move || {
        let mut count = 0;
        while runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            count += 1;
            on_signal(count, Stop::Interrupt);
        }
    };
    let thread = thread::Builder::new().name("signals".to_owned());
    thread.spawn(receive).map_err(Error::Runtime)?;
    Ok(())
}

/// Ends the process and the servers that it started, if it has not ended by then.
fn end(stop: Stop, grace: Duration) {
    thread::sleep(grace);
    let status = match stop {
        Stop::Interrupt => ExitStatus::Interrupted,
        #[cfg(unix)]
        Stop::Terminate => ExitStatus::Terminated,
    };
    mcp::kill_children();
    #[expect(clippy::exit, reason = "the main thread does not end by itself")]
    std::process::exit(status as i32);
}
