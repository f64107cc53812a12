//! A server's tools, and what a call of one brought, on stdout.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use serde::Serialize;

use super::{Format, Ui, content, sanitize, signature};
use crate::error::Error;
use crate::mcp::{CallResult, Tool};

impl Ui {
    /// Shows the tools of a server: a line each, or as it sent them.
    pub fn tools(&mut self, tools: &[Tool]) -> Result<(), Error> {
        if self.format != Format::Text {
            return self.document(&tools);
        }
        let stdout = console::Term::stdout();
        let size = stdout.is_term().then(|| stdout.size_checked()).flatten();
        let table = signature::table(tools, size.map(|(_, columns)| columns.into()));
        if !table.lines.is_empty() {
            self.print(&table.lines.join("\n"))?;
        }
        for name in table.too_large {
            self.note(&format!(
                "the inputSchema of `{name}` is too large to show whole"
            ));
        }
        Ok(())
    }

    /// Shows the tools of several servers, by their labels.
    pub fn tools_of(&mut self, lists: &[(&str, Vec<Tool>)]) -> Result<(), Error> {
        if self.format != Format::Text {
            let lists: serde_json::Map<_, _> = lists
                .iter()
                .map(|(label, tools)| ((*label).to_owned(), serde_json::json!(tools)))
                .collect();
            return self.document(&lists);
        }
        for (label, tools) in lists {
            let plural = if tools.len() == 1 { "" } else { "s" };
            self.print(&format!("{label}: {} tool{plural}", tools.len()))?;
            self.tools(tools)?;
        }
        Ok(())
    }

    /// Shows all that a server says of a tool.
    pub fn tool(&mut self, tool: &Tool) -> Result<(), Error> {
        match self.format {
            Format::Text => self.print_foreign(&signature::whole(tool)),
            _ => self.document(tool),
        }
    }

    /// Shows the result of a call: as text, or as the server sent it. `saved` has the file that
    /// each block was saved as. As text, that of a tool which failed is left to [`Self::failure`].
    pub fn result(&mut self, result: &CallResult, saved: &[Option<PathBuf>]) -> Result<(), Error> {
        if self.format != Format::Text {
            return self.document(result);
        }
        if result.is_error() {
            return Ok(());
        }
        let text = content::result_text(result, saved);
        self.print_foreign(text.strip_suffix('\n').unwrap_or(&text))
    }

    fn document(&mut self, value: &impl Serialize) -> Result<(), Error> {
        self.print_json(&format!("{:#}", serde_json::json!(value)))
    }

    /// What a server says: exactly that in a pipe, and nothing that drives a terminal on one.
    fn print_foreign(&mut self, text: &str) -> Result<(), Error> {
        match io::stdout().is_terminal() {
            true => self.print(&sanitize::for_terminal(text)),
            false => self.print(text),
        }
    }
}
