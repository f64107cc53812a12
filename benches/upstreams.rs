//! Servers behind `serve` that take no time of their own, and the pace at which one over stdio answers directly.
//! Usage: upstreams stdio|http|drive SECONDS IN_FLIGHT COMMAND...
//!
//! Each knows `initialize` alone and answers any other request with what a roll of three dice takes. `http` listens
//! with axum and prints where. `drive` starts COMMAND, keeps so many calls in flight, and prints calls a second and the
//! median time of one in microseconds (`benches/relay.py`).

use std::collections::HashMap;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt;
use serde::Deserialize;
use serde_json::value::RawValue;

const RESULT: &str = r#"{"content":[{"type":"text","text":"[3,1,1]"}],"structuredContent":{"result":[3,1,1]},"isError":false}"#;
const INITIALIZED: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"reference","version":"1"}}"#;

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<&'a str>,
}

/// The answer to a message, if it has one.
fn answer(message: &[u8]) -> Option<String> {
    let request: Request = serde_json::from_slice(message).ok()?;
    let id = request.id?.get();
    let outcome = match request.method? {
        "initialize" => format!(r#""result":{INITIALIZED}"#),
        "server/discover" => r#""error":{"code":-32601,"message":"unknown"}"#.to_owned(),
        _ => format!(r#""result":{RESULT}"#),
    };
    Some(format!(r#"{{"jsonrpc":"2.0","id":{id},{outcome}}}"#))
}

fn stdio() -> std::io::Result<()> {
    let mut input = BufReader::with_capacity(64 * 1024, std::io::stdin().lock());
    let mut output = BufWriter::with_capacity(64 * 1024, std::io::stdout().lock());
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        if let Some(answer) = answer(&line) {
            output.write_all(answer.as_bytes())?;
            output.write_all(b"\n")?;
        }
        line.clear();
        if input.buffer().is_empty() {
            output.flush()?;
        }
    }
    Ok(())
}

async fn respond(body: Bytes) -> Response {
    match answer(&body) {
        Some(answer) => ([(CONTENT_TYPE, "application/json")], answer).into_response(),
        None => StatusCode::ACCEPTED.into_response(),
    }
}

#[tokio::main]
async fn http() -> std::io::Result<()> {
    // Bodies of megabytes pass too.
    let router = Router::new()
        .route("/mcp", post(respond))
        .layer(DefaultBodyLimit::disable());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    writeln!(std::io::stdout(), "listening on http://{address}/mcp")?;
    let listener = listener.tap_io(|connection| {
        let _ = connection.set_nodelay(true);
    });
    axum::serve(listener, router).await
}

fn drive(seconds: u64, in_flight: u64, command: &[String]) -> std::io::Result<()> {
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(std::io::ErrorKind::BrokenPipe.into());
    };
    let mut input = BufWriter::with_capacity(64 * 1024, input);
    let mut output = BufReader::with_capacity(64 * 1024, output);
    let mut line = String::new();
    writeln!(
        input,
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{{}},"clientInfo":{{"name":"drive","version":"1"}}}}}}"#
    )?;
    input.flush()?;
    output.read_line(&mut line)?;
    let mut sent = HashMap::new();
    let mut took = Vec::new();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut next = 1_u64;
    while Instant::now() < end {
        while (sent.len() as u64) < in_flight {
            writeln!(
                input,
                r#"{{"jsonrpc":"2.0","id":{next},"method":"tools/call","params":{{"name":"roll_dice","arguments":{{"n_dice":3}}}}}}"#
            )?;
            sent.insert(next, Instant::now());
            next += 1;
        }
        input.flush()?;
        // All that came at once is read at once.
        loop {
            line.clear();
            output.read_line(&mut line)?;
            let Request { id, .. } = serde_json::from_str(&line)?;
            let id = id.and_then(|id| id.get().parse().ok());
            let asked = id.and_then(|id| sent.remove(&id));
            took.extend(asked.map(|asked: Instant| asked.elapsed()));
            if output.buffer().is_empty() {
                break;
            }
        }
    }
    drop(input);
    child.wait()?;
    took.sort_unstable();
    let rate = took.len() as u64 / seconds;
    let median = took[took.len() / 2].as_nanos() as f64 / 1000.0;
    writeln!(std::io::stdout(), "{rate} {median:.1}")
}

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["stdio"] => stdio(),
        ["http"] => http(),
        ["drive", seconds, in_flight, _, ..] => {
            let number = |text: &str| text.parse().map_err(std::io::Error::other);
            drive(number(seconds)?, number(in_flight)?, &arguments[3..])
        }
        _ => Err(std::io::Error::other(
            "usage: upstreams stdio|http|drive SECONDS IN_FLIGHT COMMAND...",
        )),
    }
}
