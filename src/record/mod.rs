//! What went over the wire, as lines of JSON in a file (`docs/RECORDING.md`).

mod read;
mod redact;
mod tee;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

pub use read::{Recording, Unreadable};
pub use redact::tool_entries;
pub use tee::tee;

/// The version of the format.
pub const VERSION: u32 = 1;
/// The most bytes of a body that are kept.
pub const MAX_BODY: usize = 1024 * 1024;
/// How many lines wait for the disk, and how many bytes.
const MOST_WAITING: usize = 16 * 1024;
const MAX_WAITING: usize = 64 * 1024 * 1024;
/// How long the writer leaves lines alone when it has written all: a sender that wakes it for each line would
/// wait for the system each time.
const PAUSE: Duration = Duration::from_millis(2);
/// How much less of a busy processor the writer gets: about a tenth of what a call does.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;
/// How long the last lines may take at the end.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Which way a message went, as this program saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    In,
    Out,
}

/// One message.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line {
    /// RFC 3339, with microseconds.
    pub time: String,
    pub direction: Direction,
    /// Who is at the other end: a client, or the server by its URL or program.
    pub peer: String,
    /// `http`, `stdio` or `process`.
    pub transport: String,
    /// The first line of HTTP: `POST /mcp`, or a status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// JSON as JSON, anything else as a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Box<RawValue>>,
    /// The size of a body that is not whole here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_from: Option<usize>,
    /// Of an answer: how long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
}

impl Line {
    /// A message of that time, with this body.
    pub fn new(
        time: SystemTime,
        direction: Direction,
        peer: &str,
        transport: &str,
        body: &[u8],
    ) -> Self {
        Self {
            time: humantime::format_rfc3339_micros(time).to_string(),
            direction,
            peer: peer.to_owned(),
            transport: transport.to_owned(),
            http: None,
            headers: BTreeMap::new(),
            cut_from: (body.len() > MAX_BODY).then_some(body.len()),
            body: as_json(&body[..body.len().min(MAX_BODY)]),
            took_ms: None,
        }
    }
}

/// The body as JSON on one line: what is not JSON is a text.
fn as_json(body: &[u8]) -> Option<Box<RawValue>> {
    if body.is_empty() {
        return None;
    }
    let text = String::from_utf8_lossy(body);
    let is_one_line = !text.trim().contains(['\n', '\r']);
    if is_one_line && let Ok(raw) = RawValue::from_string(text.trim().to_owned()) {
        return Some(raw);
    }
    let value = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.into_owned()));
    serde_json::value::to_raw_value(&value).ok()
}

/// Writes lines to a file from a thread of its own. Cloning shares it; recording never waits.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

/// A line that the writer makes, and about how many bytes it holds until then.
struct Waiting {
    size: usize,
    make: Box<dyn FnOnce() -> Line + Send>,
}

struct Inner {
    lines: SyncSender<Option<Waiting>>,
    waiting: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
    writer: Mutex<Option<JoinHandle<io::Result<()>>>>,
}

