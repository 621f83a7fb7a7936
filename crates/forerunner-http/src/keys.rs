//! Make, list, rotate and revoke keys.

use std::time::Duration;

use actix_web::{HttpResponse, http::StatusCode, web};
use forerunner_core::{ApiKeyId, parse_duration};
use forerunner_service::auth::{Made, NewApiKey, OVERLAP};
use serde::{Deserialize, Deserializer, de};
use utoipa::ToSchema;

use crate::{
    api::Api,
    body::JsonBody,
    error::Problem,
    json,
    schema::DurationText,
    views::{ApiKeysView, MadeView},
};

type Answer = Result<HttpResponse, Problem>;

/// How a key is rotated.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// How long the old key counts beside the new one; 7 days by default.
    #[serde(default, deserialize_with = "duration")]
    #[schema(value_type = Option<DurationText>)]
    overlap: Option<Duration>,
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text: Option<String> = Deserialize::deserialize(deserializer)?;
    text.map(|text| parse_duration(&text).map_err(de::Error::custom)).transpose()
}

pub(crate) async fn list(api: Api) -> Answer {
    Ok(json::ok(&ApiKeysView { keys: api.service().api_keys().await? }))
}

pub(crate) async fn create(api: Api, body: JsonBody) -> Answer {
    let new: NewApiKey = json::parse(&body.bytes)?;
    Ok(made(&api.service().create_api_key(new).await?))
}

pub(crate) async fn rotate(api: Api, id: web::Path<String>, body: JsonBody) -> Answer {
    let asked: Rotation = json::parse(&body.bytes)?;
    Ok(made(&api.service().rotate_api_key(&read(&id)?, asked.overlap.unwrap_or(OVERLAP)).await?))
}

pub(crate) async fn revoke(api: Api, id: web::Path<String>) -> Answer {
    Ok(json::ok(&api.service().revoke_api_key(&read(&id)?).await?))
}

fn made(made: &Made) -> HttpResponse {
    json::answer(StatusCode::CREATED, &MadeView { secret: made.token.reveal(), key: made.status.clone() })
}

fn read(id: &str) -> Result<ApiKeyId, Problem> {
    Ok(ApiKeyId::new(id)?)
}
