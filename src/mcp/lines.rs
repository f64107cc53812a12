//! `Lines`: what a process writes, line by line, none of them longer than a limit.

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use super::excess::Size;
use super::fault::Fault;
use crate::budget::{Budget, Held};

/// Reads lines. Dropping a future of [`Lines::next`] loses nothing.
pub struct Lines<R> {
    reader: BufReader<R>,
    limit: usize,
    budget: Budget,
    /// The line so far; beyond the limit it is only counted.
    line: Vec<u8>,
    length: usize,
    held: Held,
}

/// A line, without its end.
#[derive(Debug)]
pub enum Line {
    Text {
        text: Vec<u8>,
        /// The share of the budget that it takes.
        held: Held,
    },
    /// It is longer than the limit. Its size is known if its end is near.
    TooLong(Size),
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Reads lines of at most `limit` bytes, and holds each of `budget`.
    pub fn new(reader: R, limit: usize, budget: Budget) -> Self {
        Self {
            reader: BufReader::with_capacity(64 * 1024, reader),
            limit,
            line: Vec::new(),
            length: 0,
            held: budget.empty(),
            budget,
        }
    }

    /// The next line; `None` at the end of the output, or where it cannot be read.
    ///
    /// # Errors
    /// `Fault::Exhausted` if the budget is used up.
    pub async fn next(&mut self) -> Result<Option<Line>, Fault> {
        loop {
            let Ok(read) = self.reader.fill_buf().await else {
                return Ok(None);
            };
            if read.is_empty() {
                // What has no end of line is no message.
                return Ok(None);
            }
            let end = read.iter().position(|byte| *byte == b'\n');
            let part = &read[..end.unwrap_or(read.len())];
            self.length += part.len();
            if self.length <= self.limit {
                self.held.grow(part.len() as u64)?;
                self.line.extend_from_slice(part);
            } else {
                self.line = Vec::new();
                self.held.shrink_to(0);
            }
            let taken = part.len() + usize::from(end.is_some());
            self.reader.consume(taken);
            let is_too_long = self.length > self.limit;
            if end.is_none() && is_too_long && self.length > 2 * self.limit {
                // Nobody waits for the end of a line that may have none.
                return Ok(Some(Line::TooLong(Size::MoreThan(2 * self.limit))));
            }
            if end.is_some() {
                let text = std::mem::take(&mut self.line);
                let held = std::mem::replace(&mut self.held, self.budget.empty());
                let length = std::mem::take(&mut self.length);
                return Ok(Some(match is_too_long {
                    true => Line::TooLong(Size::Bytes(length)),
                    false => Line::Text { text, held },
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(output: &str, limit: usize) -> Vec<String> {
        let budget = Budget::new(1000);
        let mut lines = Lines::new(output.as_bytes(), limit, budget.clone());
        let mut read = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            match line {
                Line::Text { text, held } => {
                    assert_eq!(held.bytes(), text.len() as u64);
                    read.push(String::from_utf8(text).unwrap());
                }
                Line::TooLong(Size::MoreThan(size)) => {
                    read.push(format!("more than {size}"));
                    break;
                }
                Line::TooLong(size) => read.push(size.to_string()),
            }
        }
        drop(lines);
        assert_eq!(budget.used(), 0);
        read
    }

    #[tokio::test]
    async fn a_line_has_its_limit_and_those_behind_it_are_read() {
        assert_eq!(lines("", 4).await, [""; 0]);
        assert_eq!(lines("a\n\nabcd\nb", 4).await, ["a", "", "abcd"]);
        assert_eq!(
            lines("abcde\nabcdefgh\na\n", 4).await,
            ["5 bytes", "8 bytes", "a"]
        );
    }

    #[tokio::test]
    async fn a_line_without_end_is_not_read_to_its_end() {
        let endless = "x".repeat(1_000_000);
        assert_eq!(lines(&endless, 4).await, ["more than 8"]);
    }

    #[tokio::test]
    async fn a_line_is_held_of_the_budget_while_it_is_read() {
        let budget = Budget::new(100);
        let output = "x".repeat(101) + "\n";
        let mut lines = Lines::new(output.as_bytes(), 1000, budget.clone());
        assert!(matches!(lines.next().await, Err(Fault::Exhausted(_))));
    }
}
