//! A server that is started and spoken to over its stdin and stdout (MCP 2026-07-28, stdio).

use std::process::Stdio as Pipe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::Error;
use super::channel::{Answer, Request};
use super::excess::{Excess, MAX_ANSWER};
use super::fault::{Exited, Fault};
use super::lines::{Line, Lines};
use super::observer::Observer;
use super::pending::{Inbox, Pending, Received};
use super::said::{OnStderr, Said};
use super::server::Command;
use crate::budget::Budget;
use crate::child::{self, Child};

/// How many messages wait for a server that does not read them.
const MOST_UNREAD: usize = 64;
/// How long a process that has closed its stdout may take to end.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the reason may take for which a server reads no more.
const REASON_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the last messages to a server may take.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(100);

/// The server's process, and two tasks that read and write. Dropping it kills the process.
pub struct Stdio {
    /// To the task that writes; `None` when the connection is closed.
    outbox: Mutex<Option<mpsc::Sender<Bytes>>>,
    pending: Arc<Pending>,
    process: Mutex<Option<Process>>,
}

struct Process {
    child: Child,
    writer: AbortOnDropHandle<()>,
    _reader: AbortOnDropHandle<()>,
}

impl Stdio {
    /// Starts the server. What it writes to stderr goes to `on_stderr`.
    ///
    /// # Errors
    /// [`Error::NotStarted`].
    pub fn start(
        command: &Command,
        budget: Budget,
        observer: Observer,
        on_stderr: OnStderr,
        grace: Duration,
    ) -> Result<Self, Error> {
        Self::with_limit(command, MAX_ANSWER, budget, observer, on_stderr, grace)
    }

    /// The same, with the most bytes that a line may have.
    fn with_limit(
        command: &Command,
        limit: usize,
        budget: Budget,
        observer: Observer,
        on_stderr: OnStderr,
        grace: Duration,
    ) -> Result<Self, Error> {
        let mut process = tokio::process::Command::new(&command.program);
        process.args(&command.arguments);
        for name in &command.withheld {
            process.env_remove(name);
        }
        for (name, value) in &command.environment {
            process.env(name, value.expose());
        }
        if let Some(folder) = &command.folder {
            process.current_dir(folder);
        }
        process.stdin(Pipe::piped());
        process.stdout(Pipe::piped()).stderr(Pipe::piped());
        let not_started = |source| Error::NotStarted {
            program: command.program.clone(),
            source,
        };
        let (child, pipes) = Child::start(&mut process, grace).map_err(not_started)?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (pipes.stdin, pipes.stdout, pipes.stderr)
        else {
            return Err(not_started(std::io::ErrorKind::BrokenPipe.into()));
        };
        let (outbox, messages) = mpsc::channel(MOST_UNREAD);
        let pending = Arc::<Pending>::default();
        let reader = Reader {
            lines: Lines::new(stdout, limit, budget),
            limit,
            inbox: Inbox::new(Arc::clone(&pending), observer),
            // Replies do not keep the input of the server open.
            outbox: outbox.downgrade(),
            process: child.process(),
            said: Said::read(stderr, on_stderr),
        };
        Ok(Self {
            outbox: Mutex::new(Some(outbox)),
            pending,
            process: Mutex::new(Some(Process {
                child,
                writer: AbortOnDropHandle::new(tokio::spawn(write(stdin, messages))),
                _reader: AbortOnDropHandle::new(tokio::spawn(reader.run())),
            })),
        })
    }

    /// Sends a request, and waits for its answer.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn request(&self, request: &Request) -> Result<Answer, Fault> {
        let mut expected = self.pending.expect(request.id)?;
        self.send(request.message.clone()).await?;
        expected.answer().await
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The server was ended, or reads no more.
    pub async fn send(&self, message: Bytes) -> Result<(), Fault> {
        let outbox = self.lock_outbox().clone();
        let outbox = outbox.ok_or(Fault::Closed)?;
        if outbox.send(message).await.is_ok() {
            return Ok(());
        }
        // What ended the server says more than that it reads no more.
        let ended = tokio::time::timeout(REASON_TIMEOUT, self.pending.ended());
        Err(ended.await.unwrap_or(Fault::Closed))
    }

    /// Whether the server is not read any further.
    pub fn is_closed(&self) -> bool {
        self.pending.fault().is_some() || self.lock_outbox().is_none()
    }

