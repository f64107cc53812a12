//! What of an answer is recorded, and how a recording ends.

use super::Ui;
use crate::record::{Direction, Recorder};

impl Ui {
    /// From now on, messages are recorded.
    pub fn set_recorder(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
    }

    /// What records messages, if any are.
    pub fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// Ends the recording, and says what is wrong with it.
    pub fn end_recording(&mut self) {
        match self.recorder.take().map(|it| it.finish()) {
            None | Some(Ok(0)) => {}
            Some(Ok(missing)) => self.note(&format!(
                "{missing} messages are not in the recording: they came faster than the disk took them"
            )),
            Some(Err(error)) => self.note(&format!("the recording is not whole: {error}")),
        }
    }

    /// Records the request that an answer is waited for.
    pub fn record_request(&self, request: &impl serde::Serialize) {
        let text = self.recorder.as_ref().map(|_| serde_json::to_vec(request));
        if let (Some(recorder), Some(Ok(text))) = (&self.recorder, text) {
            recorder.record_body(Direction::Out, "model", text);
        }
    }
}
