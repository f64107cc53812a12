//! One file per verb; the only place where rooms meet.

mod args;
mod ask;
mod serve;
mod servers;
mod token;

use crate::error::Error;
use crate::exit::ExitStatus;
use crate::ui::Ui;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    #[command(visible_alias = "call")]
    Ask(Box<ask::AskArgs>),
    Serve(Box<serve::ServeArgs>),
    Token(Box<token::TokenArgs>),
}

impl Command {
    /// Runs the verb to its end.
    pub fn run(self, ui: &mut Ui) -> Result<ExitStatus, Error> {
        match self {
            Self::Ask(args) => {
                ui.start_log(None);
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(Error::Runtime)?;
                runtime.block_on(until_stopped(ask::ask(*args, ui)))
            }
            Self::Serve(args) => {
                ui.start_log(args.log_level());
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .enable_all()
                    .build()
                    .map_err(Error::Runtime)?;
                runtime.block_on(serve::serve(*args, ui))
            }
            Self::Token(args) => {
                ui.start_log(None);
                token::token(*args, ui)
            }
        }
    }
}

/// The verb, or the signal that stopped it. Dropping the verb cancels what it waits for.
async fn until_stopped(
    verb: impl Future<Output = Result<ExitStatus, Error>>,
) -> Result<ExitStatus, Error> {
    tokio::select! {
        ended = verb => ended,
        stopped = stop_signal() => Err(stopped),
    }
}

/// Waits for Ctrl-C or SIGTERM and says which.
async fn stop_signal() -> Error {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};

        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            return tokio::select! {
                _ = tokio::signal::ctrl_c() => Error::Interrupted,
                _ = terminate.recv() => Error::Terminated,
            };
        }
    }
    let _ = tokio::signal::ctrl_c().await;
    Error::Interrupted
}