    /// Ends the input of the server, and then the server.
    pub async fn close(&self) {
        *self.lock_outbox() = None;
        let process = self
            .process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut process) = process {
            // With the task goes stdin, and the server reads the end of its input.
            let _ = tokio::time::timeout(FLUSH_TIMEOUT, &mut process.writer).await;
            process.writer.abort();
            process.child.end().await;
        }
    }

    fn lock_outbox(&self) -> MutexGuard<'_, Option<mpsc::Sender<Bytes>>> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what the server writes.
struct Reader {
    lines: Lines<ChildStdout>,
    /// The most bytes that a line may have.
    limit: usize,
    inbox: Inbox,
    outbox: mpsc::WeakSender<Bytes>,
    process: child::Process,
    said: Said,
}

impl Reader {
    async fn run(mut self) {
        let fault = loop {
            let taken = match self.lines.next().await {
                Ok(Some(line)) => self.take(line),
                Ok(None) => Err(self.closed().await),
                Err(fault) => Err(fault),
            };
            if let Err(fault) = taken {
                break fault;
            }
        };
        self.inbox.pending.end(&fault);
    }

    /// Why the server writes no more.
    async fn closed(&mut self) -> Fault {
        let Some(status) = self.process.ended_within(EXIT_TIMEOUT).await else {
            return Fault::Closed;
        };
        self.said.finish().await;
        let status = match status.code() {
            Some(code) => format!("exit status {code}"),
            None => status.to_string(),
        };
        Fault::Exited(Exited {
            status,
            said: self.said.last_lines(),
        })
    }

    fn take(&mut self, line: Line) -> Result<(), Fault> {
        match line {
            Line::Text { text, held } => match self.inbox.receive(text, held)? {
                // A server that does not read what it is sent has no use for a reply either.
                Received::Request { reply } if let Some(outbox) = self.outbox.upgrade() => {
                    let _ = outbox.try_send(reply.into());
                }
                // What is no message is for a person, as a banner is.
                Received::Noise { text, .. } => self.inbox.observer.of_line(&text),
                Received::Request { .. } | Received::Message => {}
            },
            // It does not say which request it answers.
            Line::TooLong(size) => {
                let limit = self.limit;
                let fault = Excess::Line { size, limit }.into();
                if !self.inbox.pending.fail(&fault) || !size.is_known() {
                    return Err(fault);
                }
            }
        }
        Ok(())
    }
}

