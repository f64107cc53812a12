//! A server that is started and spoken to over its stdin and stdout (MCP 2026-07-28, stdio).

use std::collections::{HashMap, VecDeque};
use std::process::Stdio as Pipe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, JsonRpcMessage, RequestId, ServerJsonRpcMessage,
};
use rmcp::service::RoleClient;
use rmcp::transport::Transport;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::Error;
use super::child::Child;
use super::excess::{Excess, MAX_ANSWER, Traffic};
use super::exchange::{Awaited, Fault};
use super::lines::{Line, Lines};
use super::message::{self, Message};
use super::server::Command;
use crate::budget::{Budget, Held};

/// How many messages wait for a server that does not read them.
const MOST_UNREAD: usize = 64;
/// How long the last messages to a server may take.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(100);

/// The transport. Dropping it kills the process.
pub struct Stdio {
    child: Child,
    lines: Lines<ChildStdout>,
    /// The most bytes that a line may have.
    limit: usize,
    /// To the task that writes; none when the connection is closed.
    outbox: Option<mpsc::Sender<Vec<u8>>>,
    writer: Option<AbortOnDropHandle<()>>,
    awaited: HashMap<RequestId, Awaited>,
    traffic: Traffic,
    /// Answers that rmcp has not been given yet.
    answers: VecDeque<ServerJsonRpcMessage>,
    last_fault: LastFault,
}

/// Why a server is not read any further. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct LastFault(Arc<Mutex<Option<Fault>>>);

impl LastFault {
    pub fn get(&self) -> Option<Fault> {
        let fault = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fault.clone()
    }

    fn set(&self, fault: Fault) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }
}

impl Stdio {
    /// Starts the server. What it writes to stderr is for the person, and goes where ours does.
    ///
    /// # Errors
    /// [`Error::NotStarted`].
    pub fn start(command: &Command, budget: Budget, grace: Duration) -> Result<Self, Error> {
        Self::with_limit(command, MAX_ANSWER, budget, grace)
    }

    /// The same, with the most bytes that a line may have.
    fn with_limit(
        command: &Command,
        limit: usize,
        budget: Budget,
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
        process.stdin(Pipe::piped()).stdout(Pipe::piped());
        let not_started = |source| Error::NotStarted {
            program: command.program.clone(),
            source,
        };
        let mut child = Child::start(&mut process, grace).map_err(not_started)?;
        let (stdin, stdout) = child
            .pipes()
            .ok_or_else(|| not_started(std::io::ErrorKind::BrokenPipe.into()))?;
        let (outbox, messages) = mpsc::channel(MOST_UNREAD);
        Ok(Self {
            child,
            lines: Lines::new(stdout, limit, budget),
            limit,
            outbox: Some(outbox),
            writer: Some(AbortOnDropHandle::new(tokio::spawn(write(stdin, messages)))),
            awaited: HashMap::new(),
            traffic: Traffic::default(),
            answers: VecDeque::new(),
            last_fault: LastFault::default(),
        })
    }

    /// Where the reason is told why the server is not read any further.
    pub fn last_fault(&self) -> LastFault {
        self.last_fault.clone()
    }

    fn take(&mut self, line: Line) -> Result<(), Fault> {
        match line {
            Line::Text { text, held } => self.take_text(&text, held),
            Line::TooLong(size) => {
                let limit = self.limit;
                self.fail_all(&Excess::Line { size, limit }.into(), size.is_known())
            }
        }
    }

    fn take_text(&mut self, text: &[u8], held: Held) -> Result<(), Fault> {
        // What is no message is for a person, as a banner is.
        let Ok(message) = Message::read(text) else {
            return Ok(self.traffic.notification(text.len())?);
        };
        match message {
            Message::Answer { id, outcome } => {
                let Some(awaited) = self.remove(|awaited| match id {
                    Some(id) => awaited.has_id(id),
                    // An error without an id is of a request that the server could not read.
                    None => outcome.is_err(),
                }) else {
                    return Ok(self.traffic.notification(text.len())?);
                };
                self.traffic = Traffic::default();
                match awaited.answer(outcome, held) {
                    Ok(answer) => self.answers.push_back(answer),
                    Err(fault) => self.fail(&awaited, fault)?,
                }
            }
            Message::Unknown { id: Some(id) } => {
                self.traffic.notification(text.len())?;
                if let Some(awaited) = self.remove(|awaited| awaited.has_id(id)) {
                    self.fail(&awaited, Fault::unrecognized())?;
                }
            }
            Message::Request { id, method } => {
                self.traffic.request(&method, text.len())?;
                // A server that does not read what it is sent has no use for an answer either.
                if let (Some(reply), Some(outbox)) = (message::reply(id, &method), &self.outbox) {
                    let _ = outbox.try_send(line_of(reply));
                }
            }
            Message::Notification | Message::Unknown { id: None } => {
                self.traffic.notification(text.len())?;
            }
        }
        Ok(())
    }

