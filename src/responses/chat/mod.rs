//! Chat Completions (OpenAI API, chat): a request of the Responses API in its words, and what it
//! answers as the events of a response. OpenAI, Ollama, llama.cpp and vLLM each speak it somewhat
//! differently: what is sent is what all of them take, what comes is read with leniency.

mod answer;
mod calls;
mod kind;
mod messages;
mod request;

use futures::stream::{self, StreamExt};
use serde_json::{Map, Value};

use super::EventStream;
use super::error::Error;
use super::sse::{self, Frames};
use crate::budget::Held;
use answer::Answer;

pub use request::{Limit, body};

/// Reads the chunks of a streamed completion: the events of its items, and the one that ends the
/// response. It may have `max_items`, and `held` is what has come of the one that is not done.
///
/// It ends with `[DONE]`, and without it once a `finish_reason` came. When the bytes end before,
/// the last item is [`Error::Truncated`].
pub fn events(frames: Frames, max_items: usize, held: Held) -> EventStream {
    let reading = (frames, Answer::up_to(max_items), held);
    stream::unfold(Some(reading), |reading| async move {
        let (mut frames, mut answer, mut held) = reading?;
        let is_over = match read(&mut frames, &mut answer, &mut held).await {
            Ok(is_over) => is_over,
            Err(error) => return Some((vec![Err(error)], None)),
        };
        let told = answer.events().map(Ok).collect();
        Some((told, (!is_over).then_some((frames, answer, held))))
    })
    .flat_map(stream::iter)
    .boxed()
}

/// Reads a chunk; returns whether it was the last.
async fn read(frames: &mut Frames, answer: &mut Answer, held: &mut Held) -> Result<bool, Error> {
    let data = if answer.is_finished() {
        frames.next_if_any().await
    } else {
        Some(frames.next().await?.ok_or(Error::Truncated)?)
    };
    match data.filter(|data| !sse::is_done(data)) {
        Some(data) => {
            let is_over = answer.take(&sse::object(&data)?)?;
            held.resize(answer.size() as u64)?;
            Ok(is_over)
        }
        None => {
            answer.end();
            Ok(true)
        }
    }
}

/// Reads a completion that was not streamed, in the same events; nothing if it is none.
pub fn whole(
    completion: &Map<String, Value>,
    max_items: usize,
) -> Option<Result<EventStream, Error>> {
    let is_completion = completion.get("choices").is_some_and(Value::is_array);
    if !is_completion && !completion.contains_key("error") {
        return None;
    }
    let mut answer = Answer::up_to(max_items);
    // Some proxies answer with an error and HTTP 200.
    match answer.take(completion) {
        Ok(true) => {}
        Ok(false) => answer.end(),
        Err(error) => return Some(Err(error)),
    }
    Some(Ok(stream::iter(answer.events().map(Ok)).boxed()))
}
