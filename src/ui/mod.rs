//! Everything the user reads, and the one question they are asked.

mod approval;
mod content;
mod failure;
mod jsonl;
mod lines;
mod markdown;
mod progress;
mod recording;
pub mod report;
mod requests;
mod sanitize;
mod signature;
mod timeline;
mod tools;
mod transcript;
mod wire;

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::check::Report;
use crate::error::Error;
use crate::exit::ExitStatus;
use crate::http::Exchange;
use crate::mcp::{OnStderr, OnWire, Wire};
use crate::record::{Direction, Recorder, Recording};
use crate::responses::{Event, EventKind, McpApprovalRequest, OnRetry, Response};

pub use approval::Decision;
pub use content::{Attachment, result_text};
pub use failure::in_one_line;
pub use sanitize::{is_plain_name, tool_name};

use lines::Lines;
use markdown::Markdown;
use transcript::Transcript;

const DIM: Style = Style::new().dimmed();
const NOTE: Style = AnsiColor::Cyan.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default();
const ERROR: Style = AnsiColor::Red.on_default().bold();

/// Writes to stderr what a server that was started writes there.
fn forward(bytes: &[u8]) {
    // Without a reader there is nobody to tell.
    let _ = io::stderr().lock().write_all(bytes);
}

/// How the verbs talk to the user.
#[derive(Debug, Clone, Copy)]
pub struct OutputOptions {
    /// No notes, no steps, no progress.
    pub quiet: bool,
    /// How often `-v` was given.
    pub verbose: u8,
    pub color: ColorChoice,
}

/// What the answer to a question looks like on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The text as it comes; the steps go to stderr.
    Text,
    /// The final response as JSON.
    Json,
    /// Every event as a line of JSON.
    Jsonl,
}

/// What the report of a check looks like on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportFormat {
    /// A line a step, and the verdict.
    Text,
    Json,
    /// Annotations of GitHub Actions.
    Github,
}

/// What a line of the log looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

fn write_out(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Error::reader_left(),
            _ => Error::output(error),
        })
}

fn note(text: &str) -> String {
    format!("{NOTE}note:{NOTE:#} {text}")
}

/// stdout for what was asked for, stderr for the rest.
pub struct Ui {
    options: OutputOptions,
    format: Format,
    lines: Lines,
    transcript: Transcript,
    /// The last response, for [`Format::Json`].
    last: Option<Response>,
    /// The command lines that look closer at a server, by its label.
    checks: HashMap<String, String>,
    /// Where the answer is rendered: on a terminal only.
    markdown: Option<Markdown>,
    /// Gets every message, if any are recorded.
    recorder: Option<Recorder>,
}

impl Ui {
    pub fn new(options: OutputOptions) -> Self {
        Self {
            options,
            format: Format::Text,
            lines: Lines::new(options.color, !options.quiet),
            transcript: Transcript::default(),
            last: None,
            checks: HashMap::new(),
            markdown: None,
            recorder: None,
        }
    }

