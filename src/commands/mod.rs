//! One file per verb; the only place where rooms meet.

mod approve;
mod args;
mod arguments;
mod ask;
mod attachments;
mod backend;
mod bundled;
mod check;
mod clock;
mod completions;
mod fields;
mod frame;
mod gateway;
mod hints;
mod identity;
mod label;
mod listen;
mod print_request;
mod record;
mod relay;
mod require_approval;
mod serve;
mod servers;
mod show;
mod signals;
mod state;
mod token;
mod tools;
mod tunnel;

use crate::error::Error;
use crate::exit::ExitStatus;
use crate::ui::Ui;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    #[command(visible_alias = "call")]
    Ask(Box<ask::AskArgs>),
    Check(Box<check::CheckArgs>),
    Serve(Box<serve::ServeArgs>),
    Gateway(Box<gateway::GatewayArgs>),
    Token(Box<token::TokenArgs>),
    Tools(tools::ToolsArgs),
    Show(show::ShowArgs),
    Completions(completions::CompletionsArgs),
    Man(completions::ManArgs),
}

impl Command {
    /// Runs the verb to its end. `command_line` is the whole of it, for the verbs that describe it.
    ///
    /// # Errors
    /// Whatever the verb failed with.
    pub fn run(self, command_line: clap::Command, ui: &mut Ui) -> Result<ExitStatus, Error> {
        match self {
            Self::Ask(args) => frame::client(ui, |ui| ask::read(*args, ui), ask::ask),
            Self::Check(args) => frame::client(ui, |ui| check::read(*args, ui), check::check),
            Self::Serve(args) => {
                frame::server(args.log(), ui, |ui| serve::read(*args, ui), serve::serve)
            }
            Self::Gateway(args) => frame::server(
                args.log(),
                ui,
                |ui| gateway::read(*args, ui),
                gateway::gateway,
            ),
            Self::Token(args) => token::token(*args, ui),
            Self::Tools(args) => frame::client(ui, |ui| tools::read(args, ui), tools::tools),
            Self::Show(args) => frame::local(ui, |ui| show::show(&args, ui)),
            Self::Completions(args) => completions::completions(&args, command_line, ui),
            Self::Man(args) => completions::man(args, command_line, ui),
        }
    }
}