    /// Takes the request that the answer is to off the list: if several may be meant, none is.
    fn remove(&mut self, is_meant: impl Fn(&Awaited) -> bool) -> Option<Awaited> {
        let mut meant = self.awaited.values().filter(|it| is_meant(it));
        let id = match (meant.next(), meant.next()) {
            (Some(awaited), None) => awaited.id().clone(),
            _ => return None,
        };
        self.awaited.remove(&id)
    }

    /// The request has no answer.
    fn fail(&mut self, awaited: &Awaited, fault: Fault) -> Result<(), Fault> {
        let answer = awaited.fail(fault.clone()).ok_or(fault)?;
        self.answers.push_back(answer);
        Ok(())
    }

    /// Nobody knows which request was answered: none has an answer.
    fn fail_all(&mut self, fault: &Fault, goes_on: bool) -> Result<(), Fault> {
        if !goes_on || self.awaited.is_empty() {
            return Err(fault.clone());
        }
        for awaited in std::mem::take(&mut self.awaited).into_values() {
            self.fail(&awaited, fault.clone())?;
        }
        Ok(())
    }
}

impl Transport<RoleClient> for Stdio {
    type Error = std::io::Error;

    fn send(
        &mut self,
        message: ClientJsonRpcMessage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        if let Some(awaited) = Awaited::read(&message) {
            // The one before it was given up: a late answer to it is no answer to this one.
            self.awaited.retain(|_, it| !it.is_discovery());
            self.awaited.insert(awaited.id().clone(), awaited);
        }
        if let Some(id) = cancelled(&message) {
            self.awaited.remove(id);
        }
        let line = serde_json::to_string(&message).map(line_of);
        let outbox = self.outbox.clone();
        async move {
            let closed = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
            let outbox = outbox.ok_or_else(closed)?;
            outbox.send(line?).await.map_err(|_| closed())
        }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Some(answer);
            }
            let taken = match self.lines.next().await {
                Ok(line) => self.take(line?),
                Err(fault) => Err(fault),
            };
            if let Err(fault) = taken {
                self.last_fault.set(fault);
                return None;
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.outbox = None;
        if let Some(writer) = self.writer.take() {
            // With the task goes stdin, and the server reads the end of its input.
            let _ = tokio::time::timeout(FLUSH_TIMEOUT, writer).await;
        }
        self.child.end().await;
        Ok(())
    }
}

/// Writes messages until there are no more, or the server reads no more.
async fn write(mut stdin: ChildStdin, mut messages: mpsc::Receiver<Vec<u8>>) {
    while let Some(message) = messages.recv().await {
        if stdin.write_all(&message).await.is_err() {
            return;
        }
    }
}

fn line_of(message: String) -> Vec<u8> {
    let mut line = message.into_bytes();
    line.push(b'\n');
    line
}