/// Writes messages until there are no more, or the server reads no more.
async fn write(stdin: ChildStdin, mut messages: mpsc::Receiver<Bytes>) {
    let mut stdin = BufWriter::new(stdin);
    while let Some(message) = messages.recv().await {
        let written = async {
            stdin.write_all(&message).await?;
            stdin.write_all(b"\n").await?;
            stdin.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::time::Instant;

    use serde_json::{Value, json};

    use super::super::excess::Size;
    use super::*;

    const GRACE: Duration = Duration::from_millis(100);
    const LIMIT: usize = 1000;
    const ANSWER: &str =
        r#"{"jsonrpc": "2.0", "id": 7, "result": {"content": [{"type": "text", "text": "%s"}]}}"#;

    fn start(script: &str) -> Stdio {
        let command = Command {
            program: "sh".to_owned(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            ..Command::default()
        };
        Stdio::with_limit(
            &command,
            LIMIT,
            Budget::unlimited(),
            Observer::default(),
            |_| {},
            GRACE,
        )
        .unwrap()
    }

    fn request(id: u64, method: &'static str, params: &Value) -> Request {
        Request::new(id, method, params, MAX_ANSWER).unwrap()
    }

    /// Makes a call with this id, and returns the text of its result or the fault.
    async fn call(server: &Stdio, id: u64) -> Result<String, Fault> {
        let request = request(id, "tools/call", &json!({"name": "a"}));
        let answered = tokio::time::timeout(Duration::from_secs(20), server.request(&request));
        let answer = answered.await.expect("it hangs")?;
        let result: Value = serde_json::from_str(answer.outcome().unwrap()).unwrap();
        Ok(result["content"][0]["text"].as_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn an_answer_is_found_among_what_else_is_written() {
        let server = start(&format!(
            r#"read call; echo Starting ...; echo; echo '{{"x": [1'
            echo '{{"jsonrpc": "2.0", "method": "notifications/progress", "params": {{}}}}'
            echo '{{"jsonrpc": "2.0", "id": 99, "result": {{}}}}'
            echo '{{"jsonrpc": "2.0", "id": "p", "method": "ping"}}'; read pong
            echo '{{"jsonrpc": "2.0", "id": "s", "method": "sampling/createMessage"}}'; read refusal
            printf '{ANSWER}\n' "$(echo "$pong$refusal" | tr -d '"{{}}')""#
        ));
        assert_eq!(
            call(&server, 7).await.unwrap(),
            "jsonrpc:2.0,id:p,result:jsonrpc:2.0,id:s,error:code:-32601,\
             message:this client does not serve the method"
        );
        let fault = call(&server, 8).await.unwrap_err().to_string();
        assert!(fault.contains("exit status 0"), "{fault}");
        assert!(server.is_closed());
    }

    #[tokio::test]
    async fn a_line_over_the_limit_fails_the_call_and_the_next_one_is_answered() {
        let server = start(&format!(
            "read call; head -c 1500 /dev/zero | tr '\\0' x; echo; read call; printf '{ANSWER}\n' a"
        ));
        assert_eq!(
            call(&server, 6).await.unwrap_err().to_string(),
            "a line of 1500 bytes; the limit is 1000 bytes"
        );
        assert_eq!(call(&server, 7).await.unwrap(), "a");
    }

    #[tokio::test]
    async fn a_message_with_the_id_of_a_call_that_is_no_answer_fails_it() {
        let server = start(r#"read call; echo '{"jsonrpc": "2.0", "id": 7}'; read more"#);
        let fault = call(&server, 7).await.unwrap_err().to_string();
        assert_eq!(fault, "unrecognized JSON-RPC message");
    }

    #[tokio::test]
    async fn answers_go_to_the_calls_with_their_ids_in_any_order() {
        let answer = |id: &str| ANSWER.replace('7', id);
        let server = start(&format!(
            "read first; read second; printf '{}\n{}\n' b a",
            answer("8"),
            answer(r#""7""#)
        ));
        let (first, second) = tokio::join!(call(&server, 7), call(&server, 8));
        assert_eq!((&*first.unwrap(), &*second.unwrap()), ("a", "b"));
    }

    #[tokio::test]
    async fn a_late_answer_to_a_discovery_that_was_given_up_is_skipped() {
        let late = r#"{"jsonrpc": "2.0", "id": 6, "error": {"code": -32601, "message": "no"}}"#;
        let server = start(&format!(
            "read discovery; read call; echo '{late}'; printf '{ANSWER}\n' a"
        ));
        let discovery = request(6, "server/discover", &json!({}));
        let given_up = tokio::time::timeout(Duration::ZERO, server.request(&discovery));
        assert!(given_up.await.is_err());
        assert_eq!(call(&server, 7).await.unwrap(), "a");
    }

    #[tokio::test]
    async fn a_server_that_writes_without_end_is_not_read_without_end() {
        let requests =
            |method: &str| format!(r#"yes '{{"jsonrpc": "2.0", "id": 1, "method": "{method}"}}'"#);
        for script in ["yes", &requests("ping"), &requests("roots/list")] {
            let server = start(&format!("read call; {script}"));
            let fault = call(&server, 7).await.unwrap_err();
            assert!(matches!(fault, Fault::Excess(_)), "{script}: {fault:?}");
            assert!(server.is_closed());
            server.close().await;
        }
    }

    #[tokio::test]
    async fn a_line_without_an_end_ends_the_connection() {
        let server = start("read call; cat /dev/zero");
        let Err(Fault::Excess(excess)) = call(&server, 7).await else {
            panic!("it is not read to its end");
        };
        let size = Size::MoreThan(2 * LIMIT);
        assert_eq!(excess, Excess::Line { size, limit: LIMIT });
        assert!(server.is_closed());
    }

    #[tokio::test]
    async fn a_server_that_reads_nothing_is_sent_no_more_than_it_may_leave_unread() {
        let server = start("sleep 60");
        let message = Bytes::from("x".repeat(10_000));
        let mut sent = 0;
        for _ in 0..200 {
            let sending = server.send(message.clone());
            let sending = tokio::time::timeout(Duration::from_millis(1), sending);
            sent += usize::from(sending.await.is_ok());
        }
        // Beside those in our queue, there are those in the pipe.
        assert!((MOST_UNREAD..2 * MOST_UNREAD).contains(&sent), "{sent}");
        let started = Instant::now();
        server.close().await;
        assert!(started.elapsed() < 8 * GRACE);
    }
}
