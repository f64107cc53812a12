//! `Excess`: a server sent more than this client reads, and how much that is.

use std::fmt;

/// The most bytes of one answer: a JSON body, an event of a stream, or a line of stdout.
///
/// OpenAI takes at most 10 MiB of text in one string of a request; images and files of tools that
/// people call without a model can be larger.
pub const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// The most bytes of an answer that says no more than who the server is, or why it refuses.
pub const MAX_SMALL_ANSWER: usize = 1024 * 1024;
/// The most bytes that one result may take in memory once it is parsed, by estimate.
pub const MAX_PARSED: u64 = 96 * 1024 * 1024;
/// How many tools a server may have.
pub const MOST_TOOLS: usize = 20_000;
/// The most bytes of a list of tools, all pages together.
pub const MAX_LIST: usize = MAX_ANSWER;
/// How many pages a list of tools may have.
pub const MOST_PAGES: usize = 1000;
/// The most bytes, by estimate, of the tools whose arguments are sent in headers as well
/// (`x-mcp-header`): the paths to them are kept as long as the connection lives.
pub const MAX_HEADER_TOOLS: u64 = 512 * 1024;

/// How many requests of a server are refused in one exchange. This client offers to serve none.
const MOST_REQUESTS: u32 = 16;
/// How many pings of a server are answered in one exchange.
const MOST_PINGS: u32 = 256;
/// How many notifications and other messages that are ignored may come in one exchange: a tool may
/// report its progress every 10 ms for half an hour.
const MOST_NOTIFICATIONS: u32 = 200_000;
/// The most bytes of all of these together.
const MAX_TRAFFIC: usize = 32 * 1024 * 1024;

/// How many characters of a method's name are shown.
const MAX_METHOD: usize = 60;

/// A server sent more than this client reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    #[error(
        "{count} requests of its own, the last of them {method:?}, and no answer; \
         this client serves none and refuses no more than {MOST_REQUESTS}"
    )]
    Requests { count: u32, method: String },
    #[error("{0} pings and no answer; no more than {MOST_PINGS} are answered")]
    Pings(u32),
    #[error("{0} notifications and no answer; the limit is {MOST_NOTIFICATIONS}")]
    Notifications(u32),
    #[error("notifications of more than {} and no answer", Bytes(MAX_TRAFFIC))]
    Traffic,
    #[error("an answer of more than {}", Bytes(*.0))]
    Answer(usize),
    #[error("a line of {size}; the limit is {}", Bytes(*.limit))]
    Line { size: Size, limit: usize },
    #[error("an answer that takes more than {} MiB in memory", .0 / 1024 / 1024)]
    Parsed(u64),
    #[error("a list of more than {MOST_TOOLS} tools")]
    Tools,
    #[error("a list of tools of more than {}", Bytes(MAX_LIST))]
    List,
    #[error("a list of tools of more than {MOST_PAGES} pages")]
    Pages,
    #[error(
        "tools with `x-mcp-header` that take more than {} KiB in memory",
        MAX_HEADER_TOOLS / 1024
    )]
    HeaderTools,
}

/// The size of something of which not all was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    Bytes(usize),
    MoreThan(usize),
}

impl Size {
    pub fn is_known(self) -> bool {
        matches!(self, Self::Bytes(_))
    }
}

/// What came of a server that is no answer, since the last answer.
#[derive(Debug, Default)]
pub struct Traffic {
    requests: u32,
    pings: u32,
    notifications: u32,
    bytes: usize,
}

impl Traffic {
    /// Counts a request of the server's own.
    ///
    /// # Errors
    /// [`Excess`] if it is not to be answered any more.
    pub fn request(&mut self, method: &str, bytes: usize) -> Result<(), Excess> {
        self.bytes(bytes)?;
        if method == "ping" {
            self.pings += 1;
            return match self.pings {
                count if count > MOST_PINGS => Err(Excess::Pings(count)),
                _ => Ok(()),
            };
        }
        self.requests += 1;
        if self.requests > MOST_REQUESTS {
            return Err(Excess::Requests {
                count: self.requests,
                method: method.chars().take(MAX_METHOD).collect(),
            });
        }
        Ok(())
    }

    /// Counts a message that is ignored: a notification, or none at all.
    ///
    /// # Errors
    /// [`Excess`] if there were too many of them.
    pub fn notification(&mut self, bytes: usize) -> Result<(), Excess> {
        self.bytes(bytes)?;
        self.notifications += 1;
        if self.notifications > MOST_NOTIFICATIONS {
            return Err(Excess::Notifications(self.notifications));
        }
        Ok(())
    }

    fn bytes(&mut self, bytes: usize) -> Result<(), Excess> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_TRAFFIC {
            return Err(Excess::Traffic);
        }
        Ok(())
    }
}

/// A number of bytes, as one reads it.
struct Bytes(usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: usize = 1024 * 1024;
        match self.0 {
            bytes if bytes >= MIB && bytes % MIB == 0 => write!(f, "{} MiB", bytes / MIB),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{}", Bytes(*bytes)),
            Self::MoreThan(bytes) => write!(f, "more than {}", Bytes(*bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_requests_are_refused_and_then_the_exchange_ends() {
        let mut traffic = Traffic::default();
        for _ in 0..MOST_REQUESTS {
            traffic.request("roots/list", 50).unwrap();
        }
        for _ in 0..MOST_PINGS {
            traffic.request("ping", 50).unwrap();
        }
        let method = "sampling/createMessage\u{1b}[2J".repeat(100);
        insta::assert_snapshot!(traffic.request(&method, 50).unwrap_err(), @r#"17 requests of its own, the last of them "sampling/createMessage\u{1b}[2Jsampling/createMessage\u{1b}[2Jsampling", and no answer; this client serves none and refuses no more than 16"#);
        insta::assert_snapshot!(traffic.request("ping", 50).unwrap_err(), @"257 pings and no answer; no more than 256 are answered");
    }

    #[test]
    fn notifications_end_the_exchange_by_their_number_or_their_size() {
        let mut traffic = Traffic::default();
        for _ in 0..MOST_NOTIFICATIONS {
            traffic.notification(100).unwrap();
        }
        insta::assert_snapshot!(traffic.notification(100).unwrap_err(), @"200001 notifications and no answer; the limit is 200000");
        let mut traffic = Traffic::default();
        traffic.notification(MAX_TRAFFIC).unwrap();
        insta::assert_snapshot!(traffic.notification(1).unwrap_err(), @"notifications of more than 32 MiB and no answer");
        assert_eq!(traffic.request("ping", usize::MAX), Err(Excess::Traffic));
    }

    #[test]
    fn a_line_is_told_with_its_size_and_the_limit() {
        let line = |size| Excess::Line {
            size,
            limit: MAX_ANSWER,
        };
        insta::assert_snapshot!(line(Size::Bytes(70_000_000)), @"a line of 70000000 bytes; the limit is 64 MiB");
        insta::assert_snapshot!(line(Size::MoreThan(2 * MAX_ANSWER)), @"a line of more than 128 MiB; the limit is 64 MiB");
    }
}
