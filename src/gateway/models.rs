//! `GET /v1/models`: who answers.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Gateway;
use super::refusal::Refusal;
use super::stored::Id;
use crate::engine::model::Model;
use crate::responses::Error;

/// `GET /v1/models` (OpenAI API, list models).
pub async fn list(State(gateway): State<Gateway>) -> Result<Response, Refusal> {
    let models = json!({"object": "list", "data": models(&gateway).await?});
    Ok(Json(models).into_response())
}

/// `GET /v1/models/{id}` (OpenAI API, retrieve model).
pub async fn retrieve(State(gateway): State<Gateway>, Id(id): Id) -> Result<Response, Refusal> {
    let models = models(&gateway).await?;
    let model = models.into_iter().find(|model| model["id"] == id.as_str());
    let not_found = || Error::not_found(Some("model"), format!("The model '{id}' does not exist."));
    Ok(Json(model.ok_or_else(not_found)?).into_response())
}

async fn models(gateway: &Gateway) -> Result<Vec<Value>, Error> {
    match gateway.engine.model() {
        Model::Upstream(upstream) => upstream.models().await,
        model @ (Model::Rules | Model::Script(_)) => Ok(vec![json!({
            "id": model.name(),
            "object": "model",
            "created": 0,
            "owned_by": "mcp-cli",
        })]),
    }
}
