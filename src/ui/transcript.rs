//! One event to what a person reads of it.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::failure;
use super::sanitize::{name, one_line, tool_name};
use crate::responses::{Event, EventKind, Item, McpCall, McpListTools, Response};

/// What an event shows.
#[derive(Debug, PartialEq, Eq)]
pub enum Shown {
    /// A part of the answer.
    Text(String),
    /// The model will not answer, and says why.
    Refusal(String),
    /// A step on the way: one line.
    Step(String),
    /// What is waited for from now on.
    Waiting(String),
}

/// The items that were shown: a stream can mention each of them several times.
#[derive(Default)]
pub struct Transcript {
    started: HashMap<usize, Instant>,
    done: HashSet<usize>,
    /// Messages of which some text was shown.
    has_text: HashSet<usize>,
    /// The message that was written last, while its line is not ended.
    open_line: Option<usize>,
}

impl Transcript {
    pub fn show(&mut self, event: &Event) -> Vec<Shown> {
        match event.kind() {
            EventKind::OutputItemAdded { output_index, item } => {
                self.started.insert(*output_index, Instant::now());
                waiting(item).into_iter().collect()
            }
            EventKind::OutputTextDelta {
                output_index,
                delta,
                ..
            } => self.text(*output_index, delta),
            EventKind::OutputItemDone { output_index, item } => self.item(*output_index, item),
            EventKind::Completed { response }
            | EventKind::Failed { response }
            | EventKind::Incomplete { response } => {
                let shown = self.rest(response);
                // The next response counts its items from zero.
                *self = Self::default();
                shown
            }
            _ => Vec::new(),
        }
    }

    /// Whether the output is in the middle of a line; the caller then ends it.
    pub fn end_line(&mut self) -> bool {
        self.open_line.take().is_some()
    }

    /// What the stream did not tell item by item, and the last line end.
    fn rest(&mut self, response: &Response) -> Vec<Shown> {
        let mut shown = Vec::new();
        for (output_index, item) in response.output().iter().enumerate() {
            shown.extend(self.item(output_index, item));
        }
        if self.open_line.is_some() {
            shown.push(Shown::Text("\n".to_owned()));
        }
        shown
    }

    fn item(&mut self, output_index: usize, item: &Item) -> Vec<Shown> {
        if !self.done.insert(output_index) {
            return Vec::new();
        }
        let took = self.started.get(&output_index).map(Instant::elapsed);
        match item {
            Item::McpListTools(list) => vec![Shown::Step(listed(list, took)), for_the_model()],
            Item::McpCall(call) => {
                let hint = call.error.as_ref().and_then(failure::hint_of_call);
                let hint = hint.map(|hint| Shown::Step(format!("  hint: {hint}")));
                [Shown::Step(called(call, took))]
                    .into_iter()
                    .chain(hint)
                    .chain([for_the_model()])
                    .collect()
            }
            Item::Message(message) => {
                let mut shown = Vec::new();
                if !self.has_text.contains(&output_index) {
                    shown.extend(self.text(output_index, &message.text()));
                }
                shown.extend(message.refusal().map(Shown::Refusal));
                shown
            }
            Item::Other(fields) => other(fields, took).map(Shown::Step).into_iter().collect(),
            // The decision is shown by `decided`.
            Item::McpApprovalRequest(_) | Item::McpApprovalResponse(_) => Vec::new(),
        }
    }

    /// A part of a message. Each message begins on a line of its own.
    fn text(&mut self, output_index: usize, text: &str) -> Vec<Shown> {
        let Some(last) = text.chars().next_back() else {
            return Vec::new();
        };
        let follows_another = self.open_line.is_some_and(|open| open != output_index);
        self.has_text.insert(output_index);
        self.open_line = (last != '\n').then_some(output_index);
        let line_end = follows_another.then(|| Shown::Text("\n".to_owned()));
        let text = Shown::Text(text.to_owned());
        line_end.into_iter().chain([text]).collect()
    }
}

fn waiting(item: &Item) -> Option<Shown> {
    match item {
        Item::McpListTools(list) => Some(Shown::Waiting(format!(
            "listing the tools of {}",
            name(&list.server_label)
        ))),
        Item::McpCall(call) => Some(Shown::Waiting(format!(
            "calling {}",
            tool_name(&call.server_label, &call.name)
        ))),
        _ => Some(for_the_model()),
    }
}

fn for_the_model() -> Shown {
    Shown::Waiting("waiting for the model".to_owned())
}