impl Recorder {
    /// A recorder that writes a new file, which nobody else may read.
    ///
    /// # Errors
    /// There is such a file already, or it cannot be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = BufWriter::new(options.open(path)?);
        let started = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
        let program = concat!("mcp-cli ", env!("CARGO_PKG_VERSION"));
        let head = json!({"mcp_cli_record": VERSION, "started": started, "program": program});
        writeln!(file, "{head}")?;
        file.flush()?;
        let (sender, lines) = sync_channel(MOST_WAITING);
        let waiting = Arc::<AtomicUsize>::default();
        let dropped = Arc::<AtomicU64>::default();
        let (taken, lost) = (Arc::clone(&waiting), Arc::clone(&dropped));
        let writer = std::thread::spawn(move || {
            yield_to_calls();
            write(file, &lines, &taken, &lost)
        });
        Ok(Self(Arc::new(Inner {
            lines: sender,
            waiting,
            dropped,
            writer: Mutex::new(Some(writer)),
        })))
    }

    /// Records a message of `size` bytes, unless too many wait for the disk. The thread of the writer makes the
    /// line, so that who sends or answers the message does not wait for it.
    pub fn record(&self, size: usize, make: impl FnOnce() -> Line + Send + 'static) {
        let make = Box::new(make);
        let inner = &*self.0;
        let is_full = inner.waiting.fetch_add(size, Ordering::Relaxed) + size > MAX_WAITING;
        if is_full || inner.lines.try_send(Some(Waiting { size, make })).is_err() {
            inner.waiting.fetch_sub(size, Ordering::Relaxed);
            inner.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records a message of now over HTTP, without the credentials of its tool entries.
    pub fn record_body(&self, direction: Direction, peer: &'static str, body: Vec<u8>) {
        let time = SystemTime::now();
        self.record(body.len(), move || {
            let body = tool_entries(&body).unwrap_or(body);
            Line::new(time, direction, peer, "http", &body)
        });
    }

    /// Writes what waits and ends. Returns how many messages are missing.
    ///
    /// # Errors
    /// The file could not be written.
    pub fn finish(&self) -> io::Result<u64> {
        let writer = self
            .0
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(writer) = writer else {
            return Ok(0);
        };
        // Without a place in the queue, the writer sees that nothing comes any more.
        let _ = self.0.lines.try_send(None);
        let until = std::time::Instant::now() + LAST_LINES;
        while !writer.is_finished() && std::time::Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        if writer.is_finished() {
            writer.join().unwrap_or(Ok(()))?;
        }
        Ok(self.0.dropped.load(Ordering::Relaxed))
    }
}

/// Writes lines until the end is told. What was dropped is a line too.
fn write(
    mut file: impl Write,
    lines: &Receiver<Option<Waiting>>,
    waiting: &AtomicUsize,
    dropped: &AtomicU64,
) -> io::Result<()> {
    let mut told = 0;
    loop {
        let next = match lines.try_recv() {
            Ok(line) => line,
            Err(TryRecvError::Empty) => {
                file.flush()?;
                std::thread::sleep(PAUSE);
                lines.recv().unwrap_or(None)
            }
            Err(TryRecvError::Disconnected) => None,
        };
        let lost = dropped.load(Ordering::Relaxed);
        if lost > told {
            writeln!(file, "{}", json!({"dropped": lost - told}))?;
            told = lost;
        }
        let Some(line) = next else {
            return file.flush();
        };
        waiting.fetch_sub(line.size, Ordering::Relaxed);
        serde_json::to_writer(&mut file, &(line.make)())?;
        file.write_all(b"\n")?;
    }
}

/// Lets calls go first where the processor is busy: what is written can wait.
fn yield_to_calls() {
    // Elsewhere, it would be the priority of the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::debug!(%error, "the recording is written at the priority of calls");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let recorder = Recorder::create(&path).unwrap();
        assert!(Recorder::create(&path).is_err());
        let big = "x".repeat(MAX_BODY + 10);
        for body in [
            r#"{"id":12345678901234567890}"#,
            "not JSON",
            "{\n\"a\":1}",
            "",
            &big,
        ] {
            recorder.record_body(Direction::In, "client", body.as_bytes().to_vec());
        }
        assert_eq!(recorder.finish().unwrap(), 0);
        let text = std::fs::read(&path).unwrap();
        let recording = Recording::read(&text).unwrap();
        let bodies: Vec<_> = recording
            .lines
            .iter()
            .map(|it| it.body.as_ref().map(|it| it.get().len()))
            .collect();
        assert_eq!(
            bodies,
            [Some(27), Some(10), Some(7), None, Some(MAX_BODY + 2)]
        );
        assert_eq!(recording.lines[4].cut_from, Some(MAX_BODY + 10));
        assert_eq!((recording.dropped, recording.broken), (0, 0));
    }

    #[test]
    fn a_disk_that_is_slower_than_the_messages_loses_some_and_says_how_many() {
        let (sender, lines) = sync_channel(10);
        let time = SystemTime::UNIX_EPOCH;
        let make = Box::new(move || Line::new(time, Direction::In, "client", "http", b"1"));
        sender.send(Some(Waiting { size: 2, make })).unwrap();
        sender.send(None).unwrap();
        let (waiting, dropped) = (AtomicUsize::new(2), AtomicU64::new(7));
        let mut file = Vec::new();
        write(&mut file, &lines, &waiting, &dropped).unwrap();
        let text = String::from_utf8(file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            matches!(lines[..], ["{\"dropped\":7}", line] if line.ends_with("\"body\":1}")),
            "{text}"
        );
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
    }
}
