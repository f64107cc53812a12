//! What verbs have in common: the log, what they read before there is a runtime, the runtime, signals.

use std::num::NonZero;
use std::thread;
use std::time::{Duration, SystemTime};

use tokio::runtime::Builder;
use tracing::Level;

use super::clock;
use super::signals::StopSignals;
use crate::child;
use crate::error::Error;
use crate::exit::ExitStatus;
use crate::ui::{LogFormat, Ui};

/// How long a client may take to end after the first signal: it announces that a call is cancelled,
/// and asks the servers that it started to end.
const CLIENT_GRACE: Duration = Duration::from_secs(5);
/// How long a server may take: running requests complete within 10 s, then connections are closed.
const SERVER_GRACE: Duration = Duration::from_secs(13);

/// Runs a verb that asks something of a server. `read` gets what the arguments name: files, stdin, the
/// environment; a signal during that time ends the process. `run` does the rest.
///
/// # Errors
/// Those of `read` and `run`, or the system refuses threads or signals.
pub fn client<T>(
    ui: &mut Ui,
    read: impl FnOnce(&mut Ui) -> Result<T, Error>,
    run: impl AsyncFnOnce(T, StopSignals, &mut Ui) -> Result<ExitStatus, Error>,
) -> Result<ExitStatus, Error> {
    ui.start_log(None, LogFormat::default());
    let input = read(ui)?;
    let runtime = Builder::new_current_thread();
    let ended = block_on(runtime, async || {
        run(input, StopSignals::new(CLIENT_GRACE)?, ui).await
    });
    ui.end_recording();
    ended
}

/// Runs a verb that is a server itself, with a log as its arguments say.
///
/// # Errors
/// The same as [`client`].
pub fn server<T>(
    (level, format): (Option<Level>, LogFormat),
    ui: &mut Ui,
    read: impl FnOnce(&mut Ui) -> Result<T, Error>,
    run: impl AsyncFnOnce(T, StopSignals, &mut Ui) -> Result<ExitStatus, Error>,
) -> Result<ExitStatus, Error> {
    ui.start_log(level, format);
    let input = read(ui)?;
    let mut runtime = Builder::new_multi_thread();
    // The other half is for what it talks with, which mostly runs on the same machine: with a thread
    // on each core, an event wakes one that then takes the core of its reader (benches/gateway.py).
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    runtime.worker_threads((cores / 2).max(1));
    let ended = block_on(runtime, async || {
        run(input, StopSignals::new(SERVER_GRACE)?, ui).await
    });
    ui.end_recording();
    ended
}

/// Runs a verb that needs no network, and so neither a runtime nor signal handlers.
///
/// # Errors
/// Those of `run`.
pub fn local(
    ui: &mut Ui,
    run: impl FnOnce(&mut Ui) -> Result<ExitStatus, Error>,
) -> Result<ExitStatus, Error> {
    ui.start_log(None, LogFormat::default());
    run(ui)
}

fn block_on(
    mut runtime: Builder,
    verb: impl AsyncFnOnce() -> Result<ExitStatus, Error>,
) -> Result<ExitStatus, Error> {
    clock::check(SystemTime::now())?;
    let _children = Children;
    let runtime = runtime.enable_all().build().map_err(Error::runtime)?;
    let ended = runtime.block_on(verb());
    // A thread that reads stdin cannot be woken, so the end does not wait for it.
    runtime.shutdown_background();
    ended
}

/// The servers that a verb started: none of them outlives it, not even after a panic.
struct Children;

impl Drop for Children {
    fn drop(&mut self) {
        child::kill_children();
    }
}
