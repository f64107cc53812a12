//! What goes over connections to MCP servers, on stderr: a line each, and with `-vv` the messages.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::sanitize::{brief_line, one_line};
use super::{DIM, ERROR};
use crate::mcp::{Wire, WireEvent};
use crate::record::{Direction, Line, Recorder};

/// How many characters of a message are shown.
const MAX_FRAME: usize = 2000;

/// Records what went over the wire: a request and its answer are two messages.
pub fn record(wire: &Wire, recorder: &Recorder) {
    let keep = |direction, body: &str, time: SystemTime, took: Option<Duration>| {
        let (server, transport, body) = (wire.server.clone(), wire.transport, body.to_owned());
        recorder.record(body.len(), move || {
            let mut line = Line::new(time, direction, &server, transport, body.as_bytes());
            line.took_ms = took.map(|it| it.as_secs_f64() * 1000.0);
            line
        });
    };
    let now = SystemTime::now();
    match &wire.event {
        WireEvent::Notification(text) => keep(Direction::In, text, now, None),
        WireEvent::Exchange {
            request,
            answer,
            took,
            ..
        } => {
            let sent = now.checked_sub(*took).unwrap_or(SystemTime::UNIX_EPOCH);
            keep(Direction::Out, request, sent, None);
            let (Ok(text) | Err(text)) = answer;
            keep(Direction::In, text, now, Some(*took));
        }
    }
}

/// What a person is told of `wire`, given how often `-v` was said: lines, and what is waited for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub lines: Vec<String>,
    pub progress: Option<String>,
}

/// `http://127.0.0.1:8000/mcp  tools/call roll_dice  113 bytes  result of 129 bytes  1.3 ms`; without
/// `-v` the log of the server and its progress alone.
pub fn told(wire: &Wire, verbose: u8) -> Told {
    let server = one_line(&wire.server);
    match &wire.event {
        WireEvent::Exchange {
            method,
            tool,
            request,
            answer,
            took,
        } => {
            if verbose == 0 {
                return Told::default();
            }
            let name = tool.as_deref();
            let name = name.map_or(String::new(), |name| format!(" {}", one_line(name)));
            let took = format!("{:.1} ms", took.as_secs_f64() * 1000.0);
            let line = format!(
                "{DIM}{server}{DIM:#}  {method}{name}  {} bytes  {}  {DIM}{took}{DIM:#}",
                request.len(),
                outcome(answer)
            );
            let mut lines = vec![line];
            if verbose > 1 {
                lines.push(frame('>', request));
                lines.extend(answer.as_ref().ok().map(|answer| frame('<', answer)));
            }
            Told {
                lines,
                progress: None,
            }
        }
        WireEvent::Notification(text) => notification(&server, text, verbose),
    }
}

fn outcome(answer: &Result<String, String>) -> String {
    let text = match answer {
        Ok(text) => text,
        Err(why) => return format!("{ERROR}{}{ERROR:#}", brief_line(why)),
    };
    let message: Value = serde_json::from_str(text).unwrap_or_default();
    match message.get("error") {
        Some(error) => {
            let code = one_line(&error["code"].to_string());
            let words = brief_line(error["message"].as_str().unwrap_or_default());
            format!("{ERROR}error {code}{ERROR:#}: {words}")
        }
        None if message["result"]["isError"] == true => {
            format!("{ERROR}tool error{ERROR:#} of {} bytes", text.len())
        }
        None => format!("result of {} bytes", text.len()),
    }
}

