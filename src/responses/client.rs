//! `Client`: sends a request to an endpoint of the Responses API and reads the answer.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::stream::{self, StreamExt};
use serde_json::Value;
use url::Url;

use super::EventStream;
use super::chat::{self, Limit};
use super::conversation::{asks_for_reasoning, leave_reasoning_out};
use super::error::Error;
use super::event::Event;
use super::limits::{Limits, check_output};
use super::request::CreateResponse;
use super::response::Response;
use super::retry::{OnRetry, Retries};
use super::sse;
use super::transport::{Answer, Transport, below};
use crate::budget::Held;
use crate::secret::Secret;

const RESPONSES: &str = "responses";
const CHAT_COMPLETIONS: &str = "chat/completions";
const MODELS: &str = "models";
/// Of how many models it is remembered what they do not take.
const MOST_MODELS: usize = 256;

/// An endpoint of the Responses API, or of Chat Completions.
pub struct Client {
    transport: Box<Transport>,
    /// The models that were found to have no reasoning which could be sent again.
    without_reasoning: Models,
    /// The models that were found to take no `max_tokens`.
    without_max_tokens: Models,
}

/// Some models of an endpoint, by what a request names.
#[derive(Default)]
struct Models(Mutex<HashSet<Option<String>>>);

impl Models {
    fn contain(&self, request: &CreateResponse) -> bool {
        self.lock().contains(&request.model)
    }

    fn add(&self, request: &CreateResponse) {
        let mut models = self.lock();
        if models.len() < MOST_MODELS {
            models.insert(request.model.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Option<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where requests go: `/responses` below the base URL.
pub fn endpoint(base_url: &Url) -> Url {
    below(base_url, RESPONSES)
}

impl Client {
    /// A client for `base_url`, such as `https://api.openai.com/v1`, with or without a slash at
    /// its end. Redirects are not followed: a key must not reach a host that the user did not name.
    pub fn new(
        base_url: &Url,
        api_key: &Secret,
        limits: Limits,
        retries: Retries,
        on_retry: OnRetry,
    ) -> Result<Self, Error> {
        Ok(Self {
            transport: Box::new(Transport::new(
                base_url, api_key, limits, retries, on_retry,
            )?),
            without_reasoning: Models::default(),
            without_max_tokens: Models::default(),
        })
    }

    /// How much an answer may bring.
    pub fn limits(&self) -> &Limits {
        self.transport.limits()
    }

    /// `POST /responses`. A response that is not streamed comes as a stream of one event.
    ///
    /// A failure before anything can have run is tried again ([`Retries`]). So is a request that
    /// asks a model without reasoning for some, or has the reasoning of another: without it.
    pub async fn create_stream(&self, request: &CreateResponse) -> Result<EventStream, Error> {
        let mut request = Cow::Borrowed(request);
        if self.without_reasoning.contain(&request) && asks_for_reasoning(&request) {
            leave_reasoning_out(request.to_mut());
        }
        let answer = match self.transport.post(RESPONSES, &request).await {
            Err(error) if is_about_reasoning(&error) && asks_for_reasoning(&request) => {
                self.without_reasoning.add(&request);
                leave_reasoning_out(request.to_mut());
                self.transport.post(RESPONSES, &request).await?
            }
            answer => answer?,
        };
        match answer {
            Answer::Streamed(frames) => Ok(sse::events(frames, self.limits().max_items)),
            Answer::Whole(whole) => {
                let (response, held) = whole.read(Response::read)?;
                check_output(response.output_as_it_came(), self.limits().max_items)?;
                let events = stream::iter([Ok(Event::whole(response))]);
                Ok(holding(held, events.boxed()))
            }
        }
    }

    /// `GET /models`: the models, as they are listed.
    pub async fn models(&self) -> Result<Vec<Value>, Error> {
        match self.transport.get(MODELS).await? {
            Answer::Whole(whole) => {
                let models = whole.read(|mut list| match list.remove("data") {
                    Some(Value::Array(models)) => Some(models),
                    _ => None,
                });
                models.map(|(models, _)| models)
            }
            Answer::Streamed(_) => Err(Error::Truncated),
        }
    }

    /// `POST /chat/completions` with what `request` asks, where it can be said there; no `mcp` tool
    /// can. What is answered comes as the events of a response.
    ///
    /// A failure before anything can have run is tried again ([`Retries`]). So is a request with
    /// `max_tokens` to a model that takes only `max_completion_tokens`.
    pub async fn create_chat_stream(&self, request: &CreateResponse) -> Result<EventStream, Error> {
        let ask = async |limit| {
            let body = chat::body(request, limit);
            self.transport.post(CHAT_COMPLETIONS, &body).await
        };
        let answer = if self.without_max_tokens.contain(request) {
            ask(Limit::MaxCompletionTokens).await?
        } else {
            match ask(Limit::MaxTokens).await {
                Err(error) if is_about_max_tokens(&error) => {
                    self.without_max_tokens.add(request);
                    ask(Limit::MaxCompletionTokens).await?
                }
                answer => answer?,
            }
        };
        let max_items = self.limits().max_items;
        match answer {
            Answer::Streamed(frames) => {
                let held = self.limits().budget.empty();
                Ok(chat::events(frames, max_items, held))
            }
            Answer::Whole(whole) => {
                let (events, held) = whole.read(|it| chat::whole(&it, max_items))?;
                Ok(holding(held, events?))
            }
        }
    }
}

/// The events, and their share of the budget for as long as they are read.
fn holding(held: Held, events: EventStream) -> EventStream {
    let events = events.map(move |event| {
        let _ = &held;
        event
    });
    events.boxed()
}

/// Whether the API refuses to give reasoning, as for a model without any, or to take what another
/// model or account gave.
fn is_about_reasoning(error: &Error) -> bool {
    matches!(error, Error::Refused { status: 400, error, .. }
        if error.param.as_deref() == Some("include")
            || error.code.as_deref() == Some("invalid_encrypted_content"))
}

/// Whether a model refuses `max_tokens` by that name, as those of OpenAI that reason do.
fn is_about_max_tokens(error: &Error) -> bool {
    matches!(error, Error::Refused { status: 400, error, .. }
        if error.param.as_deref() == Some(Limit::MaxTokens.name())
            && error.code.as_deref() == Some("unsupported_parameter"))
}
