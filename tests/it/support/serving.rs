//! `Serving`: a running `mcp-cli serve`, and raw bytes to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Child;
use std::time::Duration;

use tempfile::TempDir;

use super::McpCli;

/// A running `mcp-cli serve`, ended with the test.
pub struct Serving {
    pub child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    pub url: String,
    _home: TempDir,
}

impl Serving {
    pub fn start(cli: McpCli) -> Self {
        let (mut child, home) = cli.spawn();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let url = loop {
            line.clear();
            assert_ne!(
                stderr.read_line(&mut line).unwrap(),
                0,
                "it ended before it was ready"
            );
            if let Some(url) = line.trim_end().strip_prefix("listening on ") {
                break url.to_owned();
            }
        };
        Self {
            child,
            stderr,
            url,
            _home: home,
        }
    }

    /// The first lines that it printed.
    pub fn stdout_lines(&mut self, count: usize) -> Vec<String> {
        let stdout = BufReader::new(self.child.stdout.take().unwrap());
        stdout
            .lines()
            .take(count)
            .map(|line| line.unwrap())
            .collect()
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        let rest = self.url.strip_prefix("http://").unwrap();
        rest.split('/').next().unwrap()
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream
    }

    /// Sends bytes and reads all that comes until the connection is closed, or nothing comes for a
    /// while.
    pub fn raw(&self, bytes: &[u8]) -> Reply {
        let mut stream = self.connect();
        // A server that has seen enough may close before all is sent.
        let _ = stream.write_all(bytes);
        Reply::read(&mut stream)
    }

    /// Sends one request on a connection of its own.
    pub fn send(&self, head: &str, body: &[u8]) -> Reply {
        let length = body.len();
        let head = head.trim().replace('\n', "\r\n");
        let head = format!(
            "{head}\r\nhost: localhost\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        self.raw(&[head.as_bytes(), body].concat())
    }

    /// Posts a message as a client of MCP does.
    pub fn post(&self, body: &[u8]) -> Reply {
        self.send(&format!("{POST}\n{BOTH_FORMS}"), body)
    }

    pub fn ask(&self, args: &[&str]) -> super::Run {
        McpCli::new(&[
            "ask",
            "--local",
            "--server-label",
            "dice_server",
            "--require-approval",
            "never",
            "--server-url",
            &self.url,
        ])
        .args(args)
        .run()
    }

    /// Sends SIGTERM.
    pub fn signal(&self) {
        let kill = std::process::Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(kill.success());
    }

    /// Waits for the end and returns the exit status.
    pub fn wait(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Sends SIGTERM and returns the exit status, and what was still to be read on stderr.
    pub fn terminate(mut self) -> (Option<i32>, String) {
        self.signal();
        let status = self.child.wait().unwrap();
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (status.code(), rest)
    }
}

/// The start of a request with a JSON body.
pub const POST: &str = "POST /mcp HTTP/1.1\ncontent-type: application/json";
pub const BOTH_FORMS: &str = "accept: application/json, text/event-stream";

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub text: String,
    pub was_closed: bool,
}

impl Reply {
    fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A reset is a close as well.
        let was_closed = match stream.read_to_end(&mut bytes) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        Self {
            text: String::from_utf8_lossy(&bytes).into_owned(),
            was_closed,
        }
    }

    /// 0 if there is none.
    pub fn status(&self) -> u16 {
        let status = self.text.split(' ').nth(1);
        status.and_then(|it| it.parse().ok()).unwrap_or(0)
    }

    pub fn json(&self) -> serde_json::Value {
        let (_, body) = self.text.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// The code of a JSON-RPC error.
    pub fn code(&self) -> i64 {
        self.json()["error"]["code"].as_i64().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
