//! Who sent a request: the key in its header `Authorization`.

use std::net::SocketAddr;

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use forerunner_service::{
    Error, Service,
    auth::{Auth, Denial, Permission, Scope},
};

use crate::{api::Api, error::Problem, forwarded::client_address, headers};

/// Returns the service for the caller of a request, if the caller may do what the call needs.
///
/// This is the one check of every call, whichever way it was routed.
pub(crate) fn admit(
    api: &Api,
    headers: &HeaderMap,
    peer: Option<SocketAddr>,
    needs: Permission,
) -> Result<Service, Problem> {
    let caller = identify(api, headers, peer, needs)?;
    // What anybody may see is the same for all tenants.
    let tenant = if needs == Permission::Open { None } else { headers::tenant(headers)? };
    tenant.map_or(Ok(caller.clone()), |tenant| Ok(caller.of_tenant(tenant)?))
}

fn identify(api: &Api, headers: &HeaderMap, peer: Option<SocketAddr>, needs: Permission) -> Result<Service, Problem> {
    let service = api.service();
    if matches!(service.auth(), Auth::Off) {
        return Ok(service.clone());
    }
    let peer = client_address(headers, peer, &api.settings().trusted_proxies);
    let caller = bearer(headers).and_then(|key| service.identified(key, peer));
    match caller {
        Ok(caller) => caller.require(needs).map(|()| caller).map_err(Problem::from),
        // What anybody may see is shown to whoever has a wrong key, too.
        Err(_) if needs == Permission::Open => Ok(service.scoped(Scope::Nothing)),
        Err(error) => Err(error.into()),
    }
}

/// Reads `Authorization: Bearer KEY` (RFC 6750 §2.1). `None` if there is no such header.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let mut sent = headers.get_all(AUTHORIZATION);
    let Some(first) = sent.next() else { return Ok(None) };
    let (scheme, key) = first.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Denial::Malformed)?;
    if sent.next().is_some() || !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Denial::Malformed.into());
    }
    Ok(Some(key.trim_matches(' ')))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn read(values: &[&str]) -> Result<Option<String>, ()> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        bearer(&headers).map(|key| key.map(str::to_owned)).map_err(drop)
    }

    #[test]
    fn a_key_is_read_from_the_one_header() {
        assert_eq!(read(&[]), Ok(None));
        for sent in ["Bearer fr_x", "bearer fr_x", "BEARER  fr_x "] {
            assert_eq!(read(&[sent]), Ok(Some("fr_x".to_owned())), "{sent}");
        }
        for bad in [&["fr_x"][..], &["Basic Zm9v"], &["Bearer"], &["Bearer a", "Bearer b"], &[""]] {
            assert_eq!(read(bad), Err(()), "{bad:?}");
        }
    }
}
