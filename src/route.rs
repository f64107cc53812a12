//! `Route`: over HTTP, or the engine in this process.

use crate::engine::Engine;
use crate::responses::{Client, CreateResponse, Error, EventStream};

/// Who answers a `responses.create` request.
pub enum Route {
    /// An endpoint of the Responses API: OpenAI, or a server that speaks like it.
    Http(Client),
    /// The engine, without a network between.
    InProcess(Engine),
}

impl Route {
    /// Sends the request and returns the events of the answer.
    pub async fn create_stream(&self, request: &CreateResponse) -> Result<EventStream, Error> {
        match self {
            Self::Http(client) => client.create_stream(request).await,
            Self::InProcess(engine) => engine.create_stream(request.clone()).await,
        }
    }

    /// Ends what is connected on this machine.
    pub async fn close(&self) {
        match self {
            Self::Http(_) => {}
            Self::InProcess(engine) => engine.close().await,
        }
    }
}