    /// A recording, a line for each message; with `-v` the messages too.
    pub fn timeline(&mut self, recording: &Recording) -> Result<(), Error> {
        let lines = timeline::lines(recording, self.options.verbose > 0);
        self.lines.hide_progress();
        let mut stdout = AutoStream::new(io::stdout().lock(), self.options.color);
        for line in lines {
            writeln!(stdout, "{line}").map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => Error::reader_left(),
                _ => Error::output(error),
            })?;
        }
        Ok(())
    }

    /// How the answer, and a failure, shall look.
    pub fn set_format(&mut self, format: Format) {
        self.format = format;
    }

    /// The command lines that look closer at the servers of a request, by their labels: a failure to
    /// list the tools of one ends with its line.
    pub fn set_checks(&mut self, checks: HashMap<String, String>) {
        self.checks = checks;
    }

    /// Renders Markdown in the answer, if stdout is a terminal.
    pub fn render_markdown(&mut self) {
        if io::stdout().is_terminal() {
            self.markdown = Some(Markdown::new(self.has_colour()));
        }
    }

    /// Whether what goes to stdout may have colours.
    fn has_colour(&self) -> bool {
        let choice = match self.options.color {
            ColorChoice::Auto => AutoStream::choice(&io::stdout()),
            choice => choice,
        };
        choice != ColorChoice::Never
    }

    /// The log of the program's parts, for `-vv`. It never holds a request, a header or a token.
    pub fn start_log(&self, level: Option<Level>, format: LogFormat) {
        let level = level.or(match self.options.verbose {
            0 | 1 => None,
            2 => Some(Level::DEBUG),
            _ => Some(Level::TRACE),
        });
        let Some(level) = level else {
            return;
        };
        // Libraries log what they are sent: session ids, arguments, whole requests.
        let ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), level);
        let log = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(io::stderr)
            .with_ansi(self.lines.has_colour());
        match format {
            LogFormat::Text => log.finish().with(ours).init(),
            LogFormat::Json => log.json().flatten_event(true).finish().with(ours).init(),
        }
    }

    /// What was asked for, and a line end.
    pub fn print(&mut self, text: &str) -> Result<(), Error> {
        self.lines.hide_progress();
        write_out(&format!("{text}\n"))
    }

    /// JSON that somebody else wrote: exactly that in a pipe, and in escapes on a terminal.
    fn print_json(&mut self, text: &str) -> Result<(), Error> {
        match io::stdout().is_terminal() {
            true => self.print(&sanitize::json(text)),
            false => self.print(text),
        }
    }

    /// What a check found out.
    pub fn report(&mut self, report: &Report, format: ReportFormat) -> Result<(), Error> {
        self.lines.stop_progress();
        self.print(&match format {
            ReportFormat::Text => report::text(report, self.has_colour()),
            ReportFormat::Json => report::json(report),
            ReportFormat::Github => report::github(report),
        })
    }

    /// Something that is good to know.
    pub fn note(&self, text: &str) {
        if self.has_notes() {
            self.lines.write(&note(&sanitize::brief_line(text)));
        }
    }

    fn has_notes(&self) -> bool {
        !self.options.quiet && self.format == Format::Text
    }

    /// A line that other programs wait for, whatever else is silenced.
    pub fn ready(&mut self, text: &str) {
        self.lines.write(text);
    }

    /// A line that greets; `-q` leaves it out.
    pub fn banner(&mut self, text: &str) {
        if !self.options.quiet {
            self.lines.write(text);
        }
    }

    /// Shows who is waited for, on a terminal.
    pub fn wait(&mut self, for_what: &str) {
        self.lines.wait(for_what);
    }

    /// What tells that a request is about to be sent again, while an answer is waited for.
    pub fn on_retry(&self) -> OnRetry {
        let lines = self.has_notes().then(|| self.lines.clone());
        Box::new(move |retry| {
            let why = sanitize::brief_line(&retry.why);
            let after = humantime::format_duration(retry.after);
            if let Some(lines) = &lines {
                lines.write(&note(&format!("{why}; trying again in {after}")));
            }
        })
    }

    /// With `-v`, what tells of each request to a server of ours.
    pub fn on_request(&self) -> Option<impl Fn(&Exchange) + Send + Sync + use<>> {
        let lines = self.lines.clone();
        (self.options.verbose > 0)
            .then_some(move |exchange: &Exchange| lines.write(&requests::line(exchange)))
    }

    /// What gets what servers that were started write to stderr: their own words, unless `-q` was said.
    pub fn on_stderr(&self) -> OnStderr {
        match self.options.quiet {
            true => |_| {},
            false => forward,
        }
    }

    /// What tells of what goes over connections to MCP servers: of the log and the progress of servers,
    /// with `-v` of each request, and with `-vv` of the messages.
    /// What is recorded is told whatever else is silenced.
    pub fn on_wire(&self) -> Option<OnWire> {
        if let Some(recorder) = self.recorder.clone() {
            let told = self.on_wire_shown();
            let tell = move |wire: Wire| {
                wire::record(&wire, &recorder);
                if let Some(told) = &told {
                    (told.tell)(wire);
                }
            };
            return Some(OnWire {
                exchanges: true,
                tell: Arc::new(tell),
            });
        }
        self.on_wire_shown()
    }

    fn on_wire_shown(&self) -> Option<OnWire> {
        if !self.has_notes() {
            return None;
        }
        let lines = self.lines.clone();
        let verbose = self.options.verbose;
        let tell = move |wire| {
            let told = wire::told(&wire, verbose);
            for line in told.lines {
                lines.write(&line);
            }
            if let Some(progress) = told.progress {
                lines.wait(&progress);
            }
        };
        Some(OnWire {
            exchanges: verbose > 0,
            tell: Arc::new(tell),
        })
    }

    /// Shows one event of an answer.
    pub fn event(&mut self, event: &Event) -> Result<(), Error> {
        if let Some(recorder) = &self.recorder {
            recorder.record_body(Direction::In, "model", jsonl::line(event).into_bytes());
        }
        match self.format {
            Format::Text => self.show(event),
            Format::Jsonl => self.print_json(&jsonl::line(event)),
            Format::Json => match event.kind() {
                EventKind::Completed { response }
                | EventKind::Failed { response }
                | EventKind::Incomplete { response } => {
                    self.last = Some(response.clone());
                    Ok(())
                }
                _ => Ok(()),
            },
        }
    }

    fn flush_answer(&mut self) -> Result<(), Error> {
        match &mut self.markdown {
            Some(markdown) => write_out(&markdown.finish()),
            None => Ok(()),
        }
    }

    /// On a terminal, what comes next begins at its margin. What is cut off in a pipe stays as it
    /// came, and what is rendered ends its line itself.
    fn end_line(&mut self) -> Result<(), Error> {
        self.flush_answer()?;
        if !io::stdout().is_terminal() {
            return Ok(());
        }
        match self.transcript.end_line() && self.markdown.is_none() {
            true => write_out("\n"),
            false => Ok(()),
        }
    }

    /// The answer is over: with [`Format::Json`], the last response is printed.
    pub fn end_of_answer(&mut self) -> Result<(), Error> {
        self.lines.stop_progress();
        self.end_line()?;
        match self.last.take() {
            Some(response) => self.print_json(&jsonl::document(&response)),
            None => Ok(()),
        }
    }

    fn show(&mut self, event: &Event) -> Result<(), Error> {
        for shown in self.transcript.show(event) {
            // A step must not come before the text that it follows, nor over it.
            if !matches!(shown, transcript::Shown::Text(_)) {
                self.end_line()?;
            }
            match shown {
                transcript::Shown::Waiting(text) => self.lines.wait(&text),
                transcript::Shown::Step(text) => self.step(&text),
                transcript::Shown::Text(text) => self.write_answer(&text)?,
                transcript::Shown::Refusal(text) => {
                    let text = sanitize::one_line(&text);
                    self.lines
                        .write(&format!("{ERROR}refused:{ERROR:#} {text}"));
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, text: &str) {
        if self.has_notes() {
            let text = self.cut(text);
            self.lines.write(&format!("{DIM}{text}{DIM:#}"));
        }
    }

    fn write_answer(&mut self, text: &str) -> Result<(), Error> {
        // While text arrives, no progress line is needed.
        self.lines.stop_progress();
        if !io::stdout().is_terminal() {
            return write_out(text);
        }
        let text = sanitize::for_terminal(text);
        match &mut self.markdown {
            Some(markdown) => write_out(&markdown.push(&text)),
            None => write_out(&text),
        }
    }

    /// A step is one line, and not a screen full: `-v` shows it whole.
    fn cut(&self, text: &str) -> String {
        const LONGEST: usize = 300;
        match text.char_indices().nth(LONGEST) {
            Some((end, _)) if self.options.verbose == 0 => format!("{}...", &text[..end]),
            _ => text.to_owned(),
        }
    }

    /// Whether there is somebody to ask.
    pub fn can_ask(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Asks the person at the terminal whether a call may be made at `address`; the default is no.
    ///
    /// The question is asked on a thread of its own, so that a signal can still end the program.
    pub async fn ask_approval(
        &mut self,
        request: &McpApprovalRequest,
        address: &str,
    ) -> Result<bool, Error> {
        self.lines.stop_progress();
        self.flush_answer()?;
        let (request, address) = (request.clone(), address.to_owned());
        let asked = tokio::task::spawn_blocking(move || approval::ask(&request, &address));
        let interrupted = |_| Error::new(ExitStatus::Interrupted, "stopped by Ctrl-C");
        asked.await.map_err(interrupted)?
    }

    /// Tells what became of a call that needed approval.
    pub fn decided(&mut self, request: &McpApprovalRequest, decision: Decision) {
        if self.has_notes() {
            let line = approval::told(request, decision, self.options.verbose > 0);
            self.lines.write(&format!("{DIM}{line}{DIM:#}"));
        }
    }

    /// Tells how the verb failed.
    pub fn failure(&mut self, error: &Error) {
        self.lines.stop_progress();
        // Show what arrived before the failure; if that fails too, the first failure matters more.
        let _ = self.flush_answer();
        // A shell prints nothing about a program that was told to stop, and neither do we.
        let status = error.exit_status();
        if status.is_signal() || status == ExitStatus::Done {
            return;
        }
        let text = match self.format {
            Format::Text => failure::text(error, &self.checks),
            Format::Json | Format::Jsonl => vec![failure::json(error)],
        };
        let is_for_terminal = self.format != Format::Text && io::stderr().is_terminal();
        for line in text {
            match is_for_terminal {
                true => self.lines.write(&sanitize::json(&line)),
                false => self.lines.write(&line),
            }
        }
    }
}