fn listed(list: &McpListTools, took: Option<Duration>) -> String {
    let label = name(&list.server_label);
    let took = Took(took);
    if let Some(error) = &list.error {
        return format!("{label} gave no list of tools: {}{took}", one_line(error));
    }
    let names: Vec<_> = list.tools.iter().map(|tool| name(&tool.name)).collect();
    match names.as_slice() {
        [] => format!("{label} offers no tools{took}"),
        names => format!("{label} offers {}{took}", names.join(", ")),
    }
}

fn called(call: &McpCall, took: Option<Duration>) -> String {
    let tool = tool_name(&call.server_label, &call.name);
    let arguments = one_line(&call.arguments);
    let took = Took(took);
    match (&call.error, &call.output) {
        (Some(error), _) => {
            let error = one_line(&error.text());
            format!("{tool} {arguments} failed: {error}{took}")
        }
        (None, Some(output)) => {
            // The emoji selector is invisible on a terminal, where it would appear as an escape.
            let output = match output.contains('\u{fe0f}') {
                true => one_line(&output.replace('\u{fe0f}', "")),
                false => one_line(output),
            };
            format!("{tool} {arguments} -> {output}{took}")
        }
        (None, None) => format!("{tool} {arguments}{took}"),
    }
}

/// An item that this program does not know, by its type, such as `reasoning`.
fn other(fields: &Map<String, Value>, took: Option<Duration>) -> Option<String> {
    let text = |field: &str| fields.get(field).and_then(Value::as_str);
    let item = match (text("type")?, text("status")) {
        (item_type, Some(status)) if status != "completed" => format!("{item_type} {status}"),
        (item_type, _) => item_type.to_owned(),
    };
    Some(format!("{}{}", one_line(&item), Took(took)))
}

/// ` (1.2 ms)`, or nothing where the time is not known.
struct Took(Option<Duration>);

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(it) if it < Duration::from_secs(1) => {
                write!(f, " ({:.1} ms)", it.as_secs_f64() * 1000.0)
            }
            Some(it) => write!(f, " ({:.1} s)", it.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(body: &[u8]) -> Vec<Event> {
        String::from_utf8_lossy(body)
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| Event::read(&serde_json::from_str::<Map<String, Value>>(data).unwrap()))
            .collect()
    }

    /// The text of each message, on lines of its own.
    fn texts(response: &Response) -> String {
        let output = response.output();
        let messages = output.iter().filter_map(|item| match &**item {
            Item::Message(message) => Some(message.text()),
            _ => None,
        });
        messages.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_recorded_stream_shows_the_text_of_its_response_and_each_step_once() {
        for (name, body) in crate::responses::fixtures("sse") {
            let events = events(&body);
            let Some(EventKind::Completed { response }) = events.last().map(Event::kind) else {
                panic!("{name} does not end in a completed response");
            };
            let mut transcript = Transcript::default();
            let shown: Vec<Shown> = events.iter().flat_map(|it| transcript.show(it)).collect();

            let text: String = shown
                .iter()
                .filter_map(|it| match it {
                    Shown::Text(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect();
            assert_eq!(text.trim_end(), texts(response).trim_end(), "{name}");
            assert!(text.ends_with('\n'), "{name}");

            let steps = shown
                .iter()
                .filter(|it| matches!(it, Shown::Step(step) if !step.contains("hint: ")))
                .count();
            let expected = response
                .output()
                .iter()
                .filter(|item| !matches!(***item, Item::Message(_) | Item::McpApprovalRequest(_)))
                .count();
            assert_eq!(steps, expected, "{name}");
        }
    }

    #[test]
    fn a_response_that_was_not_streamed_shows_the_same() {
        for (name, body) in crate::responses::fixtures("response.json") {
            let object: Map<String, Value> = serde_json::from_slice(&body).unwrap();
            let response = Response::read(object).unwrap();
            let text = texts(&response);
            let shown = Transcript::default().show(&Event::whole(response));
            let shown: String = shown
                .iter()
                .filter_map(|it| match it {
                    Shown::Text(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect();
            assert_eq!(shown.trim_end(), text.trim_end(), "{name}");
        }
    }

    #[test]
    fn a_failed_call_shows_why() {
        let (_, body) =
            crate::responses::fixtures("dotnet-MCPToolStreamingWorksAsync.1.sse").remove(0);
        let mut transcript = Transcript::default();
        let steps: Vec<Shown> = events(&body)
            .iter()
            .flat_map(|event| transcript.show(event))
            .filter(|shown| matches!(shown, Shown::Step(step) if step.contains("failed")))
            .collect();
        let [Shown::Step(step)] = &steps[..] else {
            panic!("not one failed step: {steps:?}");
        };
        assert!(
            step.contains("failed: no answer from the MCP server"),
            "{step}"
        );
    }
}
