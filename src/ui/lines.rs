//! Lines on stderr, and the spinner that makes room for them.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anstream::{AutoStream, ColorChoice};

use super::progress::Progress;

/// Stderr. Cloning shares it, for those who write a note while somebody else is at work.
#[derive(Clone)]
pub struct Lines {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    stderr: AutoStream<io::Stderr>,
    progress: Progress,
}

impl Lines {
    pub fn new(color: ColorChoice, may_spin: bool) -> Self {
        let inner = Inner {
            stderr: AutoStream::new(io::stderr(), color),
            progress: Progress::new(may_spin && io::stderr().is_terminal()),
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// Whether what is written may have colours.
    pub fn has_colour(&self) -> bool {
        self.lock().stderr.current_choice() != ColorChoice::Never
    }

    /// Writes a line above the spinner.
    pub fn write(&self, line: &str) {
        let inner = &mut *self.lock();
        inner.progress.hide();
        // Without stderr there is no one to report to.
        let _ = writeln!(inner.stderr, "{line}");
        inner.progress.resume();
    }

    /// Says who is waited for, until it is hidden.
    pub fn wait(&self, for_what: &str) {
        self.lock().progress.show(for_what);
    }

    /// Takes the spinner away until the next line: something is written elsewhere.
    pub fn hide_progress(&self) {
        self.lock().progress.hide();
    }

    /// Removes the spinner.
    pub fn stop_progress(&self) {
        self.lock().progress.stop();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
