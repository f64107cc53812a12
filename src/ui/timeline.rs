//! A recording as a timeline: a line for each message.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::DIM;
use super::sanitize::{brief_line, one_line};
use crate::record::{Direction, Line, Recording};

/// How many characters of a message are shown.
const MAX_SHOWN: usize = 2000;

/// What a message says that tells it from others.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Message {
    method: Option<String>,
    params: Params,
    result: Option<serde::de::IgnoredAny>,
    error: Option<Failed>,
    /// Of an event of the Responses API.
    r#type: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Params {
    name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Failed {
    message: String,
}

/// The lines of a timeline. With `with_bodies`, each message follows its line.
pub fn lines(recording: &Recording, with_bodies: bool) -> Vec<String> {
    // A request is written when its answer came, and others may have come before that.
    let mut sorted: Vec<&Line> = recording.lines.iter().collect();
    sorted.sort_by_key(|it| time(it));
    let start = sorted.first().and_then(|it| time(it));
    let mut lines = Vec::new();
    for line in sorted {
        let since = time(line).zip(start).map(|(time, start)| {
            time.duration_since(start)
                .unwrap_or(Duration::ZERO)
                .as_secs_f64()
        });
        let since = since.map_or("?".to_owned(), |it| format!("{it:.3}"));
        lines.push(format!("{DIM}{since:>9}{DIM:#}  {}", told(line)));
        if let (true, Some(body)) = (with_bodies, &line.body) {
            let text: String = one_line(body.get()).chars().take(MAX_SHOWN).collect();
            let rest = body.get().len().saturating_sub(text.len());
            let rest = match rest {
                0 => String::new(),
                rest => format!("... ({rest} more bytes)"),
            };
            lines.push(format!("{:>9}    {text}{rest}", ""));
        }
    }
    lines
}

fn time(line: &Line) -> Option<SystemTime> {
    humantime::parse_rfc3339(&line.time).ok()
}

/// `<- client  POST /mcp  tools/call roll_dice  113 bytes  1.3 ms`
fn told(line: &Line) -> String {
    let arrow = match line.direction {
        Direction::In => "<-",
        Direction::Out => "->",
    };
    let mut parts = vec![format!("{arrow} {}", one_line(&line.peer))];
    parts.extend(line.http.as_deref().map(one_line));
    let body = line.body.as_ref().map_or("", |it| it.get());
    let message: Message = serde_json::from_str(body).unwrap_or_default();
    parts.extend(what(&message));
    let size = line.cut_from.unwrap_or(body.len());
    if size > 0 {
        parts.push(format!("{size} bytes"));
    }
    parts.extend(line.took_ms.map(|it| format!("{DIM}{it:.1} ms{DIM:#}")));
    parts.join("  ")
}

fn what(message: &Message) -> Option<String> {
    match message {
        Message {
            method: Some(method),
            params,
            ..
        } => {
            let name = params
                .name
                .as_deref()
                .map_or(String::new(), |it| format!(" {it}"));
            Some(one_line(&format!("{method}{name}")))
        }
        Message {
            error: Some(error), ..
        } => Some(format!("error: {}", brief_line(&error.message))),
        Message {
            result: Some(_), ..
        } => Some("result".to_owned()),
        Message {
            r#type: Some(kind), ..
        } => Some(one_line(kind)),
        _ => None,
    }
}
