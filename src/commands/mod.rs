//! One file per verb; the only place where rooms meet.

mod approve;
mod args;
mod arguments;
mod ask;
mod attachments;
mod bundled;
mod check;
mod clock;
mod completions;
mod fields;
mod gateway;
mod identity;
mod listen;
mod print_request;
mod serve;
mod servers;
mod signals;
mod state;
mod token;
mod tools;

use std::time::SystemTime;

use crate::error::Error;
use crate::exit::ExitStatus;
use crate::mcp;
use crate::ui::{LogFormat, Ui};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    #[command(visible_alias = "call")]
    Ask(Box<ask::AskArgs>),
    Check(Box<check::CheckArgs>),
    Serve(Box<serve::ServeArgs>),
    Gateway(Box<gateway::GatewayArgs>),
    Token(Box<token::TokenArgs>),
    Tools(tools::ToolsArgs),
    Completions(completions::CompletionsArgs),
    Man(completions::ManArgs),
}

impl Command {
    /// Runs the verb to its end. `command_line` is the whole of it, for the verbs that describe it.
    pub fn run(self, command_line: clap::Command, ui: &mut Ui) -> Result<ExitStatus, Error> {
        match self {
            Self::Ask(args) => {
                ui.start_log(None, LogFormat::default());
                // Before there is a runtime, whose signal handlers would wait while stdin is read.
                let question = ask::read(*args, ui)?;
                let runtime = tokio::runtime::Builder::new_current_thread();
                block_on(runtime, ask::ask(question, ui))
            }
            Self::Check(args) => {
                ui.start_log(None, LogFormat::default());
                let checkup = check::read(*args, ui)?;
                let runtime = tokio::runtime::Builder::new_current_thread();
                block_on(runtime, check::check(checkup, ui))
            }
            Self::Serve(args) => {
                let (level, format) = args.log();
                ui.start_log(level, format);
                let service = serve::read(*args, ui)?;
                let runtime = tokio::runtime::Builder::new_multi_thread();
                block_on(runtime, serve::serve(service, ui))
            }
            Self::Gateway(args) => {
                let (level, format) = args.log();
                ui.start_log(level, format);
                let setup = gateway::read(*args, ui)?;
                let runtime = tokio::runtime::Builder::new_multi_thread();
                block_on(runtime, gateway::gateway(setup, ui))
            }
            Self::Token(args) => {
                ui.start_log(None, LogFormat::default());
                token::token(*args, ui)
            }
            Self::Tools(args) => {
                ui.start_log(None, LogFormat::default());
                let task = tools::read(args, ui)?;
                let runtime = tokio::runtime::Builder::new_current_thread();
                block_on(runtime, tools::tools(task, ui))
            }
            Self::Completions(args) => completions::completions(&args, command_line, ui),
            Self::Man(args) => completions::man(args, command_line, ui),
        }
    }
}

fn block_on<T>(
    mut runtime: tokio::runtime::Builder,
    verb: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    clock::check(SystemTime::now())?;
    let _children = Children;
    let runtime = runtime.enable_all().build().map_err(Error::Runtime)?;
    let ended = runtime.block_on(verb);
    // A thread that reads stdin cannot be woken, and is not waited for.
    runtime.shutdown_background();
    ended
}

/// The servers that a verb started: none of them outlives it, not even where it panics.
struct Children;

impl Drop for Children {
    fn drop(&mut self) {
        mcp::kill_children();
    }
}
