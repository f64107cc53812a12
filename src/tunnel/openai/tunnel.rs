//! `Tunnel`: a running client. It polls, and runs the commands that it receives.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use futures::future::join;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::command::{self, Command};
use super::control::ControlPlane;
use super::error::Error;
use super::event::Event;
use super::options::{Limits, Options};
use super::refusal::Fault;
use super::target::Target;
use super::work;
use crate::budget::Budget;

/// The most commands that a poll may ask for.
const MAX_POLL_LIMIT: usize = 25;
/// How long to wait for a free place in the queue before looking again.
const QUEUE_PAUSE: Duration = Duration::from_millis(100);
/// A poll that returns empty sooner than this is followed by a pause, so that a control plane that does not
/// hold polls does not cause a tight loop.
const SHORTEST_POLL: Duration = Duration::from_millis(50);

/// State that polls and commands share.
pub struct Tunnel {
    pub control: ControlPlane,
    pub target: Target,
    pub limits: Limits,
    /// The bytes that commands and answers hold.
    pub budget: Budget,
    /// The number of commands that were received and not started.
    waiting: AtomicUsize,
    on_event: Box<dyn Fn(Event) + Send + Sync>,
}

/// Serves `router`, whose MCP endpoint is at `path`, to the connectors of the tunnel until `stop` is
/// cancelled. Received commands then have `limits.shutdown_grace` to complete.
///
/// The client retries whatever the control plane or the network does, and reports it to `on_event`.
///
/// # Errors
/// The client cannot start: see [`Error`].
pub async fn run(
    options: Options,
    router: Router,
    path: &str,
    on_event: impl Fn(Event) + Send + Sync + 'static,
    stop: CancellationToken,
) -> Result<(), Error> {
    options.limits.check()?;
    let instance_id = format!("{:032x}", rand::random::<u128>());
    let tunnel = Arc::new(Tunnel {
        control: ControlPlane::new(&options, &instance_id)?,
        target: Target::new(router, path)?,
        budget: Budget::new(options.limits.memory),
        limits: options.limits,
        waiting: AtomicUsize::new(0),
        on_event: Box::new(on_event),
    });
    tunnel.emit(Event::Started { instance_id });
    let (queue, received) = unbounded_channel();
    let polling = async {
        tokio::select! {
            () = stop.cancelled() => {}
            ((), never) = join(tunnel.fetch_metadata(), tunnel.poll(queue)) => match never {},
        }
        // That drops the only sender of the queue: commands that were received still run, then work ends.
    };
    let grace = async {
        stop.cancelled().await;
        sleep(tunnel.limits.shutdown_grace).await;
    };
    tokio::select! {
        _ = join(polling, Arc::clone(&tunnel).work(received)) => {}
        () = grace => tracing::warn!("commands were cancelled at shutdown"),
    }
    Ok(())
}

impl Tunnel {
    pub fn emit(&self, event: Event) {
        (self.on_event)(event);
    }

    pub fn backoff(&self) -> Backoff {
        Backoff::new(self.limits.first_retry, self.limits.longest_retry)
    }

    /// How long to wait after a failure.
    pub fn delay(&self, backoff: &mut Backoff, fault: &Fault) -> Duration {
        let wished = fault.refusal().and_then(|it| it.retry_after);
        let wished = wished.map(|it| it.min(self.limits.longest_retry_after));
        let delay = backoff.next(rand::random());
        delay.max(wished.unwrap_or_default())
    }

    /// Fetches the metadata once; polling does not depend on it.
    async fn fetch_metadata(&self) {
        match self.control.metadata().await {
            Ok(metadata) => self.emit(Event::Metadata(metadata)),
            Err(fault) => {
                tracing::warn!(%fault, "the metadata of the tunnel cannot be read");
                self.emit(Event::NoMetadata(fault));
            }
        }
    }

    /// Polls until it is dropped, one poll at a time.
    async fn poll(&self, queue: UnboundedSender<Command>) -> Infallible {
        let mut backoff = self.backoff();
        let mut failures = 0;
        let mut is_connected = false;
        loop {
            let limit = self.free_places().min(MAX_POLL_LIMIT);
            if limit == 0 {
                sleep(QUEUE_PAUSE).await;
                continue;
            }
            let wait = match is_connected && failures == 0 {
                true => self.limits.poll_wait,
                false => self.limits.poll_wait.min(self.limits.first_poll_wait),
            };
            let begun = Instant::now();
            let fault = match self.poll_once(limit, wait, &queue).await {
                Ok(count) => {
                    backoff.reset();
                    if !is_connected {
                        tracing::info!("the first poll succeeded");
                        self.emit(Event::Connected);
                    } else if failures > 0 {
                        tracing::info!(failures, "polling recovered");
                        self.emit(Event::Recovered { failures });
                    }
                    (is_connected, failures) = (true, 0);
                    if count == 0 && begun.elapsed() < SHORTEST_POLL {
                        sleep(self.limits.first_retry).await;
                    }
                    continue;
                }
                Err(fault) => fault,
            };
            failures += 1;
            let mut retry_in = self.delay(&mut backoff, &fault);
            if fault.needs_a_person() {
                retry_in = retry_in.max(self.limits.refused_retry);
            }
            log_failed_poll(&fault, retry_in);
            self.emit(Event::PollFailed { fault, retry_in });
            sleep(retry_in).await;
        }
    }

    /// Polls, and returns the number of commands.
    async fn poll_once(
        &self,
        limit: usize,
        wait: Duration,
        queue: &UnboundedSender<Command>,
    ) -> Result<usize, Fault> {
        let polled = self.control.poll(limit, wait).await?;
        if polled.body.is_empty() {
            return Ok(0);
        }
        let commands = command::read_all(&polled.body, polled.received, &self.budget);
        let commands = commands.map_err(Fault::Unreadable)?;
        let count = commands.len();
        // All of them run, even more than the limit: the service does not hand them out again.
        self.waiting.fetch_add(count, Ordering::Relaxed);
        for command in commands {
            // The receiver lives as long as the poll.
            let _ = queue.send(command);
        }
        Ok(count)
    }

    fn free_places(&self) -> usize {
        let room = self.limits.memory - self.budget.used();
        if room < self.limits.max_poll_body as u64 {
            return 0;
        }
        let waiting = self.waiting.load(Ordering::Relaxed);
        self.limits.queue.saturating_sub(waiting)
    }

    /// Runs commands until the queue is closed and all are done.
    async fn work(self: Arc<Self>, mut received: UnboundedReceiver<Command>) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                command = received.recv(), if tasks.len() < self.limits.workers => {
                    let Some(command) = command else { break };
                    self.waiting.fetch_sub(1, Ordering::Relaxed);
                    if !work::is_late(&command) {
                        let tunnel = Arc::clone(&self);
                        tasks.spawn(async move { tunnel.carry_out(&command).await });
                    }
                }
                Some(_) = tasks.join_next() => {}
            }
        }
        while tasks.join_next().await.is_some() {}
    }
}

fn log_failed_poll(fault: &Fault, retry_in: Duration) {
    let refusal = fault.refusal();
    tracing::warn!(
        error = fault as &dyn std::error::Error,
        retry_ms = retry_in.as_millis(),
        status = refusal.map(|it| it.status.as_u16()),
        code = refusal.and_then(|it| it.code.as_deref()),
        tunnel_request_id = refusal.and_then(|it| it.request_id.as_deref()),
        hint = fault.remedy(),
        "a poll failed"
    );
}
