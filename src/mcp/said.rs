//! `Said`: what a server writes to stderr, passed on as it comes, and the last of it kept.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::ChildStderr;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The most bytes that are kept.
const MAX_KEPT: usize = 4096;
/// How many lines of them are told.
const MOST_LINES: usize = 5;
/// How long the last words of a process that has ended may take.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Takes what a server writes to stderr.
pub type OnStderr = fn(&[u8]);

/// The last that a server wrote to stderr.
pub struct Said {
    kept: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Said {
    /// Reads `stderr` to its end, and gives it to `on_stderr` as it comes.
    pub fn read(mut stderr: ChildStderr, on_stderr: OnStderr) -> Self {
        let kept = Arc::<Mutex<Vec<u8>>>::default();
        let keeper = Arc::clone(&kept);
        // It goes on after the server has ended: what that has started may still write.
        let reader = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
                on_stderr(&buffer[..read]);
                let mut kept = keeper.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&buffer[..read]);
                let start = kept.len().saturating_sub(MAX_KEPT);
                kept.drain(..start);
            }
        });
        Self { kept, reader }
    }

    /// Waits until the last words have come, but not for long.
    pub async fn finish(&mut self) {
        let _ = timeout(LAST_WORDS, &mut self.reader).await;
    }

    /// The last lines that say something.
    pub fn last_lines(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&kept);
        let lines = text.lines().map(str::trim).filter(|it| !it.is_empty());
        let lines: Vec<&str> = lines.collect();
        lines[lines.len().saturating_sub(MOST_LINES)..].join(" / ")
    }
}