fn notification(server: &str, text: &str, verbose: u8) -> Told {
    let message: Value = serde_json::from_str(text).unwrap_or_default();
    let params = &message["params"];
    let method = message["method"].as_str().unwrap_or_default();
    let mut told = Told::default();
    match method {
        "notifications/message" => {
            let data = match &params["data"] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let level = one_line(params["level"].as_str().unwrap_or("info"));
            let data = brief_line(&data);
            told.lines
                .push(format!("{DIM}{server}{DIM:#} {level}: {data}"));
        }
        "notifications/progress" => {
            let of_total = params["total"].as_f64().map(|total| format!(" of {total}"));
            let words = params["message"]
                .as_str()
                .map(|it| format!(": {}", one_line(it)));
            told.progress = Some(format!(
                "{server}: {}{}{}",
                one_line(&params["progress"].to_string()),
                of_total.unwrap_or_default(),
                words.unwrap_or_default()
            ));
        }
        _ => {}
    }
    if verbose > 0 && told.lines.is_empty() {
        told.lines
            .push(format!("{DIM}{server}{DIM:#}  {}", one_line(method)));
    }
    if verbose > 1 {
        told.lines.push(frame('<', text));
    }
    told
}

fn frame(direction: char, text: &str) -> String {
    let line = one_line(text);
    match line.char_indices().nth(MAX_FRAME) {
        Some((end, _)) => format!("{direction} {}... ({} bytes)", &line[..end], text.len()),
        None => format!("{direction} {line}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plain(event: WireEvent, verbose: u8) -> (String, Option<String>) {
        let server = "http://127.0.0.1:8000/mcp".to_owned();
        let told = told(
            &Wire {
                server,
                transport: "http",
                event,
            },
            verbose,
        );
        let lines = anstream::adapter::strip_str(&told.lines.join("\n")).to_string();
        (lines, told.progress)
    }

    fn exchange(answer: Result<Value, &str>) -> WireEvent {
        let request = json!({"params": {"name": "roll\u{1b}[2J"}}).to_string();
        let answer = answer.map(|it| it.to_string()).map_err(str::to_owned);
        WireEvent::exchange("tools/call", request, answer, Duration::from_micros(1300))
    }

    #[test]
    fn an_exchange_is_a_line_and_its_messages_with_more() {
        let (line, _) = plain(exchange(Ok(json!({"result": {}}))), 1);
        assert_eq!(
            line,
            r"http://127.0.0.1:8000/mcp  tools/call roll\u{1b}[2J  35 bytes  result of 13 bytes  1.3 ms"
        );
        for (answer, words) in [
            (
                Ok(json!({"error": {"code": -32601, "message": "no"}})),
                "error -32601: no",
            ),
            (
                Ok(json!({"result": {"isError": true}})),
                "tool error of 27 bytes",
            ),
            (Err("the MCP server answered HTTP 405"), "answered HTTP 405"),
        ] {
            let (line, _) = plain(exchange(answer), 1);
            assert!(line.contains(words) && !line.contains('\n'), "{line}");
        }
        let (lines, _) = plain(exchange(Ok(json!({"result": {"x": "y".repeat(3000)}}))), 2);
        let lines: Vec<&str> = lines.lines().collect();
        assert!(lines[1].starts_with(r#"> {"params""#), "{lines:?}");
        assert!(lines[2].ends_with("y... (3019 bytes)"), "{lines:?}");
        assert_eq!(plain(exchange(Err("x")), 0), (String::new(), None));
    }

    #[test]
    fn the_log_and_the_progress_of_a_server_are_told_without_asking() {
        let notification = |method: &str, params: Value| {
            let text = json!({"method": method, "params": params}).to_string();
            plain(WireEvent::Notification(text), 0)
        };
        let log = json!({"level": "warning", "data": "disk\nfull"});
        let (line, _) = notification("notifications/message", log);
        assert_eq!(line, r"http://127.0.0.1:8000/mcp warning: disk\nfull");
        let params = json!({"progress": 2, "total": 5, "message": "reading"});
        let (line, progress) = notification("notifications/progress", params);
        assert_eq!(line, "");
        assert_eq!(
            progress.unwrap(),
            "http://127.0.0.1:8000/mcp: 2 of 5: reading"
        );
        assert_eq!(
            notification("notifications/x", json!({})),
            (String::new(), None)
        );
    }
}
