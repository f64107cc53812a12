//! A step of a script while it is played.

use std::time::Duration;

use super::step::{End, ScriptStep, incomplete};
use crate::engine::emit::Emitter;
use crate::engine::model::ToolCall;
use crate::responses::{Error, Status};

/// A step that is ready to be played: whom its calls go to is known.
pub struct Playing<'a> {
    pub step: &'a ScriptStep,
    pub calls: Vec<ToolCall>,
}

impl Playing<'_> {
    /// Plays it: what the step says goes out through `emitter`, and its calls are returned. A step
    /// with another end returns the error that the answer ends with.
    pub async fn play(self, emitter: &mut Emitter) -> Result<Vec<ToolCall>, Error> {
        let Self { step, calls } = self;
        // A refusal has an HTTP status only as long as nothing was said.
        if !matches!(step.end, End::Refuse(_)) {
            emitter.begin().await;
        }
        wait(step.delay).await;
        if let Some(event) = &step.event {
            emitter.event(event.clone()).await;
        }
        if let Some(summary) = &step.reasoning {
            emitter.reasoning(summary).await;
        }
        if let Some(item) = &step.item {
            emitter.whole(item.clone()).await;
        }
        if let Some(say) = &step.say {
            let pieces = say.as_slice();
            let open = emitter.text_started().await;
            for (index, piece) in pieces.iter().enumerate() {
                if index > 0 {
                    wait(step.pause).await;
                }
                emitter.text_delta(&open, 0, piece).await;
            }
            // An answer that breaks off does so in the middle of what it says.
            let status = match &step.end {
                End::Fail(_) | End::Cut => None,
                End::Incomplete(_) => Some(Status::Incomplete),
                End::Calls(_) | End::Refuse(_) => Some(Status::Completed),
            };
            if let Some(status) = status {
                emitter.text_ended(&open, pieces.concat(), status).await;
            }
        }
        match &step.end {
            End::Calls(_) => Ok(calls),
            End::Fail(failure) => Err(failure.into()),
            End::Refuse(refusal) => Err(refusal.into()),
            End::Incomplete(reason) => Err(incomplete(reason)),
            End::Cut => {
                emitter.cut();
                Err(Error::Truncated)
            }
        }
    }
}

async fn wait(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}
