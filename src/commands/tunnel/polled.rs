//! Polls OpenAI's Secure MCP Tunnel, and reports what happens.

use std::time::Duration;

use axum::Router;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Door;
use crate::error::Error;
use crate::tunnel::openai;
use crate::ui::Ui;

/// Polls OpenAI's tunnel for `router`, and says what a person may want to know.
///
/// # Errors
/// The client cannot start.
pub async fn poll(
    options: openai::Options,
    router: Router,
    door: &Door<'_>,
    stop: CancellationToken,
    ui: &mut Ui,
) -> Result<(), Error> {
    let id = options.tunnel_id.to_string();
    let (events, mut told) = mpsc::unbounded_channel();
    let on_event = move |event| {
        // Nobody listens when the verb has ended.
        let _ = events.send(event);
    };
    let polling = openai::run(options, router, door.path, on_event, stop);
    tokio::pin!(polling);
    loop {
        let event = tokio::select! {
            ended = &mut polling => return Ok(ended?),
            Some(event) = told.recv() => event,
        };
        tell_event(event, &id, door, ui);
    }
}

fn tell_event(event: openai::Event, id: &str, door: &Door<'_>, ui: &mut Ui) {
    match event {
        openai::Event::Connected => {
            ui.ready(&format!("connected to the tunnel {id}"));
            ui.banner(&door.to_paste("tunnel_id", id));
        }
        openai::Event::PollFailed { fault, retry_in } => {
            let remedy = fault.remedy().map_or(String::new(), |it| format!("; {it}"));
            let rounded = Duration::from_millis(retry_in.as_millis().try_into().unwrap_or(u64::MAX));
            let after = humantime::format_duration(rounded);
            ui.note(&format!(
                "the tunnel could not be polled: {fault}{remedy}; trying again in {after}"
            ));
        }
        openai::Event::Recovered { failures } => {
            ui.note(&format!("the tunnel is polled again, after {failures} failures"));
        }
        openai::Event::NoMetadata(fault) => {
            ui.note(&format!("the tunnel's name could not be read: {fault}"));
        }
        openai::Event::Unclaimed { .. } => ui.note(
            "the control plane waits for an answer no more: it came too late, or another client polls the same tunnel",
        ),
        openai::Event::PostFailed { fault, .. } => {
            ui.note(&format!("an answer could not be posted: {fault}"));
        }
        openai::Event::Started { .. } | openai::Event::Metadata(_) => {}
    }
}
