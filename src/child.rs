//! `Child`: a server that was started, in a process group of its own, and how it ends.

use std::collections::BTreeSet;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};

/// The process groups that are alive, by the id of their first process.
static GROUPS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// A child process with what it started. Dropping it kills them.
pub struct Child {
    process: Process,
    group: Group,
    /// How long it may take to end by itself, and again once it was told to.
    grace: Duration,
}

/// The process, for whoever waits for its end.
#[derive(Clone)]
pub struct Process(Arc<tokio::sync::Mutex<tokio::process::Child>>);

impl Process {
    /// Waits until the process ends, but no longer than `limit`.
    pub async fn ended_within(&self, limit: Duration) -> Option<ExitStatus> {
        let ended = async { self.0.lock().await.wait().await };
        tokio::time::timeout(limit, ended).await.ok()?.ok()
    }
}

impl Child {
    /// Starts the command; its stdin, stdout and stderr are pipes.
    pub fn start(command: &mut Command, grace: Duration) -> std::io::Result<(Self, Pipes)> {
        #[cfg(unix)]
        command.process_group(0);
        command.kill_on_drop(true);
        // Under the lock: a group is never alive without being known.
        let mut groups = lock();
        let mut process = command.spawn()?;
        let id = process.id().unwrap_or_default();
        groups.insert(id);
        let pipes = Pipes {
            stdin: process.stdin.take(),
            stdout: process.stdout.take(),
            stderr: process.stderr.take(),
        };
        let child = Self {
            process: Process(Arc::new(process.into())),
            group: Group(id),
            grace,
        };
        Ok((child, pipes))
    }

    /// The process, to wait for its end.
    pub fn process(&self) -> Process {
        self.process.clone()
    }

    /// Waits for the end of the process, whose stdin is closed by now (MCP 2026-07-28, stdio,
    /// shutdown). One that stays is told to end, and killed in the end; so is what it leaves behind.
    pub async fn end(&mut self) {
        if self.has_ended().await {
            return self.group.kill();
        }
        self.terminate().await;
    }

    /// Tells the process to end, and kills in the end what is left of its group.
    pub async fn terminate(&mut self) {
        self.group.terminate();
        self.has_ended().await;
        self.group.kill();
        // It is taken off the table of processes, unless the system still holds on to it.
        self.has_ended().await;
    }

    async fn has_ended(&mut self) -> bool {
        self.process.ended_within(self.grace).await.is_some()
    }
}

/// The pipes of a child, those that it has.
pub struct Pipes {
    pub stdin: Option<ChildStdin>,
    pub stdout: Option<ChildStdout>,
    pub stderr: Option<ChildStderr>,
}

/// Kills every server that was started and what it started, from any thread, at once.
pub fn kill_children() {
    for id in lock().iter() {
        kill(*id);
    }
}

/// A process group, until it is killed.
struct Group(u32);

impl Group {
    #[cfg(unix)]
    fn terminate(&self) {
        signal(self.0, rustix::process::Signal::TERM);
    }

    #[cfg(not(unix))]
    fn terminate(&self) {}

    /// Kills what is left of it. Once, for the id may be another's afterwards.
    fn kill(&self) {
        let mut groups = lock();
        if groups.remove(&self.0) {
            kill(self.0);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(unix)]
fn kill(id: u32) {
    signal(id, rustix::process::Signal::KILL);
}

/// Without process groups, a process is killed when its handle is dropped.
#[cfg(not(unix))]
fn kill(_id: u32) {}

#[cfg(unix)]
fn signal(id: u32, signal: rustix::process::Signal) {
    let id = i32::try_from(id)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    if let Some(id) = id {
        // A group that has ended by itself is what was wanted.
        let _ = rustix::process::kill_process_group(id, signal);
    }
}

fn lock() -> MutexGuard<'static, BTreeSet<u32>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::process::Stdio;
    use std::time::Instant;

    use tokio::io::AsyncReadExt;

    use super::*;

    const GRACE: Duration = Duration::from_millis(100);

    /// Starts a script, and waits for its first byte.
    async fn start(script: &str) -> (Child, ChildStdin, ChildStdout) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let (child, pipes) = Child::start(&mut command, GRACE).unwrap();
        let (stdin, mut stdout) = (pipes.stdin.unwrap(), pipes.stdout.unwrap());
        stdout.read_u8().await.unwrap();
        (child, stdin, stdout)
    }

    /// Whether nobody is left who could write to the pipe.
    async fn is_abandoned(mut stdout: ChildStdout) -> bool {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(5 * GRACE, stdout.read_to_end(&mut rest));
        end.await.is_ok()
    }

    #[tokio::test]
    async fn a_process_ends_with_its_input_and_takes_what_it_started_along() {
        let (mut child, stdin, stdout) = start("sleep 60 & echo; cat").await;
        let id = child.group.0;
        assert!(lock().contains(&id));
        drop(stdin);
        let started = Instant::now();
        child.end().await;
        assert!(started.elapsed() < GRACE);
        assert!(!lock().contains(&id));
        assert!(is_abandoned(stdout).await);
    }

    #[tokio::test]
    async fn a_process_that_ignores_all_that_it_is_told_is_killed() {
        for script in [
            "echo; sleep 60",
            "trap '' TERM; echo; sleep 60; sleep 60",
            "trap '' TERM HUP INT; sleep 60 & echo; while :; do sleep 1; done",
        ] {
            let (mut child, stdin, stdout) = start(script).await;
            drop(stdin);
            let started = Instant::now();
            child.end().await;
            assert!(started.elapsed() < 5 * GRACE, "{script}");
            assert!(is_abandoned(stdout).await, "{script}");
        }
    }

    #[tokio::test]
    async fn a_process_that_ends_in_order_when_it_is_told_to_is_let() {
        let script = "trap 'echo ended; exit' TERM; echo; while :; do sleep 0.01; done";
        let (mut child, stdin, mut stdout) = start(script).await;
        drop(stdin);
        child.end().await;
        let mut said = String::new();
        stdout.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "ended\n");
    }

    #[tokio::test]
    async fn a_process_that_nobody_ends_is_killed_with_its_handle() {
        let (child, _stdin, stdout) = start("trap '' TERM; sleep 60 & echo; cat").await;
        drop(child);
        assert!(is_abandoned(stdout).await);
    }
}