/// The request that nobody waits for any more, if this message says so.
fn cancelled(message: &ClientJsonRpcMessage) -> Option<&RequestId> {
    let JsonRpcMessage::Notification(message) = message else {
        return None;
    };
    match &message.notification {
        ClientNotification::CancelledNotification(it) => it.params.request_id.as_ref(),
        _ => None,
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::time::Instant;

    use rmcp::model::{
        CallToolRequest, CallToolRequestParams, ClientRequest, DiscoverRequest,
        DiscoverRequestParams, GetExtensions,
    };

    use super::super::excess::Size;
    use super::super::exchange::{Answer, Exchange, Received};
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
        Stdio::with_limit(&command, LIMIT, Budget::unlimited(), GRACE).unwrap()
    }

    /// Sends call 7, and returns where its answer goes.
    async fn call(server: &mut Stdio) -> Arc<Exchange> {
        let exchange = Arc::<Exchange>::default();
        let request = CallToolRequest::new(CallToolRequestParams::new("a"));
        let mut request = ClientRequest::CallToolRequest(request);
        request.extensions_mut().insert(Arc::clone(&exchange));
        let message = ClientJsonRpcMessage::request(request, RequestId::Number(7));
        server.send(message).await.unwrap();
        exchange
    }

    async fn receive(server: &mut Stdio) -> Option<ServerJsonRpcMessage> {
        let received = tokio::time::timeout(Duration::from_secs(20), server.receive());
        received.await.expect("it hangs")
    }

    /// What the call gives: the text of its result, or why there is none.
    fn outcome(exchange: &Exchange) -> Result<String, String> {
        let Received { answer, .. } = exchange.take().unwrap().map_err(|it| it.to_string())?;
        let Answer::Called(result) = answer else {
            panic!("{answer:?}");
        };
        Ok(result.content[0].as_text().unwrap().text.clone())
    }

    #[tokio::test]
    async fn an_answer_is_found_among_what_else_is_written() {
        let mut server = start(&format!(
            r#"read call; echo Starting ...; echo; echo '{{"x": [1'
            echo '{{"jsonrpc": "2.0", "method": "notifications/progress", "params": {{}}}}'
            echo '{{"jsonrpc": "2.0", "id": 99, "result": {{}}}}'
            echo '{{"jsonrpc": "2.0", "id": "p", "method": "ping"}}'; read pong
            echo '{{"jsonrpc": "2.0", "id": "s", "method": "sampling/createMessage"}}'; read refusal
            printf '{ANSWER}\n' "$(echo "$pong$refusal" | tr -d '"{{}}')""#
        ));
        let exchange = call(&mut server).await;
        assert!(receive(&mut server).await.is_some());
        assert_eq!(
            outcome(&exchange).unwrap(),
            "jsonrpc:2.0,id:p,result:jsonrpc:2.0,id:s,error:code:-32601,\
             message:this client does not serve the method"
        );
        assert!(receive(&mut server).await.is_none());
        assert!(server.last_fault.get().is_none());
    }

    #[tokio::test]
    async fn a_line_over_the_limit_fails_the_call_and_the_next_one_is_answered() {
        let mut server = start(&format!(
            "read call; head -c 1500 /dev/zero | tr '\\0' x; echo; read call; printf '{ANSWER}\n' a"
        ));
        let exchange = call(&mut server).await;
        assert!(receive(&mut server).await.is_some());
        assert_eq!(
            outcome(&exchange).unwrap_err(),
            "a line of 1500 bytes; the limit is 1000 bytes"
        );
        let exchange = call(&mut server).await;
        assert!(receive(&mut server).await.is_some());
        assert_eq!(outcome(&exchange).unwrap(), "a");
    }

    #[tokio::test]
    async fn an_answer_that_is_malformed_fails_the_call() {
        for (answer, words) in [
            (r#"{"jsonrpc": "2.0", "id": 7}"#, "unrecognized"),
            (r#"{"jsonrpc": "2.0", "id": 7, "result": {}}"#, "expected"),
            (
                r#"{"jsonrpc": "2.0", "id": 7, "error": {}}"#,
                "missing field",
            ),
        ] {
            let mut server = start(&format!("read call; echo '{answer}'; read more"));
            let exchange = call(&mut server).await;
            assert!(receive(&mut server).await.is_some());
            let why = outcome(&exchange).unwrap_err();
            assert!(why.contains(words), "{answer}: {why}");
        }
    }

    #[tokio::test]
    async fn a_late_answer_to_a_discovery_that_was_given_up_is_skipped() {
        let late = r#"{"jsonrpc": "2.0", "id": 6, "error": {"code": -32601, "message": "no"}}"#;
        let mut server = start(&format!(
            "read discovery; read call; echo '{late}'; printf '{ANSWER}\\n' a"
        ));
        let request = DiscoverRequest::new(DiscoverRequestParams {});
        let request = ClientRequest::DiscoverRequest(request);
        let message = ClientJsonRpcMessage::request(request, RequestId::Number(6));
        server.send(message).await.unwrap();
        let exchange = call(&mut server).await;
        assert!(receive(&mut server).await.is_some());
        assert_eq!(outcome(&exchange).unwrap(), "a");
    }

    #[tokio::test]
    async fn a_server_that_writes_without_end_is_not_read_without_end() {
        let requests =
            |method: &str| format!(r#"yes '{{"jsonrpc": "2.0", "id": 1, "method": "{method}"}}'"#);
        for script in ["yes", &requests("ping"), &requests("roots/list")] {
            let mut server = start(&format!("read call; {script}"));
            call(&mut server).await;
            assert!(receive(&mut server).await.is_none());
            let fault = server.last_fault.get();
            assert!(
                matches!(fault, Some(Fault::Excess(_))),
                "{script}: {fault:?}"
            );
            server.close().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_line_without_an_end_ends_the_connection() {
        let mut server = start("read call; cat /dev/zero");
        call(&mut server).await;
        assert!(receive(&mut server).await.is_none());
        let Some(Fault::Excess(excess)) = server.last_fault.get() else {
            panic!("{:?}", server.last_fault);
        };
        let size = Size::MoreThan(2 * LIMIT);
        assert_eq!(excess, Excess::Line { size, limit: LIMIT });
    }

    #[tokio::test]
    async fn a_server_that_reads_nothing_is_sent_no_more_than_it_may_leave_unread() {
        let mut server = start("sleep 60");
        let params = CallToolRequestParams::new("x".repeat(10_000));
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let mut sent = 0;
        for number in 0..200 {
            let id = RequestId::Number(number);
            let sending = server.send(ClientJsonRpcMessage::request(request.clone(), id));
            let sending = tokio::time::timeout(Duration::from_millis(1), sending);
            sent += usize::from(sending.await.is_ok());
        }
        // Beside those in our queue, there are those in the pipe.
        assert!((MOST_UNREAD..2 * MOST_UNREAD).contains(&sent), "{sent}");
        let started = Instant::now();
        server.close().await.unwrap();
        assert!(started.elapsed() < 8 * GRACE);
    }
}
