//! The line that says who is waited for.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A spinner on stderr, or nothing where stderr is no terminal.
pub struct Progress {
    is_wanted: bool,
    shown: Option<ProgressBar>,
    message: Option<String>,
}

impl Progress {
    pub fn new(is_wanted: bool) -> Self {
        Self {
            is_wanted,
            shown: None,
            message: None,
        }
    }

    /// Shows what is waited for, until [`Self::hide`].
    pub fn show(&mut self, message: &str) {
        if !self.is_wanted {
            return;
        }
        self.message = Some(message.to_owned());
        let bar = self.shown.get_or_insert_with(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed:.dim}")
            {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        bar.set_message(message.to_owned());
    }

    /// Takes the line away: something else is written now.
    pub fn hide(&mut self) {
        if let Some(bar) = self.shown.take() {
            bar.finish_and_clear();
        }
    }

    /// Removes the line.
    pub fn stop(&mut self) {
        self.hide();
        self.message = None;
    }

    /// Shows the line again after a step was written above it.
    pub fn resume(&mut self) {
        if let Some(message) = self.message.clone() {
            self.show(&message);
        }
    }
}
