//! Ctrl-C, SIGTERM and SIGHUP: the first shuts a verb down gracefully, the second ends it at once,
//! whatever its threads do. SIGQUIT ends it at once.
//!
//! No signal of a terminal or a shell keeps its default action, because that would leave behind the
//! servers that this process started.

use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::child;
use crate::error::Error;
use crate::exit::ExitStatus;

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
    #[cfg(unix)]
    HangUp,
}

impl StopSignals {
    /// Receives signals from now on. A verb that has not ended within `grace` of the first is ended.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn new(grace: Duration) -> Result<Self, Error> {
        let (sender, received) = mpsc::unbounded_channel();
        listen(move |count, stop| {
            // A verb that no longer receives is about to end.
            let _ = sender.send(stop);
            match count {
                1 => drop(thread::spawn(move || end(stop, grace))),
                _ => end(stop, LAST_GRACE),
            }
        })?;
        Ok(Self { received })
    }

    /// Waits for the next signal, and returns it as the error that a verb ends with.
    pub async fn next(&mut self) -> Error {
        match self.received.recv().await {
            Some(stop) => stop.error(),
            // The thread that sends never ends before the process.
            None => std::future::pending().await,
        }
    }

    /// Runs `work` until it ends or a signal comes.
    ///
    /// # Errors
    /// What the work failed with, or the signal.
    pub async fn or<T>(
        &mut self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            ended = work => ended,
            stopped = self.next() => Err(stopped),
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
        let ended = self.or(work).await;
        tokio::select! {
            () = close(&ended) => ended,
            stopped = self.next() => Err(stopped),
        }
    }
}

impl Stop {
    fn error(self) -> Error {
        match self {
            Self::Interrupt => Error::new(ExitStatus::Interrupted, "stopped by Ctrl-C"),
            #[cfg(unix)]
            Self::Terminate => Error::new(ExitStatus::Terminated, "stopped by SIGTERM"),
            #[cfg(unix)]
            Self::HangUp => Error::new(ExitStatus::HungUp, "stopped by SIGHUP"),
        }
    }
}

#[cfg(unix)]
fn listen(mut on_signal: impl FnMut(usize, Stop) + Send + 'static) -> Result<(), Error> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    use signal_hook::iterator::Signals;

    let mut signals = Signals::new([SIGINT, SIGTERM, SIGQUIT]).map_err(Error::runtime)?;
    if !ignores_hang_up() {
        signals.add_signal(SIGHUP).map_err(Error::runtime)?;
    }
    let receive = move || {
        for (index, signal) in signals.forever().enumerate() {
            let stop = match signal {
                SIGQUIT => exit(ExitStatus::Quit),
                SIGHUP => Stop::HangUp,
                SIGTERM => Stop::Terminate,
                _ => Stop::Interrupt,
            };
            on_signal(index + 1, stop);
        }
    };
    let thread = thread::Builder::new().name("signals".to_owned());
    thread.spawn(receive).map_err(Error::runtime)?;
    Ok(())
}

/// Whether this program was started with SIGHUP ignored, as `nohup` does. Known on Linux only.
#[cfg(unix)]
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status");
    status.is_ok_and(|it| ignores(&it, signal_hook::consts::SIGHUP))
}

/// Whether `/proc/PID/status` has the signal in its mask of ignored signals.
#[cfg(unix)]
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|it| it.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|it| u64::from_str_radix(it.trim(), 16).ok());
    mask.is_some_and(|it| it >> (signal - 1) & 1 == 1)
}

#[cfg(not(unix))]
fn listen(mut on_signal: impl FnMut(usize, Stop) + Send + 'static) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all();
    let runtime = runtime.build().map_err(Error::runtime)?;
    let receive = move || {
        let mut count = 0;
        while runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            count += 1;
            on_signal(count, Stop::Interrupt);
        }
    };
    let thread = thread::Builder::new().name("signals".to_owned());
    thread.spawn(receive).map_err(Error::runtime)?;
    Ok(())
}

/// Ends the process and the servers that it started, if it has not ended by then.
fn end(stop: Stop, grace: Duration) {
    thread::sleep(grace);
    exit(stop.error().exit_status());
}

/// Ends the process and the servers that it started, now.
fn exit(status: ExitStatus) -> ! {
    child::kill_children();
    #[expect(clippy::exit, reason = "the main thread does not end by itself")]
    std::process::exit(status as i32);
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_signal_is_a_bit_of_the_mask() {
        let status = "Name:\tmcp-cli\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001004\n";
        for (signal, is_ignored) in [(1, false), (2, false), (3, true), (13, true), (64, false)] {
            assert_eq!(ignores(status, signal), is_ignored, "{signal}");
        }
        assert!(ignores("SigIgn:\tffffffffffffffff", 64));
        assert!(!ignores("SigIgn:\tnone", 1) && !ignores("", 1));
    }
}
