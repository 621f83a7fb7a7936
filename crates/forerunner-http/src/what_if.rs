//! What other objectives would have cost a pool.

use actix_web::{HttpRequest, HttpResponse, web};
use forerunner_service::{MOST_SHARES, Shares};
use serde::Deserialize;

use crate::{api::Api, error::Problem, json, problems, query};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhatIfQuery {
    share: Option<String>,
}

pub(crate) async fn show(api: Api, pool: web::Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked: WhatIfQuery = query::parse(&request)?;
    let shares = asked.share.as_deref().map_or_else(|| Ok(Shares::default()), shares)?;
    Ok(json::ok(&api.service().what_if(&pool, shares).await?))
}

fn shares(text: &str) -> Result<Shares, Problem> {
    let shares: Result<Vec<f64>, _> = text.split(',').map(|share| share.trim().parse()).collect();
    shares.ok().and_then(Shares::new).ok_or_else(|| {
        let detail =
            format!("share `{text}` is not valid; write up to {MOST_SHARES} shares between 0 and 1, such as 0.95,0.99");
        Problem::new(problems::INVALID_QUERY, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_between_0_and_1_and_not_many() {
        assert_eq!(shares("0.95, 0.99").unwrap(), Shares::new(vec![0.95, 0.99]).unwrap());
        for bad in ["", "99", "0", "1", "0.9;0.8", "NaN", &["0.9"; 9].join(",")] {
            assert_eq!(shares(bad).unwrap_err().kind().name, "invalid-query", "{bad}");
        }
    }
}
