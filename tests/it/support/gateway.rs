//! `Gateway`: a running `mcp-cli gateway`, and requests to it.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::serving::Reply;
use super::{McpCli, Serving, assert_is_event, assert_is_response};

/// A running gateway that lets everybody in, ended with the test.
pub struct Gateway {
    pub serving: Serving,
}

impl Gateway {
    pub fn start(args: &[&str]) -> Self {
        let cli = McpCli::new(&["gateway", "-p", "0", "--no-auth"]).args(args);
        Self {
            serving: Serving::start(cli),
        }
    }

    /// The gateway with a script as its model.
    pub fn playing(steps: &Value) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(steps.to_string().as_bytes()).unwrap();
        Self::start(&["--model", &format!("script:{}", file.path().display())])
    }

    /// `METHOD PATH` below `/v1`, without a body.
    pub fn send(&self, method: &str, path: &str) -> Reply {
        self.serving
            .send(&format!("{method} /v1{path} HTTP/1.1"), b"")
    }

    /// `POST /v1/PATH` with a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> Reply {
        let head = format!("POST /v1{path} HTTP/1.1\ncontent-type: application/json");
        self.serving.send(&head, body.to_string().as_bytes())
    }

    /// The response to a request, which is as the API's schema says.
    pub fn create(&self, request: &Value) -> Value {
        let reply = self.post("/responses", request);
        assert_eq!(reply.status(), 200, "{}", reply.text);
        let response = reply.json();
        assert_is_response(&response);
        response
    }

    /// The response of that id.
    pub fn retrieve(&self, id: &Value) -> Value {
        let reply = self.send("GET", &format!("/responses/{}", id.as_str().unwrap()));
        assert_eq!(reply.status(), 200, "{}", reply.text);
        let response = reply.json();
        assert_is_response(&response);
        response
    }

    /// The events of the answer to a request, as they come.
    pub fn stream(&self, request: &Value) -> Events {
        let body = request.to_string();
        let head = format!(
            "POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        Events::read(&self.serving, &[head.as_bytes(), body.as_bytes()].concat())
    }

    /// The status of the refusal to stream a response again.
    pub fn stream_refused(&self, id: &Value) -> u16 {
        let path = format!("/responses/{}?stream=true", id.as_str().unwrap());
        self.send("GET", &path).status()
    }

    /// The events of a response behind that number.
    pub fn stream_again(&self, id: &Value, starting_after: u64) -> Events {
        let id = id.as_str().unwrap();
        let head = format!(
            "GET /v1/responses/{id}?stream=true&starting_after={starting_after} HTTP/1.1\r\n\
             host: localhost\r\nconnection: close\r\n\r\n"
        );
        Events::read(&self.serving, head.as_bytes())
    }
}

/// The events of a stream, each as the API's schema says. A chunk of the body has whole events.
pub struct Events {
    stream: BufReader<TcpStream>,
    /// Those of a chunk that were not read yet.
    frames: VecDeque<String>,
}

impl Events {
    fn read(serving: &Serving, request: &[u8]) -> Self {
        let mut stream = serving.connect();
        stream.write_all(request).unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(stream.read_line(&mut head).unwrap(), 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(
            head.contains("content-type: text/event-stream; charset=utf-8\r\n"),
            "{head}"
        );
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        let frames = VecDeque::new();
        Self { stream, frames }
    }

    /// Reads on until an event of that type, which is returned.
    pub fn until(&mut self, kind: &str) -> Value {
        let mut seen = Vec::new();
        for event in self.by_ref() {
            if event["type"] == kind {
                return event;
            }
            seen.push(event["type"].clone());
        }
        panic!("no {kind} among {seen:?}");
    }

    fn chunk(&mut self) -> Option<String> {
        let mut size = String::new();
        self.stream.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).unwrap();
        chunk.truncate(size);
        (size > 0).then(|| String::from_utf8(chunk).unwrap())
    }
}

impl Iterator for Events {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        if self.frames.is_empty() {
            let chunk = self.chunk()?;
            let frames = chunk.strip_suffix("\n\n").unwrap().split("\n\n");
            self.frames.extend(frames.map(str::to_owned));
        }
        let frame = self.frames.pop_front().unwrap();
        let (event, rest) = frame.split_once('\n').unwrap();
        let data = rest.strip_prefix("data: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(event.strip_prefix("event: "), data["type"].as_str());
        assert_is_event(&data);
        Some(data)
    }
}
